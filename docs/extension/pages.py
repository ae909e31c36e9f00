"""The pages of `docs/generated/`, written before Sphinx reads any: from registries, docstrings and tables."""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from extension.docstrings import to_markdown
from extension.facts import find_abilities, has_priors, which_model
from extension.figures import PUBLISHED, ROOT, figures_of, ranks, sample_picture, studies
from metrics.catalogue import GROUPS
from metrics.images import as_float
from mmbench.data import DATASETS, MultimodalData, load_data
from mmbench.data.base import DatasetEntry
from mmbench.plan.tuned_settings import tuned_presets
from mmbench.trained.pictures import draw_figure
from models.errors import InputError
from models.named_settings import WORDS
from models.registry import COORDINATED, MODELS, ModelEntry
from models.settings import describe

__all__ = ["rooms", "write_pages"]

GENERATED = ROOT / "docs" / "generated"
PACKAGES = ("models", "metrics", "mmbench")
PICTURED = 64  # pairs in the picture of a data set
COLLECTIONS = {
    "": "Generative",
    COORDINATED: "Coordinated: one space, nothing generated",
    "multivae": "Of MultiVae",
}


def write_pages(app: Any) -> None:
    """The event `builder-inited`."""
    shutil.rmtree(GENERATED, ignore_errors=True)
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["cell"] = _cell

    def write(path: str, template: str, **values: Any) -> None:
        _put(path, templates.get_template(template).render(**values).encode())

    _write_models(write)
    _write_metrics(write)
    _write_datasets(write)
    _write_results(write)
    _write_api(write)


def _put(name: str, content: bytes) -> None:
    path = GENERATED / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _cell(value: object) -> str:
    """A value in a cell of a Markdown table."""
    return re.sub(r"([|<*_\[\]])", r"\\\1", " ".join(str(value).split()))


def _write_models(write: Any) -> None:
    for entry in MODELS:
        picture = sample_picture(entry.name)
        if picture:
            _put(f"models/{entry.name}.png", picture[1])
        write(
            f"models/{entry.name}.md",
            "model.md",
            entry=entry,
            words=WORDS,
            implemented=to_markdown(_class_docstring(entry)),
            able=find_abilities(entry.name),
            priors=has_priors(entry),
            settings=describe(entry.settings),
            tuned=tuned_presets(entry),
            found=[(_study(study), figures) for study, figures in figures_of(entry.name)],
            sampled=picture and _study(picture[0]),
        )
    groups = {
        title: [entry for entry in MODELS if entry.collection == collection]
        for collection, title in COLLECTIONS.items()
    }
    write("models/index.md", "models.md", groups=groups)
    write("which-model.md", "which-model.md", rows=list(which_model()), has_priors=has_priors)


def _class_docstring(entry: ModelEntry) -> str | None:
    """What the class says; an adapter's classes are made when they are needed, and say what all share."""
    return entry.model.__doc__ if isinstance(entry.model, type) else None


def _study(folder: Path) -> str:
    return folder.relative_to(PUBLISHED).as_posix()


def _write_metrics(write: Any) -> None:
    for group in GROUPS.values():
        measure = group.load().measure
        functions = dict.fromkeys(_imported(measure.__doc__ or ""))
        write(
            f"metrics/{group.name}.md",
            "metric.md",
            group=group,
            definition=to_markdown(sys.modules[group.module].__doc__),
            computed=to_markdown(measure.__doc__),
            functions=list(functions),
        )
    write("metrics/index.md", "metrics.md", groups=GROUPS.values())


def _imported(docstring: str) -> Iterator[str]:
    """The functions of the suite that an example imports, "metrics.kid.squared_mmd"."""
    for module, names in re.findall(r">>> from (metrics\.\S+) import (.+)", docstring):
        yield from (f"{module}.{name}" for name in names.split(", "))


def _write_datasets(write: Any) -> None:
    for entry in DATASETS:
        data = _load(entry)
        if data:
            _picture(data, f"datasets/{entry.name}.png")
        loader = to_markdown(entry.load.__doc__)
        write(f"datasets/{entry.name}.md", "dataset.md", entry=entry, data=data, loader=loader)
    write("datasets/index.md", "datasets.md", entries=list(DATASETS))


def _load(entry: DatasetEntry) -> MultimodalData | None:
    """A data set; None where the files that it is read from are not at hand."""
    try:
        return load_data(entry.name) if not entry.needs_data_dir or _has_images() else None
    except InputError as error:
        if entry.needs_data_dir:
            return None
        raise RuntimeError(f"the page of {entry.name} cannot be made: {error}") from error


def _has_images() -> bool:
    """Whether the images that data sets are read from are at hand: pages never download them."""
    folder = os.environ.get("MMBENCH_DATA")
    return bool(folder) and (Path(str(folder)) / "mnist_train.npz").exists()


def _picture(data: MultimodalData, name: str) -> None:
    """Draw pairs of the validation part."""
    pairs = data.validation.pairs
    chosen = pairs[torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))[:PICTURED]]
    drawn = {
        m.name: as_float(data.validation.items[m.name][chosen[:, column]])
        for column, m in enumerate(data.modalities)
    }
    modalities = {m.name: m for m in data.modalities}
    path = GENERATED / name
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_figure(drawn, modalities, data.name, "The same place in every block is the same pair.", path)


def _write_results(write: Any) -> None:
    pages = {
        _study(folder): sorted(
            path.name for path in folder.glob("*.md") if not path.name.startswith(("table", "pictures"))
        )
        for folder in studies()
    }
    pictures = {study for study in pages if (PUBLISHED / study / "figure3.png").exists()}
    columns, ranked = ranks()
    write("results.md", "results.md", pages=pages, pictures=pictures, columns=columns, ranked=ranked)


def rooms() -> dict[str, list[str]]:
    """The folders with modules, "mmbench.plan" for one, and the modules in each, its own __init__ first."""
    found: dict[str, list[str]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            room = ".".join(path.parent.relative_to(ROOT).parts)
            if path.name == "__init__.py":
                found.setdefault(room, []).insert(0, room)
            elif path.name != "__main__.py":
                found.setdefault(room, []).append(f"{room}.{path.stem}")
    return found


def _write_api(write: Any) -> None:
    found = rooms()
    for room, names in found.items():
        children = [other for other in found if other.rpartition(".")[0] == room]
        write(f"api/{room}.md", "room.md", room=room, modules=names, children=children)
    write("api/index.md", "api.md", packages=PACKAGES)
