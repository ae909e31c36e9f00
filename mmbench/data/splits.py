"""From the train and test images of each modality to a prepared data set: hold-out, pairs, provenance."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from torch import Tensor

from mmbench.data.base import DataSettings, MultimodalData, Split
from mmbench.data.check import DatasetError, check_arrays, check_classes, check_modalities
from mmbench.data.pairing import hold_out, make_pairs, validation_share
from models.base import Modality

__all__ = ["Images", "assemble", "hash_images"]

HOLD_OUT_SEED = 0  # fixed, so that judges and validation images are the same whatever the pairs


class Images(NamedTuple):
    """`items` (N, *shape) uint8 as `mmbench.data.base` says, with `labels` (N,), classes from 0 on."""

    items: Tensor
    labels: Tensor

    def at(self, index: Tensor) -> "Images":
        return Images(self.items[index], self.labels[index])


def assemble(
    name: str,
    modalities: Sequence[Modality],
    parts: Mapping[str, tuple[Images, Images]],
    settings: DataSettings,
    notes: Sequence[str] = (),
    classes: Sequence[str] = (),
) -> MultimodalData:
    """Hold validation images out of the train part by image, then pair inside each split.

    Args:
        name: of the data set.
        modalities: in the order that pairs will have.
        parts: modality name -> its train and its test images, which share none, or texts, which may recur.
        settings: of the pairing.
        notes: sentences that belong under every table on these data.
        classes: what class 0, 1, ... are called; by default their numbers.

    Raises:
        DatasetError: for modalities, items, labels or classes that are not as `mmbench.data.base` says.
    """
    parts = _checked(name, modalities, parts, classes)
    images: dict[str, dict[str, Images]] = {"train": {}, "validation": {}, "test": {}}
    for modality in modalities:
        train, test = parts[modality.name]
        kept, held = hold_out(train.labels, HOLD_OUT_SEED)
        images["train"][modality.name] = train.at(kept)
        images["validation"][modality.name] = train.at(held)
        images["test"][modality.name] = test
    splits = {split: _make_split(of_split, settings) for split, of_split in images.items()}
    provenance: dict[str, Any] = {
        "modalities": {
            m.name: {
                split: {
                    "images": len(images[split][m.name].labels),
                    "sha256": hash_images(images[split][m.name]),
                }
                for split in images
            }
            for m in modalities
        },
        "validation_share": {m.name: validation_share(len(parts[m.name][0].labels)) for m in modalities},
        "pairs": {split: len(made.pairs) for split, made in splits.items()},
        "settings": asdict(settings),
        "notes": list(notes),
        **({"classes": list(classes)} if classes else {}),
    }
    of = [splits[part] for part in ("train", "validation", "test")]
    return MultimodalData(name, tuple(modalities), of[0], of[1], of[2], provenance, tuple(classes))


def _checked(
    name: str,
    modalities: Sequence[Modality],
    parts: Mapping[str, tuple[Images, Images]],
    classes: Sequence[str],
) -> dict[str, tuple[Images, Images]]:
    """`parts` with int64 labels, once nothing is wrong with them; DatasetError otherwise."""
    problems = check_modalities(modalities)
    if not problems and (lacking := [m.name for m in modalities if m.name not in parts]):
        problems = [
            f"there are no items of {', '.join(lacking)}: expected train and test items of every modality."
        ]
    if problems:
        raise DatasetError(name, problems)
    for m in modalities:
        for part, images in zip(("train", "test"), parts[m.name], strict=True):
            problems += check_arrays(f"{m.name}, {part} part", m, images.items, images.labels)
    if problems:
        raise DatasetError(name, problems)
    labels = {
        part: {m.name: parts[m.name][index].labels.long() for m in modalities}
        for index, part in enumerate(("train", "test"))
    }
    problems = check_classes(labels, classes)
    for modality, values in labels["train"].items():
        found, counts = values.unique(return_counts=True)
        problems += [
            f"{modality} has one train item of class {number}: expected two or more, "
            "as one is held out for validation."
            for number in found[counts == 1].tolist()
        ]
    if problems:
        raise DatasetError(name, problems)
    return {
        m.name: (
            Images(parts[m.name][0].items, labels["train"][m.name]),
            Images(parts[m.name][1].items, labels["test"][m.name]),
        )
        for m in modalities
    }


def _make_split(images: Mapping[str, Images], settings: DataSettings) -> Split:
    labels = {name: of.labels for name, of in images.items()}
    pairs = make_pairs(list(labels.values()), settings.pairs_per_image, settings.pairing_seed)
    return Split({name: of.items for name, of in images.items()}, labels, pairs)


def hash_images(images: Images) -> str:
    """SHA-256 of the shape, the pixels and the labels."""
    digest = hashlib.sha256(str(tuple(images.items.shape)).encode())
    digest.update(images.items.contiguous().numpy().data)
    digest.update(images.labels.numpy().data)
    return digest.hexdigest()
