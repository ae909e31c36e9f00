"""Registries of what can be named: the models are in one, the data sets in another one (`mmbench.data`).

A model registers itself with the decorator `register`. The registry is filled when it is first read: it
imports the modules of the package `models`, those of packages that were added with `include`, and what
installed packages name in the entry-point group `mmbench.models`. So adding a model touches no other file.
A module of the suite that fails is an error; a plugin that fails is left out, with all that it registered.
`models.names` finds models by the words of a command line, `models.model_file` loads them from a file.
"""

import importlib
import pkgutil
import re
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from models.about import About
from models.errors import InputError, error_words, suggest
from models.named_settings import NamedSettings, check_named
from models.settings import check_class

if TYPE_CHECKING:  # torch is not needed to read a list of names
    from models.base import Modality

__all__ = [
    "COORDINATED",
    "MODELS",
    "Limit",
    "ModelEntry",
    "Registry",
    "SourceFile",
    "all_or_nothing",
    "register",
]

COORDINATED = "coordinated"
"""The collection of models that generate nothing: `all` has always meant those that can fill every table."""


class Registrable(Protocol):
    """What a registry holds: anything with a name, that knows which module it is of."""

    @property
    def name(self) -> str: ...
    @property
    def module(self) -> str: ...


EntryT = TypeVar("EntryT", bound=Registrable)

_added: list[list[tuple["Registry[Any]", str]]] = []  # by code that is being executed, the innermost last


@contextmanager
def all_or_nothing() -> Iterator[None]:
    """Execute somebody's code: if it raises, nothing that it registered is left, in any registry.

    But for what belongs to the suite: the code may have been the first to import a module of ours.
    """
    _added.append([])
    try:
        yield
    except BaseException:
        for registry, name in _added[-1]:
            registry.discard(name)
        raise
    finally:
        _added.pop()


class Registry(Generic[EntryT]):
    """Entries by name, filled on first use. Iterating gives all of them, sorted by name.

    Args:
        kind: what is registered, in words ("model"), for messages.
        package: the package whose modules register the suite's own entries when they are imported.
        group: the entry-point group through which other packages register theirs.
    """

    def __init__(self, kind: str, package: str, group: str):
        self.kind, self.group = kind, group
        self._entries: dict[str, EntryT] = {}
        self._packages = [package]
        self._unread = [package]
        self._points_read = False
        self._broken: str | None = None  # what is wrong with a module of the suite

    def include(self, package: str) -> None:
        """Import the modules of `package` too, which register entries, when the registry is next read."""
        if package not in self._packages:
            self._packages.append(package)
            self._unread.append(package)

    def add(self, entry: EntryT) -> None:
        """Register `entry`.

        Raises:
            InputError: for a name that is taken, or that could not be a folder's.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", entry.name):
            raise InputError(
                f"The {self.kind} name {entry.name!r} is not usable: "
                "expected letters, digits, dots, dashes and underscores."
            )
        if entry.name in self._entries:
            raise InputError(
                f"The {self.kind} name {entry.name!r} is taken already: register yours under another name."
            )
        texts: dict[str, Any] = {each.name: getattr(entry, each.name) for each in _text_fields(entry)}
        for what, value in texts.items():
            if not isinstance(value, str):
                raise InputError(
                    f"The {what} of the {self.kind} {entry.name!r} is {value!r}: expected a text."
                )
        self._entries[entry.name] = entry
        own = any(f"{entry.module}.".startswith(f"{package}.") for package in self._packages)
        if _added and not own:
            _added[-1].append((self, entry.name))

    def discard(self, name: str) -> None:
        """Forget the entry called `name`, if there is one."""
        self._entries.pop(name, None)

    def get(self, name: str) -> EntryT:
        """The entry called `name`, or an InputError that suggests the nearest."""
        self._load()
        if name not in self._entries:
            raise InputError(f"Unknown {self.kind} {name!r}: {suggest(name, self._entries)}")
        return self._entries[name]

    def __contains__(self, name: str) -> bool:
        self._load()
        return name in self._entries

    def __iter__(self) -> Iterator[EntryT]:
        self._load()
        return iter(sorted(self._entries.values(), key=lambda entry: entry.name))

    @contextmanager
    def marking(self, mark: Callable[[EntryT], EntryT]) -> Iterator[None]:
        """Replace every entry that is added meanwhile by `mark(entry)`."""
        before = dict(self._entries)
        yield
        for name in self._entries.keys() - before.keys():
            self._entries[name] = mark(self._entries[name])

    def _load(self) -> None:
        """Import whatever registers entries and was not imported yet.

        Raises:
            InputError: for a module of the suite that cannot be imported, and then each time.
        """
        if self._broken:
            raise InputError(self._broken)
        while self._unread:
            package = self._unread.pop(0)  # first, as one of its modules may read the registry
            try:
                for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
                    self._import(module.name)
            except KeyboardInterrupt:
                self._unread.append(package)
                raise
        if not self._points_read:
            self._points_read = True
            for point in entry_points(group=self.group):
                self._load_plugin(point)

    def _import(self, module: str) -> None:
        """Import a module of the suite, without which a word such as `all` would mean less than it says."""
        try:
            importlib.import_module(module)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            frame, line = list(traceback.walk_tb(error.__traceback__))[-1]
            where = "" if isinstance(error, SyntaxError) else f" ({frame.f_code.co_filename}, line {line})"
            self._broken = (
                f"The {self.kind} module {module} of the suite cannot be imported: "
                f"{error_words(error)}{where}. Mend it, or install mmbench again."
            )
            raise InputError(self._broken) from error

    def _load_plugin(self, point: EntryPoint) -> None:
        """Execute somebody else's code; whatever it raises becomes a warning, and nothing of it is left."""
        try:
            with warnings.catch_warnings(), all_or_nothing():  # its filters hide nothing from anybody else
                point.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            plugin = f"The {self.kind} plugin {point.name!r} ({point.value})"
            warnings.warn(f"{plugin} was left out: {error_words(error)}", stacklevel=2)


