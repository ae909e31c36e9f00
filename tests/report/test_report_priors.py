"""The table of the same prior for everyone: which runs stand beside each other, and what else is said."""

import io

import pandas as pd
import pytest
from table_runs import make_run
from written_runs import write_run

from mmbench.report import write_report
from mmbench.report.numbers.priors import HEADS, fields, find_priors, priors_csv, priors_markdown
from mmbench.report.numbers.tables import build_tables

PLAIN = {"beta": 1.0, "prior": "gaussian", "prior_components": 50}
MIXTURE = PLAIN | {"prior": "mixture"}


def group(model, joints, fitted=None, settings=PLAIN, **config):
    """The runs of one row, a seed per value."""
    metrics = [{"joint_coherence": joint, "joint_coherence/entropy": 2.0} for joint in joints]
    if fitted is not None:
        metrics = [each | {"fitted_coherence": fitted} for each in metrics]
    runs = [make_run(model, seed, metrics=each, **config) for seed, each in enumerate(metrics)]
    for run in runs:
        run.config.update(settings=settings)
    return runs


def named(runs, name):
    for run in runs:
        run.config.update(named=name)
    return runs


def table_of(models):
    return build_tables([run for runs in models for run in runs])[0]


def rows_of(models):
    return find_priors(models, table_of(models))


def test_a_learned_mixture_stands_beside_the_model_with_the_same_settings():
    models = [
        group("cnf-mvae", (0.2, 0.3), fitted=0.8),
        group("cnf-mvae", (0.7, 0.6), settings=MIXTURE, label="mixture"),
        group("cnf-mvae", (0.9, 0.9), settings=MIXTURE | {"beta": 5.0}, label="strong"),
        group("mmvae", (0.1,), fitted=0.4),
        named(group("mmvae", (0.3,), settings=PLAIN | {"beta": 2.0}, label="published"), "published"),
        named(group("mmvae", (0.5,), settings=MIXTURE | {"beta": 2.0}, label="mixture"), "published"),
        group("mopoe", (0.2,), settings={"beta": 1.0}, label="wide"),
    ]
    found = [fields(row) for row in rows_of(models)]
    assert found == [
        ["CNF-MVAE", "gaussian", "25.00 ± 7.07 (2.00)", "65.00 ± 7.07 (2.00)", "80.00 ± 0.00"],
        ["MMVAE", "gaussian", "10.00 (2.00)", "not run", "40.00"],
        ["MMVAE, as published", "gaussian", "30.00 (2.00)", "50.00 (2.00)", fitted_note(models)],
        ["CNF-MVAE (strong)", "mixture", "90.00 ± 0.00 (2.00)", "90.00 ± 0.00 (2.00)", fitted_note(models)],
    ]


def fitted_note(models):
    """What a cell without the fitted sampler says."""
    table = table_of(models)
    index = [column.metric for column in table.columns].index("fitted_coherence")
    return table.rows[1].cells[index].note.rstrip(".")


def joints_of(models):
    """Name -> joint coherence from its own prior and from the learned mixture, None where not run."""
    return {
        row.name: tuple(cell.mean if cell.values else None for cell in row.cells[:2])
        for row in rows_of(models)
    }


@pytest.mark.parametrize(
    "apart",
    [
        {"training": {"steps": 8000, "batch_size": 256, "learning_rate": 0.001}},
        {"training": {"steps": 4000, "batch_size": 256, "learning_rate": 0.001, "keep": "average"}},
        {"data": {"modalities": {"mnist": {"train": {"images": 10}}}}},
        {"protocol": {"draws": 100}},
        {"precision": "bf16"},
        {"settings": MIXTURE | {"prior_components": 30}},
        {"settings": MIXTURE | {"prior_starts": 1}},
    ],
)
def test_a_mixture_of_another_budget_protocol_or_size_has_a_row_of_its_own(apart):
    own, mixture = group("mmvae", (0.2,)), group("mmvae", (0.7,), settings=MIXTURE, label="mixture")
    assert joints_of([own, mixture]) == {"MMVAE": (0.2, 0.7)}
    mixture[0].config.update(apart)
    assert joints_of([own, mixture]) == {"MMVAE": (0.2, None), "MMVAE (mixture)": (0.7, 0.7)}


def test_every_learned_mixture_and_every_other_prior_is_there():
    models = [
        group("mmvae", (0.2,)),
        group("mmvae", (0.3,), settings=PLAIN | {"prior": "flow"}, label="flow"),
        group("mmvae", (0.7,), settings=MIXTURE, label="mixture"),
        group("mmvae", (0.6,), settings=MIXTURE, label="mixture-again"),
        group("mopoe", (0.1,), settings=PLAIN, label="gaussian"),
        group("mopoe", (0.8,), settings=MIXTURE),
    ]
    assert joints_of(models) == {
        "MMVAE": (0.2, 0.7),
        "MMVAE (flow)": (0.3, 0.7),
        "MOPOE (gaussian)": (0.1, 0.8),
        "MMVAE (mixture-again)": (0.6, 0.6),
        "MOPOE": (0.8, 0.8),
    }
    assert [row.prior for row in rows_of(models)][:3] == ["gaussian", "flow", "gaussian"]


def test_a_warning_stands_below_rows_of_different_protocols():
    models = [group("mmvae", (0.2,)), group("mmvae", (0.7,), settings=MIXTURE, label="mixture")]
    assert "Warning" not in priors_markdown(rows_of(models), table_of(models))
    models[1][0].config.update(precision="bf16")
    text = priors_markdown(rows_of(models), table_of(models))
    assert "**Warning.** These rows do not share one protocol" in text


def test_without_a_learned_mixture_there_is_no_table():
    assert rows_of([group("cnf-mvae", (0.2,)), group("mmvae", (0.1,), settings={"beta": 1.0})]) == []


def test_files_say_the_same():
    models = [group("mmvae", (0.1, 0.3), settings={}), group("cnf-mvae", (0.7,), settings=MIXTURE)]
    rows = rows_of(models)
    text = priors_markdown(rows, table_of(models))
    assert f"| {' | '.join(HEADS)} |" in text
    assert "| MMVAE | default | 20.00 ± 14.14 (2.00) | not run | not computed |" in text
    table = pd.read_csv(io.StringIO(priors_csv(rows))).set_index(["model", "kind"])
    assert table.loc[("mmvae", "own prior"), "mean"] == pytest.approx(0.2)
    assert table.loc[("cnf-mvae", "own prior"), "mean"] == table.loc[("cnf-mvae", "learned mixture"), "mean"]
    assert table.loc[("mmvae", "learned mixture"), "n"] == 0


def test_it_is_on_both_pages(tmp_path):
    write_run(tmp_path, "cnf-mvae", value=0.25, settings=PLAIN)
    write_run(tmp_path, "cnf-mvae", value=0.75, settings=MIXTURE, label="mixture")
    write_report(tmp_path)
    folder = tmp_path / "mnist-svhn" / "quick"
    page = (folder / "README.md").read_text()
    assert "## The same prior for everyone" in page
    assert (folder / "priors.md").read_text() in page
    html = (folder / "report.html").read_text()
    section = html.partition('id="priors"')[2].partition("</table>")[0]
    assert "25.00" in section
    assert "75.00" in section
