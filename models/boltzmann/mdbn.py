"""MDBN, registered: the multimodal deep belief network (Srivastava and Salakhutdinov 2012)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.about import About, cite
from models.base import Batch, Loss, Modality, Stage
from models.boltzmann.annealing import AnnealingPath
from models.boltzmann.dbm import DBM, layer_name
from models.boltzmann.dbn import DBN
from models.boltzmann.machine import State
from models.boltzmann.model import BoltzmannModel, PathwaySettings
from models.boltzmann.units import sample_bernoulli
from models.registry import register
from models.settings import setting

__all__ = ["MDBN", "MDBNSettings"]


@dataclass(frozen=True)
class MDBNSettings(PathwaySettings):
    """A belief network's, and how much of its training is up-down."""

    up_down_share: float = setting(
        0.0,
        "share of the steps in which all layers are fine-tuned, up and down with weights of their own",
        low=0,
        high=0.9,
    )


@register(
    "mdbn",
    settings=MDBNSettings,
    source="Srivastava and Salakhutdinov 2012, ICML workshop on representation learning; Ngiam et al. 2011",
    title="MDBN",
    about=About(
        idea=(
            "Every modality has a directed pathway of two hidden layers below an undirected joint "
            "layer. Layers are trained one after the other by contrastive divergence. A draw is a "
            "state of the chain at the top, taken down by means."
        ),
        formula=r"p(v, h) = p(h^2_1, .., h^2_M, h^3) \prod_m p(h^1_m \mid h^2_m) \, p(v_m \mid h^1_m)",
        departures=(
            "Visible units are those of images and texts of this suite. Fine-tuning of all layers by "
            "the up-down algorithm is open to `up_down_share`."
        ),
        bibtex=cite("srivastava2012mdbn", "ngiam2011mdae"),
    ),
)
class MDBN(BoltzmannModel):
    """A directed pathway of two hidden layers for each modality, below an undirected joint layer.

    Layers are trained one after the other, from the bottom, by CD-k: each on the means of the one below it. A
    draw is a state of the top two layers' chain, taken down by means. Observed modalities are taken up and
    clamped at the top. With `up_down_share` all layers are then fine-tuned together by the up-down algorithm
    (Hinton, Osindero and Teh 2006, "A fast learning algorithm for deep belief nets").
    """

    def __init__(self, modalities: Sequence[Modality], settings: MDBNSettings):
        super().__init__(modalities, settings)
        units = {name: self.of(name).units for name in self.modalities}
        hidden, untied = (settings.first_size, settings.second_size), settings.up_down_share > 0
        self.dbn = DBN(units, hidden, settings.joint_size, untied)

    @property
    def machine(self) -> DBM:
        return self.dbn.top

    def clamp(self, inputs: Batch) -> State:
        return self.dbn.clamp_top(self.encode(inputs))

    def decode(self, state: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
        above = {layer: x for layer, x in state.items() if layer in self.machine.odd}
        means = self.machine.means(self.machine.fields(above, [layer_name(name, 0) for name in names]), above)
        return {name: self.of(name).decode(self.dbn.down(name, means[layer_name(name, 0)])) for name in names}

    def stages(self) -> tuple[Stage, ...]:
        first, second = (
            tuple(p for name in self.modalities for p in self.dbn.pathway(name)[depth].parameters())
            for depth in (0, 1)
        )
        share = self.settings.up_down_share
        greedy = (
            Stage("layer 1", 0.35 * (1 - share), self.loss, first),
            Stage("layer 2", 0.25 * (1 - share), self.second_loss, second),
            Stage("joint", 0.4 * (1 - share), self.joint_loss, tuple(self.machine.parameters())),
        )
        if share == 0:
            return greedy
        return (*greedy, Stage("up and down", share, self.up_down_loss, tuple(self.dbn.untied_parameters())))

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        """Of the first layers; the statistics of the data are taken meanwhile."""
        self.see(batch)
        return self.pathway_loss(batch, 0)

    def second_loss(self, batch: Batch, progress: Tensor) -> Loss:
        """Of the second layers."""
        return self.pathway_loss(batch, 1)

    def pathway_loss(self, batch: Batch, depth: int) -> Loss:
        """CD-k of all modalities' machines at `depth`."""
        self.dbn.tie()
        parts = {}
        for name, v in self.encode(batch).items():
            with torch.no_grad():
                below = self.dbn.up(name, v, depth)
            parts[name] = self.dbn.pathway(name)[depth].cd_loss(below, self.settings.cd_steps)
        terms = {f"divergence/{name}": part.detach() for name, part in parts.items()}
        return Loss(torch.stack(list(parts.values())).sum(), terms)

    def joint_loss(self, batch: Batch, progress: Tensor) -> Loss:
        """CD-k of the top, and how well it predicts modalities from each other."""
        self.dbn.tie()
        with torch.no_grad():
            data = self.clamp(batch)
        divergence = self.machine.layer_loss(data, 0, self.settings.cd_steps)
        prediction = self.machine.prediction_loss(data, self.settings.prediction_steps)
        terms = {"divergence": divergence.detach(), "prediction": prediction.detach()}
        return Loss(divergence + prediction, terms)

    def up_down_loss(self, batch: Batch, progress: Tensor) -> Loss:
        """Of all layers, and the predictions again."""
        terms = self.dbn.up_down_loss(self.encode(batch), self.settings.cd_steps)
        terms["prediction"] = self.machine.prediction_loss(self.clamp(batch), self.settings.prediction_steps)
        return Loss(
            torch.stack([*terms.values()]).sum(), {name: term.detach() for name, term in terms.items()}
        )

    def log_density_bound(self, batch: Batch, generator: torch.Generator) -> Tensor:
        states, volume = self.draw(batch, generator)
        return self.dbn.log_density_bound(states, generator) + volume

    def states(self, batch: Batch, generator: torch.Generator) -> State:
        """The last hidden layers, sampled given the means of those below."""
        means = self.dbn.clamp_top(self.draw(batch, generator)[0])
        return {layer: sample_bernoulli(x, generator) for layer, x in means.items()}

    def path(self) -> AnnealingPath:
        """To the top, from hidden units without biases."""
        return AnnealingPath(self.machine)
