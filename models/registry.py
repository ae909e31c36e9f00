"""Registries: a name, what makes the thing, where it comes from. One for models here, one for data sets in `mmbench.data`.

A model registers itself with the decorator; every module of this package is imported when the registry is first read, and
so is every entry point of the group `mmbench.models` in installed packages. Adding a model touches no other file.
"""

import importlib
import pkgutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import entry_points
from typing import Any, Generic, Protocol, TypeVar

from models.errors import InputError, suggest
from models.settings import check_class

__all__ = ["MODELS", "ModelEntry", "Registry", "register"]


class Named(Protocol):
    """Anything with a name."""

    @property
    def name(self) -> str: ...


EntryT = TypeVar("EntryT", bound=Named)


class Registry(Generic[EntryT]):
    """Entries by name, filled on first use from one package and one entry-point group.

    Args:
        kind: what is registered, in words ("model"), for messages.
        package: the package whose modules register the built-in entries when they are imported.
        group: the entry-point group through which other packages register theirs.
    """

    def __init__(self, kind: str, package: str, group: str):
        self.kind, self.package, self.group = kind, package, group
        self._entries: dict[str, EntryT] = {}
        self._loaded = False

    def add(self, entry: EntryT) -> None:
        """Register `entry`; a name that is taken is an error."""
        if entry.name in self._entries:
            raise InputError(f"The {self.kind} name {entry.name!r} is taken already: register yours under another name.")
        self._entries[entry.name] = entry

    def get(self, name: str) -> EntryT:
        """The entry called `name`, or an InputError that suggests the nearest."""
        self._load()
        if name not in self._entries:
            raise InputError(f"Unknown {self.kind} {name!r}: {suggest(name, self._entries)}")
        return self._entries[name]

    def __iter__(self) -> Iterator[EntryT]:
        self._load()
        return iter(sorted(self._entries.values(), key=lambda entry: entry.name))

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__, f"{self.package}."):
            self._try(partial(importlib.import_module, module.name), f"module {module.name}")
        for point in entry_points(group=self.group):
            self._try(point.load, f"plugin {point.name!r} ({point.value})")

    def _try(self, load: Callable[[], object], name: str) -> None:
        try:
            load()
        except (Exception, SystemExit) as error:  # somebody else's code: whatever it raises, the suite goes on without it
            warnings.warn(f"The {self.kind} {name} was left out: {type(error).__name__}: {error}", stacklevel=2)


@dataclass(frozen=True)
class ModelEntry:
    """A registered model.

    Attributes:
        name: on the command line and in tables.
        model: the class, called as `model(modalities, settings)`.
        settings: its frozen dataclass of settings.
        source: the paper.
        title: the name as the paper writes it.
        presets: settings that a preset changes, by preset name.
    """

    name: str
    model: Callable[..., Any]
    settings: type
    source: str
    title: str
    presets: Mapping[str, Mapping[str, object]] = field(default_factory=dict)


MODELS: Registry[ModelEntry] = Registry("model", package="models", group="mmbench.models")

ModelT = TypeVar("ModelT", bound=type)


def register(
    name: str, *, settings: type, source: str, title: str | None = None, presets: Mapping[str, Mapping[str, object]] | None = None
) -> Callable[[ModelT], ModelT]:
    """Class decorator that registers a model under `name`; see ModelEntry for the arguments.

    Raises:
        InputError: for settings that are no settings class (see models.settings), and a name that is taken.
    """
    check_class(settings, name)

    def decorate(model: ModelT) -> ModelT:
        MODELS.add(ModelEntry(name, model, settings, source, title or name, presets or {}))
        return model

    return decorate
