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


def rows_of(models):
    return find_priors(models, build_tables([run for runs in models for run in runs])[0])


def test_a_learned_mixture_stands_beside_the_model_with_the_same_settings():
    models = [
        group("cnf-mvae", (0.2, 0.3), fitted=0.8),
        group("cnf-mvae", (0.7, 0.6), settings=MIXTURE | {"prior_components": 30}, label="mixture"),
        group("cnf-mvae", (0.9, 0.9), settings=MIXTURE | {"beta": 5.0}, label="strong"),
        group("mmvae", (0.1,), fitted=0.4),
        named(group("mmvae", (0.3,), settings=PLAIN | {"beta": 2.0}, label="published"), "published"),
        named(group("mmvae", (0.5,), settings=MIXTURE | {"beta": 2.0}, label="mixture"), "published"),
        group("mopoe", (0.2,), label="wide"),
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
    table = build_tables([run for runs in models for run in runs])[0]
    index = [column.metric for column in table.columns].index("fitted_coherence")
    return table.rows[1].cells[index].note.rstrip(".")


def test_without_a_learned_mixture_there_is_no_table():
    assert rows_of([group("cnf-mvae", (0.2,)), group("mmvae", (0.1,), settings={"beta": 1.0})]) == []


def test_files_say_the_same():
    rows = rows_of([group("mmvae", (0.1, 0.3), settings={}), group("cnf-mvae", (0.7,), settings=MIXTURE)])
    text = priors_markdown(rows)
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
