"""The cache of judges and statistics: used when it is whole, rebuilt and named when it is not, never mixed
up.
"""

import pickle
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from evaluation_setup import said
from reference_data import TWO, Noise, make_data

from metrics.evaluation.evaluate import build_feature_space, evaluate
from metrics.missing import Lack, Missing
from metrics.protocol import Protocol
from metrics.references import judges
from metrics.references.statistics import NO_LINEAR_CCA
from mmbench.execution.cached_references import make_references
from mmbench.execution.evaluating import anchor_tuples
from mmbench.execution.signals import StoppedError
from mmbench.storage.files import cache_dir
from models.base import Modality

PROTOCOL = Protocol(draws=40, joint_draws=40, judge_steps=2, judge_batch_size=8)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMBENCH_CACHE", str(tmp_path / "cache"))


def make(data, metrics=("coherence", "fd_clf"), protocol=PROTOCOL):
    return make_references(data, protocol, metrics)


def values(references):
    space = references.feature_spaces[0]
    return [
        *references.judge_accuracy.values(),
        *space.floor.values(),
        *(real.mean.sum().item() for real in space.real.values()),
    ]


def cached_files():
    return sorted(path for path in cache_dir().rglob("*") if path.is_file() and path.suffix != ".lock")


def test_a_second_call_reads_what_the_first_one_made(monkeypatch):
    data = make_data()
    first = make(data)
    assert [path.suffix for path in cached_files()] == [".pt", ".pt", ".npz"]
    monkeypatch.setattr("metrics.references.judges.train_judge", lambda *a, **k: pytest.fail("trained again"))
    monkeypatch.setattr(
        "mmbench.execution.cached_references.build_feature_space",
        lambda *a, **k: pytest.fail("computed again"),
    )
    second = make(data)
    assert values(second) == values(first)
    x = data.test.items["b"] / 255
    assert torch.equal(first.judges["b"](x), second.judges["b"](x))


