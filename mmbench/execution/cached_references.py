"""What all runs on one data set share: judges, statistics of real images, floors. Made once and cached."""

import io
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from metrics.catalogue import DEFAULT, GROUPS, Need, check_groups
from metrics.evaluation.evaluate import FeatureSpace, References, build_feature_space
from metrics.missing import Lack, Missing
from metrics.protocol import Protocol
from metrics.references import imagenet, inception, judges
from metrics.references.judges import Judge
from metrics.references.linear_cca import COMPONENTS, PAIRS, QUERIES, linear_cca_precision
from metrics.references.statistics import NO_LINEAR_CCA, UNLABELLED, Extractor
from mmbench.console import Console
from mmbench.data.base import MultimodalData
from mmbench.storage.archives import read_npz, read_torch, torch_bytes
from mmbench.storage.files import cache_dir, content_hash, write_atomically
from mmbench.storage.locks import locked
from models.base import Modality

__all__ = ["make_references"]

T = TypeVar("T")
# of readers, and of whole files that hold something else
DAMAGE = (AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError)


def make_references(
    data: MultimodalData,
    protocol: Protocol,
    metrics: Collection[str] = DEFAULT,
    inception_weights: Path | None = None,
    device: torch.device | str = "cpu",
    console: Console | None = None,
    check: Callable[[], None] = lambda: None,
) -> References:
    """Judges and feature spaces for the metrics that are wanted, from the cache or made now.

    Args:
        data: the judges learn from its train images; statistics of real images are those of its test images.
        protocol: settings of judges and draws.
        metrics: groups of metrics, which declare whether they need judges or features.
        inception_weights: file with the Inception weights; None to look where pytorch-fid keeps them, and to
            download them there.
        device: where judges and extractors stay.
        console: shows what takes time.
        check: called between two batches; raises to stop.
    """
    check_groups(metrics)
    work = _Work(data, protocol, torch.device(device), console or Console(), check)
    needs = {need for name in metrics for need in GROUPS[name].needs}
    networks: dict[str, Judge] = {}
    scores: dict[str, float] = {}
    spaces: list[FeatureSpace] = []
    networked: dict[Need, tuple[FeatureSpace | None, str]] = {}
    missing: dict[str, Missing] = {}
    if needs & {Need.JUDGES, Need.JUDGE_FEATURES} and not data.has_labels:
        missing |= dict.fromkeys((Need.JUDGES.value, Need.JUDGE_FEATURES.value), UNLABELLED)
    elif needs & {Need.JUDGES, Need.JUDGE_FEATURES}:
        for m in data.modalities:
            if judges.can_judge(m):
                networks[m.name], scores[m.name] = _judge(work, m)
        if others := _others(data, networks):
            reason = "judges take images (C, H, W), text, counts and vectors."
            unjudged = Missing(Lack.UNAVAILABLE, f"There is no judge for {others}: {reason}")
            missing |= {"judges": unjudged, Need.JUDGE_FEATURES.value: unjudged}
    if networks and Need.JUDGE_FEATURES in needs:
        spaces.append(_judge_features(work, networks))
    if Need.INCEPTION_FEATURES in needs:
        load = partial(inception.load_inception, inception_weights)
        space = _network_features(work, "FID", "fid", load, inception.WEIGHTS_SHA256)
        networked[Need.INCEPTION_FEATURES] = space
    if Need.IMAGENET_FEATURES in needs:
        space = _network_features(work, "FD-IN", "fd_in", imagenet.load_imagenet, imagenet.WEIGHTS_SHA256)
        networked[Need.IMAGENET_FEATURES] = space
    for need, (made, reason) in networked.items():
        spaces += [made] if made else []
        missing |= {need.value: Missing(Lack.UNAVAILABLE, reason)} if reason else {}
    linear_cca = _linear_cca(work) if Need.LINEAR_CCA in needs else NO_LINEAR_CCA
    return References(networks, scores, data.class_count, tuple(spaces), missing, linear_cca)


@dataclass(frozen=True)
class _Work:
    """What references are made of, and where and how: the arguments of `make_references`."""

    data: MultimodalData
    protocol: Protocol
    device: torch.device
    console: Console
    check: Callable[[], None]


def _linear_cca(work: _Work) -> float | Missing:
    """How well linear CCA retrieves, cached under the items and the seed."""
    data, seed = work.data, work.protocol.evaluation_seed
    key = content_hash([data.provenance["modalities"], seed, COMPONENTS, PAIRS, QUERIES])

    def make(path: Path) -> None:
        train, test = (
            {name: (items, part.labels[name]) for name, items in part.items.items()}
            for part in (data.train, data.test)
        )
        with work.console.task("linear CCA of real items", math.comb(len(data.modalities), 2)) as task:

            def progress(done: int, total: int) -> None:
                work.check()
                task.update(done)

            found = linear_cca_precision(train, test, seed, progress)
        buffer = io.BytesIO()
        np.savez(buffer, key=key, precision=np.nan if found is None else found)
        write_atomically(path, buffer.getvalue())

    def load(path: Path) -> float | Missing:
        arrays = read_npz(path)
        if arrays["key"] != key:
            raise ValueError("it belongs to other items")
        precision = float(arrays["precision"])
        if np.isnan(precision):
            return NO_LINEAR_CCA
        if not 0 <= precision <= 1:
            raise ValueError("its precision is no share")
        return precision

    path = cache_dir() / "statistics" / f"{data.name}-linear-cca-{key}.npz"
    return _cached(path, load, make, work.console, work.check)


