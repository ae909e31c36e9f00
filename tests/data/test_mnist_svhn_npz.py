"""A damaged or missing .npz file of mnist-svhn, and the folder that they are in."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mnist_svhn_files import Arrays, make_arrays

from mmbench.data import load_data
from models.errors import InputError


def rewrite(change: Callable[[Arrays], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        arrays = make_arrays("svhn", "train")
        change(arrays)
        np.savez(path, **arrays)

    return damage


def set_array(name: str, make: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    return rewrite(lambda arrays: arrays.update({name: make(arrays[name])}))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


def corrupt_middle(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    path.write_bytes(data)


def declare_size(n: int) -> Callable[[Path], None]:
    """An archive whose header promises `n` images and whose data are missing."""

    def damage(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, shape in (("images", (n, 32, 32, 3)), ("labels", (n,))):
                with archive.open(f"{name}.npy", "w") as file:
                    np.lib.format.write_array_header_1_0(
                        file, {"descr": "|u1", "fortran_order": False, "shape": shape}
                    )

    return damage


EXPECTED = r"expected `images` \(N, 32, 32, 3\) uint8 and `labels` \(N,\) whole numbers"


# every case changes svhn_train.npz of a good folder, and must be answered with its message
BAD_FILES = {
    "truncated": (truncate, "cannot be read as an .npz archive"),
    "bytes changed": (corrupt_middle, "cannot be read as an .npz archive"),
    "not a zip": (
        lambda path: path.write_bytes(b"\x93NUMPY and so on"),
        r"cannot be read as an .npz archive \(File is not a zip file\)",
    ),
    "empty file": (
        lambda path: path.write_bytes(b""),
        r"cannot be read as an .npz archive \(File is not a zip file\)",
    ),
    "zip of no arrays": (
        lambda path: zipfile.ZipFile(path, "w").writestr("readme", "hello"),
        "cannot be read as an .npz archive",
    ),
    "no images": (rewrite(lambda a: a.pop("images")), f"has no `images`: {EXPECTED}; it holds labels"),
    "no labels": (rewrite(lambda a: a.pop("labels")), f"has no `labels`: {EXPECTED}; it holds images"),
    "channels first": (
        set_array("images", lambda x: x.transpose(0, 3, 1, 2)),
        rf"`images` in .* is \(40, 3, 32, 32\) uint8: {EXPECTED}",
    ),
    "no channels": (
        set_array("images", lambda x: x[..., 0]),
        rf"`images` in .* is \(40, 32, 32\) uint8: {EXPECTED}",
    ),
    "floats": (
        set_array("images", lambda x: x / 255),
        rf"`images` in .* is \(40, 32, 32, 3\) float64: {EXPECTED}",
    ),
    "objects": (
        set_array("images", lambda x: np.array([None] * 40)),
        r"cannot be read as an \.npz archive \(`images`: Object arrays cannot be loaded",
    ),
    "no items": (
        rewrite(lambda a: a.update(images=a["images"][:0], labels=a["labels"][:0])),
        rf"is \(0, 32, 32, 3\) uint8: {EXPECTED}",
    ),
    "labels of wrong type": (
        set_array("labels", lambda x: x.astype(float)),
        rf"`labels` in .* is \(40\) float64: {EXPECTED}",
    ),
    "labels in a column": (
        set_array("labels", lambda x: x[:, None]),
        rf"`labels` in .* is \(40, 1\) uint8: {EXPECTED}",
    ),
    "unequal lengths": (set_array("labels", lambda x: x[:-1]), "holds 40 images but 39 of `labels`"),
    "label 10": (
        set_array("labels", lambda x: np.where(x == 0, 10, x)),
        "go from 1 to 10: expected digits from 0 to 9",
    ),
    "label -1": (
        set_array("labels", lambda x: x.astype(int) - 1),
        "go from -1 to 8: expected digits from 0 to 9",
    ),
    "one image of a class": (
        set_array("labels", lambda x: np.array([3, *[0, 1, 2, 4, 5, 6, 7, 8, 9] * 4, 0, 1, 2])),
        "than 2 images of class 3: ",
    ),
    "parts of unequal length": (
        rewrite(lambda a: a.update(official_part=a["labels"][1:] % 2)),
        "holds 40 images but 39 of `official_part`",
    ),
    "parts neither train nor test": (
        rewrite(lambda a: a.update(official_part=a["labels"] % 3)),
        "holds other values than 0 and 1",
    ),
    "absurd size": (declare_size(10**13), r"cannot be read as an \.npz archive \(Unable to allocate"),
    "data missing": (declare_size(10**4), "cannot be read as an .npz archive"),
    "a folder": (
        lambda path: (path.unlink(), path.mkdir()),
        r"cannot be read as an .npz archive \(Is a directory\)",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_file(folder: Path, case: str) -> None:
    damage, message = BAD_FILES[case]
    path = folder / "svhn_train.npz"
    damage(path)
    with pytest.raises(InputError, match=message) as caught:
        load_data("mnist-svhn", folder)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError) as with_text:
        load_data("mnist-svhn-text", folder)
    assert str(with_text.value) == str(caught.value)


def test_one_file_of_two(folder: Path) -> None:
    (folder / "mnist_test.npz").unlink()
    with pytest.raises(InputError, match=r"holds mnist_train.npz but no mnist_test.npz: put both there"):
        load_data("mnist-svhn", folder)


@pytest.mark.parametrize("name", ["mnist-svhn", "mnist-svhn-text"])
def test_bad_folders(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MMBENCH_DATA", raising=False)
    with pytest.raises(InputError, match="--data-dir or the environment variable MMBENCH_DATA"):
        load_data(name)
    with pytest.raises(InputError, match="nowhere does not exist"):
        load_data(name, tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file is a file: give the folder"):
        load_data(name, tmp_path / "file")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(InputError, match="cannot be read: change its permissions"):
        load_data(name, tmp_path)


@pytest.mark.parametrize("name", ["mnist-svhn", "mnist-svhn-text"])
@pytest.mark.usefixtures("no_network")
def test_an_empty_folder_without_network(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"mnist_train.npz and mnist_test.npz nor torchvision's MNIST/raw/.*"
        r"download failed \(.*\): put the one",
    ) as caught:
        load_data(name, tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir()), "something half-written stays"


def test_the_environment_names_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMBENCH_DATA", str(folder))
    assert load_data("mnist-svhn").name == "mnist-svhn"
