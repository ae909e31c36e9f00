"""Data files: what arrays mean, how rows are split, held out and paired, and what is wrong with bad ones."""

import pickle
import zipfile

import numpy as np
import pytest
import torch
from own_files import ODD, make_file
from PIL import Image

from mmbench.data import load_data
from mmbench.data.batches import Batches
from mmbench.data.own import register_data_file
from mmbench.data.own.findings import leakage
from mmbench.data.pairing import fill_batches, row_tuples
from models.errors import InputError


@pytest.fixture
def load(tmp_path):
    """Writes arrays to a file and loads it."""

    def call(name="mine", folder=tmp_path, **arrays):
        path = folder / f"{name}.npz"
        if arrays:
            np.savez(path, **arrays)
        return load_data(register_data_file(path).name)

    return call


def rows_of(split, name):
    """The items of a modality by the row that they are of."""
    return dict(zip(split.rows[name].tolist(), split.items[name], strict=True))


KINDS = {
    "four-modalities": {
        "grey": ("image", (1, 12, 12)),
        "colour": ("image", (3, 16, 16)),
        "vector": ("vector", (6,)),
        "counts": ("counts", (9,)),
    },
    "two-classes": {"a": ("image", (1, 8, 8)), "b": ("vector", (4,))},
    "unlabelled": {"wide": ("vector", (10,)), "square": ("image", (1, 8, 8)), "counts": ("counts", (5,))},
    "many-classes": {"vector": ("vector", (12,)), "image": ("image", (1, 10, 10))},
    "small": {"tiny": ("image", (1, 7, 5)), "sequence": ("text", (4, 5)), "channels": ("image", (4, 9, 11))},
}


@pytest.mark.parametrize("name", KINDS)
def test_kinds_and_shapes_are_found(name, load, tmp_path):
    make_file(tmp_path, name)
    data = load(name)
    assert {m.name: (m.kind, m.shape) for m in data.modalities} == KINDS[name]
    assert data.has_labels == (name != "unlabelled")
    classes = {"four-modalities": 7, "two-classes": 2, "unlabelled": 0, "many-classes": 300, "small": 3}
    assert data.class_count == len(data.classes) == classes[name]


def test_items_are_those_of_the_file(load):
    """Every split together holds every row once, in its own bits or units."""
    rng = np.random.default_rng(1)
    y = np.arange(100) % 4
    arrays = {
        "image": rng.integers(0, 256, (100, 6, 5, 3), dtype=np.uint8),
        "vector": rng.normal(50, 9, (100, 3)).astype(np.float32),
        "counts": rng.poisson(4, (100, 2)),
        "sequence": np.eye(7)[rng.integers(0, 7, (100, 2))],
    }
    data = load(**arrays, labels=y)
    images = np.concatenate([s.items["image"].numpy() for s in (data.train, data.validation, data.test)])
    assert sorted(map(bytes, images.transpose(0, 2, 3, 1).reshape(100, -1))) == sorted(
        map(bytes, arrays["image"].reshape(100, -1))
    )
    _, vector, counts, _ = data.modalities
    low, high = np.array(vector.low), np.array(vector.high)
    found = np.concatenate([s.items["vector"] for s in (data.train, data.validation, data.test)])
    np.testing.assert_allclose(
        sorted(map(tuple, low + found * (high - low))), sorted(map(tuple, arrays["vector"])), rtol=1e-4
    )
    learnt = np.concatenate([s.items["vector"] for s in (data.train, data.validation)])
    np.testing.assert_allclose(learnt.mean(0), 0.5, atol=1e-6)  # the mean, and one standard deviation
    np.testing.assert_allclose(learnt.std(0), vector.spread, rtol=1e-4)
    found = torch.cat([s.items["counts"] for s in (data.train, data.validation, data.test)]) * counts.words
    assert sorted(map(tuple, found.round().int().tolist())) == sorted(map(tuple, arrays["counts"].tolist()))
    assert counts.words == arrays["counts"].max()
    assert set(data.train.items["sequence"].unique().tolist()) == {0, 255}


