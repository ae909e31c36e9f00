"""What a loader returns is checked before anything is trained: each fault is answered with a remedy."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mmbench.data import DATASETS, DataSettings, MultimodalData, check_dataset, load_data
from mmbench.data.check import DatasetError, check_modalities, is_usable_name
from mmbench.data.splits import Images, assemble
from models.base import Modality
from models.errors import InputError

IMAGES = (Modality("a", (1, 8, 8)), Modality("b", (3, 8, 8)))
Loader = Callable[[object, DataSettings], object]


def make_part(modality: Modality, labels: Tensor) -> Images:
    generator = torch.Generator().manual_seed(len(labels))
    shape = len(labels), *modality.shape
    return Images(torch.randint(256, shape, generator=generator, dtype=torch.uint8), labels)


def make(
    modalities: tuple[Modality, ...] = IMAGES,
    numbers: object = range(4),
    change: Callable[[Images], Images] = lambda part: part,
    **more: object,
) -> MultimodalData:
    """20 train and 5 test items of each class; `change` is for the last modality's train part."""
    labels = torch.tensor(list(numbers))
    parts = {
        m.name: (make_part(m, labels.repeat_interleave(20)), make_part(m, labels.repeat_interleave(5)))
        for m in modalities
    }
    name = modalities[-1].name
    parts[name] = (change(parts[name][0]), parts[name][1])
    return assemble("case", modalities, parts, DataSettings(pairs_per_image=2), **more)


def with_items(function: Callable[[Tensor], object]) -> Callable[[Images], Images]:
    return lambda part: Images(function(part.items), part.labels)


def with_labels(function: Callable[[Tensor], object]) -> Callable[[Images], Images]:
    return lambda part: Images(part.items, function(part.labels))


