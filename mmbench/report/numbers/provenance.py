"""How the numbers of a table came about, in words: data, budget, protocol, references, machines.

And a warning where runs differ in what makes their numbers comparable.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from metrics.catalogue import GROUPS
from metrics.names import MetricName
from mmbench.storage.records import AUTO
from mmbench.storage.runs import StoredRun

__all__ = [
    "budget_of",
    "disagreements",
    "machine_lines",
    "protocol_differences",
    "protocol_of",
    "reference_values",
    "spell",
    "spell_value",
]

# what must not differ between the rows of a table
_SHARED = ("data", "modalities", "training", "protocol", "precision")
# what the sentences say about data elsewhere
_NO_DATA_SETTINGS = ("notes", "counts", "modalities", "settings")
# of the fields of a `Modality`, which is not imported here: reports need no torch
_SHOWN_ONLY = ("polyline", "sound")
_DEFAULTS: dict[str, object] = {
    **{"likelihood": None, "weight": 1.0, "spread": 1.0, "words": 0, "symbols": "", "networks": ""},
    **{"low": [], "high": []},
}
_SHOWN = 8  # disagreements that are spelled out; the rest are counted


def spell(values: Mapping[str, Any]) -> str:
    """{"steps": 4000, "batch_size": 256} -> "steps 4,000, batch size 256"."""
    return _listed(_merged([values]))


def spell_value(value: object) -> str:
    """4000 -> "4,000", 0.00025 -> "0.00025", True -> "yes", None -> "none", [1, 28] -> "1 x 28"."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, (int, float)):
        return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"
    return " x ".join(map(spell_value, value)) if isinstance(value, list) else str(value)


def protocol_of(runs: Sequence[StoredRun]) -> dict[str, str]:
    """What stands under a table that rests on `runs`, one or more: title -> text.

    Where the runs differ in something, all its values stand there.
    """
    data = [run.config.get("data") or {} for run in runs]
    notes = _distinct(str(note).rstrip(".") for section in data for note in section.get("notes") or ())
    settings = [{**section, **(section.get("settings") or {})} for section in data]
    rest = [
        {key: value for key, value in section.items() if key not in _NO_DATA_SETTINGS} for section in settings
    ]
    kept = {"keep": "last"} if any("keep" in (run.config.get("training") or {}) for run in runs) else {}
    trainings = [{**kept, **(run.config.get("training") or {}), "precision": _precision(run)} for run in runs]
    seeds = sorted({run.seed for run in runs})
    counted = f"{'seeds' if len(seeds) > 1 else 'seed'} {', '.join(map(str, seeds))}"
    said = {
        "Data": ". ".join([runs[0].dataset, *notes]),
        "Items": _counts(data),
        "Data settings": _listed(_merged(rest, numbers=True)),
        "Training": f"{_listed(_merged(trainings))}, {counted}",
        "Evaluation": _listed(_merged([run.config.get("protocol") or {} for run in runs])),
        **_references(runs),
    }
    return {title: text for title, text in said.items() if text}


def machine_lines(runs: Iterable[StoredRun]) -> list[str]:
    """What is known of every machine and software that made `runs`, each once."""
    environments = (_environment(run) for run in runs)
    return _distinct(spell(environment) for environment in environments if environment)


def _environment(run: StoredRun) -> dict[str, Any]:
    """The machine and software of a run, without what `_precision` says."""
    found = run.config.get("environment") or {}
    return {key: value for key, value in found.items() if key != "precision"}


def _precision(run: StoredRun) -> str:
    """The precision of a run, and whether the machine decided it."""
    auto = (run.config.get("environment") or {}).get("precision") == AUTO
    return f"{run.config.get('precision', 'unknown')}{' (auto on its machine)' * auto}"


def disagreements(runs: Sequence[StoredRun]) -> str:
    """A warning where `runs` differ in data, budget, protocol, precision, references or code; else empty."""
    references = [
        _flatten({"references": {name: f"{value:.4g}" for name, value in run.references.items()}})
        for run in runs
    ]
    # not every run needs every reference, and the first runs did not record their code
    found = protocol_differences(runs) + _differences(runs, references, "")
    found += _differences(runs, [_code(run) for run in runs], "")
    if len(found) > _SHOWN:
        found = [*found[:_SHOWN], f"and {len(found) - _SHOWN} more"]
    if not found:
        return ""
    return f"These rows do not share one protocol, so they cannot be compared strictly: {'; '.join(found)}."


def protocol_differences(runs: Sequence[StoredRun]) -> list[str]:
    """In what `runs` differ of data, budget, protocol and precision: a clause for each, with who has what."""
    shared = [
        _flatten(
            {key: run.config.get(key) for key in _SHARED}
            | {"modalities": _modalities(run), "training": budget_of(run)}
        )
        for run in runs
    ]
    return _differences(runs, shared, "not set")


def budget_of(run: StoredRun) -> dict[str, Any]:
    """Its training without `keep`: rows with the last weights and with others stand side by side."""
    return {key: value for key, value in (run.config.get("training") or {}).items() if key != "keep"}


