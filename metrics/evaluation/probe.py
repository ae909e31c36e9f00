"""The linear probe of every modality's representations."""

from metrics.catalogue import Kind, metric
from metrics.evaluation.one_pass import Found, Pass
from metrics.missing import Lack, Missing
from metrics.names import MetricName
from metrics.probe import ProbeError, linear_probe, probe_indices
from models.about import cite

__all__ = ["probes"]


@metric(
    "probe",
    Kind("probe", "Probe", "fraction", "higher"),
    span="0 to 1, shown in per cent; the share of the largest class without any information.",
    hides=(
        "Whether the class is where another modality could find it: each modality has a probe of "
        "its own. What is in the latent but not linearly so, and what is not about the class."
    ),
    bibtex=cite("alain2017probes"),
)
def probes(run: Pass) -> Found:
    """Trained on random train images, the same for all models, and tested on all test images.

    Classes that a line separates:

    >>> import torch
    >>> from metrics.probe import linear_probe
    >>> features, labels = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]]), torch.tensor([0, 0, 1, 1])
    >>> linear_probe(features, labels, features, labels)
    1.0
    """
    if unlabelled := run.references.unlabelled:
        yield from ((MetricName("probe", target=name), unlabelled) for name in run.model.modalities)
        return
    for name in run.model.modalities:
        images, labels = run.train[name]
        rows = probe_indices(len(images), run.protocol.probe_images, run.protocol.evaluation_seed)
        train = run.embed(name, images[rows], "train")
        value: float | Missing
        try:
            value = linear_probe(train, labels[rows], run.represent(name), run.test[name][1])
        except ProbeError as error:
            value = Missing(Lack.FAILED, str(error))
        yield MetricName("probe", target=name), value
