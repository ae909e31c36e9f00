"""JMVAE (Suzuki et al. 2016, "Joint Multimodal Learning with Deep Generative Models")."""

from dataclasses import dataclass

import torch
from torch import nn

from models.base import Loss
from models.parts.distributions import DiagonalGaussian
from models.parts.gaussian import GaussianMVAE, product_of_experts
from models.parts.likelihoods import likelihood_setting
from models.parts.networks import HIDDEN, make_encoder
from models.registry import register
from models.settings import setting


@dataclass(frozen=True)
class JMVAESettings:
    latent_size: int = setting(40, "dimensions of the latent", low=1)
    alpha: float = setting(0.1, "weight of the divergences to the unimodal posteriors", low=0)
    likelihood: str = likelihood_setting()
    likelihood_scale: float = setting(0.75, "scale of a Gaussian or Laplace likelihood", low=1e-3)


@register("jmvae", settings=JMVAESettings, source="Suzuki et al. 2016, arXiv 1611.01891", title="JMVAE")
class JMVAE(GaussianMVAE):
    """A joint encoder q of all modalities; an encoder q_m of each, trained to stand in for it (JMVAE-kl).

    loss = E_{z ~ q} sum_m w_m (-log p(x_m given z)) + KL(q || N(0, I)) + alpha sum_m KL(q || q_m)

    Some but not all modalities give the product of their q_m.
    """

    def __init__(self, modalities, settings):
        super().__init__(modalities, settings)
        self.trunks = nn.ModuleDict({m.name: make_encoder(m, HIDDEN) for m in modalities})
        self.joint = nn.Sequential(nn.ReLU(), nn.Linear(len(modalities) * HIDDEN, 2 * settings.latent_size))

    def loss(self, batch, progress):
        q = self.posterior(batch)
        z = q.rsample()
        costs = {
            name: -self.likelihoods[name](batch[name], self.decode(name, z)).mean()
            for name in self.modalities
        }
        apart = torch.stack([q.kl_to(unimodal).mean() for unimodal in self.posteriors(batch).values()]).sum()
        kl = q.kl().mean()
        total = self.weighted(costs) + kl + self.settings.alpha * apart
        return Loss(total, {"kl": kl.detach(), "apart": apart.detach()})

    def posterior(self, inputs):
        if len(inputs) < len(self.modalities):
            return product_of_experts(list(self.posteriors(inputs).values()), prior_expert=False)
        features = torch.cat([self.trunks[name](inputs[name]) for name in self.modalities], dim=-1)
        return DiagonalGaussian(*self.joint(features).float().chunk(2, dim=-1))

    def infer(self, inputs, sample=False, generator=None):
        q = self.posterior(inputs)
        return q.rsample(generator) if sample else q.mean
