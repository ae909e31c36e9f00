"""Locks between processes: waited for, freed by death, given up on request."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading

import pytest

from mmbench.storage.files import WriteError
from mmbench.storage.locks import is_held, locked

HOLD = """
import sys, time
from pathlib import Path
from mmbench.storage.locks import is_held, locked
with locked(Path(sys.argv[1]), print):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock tmp_path/.lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / ".lock")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_lock_is_waited_for_and_freed_when_its_process_is_killed(holder, tmp_path):
    said, looks = [], []

    def check():
        looks.append(None)
        if len(looks) == 2:
            holder.send_signal(signal.SIGKILL)

    with locked(tmp_path / ".lock", lambda: said.append("waiting"), check):
        assert said == ["waiting"]
    assert len(looks) >= 2
    with locked(tmp_path / ".lock", lambda: said.append("again")):
        assert said == ["waiting"]


def test_waiting_can_be_given_up(holder, tmp_path):
    def check():
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"), locked(tmp_path / ".lock", lambda: None, check):
        pytest.fail("held by two")
    assert holder.poll() is None


def test_to_ask_sees_a_holder_and_makes_no_file(tmp_path, holder):
    assert is_held(tmp_path / ".lock") is True
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert is_held(tmp_path / ".lock") is False
    assert is_held(tmp_path / "absent") is False
    assert not (tmp_path / "absent").exists()


def test_a_question_is_no_holder(tmp_path):
    """Neither for others who ask nor for one who wants the lock and would give up on a holder."""
    path = tmp_path / ".lock"
    path.touch()
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # what `is_held` does for a moment
        assert is_held(path) is False
        threading.Timer(0.2, fcntl.flock, (file, fcntl.LOCK_UN)).start()
        with locked(path, lambda: pytest.fail("took the question for a holder")):
            assert is_held(path) is True


def test_a_lock_file_that_may_not_be_read(tmp_path):
    assert is_held(tmp_path) is None  # a folder, which cannot be opened as a file


def test_a_disk_without_locks(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise NotImplementedError


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_on_a_disk_without_locks_work_goes_on_after_a_warning(number, tmp_path, monkeypatch):
    """Also where a command has left its empty lock file, which a soft lock would take for a held one."""
    path = tmp_path / ".lock"
    with locked(path, lambda: pytest.fail("waited")):
        pass

    def refuse(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    sentence = rf"The disk of .* has no locks \({os.strerror(number)}\): give no two commands at a time"
    for file in (path, tmp_path / "new" / ".lock"):
        with (
            pytest.warns(UserWarning, match=sentence),
            locked(file, lambda: pytest.fail("waited")),
        ):
            assert [found.name for found in file.parent.iterdir() if found.is_file()] == [".lock"]
        assert file.read_bytes() == b""
    monkeypatch.undo()
    with locked(path, lambda: pytest.fail("waited")):
        pass


def test_a_lock_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(WriteError, match=r"file/\.lock cannot be written"),
        locked(tmp_path / "file" / ".lock", lambda: None),
    ):
        pytest.fail("held")
