"""A preset folder's report: README.md with tables and figure 3, pictures.md with the rest, and report.html."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import TypeAlias
from urllib.parse import quote

from mmbench.report.numbers import paper
from mmbench.report.numbers.claims import claims_csv, claims_markdown, find_claims
from mmbench.report.numbers.leaderboard import build_leaderboard
from mmbench.report.numbers.provenance import spell, spell_value
from mmbench.report.numbers.render import escape_markdown, to_csv, to_latex, to_markdown
from mmbench.report.numbers.tables import Table
from mmbench.report.pages.html import build_html
from mmbench.report.pictures.charts import Picture, draw_charts
from mmbench.report.pictures.curves import draw_curves
from mmbench.report.pictures.figures import cross_panel, draw_panels, joint_panel
from mmbench.storage.runs import StoredRun
from mmbench.storage.samples import SampleSet, load_samples
from models.errors import InputError

__all__ = ["build_report"]

Shown: TypeAlias = list[tuple[StoredRun, SampleSet]]

_COMPARED = ("mopoe", "cnf-mvae")  # left and right in figure 3
_JOINT, _CROSS = "Joint: same place, same prior draw.", "Cross: conditions above, outputs below."
_BANDS = "On validation data, with fewer draws than in the tables; bands: standard deviation over two seeds or more."
_HEADINGS = {
    "1": "Coherence",
    "1b": "Coherence of every direction",
    "2": "Quality of generated samples",
    "3": "Linear probe",
}


def build_report(runs: Sequence[StoredRun], tables: Sequence[Table]) -> dict[str, bytes]:
    """The files of a report by name.

    They are the tables, the paper's claims, figure3.png, samples-<model>.png, training.png, the charts,
    README.md, pictures.md where there are pictures, and report.html.

    Args:
        runs: those of one preset folder, in the order of `find_runs`.
        tables: of `build_all_tables`.

    Raises:
        InputError: for a sheet of samples or a history that is damaged, and for runs of several data sets or presets in one folder.
    """
    if len({(run.dataset, run.preset) for run in runs}) > 1:
        raise InputError(
            f"The folder {runs[0].folder.parents[1]} mixes runs of several data sets or presets: move the strangers elsewhere."
        )
    models = [list(group) for _, group in groupby(runs, key=lambda run: (run.model, run.label))]
    firsts = [next((run for run in group if run.state == "done"), None) for group in models]
    loaded = [
        (run, load_samples(run.folder / "samples"))
        for run in firsts
        if run and (run.folder / "samples" / "samples.json").exists()
    ]
    shown = [(run, samples) for run, samples in loaded if samples.joint or samples.cross]
    files: dict[str, bytes] = {}
    page, pictures = _opening(runs), []
    for table in (table for table in tables if table.number in _HEADINGS):
        name = f"table{table.number}"
        text = to_markdown(table)
        files |= {
            f"{name}.csv": to_csv(table).encode(),
            f"{name}.md": text.encode(),
            f"{name}.tex": to_latex(table).encode(),
        }
        page += [
            f"## {_HEADINGS[table.number]}",
            "",
            text,
            f"As [CSV]({name}.csv) (raw numbers) and [LaTeX]({name}.tex).",
            "",
        ]
    claims = find_claims(tables, runs[0].dataset)
    if claims:
        text = claims_markdown(claims, tables[0])
        files |= {"claims.csv": claims_csv(claims).encode(), "claims.md": text.encode()}
        page += ["## The paper's claims", "", text, "As [CSV](claims.csv) (raw numbers).", ""]
    page += ["## Figure 3", ""]
    if shown:
        files["figure3.png"], caption = _figure3(shown)
        page += ["![Figure 3](figure3.png)", "", escape_markdown(caption), ""]
        pictures += ["## Samples of every model", ""]
        for run, samples in shown:
            name = f"samples-{run.folder.parent.name}.png"
            panels = [joint_panel(f"{run.name}: joint", samples), cross_panel(f"{run.name}: cross", samples)]
            files[name] = draw_panels([panels], f"{_caption([run])} {_reading([(run, samples)])}")
            pictures += [
                f"### {escape_markdown(run.name)}",
                "",
                f"![Samples of {escape_markdown(run.name)}]({quote(name)})",
                "",
            ]
    else:
        page += ["No finished run here holds samples.", ""]
    curves = draw_curves(models, _caption(runs))
    if curves:
        files["training.png"] = curves
        pictures += ["## Training", "", "![Training curves](training.png)", ""]
    board = build_leaderboard(tables, models)
    charts = draw_charts(models, board)
    files |= {picture.file_name: picture.png for picture in (*charts.trade_off, *charts.learning)}
    pictures += _gallery("Coherence against quality", charts.reading, charts.trade_off)
    pictures += _gallery("Learning curves", _BANDS, charts.learning)
    if pictures:
        files["pictures.md"] = "\n".join([_title(runs), "", *pictures]).encode()
    files["report.html"] = build_html(models, tables[0], board, claims, charts, shown, files)
    files["README.md"] = "\n".join([*page, *_closing(runs)]).encode()
    return files


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
        lines += [
            f"| {' | '.join(titles)} |",
            *([] if start else [f"|{' :-: |' * width}"]),
            f"| {' | '.join(images)} |",
        ]
    return [*lines, ""]


def _figure3(shown: Shown) -> tuple[bytes, str]:
    """MoPoE left and CNF-MVAE right, joint above and cross below. Where one is absent, another model stands in and the caption says so."""
    found = {name: next((item for item in shown if item[0].model == name), None) for name in _COMPARED}
    others = sorted(
        (item for item in shown if item[0].model not in _COMPARED), key=lambda item: not item[1].joint
    )  # the complete ones first
    chosen, remarks = [], []
    for name, item in found.items():
        stand_in = item or (others.pop(0) if others else None)
        if stand_in:
            chosen.append(stand_in)
        if not item:
            remarks.append(
                f"{paper.MODELS[name]} has no finished run here"
                + (f": {stand_in[0].name} stands in its place." if stand_in else ".")
            )
    grid = [
        [joint_panel(f"{run.name}: joint", samples) for run, samples in chosen],
        [cross_panel(f"{run.name}: cross", samples) for run, samples in chosen],
    ]
    letters = iter("abcd")
    grid = [
        [replace(panel, title=f"({next(letters)}) {panel.title}") if panel.rows else panel for panel in row]
        for row in grid
    ]
    caption = " ".join([_caption([run for run, _ in chosen]), _reading(chosen), *remarks])
    titles = "; ".join(panel.title for row in grid for panel in row if panel.rows)
    return draw_panels(grid, caption), f"{titles}. {caption}"


def _reading(shown: Shown) -> str:
    """How the panels of these runs are read, and why some have no joint draws."""
    parts = [_JOINT] if any(samples.joint for _, samples in shown) else []
    parts += [_CROSS] if any(samples.cross for _, samples in shown) else []
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
    different = len(set(budgets.values())) > 1
    budget = (
        "; ".join(f"{name}: {budget}" for name, budget in budgets.items())
        if different
        else next(iter(budgets.values()))
    )
    return f"{runs[0].dataset}, preset {runs[0].preset}; {budget}."


def _title(runs: Sequence[StoredRun]) -> str:
    return f"# {escape_markdown(runs[0].dataset)}, preset {escape_markdown(runs[0].preset)}"


def _opening(runs: Sequence[StoredRun]) -> list[str]:
    """The title, how many runs there are in which state, the other files, and the commands that made the runs."""
    states = Counter(run.state for run in runs)
    models = len({(run.model, run.label) for run in runs})
    commands = list(dict.fromkeys(str(run.config["command"]) for run in runs if run.config.get("command")))
    counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return [
        _title(runs),
        "",
        f"{models} {'model' if models == 1 else 'models'}, {len(runs)} {'run' if len(runs) == 1 else 'runs'}: {counted}. "
        "`mmbench report` writes this page from the files in this folder, and beside it `pictures.md` (samples of "
        "every model, curves and charts) and `report.html` (for a browser: all of it, and a table to sort and "
        "filter). [The list of runs](#runs) is at the end.",
        "",
        *(_fenced("\n".join(commands)) if commands else []),
    ]


def _closing(runs: Sequence[StoredRun]) -> list[str]:
    """The runs one by one, what failed, the settings of each model, the machines."""
    lines = [
        "## Runs",
        "",
        "| Model | Seed | State | Training | Evaluation | Steps per second |",
        "| :-- | --: | :-- | --: | --: | --: |",
    ]
    for run in runs:
        rate = run.status.get("steps_per_second")
        times = [_time(run.status.get(key)) for key in ("train_seconds", "evaluate_seconds")]
        name = f"[{escape_markdown(run.name)}]({quote(f'{run.folder.parent.name}/{run.folder.name}')}/)"
        lines.append(
            f"| {name} | {run.seed} | {run.state} | {' | '.join(times)} | {'—' if rate is None else f'{rate:,.1f}'} |"
        )
    lines.append("")
    for run in (run for run in runs if run.state == "failed"):
        lines += [
            f"**{escape_markdown(run.name)}, seed {run.seed}, failed:**",
            "",
            *_fenced(str(run.status.get("error") or "no error was stored")),
        ]
    settings = {run.name: run.config.get("settings") or {} for run in runs}
    lines += ["## Settings", ""]
    lines += [
        f"- **{escape_markdown(name)}**: {escape_markdown(spell(values) or 'none')}"
        for name, values in settings.items()
    ]
    machines = list(
        dict.fromkeys(spell(run.config["environment"]) for run in runs if run.config.get("environment"))
    )
    if machines:
        lines += ["", "## Environment", "", *(f"- {escape_markdown(machine)}" for machine in machines)]
    return [*lines, ""]


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "—"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _fenced(text: str) -> list[str]:
    """`text` as a code block, whatever backticks it holds."""
    longest = max((len(ticks) for ticks in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [fence, text, fence, ""]
