"""What the pages say of MultiVae's models: the idea, the model or its objective, the publication."""

from models.about import About, cite

__all__ = ["ABOUT"]

_ALWAYS = (
    "Networks, data, budget and trainer are those of the comparison; objective and inference are MultiVae's."
)


def _about(key: str, idea: str, formula: str, departures: str = _ALWAYS, private: bool = False) -> About:
    return About(idea, formula, departures, cite(key, "senellart2023multivae"), private)


ABOUT = {
    "CMVAE": _about(
        "palumbo2024cmvae",
        (
            "It is MMVAE+ with clusters in the shared latent. The prior of that latent is a mixture "
            "of Gaussians, whose components stand for clusters. Style stays in a private latent of "
            "each modality."
        ),
        r"p(c) \, p(z \mid c) \prod_m p(w_m) \, p(x_m \mid z, w_m)",
        f"{_ALWAYS} Of several inputs, each item is drawn from one expert, not the whole batch from one. "
        "The diffusion decoders of the paper are left out.",
        private=True,
    ),
    "CRMVAE": _about(
        "suzuki2022crmvae",
        (
            "The joint posterior is a product of experts. Every expert is pulled towards it, and has "
            "to reconstruct its own modality alone too. So neither the product nor a single expert "
            "is left untrained."
        ),
        (
            r"\mathcal{L} = -\sum_m \pi_m \left( \mathbb{E}_{q} \log p(x_m \mid z) + \mathbb{E}_{q_m} "
            r"\log p(x_m \mid z) - \mathrm{KL}(q \| q_m) \right) + \pi_{M+1} \mathrm{KL}(q \| p)"
        ),
    ),
    "DMVAE": _about(
        "lee2021dmvae",
        (
            "Every modality has a private latent beside the one that all share. What the modalities "
            "have in common goes through the shared one, style stays private. Given other "
            "modalities, the private latent of a generated one is drawn from its prior."
        ),
        r"p(z_s) \prod_m p(z_m) \, p(x_m \mid z_s, z_m)",
        private=True,
    ),
    "JMVAE": _about(
        "suzuki2016jmvae",
        (
            "One encoder sees all modalities together, and further ones see each alone. The latter "
            "are pulled towards the former. So a single modality can stand for all of them once the "
            "model is trained."
        ),
        (
            r"\mathcal{L} = -\mathbb{E}_{q(z \mid x)} \log p(x \mid z) + \mathrm{KL}(q(z \mid x) \| "
            r"p) + \alpha \sum_m \mathrm{KL}(q(z \mid x) \| q_m(z \mid x_m))"
        ),
    ),
    "JNF": _about(
        "senellart2025jnf",
        (
            "First a VAE with one encoder for all modalities together is trained. Then posteriors "
            "given each modality alone are fitted to it, with everything else frozen. They are "
            "normalizing flows, so that they need not be Gaussian."
        ),
        (
            r"\mathcal{L}_1 = -\mathrm{ELBO}(x), \qquad \mathcal{L}_2 = \sum_m \mathrm{KL}(q(z \mid "
            r"x) \| q_m(z \mid x_m)), \quad q_m \mathrm{\ a\ flow}"
        ),
    ),
    "MMVAE": _about(
        "shi2019mmvae",
        (
            "The joint posterior is a mixture of experts: one modality at random says what the "
            "latent is. So every decoder is trained on latents of every single modality, which is "
            "cross generation. The objective is an importance-weighted bound."
        ),
        r"q(z \mid x) = \frac{1}{M} \sum_m q_m(z \mid x_m)",
        f"{_ALWAYS} Of several inputs, each item is drawn from one expert, not the whole batch from one.",
    ),
    "MMVAEPlus": _about(
        "palumbo2023mmvaeplus",
        (
            "It is MMVAE with a private latent for each modality. Cross generation draws the private "
            "latent of the target from an auxiliary prior, in training too. So the shared latent "
            "need not hold what is private."
        ),
        (
            r"q(z \mid x) = \frac{1}{M} \sum_m q_m(z \mid x_m), \qquad p(z) \prod_m p(w_m) \, p(x_m "
            r"\mid z, w_m)"
        ),
        f"{_ALWAYS} Of several inputs, each item is drawn from one expert, not the whole batch from one.",
        private=True,
    ),
    "MoPoE": _about(
        "sutter2021mopoe",
        (
            "The joint posterior is a mixture of products of experts, one product for every subset "
            "of modalities. It contains MVAE's product and MMVAE's mixture as special cases. "
            "Training sees every subset, so that any modalities can be given later."
        ),
        r"q(z \mid x) = \frac{1}{2^M - 1} \sum_{S \neq \emptyset} q_S(z)",
    ),
    "MVAE": _about(
        "wu2018mvae",
        (
            "The posterior of any subset of modalities is the product of their experts and the "
            "prior. A missing modality is an expert left out, so that no further network is needed. "
            "Training adds bounds of subsets to that of all together."
        ),
        r"q_S(z) \propto p(z) \prod_{m \in S} q_m(z \mid x_m)",
    ),
    "MVTCAE": _about(
        "hwang2021mvtcae",
        (
            "The joint posterior is a product of experts without the prior. The objective is derived "
            "from the total correlation of the modalities. It pulls every expert towards the "
            "product, so that each alone comes close to it."
        ),
        (
            r"\mathcal{L} = -\frac{M - \alpha}{M} \mathbb{E}_{q} \log p(x \mid z) + \beta \left( (1 - "
            r"\alpha) \mathrm{KL}(q \| p) + \frac{\alpha}{M} \sum_m \mathrm{KL}(q \| q_m) \right)"
        ),
    ),
    "Nexus": _about(
        "vasco2022nexus",
        (
            "Every modality has a latent of its own, and one latent stands above them all. Messages "
            "from the lower latents make the upper one. Messages are dropped in training, so that "
            "the upper latent can be made of any of them."
        ),
        r"p(z_\sigma) \prod_m p(z_m \mid z_\sigma) \, p(x_m \mid z_m)",
        f"{_ALWAYS} Messages are dropped for a whole batch at once, where MultiVae goes item by item.",
        private=True,
    ),
    "TELBO": _about(
        "vedantam2018telbo",
        (
            "First a VAE with one encoder for all modalities together is trained. Then encoders of "
            "single modalities are trained by bounds of their own, with the decoders frozen. So the "
            "objective is a bound for each modality and one for all."
        ),
        r"\mathcal{L} = -\mathrm{ELBO}(x; q) - \sum_m \mathrm{ELBO}(x_m; q_m)",
    ),
    "CVAE": _about(
        "sohn2015cvae",
        (
            "A latent explains what one modality leaves open of another one. Both its prior and its "
            "decoder may see the given modality. It models one modality given others, and nothing "
            "else."
        ),
        r"p(x_1 \mid x_2) = \int p(x_1 \mid z, x_2) \, p(z \mid x_2) \, dz",
        "It cannot be run here.",
    ),
    "MHVAE": _about(
        "dorent2023mhvae",
        (
            "Latents are feature maps on several levels, from coarse to fine. On each level the "
            "posterior is a product of what the modalities say. It was made for medical images of "
            "one patient."
        ),
        r"p(z_L) \prod_l p(z_l \mid z_{>l}) \prod_m p(x_m \mid z)",
        "It cannot be run here.",
    ),
}
"""By the name of MultiVae's class."""
