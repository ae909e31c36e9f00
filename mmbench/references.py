"""What all runs on one data set share: judges, statistics of the real images, floors. Made once, and cached under what decides them."""

import io
import pickle
import zipfile
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from metrics.evaluation import METRICS, FeatureSpace, References, build_feature_space
from metrics.inception import WEIGHTS_SHA256, WeightsUnavailable, features, load_inception
from metrics.judges import Judge, accuracy, judge_identity, train_judge
from metrics.judges import features as judge_features
from metrics.protocol import Protocol
from metrics.references import Extractor
from mmbench.console import Console
from mmbench.data.base import MultimodalData
from mmbench.files import cache_dir, content_hash, write_atomically

__all__ = ["make_references"]

T = TypeVar("T")
DAMAGE = (OSError, EOFError, KeyError, RuntimeError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile)  # what reading a broken file raises


def make_references(
    data: MultimodalData,
    protocol: Protocol,
    metrics: Collection[str] = METRICS,
    inception_weights: Path | None = None,
    device: torch.device | str = "cpu",
    console: Console | None = None,
    check: Callable[[], None] = lambda: None,
) -> References:
    """Judges and feature spaces for the metrics that are wanted, from the cache or made now.

    Args:
        data: the judges learn from its train images; statistics of real images are those of its test images.
        protocol: settings of judges and draws.
        metrics: groups of metrics; without "fid" no Inception network is looked for.
        inception_weights: file with the Inception weights, None to look where pytorch-fid keeps them.
        device: where judges and extractors stay.
        console: shows what takes time.
        check: called between two steps; raises to stop.
    """
    console, device = console or Console(), torch.device(device)
    judges, scores = {}, {}
    keys = {m.name: content_hash([data.provenance["modalities"][m.name], judge_identity(m.shape, protocol)]) for m in data.modalities}
    for m in data.modalities:
        path = cache_dir() / "judges" / f"{data.name}-{m.name}-{keys[m.name]}.pt"
        judges[m.name], scores[m.name] = _cached(
            path, partial(_load_judge, m.shape), partial(_make_judge, data, m.name, protocol, device, console, check), console
        )
        judges[m.name].to(device)
    spaces, missing = [], {}
    if "fd_clf" in metrics:
        extractors: dict[str, Extractor] = {name: partial(judge_features, judge) for name, judge in judges.items()}
        spaces.append(_feature_space("fd_clf", extractors, data, protocol, keys, console, check))
    if "fid" in metrics:
        try:
            inception = load_inception(inception_weights, device=device)
            same: dict[str, Extractor] = {m.name: partial(features, inception) for m in data.modalities}
            spaces.append(_feature_space("fid", same, data, protocol, dict.fromkeys(keys, WEIGHTS_SHA256), console, check))
        except WeightsUnavailable as error:
            missing["fid"] = str(error)
    return References(judges, scores, tuple(spaces), missing)


def _cached(path: Path, load: Callable[[Path], T], make: Callable[[Path], T], console: Console) -> T:
    """What `path` holds, or what `make` makes and writes there; a damaged file is named and made again."""
    if path.exists():
        try:
            return load(path)
        except DAMAGE as error:
            console.say(f"The cached file {path} is damaged ({type(error).__name__}): it is made again.")
    return make(path)


def _make_judge(
    data: MultimodalData, name: str, protocol: Protocol, device: torch.device, console: Console, check: Callable[[], None], path: Path
) -> tuple[Judge, float]:
    images, labels = data.train.items[name], data.train.labels[name]
    with console.task(f"train the judge of {name}", protocol.judge_steps) as task:

        def progress(done: int, total: int) -> None:
            check()
            task.update(done)

        judge = train_judge(
            images,
            labels,
            steps=protocol.judge_steps,
            batch_size=protocol.judge_batch_size,
            learning_rate=protocol.judge_learning_rate,
            seed=protocol.judge_seed,
            device=device,
            progress=progress,
        )
    score = accuracy(judge, data.test.items[name], data.test.labels[name])
    state = {"judge": judge.state_dict(), "accuracy": score}
    write_atomically(path, lambda file: torch.save(state, file))
    console.say(f"The judge of {name} finds {100 * score:.2f} % of the classes of real test images.")
    return judge, score


def _load_judge(shape: tuple[int, ...], path: Path) -> tuple[Judge, float]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    judge = Judge(shape)
    judge.load_state_dict(state["judge"])
    return judge.eval().requires_grad_(False), state["accuracy"]


def _feature_space(
    name: str,
    extractors: Mapping[str, Extractor],
    data: MultimodalData,
    protocol: Protocol,
    keys: Mapping[str, str],
    console: Console,
    check: Callable[[], None],
) -> FeatureSpace:
    """Statistics of the real images, cached under the images, the extractor and the number of draws."""
    key = content_hash([data.provenance["modalities"], dict(keys), protocol.draws, protocol.evaluation_seed])

    def make(path: Path) -> FeatureSpace:
        train, test = data.train.items, data.test.items
        total = sum(len(test[m]) + min(len(train[m]), protocol.draws) for m in extractors)
        done = 0
        with console.task(f"{name} of real images", total) as task:

            def counting(extractor: Extractor, images: Tensor) -> Tensor:
                nonlocal done
                check()
                found = extractor(images)
                done += len(images)
                task.update(done)
                return found

            counted: dict[str, Extractor] = {m: partial(counting, extractor) for m, extractor in extractors.items()}
            made = build_feature_space(name, counted, train, test, protocol)
        buffer = io.BytesIO()
        np.savez(buffer, **made.arrays())  # type: ignore[arg-type]  # numpy's stub takes `allow_pickle` for one of the arrays
        write_atomically(path, lambda file: file.write(buffer.getvalue()))
        return load(path)

    def load(path: Path) -> FeatureSpace:
        with np.load(path, allow_pickle=False) as arrays:
            return FeatureSpace.restore(name, extractors, arrays)

    return _cached(cache_dir() / "statistics" / f"{data.name}-{name}-{key}.npz", load, make, console)
