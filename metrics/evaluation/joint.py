"""Joint draws, from a model's prior and from a sampler fitted after training: coherence, Frechet distances, images for figures."""

from collections.abc import Collection, Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor

from metrics.coherence import joint_coherence
from metrics.evaluation.one_pass import BATCH, Finite, Pass
from metrics.frechet import frechet_distance, statistics
from metrics.groups import FRECHET
from metrics.images import as_float, eight_bits
from metrics.prdc import COUNT, NEIGHBOURS, PRDC, prdc
from metrics.probe import probe_indices
from metrics.references.judges import CLASSES, predict
from metrics.sampler import Mixture, SamplerError, draw, fit_mixture
from models.base import NotDefinedError, SharedLatentModel

__all__ = ["fitted_coherence", "prior_draws"]

SHOWN = 64  # joint draws kept for figures

Votes = dict[str, list[Tensor]]
"""Modality name -> the classes that its judge finds, batch by batch."""


def coherence_names(metric: str) -> tuple[str, str, str]:
    """The names of what `joint_coherence` returns, in its order."""
    return metric, f"{metric}/chance", f"{metric}/entropy"


def prior_draws(run: Pass, wanted: Collection[str]) -> dict[str, np.ndarray]:
    """Decode the prior draws once: joint coherence, all that reads their features, and the draws that figures show (none without a prior)."""
    try:
        return _read_prior_draws(run, wanted)
    except NotDefinedError as error:
        names = list(coherence_names("joint_coherence")) if "coherence" in wanted else []
        kinds = [group for group in FRECHET if group in wanted] + (
            list(PRDC._fields) if "prdc" in wanted else []
        )
        for name in names + [f"{kind}/{name}" for kind in kinds for name in run.model.modalities]:
            run.lack(name, f"Not defined: {error}")
        return {}


def _read_prior_draws(run: Pass, wanted: Collection[str]) -> dict[str, np.ndarray]:
    read = {*wanted, "fd_clf"} if "prdc" in wanted else wanted
    spaces = [space for space in run.references.feature_spaces if space.name in read]
    judged = run.protocol.joint_draws if "coherence" in wanted else 0
    draws = run.protocol.draws if spaces else max(judged, 1)
    votes: Votes = {}
    extractors = {
        (space.name, name): extractor for space in spaces for name, extractor in space.extractors.items()
    }
    features: dict[tuple[str, str], list[Tensor]] = {key: [] for key in extractors}
    shown: dict[str, np.ndarray] = {}
    finite = Finite()
    generator = run.generator()
    for start in range(0, draws, BATCH):
        # always whole batches: fewer draws are the first of more
        drawn = {
            name: finite.read(run.model.modalities[name], x)
            for name, x in run.model.generate(BATCH, generator).items()
        }
        if start == 0:
            shown = {name: eight_bits(x[:SHOWN]).cpu().numpy() for name, x in drawn.items()}
        _vote(run, drawn, judged - start, votes)
        for passed, ((space, name), extractor) in enumerate(extractors.items()):
            advance = partial(_advance, run, draws, start, len(extractors), passed)
            features[space, name].append(extractor(eight_bits(drawn[name][: draws - start]), advance).cpu())
        run.progress("prior draws", min(start + BATCH, draws), draws)
    if "coherence" in wanted:
        _coherence(run, "joint_coherence", votes, finite)
    found = {
        group: {name: rows for (space, name), rows in features.items() if space == group} for group in FRECHET
    }
    for group in FRECHET:
        if group in wanted:
            _frechet(run, group, found[group], finite)
    if "prdc" in wanted:
        _prdc(run, found["fd_clf"], finite)
    return shown


