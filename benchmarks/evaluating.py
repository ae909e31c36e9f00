"""Rows of evaluation: coherence, the Frechet distance, Inception features."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import pytorch_fid.inception
import torch
from PIL import Image
from pytorch_fid.fid_score import calculate_frechet_distance, get_activations
from torch import Tensor, nn

from benchmarks import ours, peer
from benchmarks.bench import Bench, alternate, seconds
from benchmarks.table import Row
from metrics.evaluation.evaluate import evaluate
from metrics.frechet import Statistics, frechet_distance, root, statistics
from metrics.images import as_float
from metrics.protocol import Protocol
from metrics.references import inception
from metrics.references.judges import Judge
from metrics.references.statistics import References

__all__ = ["coherence", "frechet", "inception_features"]


def coherence(bench: Bench) -> list[Row]:
    """Joint and cross coherence of one MoPoE: the same weights, judges, prior draws and conditions.

    Ours decodes each condition twice, with a sampled and with the mean latent; MultiVae draws two samples of
    each, having encoded it once. Judges and weights are random: what they say does not change how long it
    takes.
    """
    data, work = bench.data, bench.work
    model = ours.make_model("mopoe", data.modalities, latent_size=work.latent)
    twin = peer.make_peer("MoPoE", model, beta=2.5)
    judges: dict[str, nn.Module] = {
        m.name: Judge(m.shape, data.class_count).eval().requires_grad_(False) for m in data.modalities
    }
    columns = zip(
        data.modalities,
        data.test.pairs[torch.randperm(len(data.test.pairs))[: work.conditions]].T,
        strict=True,
    )
    rows = {m.name: column for m, column in columns}
    test = {
        name: (data.test.items[name][index], data.test.labels[name][index]) for name, index in rows.items()
    }
    other = peer.paired(
        {name: as_float(images) for name, (images, _) in test.items()}, next(iter(test.values()))[1]
    )
    references = References(judges, dict.fromkeys(judges, 1.0), data.class_count)
    protocol = Protocol(draws=work.draws, joint_draws=work.draws)

    def mine() -> object:
        return evaluate(
            model,
            test=test,
            train=data.train.labelled,
            references=references,
            protocol=protocol,
            metrics=["coherence"],
            progress=None,
        )

    sides = {
        "ours": partial(seconds, mine),
        "theirs": partial(seconds, partial(peer.coherence, twin, judges, other, work.draws)),
    }
    found = alternate(sides, bench.repeats)
    conditions = len(other)
    text = (
        f"{work.draws} prior draws, {conditions} conditions per direction, two images of each; MoPoE, one "
        "judge per modality"
    )
    return [Row("coherence, joint and cross", "s", found["ours"], found["theirs"], "time", 3.0, 5.0, text)]


def _features(rows: int, width: int, seed: int) -> Tensor:
    """(rows, width) not negative and correlated, as pooled activations are."""
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(rows, 64, generator=generator) @ torch.randn(
        64, width, generator=torch.Generator().manual_seed(0)
    )
    return torch.relu(0.1 * common + torch.randn(rows, width, generator=generator))


def frechet(bench: Bench) -> list[Row]:
    """The distance from given means and covariances.

    The root of the real covariance is cached, as it is for all runs on a data set.
    """
    work = bench.work
    real, generated = (statistics(_features(work.feature_rows, work.features, seed)) for seed in (1, 2))
    factor = root(real.covariance)
    values: dict[str, float] = {}

    def mine() -> None:
        values["ours"] = frechet_distance(generated, real, factor)

    def other() -> None:
        values["theirs"] = float(calculate_frechet_distance(*_numpy(generated), *_numpy(real)))

    found = alternate({"ours": partial(seconds, mine), "theirs": partial(seconds, other)}, bench.few)
    _check_equal("Frechet distances", values["ours"], values["theirs"])
    text = (
        f"{work.features} features, {work.feature_rows} vectors of either half; "
        f"equal values ({values['ours']:.6g} and {values['theirs']:.6g}); theirs is pytorch-fid's"
    )
    return [Row("Frechet distance", "s", found["ours"], found["theirs"], "time", 8.0, 10.0, text)]


def _numpy(half: Statistics) -> tuple[np.ndarray, np.ndarray]:
    return half.mean.numpy(), half.covariance.numpy()


def _check_equal(what: str, ours: float, theirs: float) -> None:
    if abs(ours - theirs) > 1e-4 * abs(theirs):
        raise RuntimeError(
            f"the {what} differ, ours is {ours} and theirs {theirs}: their times are not to be compared"
        )


def inception_features(bench: Bench) -> list[Row]:
    """Images of the second modality through Inception with the same random weights.

    Ours come from memory, pytorch-fid's from PNG files, its only input.

    pytorch-fid reads its files in the process itself (0 workers), which is quickest where the network takes
    all cores.
    """
    name = bench.data.modalities[1].name
    images = bench.data.train.items[name][: bench.work.images]
    network = inception.Inception()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)  # activations of the size that trained ones have
    state = network.network.state_dict()
    with patch.object(pytorch_fid.inception, "load_state_dict_from_url", return_value=state):
        reference = pytorch_fid.inception.InceptionV3([3])
    extractor = network.as_extractor()
    values: dict[str, np.ndarray] = {}
    with TemporaryDirectory() as folder:
        files = [_save(Path(folder) / f"{i}.png", image) for i, image in enumerate(images)]

        def mine() -> None:
            values["ours"] = inception.features(extractor, images).numpy()

        def other() -> None:
            with peer.quiet():
                values["theirs"] = get_activations(files, reference, batch_size=50, num_workers=0)

        found = alternate({"ours": partial(seconds, mine), "theirs": partial(seconds, other)}, bench.few)
    gap = float(np.abs(values["ours"] - values["theirs"]).max() / np.abs(values["theirs"]).max())
    rates = {side: [len(images) / taken for taken in found[side]] for side in found}
    text = (
        f"{len(images)} images of {name}, random weights, batches of 50; largest difference {gap:.1e} of "
        "the largest feature; theirs is pytorch-fid's"
    )
    return [Row("FID features", "images/s", rates["ours"], rates["theirs"], "rate", 1.3, 2.0, text)]


def _save(path: Path, image: Tensor) -> str:
    array = image.permute(1, 2, 0).numpy()
    Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(path)
    return str(path)
