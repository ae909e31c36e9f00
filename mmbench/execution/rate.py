"""How long a training step takes here, of one run or of several at once; how many at once suit a GPU."""

import time
from collections.abc import Callable
from statistics import fmean

import torch

from mmbench.console import Console
from mmbench.data.base import MultimodalData
from mmbench.execution.signals import Stop
from mmbench.execution.together import take_turns
from mmbench.execution.train import make_batches
from mmbench.plan.config import RunConfig
from mmbench.training.recorded import WARM_UPS, wait_for
from mmbench.training.trainer import Trainer, Watch

__all__ = ["best_jobs", "fastest", "seconds_per_step"]

MEASURE_SECONDS = 1.0  # of training steps behind a figure
WAIT_EVERY = 10  # steps between two waits for a GPU, which would do nothing else meanwhile
COUNTS = (1, 2, 4, 8)  # of runs at once that are tried on a GPU
LEAST_GAIN = 1.1  # by which more runs at once have to raise the steps per second of all
ROOM = 0.5  # of a GPU's memory that training may take: evaluation takes more than it


def seconds_per_step(
    config: RunConfig,
    data: MultimodalData,
    device: torch.device,
    stop: Stop,
    step: str = "eager",
    at_once: int = 1,
) -> float:
    """Measured over some training steps after the first ones, with models that are thrown away.

    Fewer steps are made once `stop` holds a signal, and a training that is too short gives 0. Steps that
    are to be compiled are measured as recorded: compiling would take longer than the measurement is worth.

    Args:
        config, data, device, step: of the training.
        stop: asked after every step.
        at_once: runs that take turns, each of which takes so long for a step while the others run too.

    Raises:
        RuntimeError: where one of several runs at once fails; of one, whatever it raises.
    """
    if at_once == 1:
        return _seconds(config, data, device, stop, step)
    found: list[float] = []
    problems: list[str] = []

    def work(number: int, console: Console, turn: Stop) -> bool:
        found.append(_seconds(config, data, device, turn, step))
        return True

    def lost(number: int, how: str) -> None:
        problems.append(how)

    take_turns(range(at_once), work, at_once, device, Console(), stop, lost)
    if problems:
        raise RuntimeError(problems[0])
    return fmean(found)


def _seconds(config: RunConfig, data: MultimodalData, device: torch.device, stop: Stop, step: str) -> float:
    """`seconds_per_step` of one run."""
    first = WARM_UPS + 1 if step != "eager" and device.type == "cuda" else 0  # the last of those that record
    model = config.entry.build(data.modalities, config.settings, data.class_count).to(device)
    batches = make_batches(config, data, 0, device)
    made = 0
    waited: list[tuple[int, float]] = []  # steps made by then, and when

    def enough() -> bool:
        nonlocal made
        made += 1
        if made > first and (device.type != "cuda" or (made - first) % WAIT_EVERY == 1):
            wait_for(device)
            waited.append((made, time.monotonic()))
        return stop.asked() or (len(waited) > 1 and waited[-1][1] - waited[0][1] > MEASURE_SECONDS)

    watch = Watch(stop=enough, say=lambda line: None)
    kind = "captured" if first else "eager"
    Trainer(model, batches, config.training, None, config.precision, watch, kind).run()
    if len(waited) < 2:
        return 0.0
    (before, began), (after, ended) = waited[0], waited[-1]
    return (ended - began) / (after - before)


def best_jobs(config: RunConfig, data: MultimodalData, device: torch.device, step: str, runs: int) -> int:
    """How many runs like `config` an NVIDIA GPU makes at once, measured; 1 where it cannot be trained."""
    if runs < 2:
        return 1

    def rate(count: int) -> float:
        try:
            seconds = seconds_per_step(config, data, device, Stop(), step, count)
        except KeyboardInterrupt:
            raise
        except BaseException:  # whatever a model raises, sys.exit() too: its run says why
            return 0.0
        return count / seconds if seconds else 0.0

    def fits(count: int, measured: int) -> bool:
        held = torch.cuda.max_memory_reserved(device) / measured * count
        return held < ROOM * torch.cuda.get_device_properties(device).total_memory

    return fastest(runs, rate, fits)


def fastest(runs: int, rate: Callable[[int], float], fits: Callable[[int, int], bool]) -> int:
    """The first of COUNTS after which more runs at once make hardly more steps per second, or have no room.

    Args:
        runs: there are to make.
        rate: steps per second of so many at once, of all together.
        fits: whether so many have room, by what the measured number of them has taken.
    """
    best, most = 1, 0.0
    for count in sorted({min(count, runs) for count in COUNTS}):
        if count > 1 and not fits(count, best):
            break
        found = rate(count)
        if found <= LEAST_GAIN * most:
            break
        best, most = count, found
    return best
