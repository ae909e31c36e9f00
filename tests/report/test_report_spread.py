"""Spread over seeds and pairings: the estimates against known components, and their place in a report."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from written_runs import edit, write_run

from mmbench.report import write_report
from mmbench.report.numbers.further import build_all_tables
from mmbench.report.numbers.results import find_runs
from mmbench.report.numbers.spread import find_spreads, variance_components


def pairs(seed):
    return {
        "data": {
            "notes": [],
            "modalities": {},
            "pairs": {"train": 90 + seed},
            "settings": {"pairing_seed": seed},
        }
    }


def test_equal_groups_by_hand():
    """Two pairings of two seeds: sums of squares 0.5 and 2, so s_e^2 = 1.25; MS_a = 2 * 2 * 2.25^2."""
    found = variance_components([[1, 2], [5, 7]])
    assert found.mean == 3.75
    assert found.seeds == pytest.approx(1.25**0.5)
    assert found.pairings == pytest.approx(((2 * 2 * 2.25**2 - 1.25) / 2) ** 0.5)


def test_the_f_statistic_is_that_of_scipy():
    """F = MS_a / s_e^2 = 1 + n_0 s_a^2 / s_e^2, of groups of different sizes."""
    groups = [[0.1, 0.15, 0.12], [0.3, 0.33], [0.2]]
    found = variance_components(groups)
    size = (6 - (9 + 4 + 1) / 6) / 2
    expected = stats.f_oneway(*groups).statistic
    assert 1 + size * (found.pairings / found.seeds) ** 2 == pytest.approx(expected)


def test_known_components_are_found_on_average():
    draw = np.random.default_rng(0)
    pairings = draw.normal(0, 2.0, (4000, 5, 1))
    values = pairings + draw.normal(0, 1.0, (4000, 5, 3))
    found = [variance_components(groups) for groups in values]
    assert np.mean([each.seeds**2 for each in found]) == pytest.approx(1, rel=0.03)
    assert np.mean([each.pairings**2 for each in found]) == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize("groups", [[[1.0], [2.0]], [[1.0, 2.0]]])
def test_what_cannot_be_told_apart_is_not(groups):
    assert variance_components(groups).seeds is None
    assert variance_components(groups).pairings is None


def test_pairings_that_differ_no_more_than_seeds_add_nothing():
    assert variance_components([[1.0, 2.0], [1.1, 1.9]]).pairings == 0


def test_a_report_tells_seeds_from_pairings(tmp_path):
    """Runs under other labels count with the model itself, where nothing else differs."""
    for pairing, values in ((0, (0.2, 0.3)), (1, (0.5, 0.6)), (2, (0.4,))):
        for seed, value in enumerate(values):
            label = f"pairs-{pairing}" if pairing else None
            write_run(tmp_path, "mopoe", seed, label=label, value=value, **pairs(pairing))
    write_run(tmp_path, "mopoe", 0, label="other", value=0.9, settings={"beta": 1.0}, **pairs(3))
    write_run(tmp_path, "mvae", 0, value=0.9, **pairs(0))
    write_report(tmp_path)
    folder = tmp_path / "mnist-svhn" / "quick"
    table = pd.read_csv(folder / "spread.csv").set_index("metric")
    expected = variance_components([[0.2, 0.3], [0.5, 0.6], [0.4]])
    row = table.loc["joint_coherence"]
    assert (row["model"], row["runs"], row["mean"]) == ("mopoe", 5, pytest.approx((0.25 + 0.55 + 0.4) / 3))
    assert row["std_seeds"] == pytest.approx(expected.seeds)
    assert row["std_pairings"] == pytest.approx(expected.pairings)
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert "## Spread over seeds and pairings" in page
    assert (folder / "spread.md").read_text(encoding="utf-8") in page
    assert "| MOPOE | Joint | 40.00 | 7.07 | " in page
    assert "| 2 + 2 + 1 |" in page


def spreads_of(root):
    runs = find_runs(root)
    return find_spreads(runs, build_all_tables(runs))


def test_pairings_of_other_code_are_not_pooled(tmp_path):
    """ "code" is that of a model in a file."""
    for pairing in (0, 1):
        write_run(tmp_path, "own", label=f"pairs-{pairing}", code="1" * 16, **pairs(pairing))
    (found,) = spreads_of(tmp_path)
    assert list(found.values) == [0, 1]
    edit(tmp_path / "mnist-svhn/quick/own+pairs-1/seed-0/config.json", code="2" * 16)
    assert spreads_of(tmp_path) == []


def test_a_figure_that_a_pairing_lacks_has_no_row(tmp_path):
    for pairing in range(3):
        folder = write_run(tmp_path, "mopoe", label=f"pairs-{pairing}", **pairs(pairing))
        probes = {"probe/mnist": 0.5} if pairing else {}
        edit(folder / "metrics.json", metrics={"joint_coherence": 0.1 * pairing, **probes})
    assert [found.column.metric for found in spreads_of(tmp_path)] == ["joint_coherence"]


def test_one_pairing_has_no_such_table(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path, "mopoe", seed)
    write_report(tmp_path)
    assert not (tmp_path / "mnist-svhn" / "quick" / "spread.csv").exists()