def test_other_data_and_other_settings_have_entries_of_their_own():
    make(make_data())
    make(make_data(1))
    assert len(cached_files()) == 6
    make(make_data(), protocol=Protocol(draws=40, joint_draws=40, judge_steps=3, judge_batch_size=8))
    assert len(cached_files()) == 9
    make(make_data(), protocol=Protocol(draws=30, joint_draws=30, judge_steps=2, judge_batch_size=8))
    assert len(cached_files()) == 10  # the judges are the same, the floor is not


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage"])
@pytest.mark.parametrize("kind", [".pt", ".npz"])
def test_a_damaged_file_is_named_and_made_again(kind, damage, capsys):
    data = make_data()
    first = make(data)
    for path in cached_files():
        if path.suffix == kind:
            whole = path.read_bytes()
            path.write_bytes(
                {"truncated": whole[: len(whole) // 2], "empty": b"", "garbage": b"garbage" * 100}[damage]
            )
    capsys.readouterr()
    again = make(data)
    said = capsys.readouterr().out
    assert f"{kind} is damaged" in said
    assert values(again) == values(first)
    capsys.readouterr()
    make(data)
    assert "damaged" not in capsys.readouterr().out


@pytest.mark.parametrize("accuracy", ["good", torch.ones(3), 7.0])
def test_an_accuracy_that_is_none_is_damage(accuracy, capsys):
    first = values(make(make_data()))
    path = next(path for path in cached_files() if path.suffix == ".pt")
    torch.save(torch.load(path, weights_only=True) | {"accuracy": accuracy}, path)
    assert values(make(make_data())) == first
    assert f"{path} is damaged (its accuracy is no share)" in capsys.readouterr().out


def test_a_stop_is_heard_while_a_judge_is_examined(monkeypatch):
    monkeypatch.setattr(
        "metrics.references.judges.train_judge", lambda *a, **k: judges.make_judge((1, 8, 8), 10).eval()
    )
    calls = []

    def check():
        calls.append(None)
        raise StoppedError

    with pytest.raises(StoppedError):
        make_references(make_data(), PROTOCOL, ("coherence",), check=check)
    assert len(calls) == 1
    assert not cached_files()


def judge_files(seed):
    """Modality and cached state of judges with other weights, such as the same recipe gives on another
    machine.
    """
    parts = make_data().train
    for name in "ab":
        protocol = replace(PROTOCOL, judge_seed=seed)
        judge = judges.train_judge(parts.items[name], parts.labels[name], 10, protocol)
        yield name, {"judge": judge.state_dict(), "accuracy": 0.5}


def test_statistics_belong_to_the_weights_of_their_judge():
    data = make_data()
    first = make(data)
    for name, state in judge_files(seed=7):
        (path,) = (cache_dir() / "judges").glob(f"noise-{name}-*.pt")
        torch.save(torch.load(path, weights_only=True) | state, path)
    second = make(data)
    assert list(second.judge_accuracy.values()) == [0.5, 0.5]
    extractors = {name: partial(judges.features, judge) for name, judge in second.judges.items()}
    expected = build_feature_space("fd_clf", extractors, data.train.items, data.test.items, PROTOCOL)
    assert second.feature_spaces[0].floor == expected.floor
    assert all(second.feature_spaces[0].floor[name] != first.feature_spaces[0].floor[name] for name in "ab")


@pytest.mark.parametrize("kind", [".pt", ".npz"])
def test_an_entry_in_the_place_of_another_is_named_and_made_again(kind, capsys):
    first = values(make(make_data()))
    (wrong, *_), before = [path for path in cached_files() if path.suffix == kind], cached_files()
    make(make_data(1))
    (other, *_) = [path for path in cached_files() if path.suffix == kind and path not in before]
    wrong.write_bytes(other.read_bytes())
    capsys.readouterr()
    assert values(make(make_data())) == first
    assert f"{wrong} is damaged (it belongs to other images" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["other", "garbage", "no share"])
def test_linear_cca_is_kept_too(damage, monkeypatch, capsys):
    first = make(make_data(), ("retrieval",)).linear_cca
    assert isinstance(first, float)
    (path,) = (cache_dir() / "statistics").glob("*-linear-cca-*.npz")
    with monkeypatch.context() as patch:
        patch.setattr(
            "mmbench.execution.cached_references.linear_cca_precision", lambda *a: pytest.fail("again")
        )
        assert make(make_data(), ("retrieval",)).linear_cca == first
    if damage == "garbage":
        path.write_bytes(b"garbage")
    else:
        whole = dict(np.load(path))
        np.savez(path, **(whole | ({"key": "x"} if damage == "other" else {"precision": 7.0})))
    assert make(make_data(), ("retrieval",)).linear_cca == first
    assert f"{path} is damaged" in capsys.readouterr().out


def test_few_pairs_have_no_linear_cca(monkeypatch):
    monkeypatch.setattr("metrics.references.linear_cca.FEWEST", 10**6)
    for _ in range(2):  # made, and read
        assert make(make_data(), ("retrieval",)).linear_cca == NO_LINEAR_CCA


@pytest.mark.parametrize("metrics", [("probe",), ("fid",), ()])
def test_judges_are_made_only_for_metrics_that_ask_them(metrics, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    references = make(make_data(), metrics)
    assert (references.judges, references.judge_accuracy, references.feature_spaces) == ({}, {}, ())
    assert cached_files() == []


def test_modalities_that_no_judge_takes_leave_their_cells_empty():
    modalities = (*TWO, Modality("row", (27,)), Modality("odd", (2, 9, 8)))
    data = make_data(modalities=modalities)
    references = make(data)
    parts = {"test": data.test.labelled, "train": data.train.labelled, "tuples": anchor_tuples(data.test, 0)}
    found = evaluate(
        Noise(modalities), **parts, references=references, protocol=PROTOCOL, metrics=("coherence", "fd_clf")
    )
    assert set(references.judges) == {"a", "b", "odd"}
    empty = {name for name, value in found.metrics.items() if value is None}
    assert (
        empty
        == set(found.missing)
        >= {
            "joint_coherence",
            "joint_coherence/chance",
            "joint_coherence/entropy",
            "fd_clf/row",
        }
    )
    single = {name for name in found.metrics if name.startswith("cross") and "->" in name and "+" not in name}
    assert len(single) == 2 * 4 * 3
    assert single & empty == {name for name in single if "->row" in name}
    sentence = "There is no judge for row: judges take images (C, H, W), text, counts and vectors."
    assert set(said(found).values()) == {sentence}


def test_no_weights_are_looked_for_where_the_network_sees_nothing(monkeypatch):
    monkeypatch.setattr(
        "metrics.references.inception.find_weights", lambda *a: pytest.fail("looked for weights")
    )
    data = make_data(modalities=(Modality("words", (5, 27)), Modality("odd", (2, 9, 8))))
    references = make(data, metrics=("fid",))
    assert references.feature_spaces == ()
    assert references.missing["fid"] == Missing(
        Lack.UNAVAILABLE,
        "There is no FID of words, odd: its network takes images of one channel or three.",
    )


def test_a_stop_is_heard_between_two_batches_of_real_images(monkeypatch):
    data, calls = make_data(), []
    make(data, metrics=("coherence",))
    monkeypatch.setattr("metrics.references.judges.BATCH", 10)

    def check():
        calls.append(None)
        if len(calls) == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        make_references(data, PROTOCOL, ("fd_clf",), check=check)
    assert not [path for path in cached_files() if path.parent.name == "statistics"]


def test_references_reach_other_processes():
    before = make(make_data())
    after = pickle.loads(pickle.dumps(before))
    images = make_data().test.items["a"]
    found = [
        each.feature_spaces[0].extractors["a"](images, lambda done, total: None) for each in (before, after)
    ]
    assert torch.equal(*found)
    assert values(before) == values(after)


def offline(*args, **kwargs):
    raise OSError(101, "Network is unreachable")


def test_without_inception_weights_there_is_a_reason_and_no_number(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    references = make(make_data(), metrics=("fid",))
    assert references.feature_spaces == ()
    assert references.missing["fid"].sentence.startswith(
        "No FID: pytorch-fid's Inception weights are not in its cache and could not be downloaded (Network "
        "is unreachable). Fetch http"
    )
