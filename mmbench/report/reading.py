"""Reading the files of a run: what is missing or damaged is said in one sentence."""

from pathlib import Path
from typing import Any

from mmbench.files import read_json
from models.errors import InputError

__all__ = ["read_object"]


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; an InputError that names the file where there is none."""
    try:
        value = read_json(path)
    except FileNotFoundError:
        raise InputError(f"The file {path} is missing: its run is incomplete, delete its folder and run it again.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"The file {path} cannot be read as JSON ({error}): delete its folder and run it again.") from None
    if not isinstance(value, dict):
        raise InputError(f"The file {path} should hold a JSON object, not {type(value).__name__}: delete its folder and run it again.")
    return value
