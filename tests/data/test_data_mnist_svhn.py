"""mnist-svhn, alone and with text: arrays, torchvision's files, and every way in which they can be wrong."""

import gzip
import hashlib
import os
import re
import struct
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.error import URLError

import numpy as np
import pytest
import torch
from scipy.io import savemat

from mmbench.data import DATASETS, load_data
from mmbench.data.arrays import LabelledArrays
from mmbench.data.base import DataSettings, MultimodalData
from mmbench.data.mnist_svhn import coverage_note
from mmbench.data.text import make_texts
from models.errors import InputError

REAL = os.environ.get("MMBENCH_DATA")
SHAPES = {"mnist": (28, 28), "svhn": (32, 32, 3)}
SIZES = {"train": 40, "test": 20}
Arrays = dict[str, np.ndarray]


def make_arrays(name: str, part: str) -> Arrays:
    n = SIZES[part]
    random = np.random.default_rng([len(name), n])
    return {
        "images": random.integers(0, 256, (n, *SHAPES[name]), dtype=np.uint8),
        "labels": random.permutation(n).astype(np.uint8) % 10,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The four files, tiny."""
    for name in SHAPES:
        for part in SIZES:
            np.savez_compressed(tmp_path / f"{name}_{part}.npz", **make_arrays(name, part))
    return tmp_path


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


def test_arrays(folder: Path) -> None:
    data = load_data("mnist-svhn", folder, DataSettings(pairs_per_image=3))
    assert [m.name for m in data.modalities] == list(data.train.items) == ["mnist", "svhn"]
    assert data.modalities[0].weight == pytest.approx(3072 / 784)
    for split, n in (
        (data.train, 30),
        (data.validation, 10),
        (data.test, 20),
    ):  # one of each class is held out
        assert {name: (x.dtype, *x.shape) for name, x in split.items.items()} == {
            "mnist": (torch.uint8, n, 1, 28, 28),
            "svhn": (torch.uint8, n, 3, 32, 32),
        }
        assert split.pairs.shape == (3 * 2 * n, 2)
        for name, labels in split.labels.items():
            assert torch.bincount(labels).tolist() == [n // 10] * 10, name

    raw = make_arrays("svhn", "test")
    assert np.array_equal(data.test.items["svhn"].permute(0, 2, 3, 1).numpy(), raw["images"])
    assert np.array_equal(data.test.labels["svhn"].numpy(), raw["labels"])


def test_the_hold_out_is_a_partition_of_the_train_part(folder: Path) -> None:
    data = load_data("mnist-svhn", folder)
    for name in SHAPES:
        raw = make_arrays(name, "train")
        whole = sorted(
            (image.tobytes(), int(label)) for image, label in zip(raw["images"], raw["labels"], strict=True)
        )
        assert whole == sorted(contents(data, "train", name) + contents(data, "validation", name))
        assert len({image for image, _ in whole}) == len(whole)


def contents(data: MultimodalData, split: str, name: str) -> list[tuple[bytes, int]]:
    """Images as bytes, channels last, with their labels."""
    of = getattr(data, split)
    return [
        (x.permute(1, 2, 0).numpy().tobytes(), int(y))
        for x, y in zip(of.items[name], of.labels[name], strict=True)
    ]


def test_provenance(folder: Path) -> None:
    first = load_data("mnist-svhn", folder).provenance
    assert first["modalities"]["svhn"]["train"]["images"] == 30
    assert first["pairs"] == {"train": 600, "validation": 200, "test": 400}
    assert first["settings"] == {"pairs_per_image": 10, "pairing_seed": 0}
    assert any(
        note.startswith("SVHN: 60 of 99,289 official crops (40 of 73,257 train, 20 of 26,032 test)")
        for note in first["notes"]
    )

    changed = make_arrays("svhn", "test")
    changed["images"][3, 2, 1, 0] ^= 1
    np.savez(folder / "svhn_test.npz", **changed)
    second = load_data("mnist-svhn", folder).provenance
    hashes = [
        {(m, part): of[part]["sha256"] for m, of in p["modalities"].items() for part in of}
        for p in (first, second)
    ]
    assert [key for key in hashes[0] if hashes[0][key] != hashes[1][key]] == [("svhn", "test")]


def test_with_text(folder: Path) -> None:
    """The images, splits and notes of mnist-svhn, and words of the same class."""
    two, three = load_data("mnist-svhn", folder), load_data("mnist-svhn-text", folder)
    assert [m.name for m in three.modalities] == ["mnist", "svhn", "text"]
    assert three.modalities[:2] == two.modalities
    assert {name: hashes(three)[name] for name in SHAPES} == hashes(two)
    assert torch.equal(three.test.items["text"], make_texts()[1].items)
    assert three.provenance["notes"][:-1] == two.provenance["notes"]
    assert three.provenance["notes"][-1].startswith("Text: ")
    for split in (three.train, three.validation, three.test):
        classes = torch.stack(
            [labels[column] for labels, column in zip(split.labels.values(), split.pairs.t(), strict=True)]
        )
        assert (classes == classes[0]).all()
    entry = DATASETS.get("mnist-svhn-text")
    assert (entry.default_preset, entry.needs_data_dir) == ("paper", True)


@pytest.mark.parametrize(
    ("parts", "counts", "expected"),
    [
        (None, (73_257, 26_032), None),
        (
            ([0] * 5, [1] * 3),
            (5, 3),
            "SVHN: 8 of 99,289 official crops (5 of 73,257 train, 3 of 26,032 test): not comparable",
        ),
        (
            ([0, 0, 1, 1, 1], [1, 0, 1]),
            (5, 3),
            "SVHN: 8 of 99,289 official crops (3 train, 5 test), re-split by photo into 5 / 3: not",
        ),
        (
            ([0] * 5, [1, 1, 0]),
            (5, 3),
            "SVHN: 8 of 99,289 official crops (6 train, 2 test), re-split by photo into 5 / 3: not",
        ),
    ],
)
def test_coverage_note(
    parts: tuple[list[int], list[int]] | None, counts: tuple[int, int], expected: str | None
) -> None:
    train, test = (
        LabelledArrays(
            np.empty((n, 0)), np.empty(n), None if parts is None else np.array(parts[i], dtype=np.uint8)
        )
        for i, n in enumerate(counts)
    )
    note = coverage_note("svhn", train, test)
    assert note is None if expected is None else note is not None and note.startswith(expected)


# Every case changes svhn_train.npz of a good folder, and must be answered with its message.


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


# torchvision's files: the same images in its formats must be the same data.


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


def hashes(data: MultimodalData) -> dict[str, object]:
    return data.provenance["modalities"]


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


def test_registry() -> None:
    entry = DATASETS.get("mnist-svhn")
    assert (entry.default_preset, entry.needs_data_dir) == ("paper", True)
    with pytest.raises(
        InputError, match=re.escape("Unknown data set 'mnist-svnh': did you mean 'mnist-svhn'?")
    ):
        load_data("mnist-svnh")


@pytest.mark.skipif(
    REAL is None or not Path(REAL, "svhn_train.npz").exists(),
    reason="MMBENCH_DATA does not name a folder with the real arrays",
)
def test_real_images() -> None:
    data = load_data("mnist-svhn", REAL)
    counts = {
        name: [
            data.provenance["modalities"][name][split]["images"] for split in ("train", "validation", "test")
        ]
        for name in SHAPES
    }
    assert counts["mnist"] == [57_000, 3_000, 10_000]
    train, validation, test = counts["svhn"]
    share = 0.1 if train + validation < 20_000 else 0.05
    assert abs(validation - share * (train + validation)) <= 5
    assert data.provenance["pairs"]["test"] == 10 * (10_000 + test)
    assert "re-split by photo" in " ".join(data.provenance["notes"])
    assert {name: hashes(load_data("mnist-svhn-text", REAL))[name] for name in SHAPES} == hashes(data)
