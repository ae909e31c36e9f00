"""The report as one HTML file that needs nothing else: leaderboard, claims, pictures, models and their runs.

All of it is text and data URIs. Everything from outside reaches the page through Jinja2's autoescape; the
script is a constant that reads no data but attributes of the page, and the page's own policy allows that one
alone.
"""

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from mmbench.escape import visible
from mmbench.report.numbers import paper, priors
from mmbench.report.numbers.claims import Claim, absences, fields, heads, reading
from mmbench.report.numbers.columns import Column
from mmbench.report.numbers.leaderboard import LEVEL, Entry, Leaderboard, name_of
from mmbench.report.numbers.priors import PriorRow
from mmbench.report.numbers.provenance import machine_lines, spell_value
from mmbench.report.numbers.render import decimal, lay_out
from mmbench.report.numbers.tables import Table
from mmbench.report.pages.run_list import run_columns
from mmbench.report.pictures.canvas import Picture
from mmbench.report.pictures.charts import Charts
from mmbench.report.pictures.confusions import draw_confusions
from mmbench.report.pictures.curves import draw_curves
from mmbench.report.pictures.directions import reading as reading_of_directions
from mmbench.report.pictures.grids import Sheet, cross_grids, joint_sheets, owner
from mmbench.report.pictures.latents import draw_latents
from mmbench.storage.diagnostics import load_diagnostics
from mmbench.storage.runs import StoredRun
from mmbench.storage.samples import SampleSet, found_name, picture_name

__all__ = ["build_html"]

_ARROWS = {"higher": "↑", "lower": "↓", "": ""}


@dataclass(frozen=True)
class Model:
    """One model of the page, with all that opens when it is clicked.

    Attributes:
        index: tells its parts of the page apart; its name may be anything.
        runs: all of them.
        curves, samples: pictures; None without histories or samples.
        joint: its first joint draws.
        latents, confusions: pictures of its first finished run, where that has diagnostics.
        found: what queries find first; None where no retrieval was measured.
        without_joint: why it has no joint draws; empty where it has them.
    """

    index: int
    name: str
    runs: Sequence[StoredRun]
    curves: Picture | None
    samples: Picture | None
    joint: list[Sheet]
    latents: list[Picture]
    confusions: list[Picture]
    found: Picture | None
    without_joint: str


def build_html(
    models: Sequence[Sequence[StoredRun]],
    tables: Sequence[Table],
    board: Leaderboard,
    claims: Sequence[Claim],
    prior_rows: Sequence[PriorRow],
    charts: Charts,
    shown: Sequence[tuple[StoredRun, SampleSet]],
    files: Mapping[str, bytes],
) -> bytes:
    """The page.

    Args:
        models: the runs of each model, in the order of the tables' rows.
        tables: theirs, of which matrices are shown by themselves, and protocol and warning of the first.
        board, claims, prior_rows, charts: of these models.
        shown: the runs whose samples are shown, one per model at most.
        files: the other files of the report by name; pictures are taken from there.

    Raises:
        InputError: for damaged histories or diagnostics.
    """
    runs = [run for group in models for run in group]
    samples = {(run.model, run.label): (run, found) for run, found in shown}
    built = [
        _model(index, group, samples.get((group[0].model, group[0].label)), files)
        for index, group in enumerate(models)
    ]
    cross, strangers = cross_grids(shown)
    environment, css, script = _templates()
    page = environment.get_template("report.html.j2").render(
        css=css,
        script=script,
        script_hash=_policy(script),
        css_hash=_policy(css),
        runs=runs,
        first=runs[0],
        head=_head(runs, tables[0]),
        protocol=tables[0].protocol,
        warning=tables[0].warning,
        board=board,
        matrices=[(table.caption, lay_out(table)) for table in tables if table.matrix],
        reading=_reading(board, runs),
        notes=_notes(board),
        claims=claims,
        prior_rows=prior_rows,
        models=built,
        index={owner(model.runs[0]): model.index for model in built},
        cut=reading_of_directions(len(runs[0].modalities)),
        cross=cross,
        strangers=strangers,
        charts=charts,
        failed=[run for run in runs if run.state == "failed"],
        machines=machine_lines(runs),
        metrics=lambda model: _by_seed(board, model),
    )
    return page.encode()


def _templates() -> tuple[Environment, str, str]:
    """The page's templates with what they call, and the page's style and script."""
    loader = PackageLoader("mmbench.report.pages")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,  # markup is no plain str
    )
    environment.filters |= {
        "decimal": decimal,
        "figures": _figures,
        "fields": fields,
        "spell_value": spell_value,
    }
    environment.globals |= {
        "name_of": name_of,
        "owner": owner,
        "run_columns": run_columns,
        "direction": _direction,
        "arrow": lambda column: _ARROWS[column.better],
        "level": LEVEL,
        "claims_heads": heads,
        "claims_reading": reading,
        "claims_notes": absences,
        "priors_heads": priors.HEADS,
        "priors_reading": priors.READING,
        "priors_fields": priors.fields,
        "paper": paper.SHORT_CITATION,
    }
    css, script = (loader.get_source(environment, name)[0] for name in ("report.css", "report.js"))
    return environment, css, script


