"""Runs in memory, for tables."""

from itertools import combinations
from pathlib import Path

from metrics.missing import Lack, Missing
from mmbench.storage.runs import StoredRun

JOINT, S_TO_M, M_TO_S = (
    "joint_coherence",
    "cross_coherence/svhn->mnist/sample",
    "cross_coherence/mnist->svhn/sample",
)


def make_run(
    model="mopoe",
    seed=0,
    state="done",
    dataset="mnist-svhn",
    label=None,
    title=None,
    names=("mnist", "svhn"),
    **files,
):
    """A run in memory.

    Args:
        files: metrics, reasons (`Missing`, or sentences of what is unavailable), references, error, and
            entries of the configuration.
    """
    config = {
        "model": model,
        "title": title or model.upper(),
        "label": label,
        "dataset": dataset,
        "preset": "quick",
        "seed": seed,
        "hash": "0" * 16,
        "modalities": [
            {"name": name, "shape": [1, 28, 28], "symbols": " abc" if name == "text" else ""}
            for name in names
        ],
        "data": {
            "notes": ["SVHN is a part."],
            "modalities": {
                "mnist": {
                    "train": {"images": 57000, "sha256": "abc"},
                    "test": {"images": 10000, "sha256": "def"},
                }
            },
            "settings": {"pairs_per_image": 10},
        },
        "training": {"steps": 4000, "batch_size": 256, "learning_rate": 0.001},
        "protocol": {"draws": 20000, "joint_draws": 10000},
        "precision": "fp32",
    }
    config |= {key: files.pop(key) for key in list(files) if key in config}
    status = {"state": state, "error": files.pop("error", None)}
    return StoredRun(
        Path(model) / f"seed-{seed}",
        config,
        status,
        files.get("metrics", {}),
        {
            name: Missing(Lack.UNAVAILABLE, why) if isinstance(why, str) else why
            for name, why in files.get("reasons", {}).items()
        },
        files.get("references", {}),
    )


THREE = ("mnist", "svhn", "text")


def directions(names):
    """Every (subset, modality outside of it)."""
    subsets = [subset for size in range(1, len(names)) for subset in combinations(names, size)]
    return [(subset, name) for subset in subsets for name in names if name not in subset]


def three_modalities():
    """Two models of three modalities, two seeds: mopoe with every figure, the other without a prior."""
    runs = []
    for model, seed in (("mopoe", 0), ("mopoe", 1), ("mdae", 0), ("mdae", 1)):
        metrics = {"fitted_coherence": 0.5 + 0.1 * seed, "fitted_coherence/chance": 0.1}
        for mode in ("sample", "mean"):
            metrics |= {f"cross_coherence/size-{size}/{mode}": 0.3 * size + 0.02 * seed for size in (1, 2)}
            metrics |= {
                f"cross_coherence/{'+'.join(a)}->{b}/{mode}": (i + (model == "mdae")) / 20
                for i, (a, b) in enumerate(directions(THREE))
            }
        reason = Missing(Lack.NOT_DEFINED, "it has no prior.") if model == "mdae" else None
        lacking = dict.fromkeys((JOINT, f"{JOINT}/chance", f"{JOINT}/entropy"), reason)
        metrics |= dict.fromkeys(lacking, None if reason else 0.25)
        runs.append(
            make_run(
                model,
                seed,
                dataset="digits-text",
                names=THREE,
                metrics=metrics,
                reasons=lacking if reason else {},
            )
        )
    return runs