TEXT = Modality("text", (3, 4), likelihood="categorical", symbols=" abc")
COUNTS = Modality("tags", (4,), likelihood="multinomial", symbols="abcd", words=5)
WRONG_PARTS = {
    "float items": (
        {"change": with_items(lambda x: x.float())},
        r"the items of b, train part, are float32 \(80, 3, 8, 8\): expected uint8 from 0 to 255; for floats",
    ),
    "floats in [0, 1]": (
        {"change": with_items(lambda x: x / 255)},
        r"are float32 .* \(items \* 255\)\.round",
    ),
    "an array": (
        {"change": with_items(lambda x: x.numpy())},
        "are of type ndarray: expected a dense torch.Tensor",
    ),
    "another shape": (
        {"change": with_items(lambda x: x[:, :1])},
        r"are uint8 \(80, 1, 8, 8\): expected \(N, 3, 8, 8\) as the modality declares",
    ),
    "channels last": ({"change": with_items(lambda x: x.permute(0, 2, 3, 1))}, r"expected \(N, 3, 8, 8\)"),
    "one item": ({"change": lambda part: Images(part.items[:1], part.labels[:1])}, "N two or more"),
    "no items": ({"change": lambda part: Images(part.items[:0], part.labels[:0])}, "N two or more"),
    "bits": (
        {"change": with_items(lambda x: x // 128)},
        "are all 0 or 1, almost black: 255 stands for white",
    ),
    "fewer labels": (
        {"change": with_labels(lambda y: y[:-1])},
        "b, train part, has 80 items and 79 labels: expected a label for each item",
    ),
    "float labels": (
        {"change": with_labels(lambda y: y.float())},
        r"the labels of b, train part, are float32 \(80,\): expected \(N,\) whole numbers",
    ),
    "labels of one bit": (
        {"change": with_labels(lambda y: y > 0)},
        r"are bool \(80,\): expected \(N,\) whole",
    ),
    "one-hot labels": (
        {"change": with_labels(lambda y: torch.nn.functional.one_hot(y))},
        r"are int64 \(80, 4\): expected \(N,\) whole numbers",
    ),
    "a list of labels": (
        {"change": with_labels(lambda y: y.tolist())},
        "are of type list: expected a torch.Tensor",
    ),
    "label -1": (
        {"change": with_labels(lambda y: y - 1)},
        "the labels of b, train part, go from -1 to 2: expected classes from 0 on; every item needs one",
    ),
    "labels from 1 on": (
        {"numbers": range(1, 11)},
        "the labels go from 1 to 10, and no item is of class 0: expected all of 0 to 10. Number the classes",
    ),
    "a gap": ({"numbers": (0, 1, 10**12)}, "no item is of class 2: expected all of 0 to 1000000000000"),
    "one class": ({"numbers": [0]}, "all labels are 0: expected two classes or more"),
    "a class of one modality": (
        {"change": with_labels(lambda y: y.where(y < 3, 0))},
        "b has no train item of class 3, which another modality has",
    ),
    "one item of a class": (
        {"change": with_labels(lambda y: torch.cat([y[:61], y[:19]]))},
        "b has one train item of class 3: expected two or more, as one is held out for validation",
    ),
    "too few class names": (
        {"classes": ("cat", "dog")},
        "a label is 3, but only 2 classes have names: expected 0 to 1",
    ),
    "too many class names": ({"classes": "abcde"[:0] or tuple("abcde")}, "no item is of class 4"),
    "class names that repeat": ({"classes": ("x", "y", "x", "z")}, "more than one class is called 'x'"),
    "a class name of two lines": ({"classes": ("w", "x", "y\n", "z")}, "is not usable: expected up to 48"),
    "a class name of many letters": ({"classes": ("w", "x", "y", "z" * 49)}, "expected up to 48 printable"),
    "item numbers as labels": ({"change": with_labels(lambda y: y * 5000)}, "no item is of class 4"),
    "class names that are numbers": ({"classes": (1, 2, 3, 4)}, "expected a text for each class"),
    "one modality": ({"modalities": IMAGES[:1]}, "it has one modality, a: expected at least two"),
    "a vector": (
        {"modalities": (IMAGES[0], Modality("v", (16,)))},
        r"the modality 'v' has the shape \(16,\): expected images \(C, H, W\), or categorical text, multino"
        "mial or poisson counts, or gaussian vectors",
    ),
    "a vector in bytes": (
        {"modalities": (IMAGES[0], Modality("v", (16,), "gaussian"))},
        r"the items of v, train part, are uint8 \(80, 16\): expected \(N, 16\) float32 from 0 to 1",
    ),
    "broken counts": (
        {
            "modalities": (IMAGES[0], Modality("v", (4,), "poisson", words=3)),
            "change": with_items(lambda x: torch.full(x.shape, 0.4)),
        },
        r"the items of v, train part, are no counts up to 3: expected counts / 3",
    ),
    "eleven modalities": (
        {"modalities": tuple(Modality(f"m{i}", (1, 8, 8)) for i in range(11))},
        "it has 11 modalities: expected 10 at most",
    ),
    "an empty side": (
        {"modalities": (IMAGES[0], Modality("v", (1, 0, 8)))},
        "expected a tuple of positive whole",
    ),
    "text that is not one-hot": (
        {"modalities": (IMAGES[0], TEXT)},
        "the items of text, train part, are no one-hot",
    ),
    "counts of two dimensions": (
        {"modalities": (IMAGES[0], replace(COUNTS, shape=(3, 4)))},
        r"the modality 'tags' is counts of shape \(3, 4\): expected \(symbols,\)",
    ),
    "counts that are none": (
        {"modalities": (IMAGES[0], COUNTS)},
        r"the items of tags, train part, are no counts of up to 5 words: expected \(counts \* 255 / 5\)",
    ),
    "counts of too many words": (
        {"modalities": (IMAGES[0], COUNTS), "change": with_items(lambda x: torch.full_like(x, 102))},
        r"the items of tags, train part, have 8 to 8 words each: expected 1 to 5",
    ),
    "counts without words": (
        {"modalities": (IMAGES[0], COUNTS), "change": with_items(torch.zeros_like)},
        r"the items of tags, train part, have 0 to 0 words each: expected 1 to 5",
    ),
    "no weight": ({"modalities": (IMAGES[0], Modality("v", (1, 8, 8), weight=0))}, "has the weight 0"),
    "an unknown likelihood": (
        {"modalities": (IMAGES[0], Modality("v", (1, 8, 8), likelihood="student"))},
        "has the likelihood 'student': expected gaussian, laplace, bernoulli, categorical, multinomial, ",
    ),
}


@pytest.mark.parametrize("case", WRONG_PARTS)
def test_parts_that_are_wrong(case: str, register: Callable[[Loader], None]) -> None:
    arguments, message = WRONG_PARTS[case]
    register(lambda folder, settings: make(**arguments))
    with pytest.raises(DatasetError, match=f"The data set 'case' cannot be used: .*{message}"):
        load_data("case")


def put(data: MultimodalData, split: str = "test", **changes: object) -> MultimodalData:
    return replace(data, **{split: replace(getattr(data, split), **changes)})


def change_pair(data: MultimodalData, column: int, value: int) -> MultimodalData:
    pairs = data.test.pairs.clone()
    pairs[7, column] = value
    return put(data, pairs=pairs)


WRONG_DATA = {
    "float items": (
        lambda d: put(d, items={**d.test.items, "a": d.test.items["a"] / 255}),
        r"the items of a, test split, are float32",
    ),
    "no labels of a modality": (
        lambda d: put(d, labels={"a": d.test.labels["a"]}),
        "the labels of its test split are of a: expected a dict in the order of the modalities, a, b",
    ),
    "another order": (
        lambda d: put(d, items=dict(reversed(d.test.items.items()))),
        "the items of its test split are of b, a: expected a dict in the order of the modalities",
    ),
    "a split that is none": (lambda d: replace(d, validation=None), "validation split is of type NoneType"),
    "pairs out of range": (
        lambda d: change_pair(d, 1, 20),
        "the pairs of its test split name items 0 to 20 of b: expected 0 to 19",
    ),
    "pairs without a modality": (lambda d: change_pair(d, 0, -1), "name items -1 to 19 of a: expected"),
    "pairs of two classes": (
        lambda d: change_pair(d, 1, 19),
        r"1 of the pairs of its test split are of more than one class \(row 7 of 0, 3\)",
    ),
    "pairs of floats": (lambda d: put(d, pairs=d.test.pairs.double()), r"are float64 \(80, 2\): expected"),
    "pairs of three": (
        lambda d: put(d, pairs=d.test.pairs[:, [0, 1, 1]]),
        r"are int64 \(80, 3\): expected \(P, 2\)",
    ),
    "no pairs": (lambda d: put(d, pairs=d.test.pairs[:0]), "P not 0"),
    "a class of one modality": (
        lambda d: put(d, labels={**d.test.labels, "b": d.test.labels["b"].clamp(max=2)}),
        "b has no test item of class 3, which another modality has",
    ),
    "no provenance": (lambda d: replace(d, provenance={}), r"provenance is incomplete or no JSON \(KeyError"),
    "provenance of other items": (
        lambda d: put(d, items={n: x[:-1] for n, x in d.test.items.items()},
                      labels={n: y[:-1] for n, y in d.test.labels.items()},
                      pairs=d.test.pairs[:8]),
        "its provenance does not describe the test items of a",
    ),
    "provenance that is no JSON": (
        lambda d: replace(d, provenance={**d.provenance, "made": {1, 2}}),
        "its provenance is incomplete or no JSON",
    ),
    "another name": (lambda d: replace(d, name="digits"), "its loader calls it 'digits': expected 'case'"),
    "modalities that are none": (lambda d: replace(d, modalities=("a", "b")), "expected a tuple of models"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_DATA)
def test_data_that_a_loader_made_itself(case: str, register: Callable[[Loader], None]) -> None:
    change, message = WRONG_DATA[case]
    register(lambda folder, settings: change(make()))
    with pytest.raises(InputError, match=message):
        load_data("case")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_labels_of_any_whole_numbers_are_the_same_labels(
    dtype: torch.dtype, register: Callable[[Loader], None]
) -> None:
    register(lambda folder, settings: make(change=with_labels(lambda y: y.to(dtype))))
    found, expected = load_data("case"), make()
    assert found.provenance == expected.provenance
    assert found.train.labels["b"].dtype == torch.int64
    assert torch.equal(found.train.pairs, expected.train.pairs)


def test_labels_of_a_hand_made_split_become_int64(register: Callable[[Loader], None]) -> None:
    register(lambda folder, settings: put(d := make(), labels={n: y.int() for n, y in d.test.labels.items()}))
    found = load_data("case").test.labels
    assert {name: labels.dtype for name, labels in found.items()} == {"a": torch.int64, "b": torch.int64}


@pytest.mark.parametrize("count", [2, 7, 12, 30])
def test_any_number_of_classes_and_their_names(count: int, register: Callable[[Loader], None]) -> None:
    register(lambda folder, settings: make(numbers=range(count)))
    data = load_data("case")
    assert data.classes == tuple(map(str, range(count)))
    assert "classes" not in data.provenance
    names = tuple(f"kind {number}" for number in range(count))
    DATASETS.discard("case")
    register(lambda folder, settings: make(numbers=range(count), classes=names))
    assert load_data("case").classes == names == load_data("case").held_out().classes
    assert load_data("case").provenance["classes"] == list(names)


def test_a_test_class_that_training_never_saw_is_noted(register: Callable[[Loader], None]) -> None:
    def load(folder: object, settings: DataSettings) -> MultimodalData:
        train, test = torch.arange(3).repeat_interleave(10), torch.arange(4).repeat_interleave(5)
        parts = {m.name: (make_part(m, train), make_part(m, test)) for m in IMAGES}
        return assemble("case", IMAGES, parts, settings, ["A note."], ("cat", "dog", "cow", "owl"))

    register(load)
    first, second = load_data("case").provenance["notes"]
    assert first == "A note."
    assert second.startswith(
        "Test items of class owl are judged and made by networks that were trained on no item of it"
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a", "a"), "more than one modality is called 'a'"),
        (("Image", "image"), "more than one modality is called 'image', but for capitals"),
        (("con", "b"), "the modality name 'con' is reserved on Windows"),
        (("a", "NUL"), "the modality name 'NUL' is reserved"),
        (("aux", "COM1"), "the modality name 'aux' is reserved"),
        (
            ("a", "x" * 49),
            f"the modality name '{'x' * 49}' is reserved on Windows or longer than 48 characters",
        ),
        (("a", "a-a"), "two directions between a, a-a would be written to files called cross-a-a-a"),
    ],
)
def test_names_that_files_cannot_have(names: tuple[str, ...], message: str) -> None:
    assert message in check_modalities([Modality(name, (1, 8, 8)) for name in names])[0]


def test_names() -> None:
    usable = {"mnist-svhn", "Digits_2", "a.b", "console", "com10"}
    assert {
        name for name in usable | {"con", "aux.x", "a.", ".a", "a b", "a/b", "", "ä"} if is_usable_name(name)
    } == usable


def fail(folder: object, settings: DataSettings) -> MultimodalData:
    raise KeyError("images")  # the line that must be named


def test_a_loader_that_fails_is_reported_with_its_line(register: Callable[[Loader], None]) -> None:
    register(fail)
    line = fail.__code__.co_firstlineno + 1
    with pytest.raises(
        InputError,
        match=rf"'case' could not be loaded: KeyError: 'images' \({__file__}, line {line}, in fail\)",
    ):
        load_data("case")
    DATASETS.discard("case")
    register(lambda folder, settings: exit(3))
    with pytest.raises(InputError, match="could not be loaded: SystemExit: 3"):
        load_data("case")


def test_a_loader_that_returns_nothing_is_reported_with_its_line(register: Callable[[Loader], None]) -> None:
    def nothing(folder: object, settings: DataSettings) -> None:
        pass

    register(nothing)
    where = rf"\({__file__}, line {nothing.__code__.co_firstlineno}, in nothing\)"
    with pytest.raises(InputError, match=f"its loader returned NoneType: expected a MultimodalData.*{where}"):
        load_data("case")


def test_a_loader_of_an_error_of_its_own_is_believed(register: Callable[[Loader], None]) -> None:
    def refuse(folder: object, settings: DataSettings) -> None:
        raise InputError("There is no photo.")

    register(refuse)
    with pytest.raises(InputError, match=r"^There is no photo\.$"):
        load_data("case")


def test_a_check_lists_everything(register: Callable[[Loader], None]) -> None:
    register(lambda folder, settings: make())
    assert [problem for _, problem in check_dataset("case")] == [None] * 10
    DATASETS.discard("case")
    both = {name: x.float() for name, x in make().test.items.items()}
    register(
        lambda folder, settings: put(
            put(make(), items=both), "train", items={n: x / 2 for n, x in both.items()}
        )
    )
    found = [problem for _, problem in check_dataset("case") if problem]
    assert len(found) == 6  # four of floats, two of train items that are fewer than the labels
    with pytest.raises(DatasetError, match=r"`mmbench check --dataset case` lists \d more"):
        load_data("case")
    with pytest.raises(InputError, match="Unknown data set 'cas'"):
        list(check_dataset("cas"))


def test_a_problem_stops_a_job_before_anything_is_made(invoke, register, tmp_path) -> None:
    register(lambda folder, settings: make(modalities=IMAGES[:1]))
    result = invoke("run", "--models", "mvae", "--dataset", "case", "--results", tmp_path / "results")
    assert result.code == 2
    assert (
        result.text
        == "Error: The data set 'case' cannot be used: it has one modality, a: expected at least two.\n"
    )
    assert not (tmp_path / "results").exists()
