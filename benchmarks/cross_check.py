r"""Our MoPoE, MVAE and MMVAE against MultiVae's own, trained and judged alike, from finished runs.

    python benchmarks/cross_check.py RESULTS/digits/quick

writes cross-check.md and cross-check.csv into the folder of the runs: the first losses, and the metrics of
tables 1-3. The runs are three seeds of each side with the same settings, which are not MultiVae's defaults:

    mmbench run --models mopoe,mvae,mmvae,multivae:MoPoE,multivae:MVAE,multivae:MMVAE \
        --dataset digits --preset quick --seeds 0,1,2 \
        --set mopoe.beta=1 --set mvae.annealing=0.1 --set K=1 \
        --set multivae:MMVAE.prior_and_posterior_dist=normal --set multivae:MMVAE.learn_prior=false \
        --metrics coherence,fd_clf,probe --results RESULTS

One difference is left: MultiVae gives the KL terms of its MVAE their whole weight 1 % of training earlier, at
0.9 of it.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import click
import pandas as pd

from mmbench.adapters.multivae import COLLECTION
from mmbench.report.numbers.compare import differences
from mmbench.report.numbers.leaderboard import LEVEL
from mmbench.report.numbers.provenance import disagreements
from mmbench.report.numbers.results import find_runs
from mmbench.storage.history import read_history
from mmbench.storage.runs import StoredRun
from models.errors import InputError
from models.parts.priors import PriorSettings

PREFIX = f"{COLLECTION}-"  # of the names of MultiVae's models
NAMES = {"samples": "K", "annealing": "warmup", "posterior": "prior_and_posterior_dist"}
FAMILIES = {"gaussian": "normal", "laplace": "laplace_with_softmax"}  # of posteriors
"""Our settings as MultiVae calls them."""
PRIOR = {each.name for each in fields(PriorSettings)}


def pick(runs: Sequence[StoredRun]) -> tuple[list[StoredRun], list[StoredRun]]:
    """Our runs and MultiVae's, of the models and seeds that both sides have; theirs under our names.

    Runs that are not finished, or have a label, do not count.

    Raises:
        InputError: where there are none, and for runs that differ in data, budget, protocol or settings.
    """
    done = [run for run in runs if run.state == "done" and not run.label]
    sides = (
        [run for run in done if not run.model.startswith(PREFIX)],
        [_as_native(run) for run in done if run.model.startswith(PREFIX)],
    )
    keys = set.intersection(*({(run.model, run.seed) for run in side} for side in sides))
    if not keys:
        raise InputError(
            "There is nothing to check: expected finished runs of mopoe, mvae or mmvae, "
            "and of the MultiVae model of that name."
        )
    if warning := disagreements([run for run in done if (run.model.removeprefix(PREFIX), run.seed) in keys]):
        raise InputError(warning)
    ours, theirs = ([run for run in side if (run.model, run.seed) in keys] for side in sides)
    for a, b in zip(
        *(sorted(side, key=lambda run: (run.model, run.seed)) for side in (ours, theirs)), strict=True
    ):
        _check_settings(a, b)
    return ours, theirs


def _check_settings(ours: StoredRun, theirs: StoredRun) -> None:
    """InputError where two runs of a model have other settings.

    Two settings are fixed in ours: MMVAE learns its prior where that is Laplace, and it has one objective.
    Others choose priors that MultiVae's do not have.
    """
    own = ours.config["settings"]
    if own.get("prior") in ("gaussian", "family"):  # as all of MultiVae's
        own = {name: value for name, value in own.items() if name not in PRIOR}
    fixed = {"learn_prior": own.get("posterior") == "laplace", "loss": "dreg_looser"}
    asked = fixed | {
        NAMES.get(name, name): FAMILIES[value] if name == "posterior" else value
        for name, value in own.items()
    }
    found = fixed | theirs.config["settings"]
    differ = "; ".join(
        f"{name} {value} here, {found.get(name)} there"
        for name, value in asked.items()
        if found.get(name) != value
    )
    if differ:
        raise InputError(
            f"{ours.title} and MultiVae's have other settings ({differ}): the head of this script has the "
            "command for equal ones."
        )


def cross_check(ours: Sequence[StoredRun], theirs: Sequence[StoredRun]) -> pd.DataFrame:
    """A row for the first losses of each model, and one for each of its metrics of tables 1-3.

    Columns: model, quantity, unit; ours and theirs, means over seeds; difference, and error, its standard
    error; p of Welch's test. Of the losses the difference is the largest over seeds, relative to the loss: a
    seed gives both sides the same weights, batches and noise, so no more than rounding separates them at
    first.
    """
    names = sorted({run.model for run in ours})
    rows = [
        _first_losses(*([run for run in side if run.model == name] for side in (ours, theirs)))
        for name in names
    ]
    for row in (
        row
        for table in differences(ours, theirs).values()
        for row in table
        if row.column.better and row.value is not None
    ):
        found = {
            "model": row.title,
            "quantity": f"{row.column.group} {row.column.part}".strip(),
            "unit": row.column.unit,
        }
        rows.append(
            found
            | {
                "ours": row.a.mean,
                "theirs": row.b.mean,
                "difference": row.value,
                "error": row.error,
                "p": row.p,
            }
        )
    return pd.DataFrame(rows).sort_values("model", kind="stable", ignore_index=True)


def _as_native(run: StoredRun) -> StoredRun:
    """The run under the name of our model."""
    return replace(
        run,
        config={**run.config, "model": run.model.removeprefix(PREFIX), "title": run.title.partition(" (")[0]},
    )


def _first_losses(ours: Sequence[StoredRun], theirs: Sequence[StoredRun]) -> dict[str, object]:
    """The row of the first losses of one model, in the columns of cross_check."""
    mine, other = (
        pd.Series({run.seed: read_history(run.folder)["loss"].iloc[0] for run in side})
        for side in (ours, theirs)
    )
    found = {
        "model": ours[0].title,
        "quantity": f"loss, steps 1-{read_history(ours[0].folder)['step'].iloc[0]}",
        "unit": "nats",
    }
    return found | {"ours": mine.mean(), "theirs": other.mean(), "difference": (mine / other - 1).abs().max()}


def to_markdown(table: pd.DataFrame, runs: Sequence[StoredRun]) -> str:
    """The table that rests on `runs`, and how many of its tests one would expect to fail of equal models."""
    lines = [
        "| Model | Quantity | ours | MultiVae's | difference | p |",
        "| :-- | :-- | --: | --: | --: | --: |",
    ]
    for row in table.itertuples():
        scale = 100 if row.unit == "fraction" else 1
        spread = "" if pd.isna(row.error) else f" ± {scale * row.error:.2f}"
        gap = (
            f"{row.difference:.1e} of it" if row.unit == "nats" else f"{scale * row.difference:+.2f}{spread}"
        )
        p = "" if pd.isna(row.p) else f"{row.p:.2f}"
        lines.append(
            f"| {row.model} | {row.quantity} | {scale * row.ours:.2f} | {scale * row.theirs:.2f} "
            f"| {gap} | {p} |"
        )
    tested = table["p"].dropna().astype(float)
    seeds = sorted({run.seed for run in runs})
    over = f"Means over seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else f"Seed {seeds[0]}"
    if len(tested):
        foot = (
            f"{(tested < LEVEL).sum()} of {len(tested)} tests have p < {LEVEL:g}; "
            f"of equal models {LEVEL * len(tested):.1f} would on average."
        )
    else:
        foot = (
            "Nothing is tested: that needs two seeds or more. "
            "Compare the differences with the deviations over seeds of the same models elsewhere."
        )
    commands = "\n".join(dict.fromkeys(str(run.config["command"]) for run in runs))
    return "\n".join(
        [
            "# Our models and MultiVae's: the same data, budget and metrics, "
            "and of each seed the same first weights",
            "",
            f"{over}; a difference of metrics ± its standard error, and p of Welch's test; "
            "shares in per cent. Of losses, the largest relative difference over seeds.",
            "",
            *lines,
            "",
            foot,
            "",
            f"```sh\n{commands}\n```",
            "",
        ]
    )


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
def main(folder: Path) -> None:
    """Write cross-check.md and cross-check.csv of the runs in FOLDER, a <dataset>/<preset> of results."""
    try:
        ours, theirs = pick(find_runs(folder))
    except InputError as error:
        raise click.UsageError(str(error)) from None
    table = cross_check(ours, theirs)
    text = to_markdown(table, [*ours, *theirs])
    table.to_csv(folder / "cross-check.csv", index=False, float_format="%.10g", lineterminator="\n")
    (folder / "cross-check.md").write_text(text, encoding="utf-8")
    click.echo(text)


if __name__ == "__main__":
    main()