def _judge_features(work: _Work, networks: Mapping[str, Judge]) -> FeatureSpace:
    """The space of the judges' features."""
    extractors = {name: partial(judges.features, judge) for name, judge in networks.items()}
    # by its weights: features of two judges of one recipe, made on two machines, are not to be compared
    keys = {name: judges.weights_hash(judge) for name, judge in networks.items()}
    return _feature_space(work, Need.JUDGE_FEATURES.value, extractors, keys)


def _network_features(
    work: _Work, title: str, name: str, load: Callable[..., nn.Module], key: str
) -> tuple[FeatureSpace | None, str]:
    """A space of the features of a published network, and why some modalities, or all, have none.

    Args:
        title, name: of its distance.
        load: makes the network, on a device.
        key: hash of its weights.
    """
    names, unseen = [m.name for m in work.data.modalities if inception.can_see(m.shape)], ""
    if others := _others(work.data, names):
        unseen = f"There is no {title} of {others}: its network takes images of one channel or three."
    if not names:
        return None, unseen
    try:
        extractor = partial(inception.features, load(device=work.device))
    except inception.WeightsUnavailable as error:
        return None, f"{error} {unseen}".rstrip()
    return _feature_space(work, name, dict.fromkeys(names, extractor), dict.fromkeys(names, key)), unseen


def _others(data: MultimodalData, names: Collection[str]) -> str:
    """The modalities that are not among `names`."""
    return ", ".join(m.name for m in data.modalities if m.name not in names)


def _cached(
    path: Path,
    load: Callable[[Path], T],
    make: Callable[[Path], None],
    console: Console,
    check: Callable[[], None],
) -> T:
    """What `path` holds, which `make` writes where it is not there; a damaged file is named and made again.

    One process makes it, the others wait. What was made is read back: what is used is what later calls find.
    """
    with locked(
        path.with_name(f".{path.name}.lock"),
        lambda: console.say(f"Waiting for another command that makes {path.name}."),
        check,
    ):
        if path.exists():
            try:
                return load(path)
            except DAMAGE as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                console.say(f"The cached file {path} is damaged ({reason}): it is made again.")
        make(path)
        return load(path)


def _judge(work: _Work, modality: Modality) -> tuple[Judge, float]:
    """The judge of a modality and its accuracy on real test images, cached under images and recipe."""
    data, protocol, console, name = work.data, work.protocol, work.console, modality.name
    shape, classes, vector = modality.shape, data.class_count, judges.is_vector(modality)
    identity = judges.judge_identity(shape, classes, protocol, vector)
    key = content_hash([data.provenance["modalities"][name], identity])

    def make(path: Path) -> None:
        with console.task(f"train the judge of {name}", protocol.judge_steps) as task:

            def progress(done: int, total: int) -> None:
                work.check()
                task.update(done)

            judge = judges.train_judge(
                data.train.items[name],
                data.train.labels[name],
                classes,
                protocol,
                vector=vector,
                device=work.device,
                progress=progress,
            )
        score = judges.accuracy(
            judge, data.test.items[name], data.test.labels[name], lambda done, total: work.check()
        )
        content = torch_bytes({"key": key, "judge": judge.state_dict(), "accuracy": score})
        write_atomically(path, content)
        console.say(f"The judge of {name} finds {100 * score:.2f} % of the classes of real test images.")

    path = cache_dir() / "judges" / f"{data.name}-{name}-{key}.pt"
    judge, score = _cached(
        path,
        partial(_load_judge, partial(judges.make_judge, shape, classes, vector), key),
        make,
        console,
        work.check,
    )
    return judge.to(work.device), score


def _load_judge(make: Callable[[], Judge], key: str, path: Path) -> tuple[Judge, float]:
    """The judge in a file, as `make` makes it, and its accuracy; ValueError where it is another judge's."""
    state = read_torch(path)
    if state["key"] != key:
        raise ValueError("it belongs to other images or another recipe")
    if not (isinstance(state["accuracy"], float) and 0 <= state["accuracy"] <= 1):
        raise ValueError("its accuracy is no share")
    judge = make()
    judge.load_state_dict(state["judge"])
    return judge.eval().requires_grad_(False), state["accuracy"]


def _feature_space(
    work: _Work, name: str, extractors: Mapping[str, Extractor], weights: Mapping[str, str]
) -> FeatureSpace:
    """Statistics of real images, cached under these, hashes of the `weights` and the number of draws."""
    data, protocol = work.data, work.protocol
    key = content_hash(
        [data.provenance["modalities"], dict(weights), protocol.draws, protocol.evaluation_seed]
    )

    def make(path: Path) -> None:
        train, test = data.train.items, data.test.items
        with work.console.task(
            f"{name} of real images",
            sum(len(test[m]) + min(len(train[m]), protocol.draws) for m in extractors),
        ) as task:
            seen: dict[str, int] = {}

            def progress(part: str, done: int, total: int) -> None:
                work.check()
                seen[part] = done
                task.update(sum(seen.values()))

            made = build_feature_space(name, extractors, train, test, protocol, progress)
        buffer = io.BytesIO()
        arrays: Any = made.arrays()  # numpy's stub takes `allow_pickle` for one of them
        np.savez(buffer, key=key, **arrays)
        write_atomically(path, buffer.getvalue())

    def load(path: Path) -> FeatureSpace:
        arrays = read_npz(path)
        if arrays.pop("key") != key:
            raise ValueError("it belongs to other images, judges or draws")
        return FeatureSpace.restore(name, extractors, arrays)

    return _cached(
        cache_dir() / "statistics" / f"{data.name}-{name}-{key}.npz", load, make, work.console, work.check
    )
