"""Corr-RBM: restricted Boltzmann machines whose hidden means are pulled together (Feng et al. 2015)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.about import About, cite
from models.base import Batch, EmbeddingModel, Loss, Modality
from models.boltzmann.rbm import RBM
from models.boltzmann.visible import Visible
from models.coordinated.objectives import over_pairs, squared_distance
from models.registry import register
from models.settings import setting

__all__ = ["CorrRBM", "CorrRBMSettings"]


@dataclass(frozen=True)
class CorrRBMSettings:
    """Its own networks, so its own sizes: as many hidden units as the other Boltzmann machines have."""

    hidden_size: int = setting(512, "hidden units of each machine", low=1)
    sigma: float = setting(
        1.0, "standard deviation of Gaussian units, in standard deviations of the data", low=1e-3
    )
    cd_steps: int = setting(1, "steps of Gibbs sampling in each training step", low=1)
    distance: float = setting(1.0, "weight of the distance of hidden means", low=0, search=(0.1, 100.0))


@register(
    "corr-rbm",
    settings=CorrRBMSettings,
    source="Feng, Li and Wang 2015, Neurocomputing 154, 50-60",
    title="Corr-RBM",
    about=About(
        idea=(
            "Every modality has a restricted Boltzmann machine. Beside its likelihood, the hidden "
            "means of a pair are pulled together. These means are the common space."
        ),
        formula=(
            r"\mathcal{L} = \sum_m \mathrm{CD}_k(v_m) + \beta \sum_{m < n} |p(h_m = 1 \mid v_m) - "
            r"p(h_n = 1 \mid v_n)|^2"
        ),
        departures=(
            "It is the shallow machine of the paper; its two deep structures, which stack such "
            "machines, are left out."
        ),
        bibtex=cite("feng2015corrrbm"),
    ),
)
class CorrRBM(EmbeddingModel):
    """loss = sum_m CD_k(v_m) + b sum_(m < n) |p(h_m = 1 given v_m) - p(h_n = 1 given v_n)|^2

    A machine per modality; CD_k stands for the negative log-likelihood, whose gradient it estimates. The
    embedding is the hidden means, for several modalities their mean.
    """

    def __init__(self, modalities: Sequence[Modality], settings: CorrRBMSettings):
        super().__init__(modalities, settings)
        self.visible = nn.ModuleDict({m.name: Visible(m, settings.sigma) for m in modalities})
        self.machines = nn.ModuleDict(
            {name: RBM(self.of(name).units, settings.hidden_size) for name in self.modalities}
        )

    def of(self, name: str) -> Visible:
        """The visible side of a modality."""
        visible = self.visible[name]
        assert isinstance(visible, Visible)
        return visible

    def machine(self, name: str) -> RBM:
        """The machine of a modality."""
        machine = self.machines[name]
        assert isinstance(machine, RBM)
        return machine

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        divergences, means = [], {}
        for name, x in self.observed(batch).items():
            self.of(name).see(x)
            v = self.of(name).encode(x)
            divergences.append(self.machine(name).cd_loss(v, self.settings.cd_steps))
            means[name] = self.machine(name).hidden_means(v)
        divergence, distance = torch.stack(divergences).sum(), over_pairs(means, squared_distance)
        terms = {"divergence": divergence.detach(), "distance": distance.detach()}
        return Loss(divergence + self.settings.distance * distance, terms)

    def embed(self, inputs: Batch) -> Tensor:
        observed = self.observed(inputs).items()
        means = [self.machine(name).hidden_means(self.of(name).encode(x)) for name, x in observed]
        return torch.stack(means).mean(0)
