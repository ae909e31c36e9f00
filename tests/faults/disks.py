"""Disks that are full or read-only: a sentence with the path, what is done stays, and the job goes on once
there is room.

    python tests/faults/disks.py

Takes a small tmpfs where one may be mounted, a limit on the size of files elsewhere.
"""

import resource
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from common import finish, outcome, start

from mmbench.storage.files import read_json

OPTIONS = ("--models", "mopoe", "--set", "steps=12", "--jobs", "1")


def mount(folder: Path, *options: str) -> bool:
    """Whether a tmpfs is now mounted there so."""
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextmanager
def small_disk(folder: Path):
    """A folder on a disk of 3 MB, less than a checkpoint; True where that could be had."""
    folder.mkdir()
    mounted = mount(folder, "size=3m")
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def limit_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))


def job(folder: Path, **more) -> tuple[int, str]:
    process = start(folder, *OPTIONS, **more)
    text = finish(process)
    return process.returncode, text


def fill_up(folder: Path, whole: dict[str, str]) -> str:
    """A job on a disk that is too small, then on one that is large enough, then on one that is read-only."""
    with small_disk(folder / "disk") as mounted:
        code, text = job(folder / "disk", **({} if mounted else {"preexec_fn": limit_files}))
        reason = "No space left on device" if mounted else "File too large"
        assert code in (1, 2), text
        assert f"cannot be written ({reason}): make room" in text, text
        assert str(folder / "disk") in text
        assert not list(folder.rglob("*.part"))
        if mounted:
            assert mount(folder / "disk", "remount", "size=300m")
        code, text = job(folder / "disk")
        assert code == 0, text
        assert outcome(folder / "disk" / "results") == whole
        if not mounted:
            return (
                "a limit of 1 MB on files: refused with a sentence, finished without it; no tmpfs may be "
                "mounted here, read-only disks not tried."
            )
        assert mount(folder / "disk", "remount", "ro")
        code, text = job(folder / "disk")
        assert code == 2, text
        assert "cannot be written to (Read-only file system)" in text, text
        assert outcome(folder / "disk" / "results") == whole
        return (
            "a disk of 3 MB: stopped with a sentence; enlarged: finished with the same bits; read-only: "
            "refused with a sentence, all still there."
        )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        code, text = job(Path(scratch) / "whole")
        assert code == 0, text
        states = [read_json(path)["state"] for path in Path(scratch).rglob("status.json")]
        assert states == ["done"], states
        print(fill_up(Path(scratch), outcome(Path(scratch) / "whole" / "results")))
        sys.exit(0)