def _advance(run: Pass, draws: int, start: int, passes: int, passed: int, done: int, total: int) -> None:
    """Progress within the draws from `start` on: `passed` of `passes` extractors have seen all of them, the next `done` of `total`."""
    run.progress("prior draws", start + (passed * total + done) // passes, draws)


def _vote(run: Pass, drawn: Mapping[str, Tensor], count: int, votes: Votes) -> None:
    """Add to `votes` what the judges say of the first `count` draws of a batch, none where it is not positive."""
    if count > 0:
        for name, judge in run.references.judges.items():
            votes.setdefault(name, []).append(predict(judge, drawn[name][:count]).cpu())


def _coherence(run: Pass, metric: str, votes: Votes, finite: Finite) -> None:
    """Joint coherence, chance and entropy of the draws that were voted on, under the names that begin with `metric`."""
    names = coherence_names(metric)
    reason = finite.reason(*run.model.modalities) or run.unjudged(*run.model.modalities)
    if reason:
        for name in names:
            run.lack(name, reason)
        return
    joint = joint_coherence({name: torch.cat(rows) for name, rows in votes.items()}, CLASSES)
    run.metrics |= dict(zip(names, joint, strict=True))
    if joint.entropy is None:
        run.lack(names[2], "The judges agree on no draw.")


def _frechet(run: Pass, group: str, features: Mapping[str, list[Tensor]], finite: Finite) -> None:
    space = run.references.space(group)
    for name in run.model.modalities:
        if space is None or name not in features:
            run.lack(f"{group}/{name}", run.references.unread(group, name))
        elif reason := finite.reason(name):
            run.lack(f"{group}/{name}", reason)
        else:
            generated = statistics(torch.cat(features[name]))
            run.metrics[f"{group}/{name}"] = frechet_distance(generated, space.real[name], space.roots[name])


def _prdc(run: Pass, features: Mapping[str, list[Tensor]], finite: Finite) -> None:
    """The judge's features of each modality's draws against those of as many random test items, COUNT of them at most."""
    space = run.references.space("fd_clf")
    for name in run.model.modalities:
        images = run.test[name][0]
        count = min(COUNT, len(images), run.protocol.draws)
        if space is None or name not in features:
            reason: str | None = run.references.unread("fd_clf", name)
        elif count <= NEIGHBOURS:
            reason = f"It takes more than {NEIGHBOURS} test items and draws; of {name} there are {count}."
        else:
            reason = finite.reason(name)
        if space is None or reason:
            for kind in PRDC._fields:
                run.lack(f"{kind}/{name}", str(reason))
            continue
        rows = probe_indices(len(images), count, run.protocol.evaluation_seed)
        real = space.extractors[name](images[rows], partial(run.progress, f"features of {name} (test)"))
        generated = torch.cat(features[name])[:count].to(real.device)
        found = prdc(real, generated, progress=partial(run.progress, f"neighbours of {name}"))
        run.metrics |= {f"{kind}/{name}": value for kind, value in found._asdict().items()}


# --- a sampler in place of the prior ---------------------------------------------------------------------------------


def fitted_coherence(run: Pass) -> None:
    """Joint coherence of draws from a mixture fitted to the latent means of train images, each encoded alone, all modalities pooled."""
    names = coherence_names("fitted_coherence")
    if not isinstance(run.model, SharedLatentModel):
        for name in names:
            run.lack(
                name,
                "Not defined: the model has no single latent that all modalities are decoded from, to which a sampler could be fitted.",
            )
        return
    try:
        mixture = fit_mixture(
            _pooled_latents(run, run.model), run.protocol.sampler_components, run.protocol.evaluation_seed
        )
    except SamplerError as error:
        for name in names:
            run.lack(name, str(error))
        return
    _judge_mixture(run, run.model, mixture)


def _pooled_latents(run: Pass, model: SharedLatentModel) -> Tensor:
    """(M n, L) latent means of n random train images of each of the M modalities."""
    count = min(run.protocol.sampler_images, *(len(images) for images, _ in run.train.values()))
    latents = []
    for name in model.modalities:
        images = run.train[name][0]
        rows = probe_indices(len(images), count, run.protocol.evaluation_seed)
        for start in range(0, count, BATCH):
            latents.append(model.infer({name: as_float(images[rows[start : start + BATCH]].to(run.device))}))
            run.progress(f"latents of {name} (train)", min(start + BATCH, count), count)
    return torch.cat(latents)


def _judge_mixture(run: Pass, model: SharedLatentModel, mixture: Mixture) -> None:
    draws, generator = run.protocol.joint_draws, run.generator()
    votes: Votes = {}
    finite = Finite()
    for start in range(0, draws, BATCH):
        latent = draw(mixture, BATCH, generator)
        drawn = {
            name: finite.read(modality, model.decode(name, latent))
            for name, modality in model.modalities.items()
        }
        _vote(run, drawn, draws - start, votes)
        run.progress("draws from the fitted sampler", min(start + BATCH, draws), draws)
    _coherence(run, "fitted_coherence", votes, finite)
