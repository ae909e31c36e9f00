"""The paper's claims against runs: leads, their errors and verdicts, on synthetic runs with known figures."""

import io
import math
import re
from html import unescape
from itertools import combinations

import pandas as pd
import pytest
from scipy import stats
from written_runs import edit, write_run

from mmbench.report import write_report
from mmbench.report.numbers.claims import claims_csv, claims_markdown, find_claims
from mmbench.report.numbers.leaderboard import holm
from mmbench.report.numbers.results import find_runs
from mmbench.report.numbers.tables import build_tables
from mmbench.storage.shapes import OBSERVED

OURS, CLOSE, FAR = (0.30, 0.32, 0.31), (0.31, 0.29, 0.32), (0.10, 0.11, 0.12)


def write(root, model, values, metric="joint_coherence", **config):
    """A run per value, as a seed."""
    for seed, value in enumerate(values):
        folder = write_run(root, model, seed, **config)
        edit(
            folder / "metrics.json",
            metrics={"joint_coherence": None, metric: value},
            reasons={name: {"kind": "unavailable", "why": "none"} for name in ("joint_coherence", metric)},
        )


def claims(root):
    runs = find_runs(root)
    return {claim.column.metric: claim for claim in find_claims(build_tables(runs), runs[0].dataset)}


@pytest.mark.parametrize(
    ("ours", "mopoe", "mmvae", "verdict"),
    [
        (OURS, FAR, FAR, "ahead; without CADA-VAE"),
        (FAR, OURS, OURS, "behind MMVAE, MoPoE; without CADA-VAE"),
        (FAR, OURS, FAR, "behind MoPoE; undecided against MMVAE; without CADA-VAE"),
        (OURS, FAR, CLOSE, "undecided against MMVAE; without CADA-VAE"),
        (OURS, FAR, (0.1, 0.5, 0.2), "undecided against MMVAE; without CADA-VAE"),
        (OURS, FAR, FAR[:1], "not tested against MMVAE; without CADA-VAE"),
        (OURS, FAR, (0.1, 0.1), "not tested against MMVAE; without CADA-VAE"),
        (OURS[:1], FAR, FAR, "not tested against MMVAE, MoPoE; without CADA-VAE"),
        (OURS, FAR, (None, None), "ahead; without CADA-VAE, MMVAE"),
        ((None,), OURS, FAR, "no value"),
        (OURS, (None,), (None,), "no value"),
    ],
)
def test_verdicts(ours, mopoe, mmvae, verdict, tmp_path):
    for model, values in (("cnf-mvae", ours), ("mopoe", mopoe), ("mmvae", mmvae)):
        write(tmp_path, model, values)
    found = claims(tmp_path)
    assert found["joint_coherence"].verdict == verdict
    assert found["fid/mnist"].verdict == "no value"


def test_ahead_of_all_baselines(tmp_path):
    write(tmp_path, "cnf-mvae", OURS)
    for model in ("cada-vae", "mmvae", "mopoe"):
        write(tmp_path, model, FAR)
    assert claims(tmp_path)["joint_coherence"].verdict == "ahead"


def test_leads_errors_and_tests(tmp_path):
    """MVAE is not in the paper, and a variant is another model.

    The paper's best baseline is the paper's, whichever were run.
    """
    write(tmp_path, "cnf-mvae", OURS)
    write(tmp_path, "mmvae", (0.2, 0.25))
    write(tmp_path, "cada-vae", (0.4, 0.5, 0.6))
    write(tmp_path, "mvae", (0.9, 0.9))
    write(tmp_path, "mopoe", (0.8, 0.8), label="wide")
    claim = claims(tmp_path)["joint_coherence"]
    assert claim.rival == "mopoe"
    assert claim.paper_lead("mopoe") == pytest.approx(0.3345 - 0.3142)
    assert claim.lead(claim.against["mmvae"]) == pytest.approx(0.31 - 0.225)
    assert claim.lead(claim.against["mopoe"]) is None
    found = claim.against["mmvae"]
    expected = stats.ttest_ind(OURS, (0.2, 0.25), equal_var=False)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.error == pytest.approx(math.sqrt(0.01**2 / 3 + 0.05**2 / 2 / 2))
    assert found.value / found.error == pytest.approx(expected.statistic)
    text = claims_markdown([claim], build_tables(find_runs(tmp_path))[0])
    said = (
        "| Joint | +2.03 (MoPoE) | \N{MINUS SIGN}19.00 ± 5.80 (\N{MINUS SIGN}3.27) "
        f"| +8.50 ± 2.57 ({expected.statistic:+.2f}) | — | "
    )
    assert f"{said}undecided against CADA-VAE, MMVAE; without MoPoE |" in text
    assert "— there is no such run." in text


