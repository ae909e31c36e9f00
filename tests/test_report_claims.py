"""The paper's claims against runs: leads, their errors and verdicts, on synthetic runs with known figures."""

import math

import pandas as pd
import pytest
from scipy import stats
from test_report import edit, write_run

from mmbench.report import write_report
from mmbench.report.claims import claims_markdown, find_claims
from mmbench.report.results import find_runs
from mmbench.report.tables import build_tables

OURS, CLOSE, FAR = (0.30, 0.32, 0.31), (0.31, 0.29, 0.32), (0.10, 0.11, 0.12)


def write(root, model, values, metric="joint_coherence", **config):
    """A run per value, as a seed."""
    for seed, value in enumerate(values):
        folder = write_run(root, model, seed, **config)
        edit(folder / "metrics.json", metrics={"joint_coherence": None, metric: value}, reasons={"joint_coherence": "none", metric: "none"})


def claims(root):
    return {claim.column.metric: claim for claim in find_claims(build_tables(find_runs(root)))}


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        (OURS, FAR, "holds"),
        (FAR, OURS, "does not hold"),
        (OURS, CLOSE, "undecided"),
        (OURS[:1], FAR, "not tested: one seed"),
        (OURS, (None,), "no value"),
        ((None,), OURS, "no value"),
    ],
)
def test_verdicts(ours, theirs, verdict, tmp_path):
    write(tmp_path, "cnf-mvae", ours)
    write(tmp_path, "mopoe", theirs)
    found = claims(tmp_path)
    assert found["joint_coherence"].verdict == verdict
    assert found["fid/mnist"].verdict == "no value"


def test_leads_errors_and_tests(tmp_path):
    """MMVAE is the better one here, MoPoE in the paper; MVAE is not in the paper, and a variant is another model."""
    write(tmp_path, "cnf-mvae", OURS)
    write(tmp_path, "mopoe", FAR)
    write(tmp_path, "mmvae", (0.2, 0.25))
    write(tmp_path, "mvae", (0.9, 0.9))
    write(tmp_path, "mopoe", (0.8, 0.8), label="wide")
    claim = claims(tmp_path)["joint_coherence"]
    assert (claim.paper_rival.model, claim.rival.model) == ("mopoe", "mmvae")
    assert claim.paper_lead == pytest.approx(0.3345 - 0.3142)
    assert claim.lead == pytest.approx(0.31 - 0.225)
    expected = stats.ttest_ind(OURS, (0.2, 0.25), equal_var=False)
    assert claim.p == pytest.approx(expected.pvalue)
    assert claim.lead / claim.difference.error == pytest.approx(expected.statistic)
    assert claim.difference.error == pytest.approx(math.sqrt(0.01**2 / 3 + 0.05**2 / 2 / 2))
    text = claims_markdown([claim])
    statistic = f"{expected.statistic:+.1f}"
    assert (
        f"| Joint | 33.45 | 31.42 (MOPOE) | +2.03 | 31.00 | 22.50 (MMVAE) | +8.50 ± 2.57 | {statistic} | {expected.pvalue:.3f} | undecided |" in text
    )


def test_a_smaller_distance_leads(tmp_path):
    write(tmp_path, "cnf-mvae", (60.0, 61.0, 62.0), "fid/mnist")
    write(tmp_path, "cada-vae", (50.0, 51.0, 52.0), "fid/mnist")
    write(tmp_path, "mmvae", (55.0, 56.0, 57.0), "fid/mnist")
    claim = claims(tmp_path)["fid/mnist"]
    assert (claim.paper_rival.model, claim.rival.model) == ("cada-vae", "cada-vae")
    assert (claim.paper_lead, claim.lead) == (pytest.approx(80.22 - 50.76), pytest.approx(-10))
    assert claim.verdict == "does not hold"


@pytest.mark.parametrize(
    ("models", "config"),
    [
        (["mopoe", "mmvae"], {}),
        (["cnf-mvae", "mvae"], {}),
        (["cnf-mvae", "mopoe"], {"dataset": "digits"}),
        (["cnf-mvae", "mopoe"], {"label": "wide"}),
    ],
)
def test_no_claim_without_its_model_a_baseline_and_the_data(models, config, tmp_path):
    for model in models:
        write(tmp_path, model, OURS, **config)
    assert not claims(tmp_path)
    write_report(tmp_path)
    assert not list(tmp_path.rglob("claims.*"))


def test_claims_are_on_the_page_and_in_a_file(tmp_path):
    write(tmp_path, "cnf-mvae", OURS)
    write(tmp_path, "mopoe", FAR)
    write_report(tmp_path)
    folder = tmp_path / "mnist-svhn" / "quick"
    assert "## The paper's claim\n" in (folder / "README.md").read_text()
    assert (folder / "claims.md").read_text() in (folder / "README.md").read_text()
    table = pd.read_csv(folder / "claims.csv").set_index("metric")
    assert len(table) == 7
    joint = table.loc["joint_coherence"]
    assert (joint["paper_rival"], joint["rival"], joint["verdict"]) == ("mopoe", "mopoe", "holds")
    assert joint["lead"] == pytest.approx(0.2)
    assert joint["mean"] - joint["rival_mean"] == pytest.approx(joint["lead"])
    assert joint["lead"] / joint["standard_error"] == pytest.approx(stats.ttest_ind(OURS, FAR).statistic)
    assert pd.isna(table.loc["fid/svhn", ["mean", "rival", "lead", "p"]]).all()
