"""mmbench and MultiVae 1.0.3 side by side on this machine: `python benchmarks/compare.py --help`.

README.md says what is measured and how.
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from benchmarks.bench import Bench

GROUPS = ("training", "jobs", "peak", "data", "coherence", "frechet", "fid", "memory", "start", "growth")
HERE = Path(__file__).parent
BEGIN, END = "<!-- table -->", "<!-- end of table -->"


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--rows", default=",".join(GROUPS), show_default=True, help="Groups of rows, separated by commas."
)
@click.option(
    "--repeats",
    default=5,
    show_default=True,
    type=click.IntRange(1),
    help="Rounds A B of a quick row; slow ones take about half.",
)
@click.option(
    "--threads", default=2, show_default=True, type=click.IntRange(1), help="Threads of either side."
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Folder of MNIST and SVHN; without it on the embedded digits, and no memory.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change how much is measured, for example steps=4.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=HERE / "results",
    help="Folder of the tables (default: benchmarks/results).",
)
def main(
    rows: str, repeats: int, threads: int, data_dir: Path | None, overrides: tuple[str, ...], out: Path
) -> None:
    """Measure rows of the comparison and merge them into compare.csv and compare.md.

    The group growth is written to growth.csv and growth.png.
    """
    from mmbench.execution.signals import StoppedError
    from models.errors import InputError

    try:
        _measure(_pick(rows, data_dir), repeats, threads, data_dir, overrides, out)
    except InputError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    except (KeyboardInterrupt, StoppedError):
        click.echo("Stopped. The rows that were measured are kept.", err=True)
        sys.exit(130)


def _pick(text: str, data_dir: Path | None) -> list[str]:
    """The groups named in `text`.

    Memory is left out where `text` names all groups and there is no folder of images.
    """
    from models.errors import InputError, suggest

    chosen = [name.strip() for name in text.split(",")]
    for name in chosen:
        if name not in GROUPS:
            raise InputError(f"Unknown group {name!r} in --rows: {suggest(name, GROUPS)}")
    if set(chosen) == set(GROUPS) and data_dir is None:
        click.echo("Without --data-dir there is no row on memory, which is about mnist-svhn.")
        chosen.remove("memory")
    if find_spec("multivae") is None:
        raise InputError(
            "The comparison needs MultiVae: install the extra with pip install -e '.[multivae]'."
        )
    return [name for name in GROUPS if name in chosen]


def _measure(
    groups: list[str],
    repeats: int,
    threads: int,
    data_dir: Path | None,
    overrides: tuple[str, ...],
    out: Path,
) -> None:
    """Measure the groups one after another; what is measured is written after each."""
    import torch

    from benchmarks import evaluating, processes, training
    from benchmarks.bench import Bench, Work
    from benchmarks.table import markdown, merge, read_csv, sitting, write_csv
    from mmbench.plan.overrides import Overrides

    parsed = Overrides(overrides)
    work = parsed.apply(Work, {}, "the benchmark")
    parsed.check_all_used([Work])
    torch.set_num_threads(threads)
    bench = Bench(work, repeats, threads, data_dir)
    measures = {
        "training": training.one_run,
        "jobs": training.four_runs,
        "peak": training.peak_share,
        "data": training.data_path,
        "coherence": evaluating.coherence,
        "frechet": evaluating.frechet,
        "fid": evaluating.inception_features,
        "memory": processes.memory,
        "start": processes.start,
    }
    words = ["python", "benchmarks/compare.py", "--rows", ",".join(groups)]
    words += ["--repeats", str(repeats), "--threads", str(threads)]
    words += ["--data-dir", "DATA"] if data_dir else []
    words += [word for pair in overrides for word in ("--set", pair)]
    where = sitting(join(words), threads)
    out.mkdir(parents=True, exist_ok=True)
    for group in groups:
        if group == "growth":
            _grow(bench, out, where)
            continue
        found = [row.record(group, where) for row in measures[group](bench)]
        table = merge(read_csv(out / "compare.csv"), found, GROUPS)
        write_csv(out / "compare.csv", table)
        text = markdown(table)
        (out / "compare.md").write_text(text, encoding="utf-8")
        if out.resolve() == HERE.resolve() / "results":
            _show(HERE / "README.md", text)
        for row in found:
            click.echo(
                f"{row['row']}: {row['ours']} {row['unit']}, theirs {row['theirs']}; "
                f"{row['compared']} {row['median']} ({row['low']} to {row['high']}), "
                f"must reach {row['must']}: {row['reached']}"
            )


def _grow(bench: "Bench", out: Path, where: dict[str, str]) -> None:
    """Measure and write the growth curves, and say which are steeper than linear."""
    from benchmarks.growth import growth, worse_than_linear, write_growth

    curves = []
    for curve in growth(bench):
        curves.append(curve)
        click.echo(
            f"growth over {curve.axis}, {curve.model}: slope "
            f"{curve.slope:.2f}{f' ({curve.flag})' if curve.flag else ''}"
        )
    write_growth(curves, out, where)
    if steep := worse_than_linear(curves):
        click.echo(
            "WORSE THAN LINEAR: "
            + "; ".join(f"{curve.model} over {curve.axis}, slope {curve.slope:.2f}" for curve in steep)
        )


def _show(readme: Path, table: str) -> None:
    """Put the table between the two markers of the README."""
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n{table}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.path[0] = str(HERE.parent)  # of a script it is the script's own folder
    main()
