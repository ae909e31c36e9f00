"""Archives that anybody may have made: nothing in them runs, no bomb is unpacked, no damage is used."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from mmbench.data.arrays import read_arrays
from mmbench.storage.archives import read_npz, read_torch, torch_bytes
from models.errors import InputError


class Malicious:
    """Unpickling it creates a file."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "old format"])
def test_a_malicious_pickle_is_refused_and_does_nothing(legacy, tmp_path):
    path, mark = tmp_path / "checkpoint.pt", tmp_path / "mark"
    torch.save({"model": Malicious(mark)}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(
        ValueError, match="not a zip file" if legacy else "it holds other objects than tensors"
    ):
        read_torch(path)
    np.savez(path.with_suffix(".npz"), mean=np.array([Malicious(mark)], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        read_npz(path.with_suffix(".npz"))
    path.write_bytes(pickle.dumps(Malicious(mark)))
    for read in (read_torch, read_npz):
        with pytest.raises(ValueError, match="not a zip file"):
            read(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: npy((3,), b"ab"), "expected 3 bytes got 2"),
        (lambda: npy((-(10**12), 1)), "negative dimensions"),
        (lambda: npy((10**17,), b"ab"), "Unable to allocate"),
        (lambda: npy((2**40, 2**40)), "cannot reshape"),
        (lambda: b"\x93NUMPY\x02\x00\xff\xff\xff\xfe{", "EOF: reading array header"),
        (lambda: b"hello", "EOF: reading magic string"),
    ],
    ids=["short", "negative", "huge", "overflowing", "long header", "no array"],
)
def test_an_array_that_is_not_what_its_header_says(content, message, tmp_path):
    path = tmp_path / "arrays.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", content())
    with pytest.raises(ValueError, match=message):
        read_npz(path)


def test_a_file_that_memory_does_not_hold_is_damage(tmp_path, monkeypatch):
    np.savez(tmp_path / "arrays.npz", a=np.zeros(3))
    monkeypatch.setattr("numpy.lib.format.read_array", lambda *a, **k: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(ValueError, match="MemoryError"):
        read_npz(tmp_path / "arrays.npz")


def npy(shape, data=b""):
    """A .npy file that declares `shape` of uint8."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.getvalue() + data


def bomb(path, size=6 * 2**30):
    """Some 30 MB that unpack to `size` bytes, packed in a hurry."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("images.npy", "w", force_zip64=True) as file:
            file.write(npy((40, 28, 28)))
            for _ in range(size // 2**24):
                file.write(bytes(2**24))
        archive.writestr("labels.npy", npy((40,), bytes(range(10)) * 4))


@pytest.mark.slow
def test_a_real_zip_bomb_is_not_unpacked(tmp_path):
    bomb(tmp_path / "bomb.npz")
    with pytest.raises(ValueError, match="it declares 6,442,4"):
        read_npz(tmp_path / "bomb.npz")
    with pytest.raises(InputError, match="it declares 6,442,4"):
        read_arrays(tmp_path / "bomb.npz", (28, 28))


def test_what_a_directory_declares_is_looked_at_before_anything_is_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", npy((40, 28, 28), bytes(100)))
    content = path.read_bytes()
    size = len(npy((40, 28, 28), bytes(100))).to_bytes(4, "little")
    at = content.rindex(size)
    path.write_bytes(content[:at] + b"\xff\xff\xff\xfe" + content[at + 4 :])
    monkeypatch.setattr("zipfile.ZipFile.read", lambda *a: pytest.fail("unpacked it"))
    monkeypatch.setattr("mmbench.storage.archives.MAX_BYTES", 2**20)
    with pytest.raises(ValueError, match=r"declares .* bytes, more than 1,048,576"):
        read_npz(path)


def test_a_compressed_checkpoint_is_not_unpacked(tmp_path):
    """torch compresses nothing: a file that declares more than its own size is a bomb."""
    whole, path = io.BytesIO(torch_bytes({"a": torch.zeros(2**18)})), tmp_path / "checkpoint.pt"
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for member in source.namelist():
            bomb.writestr(member, source.read(member))
    assert path.stat().st_size < 10_000
    with pytest.raises(ValueError, match=r"it declares 1,0.* bytes, more than"):
        read_torch(path)


def test_members_go_nowhere(tmp_path):
    path = tmp_path / "deep" / "arrays.npz"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../outside.npy", npy((3,), b"abc"))
        archive.writestr("/root.npy", npy((3,), b"abc"))
    assert all(array.tobytes() == b"abc" for array in read_npz(path).values())
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["arrays.npz"]


@pytest.mark.parametrize("kind", ["pt", "npz"])
def test_every_changed_byte_of_an_archive_is_noticed_or_means_nothing(kind, tmp_path):
    values = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(7)}
    path, read = tmp_path / f"file.{kind}", read_torch if kind == "pt" else read_npz
    if kind == "pt":
        path.write_bytes(torch_bytes({name: torch.from_numpy(value) for name, value in values.items()}))
    else:
        np.savez(path, **values)
    whole = path.read_bytes()
    chance = np.random.default_rng(0)
    positions = chance.choice(len(whole), min(len(whole), 400), replace=False)
    refused = 0
    for position in positions:
        path.write_bytes(
            whole[:position] + bytes([whole[position] ^ int(chance.integers(1, 256))]) + whole[position + 1 :]
        )
        try:
            found = read(path)
        except (OSError, ValueError):
            refused += 1
            continue
        assert found.keys() == values.keys(), position
        assert all(np.array_equal(np.asarray(found[name]), value) for name, value in values.items()), position
    assert refused > 50
