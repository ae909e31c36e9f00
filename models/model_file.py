"""Models from a Python file: `load_model_file`, behind the option `--model-file`.

The file is executed as it was read. What it holds later changes nothing, in this process or in another one
that gets a model of it.
"""

import hashlib
import sys
import traceback
from dataclasses import dataclass, field, replace
from importlib.util import decode_source
from pathlib import Path
from types import ModuleType

from models.errors import InputError, error_words
from models.parts.own_networks import NETWORKS
from models.registry import MODELS, ModelEntry, all_or_nothing

__all__ = ["ModelFile", "load_model_file"]


@dataclass(frozen=True)
class ModelFile:
    """A file that registers models, as it was read.

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
        """Execute the text as a module of its own, and mark the models that it registers as this file's.

        If it fails, nothing that it registered is left.
        """
        module = ModuleType(f"model_file_{self.code}")  # no name that another module may have
        module.__file__ = str(self.path)
        sys.modules[module.__name__] = module  # where dataclasses and pickle look up what the text defines
        with (
            all_or_nothing(),
            MODELS.marking(lambda entry: replace(entry, file=self)),
            NETWORKS.marking(lambda entry: replace(entry, file=self)),
        ):
            exec(compile(self.text, module.__file__, "exec", dont_inherit=True), vars(module))

    def entry(self, name: str) -> ModelEntry:
        """The file's model `name`. A process that gets the model from another one executes the text first."""
        if name not in MODELS:
            self.execute()
        return MODELS.get(name)


def load_model_file(path: Path) -> list[ModelEntry]:
    """The models that the Python file `path` registers; none where it registers networks alone.

    It is executed once; the same text again gives the same models.

    Raises:
        InputError: for a file that cannot be read, that fails, or that registers no model and no networks.
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
    if not _is_known(file):
        try:
            file.execute()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # the author's code may raise anything
            raise InputError(f"The model file {path} fails{_where(error, path)}") from error
    if not _is_known(file):
        decorator = '@register("my-model", settings=MySettings, source="where it was published")'
        raise InputError(
            f"The model file {path} registers no model: put {decorator} above its class, "
            "with `from models.registry import register`."
        )
    return _registered_by(file)


def _is_known(file: ModelFile) -> bool:
    """Whether `file` has registered something already."""
    return bool(_registered_by(file)) or any(each.file and each.file.code == file.code for each in NETWORKS)


def _registered_by(file: ModelFile) -> list[ModelEntry]:
    """The models of `file`. Reading the registry loads those of packages first: their names are taken."""
    return [entry for entry in MODELS if entry.file and entry.file.code == file.code]


def _where(error: BaseException, path: Path) -> str:
    """The line of the file that an error comes from, and what it says: the tail of a sentence."""
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code.co_filename == str(path)]
    what = error_words(error)
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines, what = [error.lineno or 1], f"{type(error).__name__}: {error.msg}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        missed = path.with_name(error.name.partition(".")[0])
        # a module beside the file would be found by luck, and a change to it would go unnoticed
        if missed.exists() or missed.with_suffix(".py").exists():
            what += (
                ". A model file stands alone: move what it needs into it, "
                "or make a package of them, as examples/plugin is one."
            )
    if isinstance(error, InputError):
        what = what.removeprefix("InputError: ")
    return f" in line {lines[-1]}: {what}" if lines else f": {what}"