def test_a_smaller_distance_leads(tmp_path):
    write(tmp_path, "cnf-mvae", (60.0, 61.0, 62.0), "fid/mnist")
    write(tmp_path, "cada-vae", (50.0, 51.0, 52.0), "fid/mnist")
    write(tmp_path, "mmvae", (75.0, 76.0, 77.0), "fid/mnist")
    claim = claims(tmp_path)["fid/mnist"]
    assert claim.rival == "cada-vae"
    assert claim.paper_lead("cada-vae") == pytest.approx(80.22 - 50.76)
    assert (claim.lead(claim.against["cada-vae"]), claim.lead(claim.against["mmvae"])) == (
        pytest.approx(-10),
        pytest.approx(15),
    )
    assert claim.verdict == "behind CADA-VAE; without MoPoE"


def test_holms_correction_is_closed_testing():
    """A hypothesis is rejected if every set of hypotheses with it is, by Bonferroni (Marcus et al. 1976)."""
    for p in ([0.01, 0.04, 0.03, 0.005], [0.5, 0.9, 0.02], [0.02, 0.02], [0.3], []):
        places = range(len(p))
        sets = [chosen for size in places for chosen in combinations(places, size + 1)]
        expected = [
            max(min(1, len(chosen) * min(p[k] for k in chosen)) for chosen in sets if place in chosen)
            for place in places
        ]
        assert holm(p) == pytest.approx(expected)


def test_what_many_tests_take_back_is_named(tmp_path):
    """Each of three tests alone is below the level, and above it once it is corrected; the CSV has both."""
    write(tmp_path, "cnf-mvae", (0.5, 0.53, 0.47))
    for model in ("cada-vae", "mmvae", "mopoe"):
        write(tmp_path, model, (0.4, 0.401, 0.399))
    claim = claims(tmp_path)["joint_coherence"]
    p = claim.against["mopoe"].p
    assert p < 0.05 < 3 * p
    assert claim.verdict == "ahead; not after Holm's correction: CADA-VAE, MMVAE, MoPoE"
    table = pd.read_csv(io.BytesIO(claims_csv([claim]).encode()))
    assert table["p"].tolist() == pytest.approx([p] * 3)
    assert table["p_holm"].tolist() == pytest.approx([3 * p] * 3)


NAMED = {"label": "published", "named": "published"}


@pytest.mark.parametrize(
    ("paper", "published", "verdict"),
    [
        (
            FAR,
            OURS,
            "ahead; without CADA-VAE, MoPoE. Against those as published: behind MMVAE. The two disagree.",
        ),
        (OURS, OURS, "behind MMVAE; without CADA-VAE, MoPoE. Against those as published: behind MMVAE."),
        (None, OURS, "no value. Against those as published: behind MMVAE."),
        (
            FAR,
            OURS[:1],
            "ahead; without CADA-VAE, MoPoE. Against those as published: not tested against MMVAE.",
        ),
        (OURS, (None,), "behind MMVAE; without CADA-VAE, MoPoE. Against those as published: no value."),
    ],
)
def test_both_kinds_of_baseline_are_judged_apart(paper, published, verdict, tmp_path):
    """CNF-MVAE lies between: of two kinds it may be ahead of one and behind the other."""
    write(tmp_path, "cnf-mvae", (0.20, 0.22, 0.21))
    if paper:
        write(tmp_path, "mmvae", paper)
    write(tmp_path, "mmvae", published, **NAMED)
    runs = find_runs(tmp_path)
    (table, *_) = build_tables(runs)
    (claim,) = [c for c in find_claims([table], "mnist-svhn") if c.column.metric == "joint_coherence"]
    assert claim.verdict == verdict
    text = claims_markdown([claim], table)
    assert "| Here: over MMVAE, as published | Here CNF-MVAE is |" in text
    assert "the second against baselines as their authors published them" in text


