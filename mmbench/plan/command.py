"""The command that makes a run, kept as words: parts of it are exchanged, never cut out of text."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace

__all__ = ["Command", "repeated"]


@dataclass(frozen=True)
class Command:
    """`mmbench VERB OPTION VALUE ...`; printed as a shell takes it.

    Attributes:
        verb: "run" or "tune".
        options: (option, value) pairs, as ("--set", "steps=500"); some options repeat.

    >>> str(Command("run", (("--models", "mopoe,mvae"), ("--label", "wide"))).having("--label", "wider"))
    'mmbench run --models mopoe,mvae --label wider'
    """

    verb: str
    options: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> "Command":
        """The command that `str` made this text of.

        Raises:
            ValueError: for another text.
        """
        program, verb, *words = shlex.split(text)
        if program != "mmbench" or len(words) % 2:
            raise ValueError(f"{text!r} is no command of mmbench")
        return cls(verb, tuple(zip(words[::2], words[1::2], strict=True)))

    def having(self, option: str, value: str) -> "Command":
        """The same with `option` once and with this value: where it stood first, or at the end."""
        places = [i for i, (name, _) in enumerate(self.options) if name == option]
        if not places:
            return replace(self, options=(*self.options, (option, value)))
        kept = [pair if i != places[0] else (option, value) for i, pair in enumerate(self.options)]
        return replace(self, options=tuple(p for i, p in enumerate(kept) if i not in places[1:]))

    def without(self, *options: str) -> "Command":
        """The same without these options."""
        return replace(self, options=tuple(pair for pair in self.options if pair[0] not in options))

    def __str__(self) -> str:
        return shlex.join(["mmbench", self.verb, *(word for pair in self.options for word in pair)])


def repeated(option: str, values: Iterable[str]) -> list[tuple[str, str]]:
    """The pairs of an option that is given once per value."""
    return [(option, value) for value in values]
