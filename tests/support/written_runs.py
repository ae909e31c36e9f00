"""Runs written to disk as a job would leave them, to be edited and reported."""

import numpy as np
import pandas as pd

from mmbench.storage.files import read_json, write_json
from mmbench.storage.samples import CrossSamples, SampleSet, save_samples

MODALITIES = {"mnist": (1, 8, 8), "svhn": (3, 10, 10)}


RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def flat(n, name, colour):
    """n images of one colour."""
    channels, height, width = MODALITIES[name]
    return np.broadcast_to(
        np.array(colour[:channels], np.uint8)[:, None, None], (n, channels, height, width)
    ).copy()


def some_samples():
    joint = {"mnist": flat(9, "mnist", (128,)), "svhn": flat(9, "svhn", RED)}
    there = CrossSamples("mnist", "svhn", [3] * 12, flat(12, "mnist", (64,)), flat(12, "svhn", GREEN))
    back = CrossSamples("svhn", "mnist", [3] * 12, flat(12, "svhn", BLUE), flat(12, "mnist", (192,)))
    return SampleSet(joint, [there, back])


def write_run(root, model, seed=0, state="done", label=None, title=None, value=0.25, **config):
    """A run folder with its files, and the folder."""
    folder = root / "mnist-svhn" / "quick" / (f"{model}+{label}" if label else model) / f"seed-{seed}"
    folder.mkdir(parents=True)
    config = {
        "model": model,
        "title": title or model.upper(),
        "label": label,
        "settings": {"beta": 2.5},
        "dataset": "mnist-svhn",
        "preset": "quick",
        "modalities": [{"name": name, "shape": list(shape)} for name, shape in MODALITIES.items()],
        "data": {
            "notes": ["A part of SVHN."],
            "modalities": {name: {"train": {"images": 90}} for name in MODALITIES},
        },
        "training": {"steps": 4000},
        "protocol": {"draws": 100},
        "precision": "fp32",
        "hash": "0123456789abcdef",
        "seed": seed,
        "environment": {"device": "cpu"},
        "command": "mmbench run --models all --preset quick",
    } | config
    error = "The loss is ```nan``` at step 7." if state == "failed" else None
    status = {
        "state": state,
        "error": error,
        "train_seconds": 3725.0,
        "evaluate_seconds": 9.5,
        "steps_per_second": 12.34,
    }
    metrics = {
        "hash": config["hash"],
        "seed": seed,
        "metrics": {"joint_coherence": value, "fid/mnist": None},
        "reasons": {"fid/mnist": {"kind": "unavailable", "why": "no weights"}},
        "references": {"judge/mnist": 0.99},
    }
    for name, content in (("config", config), ("status", status), ("metrics", metrics)):
        write_json(folder / f"{name}.json", content)
    steps = np.arange(100, 4001, 100)
    history = pd.DataFrame(
        {
            "step": steps,
            "stage": "train",
            "learning_rate": 1e-3,
            "loss": 1 / steps,
            "kl": steps / 7,
            "_odd": 2.0,
        }
    )
    if state == "failed":
        history.loc[history.index[-1], ["loss", "kl"]] = np.inf
    history.to_csv(folder / "history.csv", index=False)
    if state == "done":
        save_samples(folder / "samples", some_samples())
    return folder


def edit(path, **changes):
    write_json(path, read_json(path) | changes)