def test_settings_of_the_paper_go_before_a_model_that_was_tuned_and_published_ones_may_be_others(tmp_path):
    write(tmp_path, "cnf-mvae", OURS)
    write(tmp_path, "mmvae", (0.9, 0.8, 0.7))
    write(tmp_path, "mmvae", FAR, label="paper", named="paper")
    write(tmp_path, "dmvae", FAR, **NAMED)
    write(tmp_path, "mopoe", OURS, label="wide", named="published")  # a variant of what was published
    claim = claims(tmp_path)["joint_coherence"]
    assert claim.lead(claim.against["mmvae"]) == pytest.approx(0.2)
    assert list(claim.published) == ["dmvae"]
    assert claim.verdict == ("ahead; without CADA-VAE, MoPoE. Against those as published: ahead.")
    table = pd.read_csv(io.BytesIO(claims_csv([claim]).encode())).set_index(["kind", "baseline"])
    assert table.loc[("published", "dmvae"), "lead"] == pytest.approx(0.2)
    assert pd.isna(table.loc[("published", "dmvae"), "paper_lead"])
    assert table.loc[("paper", "mmvae"), "paper_lead"] == pytest.approx(0.3345 - 0.2893)


def test_what_cannot_be_compared_is_said(tmp_path):
    write(tmp_path, "cnf-mvae", OURS, training={"steps": 9})
    write(tmp_path, "mopoe", FAR)
    write_report(tmp_path)
    text = (tmp_path / "mnist-svhn" / "quick" / "claims.md").read_text()
    assert "**Warning.** " in text
    assert "Protocol. " in text


@pytest.mark.parametrize(
    ("models", "config"),
    [
        (["mopoe", "mmvae"], {}),
        (["cnf-mvae", "mvae"], {}),
        (["cnf-mvae", "mopoe"], {"dataset": "digits"}),
        (["cnf-mvae", "mopoe"], {"label": "wide"}),
        (["cnf-mvae", "mopoe"], {"training": {"steps": 9, OBSERVED: {"svhn": 0.5}}}),
    ],
)
def test_no_claim_without_its_model_a_baseline_and_the_data(models, config, tmp_path):
    for model in models:
        write(tmp_path, model, OURS, **config)
    assert not claims(tmp_path)


def test_claims_are_on_both_pages_and_in_a_file(tmp_path):
    write(tmp_path, "cnf-mvae", OURS)
    write(tmp_path, "mopoe", FAR)
    write_report(tmp_path)
    folder = tmp_path / "mnist-svhn" / "quick"
    assert "## The paper's claims\n" in (folder / "README.md").read_text()
    assert (folder / "claims.md").read_text() in (folder / "README.md").read_text()
    html = (folder / "report.html").read_text()
    rows = re.findall("<tr>(.*?)</tr>", html.partition('id="claims"')[2].partition("</table>")[0])
    shown = [[unescape(field) for field in re.findall("<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]
    lines = [line for line in (folder / "claims.md").read_text().splitlines() if line.startswith("| ")]
    assert [f"| {' | '.join(row)} |" for row in shown[1:]] == lines[2:]
    assert "— there is no such run.</p>" in html
    table = pd.read_csv(folder / "claims.csv").set_index(["metric", "baseline"])
    assert len(table) == 7 * 3
    joint = table.loc[("joint_coherence", "mopoe")]
    assert (joint["lead"], joint["n"], joint["baseline_n"]) == (pytest.approx(0.2), 3, 3)
    assert joint["mean"] - joint["baseline_mean"] == pytest.approx(joint["lead"])
    expected = stats.ttest_ind(OURS, FAR, equal_var=False)
    assert (joint["lead"] / joint["standard_error"], joint["p"]) == (
        pytest.approx(expected.statistic),
        pytest.approx(expected.pvalue),
    )
    assert joint["paper"] - joint["paper_baseline"] == pytest.approx(joint["paper_lead"])
    assert pd.isna(table.loc[("fid/svhn", "mopoe"), ["mean", "baseline_mean", "lead", "p"]]).all()
