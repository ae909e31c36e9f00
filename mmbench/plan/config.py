"""The configuration of a run: everything that decides its result except its seed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from metrics.protocol import Protocol
from metrics.references.judges import is_vector, judge_identity
from mmbench.data.base import DataSettings, MultimodalData
from mmbench.plan.presets import Training
from mmbench.storage.files import content_hash
from mmbench.storage.shapes import OBSERVED
from models.errors import InputError, suggest
from models.names import find_model
from models.registry import MODELS, ModelEntry
from models.settings import decisive, resolve

__all__ = ["RunConfig", "check_observed", "restore_config"]


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides the result of a run except its seed.

    Attributes:
        entry, settings: the model.
        dataset, data: the data set's name and the settings of its pairing.
        training, protocol, precision: how it is trained and judged.
        observed: modality name -> the share of its train items that training sees; it sees all items of a
            modality that is not named.
        named: what the settings are called, if they have a name (see `models.named_settings`): nothing that
            decides a result.
    """

    entry: ModelEntry
    settings: Any
    dataset: str
    preset: str
    data: DataSettings
    training: Training
    protocol: Protocol
    precision: str = "fp32"
    observed: Mapping[str, float] = field(default_factory=dict)
    named: str = ""

    def decisive(self, data: MultimodalData) -> dict[str, object]:
        """What the hash covers, as JSON; the provenance of `data` says which files were read.

        Raises:
            InputError: for data that the model does not take, and for `observed` modalities that the model
                cannot miss or that the data do not have.
        """
        if misfit := self.misfit(data):
            raise InputError(f"The model {self.entry.name} {misfit}: leave it out of --models.")
        self._check_observed([modality.name for modality in data.modalities])
        classes = data.class_count
        families = {m.likelihood for m in data.modalities}
        shapes = [(1, 8, 8)] + [(8, 27)] * ("categorical" in families) + [(26,)] * ("multinomial" in families)
        judged = [judge_identity(shape, classes, self.protocol) for shape in shapes if classes]
        if classes and any(is_vector(m) for m in data.modalities):
            judged.append(judge_identity((16,), classes, self.protocol, vector=True))
        return {
            "model": self.entry.name,
            "settings": decisive(self.settings),
            "dataset": self.dataset,
            "data": {**data.provenance, "settings": asdict(self.data)},
            "training": {
                **decisive(self.training),
                **({OBSERVED: dict(self.observed)} if self.observed else {}),
            },
            "protocol": asdict(self.protocol),
            # recipe and kinds of the judges, whatever their shapes: one of each kind stands in
            "judge": content_hash(judged),
            "precision": self.precision,
            **({"code": self.entry.file.code} if self.entry.file else {}),
        }

    def misfit(self, data: MultimodalData) -> str | None:
        """Why the model cannot be trained on `data`, in a clause; None where it can."""
        if not self.entry.incomplete and not (data.train.pairs >= 0).all(1).any():
            return (
                f"is trained on complete rows alone, and every train row of {self.dataset} lacks a modality"
            )
        return self.entry.misfit(self.dataset, len(data.modalities), data.class_count)

    def _check_observed(self, names: Sequence[str]) -> None:
        """InputError for hidden modalities that are not among `names`, or that the model cannot miss."""
        for name in self.observed:
            if name not in names:
                raise InputError(f"Unknown modality {name!r} in --observe: {suggest(name, names)}")
        if self.observed and not self.entry.incomplete:
            able = ", ".join(entry.name for entry in MODELS if entry.incomplete)
            raise InputError(
                f"The model {self.entry.name} is trained on complete pairs alone: leave it out, or --observe "
                f"(others take it: {able})."
            )


def restore_config(stored: Mapping[str, Any]) -> RunConfig:
    """The configuration in a run's config.json.

    Raises:
        InputError: for a model or settings that are no longer there.
    """
    if "code" in stored and not any(entry.name == stored["model"] and entry.file for entry in MODELS):
        raise InputError(f"The model {stored['model']} came from a file of yours: name it with --model-file.")
    entry = find_model(stored["model"])
    training = {key: value for key, value in stored["training"].items() if key != OBSERVED}
    return RunConfig(
        entry=entry,
        settings=resolve(entry.settings, stored["settings"], entry.name),
        dataset=stored["dataset"],
        preset=stored["preset"],
        data=resolve(DataSettings, stored["data"].get("settings", {}), "the data"),
        training=resolve(Training, training, "the training budget"),
        protocol=resolve(Protocol, stored["protocol"], "the evaluation protocol"),
        precision=stored["precision"],
        observed=check_observed(stored["training"].get(OBSERVED, {}), f"{OBSERVED} in the training budget"),
        named=stored.get("named", ""),
    )


def check_observed(shares: Any, what: str) -> dict[str, float]:
    """`shares`, InputError unless it is a mapping from names to shares between 0 and 1, both excluded."""
    good = isinstance(shares, Mapping) and all(
        isinstance(share, float) and 0 < share < 1 for share in shares.values()
    )
    if not good:
        raise InputError(
            f"{what} is not usable: expected modalities and the shares of their items to train on, between "
            "0 and 1, as in svhn=0.5."
        )
    return dict(shares)
