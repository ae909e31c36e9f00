"""Files are written whole or not at all, and the cache goes where it is told to."""

import errno
import json
import os
from pathlib import Path

import pytest

from mmbench.storage.files import (
    DamagedError,
    WriteError,
    cache_dir,
    check_name,
    check_writable,
    content_hash,
    read_json,
    write_atomically,
    write_json,
)
from models.errors import InputError


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


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch):
    monkeypatch.setenv("MMBENCH_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_dir() == Path("/xdg/mmbench")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_dir() == Path("/home/somebody/.cache/mmbench")


def test_a_cache_without_a_home(monkeypatch):
    """A container that runs as a user whom /etc/passwd lacks, with HOME unset; and a home of nobody."""

    def unknown(user):
        raise KeyError(user)

    for name in ("HOME", "MMBENCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    remedy = "give the cache a folder with the environment variable MMBENCH_CACHE"
    with pytest.raises(InputError, match=f"This user has no home folder that the system knows: {remedy}"):
        cache_dir()
    monkeypatch.setenv("MMBENCH_CACHE", "~nobody-at-all/cache")
    with pytest.raises(
        InputError, match=f"MMBENCH_CACHE=~nobody-at-all/cache is in a home folder .*: {remedy}"
    ):
        cache_dir()


def test_a_name_is_too_long_when_the_one_that_it_is_written_under_is(tmp_path):
    for length, fits in ((251, False), (250, True)):
        path = tmp_path / "new" / ("x" * length)
        if fits:
            check_name(path, "choose another")
            write_atomically(path, b"")
        else:
            with pytest.raises(
                InputError, match=r"could not be written \(File name too long\): choose another\."
            ):
                check_name(path, "choose another")
            assert list(tmp_path.iterdir()) == []


VALUE = {"hash": "0123456789abcdef", "metrics": {"a/b": 0.25, "c": None}, "text": "é"}


def test_every_changed_byte_of_a_json_file_is_noticed(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, VALUE)
    whole = path.read_bytes()
    assert read_json(path) == VALUE
    refused = 0
    for position in range(len(whole)):
        for flip in (1, 4, 0x20):  # digit to digit, letter to letter, upper to lower case
            path.write_bytes(whole[:position] + bytes([whole[position] ^ flip]) + whole[position + 1 :])
            try:
                assert read_json(path) == VALUE, position  # a blank elsewhere
            except DamagedError:
                refused += 1
    assert refused > 2.5 * len(whole)


def test_json_without_its_checksum_or_of_another_format_is_refused(tmp_path):
    path = tmp_path / "file.json"
    for content in (VALUE, {"format": 2, **VALUE}, {"checksum": "0" * 16, **VALUE}):
        path.write_text(json.dumps(content))
        with pytest.raises(DamagedError, match="has changed since it was written"):
            read_json(path)
    for other in ({"format": 3, **VALUE}, VALUE):
        path.write_text(json.dumps({**other, "checksum": content_hash(other)}))
        with pytest.raises(DamagedError, match=r"is of format (3|None)"):
            read_json(path)


@pytest.mark.parametrize("call", ["fsync", "open"])
def test_a_full_disk_leaves_the_old_file_and_its_predecessor(call, tmp_path, monkeypatch):
    path, previous = tmp_path / "file", tmp_path / "previous"
    path.write_bytes(b"old")
    previous.write_bytes(b"older")

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*{"fsync": ("os.fsync", full), "open": ("pathlib.Path.open", full)}[call])
    with pytest.raises(
        WriteError, match=r"The file .*file cannot be written \(No space left on device\): make room"
    ):
        write_atomically(path, b"new", previous)
    monkeypatch.undo()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"file": b"old", "previous": b"older"}
    write_atomically(path, b"new", previous)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"file": b"new", "previous": b"old"}


def test_too_many_open_files_are_no_damage(tmp_path, monkeypatch):
    """The advice is neither to delete the file nor to make room."""
    path = tmp_path / "file.json"
    write_json(path, VALUE)

    def refuse(*args, **kwargs):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as full:
        full.setattr("pathlib.Path.open", refuse)
        full.setattr("io.open", refuse)
        full.setattr("mmbench.storage.files.TemporaryFile", refuse)
        calls = (
            lambda: read_json(path),
            lambda: write_json(path, VALUE),
            lambda: check_writable(tmp_path, "folder", "choose another"),
        )
        for call in calls:
            with pytest.raises(InputError, match=r"\(Too many open files\): raise the limit") as caught:
                call()
            assert not isinstance(caught.value, DamagedError)
    assert read_json(path) == VALUE


def test_what_a_killed_writer_left_is_written_over(tmp_path):
    path = tmp_path / "file"
    (tmp_path / "file.part").write_bytes(b"half of something long")
    write_atomically(path, b"whole")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"file": b"whole"}
