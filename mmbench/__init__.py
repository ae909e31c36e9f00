"""mmbench: a benchmark suite for multimodal variational autoencoders."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

__all__ = ["load_results"]
__version__ = "0.1.0"

if TYPE_CHECKING:
    from mmbench.report.numbers.results import load_results


def _check_siblings() -> None:
    """`models` and `metrics` are common names: stop with a sentence if something else answers to them."""
    home = Path(__file__).resolve().parents[1]
    for name in ("models", "metrics"):
        spec = find_spec(name)
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        if found != home / name / "__init__.py":
            raise ImportError(
                f"mmbench needs its own package {name!r} ({home / name}), but {found or 'no regular package'} answers to that name: "
                "rename it, or start Python where it is not on the path."
            )


_check_siblings()


def __getattr__(name: str) -> Any:
    if name == "load_results":  # pandas is imported when it is needed
        from mmbench.report.numbers.results import load_results

        return load_results
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
