"""Registries: a name, what makes the thing, where it comes from. One for models here, one for data sets in `mmbench.data`.

A model registers itself with the decorator; every module of this package is imported when the registry is first read, and
so is every entry point of the group `mmbench.models` in installed packages. Adding a model touches no other file.
A file that is neither is loaded with `load_model_file`.
"""

import hashlib
import importlib
import pkgutil
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import entry_points
from importlib.util import decode_source
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from models.errors import InputError, suggest
from models.settings import check_class

__all__ = ["MODELS", "Limit", "ModelEntry", "ModelFile", "Registry", "load_model_file", "register"]


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
        """Register `entry`; a name that is taken, or that could not be a folder's, is an error."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", entry.name):
            raise InputError(
                f"The {self.kind} name {entry.name!r} is not usable: expected letters, digits, dots, dashes and underscores."
            )
        if entry.name in self._entries:
            raise InputError(
                f"The {self.kind} name {entry.name!r} is taken already: register yours under another name."
            )
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
        except (
            Exception,
            SystemExit,
        ) as error:  # somebody else's code: whatever it raises, the suite goes on without it
            warnings.warn(
                f"The {self.kind} {name} was left out: {type(error).__name__}: {error}", stacklevel=2
            )


@dataclass(frozen=True)
class ModelFile:
    """A file that registers models, as it was read: what it holds later changes nothing, in this process or in another one.

    Attributes:
        path: where it was read.
        text: what was read.
    """

    path: Path
    text: str = field(repr=False)

    @property
    def code(self) -> str:
        """16 hex digits that identify the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    def execute(self) -> None:
        """Execute the text as a module of its own and mark the models that it registers as this file's; none are left if it fails."""
        module = ModuleType(f"model_file_{self.code}")  # no name that another module may have
        module.__file__ = str(self.path)
        sys.modules[module.__name__] = module  # where dataclasses and pickle look up what the text defines
        before = dict(MODELS._entries)
        try:
            exec(compile(self.text, module.__file__, "exec", dont_inherit=True), vars(module))
        except BaseException:
            MODELS._entries = before
            raise
        for name in MODELS._entries.keys() - before.keys():
            MODELS._entries[name] = replace(MODELS._entries[name], file=self)


class Limit(NamedTuple):
    """The most modalities that a model takes, and in a clause why no more."""

    modalities: int
    reason: str


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
        file: that registered it, None for a model of an installed package.
        limit: of modalities, None where it takes any number.
        incomplete: whether its losses take batches that lack modalities.
        packages: distributions that it imports only when it is made.
    """

    name: str
    model: Callable[..., Any]
    settings: type
    source: str
    title: str
    presets: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    file: ModelFile | None = None
    limit: Limit | None = None
    incomplete: bool = False
    packages: tuple[str, ...] = ()

    def takes(self, modalities: int) -> bool:
        """Whether it can be built for so many."""
        return self.limit is None or modalities <= self.limit.modalities

    def misfit(self, dataset: str, modalities: int) -> str | None:
        """Why it cannot be built for `dataset`, which has so many, in a clause; None where it can."""
        if self.limit is None or self.takes(modalities):
            return None
        return f"takes {self.limit.modalities} modalities, {dataset} has {modalities} ({self.limit.reason})"

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Another process has no module of the file: it gets the text, to execute before it meets anything that the text defines."""
        return (_from_file, (self.file, self.name)) if self.file else super().__reduce__()


def _from_file(file: ModelFile, name: str) -> ModelEntry:
    if name not in MODELS._entries:
        file.execute()
    return MODELS._entries[name]


MODELS: Registry[ModelEntry] = Registry("model", package="models", group="mmbench.models")

ModelT = TypeVar("ModelT", bound=type)


def register(
    name: str,
    *,
    settings: type,
    source: str,
    title: str | None = None,
    presets: Mapping[str, Mapping[str, object]] | None = None,
    incomplete: bool = False,
) -> Callable[[ModelT], ModelT]:
    """Class decorator that registers a model under `name`; see ModelEntry for the arguments.

    Raises:
        InputError: for settings that are no settings class (see models.settings), and a name that is taken.
    """
    check_class(settings, name)

    def decorate(model: ModelT) -> ModelT:
        MODELS.add(
            ModelEntry(name, model, settings, source, title or name, presets or {}, incomplete=incomplete)
        )
        return model

    return decorate


def load_model_file(path: Path) -> list[ModelEntry]:
    """The models that the Python file `path` registers. It is executed once; the same text again gives the same models.

    Raises:
        InputError: for a file that cannot be read, that fails, or that registers no model.
    """
    if path.suffix != ".py":
        raise InputError(f"The model file {path} is no Python file: expected a name that ends in .py.")
    try:
        file = ModelFile(path, decode_source(path.read_bytes()))
    except (OSError, ValueError, SyntaxError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"The model file {path} cannot be read ({reason}): expected a Python file that registers a model."
        ) from None
    if not (found := _registered_by(file)):
        try:
            file.execute()
        except (Exception, SystemExit) as error:  # the author's code may raise anything
            raise InputError(f"The model file {path} fails{_where(error, path)}") from error
    if not (found := _registered_by(file)):
        decorator = '@register("my-model", settings=MySettings, source="where it was published")'
        raise InputError(
            f"The model file {path} registers no model: put {decorator} above its class, with `from models.registry import register`."
        )
    return found


def _registered_by(file: ModelFile) -> list[ModelEntry]:
    """The models of `file`. Those of packages are loaded by then: their names are taken."""
    return [entry for entry in MODELS if entry.file and entry.file.code == file.code]


def _where(error: BaseException, path: Path) -> str:
    """The line of the file that an error comes from, and what it says: the tail of a sentence."""
    lines = [
        line
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename == str(path)
    ]
    message = str(error)
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines, message = [error.lineno or 1], error.msg
    if isinstance(error, ModuleNotFoundError) and error.name:
        missed = path.with_name(error.name.partition(".")[0])
        if (
            missed.exists() or missed.with_suffix(".py").exists()
        ):  # beside the file, where a change to it would go unnoticed
            message += ". A model file stands alone: move what it needs into it, or make a package of them, as examples/plugin is one."
    what = message if isinstance(error, InputError) else f"{type(error).__name__}: {message}"
    return f" in line {lines[-1]}: {what}" if lines else f": {what}"
