"""What every registered model must satisfy, as checks that say in words what is wrong.

`mmbench check NAME` and the tests run them. `training` checks losses, stages and gradients, `outputs` what a
trained model is asked for; `tools` has what both share.
"""

from collections.abc import Callable, Iterator, Sequence

from models.base import Modality
from models.conformance.outputs import (
    check_construction,
    check_embed,
    check_generate,
    check_log_weights,
    check_saving,
    check_translate,
)
from models.conformance.tools import COUNTED, THREE, TWO, ConformanceError, describe_error
from models.conformance.training import check_gradients, check_incomplete, check_loss, check_starts
from models.registry import ModelEntry

__all__ = ["CHECKS", "COUNTED", "THREE", "TWO", "ConformanceError", "check_model"]

Check = Callable[[ModelEntry, Sequence[Modality]], None]

CHECKS: dict[str, Check] = {
    "construction": check_construction,
    "loss": check_loss,
    "starts": check_starts,
    "gradients": check_gradients,
    "incomplete": check_incomplete,
    "generate": check_generate,
    "translate": check_translate,
    "embed": check_embed,
    "log_weights": check_log_weights,
    "saving": check_saving,
}
"""Each raises ConformanceError for a model that does not pass."""


def check_model(entry: ModelEntry) -> Iterator[tuple[str, str | None]]:
    """Run every check with two and three modalities: yields what was checked, and what is wrong or None.

    Models that take two modalities only are checked with two. Where a model cannot be built, its other checks
    are left out.
    """
    passed_with_two = set()
    for modalities in (TWO, THREE):
        if not entry.takes(len(modalities)):
            continue
        for name, check in CHECKS.items():
            if check is check_incomplete and not entry.incomplete:
                continue
            problem = _problem(check, entry, modalities)
            if modalities is TWO and not problem:
                passed_with_two.add(name)
            if modalities is THREE and problem and name in passed_with_two:
                problem += (
                    " With two modalities all is well: "
                    "treat any number of them alike, in loops over self.modalities."
                )
            yield f"{name}, {len(modalities)} modalities", problem
            if problem and name == "construction":
                break


def _problem(check: Check, entry: ModelEntry, modalities: Sequence[Modality]) -> str | None:
    """What `check` finds wrong, None where it finds nothing."""
    try:
        check(entry, modalities)
    except ConformanceError as error:
        return str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # what a model returns may break a check in ways that it does not foresee
        return f"The check broke down on what the model returned: {describe_error(error)}"
    return None