def _text_fields(entry: Any) -> "list[Field[Any]]":
    """The fields of a dataclass that are of type str."""
    return [each for each in fields(entry) if each.type in (str, "str")] if is_dataclass(entry) else []


class Limit(NamedTuple):
    """The most modalities that a model takes, and in a clause why no more."""

    modalities: int
    reason: str


class SourceFile(Protocol):
    """A file that registers models; see `models.model_file`."""

    @property
    def path(self) -> Path: ...

    @property
    def text(self) -> str: ...

    @property
    def code(self) -> str: ...

    def entry(self, name: str) -> "ModelEntry": ...


@dataclass(frozen=True)
class ModelEntry:
    """A registered model.

    Attributes:
        name: on the command line, in tables and in names of folders.
        model: the class, called as `model(modalities, settings)`.
        settings: its frozen dataclass of settings.
        source: the paper.
        title: the name as the paper writes it.
        collection: the library that the model is adapted from, or COORDINATED for a model that generates
            nothing; "" for all others of the suite and of plugins. `lib:all` stands for all models of the
            collection "lib". The name of a model of a library begins with "lib-".
        file: the file that registered it, None for a model of an installed package.
        limit: of modalities, None where it takes any number.
        incomplete: whether its losses take batches that lack modalities.
        named: settings with names, such as those that its authors published; see `models.named_settings`.
        uses_labels: whether it is trained with labels, as its class says.
        packages: what it imports only when it is made: distribution -> the version that it needs, "" for any.
        unsupported: why it is known but can never be run, in a clause; "" for the others.
        about: what its page and `mmbench cite` say of it.
    """

    name: str
    model: Callable[..., Any]
    settings: type
    source: str
    title: str
    collection: str = ""
    file: SourceFile | None = None
    limit: Limit | None = None
    incomplete: bool = False
    named: NamedSettings = field(default_factory=dict)
    uses_labels: bool = False
    packages: Mapping[str, str] = field(default_factory=dict)
    unsupported: str = ""
    about: About = field(default_factory=About)

    @property
    def bibtex(self) -> str:
        """Of its publications; "" where nobody has given any."""
        return self.about.bibtex

    @property
    def module(self) -> str:
        """The module that its class or function is of."""
        return getattr(getattr(self.model, "func", self.model), "__module__", "")

    def build(self, modalities: "Sequence[Modality]", settings: Any, classes: int) -> Any:
        """A new model for data of so many classes; only models that are trained with labels hear of these."""
        return self.model(modalities, settings, *([classes] if self.uses_labels else []))

    def takes(self, modalities: int) -> bool:
        """Whether it can be built for so many."""
        return self.limit is None or modalities <= self.limit.modalities

    def misfit(self, dataset: str, modalities: int, classes: int) -> str | None:
        """Why it cannot be built for `dataset`, which has so many modalities and classes, in a clause.

        None where it can.
        """
        if self.uses_labels and not classes:
            return f"is trained with labels, and {dataset} has none"
        if self.limit is None or self.takes(modalities):
            return None
        return f"takes {self.limit.modalities} modalities, {dataset} has {modalities} ({self.limit.reason})"

    def unavailable(self) -> str | None:
        """Why it cannot be run here, and what to do about it, in a clause; None where it can."""
        if self.unsupported:
            return self.unsupported
        for package, wanted in self.packages.items():
            remedy = f"install it with pip install {package}{'==' * bool(wanted)}{wanted}"
            try:
                found = version(package)
            except PackageNotFoundError:
                return f"the package {package} is not installed; {remedy}"
            if wanted and found != wanted:
                return f"the package {package} is there in version {found}, expected {wanted}; {remedy}"
        return None

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Another process has no module of the file: it gets the file, which brings the model along."""
        return (self.file.entry, (self.name,)) if self.file else super().__reduce__()


MODELS: Registry[ModelEntry] = Registry("model", package="models", group="mmbench.models")

ModelT = TypeVar("ModelT", bound=type)


def register(
    name: str,
    *,
    settings: type,
    source: str,
    title: str | None = None,
    incomplete: bool = False,
    named: NamedSettings | None = None,
    about: About | None = None,
) -> Callable[[ModelT], ModelT]:
    """Class decorator that registers a model under `name`; see ModelEntry for the arguments.

    Raises:
        InputError: for settings that are no settings class (see models.settings), for named ones that it does
            not admit, for an `about` that is none, and for a name that is taken.
    """
    check_class(settings, name)
    if not isinstance(about or About(), About):
        raise InputError(f"The about of the model {name!r} is {about!r}: expected models.about.About(...).")
    named = named or {}
    check_named(named, settings, name)

    def decorate(model: ModelT) -> ModelT:
        # a class that is no model at all is for the checks to name
        collection = "" if getattr(model, "generates", True) else COORDINATED
        labels = bool(getattr(model, "uses_labels", False))
        shown = f"{title or name} (uses labels)" if labels else title or name
        entry = ModelEntry(name, model, settings, source, shown, collection)
        entry = replace(entry, incomplete=incomplete, uses_labels=labels, named=named)
        MODELS.add(replace(entry, about=about or About()))
        return model

    return decorate
