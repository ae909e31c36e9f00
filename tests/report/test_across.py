"""Ranks over data sets: means, tests, groups, and what cannot be ranked."""

import math

import numpy as np
import pytest
from table_runs import make_run
from written_runs import write_run

from mmbench.report.numbers.across import Ranking, critical_difference, rank_across, ranks_csv, ranks_markdown
from mmbench.report.pictures.ranks import draw_ranks
from models.errors import InputError

Q = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}
"""q at 0.05 as printed by Demsar 2006, table 5(a)."""


@pytest.mark.parametrize("models", Q)
def test_critical_differences_are_the_published_ones(models):
    for datasets in (2, 14):
        expected = Q[models] * math.sqrt(models * (models + 1) / (6 * datasets))
        assert critical_difference(models, datasets) == pytest.approx(expected, abs=0.002)


def runs_of(values, **more):
    """A finished run per data set and model, of joint coherence."""
    return [
        make_run(model, dataset=dataset, metrics={"joint_coherence": value}, **more)
        for dataset, row in values.items()
        for model, value in row.items()
    ]


VALUES = {
    "one": {"a": 0.9, "b": 0.5, "c": 0.5},
    "two": {"a": 0.3, "b": 0.2, "c": 0.1},
    "three": {"a": 0.8, "b": 0.9, "c": 0.1},
}


def test_ranks_are_those_by_hand():
    (found,), notes = rank_across(runs_of(VALUES))
    assert notes == []
    assert found.models == ("A", "B", "C")
    by_data = dict(zip(found.datasets, found.ranks.tolist(), strict=True))
    assert by_data == {"one/quick": [1, 2.5, 2.5], "two/quick": [1, 2, 3], "three/quick": [2, 1, 3]}
    assert found.means == pytest.approx([4 / 3, 5.5 / 3, 8.5 / 3])
    text = ranks_markdown([found], notes, ["ranks-1.png"])
    assert "| A | 1.33 | 1 | 2 | 1 |" in text  # data sets by name
    assert "No two models differ by that much." in text
    assert "joint coherence,one/quick,A,0.9,1" in ranks_csv([found])


def test_values_are_means_over_seeds_and_lower_distances_are_better():
    seeds = [
        make_run("a", seed, dataset=d, metrics={"fd_clf/mnist": v, "fd_clf/svhn": 1.0})
        for d in ("one", "two")
        for seed, v in enumerate((1.0, 9.0))
    ]
    others = [
        make_run("b", dataset=d, metrics={"fd_clf/mnist": 3.0, "fd_clf/svhn": 1.0}) for d in ("one", "two")
    ]
    (found,), _ = rank_across([*seeds, *others])
    assert found.values[0] == pytest.approx([(1 + 3) / 2, math.sqrt(3)])
    assert found.ranks.tolist() == [[2, 1], [2, 1]]
    assert found.p is None


def test_models_that_lack_a_data_set_are_named_and_variants_are_none():
    runs = runs_of(VALUES | {"three": {"a": 0.8, "b": 0.9}}) + runs_of(VALUES, label="wide")
    (found,), _ = rank_across(runs)
    assert (found.models, found.left_out) == (("A", "B"), ("C",))


def test_two_models_of_one_title_are_two():
    runs = runs_of({name: {"a": 0.9, "b": 0.1} for name in ("one", "two")}, title="Same")
    (found,), _ = rank_across(runs)
    assert found.models == ("Same (a)", "Same (b)")
    assert found.ranks.tolist() == [[1, 2], [1, 2]]


def test_of_a_data_set_counts_the_preset_with_the_most_steps():
    longer = {"steps": 8000, "batch_size": 256, "learning_rate": 0.001}
    runs = runs_of(VALUES) + runs_of({"one": {"a": 0.1, "b": 0.2, "c": 0.3}}, preset="cpu", training=longer)
    (found,), notes = rank_across(runs)
    assert found.datasets == ("one/cpu", "three/quick", "two/quick")
    assert found.ranks[0].tolist() == [3, 2, 1]
    (note,) = notes
    assert note.startswith("one/quick is left out: ")
    assert note.endswith("here one/cpu.")
    assert note in ranks_markdown([found], notes, ["ranks-1.png"])


def test_rows_of_several_protocols_are_left_out_and_of_several_judges_kept_with_a_warning():
    runs = runs_of(VALUES)
    runs[0].config.update(protocol={"draws": 7, "joint_draws": 10000})
    of_two = [run for run in runs if run.dataset == "two"]
    for number, run in enumerate(of_two):
        run.references["judge/mnist"] = 0.9 + number / 100
    (found,), notes = rank_across(runs)
    assert found.datasets == ("three/quick", "two/quick")
    assert notes[0].startswith("one/quick is left out, as its rows do not share one protocol: protocol draws")
    assert notes[1].startswith("two/quick: These rows do not share one protocol")
    of_two[0].config.update(precision="bf16")
    with pytest.raises(InputError, match=r"nothing to rank.*two/quick is left out.*precision is bf16 \(A\)"):
        rank_across(runs)


@pytest.mark.parametrize("values", [{"one": VALUES["one"]}, {"one": {"a": 0.1}, "two": {"a": 0.2}}, {}])
def test_without_two_models_on_two_data_sets_there_is_an_error(values):
    with pytest.raises(InputError, match="There is nothing to rank: two models"):
        rank_across(runs_of(values))


def make_ranking(ranks):
    ranks = np.array(ranks, dtype=float)
    names = tuple(f"model {i}" for i in range(ranks.shape[1]))
    return Ranking("x", tuple(f"d{i}" for i in range(len(ranks))), names, ranks, ranks, ())


def test_groups_hold_what_does_not_differ():
    found = make_ranking([[1, 2, 3]] * 10)  # CD is 1.05
    assert found.critical == pytest.approx(1.048, abs=0.01)
    assert found.alike() == [["model 0", "model 1"], ["model 1", "model 2"]]
    assert found.p == pytest.approx(math.exp(-10), rel=1e-6)  # chi2 of 20 with 2 degrees of freedom
    assert make_ranking([[1, 2, 3]] * 2).alike() == [["model 0", "model 1", "model 2"]]
    assert make_ranking([[1, 3, 2]] * 100).alike() == []


def test_the_picture_names_every_model():
    picture = draw_ranks(make_ranking([[1, 2, 3, 4, 5]] * 3))
    assert all(f"model {i} {i + 1}.00" in picture.alt for i in range(5))
    assert picture.png.startswith(b"\x89PNG")


def test_the_command_writes_beside_the_data_sets(tmp_path, invoke):
    for dataset in ("one", "two"):
        for model in ("mopoe", "mmvae"):
            write_run(tmp_path / "made", model, 0, dataset=dataset)
        (tmp_path / "made" / "mnist-svhn").rename(tmp_path / dataset)
    result = invoke("report", "--across", "--results", tmp_path)
    assert result.code == 0, result.text
    assert "## By joint coherence" in result.text
    assert {"ranks.md", "ranks.csv", "ranks-1.png"} <= {path.name for path in tmp_path.iterdir()}
    both = invoke("report", "--across", "--against", tmp_path, "--results", tmp_path)
    assert both.code == 2
    assert "leave one of them out" in both.text