def test_a_row_is_one_item_of_all_modalities(load):
    """Modalities that spell out their row: so do the items of every pair, and its label."""
    row = np.arange(120)
    data = load(a=row[:, None] + 1.0 * np.array([[0, 1]]), b=row[:, None] * 2, labels=row % 3)
    by_a, by_b = data.modalities
    for split in (data.train, data.validation, data.test):
        a = (by_a.low[0] + split.items["a"][:, 0].double() * (by_a.high[0] - by_a.low[0])).round()
        b = (split.items["b"][:, 0].double() * by_b.words).round() / 2
        assert torch.equal(a[split.pairs[:, 0]], b[split.pairs[:, 1]])
        assert torch.equal(split.labels["a"], a.long() % 3)
        assert len(split.pairs) == len(a)


def test_parts_share_no_row_and_are_drawn_by_class(load):
    y = np.array([0] * 100 + [1] * 50 + [2])
    data = load(a=np.arange(151.0)[:, None] * [1, 2], b=np.arange(151)[:, None], labels=y)
    numbers = [
        set((s.items["b"][:, 0] * data.modalities[1].words).round().int().tolist())
        for s in (data.train, data.validation, data.test)
    ]
    assert sum(map(len, numbers)) == len(set().union(*numbers)) == 151
    assert data.test.labels["a"].bincount().tolist() == [20, 10]
    assert data.validation.labels["a"].bincount().tolist() == [8, 4]
    assert 150 in numbers[0]  # the only row of its class is learnt from
    again = load(a=np.arange(151.0)[:, None] * [1, 2], b=np.arange(151)[:, None], labels=y)
    assert all(torch.equal(again.test.items[name], items) for name, items in data.test.items.items())


def test_three_ways_to_say_that_rows_lack_a_modality(load):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(80, 3)), rng.normal(size=(80, 2))
    lacking = np.array([3, 10, 11, 12, 30, 31, 50, 60, 70, 79])
    there = ~np.isin(np.arange(80), lacking)
    b[lacking] = np.nan  # nobody looks there
    ways = [{"b_missing": lacking}, {"b_missing": ~there}, {"b_mask": there}]
    ways += [{"mask": np.stack([np.ones(80, bool), there], 1)}]
    found = [load(a=a, b=b, **way) for way in ways]
    assert len({str(each.provenance["modalities"]) for each in found}) == 1
    data = found[0]
    total = sum(int((s.pairs < 0).sum()) for s in (data.train, data.validation, data.test))
    assert total == 10
    for split in (data.train, data.validation, data.test):
        assert len(split.items["b"]) == int((split.pairs[:, 1] >= 0).sum())
        own = rows_of(split, "a")
        assert all(
            torch.equal(own[row], split.items["a"][i]) for i, row in enumerate(split.rows["a"].tolist())
        )


def test_the_hash_is_of_the_content(load, tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"a": rng.normal(size=(60, 3)), "b": rng.integers(0, 256, (60, 8, 8), dtype=np.uint8)}
    (tmp_path / "elsewhere").mkdir()
    first, moved = load(**arrays), load(folder=tmp_path / "elsewhere", **arrays)
    assert first.provenance == moved.provenance
    assert str(tmp_path) not in str(first.provenance)
    arrays["a"][0, 0] += 1e-3
    assert load(**arrays).provenance != first.provenance


def test_classes_may_lack_in_a_part(load):
    rng = np.random.default_rng(0)
    arrays = {f"{m}_{part}": rng.normal(size=(30, 3)) for m in "ab" for part in ("train", "test")}
    data = load(**arrays, labels_train=np.arange(30) % 3, labels_test=np.arange(30) % 2 * 7)
    assert data.classes == ("0", "1", "2", "7")
    assert any("class 7 are judged" in note for note in data.provenance["notes"])


def test_equal_items_are_counted(load, tmp_path):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(40, 3)), rng.integers(0, 99, (40, 4))
    a_test, b_test = rng.normal(size=(20, 3)), rng.integers(0, 99, (20, 4))
    a_test[:5], b_test[3:5] = a[:5], b[3:5]
    data = load(a_train=a, a_test=a_test, b_train=b, b_test=b_test)
    found = list(leakage(tmp_path / "mine.npz"))
    assert found[0].startswith("a: 5 of 20")
    assert found[1].startswith("b: 2 of 20")
    assert found[2].startswith("whole rows: 2 of 20")
    assert any(note.startswith("2 of 20 test rows are equal") for note in data.provenance["notes"])


