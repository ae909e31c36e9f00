"""What words for models mean on a command line: `--models mopoe,multivae:all`, `--set multivae:MVAE.beta=2`.

A word is the name of a model, `all` for every model that belongs to no collection, or `<collection>:all` for
every model of a collection: `coordinated:all` for those that embed and generate nothing, `multivae:all` for
those of a library. A model of a library may be written as the library writes it, in letters of any case:
`multivae:MMVAE+` is multivae-mmvaeplus.
"""

from models.errors import InputError, suggest
from models.registry import MODELS, ModelEntry

__all__ = ["find_model", "find_models", "full_key", "full_name", "is_collective"]


def find_model(word: str) -> ModelEntry:
    """The model that `word` names.

    Raises:
        InputError: for a model that is not there, and for one that cannot be run here, with the reason.
    """
    name, collection = full_name(word), _collection_of(word)
    if collection and name not in MODELS:
        start = f"{collection}-"
        known = (entry.name.removeprefix(start) for entry in _all_of(collection))
        raise InputError(
            f"Unknown model {word!r} of {collection}: {suggest(name.removeprefix(start), known)}"
        )
    entry = MODELS.get(name)
    if reason := entry.unavailable():
        hint = " `mmbench models` lists those that can." if entry.unsupported else ""
        raise InputError(f"The model {word} cannot be run: {reason}.{hint}")
    return entry


def find_models(word: str) -> list[ModelEntry]:
    """The models that a word of `--models` stands for, which leaves out those that can never be run.

    Raises:
        InputError: as find_model, also for a collection whose package is missing.
    """
    if not is_collective(word):
        return [find_model(word)]
    found = _all_of(_collection_of(word))
    for entry in found:
        if reason := entry.unavailable():
            raise InputError(f"The models {word} cannot be run: {reason}.")
    return found


def is_collective(word: str) -> bool:
    """Whether a word of `--models` stands for all models of a kind."""
    prefix, _, rest = word.strip().lower().rpartition(":")
    return rest == "all" and (not prefix or bool(_collection_of(word)))


def full_name(word: str) -> str:
    """The name of the model that `word` means, registered or not: multivae-mmvaeplus for multivae:MMVAE+."""
    if not (collection := _collection_of(word)):
        return word
    own = word.partition(":")[2].lower()
    if any((entry.name, entry.collection) == (own, collection) for entry in MODELS):
        return own  # of the suite: its name has no prefix
    return f"{collection}-{own.replace('+', 'plus')}"


def full_key(key: str) -> str:
    """The key of a `--set` pair with the full name of its model: multivae-mvae.beta for multivae:MVAE.beta.

    The model alone, without a setting, is a key too: see `models.named_settings`.

    Raises:
        InputError: for a model of a collection that is not there, or cannot be run here.
    """
    model, dot, setting = key.rpartition(".") if "." in key else (key, "", "")
    return f"{find_model(model).name}{dot}{setting}" if _collection_of(model) else key


def _collection_of(word: str) -> str:
    """The collection before the colon of `word`, "" where there is none of that name."""
    prefix, colon, _ = word.strip().lower().partition(":")
    return prefix if colon and any(entry.collection == prefix for entry in MODELS) else ""


def _all_of(collection: str) -> list[ModelEntry]:
    """The models of a collection, without those that can never be run."""
    return [entry for entry in MODELS if entry.collection == collection and not entry.unsupported]
