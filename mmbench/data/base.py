"""What a data set is, and the registry of data sets.

A data set registers its loader with the decorator `register_dataset`; every module of this package is
imported when the registry is first read, and so is every entry point of the group `mmbench.datasets` in
installed packages. `load_data` (in `mmbench.data.loading`) calls the loader and checks what it returns.
N_m items of modality m, images, texts or counts; M modalities; P pairs (tuples of M items, one of each
modality); C classes. A loader usually ends with `mmbench.data.splits.assemble`, which makes splits, pairs and
provenance from the items of each modality.

Images are (C, H, W). A text is (positions, symbols), one-hot over the symbols of an
alphabet, with the blank as one of them:
`Modality("text", (8, 27), likelihood="categorical", weight=384.0, symbols=" abcdefghijklmnopqrstuvwxyz")`.
The likelihood makes decoders end in a softmax and has the judge read the most probable symbols; `symbols`, in
the order of the last axis, is what reports print. Both kinds are uint8, a text 255 at its symbol and 0
elsewhere (see `mmbench.data.text`). Counts are (symbols,) with `likelihood="multinomial"`: how often each
symbol occurs in an item of up to `words` of them, as uint8 `(counts * 255 / words).round()` (see
`mmbench.data.letters`). Vectors are (D,) with `likelihood="gaussian"`, and other counts (D,) with
`likelihood="poisson"`: both are float32 in [0, 1]. Of counts, 1 stands for the largest one, `words`; of
vectors, 0 and 1 stand for `low` and `high`, as far below and above the mean 0.5 as `spread`, their standard
deviation in [0, 1], says (see `mmbench.data.own`).

Items are paired by class, or, where a row of the data is one item of every modality, by row: then a row may
lack modalities, and there need not be classes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from torch import Tensor

from models.base import Modality
from models.parts.own_networks import Networks
from models.registry import Registry
from models.settings import setting

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["DATASETS", "DataSettings", "DatasetEntry", "MultimodalData", "Split", "register_dataset"]


@dataclass(frozen=True)
class DataSettings:
    """How items become pairs."""

    pairs_per_image: int = setting(
        10, "pairs in which every image of every modality is the anchor", low=1, high=10_000
    )
    pairing_seed: int = setting(0, "seed that draws the partners", low=0, high=2**63 - 1)


@dataclass(frozen=True)
class Split:
    """One of train, validation and test.

    Attributes:
        items: modality name -> (N_m, *shape) uint8, 255 standing for 1, in modality order; texts
            one-hot, counts as shares of `words`. Vectors and Poisson counts are float32 in [0, 1].
        labels: modality name -> (N_m,) int64, classes from 0 to C - 1; of data without labels, the rows.
        pairs: (P, M) int64, columns in modality order, entries index this split's own items; -1 where a row
            lacks the modality, or where training does not see it (`--observe`).
        rows: modality name -> (N_m,) int64, the row of each item, where items are paired by row; None where
            they are paired by class.
    """

    items: dict[str, Tensor]
    labels: dict[str, Tensor]
    pairs: Tensor
    rows: dict[str, Tensor] | None = None

    @property
    def labelled(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Modality name -> (items, labels), unpaired, as metrics take them."""
        return {name: (items, self.labels[name]) for name, items in self.items.items()}


@dataclass(frozen=True)
class MultimodalData:
    """A prepared data set.

    Attributes:
        name: as it was registered.
        modalities: in the order of the columns of `pairs`.
        train: what models and judges are trained on.
        validation: images held out of the train part, for choices.
        test: for tables.
        provenance: JSON-serialisable: counts and content hashes of each part, pairs, settings, and `notes`,
            the sentences that belong under every table on these data; `classes` where these have names.
        classes: what class 0 to C - 1 are called; as `load_data` returns it never empty, but the numbers as
            texts where the loader gave no names. Empty of data without labels.
        has_labels: whether the items have classes.
        networks: those that modalities ask for by name, so that they come along into other processes; filled
            by `load_data`.
    """

    name: str
    modalities: tuple[Modality, ...]
    train: Split
    validation: Split
    test: Split
    provenance: dict[str, Any]
    classes: tuple[str, ...] = ()
    has_labels: bool = True
    networks: tuple[Networks, ...] = ()

    @property
    def class_count(self) -> int:
        """C: how many classes have names, or, where none has, how far the labels go; 0 without labels."""
        if not self.has_labels:
            return 0
        splits = (self.train, self.validation, self.test)
        return len(self.classes) or 1 + max(int(y.max()) for split in splits for y in split.labels.values())

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        splits = (self.train, self.validation, self.test)
        return sum(
            t.nbytes for split in splits for t in (*split.items.values(), *split.labels.values(), split.pairs)
        )

    def held_out(self) -> "MultimodalData":
        """The same data with the validation images in the place of the test images, for choices.

        The provenance, which hashes cover, says so.
        """
        before = self.provenance
        now = {
            "modalities": {
                name: {**parts, "test": parts["validation"]} for name, parts in before["modalities"].items()
            },
            "pairs": {**before["pairs"], "test": before["pairs"]["validation"]},
            "notes": [
                *before["notes"],
                "The test images are the validation images here, held out of the train part: "
                "others were not looked at",
            ],
        }
        return replace(self, test=self.validation, provenance={**before, **now})


Loader = Callable[[Path | None, DataSettings], MultimodalData]


@dataclass(frozen=True)
class DatasetEntry:
    """A registered data set.

    Attributes:
        name: on the command line and in tables.
        load: called as `load(data_dir, settings)`.
        source: where the items come from.
        default_preset: the preset of a run that names none.
        needs_data_dir: whether it is read from a folder; `load` then gets a directory that exists.
        description: one line.
        licence: of the items, in a sentence or two.
        shareable: whether the licence lets anybody pass items on, in a bundle of results for one.
        bibtex: of the publications that the items are from, as `models.about.cite` gives them.
        budgets: name of a preset -> settings of its training budget that are others for these data.
        file: the file or folder of the user's own that it is, None for all others.
    """

    name: str
    load: Loader
    source: str
    default_preset: str
    needs_data_dir: bool
    description: str
    licence: str = ""
    shareable: bool = False
    bibtex: str = ""
    budgets: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    file: Path | None = None

    @property
    def module(self) -> str:
        """The module that its loader is of."""
        return getattr(self.load, "__module__", "")


DATASETS: Registry[DatasetEntry] = Registry("data set", package="mmbench.data", group="mmbench.datasets")


class About(TypedDict, total=False):
    """What else may be said of a data set: fields of DatasetEntry."""

    licence: str
    shareable: bool
    bibtex: str
    budgets: Mapping[str, Mapping[str, object]]


def register_dataset(
    name: str,
    *,
    source: str,
    default_preset: str,
    description: str,
    needs_data_dir: bool = False,
    **about: "Unpack[About]",
) -> Callable[[Loader], Loader]:
    """Decorator that registers a loader under `name`; see DatasetEntry for the arguments."""

    def decorate(load: Loader) -> Loader:
        DATASETS.add(DatasetEntry(name, load, source, default_preset, needs_data_dir, description, **about))
        return load

    return decorate