def test_a_folder_of_files_is_the_same_as_its_arrays(load, tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (24, 6, 7), dtype=np.uint8)
    values = rng.normal(size=(24, 3)).round(3)
    sounds = rng.normal(size=(24, 5)).astype(np.float32)
    folder = tmp_path / "folder"
    for name in ("photo", "sound"):
        (folder / name).mkdir(parents=True)
    lines, classes = ["row,x,y,z"], ["row,class"]
    for i in range(24):
        Image.fromarray(pixels[i]).save(folder / "photo" / f"r{i:02}.png")
        np.save(folder / "sound" / f"r{i:02}.npy", sounds[i])
        classes.append(f"r{i:02},{'even' if i % 2 == 0 else 'odd'}")
        lines.append(f"r{i:02}," + (",,,"[:2] if i == 5 else ",".join(map(str, values[i]))))
    (folder / "blood.csv").write_text("\n".join(lines) + "\n")
    (folder / "labels.csv").write_text("\n".join(classes) + "\n")
    found = load_data(register_data_file(folder).name)
    labels = np.where(np.arange(24) % 2 == 0, "even", "odd")
    same = load(blood=values, photo=pixels, sound=sounds, labels=labels, blood_missing=np.array([5]))
    for part in ("train", "validation", "test"):
        ours, theirs = getattr(found, part), getattr(same, part)
        assert torch.equal(ours.pairs, theirs.pairs)
        assert all(torch.equal(items, theirs.items[name]) for name, items in ours.items.items())
    assert found.classes == ("even", "odd")


GOOD = {"a": np.random.default_rng(0).normal(size=(40, 3)), "b": np.random.default_rng(1).poisson(3, (40, 4))}


def nan_at(row):
    a = GOOD["a"].copy()
    a[row, 1] = np.nan
    return a


