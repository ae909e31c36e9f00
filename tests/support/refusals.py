"""What tests of bad input share: the command, the form of the answer, and damage to files."""

from functools import cache

from mmbench.data import load_data
from mmbench.storage.files import read_json, write_json

load_data_once = cache(load_data)

RUN = ("run", "--dataset", "digits", "--models", "mopoe", "--preset", "smoke")


def answer(invoke, *arguments):
    """The answer to bad input, checked for its form."""
    result = invoke(*arguments)
    assert result.code == 2, result.text
    assert "Traceback" not in result.text
    return result.text


def damage(path, content):
    """Replace a file by these bytes, by a folder (None), or change some keys of it."""
    if isinstance(content, dict):
        write_json(path, read_json(path) | content)
    elif content is None:
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(content)


def on_disk(folder):
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}
