"""Results folders for tests of the report: published runs of `digits`, copied to many models and seeds."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from metrics.catalogue import group_of
from mmbench.storage.files import write_json

PUBLISHED = Path(__file__).parents[2] / "results" / "published" / "digits" / "quick"
EVIL = "<script>alert(1)</script>&_%$"
_SOURCES = ("cnf-mvae", "mopoe", "mmvae", "cada-vae")


def copy_runs(root, models=4, seeds=1, failed=(), evil=None, diagnostics=True):
    """The preset folder under `root`, with so many models of so many seeds.

    Their metrics, those of tables 1-3, differ a little from the published ones.

    Args:
        failed: pairs (model, seed) of runs that failed.
        evil: the model whose title is an attack.
        diagnostics: whether runs have these and looked at validation data.
    """
    rng = np.random.default_rng(0)
    for model in range(models):
        for seed in range(seeds):
            source = PUBLISHED / _SOURCES[model % len(_SOURCES)] / "seed-0"
            folder = root / "digits" / "quick" / f"model-{model}" / f"seed-{seed}"
            folder.mkdir(parents=True)
            config, status, metrics = (
                json.loads((source / f"{name}.json").read_text()) for name in ("config", "status", "metrics")
            )
            title = EVIL if model == evil else f"Model {model}"
            config |= {"model": f"model-{model}", "title": title, "seed": seed, "hash": f"{model:016x}"}
            status |= {"hash": config["hash"], "seed": seed}
            asked = {
                name: value
                for name, value in metrics["metrics"].items()
                if group_of(name) in ("coherence", "fd_clf", "probe")
            }
            metrics |= {"hash": config["hash"], "seed": seed, "files": {}}
            metrics |= {
                "metrics": {name: float(value * rng.uniform(0.9, 1)) for name, value in asked.items()},
                "reasons": {},
            }
            history = pd.read_csv(source / "history.csv")[["step", "stage", "learning_rate", "loss"]]
            if (model, seed) in failed:
                status = {
                    "hash": config["hash"],
                    "seed": seed,
                    "state": "failed",
                    "error": f"The loss became nan in {EVIL}.",
                }
            elif seed == 0:  # samples of the first seed are all that a report shows
                shutil.copytree(
                    source / "samples", folder / "samples", ignore=shutil.ignore_patterns("diagnostics.json")
                )
                if diagnostics:
                    write_json(folder / "samples" / "diagnostics.json", some_diagnostics(rng))
            if diagnostics:
                history["validation/joint_coherence"] = np.where(
                    history["step"] % 350 == 0, rng.random(len(history)), np.nan
                )
            history.to_csv(folder / "history.csv", index=False)
            for name, content in (("config", config), ("status", status), ("metrics", metrics)):
                content = {k: v for k, v in content.items() if k not in ("format", "checksum")}
                write_json(folder / f"{name}.json", content)
    return root / "digits" / "quick"


def some_diagnostics(rng, points=300):
    """What a run of `digits` stores: confusions mostly right, a cloud of points per class and modality."""
    labels = np.arange(points) % 10
    centres = rng.normal(0, 4, (10, 2))
    clouds = {name: centres[labels] + rng.normal(0, 0.8, (points, 2)) for name in ("handwritten", "street")}
    confusion = (40 * np.eye(10) + rng.integers(0, 5, (10, 10))).astype(int).tolist()
    return {
        "confusion": {"handwritten->street": confusion, "street->handwritten": confusion},
        "latent": {
            "explained": [0.31, 0.22],
            "points": {
                name: {"x": xy[:, 0].tolist(), "y": xy[:, 1].tolist(), "label": labels.tolist()}
                for name, xy in clouds.items()
            },
        },
    }
