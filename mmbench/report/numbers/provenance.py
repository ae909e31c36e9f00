"""How the numbers of a table came about, in words: data, budget, protocol, references; and a warning where runs differ in them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmbench.storage.runs import StoredRun

__all__ = ["disagreements", "protocol_lines", "reference_values", "spell", "spell_value"]

_SHARED = (
    "data",
    "modalities",
    "training",
    "protocol",
    "precision",
)  # what must not differ between the rows of a table
_NO_DATA_SETTINGS = (
    "notes",
    "counts",
    "modalities",
    "settings",
)  # what the protocol says about data elsewhere
_SHOWN = 8  # disagreements that are spelled out; the rest are counted
_REFERENCES = (  # prefix, sentence, format
    (
        "judge/",
        "Judges' accuracy on real test data, a reference and no bound",
        lambda value: f"{100 * value:.2f} %",
    ),
    ("fid_floor/", "FID floor, real train against real test data", lambda value: f"{value:.2f}"),
    ("fid_real/", "Test images behind FID", lambda value: f"{value:,.0f}"),
    ("fid_train/", "Train images behind its floor", lambda value: f"{value:,.0f}"),
    ("fd_clf_floor/", "FD-clf floor, real train against real test data", lambda value: f"{value:.2f}"),
    ("fd_clf_real/", "Test items behind FD-clf", lambda value: f"{value:,.0f}"),
    ("fd_clf_train/", "Train items behind its floor", lambda value: f"{value:,.0f}"),
    ("", "Other references", lambda value: f"{value:,.6g}"),
)


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


def protocol_lines(runs: Sequence[StoredRun]) -> list[str]:
    """The sentences under a table that rests on `runs` (one or more). Where they differ in something, all its values stand there."""
    data = [run.config.get("data") or {} for run in runs]
    notes = _distinct(str(note).rstrip(".") for section in data for note in section.get("notes") or ())
    settings = [{**section, **(section.get("settings") or {})} for section in data]
    rest = [
        {key: value for key, value in section.items() if key not in _NO_DATA_SETTINGS} for section in settings
    ]
    training = _merged(
        [
            {**(run.config.get("training") or {}), "precision": run.config.get("precision", "unknown")}
            for run in runs
        ]
    )
    protocol = _merged([run.config.get("protocol") or {} for run in runs])
    seeds = sorted({run.seed for run in runs})
    sentences = [
        ("Data", ". ".join([runs[0].dataset, *notes])),
        ("Items", _counts(data)),
        ("Data settings", _listed(_merged(rest, numbers=True))),
        (
            "Training",
            f"{_listed(training)}, {'seeds' if len(seeds) > 1 else 'seed'} {', '.join(map(str, seeds))}",
        ),
        ("Evaluation", _listed(protocol)),
        *_references(runs),
    ]
    return [f"{title}: {text}." for title, text in sentences if text]


def disagreements(runs: Sequence[StoredRun]) -> str:
    """A warning where `runs` differ in data, budget, protocol, precision or references; empty where they agree."""
    shared = [_flatten({key: run.config.get(key) for key in _SHARED}) for run in runs]
    references = [
        _flatten({"references": {name: f"{value:.4g}" for name, value in run.references.items()}})
        for run in runs
    ]
    found = []
    for sections, absent in ((shared, "not set"), (references, "")):  # not every run needs every reference
        for path in _distinct(path for section in sections for path in section):
            owners: dict[str, list[str]] = {}
            for run, section in zip(runs, sections, strict=True):
                value = spell_value(section[path]) if path in section else absent
                if value:
                    owners.setdefault(value, []).append(run.name)
            if len(owners) > 1:
                found.append(
                    f"{_words(path)} is "
                    + ", ".join(f"{value} ({', '.join(_distinct(names))})" for value, names in owners.items())
                )
    if len(found) > _SHOWN:
        found = [*found[:_SHOWN], f"and {len(found) - _SHOWN} more"]
    return (
        f"These rows do not share one protocol, so they cannot be compared strictly: {'; '.join(found)}."
        if found
        else ""
    )


def reference_values(runs: Iterable[StoredRun], name: str) -> list[float]:
    """The values of a reference over `runs`, each once (to 4 digits): a single one where all runs share judges and data."""
    found = {f"{run.references[name]:.4g}": run.references[name] for run in runs if name in run.references}
    return list(found.values())


def _counts(data: Sequence[Mapping[str, Any]]) -> str:
    """How many items each modality has in each split."""
    counts: dict[str, list[str]] = {}
    for path, value in _merged(
        [section.get("counts") or section.get("modalities") or {} for section in data], numbers=True
    ).items():
        split = [word for word in path[1:] if word != "images"]
        counts.setdefault(path[0], []).append(" ".join([value, *split]).replace("_", " "))
    return "; ".join(f"{name} {', '.join(amounts)}" for name, amounts in counts.items())


def _references(runs: Sequence[StoredRun]) -> list[tuple[str, str]]:
    names = sorted({name for run in runs for name in run.references})
    sentences = []
    for prefix, title, show in _REFERENCES:
        here = [name for name in names if name.startswith(prefix)]
        names = [name for name in names if name not in here]
        shown = (
            f"{name.removeprefix(prefix)} {' or '.join(map(show, reference_values(runs, name)))}"
            for name in here
        )
        sentences.append((title, ", ".join(shown)))
    return sentences


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
    """Leaves of all sections in words, by path, distinct values joined by "or"; with `numbers`, only those (no hashes, no names)."""
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
