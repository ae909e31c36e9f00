"""A run on another machine: made in a scratch folder, from where its files go to the results folder."""

import queue
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from mmbench.console import Console
from mmbench.execution.executor import DONE, FAILED, RAISED, STOPPED, DeviceLostError
from mmbench.execution.relay import UPDATE_SECONDS, RemoteConsole
from mmbench.execution.signals import Stop
from mmbench.storage.run_folder import RunFolder
from mmbench.training.checkpoints import previous_path

__all__ = ["Session", "file_names"]


def file_names(folder: Path) -> Iterator[str]:
    """The files of a run that travel: all but locks and what is half-written."""
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".part" and not path.name.startswith("."):
            yield path.relative_to(folder).as_posix()


class Session:
    """Makes one run in a thread of this process.

    Args:
        run: a dataclass with a `folder`, which is replaced by one in a scratch folder of this machine.
        files: name -> content, of the run's folder as it is where the results are kept.
        work: makes it, as an executor's.
        threads: of torch.
    """

    def __init__(self, run: Any, files: dict[str, bytes], work: Any, threads: int):
        # that its files are gone at the end does not matter as much as the results
        self.scratch = TemporaryDirectory(prefix="mmbench-", ignore_cleanup_errors=True)
        # model and seed, which name the run
        self.folder = RunFolder(Path(self.scratch.name, *run.folder.path.parts[-2:]))
        self.run, self.work, self.threads = replace(run, folder=self.folder), work, threads
        self.folder.path.mkdir(parents=True)
        for name, content in files.items():
            path = self.folder.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self.known = self._marks()
        self.stop = Stop()  # no signal reaches it but `tell_to_stop`
        self.messages: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self.ending: tuple[str, str | None] = RAISED, "it ended without saying how"
        self.thread = threading.Thread(target=self._make, daemon=True)
        self.thread.start()

    def tell_to_stop(self) -> None:
        """The run writes a checkpoint and ends."""
        self.stop.signal = signal.SIGTERM

    def news(self) -> list[tuple[Any, ...]]:
        """What happened since the last call, after a wait.

        Messages for a relay, ("file", name, content) for each file that was written, and at the end
        ("end", how, traceback), after which there is nothing more.
        """
        self.thread.join(UPDATE_SECONDS)
        ended = not self.thread.is_alive()  # asked first: whatever it has written is there by now
        found: list[tuple[Any, ...]] = []
        with suppress(queue.Empty):
            while True:
                found.append(self.messages.get_nowait())
        found += self._written()
        if ended:
            found.append(("end", *self.ending))
            self.scratch.cleanup()
        return found

    def _make(self) -> None:
        """Make the run; the main function of the thread."""
        torch.set_num_threads(self.threads)  # holds for this thread
        console: Console = RemoteConsole(self.messages.put)
        try:
            self.ending = (DONE if self.work(self.run, console, self.stop) else FAILED), None
        except DeviceLostError:  # the run's folder says why
            self.ending = FAILED, None
        except BaseException as error:  # whatever it is, it ends this thread and no more
            self.ending = (STOPPED, None) if self.stop.caused(error) else (RAISED, traceback.format_exc())

    def _marks(self) -> dict[str, tuple[int, int, int]]:
        """File name -> when it was written, its size and its number on the disk: what a new file changes.

        The checkpoint before the newest does not travel: it is there already.
        """
        marks, before = {}, previous_path(self.folder.checkpoint).name
        for name in file_names(self.folder.path):
            with suppress(FileNotFoundError):  # renamed just now
                found = (self.folder.path / name).stat()
                if name != before:
                    marks[name] = found.st_mtime_ns, found.st_size, found.st_ino
        return marks

    def _written(self) -> Iterator[tuple[str, str, bytes]]:
        """Files that are new or have changed since the last call, in the order in which they were written.

        So what names other files comes after them.
        """
        marks = self._marks()
        for name in sorted(marks, key=lambda name: marks[name]):
            if marks[name] != self.known.get(name):
                with suppress(FileNotFoundError):  # is being replaced: found at the next call
                    content = (self.folder.path / name).read_bytes()
                    self.known[name] = marks[name]
                    yield "file", name, content