BAD = {
    "NaN": ({"a": nan_at(7)}, r"`a` is NaN or infinite in row 7: .* `a_missing`"),
    "unequal rows": ({"b": GOOD["b"][:39]}, r"`b` has 39 rows and `a` 40: .* `b_missing`"),
    "objects": ({"b": np.array([{}] * 40, object)}, "`b`: Object arrays cannot be loaded"),
    "float labels": ({"labels": np.arange(40) % 2 * 1.0}, r"`labels` are float64 \(40,\): .*astype\(int\)"),
    "one class": ({"labels": np.full(40, 3)}, "the labels are all 3: expected two classes or more; leave"),
    "labels of another length": ({"labels": np.arange(30) % 2}, "`labels` has 30 rows and `a` 40"),
    "a constant modality": ({"b": np.ones((40, 4), int)}, "`b` is constant.*leave b out"),
    "texts": ({"b": np.array(["x"] * 40)}, r"`b` is <U1 \(40,\): expected numbers; texts as one-hot"),
    "no rows": ({"b": GOOD["b"][:0]}, "`b` has no rows"),
    "one modality": ({"b": None}, "it has one modality, a: expected at least two"),
    "pixels in hundreds": (
        {"b": np.full((40, 8, 8), 9.5) + np.arange(40)[:, None, None]},
        "holds 9.5 in row 0",
    ),
    "pixels of 0 and 1": (
        {"b": np.random.default_rng(0).integers(0, 2, (40, 8, 8))},
        "holds 0 and 1 alone, as whole numbers",
    ),
    "a row out of the file": ({"b_missing": np.array([3, 40])}, "`b_missing` names row 40: expected 0 to 39"),
    "a mask of another length": ({"b_mask": np.ones(39, bool)}, r"`b_mask` is bool \(39,\)"),
    "two masks": ({"b_mask": np.ones(40, bool), "b_missing": np.array([1])}, "leave one of them"),
    "a mask of nothing": ({"c_mask": np.ones(40, bool)}, "which is no array of the file"),
    "a row without anything": (
        {"a_missing": np.array([4, 5]), "b_missing": np.array([4])},
        r"row 4 lacks every modality \(1 in all\)",
    ),
    "a modality that nobody has": ({"b_mask": np.zeros(40, bool)}, "every row lacks b"),
    "half a split": ({"a_train": GOOD["a"]}, "is one array and `a_train` a part"),
    "a bad name": ({"b": None, "b c": GOOD["b"]}, "the modality name 'b c' is not usable.*rename the array"),
    "counts beyond floats": ({"b": GOOD["b"] * 2**24}, "write the values as floats"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_gets_a_sentence(case, load):
    changes, expected = BAD[case]
    arrays = {key: value for key, value in (GOOD | changes).items() if value is not None}
    with pytest.raises(InputError, match=expected) as caught:
        load(**arrays)
    assert "\n" not in str(caught.value)


def test_a_part_without_the_other_is_refused(load):
    with pytest.raises(InputError, match="it has train rows alone"):
        load(a_train=GOOD["a"], b_train=GOOD["b"])
    with pytest.raises(InputError, match="there is no `b_test`"):
        load(a_train=GOOD["a"], a_test=GOOD["a"], b_train=GOOD["b"])


def test_nothing_is_ever_unpickled(load, tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        archive.writestr("a.npy", pickle.dumps([Trap()]))
    with pytest.raises(InputError, match="cannot be read"):
        load()
    (tmp_path / "mine.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InputError, match="cannot be read"):
        load()


def test_names_of_files(load, tmp_path):
    np.savez(tmp_path / "digits.npz", **GOOD)
    with pytest.raises(InputError, match="called as the data set 'digits' is: rename it"):
        register_data_file(tmp_path / "digits.npz")
    np.savez(tmp_path / "my data.npz", **GOOD)
    with pytest.raises(InputError, match="for example to my-data"):
        register_data_file(tmp_path / "my data.npz")
    with pytest.raises(InputError, match="There is no data file"):
        register_data_file(tmp_path / "absent.npz")
    (tmp_path / "table.txt").write_text("x")
    with pytest.raises(InputError, match=r"is no \.npz"):
        register_data_file(tmp_path / "table.txt")


def test_batches_are_of_one_kind_and_see_every_row_alike():
    """Of 40, 5 and 3 rows of three kinds and batches of 16, all are repeated six times."""
    pairs = torch.stack([torch.arange(48), torch.arange(48)], 1)
    pairs[40:45, 0], pairs[45:, 1] = -1, -1
    filled = fill_batches(pairs, 16)
    assert len(filled) == 6 * 48
    _, counts = filled.unique(dim=0, return_counts=True)
    assert counts.unique().tolist() == [6]


def test_tuples_are_those_of_the_row():
    rows = {"a": torch.tensor([0, 2, 3]), "b": torch.tensor([1, 2, 3])}
    found = row_tuples(rows)
    assert found["a"].tolist() == [[0, -1], [1, 1], [2, 2]]
    assert found["b"].tolist() == [[-1, 0], [1, 1], [2, 2]]


def test_batches_of_incomplete_rows(load, tmp_path):
    make_file(tmp_path, "four-modalities")
    data = load("four-modalities")
    pairs = fill_batches(data.train.pairs, 32)
    split = type(data.train)(data.train.items, data.train.labels, pairs, data.train.rows)
    batches = Batches(split, data.modalities, 32, 0)
    names = list(data.train.items)
    kinds = {tuple(batches.batch(step)) for step in range(batches.steps_per_epoch)}
    there = (data.train.pairs >= 0).unique(dim=0).tolist()
    assert kinds == {tuple(name for name, has in zip(names, row, strict=True) if has) for row in there}
    assert len(kinds) > 2


def test_rows_that_lack_modalities_as_hardly_others_do_are_left_out(load):
    """Three rows lack c: a batch of those would be copies of them."""
    rng = np.random.default_rng(0)
    train = {f"{m}_train": rng.normal(size=(60, 2)) for m in "abc"}
    test = {f"{m}_test": rng.normal(size=(10, 2)) for m in "abc"}
    data = load(**train, **test, c_train_missing=np.array([7, 8, 9]), b_train_missing=np.arange(20, 40))
    rare = len(data.train.items["a"]) - len(data.train.items["c"])
    assert 1 <= rare <= 3
    assert (data.train.pairs[:, 2] >= 0).all()
    assert len(data.train.pairs) == len(data.train.items["a"]) - rare
    assert (data.train.pairs[:, 1] < 0).any()
    assert any(f"are not trained on: {rare}" in note for note in data.provenance["notes"])


def test_the_odd_files_are_all_tried():
    assert set(KINDS) < set(ODD)