def _modalities(run: StoredRun) -> list[dict[str, Any]]:
    """Its modalities without fields at their defaults, which older runs lack, or that decide no figure."""
    return [
        {
            key: value
            for key, value in stored.items()
            if key not in _SHOWN_ONLY and not (key in _DEFAULTS and value == _DEFAULTS[key])
        }
        for stored in run.config["modalities"]
    ]


def _code(run: StoredRun) -> dict[tuple[str, ...], object]:
    """The code that made a run: that of all models, which rows may share, and that of its own model."""
    here = run.config.get("environment") or {}
    parts = {
        ("the code of all models",): here.get("code"),
        ("the code of", run.model): here.get("model_code"),
    }
    return {path: code for path, code in parts.items() if code}


def _differences(
    runs: Sequence[StoredRun], sections: Sequence[Mapping[tuple[str, ...], object]], absent: str
) -> list[str]:
    """For every path whose values differ between `sections`, one per run: who has which value.

    Args:
        runs, sections: of equal length.
        absent: how a missing value is called; with an empty word it differs from nothing.
    """
    found = []
    for path in _distinct(path for section in sections for path in section):
        owners: dict[str, list[str]] = {}
        for run, section in zip(runs, sections, strict=True):
            value = spell_value(section[path]) if path in section else absent
            if value:
                owners.setdefault(value, []).append(run.name)
        if len(owners) > 1:
            said = (f"{value} ({', '.join(_distinct(names))})" for value, names in owners.items())
            found.append(f"{_words(path)} is {', '.join(said)}")
    return found


def reference_values(runs: Iterable[StoredRun], name: str) -> list[float]:
    """The values of a reference over `runs`, each once to 4 digits.

    There is a single one where all runs share judges and data.
    """
    found = {f"{run.references[name]:.4g}": run.references[name] for run in runs if name in run.references}
    return list(found.values())


def _counts(data: Sequence[Mapping[str, Any]]) -> str:
    """How many items each modality has in each split."""
    counts: dict[str, list[str]] = {}
    sections = [section.get("counts") or section.get("modalities") or {} for section in data]
    for path, value in _merged(sections, numbers=True).items():
        split = [word for word in path[1:] if word != "images"]
        counts.setdefault(path[0], []).append(" ".join([value, *split]).replace("_", " "))
    return "; ".join(f"{name} {', '.join(amounts)}" for name, amounts in counts.items())


def _references(runs: Sequence[StoredRun]) -> dict[str, str]:
    """Title -> what the runs have of these references; empty where no run has any."""
    names = {
        text: MetricName.parse(text) for text in sorted({name for run in runs for name in run.references})
    }
    said = {}
    for kind, title, form in _reference_kinds():
        shown = []
        for text in [text for text, name in names.items() if kind in (name.kind, "")]:
            name = names.pop(text)
            values = (form.format(value).replace("%", " %") for value in reference_values(runs, text))
            shown.append(f"{name.target if kind else text} {' or '.join(values)}")
        said[title] = ", ".join(shown)
    return said


def _reference_kinds() -> Iterator[tuple[str, str, str]]:
    """The kinds of references, and at last "" for all others: kind, title, format of a value."""
    yield "judge", "Judges' accuracy on real test data, a reference and no bound", "{:.2%}"
    for kind in (kind for group in GROUPS.values() for kind in group.kinds if kind.floor):
        yield f"{kind.name}_floor", f"{kind.title} floor, real train against real test data", "{:.2f}"
        yield f"{kind.name}_real", f"Test items behind {kind.title}", "{:,.0f}"
        yield f"{kind.name}_train", f"Train items behind the floor of {kind.title}", "{:,.0f}"
    yield "", "Other references", "{:,.6g}"


def _flatten(value: object, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], object]:
    """Nested mappings, and lists of them, as leaves by path. Lists of anything else are leaves."""
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        value = {str(item.get("name", index)): item for index, item in enumerate(value)}
    if not isinstance(value, Mapping):
        return {path: value}
    return {
        key: leaf for name, item in value.items() for key, leaf in _flatten(item, (*path, str(name))).items()
    }


def _merged(sections: Sequence[Mapping[str, Any]], numbers: bool = False) -> dict[tuple[str, ...], str]:
    """Leaves of all sections in words, by path, distinct values joined by "or".

    With `numbers`, only those: no hashes, no names.
    """
    kinds = (int, float) if numbers else object
    flat = [
        {path: leaf for path, leaf in _flatten(section).items() if isinstance(leaf, kinds)}
        for section in sections
    ]
    paths = _distinct(path for section in flat for path in section)
    return {
        path: " or ".join(_distinct(spell_value(section[path]) for section in flat if path in section))
        for path in paths
    }


def _listed(leaves: Mapping[tuple[str, ...], str]) -> str:
    return ", ".join(f"{_words(path)} {value}" for path, value in leaves.items())


def _words(path: Iterable[str]) -> str:
    return " ".join(path).replace("_", " ")


def _distinct(items: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(items))
