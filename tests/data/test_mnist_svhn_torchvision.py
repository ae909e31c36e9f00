"""torchvision's files of MNIST and SVHN: the same images in them are the same data."""

import gzip
import hashlib
import struct
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from mnist_svhn_files import SIZES, hashes, make_arrays
from scipy.io import savemat

from mmbench.data import load_data
from models.errors import InputError


def write_mnist(raw: Path) -> None:
    raw.mkdir(parents=True)
    for part, prefix in (("train", "train"), ("test", "t10k")):
        arrays = make_arrays("mnist", part)
        for kind, array in (("images-idx3", arrays["images"]), ("labels-idx1", arrays["labels"])):
            (raw / f"{prefix}-{kind}-ubyte").write_bytes(
                struct.pack(f">{array.ndim + 1}i", 0x800 + array.ndim, *array.shape) + array.tobytes()
            )


def write_svhn(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both .mat files, the digit 0 written as 10; torchvision is told their MD5, which it checks."""
    from torchvision.datasets import SVHN

    known = {}
    for part in SIZES:
        arrays, path = make_arrays("svhn", part), folder / f"{part}_32x32.mat"
        labels = np.where(arrays["labels"] == 0, 10, arrays["labels"])
        savemat(path, {"X": arrays["images"].transpose(1, 2, 3, 0), "y": labels[:, None]})
        known[part] = [SVHN.split_list[part][0], path.name, hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(SVHN, "split_list", SVHN.split_list | known)


@pytest.mark.usefixtures("no_network")
def test_torchvision_files(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    official = tmp_path_factory.mktemp("official")
    write_mnist(official / "MNIST" / "raw")
    write_svhn(official, monkeypatch)
    assert hashes(load_data("mnist-svhn", official)) == hashes(load_data("mnist-svhn", folder))


SPELLINGS = {
    "as torchvision unpacks them": "MNIST/raw/{stem}-ubyte",
    "packed": "MNIST/raw/{stem}-ubyte.gz",
    "dotted": "MNIST/raw/{dotted}-ubyte",
    "dotted and packed": "MNIST/raw/{dotted}-ubyte.gz",
    "in the folder itself": "{stem}-ubyte.gz",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.usefixtures("no_network")
def test_mnist_in_every_spelling(spelling: str, folder: Path) -> None:
    """As it is published (packed) and as others unpack it (with a dot): the same images."""
    expected = hashes(load_data("mnist-svhn", folder))
    write_mnist(folder / "unpacked")
    for file in (folder / "unpacked").iterdir():
        stem = file.name.removesuffix("-ubyte")
        target = folder / SPELLINGS[spelling].format(stem=stem, dotted=stem.replace("-idx", ".idx"))
        target.parent.mkdir(parents=True, exist_ok=True)
        content = file.read_bytes()
        target.write_bytes(gzip.compress(content) if target.suffix == ".gz" else content)
    for part in SIZES:
        (folder / f"mnist_{part}.npz").unlink()
    assert hashes(load_data("mnist-svhn", folder)) == expected


@pytest.mark.usefixtures("no_network")
def test_some_of_the_files_of_mnist_are_named(folder: Path) -> None:
    write_mnist(folder / "MNIST" / "raw")
    (folder / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    for part in SIZES:
        (folder / f"mnist_{part}.npz").unlink()
    some = "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte alone"
    with pytest.raises(InputError, match=f"their download failed .*Of the latter there is {some}"):
        load_data("mnist-svhn", folder)


def resize(size: int) -> Callable[[bytes], bytes]:
    """Changes how many images a file says that it has."""
    return lambda content: content[:4] + struct.pack(">I", size) + content[8:]


WRONG_MNIST = {
    "cut off": (lambda content: content[:-10], "cannot reshape array of size 31350"),
    "longer": (lambda content: content + b"x", "cannot reshape array of size 31361"),
    "empty": (lambda content: b"", "it begins with nothing"),
    "labels": (lambda content: bytes((0, 0, 8, 1)) + content[4:], "it begins with 00 00 08 01"),
    "no IDX file": (lambda content: b"hello", "it begins with 68 65 6c 6c"),
    "huge": (resize(2**32 - 1), "cannot reshape array"),
}


@pytest.mark.parametrize("case", WRONG_MNIST)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.usefixtures("no_network")
def test_a_file_of_mnist_that_is_wrong(case: str, packed: bool, folder: Path) -> None:
    change, message = WRONG_MNIST[case]
    write_mnist(folder / "MNIST" / "raw")
    images = folder / "MNIST" / "raw" / "train-images-idx3-ubyte"
    content = change(images.read_bytes())
    if packed:
        images.unlink()
        images = images.with_name(f"{images.name}.gz")
    images.write_bytes(gzip.compress(content) if packed else content)
    for part in SIZES:
        (folder / f"mnist_{part}.npz").unlink()
    with pytest.raises(
        InputError,
        match=rf"{images.name} cannot be read as an IDX file .*{message}.*get it again, or save its images",
    ):
        load_data("mnist-svhn", folder)


@pytest.mark.usefixtures("no_network")
def test_a_packed_file_that_is_none(folder: Path) -> None:
    write_mnist(folder / "MNIST" / "raw")
    images = folder / "MNIST" / "raw" / "train-images-idx3-ubyte"
    whole = gzip.compress(images.read_bytes())
    images.unlink()
    for part in SIZES:
        (folder / f"mnist_{part}.npz").unlink()
    for content in (gzip.compress(b"x\n"), b"x", whole[:-100], whole[:50] + b"?" * 50 + whole[100:]):
        images.with_name(f"{images.name}.gz").write_bytes(content)
        with pytest.raises(InputError, match=rf"{images.name}\.gz cannot be read as an IDX file"):
            load_data("mnist-svhn", folder)


@pytest.mark.usefixtures("no_network")
def test_labels_that_do_not_belong_to_the_images(folder: Path) -> None:
    raw = folder / "MNIST" / "raw"
    write_mnist(raw)
    (raw / "train-labels-idx1-ubyte").write_bytes((raw / "t10k-labels-idx1-ubyte").read_bytes())
    for part in SIZES:
        (folder / f"mnist_{part}.npz").unlink()
    with pytest.raises(InputError, match=r"hold images \(40, 28, 28\) uint8 and 20 labels, expected"):
        load_data("mnist-svhn", folder)


@pytest.mark.usefixtures("no_network")
def test_a_file_of_svhn_that_is_not_the_published_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download that went wrong, or a file that somebody saved again: the advice is never to delete it."""
    write_svhn(folder, monkeypatch)
    for part in SIZES:
        (folder / f"svhn_{part}.npz").unlink()
    mat = folder / "test_32x32.mat"
    mat.write_bytes(mat.read_bytes()[:-10])
    with pytest.raises(
        InputError,
        match=r"test_32x32\.mat is not the published file, its MD5 is \w{32} and not \w{32}: get it from http"
        r".*, or, where it differs on purpose, save its images and labels as svhn_train\.npz",
    ) as caught:
        load_data("mnist-svhn", folder)
    assert "delete" not in str(caught.value)


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Serves a folder over HTTP on this machine and returns its URL."""
    servers = []

    def start(shelf: Path) -> str:
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(shelf))))
        Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


def test_download(
    folder: Path,
    serve: Callable[[Path], str],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that offers torchvision's archives: whole files end up in the folder and are read."""
    from torchvision.datasets import MNIST, SVHN

    shelf, target = tmp_path_factory.mktemp("shelf"), tmp_path_factory.mktemp("target")
    write_mnist(shelf / "raw")
    write_svhn(shelf, monkeypatch)
    resources = []
    for file in sorted((shelf / "raw").iterdir()):
        archive = shelf / f"{file.name}.gz"
        archive.write_bytes(gzip.compress(file.read_bytes()))
        resources.append((archive.name, hashlib.md5(archive.read_bytes()).hexdigest()))
    url = serve(shelf)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(MNIST, "mirrors", [url])
    monkeypatch.setattr(MNIST, "resources", resources)
    monkeypatch.setattr(
        SVHN,
        "split_list",
        {part: [url + name, name, md5] for part, (_, name, md5) in SVHN.split_list.items()},
    )

    assert hashes(load_data("mnist-svhn", target)) == hashes(load_data("mnist-svhn", folder))
    assert sorted(path.name for path in target.iterdir()) == ["MNIST", "test_32x32.mat", "train_32x32.mat"]
