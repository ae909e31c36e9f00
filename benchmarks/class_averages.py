"""Why cross coherence can stay at chance: what generated images keep of the class of their condition.

    python benchmarks/class_averages.py RESULTS/mnist-svhn/cpu --data-dir DATA

writes class-averages.csv into the folder of the runs.

Partners share the class and nothing else, so what minimises an expected error over them is an average of a
class: its pixelwise median (Laplace likelihood) or mean (Gaussian). An image for each class, the averages of
real train images or of what a model makes of the latent means of test images, are compared in what tells
them apart:

accuracy     share of single outputs in which the judge finds the class of its condition (real: of averages)
commonest    share of the class that the judge finds most often among them
spread       standard deviation of a pixel over the averages, averaged over pixels, which are in [0, 1]
correlation  of the averages with the real medians, over classes and pixels, each side without its mean
             over classes; of outputs that ignore their condition it is that of rounding, beside a spread
             of some 1e-8
"""

from collections.abc import Iterator, Mapping
from itertools import permutations
from pathlib import Path

import click
import pandas as pd
import torch
from torch import Tensor, nn

from metrics.evaluation.one_pass import BATCH
from metrics.images import as_float
from metrics.references import judges
from mmbench.data.base import MultimodalData
from mmbench.execution.cached_references import make_references
from mmbench.execution.finished import restore_runs, trained_model
from mmbench.plan.planned import PlannedRun
from mmbench.report.numbers.results import find_runs
from models.errors import InputError


def class_averages(images: Tensor, labels: Tensor, how: str) -> Tensor:
    """(classes, C, H, W) float pixelwise "mean" or "median" of the (N, C, H, W) images of each class.

    Of an even number of images the median is the lower one of the two in the middle.
    """
    groups = (as_float(images[labels == label]) for label in range(int(labels.max()) + 1))
    return torch.stack([group.mean(0) if how == "mean" else group.median(0).values for group in groups])


def describe(averages: Tensor, found: Tensor, labels: Tensor, medians: Tensor) -> dict[str, float]:
    """The columns above.

    Args:
        averages, medians: (classes, C, H, W), of what is described and of real images.
        found, labels: (N,) the judge's classes of single images and those of their conditions.
    """
    apart, real = ((each - each.mean(0)).flatten() for each in (averages, medians))
    return {
        "accuracy": (found == labels).float().mean().item(),
        "commonest": found.bincount().max().item() / len(found),
        "spread": averages.std(0, correction=0).mean().item(),
        "correlation": torch.corrcoef(torch.stack([apart, real]))[0, 1].item(),
    }


def real_rows(
    data: MultimodalData, networks: Mapping[str, nn.Module], medians: Mapping[str, Tensor]
) -> Iterator[dict[str, object]]:
    """The averages of the train images of every modality."""
    for name, median in medians.items():
        for how, averages in (
            ("median", median),
            ("mean", class_averages(*data.train.labelled[name], "mean")),
        ):
            found = judges.predict(networks[name], averages)
            yield {
                "of": f"real, {how}",
                "target": name,
                **describe(averages, found, torch.arange(data.class_count), median),
            }


@torch.inference_mode()
def model_rows(
    run: PlannedRun,
    data: MultimodalData,
    networks: Mapping[str, nn.Module],
    medians: Mapping[str, Tensor],
) -> Iterator[dict[str, object]]:
    """What a run makes of the latent mean of every test image, for every ordered pair of modalities."""
    model = trained_model(run, data).eval()
    for source, target in permutations(medians, 2):
        conditions, labels = data.test.labelled[source]
        outputs = torch.cat(
            [model.translate({source: as_float(part)}, [target])[target] for part in conditions.split(BATCH)]
        )
        if not outputs.isfinite().all():
            raise InputError(
                f"The model of {run.folder.path} generates {target} that is not finite: train it again."
            )
        found = judges.predict(networks[target], outputs)
        row = {"of": run.folder.path.parent.name, "seed": run.seed, "source": source, "target": target}
        yield {**row, **describe(class_averages(outputs, labels, "mean"), found, labels, medians[target])}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--data-dir", type=click.Path(path_type=Path), envvar="MMBENCH_DATA", help="Where the images are."
)
def main(folder: Path, data_dir: Path | None) -> None:
    """Write class-averages.csv of the finished runs in FOLDER into it.

    FOLDER is a <dataset>/<preset> of results whose runs have their checkpoints.
    """
    try:
        done = [run.folder for run in find_runs(folder) if run.state == "done"]
        groups = restore_runs([path for path in done if (path / "checkpoint.pt").exists()], data_dir)
        if not groups:
            raise InputError(
                f"{folder} holds no finished run with its checkpoint. "
                "Checkpoints are not published: make the runs first."
            )
        if len(groups) > 1:
            raise InputError(
                f"The runs in {folder} have different data or judges: name one <dataset>/<preset> of results."
            )
        data, runs = groups[0].data, groups[0].runs
        protocol = runs[0].config.protocol
        networks = make_references(data, protocol, ["coherence"]).judges
        images = [m.name for m in data.modalities if not m.symbols]  # texts have no averages
        medians = {name: class_averages(*data.train.labelled[name], "median") for name in images}
        rows = [
            *real_rows(data, networks, medians),
            *(row for run in runs for row in model_rows(run, data, networks, medians)),
        ]
    except InputError as error:
        raise click.UsageError(str(error)) from None
    columns = ["of", "seed", "source", "target", "accuracy", "commonest", "spread", "correlation"]
    table = pd.DataFrame(rows, columns=columns).astype({"seed": "Int64"})
    table.to_csv(folder / "class-averages.csv", index=False, float_format="%.6g", lineterminator="\n")
    click.echo(table.to_string(index=False, na_rep=""))


if __name__ == "__main__":
    main()
