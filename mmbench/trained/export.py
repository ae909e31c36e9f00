"""A trained model as a folder that somebody else can use: `mmbench export`.

    config.json          the configuration of the run, as it was
    model.safetensors    the weights
    metrics.json         its metrics and references
    README.md            a model card: what it is, its data and budget, its metrics, how to load it
    <name>.py            the file that registers the model, where it is one of the user's own

It is a repository as huggingface_hub uploads one (`hf upload NAME FOLDER`), and `load_model` reads it.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import safetensors.torch
from torch import Tensor

from metrics.catalogue import kind_of
from metrics.names import MetricName
from mmbench.escape import escape_markdown
from mmbench.report.numbers.columns import column_of
from mmbench.report.numbers.provenance import protocol_of, spell
from mmbench.report.numbers.tables import Cell
from mmbench.storage.files import check_new, new_folder, write_atomically, write_json
from mmbench.storage.runs import StoredRun, read_run, stored_runs
from mmbench.trained.loading import CONFIG, WEIGHTS, Trained, load_trained
from models.errors import InputError
from models.registry import ModelEntry

__all__ = ["export_model"]


def export_model(run: Path, folder: Path, model_file: Path | None = None) -> Path:
    """Write the trained model of a finished run into a new folder, whole or not at all.

    Args:
        run: the folder of the run.
        folder: missing or empty.
        model_file: as `load_model`.

    Returns:
        `folder`.

    Raises:
        InputError: for a run that is not done or damaged, and for a folder that holds something.
        WriteError: where the disk does not take it.
    """
    check_new(folder, "folder to export to")
    trained = load_trained(run, model_file)
    stored = read_run(run)
    if stored.state != "done":
        raise InputError(f"The run in {run} is not done: finish it with `{trained.config['command']}`.")
    seeds = [each for each in stored_runs(run.resolve().parent) if each.state == "done"]
    with new_folder(folder) as part:
        write_atomically(part / CONFIG, (run / CONFIG).read_bytes())
        weights = safetensors.torch.save(_separate(trained.model.state_dict()), {"format": "pt"})
        write_atomically(part / WEIGHTS, weights)
        write_json(part / "metrics.json", {"metrics": stored.metrics, "references": stored.references})
        card = "".join(f"{line}\n" for line in _card(trained, stored, seeds)).encode()
        write_atomically(part / "README.md", card)
        if own := trained.run.entry.file:
            write_atomically(part / own.path.name, own.text.encode())
    return folder


def _separate(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights that share no memory, as the format demands."""
    return {name: weight.detach().clone().contiguous() for name, weight in weights.items()}


def _card(trained: Trained, run: StoredRun, seeds: Sequence[StoredRun]) -> Iterator[str]:
    """The lines of the model card; the block at its head is what the Hugging Face hub reads."""
    entry = trained.run.entry
    head = {
        "library_name": "mmbench",
        "pipeline_tag": "any-to-any",
        "tags": ["multimodal", "generative", entry.name],
        "datasets": [run.dataset],
    }
    yield from ("---", *(f"{key}: {json.dumps(value)}" for key, value in head.items()), "---", "")
    yield from (f"# {escape_markdown(run.name)} on {escape_markdown(run.dataset)}", "")
    yield f"{escape_markdown(run.title)} ({escape_markdown(entry.source)}), trained with mmbench."
    yield from ("", "```python", "import mmbench", "")
    yield f'model = mmbench.load_model("FOLDER"{_file_argument(entry)})'
    names = list(trained.model.modalities)
    yield f'other = model.translate({{"{names[0]}": items}}, ["{names[1]}"])["{names[1]}"]  # items in [0, 1]'
    yield from ("```", "", "## Modalities", "", "| name | shape of an item |", "|---|---|")
    for modality in trained.model.modalities.values():
        shape = " x ".join(map(str, modality.shape))
        yield f"| {escape_markdown(modality.name)} | {shape} |"
    yield from ("", "## How it was trained", "")
    said = {"Settings": spell(run.config["settings"]), **protocol_of([run])}
    said |= {"Code": ", ".join(_versions(run)), "Command": run.config["command"]}
    yield from (f"- **{title}**: {escape_markdown(text)}" for title, text in said.items() if text)
    yield from ("", "The licences of the data apply to what was learned from them.", "", "## Metrics", "")
    yield from _metrics_table(run, seeds)


def _file_argument(entry: ModelEntry) -> str:
    return f', model_file="FOLDER/{entry.file.path.name}"' if entry.file else ""


def _versions(run: StoredRun) -> list[str]:
    """The versions that the run was made with, "mmbench 0.1.0" for one."""
    environment = run.config.get("environment") or {}
    named = ("mmbench", "torch", "git_commit")
    return [f"{name} {environment[name]}" for name in named if environment.get(name)]


def _metrics_table(run: StoredRun, seeds: Sequence[StoredRun]) -> Iterator[str]:
    """A row per metric: of this run; of several seeds in the comparison also over those that have it."""
    several = len(seeds) > 1
    over = " mean ± standard deviation over seeds | seeds |" if several else ""
    yield f"| metric | this run{'' if several else ' (one seed)'} |{over}"
    yield "|---|---|---|---|" if several else "|---|---|"
    for name, value in run.metrics.items():
        if value is None or kind_of(name) is None:
            continue
        column = column_of(MetricName.parse(name))
        title = escape_markdown(f"{column.group} {column.part}".rstrip())
        cells = [title + " (%)" * (column.unit == "fraction"), f"{column.shown(value):.2f}"]
        if several:
            values = {each.seed: found for each in seeds if (found := each.metrics.get(name)) is not None}
            cell = Cell(values)
            spread = f" ± {column.shown(cell.std):.2f}" if len(values) > 1 else ""
            cells += [f"{column.shown(cell.mean):.2f}{spread}", str(len(values))]
        yield f"| {' | '.join(cells)} |"
