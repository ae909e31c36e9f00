"""Joint coherence of draws from a mixture fitted to latents after training, in place of the prior."""

import torch
from torch import Tensor

from metrics.catalogue import Kind, Need, metric
from metrics.evaluation.coherence import joint_coherences
from metrics.evaluation.one_pass import BATCH, Finite, Found, Pass
from metrics.evaluation.prior_draws import Votes
from metrics.images import as_float
from metrics.missing import Lack, Missing
from metrics.names import MetricName
from metrics.probe import probe_indices
from metrics.sampler import Mixture, SamplerError, draw, fit_mixture
from models.about import cite
from models.base import NotDefinedError, SharedLatentModel

__all__ = ["fitted_coherence"]


@metric(
    "sampler",
    Kind("fitted_coherence", "Joint fitted", "fraction", "higher", per="model"),
    Kind("fitted_coherence", "Joint fitted", "fraction", "", per="model", part="chance"),
    Kind("fitted_coherence", "Joint fitted", "nats", "", per="model", part="entropy"),
    needs=(Need.JUDGES,),
    span="0 to 1, shown in per cent; by chance as joint coherence.",
    hides=(
        "That the model's own prior may be missed altogether: the mixture is fitted after training, "
        "so that a model without any prior can do well."
    ),
    bibtex=cite("ghosh2020rae"),
)
def fitted_coherence(run: Pass) -> Found:
    """The mixture is fitted to latent means of train images of all modalities, each encoded alone.

    Private latents, where a model has some, are drawn from their prior: those of a modality that is not given
    have nothing to be fitted to.

    A mixture of one component, fitted to latents around (1, 1):

    >>> import torch
    >>> from metrics.sampler import draw, fit_mixture
    >>> latents = 1 + 0.1 * torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    >>> draw(fit_mixture(latents, 1, seed=0), 1000, torch.Generator().manual_seed(0)).mean(0).round()
    tensor([1., 1.])
    """
    if not isinstance(run.model, SharedLatentModel):
        raise NotDefinedError(
            "the model has no single latent that all modalities are decoded from, to which a sampler could "
            "be fitted."
        )
    if missing := run.references.unlabelled:
        yield from (
            (MetricName("fitted_coherence", part=part), missing) for part in ("", "chance", "entropy")
        )
        return
    components, seed = run.protocol.sampler_components, run.protocol.evaluation_seed
    try:
        mixture = fit_mixture(_pooled_latents(run, run.model), components, seed)
    except SamplerError as error:
        for part in ("", "chance", "entropy"):
            yield MetricName("fitted_coherence", part=part), Missing(Lack.FAILED, str(error))
        return
    yield from _judge(run, run.model, mixture)


def _pooled_latents(run: Pass, model: SharedLatentModel) -> Tensor:
    """(M n, L) means of the shared latents of n random train images of each of the M modalities."""
    count = min(run.protocol.sampler_images, *(len(images) for images, _ in run.train.values()))
    latents = []
    for name in model.modalities:
        images = run.train[name][0]
        rows = probe_indices(len(images), count, run.protocol.evaluation_seed)
        chosen = images[rows].to(run.device)
        for start in range(0, count, BATCH):
            latents.append(model.embed({name: as_float(chosen[start : start + BATCH])}))
            run.progress(f"latents of {name} (train)", min(start + BATCH, count), count)
    return torch.cat(latents)


def _judge(run: Pass, model: SharedLatentModel, mixture: Mixture) -> Found:
    """Coherence of as many draws from the mixture as joint coherence takes from the prior."""
    draws, generator, finite = run.protocol.joint_draws, run.generator(), Finite()
    votes, there = Votes(run, draws), Mixture(*(x.to(run.device) for x in mixture))
    for start in range(0, draws, BATCH):
        latent = model.with_private(draw(there, BATCH, generator), generator)
        votes.add({name: finite.read(m, model.decode(name, latent)) for name, m in model.modalities.items()})
        run.progress("draws from the fitted sampler", min(start + BATCH, draws), draws)
    yield from joint_coherences(run, "fitted_coherence", votes, finite)
