"""The lines under a table: its protocol, and rows that do not share one."""

import json
from dataclasses import asdict

import pytest
from table_runs import make_run

from mmbench.escape import escape_latex
from mmbench.report.numbers import provenance
from mmbench.report.numbers.provenance import machine_lines
from mmbench.report.numbers.render import to_latex, to_markdown
from mmbench.report.numbers.tables import build_tables
from models.base import SHOWN_ONLY, Modality


def test_the_protocol_stands_under_every_table():
    references = {"judge/mnist": 0.991, "fd_clf_floor/mnist": 0.5, "fd_clf_real/mnist": 10000}
    for table in build_tables([make_run(seed=seed, references=references) for seed in (0, 2)]):
        for sentence in (
            "Data: mnist-svhn. SVHN is a part.",
            "Items: mnist 57,000 train, 10,000 test.",
            "Data settings: pairs per image 10.",
            "steps 4,000, batch size 256, learning rate 0.001, precision fp32, seeds 0, 2.",
            "draws 20,000, joint draws 10,000",
            "mnist 99.10 %",
            "FD-clf floor, real train against real test data: mnist 0.50.",
            "Test items behind FD-clf: mnist 10,000.",
        ):
            assert sentence in to_markdown(table)
            assert escape_latex(sentence) in to_latex(table)
        assert not table.warning


def test_a_precision_that_the_machine_decided_is_said_to_be_so():
    """Once under the table, and not among the machines again; rows of two precisions are flagged besides."""
    named, auto = make_run("mmvae"), make_run("mopoe", precision="bf16")
    named.config["environment"] = {"torch": "2.6"}
    auto.config["environment"] = {"torch": "2.6", "precision": "auto"}
    alone = build_tables([auto])[0]
    assert "learning rate 0.001, precision bf16 (auto on its machine), seed 0." in to_markdown(alone)
    both = build_tables([named, auto])[0]
    assert "precision fp32 or bf16 (auto on its machine), seed 0." in to_markdown(both)
    assert "precision is fp32 (MMVAE), bf16 (MOPOE)" in both.warning
    assert machine_lines([named, auto]) == ["torch 2.6"]


def test_the_defaults_of_fields_are_those_of_modalities():
    stored = json.loads(json.dumps(asdict(Modality("mnist", (1, 28, 28)))))
    left = {key: value for key, value in stored.items() if key not in (*SHOWN_ONLY, "name", "shape")}
    assert left == provenance._DEFAULTS
    assert provenance._SHOWN_ONLY == SHOWN_ONLY


def test_fields_that_older_runs_lack_are_at_their_defaults():
    """Runs of today beside one from before modalities had some of their fields; and one that is a sound."""

    def modalities(**fields):
        return json.loads(json.dumps([asdict(Modality("mnist", (1, 28, 28))) | fields]))

    old = make_run("mopoe", modalities=[{"name": "mnist", "shape": [1, 28, 28]}])
    runs = [
        old,
        make_run("mmvae", modalities=modalities()),
        make_run("mvae", modalities=modalities(sound=True)),
    ]
    assert not build_tables(runs)[0].warning
    heavy = make_run("cada-vae", modalities=modalities(weight=2.0))
    assert "modalities mnist weight is not set (MOPOE" in build_tables([*runs, heavy])[0].warning


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (
            {"training": {"steps": 9, "batch_size": 256, "learning_rate": 0.001}},
            "training steps is 4,000 (MMVAE), 9 (MOPOE)",
        ),
        ({"protocol": {"draws": 20000}}, "protocol joint draws is 10,000 (MMVAE), not set (MOPOE)"),
        ({"precision": "bf16"}, "precision is fp32 (MMVAE), bf16 (MOPOE)"),
        ({"data": {}}, "data settings pairs per image is 10 (MMVAE), not set (MOPOE)"),
    ],
)
def test_rows_of_different_protocols_are_flagged(change, warning):
    table = build_tables([make_run("mmvae"), make_run("mopoe", **change)])[0]
    assert warning in table.warning
    assert "**Warning.**" in to_markdown(table)
    assert "\\textbf{Warning.}" in to_latex(table)
