"""What a run in another process shows: its console sends messages, which a relay here puts on the screen."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from mmbench.console import Console, Task

__all__ = ["UPDATE_SECONDS", "Relay", "RemoteConsole"]

UPDATE_SECONDS = 0.5  # between two messages of one task, and two looks at a silent worker


class Relay:
    """Shows on `console` what one RemoteConsole has sent."""

    def __init__(self, console: Console):
        self.console = console
        self.shown: dict[int, tuple[ExitStack, Task]] = {}  # tasks that are open

    def show(self, message: tuple[Any, ...]) -> None:
        kind, key, *rest = message
        if kind == "say":
            self.console.say(*rest)
        elif kind == "open":
            stack = ExitStack()
            self.shown[key] = stack, stack.enter_context(self.console.task(*rest))
        elif kind == "update":
            self.shown[key][1].update(*rest)
        else:
            self.shown.pop(key)[0].close()

    def close(self) -> None:
        """Show no task any longer."""
        for stack, _ in self.shown.values():
            stack.close()
        self.shown.clear()


class RemoteConsole(Console):
    """A worker's console.

    Args:
        send: takes one message, for `Relay.show`.
    """

    def __init__(self, send: Callable[[tuple[Any, ...]], object]):
        super().__init__()
        self.send, self.count = send, 0

    def say(self, line: str) -> None:
        self.send(("say", 0, line))

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Task]:
        self.count += 1
        key = self.count
        self.send(("open", key, name, total))
        try:
            yield _RemoteTask(name, total, self, key)
        finally:
            self.send(("close", key))


class _RemoteTask(Task):
    """A task of a worker, shown by the parent."""

    def __init__(self, name: str, total: int, console: RemoteConsole, key: int):
        super().__init__(name, total)
        self.console, self.key, self.sent = console, key, float("-inf")

    def show(self, done: int, note: str) -> None:
        now = time.monotonic()
        if now - self.sent >= UPDATE_SECONDS:
            self.sent = now
            self.console.send(("update", self.key, done, note))