def _model(
    index: int,
    runs: Sequence[StoredRun],
    shown: tuple[StoredRun, SampleSet] | None,
    files: Mapping[str, bytes],
) -> Model:
    """One model with its pictures.

    Args:
        index: its place among all.
        runs: all of its runs.
        shown: the one whose samples are shown.
        files: of the report, by name.
    """
    name = runs[0].name
    curves = draw_curves([runs], f"{runs[0].dataset}, preset {runs[0].preset}.")
    curves_alt = f"Training curves of {name}: its loss and every term of it over steps, a line per seed."
    drawn = files.get(picture_name(owner(runs[0])))
    drawn_alt = f"Samples of {name}: joint draws, and for every direction conditions above and outputs below."
    done = next((run for run in runs if run.state == "done"), None)
    found = load_diagnostics(done.folder) if done else None
    joint = joint_sheets(shown[1], name) if shown else []
    reason = str(done.reasons.get("joint_coherence", "")) if done else ""
    return Model(
        index,
        name,
        runs,
        _picture(curves, "Training curves", curves_alt),
        _picture(drawn, "Samples", drawn_alt),
        joint,
        draw_latents(name, found, done.classes) if done and found else [],
        draw_confusions(name, found, done.classes) if done and found else [],
        _picture(files.get(found_name(owner(runs[0]))), "What queries find first", _found_alt(name)),
        "" if joint or not shown else reason or "No joint draws are stored.",
    )


def _found_alt(name: str) -> str:
    return f"Queries of {name}, each before what it finds first; a red frame and a cross mark other classes."


def _picture(png: bytes | None, title: str, alt: str) -> Picture | None:
    """A PNG with its title and what it shows in words, where there is one."""
    if png is None:
        return None
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))  # where a PNG says its size
    return Picture(title, png, alt, (width, height))


def _head(runs: Sequence[StoredRun], table: Table) -> dict[str, str]:
    """What was compared, in a few lines."""
    lines = table.protocol
    states = Counter(run.state for run in runs)
    counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    seeds = sorted({run.seed for run in runs})
    names = list(dict.fromkeys(run.name for run in runs))
    head = {
        "Models": f"{len(names)}: {', '.join(names)}",
        "Data": ". ".join(filter(None, (lines.get("Data", ""), lines.get("Items", "")))),
        "Budget": lines.get("Training", ""),
        "Seeds": ", ".join(map(str, seeds)) + (" (one seed)" if len(seeds) == 1 else ""),
        "Runs": counted,
    }
    return {title: text for title, text in head.items() if text}


def _reading(board: Leaderboard, runs: Sequence[StoredRun]) -> list[str]:
    """How much the figures say."""
    seeds = [line.seeds for line in board.lines]
    if not any(seeds):
        return ["No run is done yet, so there are no figures."]
    sentences = [
        "Figures are means ± standard deviations over training seeds; a model with one seed has none.",
        "★ marks the best of a column.",
    ]
    if max(seeds) == 1:
        sentences[0] = (
            "Every figure rests on one seed: its uncertainty is unknown, "
            "and differences between models may be chance."
        )
    if board.tested:
        sentences.append(
            f"≈ marks what is not significantly worse than the best: p > {LEVEL} in Welch's two-sided t-test "
            "over seeds, where both have two seeds or more, without a correction for the number of "
            "comparisons. With few seeds the test finds large differences only."
        )
    else:
        sentences.append("A test of significance takes two seeds of two models, so there is none.")
    if board.has_paper and runs[0].preset != "paper":
        sentences.append(
            f"The preset {runs[0].preset} is not the paper's budget, "
            "so this is no reproduction of the paper's figures."
        )
    return sentences


def _by_seed(board: Leaderboard, model: Model) -> list[tuple[Column, list[float | None], str]]:
    """Every metric of a model: its value per finished seed, and why values are missing."""
    seeds = [run.seed for run in model.runs if run.state == "done"]
    return [
        (entry.column, [entry.cell.values.get(seed) for seed in seeds], entry.cell.note)
        for entry in board.lines[model.index].entries
    ]


def _notes(board: Leaderboard) -> dict[str, int]:
    """Numbered notes to the leaderboard, each once."""
    notes: dict[str, int] = {}
    for line in board.lines:
        for note in (line.note, *(entry.cell.note for entry in line.entries)):
            if note:
                notes.setdefault(note, len(notes) + 1)
    return notes


def _figures(entry: Entry) -> dict[str, Any]:
    """An entry's numbers in the units of the table, as text; "sort" is the mean as a number."""
    cell, show = entry.cell, entry.column.shown
    known = bool(cell.values)
    return {
        "sort": f"{cell.mean:.10g}" if known else "",
        "mean": decimal(show(cell.mean)) if known else "",
        "std": decimal(show(cell.std)) if len(cell.values) > 1 else "",
        "paper": "" if cell.paper is None else decimal(show(cell.paper)),
        "difference": decimal(show(cell.mean - cell.paper), "+") if known and cell.paper is not None else "",
    }


def _direction(column: Column) -> str:
    return f"{column.better} is better" if column.better else "neither direction is better"


def _policy(content: str) -> str:
    """How a Content-Security-Policy names an inline script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
