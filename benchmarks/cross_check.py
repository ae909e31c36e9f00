"""Our MoPoE, MVAE and MMVAE against MultiVae's own, trained and judged alike: the first losses and all metrics, from finished runs.

python benchmarks/cross_check.py results/published/cross-check/digits/quick    # writes cross-check.md and cross-check.csv there

The runs, three seeds of each side with the same settings (MultiVae's defaults are others):

mmbench run --models mopoe,mvae,mmvae,multivae:MoPoE,multivae:MVAE,multivae:MMVAE --dataset digits --preset quick --seeds 0,1,2 \
    --set mopoe.beta=1 --set mvae.annealing=0.1 --set K=1 --set multivae:MMVAE.prior_and_posterior_dist=normal \
    --set multivae:MMVAE.learn_prior=false --metrics coherence,fd_clf,probe --results RESULTS
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import pandas as pd

from mmbench.adapters.multivae import DASHED
from mmbench.report.compare import differences
from mmbench.report.leaderboard import LEVEL, welch
from mmbench.report.results import Run, find_runs, read_history


def cross_check(runs: Sequence[Run]) -> pd.DataFrame:
    """A row for the first losses of each model, and one for each of its metrics.

    Columns: model, quantity, unit; ours and theirs, means over seeds; difference, and error, its standard error; p of Welch's test.
    Of the losses the difference is the largest over seeds, relative to the loss: a seed gives both sides the same weights, batches and
    noise, so no more than rounding separates them at first.
    """
    theirs = [_as_native(run) for run in runs if run.model.startswith(DASHED) and run.state == "done"]
    names = {run.model for run in theirs}
    ours = [run for run in runs if run.model in names and run.state == "done"]
    rows = [_first_losses(name, *([run for run in side if run.model == name] for side in (ours, theirs))) for name in sorted(names)]
    for row in (row for table in differences(ours, theirs).values() for row in table if row.column.better and row.value is not None):
        found = {"model": row.title, "quantity": f"{row.column.group} {row.column.part}".strip(), "unit": row.column.unit}
        p = None if row.error is None else welch(list(row.a.values.values()), list(row.b.values.values()))
        rows.append(found | {"ours": row.a.mean, "theirs": row.b.mean, "difference": row.value, "error": row.error, "p": p})
    return pd.DataFrame(rows).sort_values("model", kind="stable", ignore_index=True)


def _as_native(run: Run) -> Run:
    """The run under the name of our model."""
    return replace(run, config={**run.config, "model": run.model.removeprefix(DASHED), "title": run.title.partition(" (")[0]})


def _first_losses(name: str, ours: Sequence[Run], theirs: Sequence[Run]) -> dict[str, object]:
    losses = [{run.seed: read_history(run)["loss"].iloc[0] for run in side} for side in (ours, theirs)]
    steps = read_history(ours[0])["step"].iloc[0]
    seeds = sorted(losses[0].keys() & losses[1].keys())
    gap = max(abs(losses[0][seed] / losses[1][seed] - 1) for seed in seeds)
    means = [sum(side[seed] for seed in seeds) / len(seeds) for side in losses]
    title = ours[0].title
    return {"model": title, "quantity": f"loss, steps 1-{steps}", "unit": "nats", "ours": means[0], "theirs": means[1], "difference": gap}


def to_markdown(table: pd.DataFrame, runs: Sequence[Run]) -> str:
    """The table, and how many of its tests one would expect to fail of equal models."""
    lines = ["| Model | Quantity | ours | MultiVae's | difference | p |", "| :-- | :-- | --: | --: | --: | --: |"]
    for row in table.itertuples():
        scale = 100 if row.unit == "fraction" else 1
        gap = f"{row.difference:.1e} of it" if row.unit == "nats" else f"{scale * row.difference:+.2f} ± {scale * row.error:.2f}"
        p = "" if pd.isna(row.p) else f"{row.p:.2f}"
        lines.append(f"| {row.model} | {row.quantity} | {scale * row.ours:.2f} | {scale * row.theirs:.2f} | {gap} | {p} |")
    tested = table["p"].dropna()
    seeds = ", ".join(map(str, sorted({run.seed for run in runs})))
    commands = "\n".join(dict.fromkeys(str(run.config["command"]) for run in runs))
    return "\n".join(
        [
            "# Our models and MultiVae's: the same weights, batches and noise at first, the same budget and metrics",
            "",
            f"Means over seeds {seeds}; a difference of metrics ± its standard error, and p of Welch's test; shares in per cent. Of losses, the "
            "largest relative difference over seeds.",
            "",
            *lines,
            "",
            f"{(tested < LEVEL).sum()} of {len(tested)} tests have p < {LEVEL:g}; of equal models {LEVEL * len(tested):.1f} would on average.",
            "",
            f"```sh\n{commands}\n```",
            "",
        ]
    )


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
def main(folder: Path) -> None:
    """Write cross-check.md and cross-check.csv of the runs in FOLDER, a <dataset>/<preset> of results, into it."""
    runs = find_runs(folder)
    table = cross_check(runs)
    table.to_csv(folder / "cross-check.csv", index=False, float_format="%.10g", lineterminator="\n")
    (folder / "cross-check.md").write_text(to_markdown(table, runs), encoding="utf-8")
    click.echo(to_markdown(table, runs))


if __name__ == "__main__":
    main()
