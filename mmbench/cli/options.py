"""Options that commands share, in the groups that `--help` shows them in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from metrics.catalogue import GROUPS

__all__ = [
    "RESULTS",
    "Command",
    "jobs_option",
    "model_file_option",
    "on_a_cluster",
    "option",
    "precision_option",
]
__all__ += ["data_dir_option", "data_file_option", "device_option", "measured", "results_option"]
__all__ += ["step_option"]

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
Decorator = Callable[[FunctionT], FunctionT]

RESULTS = "results"
WHAT, MEASURE, WHERE, HOW, CLUSTER = "What to run", "What to measure", "Where", "How", "On a Ray cluster"
PATH = click.Path(path_type=Path)


class Command(click.Command):
    """A command whose help shows its options in groups, in the order in which the groups first appear."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if record := parameter.get_help_record(ctx):
                groups.setdefault(getattr(parameter, "group", "Help"), []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)


class _Option(click.Option):
    """An option with a group."""

    def __init__(self, *names: Any, group: str, **settings: Any):
        super().__init__(*names, **settings)
        self.group = group


def option(*names: str, group: str, **settings: Any) -> Decorator[Any]:
    """`click.option` in a group of the help."""
    return click.option(*names, cls=_Option, group=group, **settings)


def _all_of(*decorators: Decorator[Any]) -> Decorator[Any]:
    """One decorator for several options, in their order."""

    def decorate(function: Any) -> Any:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


model_file_option = option(
    "--model-file",
    "model_files",
    group=WHAT,
    multiple=True,
    type=PATH,
    help="Python file that registers models of your own; may be repeated.",
)
data_file_option = option(
    "--data-file",
    group=WHAT,
    type=PATH,
    help="An .npz or a folder of your own in the place of a data set (see docs/own-data.md).",
)
measured = _all_of(
    option(
        "--metrics",
        group=MEASURE,
        help=f"Only these, comma-separated: {', '.join(GROUPS)} (default: the preset's own).",
    ),
    option(
        "--inception-weights",
        group=MEASURE,
        type=PATH,
        help="File of pytorch-fid's Inception weights, for FID.",
    ),
)
results_option = option(
    "--results", group=WHERE, type=PATH, default=RESULTS, show_default=True, help="Folder of the results."
)
data_dir_option = option(
    "--data-dir", group=WHERE, type=PATH, help="Folder of the images (default: MMBENCH_DATA)."
)
device_option = option(
    "--device", group=HOW, default="auto", show_default=True, help="auto, cpu, cuda or mps."
)
precision_option = option(
    "--precision",
    group=HOW,
    default="auto",
    show_default=True,
    help="fp32, bf16, or auto: bf16 where the device has it.",
)
step_option = option(
    "--step",
    group=HOW,
    default="auto",
    show_default=True,
    help="How training steps are made: eager, captured, compiled, or auto.",
)
jobs_option = option(
    "--jobs",
    group=HOW,
    type=int,
    help="Runs at once (default: one per core; on a GPU what a measurement says).",
)
on_a_cluster = _all_of(
    option(
        "--executor",
        group=CLUSTER,
        default="local",
        show_default=True,
        help="Where runs are made: local, or ray for a Ray cluster.",
    ),
    option(
        "--ray-address",
        group=CLUSTER,
        help="Address of the cluster (default: auto, the one that this machine belongs to).",
    ),
    option(
        "--cpus-per-run",
        group=CLUSTER,
        type=int,
        help="CPUs of its node that a run takes, and threads (default: 1).",
    ),
    option(
        "--gpus-per-run",
        group=CLUSTER,
        type=float,
        help="GPUs of its node that a run takes: 1, or a share of one (default: 0).",
    ),
)
