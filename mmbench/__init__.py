"""mmbench: a benchmark suite for multimodal generative models.

In a notebook:

    import mmbench

    data = mmbench.load_data("digits")
    model = mmbench.make_model("cnf-mvae", data, latent_size=20)
    history = mmbench.train(model, data, steps=50)
    found = mmbench.evaluate(model, data, metrics=["coherence"])
    mmbench.sample_grid(model, data, "samples.png")
    results = mmbench.load_results("results")

On the command line: `mmbench --help`.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmbench.api import evaluate, load_data, load_model, load_results, make_model, sample_grid, train

__all__ = ["evaluate", "load_data", "load_model", "load_results", "make_model", "sample_grid", "train"]
__version__ = "0.1.0"


def _check_siblings() -> None:
    """`models` and `metrics` are common names: stop with a sentence if something else answers to them."""
    home = Path(__file__).resolve().parents[1]
    for name in ("models", "metrics"):
        spec = find_spec(name)
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        if found != home / name / "__init__.py":
            raise ImportError(
                f"mmbench needs its own package {name!r} ({home / name}), but "
                f"{found or 'no regular package'} answers to that name: "
                "rename it, or start Python where it is not on the path."
            )


def _include_adapters() -> None:
    """Models of other libraries register as those of the suite do: when their modules are imported."""
    from models.registry import MODELS

    MODELS.include("mmbench.adapters")


_check_siblings()
_include_adapters()


def __getattr__(name: str) -> Any:
    """The functions of `mmbench.api`, imported when one of them is needed: torch and pandas take seconds."""
    if name in __all__:
        from mmbench import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
