"""Files are written whole or not at all, and the cache goes where it is told to."""

import json
from pathlib import Path

import pytest

from mmbench.files import cache_dir, content_hash, read_json, write_atomically, write_json


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "deep" / "file.json"
    write_json(path, {"a": [1, 2.5, None]})
    assert read_json(path) == {"a": [1, 2.5, None]}
    assert [p.name for p in path.parent.iterdir()] == ["file.json"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(file):
        file.write(b"half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_holds_no_nan(value, tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "file", {"metric": value})
    assert not list(tmp_path.iterdir())


def test_hash_ignores_the_order_of_keys():
    assert content_hash({"a": 1, "b": [1, 2]}) == content_hash(json.loads('{"b": [1, 2], "a": 1}'))
    assert content_hash({"a": 1}) != content_hash({"a": 2})
    assert len(content_hash({})) == 16


def test_cache_folder(monkeypatch):
    monkeypatch.setenv("MMBENCH_CACHE", "/somewhere")
    assert cache_dir() == Path("/somewhere")
    monkeypatch.delenv("MMBENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_dir() == Path("/xdg/mmbench")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_dir() == Path("/home/somebody/.cache/mmbench")
