"""What the tables 1-4 hold: which metrics, how each is shown, and captions that say what they mean.

    table 1    coherence: joint, and every ordered pair of modalities; of more than two modalities the mean
               per number of sources
    table 1b   of more than two modalities: coherence from each subset to each other modality; of more than
               three shown as a matrix of single modalities
    table 2    Frechet distances: FID (Inception) and FD-clf (the judge's features), with their floors; FD-IN
               (EfficientNet) where runs have it
    table 3    linear probe of the latents
    table 4    retrieval of each modality by each other one, beside the probe; where runs have it
    table 4b   of more than three modalities: the directions of table 4, as a matrix

A column knows the metric that it shows, and in which unit.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import NamedTuple

from metrics.catalogue import GROUPS, SUBSETS, Better, Need, Unit, kind_of, subsets
from metrics.names import MetricName
from mmbench.storage.runs import StoredRun

__all__ = ["Column", "Content", "abbreviations", "column_of", "paper_contents"]


@dataclass(frozen=True)
class Column:
    """A metric and how a table shows it.

    Attributes:
        metric: its name in metrics.json.
        group, part: the two lines of its head.
        unit: of the stored number; fractions are shown in per cent.
        better: which direction is better; empty for what has none.
        floor: the reference that a perfect model would reach, by name.
    """

    metric: str
    group: str
    part: str = ""
    unit: Unit = "fraction"
    better: Better = "higher"
    floor: str = ""

    def shown(self, value: float) -> float:
        """`value` in the table's unit, at the table's two decimals. Adding 0 turns -0 into 0."""
        return round(100 * value if self.unit == "fraction" else value, 2) + 0.0


COLUMNS = 3  # modalities whose directions are columns; of more they are a matrix


class Content(NamedTuple):
    """What a table holds.

    Attributes:
        columns: its metrics.
        caption: what they mean.
        matrix: the modalities that are rows (given) and columns (generated or found) of what is printed, in a
            table whose directions are too many for columns; empty for the others.
    """

    columns: list[Column]
    caption: str
    matrix: tuple[str, ...] = ()


def paper_contents(runs: Sequence[StoredRun]) -> dict[str, Content]:
    """What the tables 1-4 hold for these runs, by number."""
    modalities = list(dict.fromkeys(name for run in runs for name in run.modalities))
    texts = {
        modality["name"] for run in runs for modality in run.config["modalities"] if modality.get("symbols")
    }
    labelled = not all(run.config.get("classes") == [] for run in runs)
    found = {MetricName.parse(name).kind for run in runs for name in run.metrics}
    return {
        "1": _coherence(
            modalities, "fitted_coherence" in found, {len(run.classes) for run in runs if run.classes}
        ),
        **({"1b": _every_direction(modalities)} if len(modalities) > 2 else {}),
        "2": _distances(modalities, texts, found),
        "3": _probes(modalities),
        **(_retrieval(modalities, labelled, found) if "label_map_mean" in found else {}),
    }


def abbreviations(names: Sequence[str]) -> dict[str, str]:
    """The shortest beginnings that tell `names` apart, capitalised: mnist, svhn -> M, S."""
    longest = max(map(len, names))
    length = next(
        (k for k in range(1, longest) if len({name[:k].lower() for name in names}) == len(names)), longest
    )
    return {name: name[:length].capitalize() for name in names}


def column_of(name: MetricName, group: str = "", part: str = "") -> Column:
    """The column of a metric that is in the catalogue.

    Args:
        name: of the metric.
        group, part: the two lines of its head; by default its title, and the part of its name or where it was
            measured.
    """
    kind = kind_of(name)
    assert kind is not None, f"no file of metrics/evaluation declares {name}"
    where = f"{'+'.join(name.sources)}→{name.target}" if name.sources else name.target
    group = group or f"{kind.title} {where}".rstrip()
    part = part or (f"{kind.part} (nats)" if kind.part and kind.unit == "nats" else kind.part)
    floor = f"{kind.name}_floor/{name.target}" if kind.floor else ""
    return Column(str(name), group, part, kind.unit, kind.better, floor)


def _coherence(modalities: list[str], fitted: bool, classes: Collection[int]) -> Content:
    """Table 1; `classes` are the numbers of classes that the runs have, as far as they say so."""
    columns = _figure("joint_coherence")
    most = "".join(f", at most {math.log(count):.2f} for {count} classes" for count in sorted(classes))
    caption = (
        "Coherence in per cent, higher is better. Joint: prior draws on which all judges agree; chance: "
        f"agreement expected from the judges' class histograms alone; entropy: of the agreed class{most}. "
    )
    if fitted:
        columns += _figure("fitted_coherence")
        caption += (
            "Joint fitted: as joint, with draws from a Gaussian mixture in place of the prior, fitted to "
            "latents of train data after training; not the model's prior, and not the paper's joint "
            "coherence. "
        )
    if len(modalities) == 2:
        directions = _directions(modalities)
        return Content(columns + directions, caption + _reading(modalities, directions[0]))
    for size in range(1, len(modalities)):
        for mode in ("sample", "mean"):
            name = MetricName("cross_coherence", size=size, mode=mode)
            columns.append(column_of(name, f"From {size}", mode))
    caption += (
        "From n: n modalities are given and another one is generated, and the judge finds their class, "
        "averaged over all such directions (table 1b has each of them); sample: latent drawn once; mean: "
        "latent mean."
    )
    return Content(columns, caption + _capped(modalities))


def _capped(modalities: Sequence[str]) -> str:
    """That not all subsets of the modalities are measured, where they are too many."""
    if math.comb(len(modalities), len(modalities) // 2) <= SUBSETS:
        return ""
    return (
        f" Of more than {SUBSETS} subsets of a size, {SUBSETS} were drawn at random, the same for all models."
    )


def _figure(kind: str) -> list[Column]:
    """A coherence of joint draws, and what stands beside it."""
    return [column_of(MetricName(kind, part=part)) for part in ("", "chance", "entropy")]


def _every_direction(modalities: list[str]) -> Content:
    """Table 1b."""
    columns = _directions(modalities)
    if len(modalities) > COLUMNS:
        caption = (
            "Cross coherence in per cent, higher is better: the modality of the row is given, that of the "
            "column is generated with a sampled latent, and the judge finds the class of the condition. Mean "
            f"latents, and directions from several modalities at once, are in the CSV.{_capped(modalities)}"
        )
        return Content(columns, caption, tuple(modalities))
    several = f"{columns[-1].group}: given several at once."
    return Content(
        columns,
        f"Cross coherence in per cent, higher is better. {_reading(modalities, columns[0])} {several}",
    )


def _directions(modalities: list[str]) -> list[Column]:
    """Cross coherence from every subset to every other modality, of sampled latents and of means."""
    short = abbreviations(modalities)
    return [
        column_of(
            MetricName("cross_coherence", sources, target, mode),
            f"{'+'.join(short[name] for name in sources)}→{short[target]}",
            mode,
        )
        for size in range(1, len(modalities))
        for sources in subsets(modalities, size)
        for target in modalities
        if target not in sources
        for mode in ("sample", "mean")
    ]


def _reading(modalities: list[str], example: Column) -> str:
    """What a direction means."""
    key = "; ".join(f"{letters}: {name}" for name, letters in abbreviations(modalities).items())
    return (
        f"{example.group}: the second modality generated from the first, and the judge finds the class of "
        f"the condition; sample: latent drawn once; mean: latent mean. {key}."
    )


def _distances(modalities: list[str], texts: Collection[str], found: Collection[str]) -> Content:
    """Table 2: every kind of distance that has a floor; those on request where they are among `found`."""
    imagenet = (
        "; FD-IN: in the features of EfficientNet-Lite0, trained on ImageNet as Inception was, and not "
        "comparable with it either"
    )
    columns = [
        column_of(MetricName(kind.name, target=name))
        for group in GROUPS.values()
        for kind in group.kinds
        if kind.floor and (not group.asked or kind.name in found)
        for name in modalities
        if not (name in texts and group.needs & {Need.INCEPTION_FEATURES, Need.IMAGENET_FEATURES})
    ]
    return Content(
        columns,
        "Fréchet distance of generated to real test data, lower is better. FID: in Inception's features"
        f"{', which only images have' if texts else ''}; FD-clf: in the judge's features, another measure "
        f"that is not comparable with FID{imagenet if 'fd_in' in found else ''}. Floor: real train data in "
        "place of the generated ones.",
    )


def _probes(modalities: list[str]) -> Content:
    """Table 3."""
    return Content(
        [column_of(MetricName("probe", target=name)) for name in modalities],
        "Accuracy in per cent of a linear probe on the latents of single modalities, higher is better.",
    )


def _retrieval(modalities: list[str], labelled: bool, found: Collection[str]) -> dict[str, Content]:
    """Table 4, and 4b where there are too many directions for it; linear CCA where it is among `found`."""
    short = abbreviations(modalities)
    directions = [
        column_of(
            MetricName(kind, (source,), target),
            "mAP" if kind == "label_map" else f"Hit@{kind.removeprefix('hit_at_')}",
            f"{short[source]}→{short[target]}",
        )
        for kind in ("label_map", "hit_at_1", "hit_at_5", "hit_at_10")
        for source, target in permutations(modalities, 2)
    ]
    linear = "label_map_cca" in found
    means = [column_of(MetricName(f"label_map_{part}"), "mAP", part) for part in ("mean", "chance", "judge")]
    means += [column_of(MetricName("label_map_cca"), "mAP", "linear CCA")] if linear else []
    first, second = modalities[:2]
    key = "; ".join(f"{letters}: {name}" for name, letters in short.items())
    relevant = (
        "relevant is what has the class of the query; mean: over all directions; chance: of a random order; "
        "judge: of the class that its judge finds in the place of every representation, a baseline that was "
        "trained with labels. Hit@K: an item of the query's class is among the first K; there is no single "
        "right item to recall. "
        if labelled
        else "relevant is the item of the query's row alone, as the data have no labels; mean: over all "
        "directions; chance: of a random order. Hit@K: the item of the query's row is among the first K. "
    )
    if linear:
        relevant += (
            "Linear CCA: of canonical variables of the items themselves, a baseline without networks. "
        )
    caption = (
        f"Retrieval in per cent, higher is better. {short[first]}→{short[second]}: every test item of "
        f"{first} ranks all test items of {second} by the cosine of their representations. mAP: mean average "
        f"precision over the whole ranking, {relevant}"
    )
    probes = _probes(modalities).columns
    if len(modalities) > COLUMNS:
        every = (
            "Mean average precision in per cent, higher is better: test items of the row's modality rank "
            "those of the column's. Hit@K is in the CSV."
        )
        return {
            "4": Content(means + probes, f"{caption}Probe: as in table 3."),
            "4b": Content(directions, every, tuple(modalities)),
        }
    per_map = len(directions) // 4
    columns = directions[:per_map] + means + directions[per_map:] + probes
    return {"4": Content(columns, f"{caption}Probe: as in table 3. {key}.")}
