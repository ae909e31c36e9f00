"""What the paper reports, in the names and units of this suite.

Tables 1-3 of Ai et al. 2026, on MNIST-SVHN. Cross coherence there decodes one sample of the latent, so it
stands beside our `sample` columns. Coherences and probes are fractions here and per cent in the paper.
"""

__all__ = ["CITATION", "MODELS", "SHORT_CITATION", "reported"]

SHORT_CITATION = "Ai et al. 2026"

CITATION = (
    "Ai Q., Qin G., Wang J., et al.: "
    "Research on multimodal generation models based on contrastive normalizing flows. "
    "Intelligent Computer and Applications 16(4), 153-158, 2026, doi:10.20169/j.issn.2095-2163.26011602"
)

_METRICS = (
    "joint_coherence",
    "cross_coherence/svhn->mnist/sample",
    "cross_coherence/mnist->svhn/sample",
    "fid/mnist",
    "fid/svhn",
    "probe/mnist",
    "probe/svhn",
)
_FIGURES = {  # as printed: per cent, and FID
    "cada-vae": (28.29, 75.36, 26.87, 80.22, 93.65, 82.34, 75.52),
    "mmvae": (28.93, 74.93, 26.43, 88.27, 126.11, 81.23, 76.12),
    "mopoe": (31.42, 64.45, 29.99, 129.53, 120.74, 73.24, 69.45),
    "cnf-mvae": (33.45, 75.67, 83.22, 50.76, 68.11, 96.25, 77.53),
}

MODELS = dict(zip(_FIGURES, ("CADA-VAE", "MMVAE", "MoPoE", "CNF-MVAE"), strict=True))
"""Registered name -> title of the paper's models, in the paper's order: three baselines, then its own."""

_REPORTED = {
    ("mnist-svhn", model, metric): figure if metric.startswith("fid/") else figure / 100
    for model, figures in _FIGURES.items()
    for metric, figure in zip(_METRICS, figures, strict=True)
}


def reported(dataset: str, model: str, metric: str) -> float | None:
    """The paper's figure for a model's metric, in the units of metrics.json; None where it has none."""
    return _REPORTED.get((dataset, model, metric))
