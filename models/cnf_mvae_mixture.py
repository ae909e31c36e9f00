"""CNF-MVAE with a mixture prior learned in the meta space: a model of this suite, not of the paper."""

from dataclasses import dataclass

from torch import Tensor

from models.about import About, cite
from models.cnf_mvae import CNFMVAE, CNFMVAESettings
from models.parts.priors import PRIORS
from models.registry import register
from models.settings import setting

__all__ = ["CNFMVAEMixture", "CNFMVAEMixtureSettings"]

ALIGNING = 30.0  # times tau where that is above 1: the least weight of the contrast before the prior starts


@dataclass(frozen=True)
class CNFMVAEMixtureSettings(CNFMVAESettings):
    """Those of CNF-MVAE but for the prior and for lambda, which has to hold its own against it."""

    prior: str = setting("mixture", "of the meta space", choices=PRIORS)
    contrast_weight: float = setting(
        30.0, "lambda, weight of the contrastive term of each pair of modalities", low=0, search=(5.0, 40.0)
    )
    temperature: float = setting(1.0, "tau of the contrastive term", low=1e-3, search=(0.5, 4.0))


@register(
    "cnf-mvae-mixture",
    settings=CNFMVAEMixtureSettings,
    source="this suite, after Ai et al. 2026, doi 10.20169/j.issn.2095-2163.26011602",
    title="CNF-MVAE, mixture prior",
    incomplete=True,
    about=About(
        idea=(
            "This is CNF-MVAE with a mixture of Gaussians as its prior in the meta space, in the "
            "place of N(0, I). Contrast gathers the latents of a class in a cluster and leaves most "
            "of N(0, I) without data; a mixture has its mass where the clusters are. Its components "
            "are fitted to latents of train items a few times during training, and trained in "
            "between."
        ),
        formula=(
            r"p(u) = \sum_k \pi_k \, \mathcal{N}(u; \mu_k, \mathrm{diag}\, \sigma_k^2), \qquad "
            r"\mathcal{L} = -\sum_m \mathrm{ELBO}_m + \lambda \sum_{m < n} \mathrm{InfoNCE}(u_m, u_n)"
        ),
        departures="It is a model of this suite and not of the paper.",
        bibtex=cite("ai2026cnf"),
    ),
)
class CNFMVAEMixture(CNFMVAE):
    """CNF-MVAE whose u has the prior p(u) = sum_k pi_k N(u; mu_k, diag sigma_k^2) in the place of N(0, I).

    z_m = e_m + s1 eps, u_m = f_m(z_m) as in CNF-MVAE, and for every eps

    -ELBO_m = -log p(x_m given z_m) - log p(u_m) - log|det df_m/dz_m| + log N(eps; 0, I) - L log s1
    loss = sum_m -ELBO_m + lambda sum_{m < n} InfoNCE(u_m, u_n)

    so that the bound on each log p(x_m) is exact with the learned prior as with N(0, I), and a joint draw is
    u ~ p(u), x_m = Dec_m(f_m^-1(u)). The contrast gathers the latents of a class in a cluster and pulls
    clusters apart, which leaves most of N(0, I) without data; a mixture has its mass where the clusters are.

    One mixture serves all modalities. Until its first start, after a fifth of the training, it is a single
    Gaussian; there and at every further fifth it is fitted anew to latents of train items
    (`models.parts.priors.MixturePrior`), so that it follows clusters that the contrast has formed meanwhile.

    Until the first start, lambda is 30 max(1, tau) at least: the contrast has log N nats to gain, times
    lambda, and a gradient of the order of lambda / tau. Against a single Gaussian a weak one aligns nothing,
    and the mixture would be fitted to modalities that lie apart.
    """

    def contrast_weight(self, progress: Tensor) -> float | Tensor:
        s, starts = self.settings, self.latent_prior.starts
        aligning = max(s.contrast_weight, ALIGNING * max(1.0, s.temperature))
        if not starts or aligning == s.contrast_weight:
            return s.contrast_weight
        return s.contrast_weight + (aligning - s.contrast_weight) * (progress < starts[0])
