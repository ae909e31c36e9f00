"""Models of other libraries, trained and judged as ours are. Their names begin with the library's and a colon: multivae:MVTCAE.

They stand in no registry: `--models all` means our own. A run's folder, its config.json and `--set` have the name in lower case
with a dash, multivae-mvtcae, which is a file name on every system and is understood wherever a model is named.
"""

from mmbench.adapters import multivae
from models.registry import MODELS, ModelEntry

__all__ = ["find_model", "find_models", "full_key", "is_collective"]

_ALL = f"{multivae.PREFIX}all"


def find_model(name: str) -> ModelEntry:
    """The registered or adapted model called `name`; InputError for a model that is not there, or whose library is not."""
    return multivae.find(name) if multivae.is_name(name) else MODELS.get(name)


def find_models(word: str) -> list[ModelEntry]:
    """What a word of --models stands for: all of ours, all of a library's, or one model."""
    if word == "all":
        return list(MODELS)
    return multivae.find_all() if word.lower() == _ALL else [find_model(word)]


def is_collective(word: str) -> bool:
    """Whether a word of --models stands for all models of a kind."""
    return word.strip().lower() in ("all", _ALL)


def full_key(key: str) -> str:
    """The key of a --set pair with its model, where it names an adapted one, as entries name it: multivae:MVAE.beta is multivae-mvae.beta."""
    model, dot, setting = key.rpartition(".")
    return f"{find_model(model).name}.{setting}" if dot and multivae.is_name(model) else key
