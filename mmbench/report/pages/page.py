"""A preset folder's report: README.md with tables and figure 3, pictures.md with the rest, report.html."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from typing import TypeAlias
from urllib.parse import quote

from mmbench.escape import escape_markdown, visible
from mmbench.report.numbers import paper
from mmbench.report.numbers.claims import find_claims
from mmbench.report.numbers.leaderboard import build_leaderboard
from mmbench.report.numbers.priors import find_priors
from mmbench.report.numbers.provenance import machine_lines, spell, spell_value
from mmbench.report.numbers.spread import find_spreads
from mmbench.report.numbers.tables import Table
from mmbench.report.pages.html import build_html
from mmbench.report.pages.numbers_part import (
    Part,
    claims_part,
    priors_part,
    spreads_part,
    tables_part,
)
from mmbench.report.pages.run_list import run_columns
from mmbench.report.pictures.canvas import Picture
from mmbench.report.pictures.charts import Charts, draw_charts
from mmbench.report.pictures.curves import draw_curves
from mmbench.report.pictures.directions import reading, shown_directions
from mmbench.report.pictures.figures import Panel, cross_panel, draw_panels, joint_panel
from mmbench.report.pictures.retrieval import draw_found
from mmbench.storage.runs import StoredRun
from mmbench.storage.samples import SampleSet, found_name, load_run_samples, picture_name
from models.errors import InputError

__all__ = ["build_report"]

Shown: TypeAlias = Sequence[tuple[StoredRun, SampleSet]]

_COMPARED = ("mopoe", "cnf-mvae")  # left and right in figure 3
_JOINT, _CROSS = "Joint: same place, same prior draw.", "Cross: conditions above, outputs below."
_BANDS = (
    "On validation data, with fewer draws than in the tables; "
    "bands are standard deviations of two seeds or more."
)
_RECALL = (
    "Of all test items as queries, interpolated: the best precision at a recall or above it. "
    "Means over the seeds of a model."
)
_FOUND = "Left a query, right what it finds first; a red frame with a cross marks another class."


def build_report(runs: Sequence[StoredRun], tables: Sequence[Table]) -> dict[str, bytes]:
    """The files of a report by name.

    Tables, the same prior for everyone, the paper's claims, the spread over pairings, figure3.png,
    samples-<model>.png, found-<model>.png, training.png, charts, README.md, pictures.md where there are
    pictures, and report.html.

    Args:
        runs: those of one preset folder, in the order of `find_runs`.
        tables: of `build_all_tables`.

    Raises:
        InputError: for a sheet of samples or a history that is damaged, and for runs of several data sets or
            presets in one folder.
    """
    kinds = {(run.dataset, run.preset): run.folder for run in runs}
    if len(kinds) > 1:
        raise InputError(
            f"The folder {runs[0].folder.parents[1]} mixes runs of several data sets or presets, such as "
            f"{' and '.join(map(str, list(kinds.values())[:2]))}: move the strangers elsewhere."
        )
    models = [list(group) for _, group in groupby(runs, key=lambda run: (run.model, run.label))]
    loaded = _load_samples(models)
    shown = [(run, samples) for run, samples in loaded if samples.joint or samples.cross]
    claims = find_claims(tables, runs[0].dataset)
    board = build_leaderboard(tables, models)
    charts = draw_charts(models, board)
    shown_files, figure, samples_page = _samples(shown)
    priors = find_priors(models, tables[0])
    numbers = [
        tables_part(tables),
        priors_part(priors, tables[0]),
        claims_part(claims, tables[0]),
        spreads_part(find_spreads(runs, tables)),
    ]
    parts = [*numbers, (shown_files, figure)]
    pictures = [({}, samples_page), _curves(models), _charts(charts, runs[0]), _found(loaded)]
    files = {name: content for found, _ in (*parts, *pictures) for name, content in found.items()}
    if lines := [line for _, part in pictures for line in part]:
        files["pictures.md"] = "\n".join([_title(runs), "", *lines]).encode()
    page = [line for _, part in parts for line in part]
    files["report.html"] = build_html(models, tables, board, claims, priors, charts, shown, files)
    files["README.md"] = "\n".join([*_opening(runs), *page, *_closing(runs)]).encode()
    return files


def _load_samples(models: Sequence[Sequence[StoredRun]]) -> Shown:
    """All that the first finished run of each model keeps for pictures."""
    firsts = [next((run for run in runs if run.state == "done"), None) for runs in models]
    loaded = [(run, load_run_samples(run.folder)) for run in firsts if run]
    return [(run, _some_directions(samples)) for run, samples in loaded if samples]


def _some_directions(samples: SampleSet) -> SampleSet:
    """The samples with the directions that pictures have room for."""
    source = attrgetter("source")
    return SampleSet(
        samples.joint, shown_directions(samples.cross, source), shown_directions(samples.found, source)
    )


def _samples(shown: Shown) -> tuple[dict[str, bytes], list[str], list[str]]:
    """Pictures of samples; the section of figure 3, and that of the samples of every model."""
    if not shown:
        return {}, ["## Figure 3", "", "No finished run here holds samples.", ""], []
    picture, caption = _figure3(shown)
    files = {"figure3.png": picture}
    figure = ["## Figure 3", "", "![Figure 3](figure3.png)", "", escape_markdown(caption), ""]
    page = ["## Samples of every model", ""]
    for run, samples in shown:
        name, title = picture_name(run.folder.parent.name), escape_markdown(run.name)
        panels = [joint_panel(f"{run.name}: joint", samples), cross_panel(f"{run.name}: cross", samples)]
        files[name] = draw_panels([panels], f"{_caption([run])} {_reading([(run, samples)])}")
        page += [f"### {title}", "", f"![Samples of {title}]({_address(name)})", ""]
    return files, figure, page


def _curves(models: Sequence[Sequence[StoredRun]]) -> Part:
    """Training curves of all models, where there are histories."""
    curves = draw_curves(models, _caption([run for runs in models for run in runs]))
    if curves is None:
        return {}, []
    return {"training.png": curves}, ["## Training", "", "![Training curves](training.png)", ""]


def _charts(charts: Charts, first: StoredRun) -> Part:
    """The charts that a reader of the Markdown sees too."""
    drawn = (*charts.trade_off, *charts.learning, *charts.recall)
    page = _gallery("Coherence against quality", charts.reading, charts.trade_off)
    page += _gallery("Learning curves", _BANDS, charts.learning)
    page += _gallery(
        "Precision over recall", f"{_RECALL} {reading(len(first.modalities))}".rstrip(), charts.recall
    )
    return {picture.file_name: picture.png for picture in drawn}, page


def _found(loaded: Shown) -> Part:
    """What some queries find first, of each model whose retrieval was measured."""
    files, page = {}, []
    for run, samples in loaded:
        if samples.found:
            name, title = found_name(run.folder.parent.name), escape_markdown(run.name)
            files[name] = draw_found(
                run.name, samples.found, f"{_caption([run])} {_FOUND} {reading(len(run.modalities))}".rstrip()
            )
            page += [f"### {title}", "", f"![What queries find first with {title}]({_address(name)})", ""]
    return files, ["## What queries find first", "", *page] if page else []


def _gallery(heading: str, reading: str, pictures: Sequence[Picture]) -> list[str]:
    """A section with pictures beside each other, under their titles; nothing without pictures."""
    if not pictures:
        return []
    width, lines = min(3, len(pictures)), [f"## {heading}", "", reading, ""]
    for start in range(0, len(pictures), width):
        row = pictures[start : start + width]
        empty = [""] * (width - len(row))
        titles = [f"**{escape_markdown(picture.title)}**" for picture in row] + empty
        images = [f"![{escape_markdown(picture.alt)}]({picture.file_name})" for picture in row] + empty
        rule = [] if start else [f"|{' :-: |' * width}"]
        lines += [f"| {' | '.join(titles)} |", *rule, f"| {' | '.join(images)} |"]
    return [*lines, ""]


def _figure3(shown: Shown) -> tuple[bytes, str]:
    """Figure 3 and its caption: MoPoE left and CNF-MVAE right, joint above and cross below.

    Of variants of a model, the one without a label is shown where there is one. Where a model is absent,
    another one stands in and the caption says so.
    """
    shown = sorted(shown, key=lambda item: bool(item[0].label))  # stable: nothing else moves
    others = sorted(
        (item for item in shown if item[0].model not in _COMPARED),
        key=lambda item: not item[1].joint,  # the complete ones first
    )
    chosen, remarks = [], []
    for name in _COMPARED:
        item = next((item for item in shown if item[0].model == name), None)
        stand_in = item or (others.pop(0) if others else None)
        if stand_in:
            chosen.append(stand_in)
        if not item:
            instead = f": {stand_in[0].name} stands in its place." if stand_in else "."
            remarks.append(f"{paper.MODELS[name]} has no finished run here{instead}")
    letters = iter("abcd")
    grid = []
    for title, draw in (("joint", joint_panel), ("cross", cross_panel)):
        panels = [draw(f"{run.name}: {title}", samples) for run, samples in chosen]
        grid.append([_lettered(panel, letters) for panel in panels])
    caption = " ".join([_caption([run for run, _ in chosen]), _reading(chosen), *remarks])
    titles = "; ".join(panel.title for row in grid for panel in row if panel.rows)
    return draw_panels(grid, caption), f"{titles}. {caption}"


def _lettered(panel: Panel, letters: Iterator[str]) -> Panel:
    """The panel with the next letter before its title, unless it is empty."""
    return replace(panel, title=f"({next(letters)}) {panel.title}") if panel.rows else panel


def _reading(shown: Shown) -> str:
    """How the panels of these runs are read, and why some have no joint draws."""
    parts = [_JOINT] if any(samples.joint for _, samples in shown) else []
    if any(samples.cross for _, samples in shown):
        parts += filter(None, (_CROSS, reading(len(shown[0][0].modalities))))
    for run, samples in shown:
        if not samples.joint:
            parts.append(f"{run.name} has no joint draws. {run.reasons.get('joint_coherence', '')}".strip())
    return " ".join(parts)


def _caption(runs: Sequence[StoredRun]) -> str:
    """Data set, preset, steps and seeds of `runs`; by model where they differ."""
    budgets: dict[str, str] = {}
    for name, group in groupby(runs, key=lambda run: run.name):
        first, *others = group
        seeds = ", ".join(str(run.seed) for run in (first, *others))
        steps = spell_value((first.config.get("training") or {}).get("steps", "unknown"))
        budgets[name] = f"{steps} steps, {'seeds' if others else 'seed'} {seeds}"
    budget = next(iter(budgets.values()))
    if len(set(budgets.values())) > 1:
        budget = "; ".join(f"{name}: {own}" for name, own in budgets.items())
    return f"{runs[0].dataset}, preset {runs[0].preset}; {budget}."


def _title(runs: Sequence[StoredRun]) -> str:
    return f"# {escape_markdown(runs[0].dataset)}, preset {escape_markdown(runs[0].preset)}"


def _opening(runs: Sequence[StoredRun]) -> list[str]:
    """The title, how many runs are in which state, the other files, and the commands that made the runs."""
    states = Counter(run.state for run in runs)
    models = len({(run.model, run.label) for run in runs})
    commands = list(dict.fromkeys(str(run.config["command"]) for run in runs if run.config.get("command")))
    counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return [
        _title(runs),
        "",
        f"{models} {'model' if models == 1 else 'models'}, "
        f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}: {counted}. "
        "`mmbench report` writes this page from the files in this folder, and beside it `pictures.md` "
        "(samples of every model, curves and charts) and `report.html` (for a browser: all of it, and a "
        "table to sort and filter). [The list of runs](#runs) is at the end.",
        "",
        *(_fenced("\n".join(commands)) if commands else []),
    ]


def _closing(runs: Sequence[StoredRun]) -> list[str]:
    """The runs one by one, what failed, the settings of each model, the machines."""
    columns = run_columns(runs)
    lines = [
        "## Runs",
        "",
        f"| {' | '.join(['Model', 'Seed', 'State', *columns])} |",
        f"| :-- | --: | :-- |{' --: |' * len(columns)}",
    ]
    lines += [_run_line(run, cells) for run, *cells in zip(runs, *columns.values(), strict=True)]
    lines.append("")
    for run in (run for run in runs if run.state == "failed"):
        lines += [f"**{escape_markdown(run.name)}, seed {run.seed}, failed:**", ""]
        lines += _fenced(run.error or "no error was stored")
    lines += ["## Settings", ""]
    for name, values in {run.name: run.config.get("settings") or {} for run in runs}.items():
        lines.append(f"- **{escape_markdown(name)}**: {escape_markdown(spell(values) or 'none')}")
    if machines := machine_lines(runs):
        lines += ["", "## Environment", "", *(f"- {escape_markdown(machine)}" for machine in machines)]
    return [*lines, ""]


def _run_line(run: StoredRun, cells: Sequence[str]) -> str:
    """A run in the list of runs."""
    name = f"[{escape_markdown(run.name)}]({_address(f'{run.folder.parent.name}/{run.folder.name}')}/)"
    return f"| {name} | {run.seed} | {run.state} | {' | '.join(cells)} |"


def _address(path: str) -> str:
    """A path in a link; names of files need not be UTF-8."""
    return quote(os.fsencode(path))


def _fenced(text: str) -> list[str]:
    """`text` as a code block, whatever backticks it holds."""
    text = visible(text)
    longest = max((len(ticks) for ticks in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [fence, text, fence, ""]
