"""Training steps on an NVIDIA GPU, recorded as CUDA graphs and repeated: the host launches one thing a step.

A step of CNF-MVAE is some thousand kernels of a few microseconds each, and launching them one by one takes
the host several times as long as the GPU needs to compute them.

A model that cannot be recorded is found out before its numbers are: steps in which torch tells of every wait
for the host come first, and what is recorded is compared with what it was recorded from.
"""

import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from mmbench.training.step import Terms, TrainStep
from models.errors import error_words

__all__ = ["WARM_UPS", "RecordedStep", "Saved", "unlike"]

WARM_UPS = 3  # steps that torch and its libraries allocate in, made one by one and part of the training
COMPARED = 2  # steps made both ways
TOLERANCE = 1e-3  # relative, of losses: sums whose order a GPU leaves open differ by some 1e-6


class RecordedStep:
    """A `TrainStep` that is repeated from CUDA graphs, one for every set of modalities of a batch.

    The first steps with a set are made one by one. Where the step cannot be recorded, all are.

    Args:
        step: on an NVIDIA GPU.
        model: whose parameters and buffers it changes.
        say: told why the step is not recorded.
        graphs: records; by default CUDA graphs.
    """

    def __init__(
        self,
        step: TrainStep,
        model: nn.Module,
        say: Callable[[str], object],
        graphs: "CudaGraphs | None" = None,
    ):
        self.step, self.model, self.say = step, model, say
        self.graphs = graphs or CudaGraphs(step.batches.device)
        self.recorded: dict[tuple[str, ...], tuple[Callable[[], object], Terms]] = {}
        self.made: Counter[tuple[str, ...]] = Counter()
        self.possible = True

    def __call__(self, names: tuple[str, ...]) -> Terms:
        if self.possible and names not in self.recorded and self.made[names] >= WARM_UPS:
            self._record(names)
        if names in self.recorded:
            repeat, terms = self.recorded[names]
            repeat()
            return Terms(terms.names, terms.values.clone())  # the next repetition writes over them
        self.made[names] += 1
        with self.graphs.aside():
            last = self.possible and self.made[names] == WARM_UPS
            return self._watched(names) if last else self.step(names)

    def _watched(self, names: tuple[str, ...]) -> Terms:
        """A step that raises where the host would wait; it is then made again, as are all to come."""
        before = Saved(self.step, self.model)
        try:
            with self.graphs.no_waiting():
                return self.step(names)
        except RuntimeError as error:
            before.restore()
            self._give_up(error_words(error).splitlines()[0], error)
            return self.step(names)

    def _record(self, names: tuple[str, ...]) -> None:
        """Record the step, and compare; afterwards all is as before."""
        before = Saved(self.step, self.model)
        try:
            self.step.optimizer.zero_grad(set_to_none=True)
            repeat, terms = self.graphs.record(lambda: self.step(names))
            one_by_one = torch.stack([self.step(names).values for _ in range(COMPARED)])
        except RuntimeError as error:
            before.restore()
            cause = _first(error)
            self._give_up(error_words(cause).splitlines()[0], cause)
            return
        before.restore()
        repeated = []
        for _ in range(COMPARED):
            repeat()
            repeated.append(terms.values.clone())
        before.restore()
        if term := unlike(one_by_one, torch.stack(repeated), terms.names):
            self._give_up(f"repeated, its {term} differs, so something in it changes outside of the GPU")
        else:
            self.recorded[names] = repeat, terms

    def _give_up(self, why: str, error: BaseException | None = None) -> None:
        """Record nothing from now on, and say why and where."""
        self.possible = False
        self.recorded.clear()
        place = f", at {line}" if error is not None and (line := _line_of(error)) else ""
        self.say(
            f"Training steps of {type(self.model).__name__} cannot be recorded ({why}{place}): they are made "
            "one by one, which is several times slower on a GPU."
        )


def unlike(expected: Tensor, found: Tensor, names: list[str]) -> str | None:
    """The first of the loss terms, in columns, that differs by more than rounding; None where none does."""
    error = (expected - found).abs()
    bound = TOLERANCE * expected.abs().clamp_min(1e-3)
    wrong = (~(error <= bound)).any(0) & ~(expected.isnan() & found.isnan()).all(0)
    return next((name for name, is_wrong in zip(names, wrong.tolist(), strict=True) if is_wrong), None)


def wait_for(device: torch.device) -> None:
    """Wait until an NVIDIA GPU has done what this thread gave it; other devices need no wait to be timed."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()


class Saved:
    """What a step changes, as it was: parameters, buffers, Adam's moments and torch's random states.

    It goes back into the same memory, which is what graphs read and write.
    """

    def __init__(self, step: TrainStep, model: nn.Module):
        self.device = step.batches.device
        state = step.optimizer.state.values()
        self.moments = {id(found): {key: x.clone() for key, x in found.items()} for found in state}
        self.optimizer = step.optimizer
        self.tensors = [(x, x.detach().clone()) for x in (*model.parameters(), *model.buffers())]
        self.cpu = torch.get_rng_state()
        self.cuda = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None

    @torch.no_grad()
    def restore(self) -> None:
        """Put it back."""
        for tensor, was in self.tensors:
            tensor.copy_(was)
        for found in self.optimizer.state.values():
            for key, was in self.moments.get(id(found), {}).items():
                found[key].copy_(was)
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda, self.device)


class CudaGraphs:
    """Records calls as CUDA graphs, and makes those that come before on the stream of the recording.

    Args:
        device: an NVIDIA GPU.
    """

    def __init__(self, device: torch.device):
        # A stream of this thread's own is recorded on itself: torch has 32 streams that it hands out in turn,
        # and graphs recorded on the same one share the workspace of its matrix products.
        current = torch.cuda.current_stream(device)
        shared = current == torch.cuda.default_stream(device)  # which cannot be recorded
        self.stream = torch.cuda.Stream(device) if shared else current

    @contextmanager
    def aside(self) -> Iterator[None]:
        """On the stream of the recording: what backward remembers of a parameter belongs to a stream."""
        current = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            yield
        current.wait_stream(self.stream)

    def record(self, call: Callable[[], Terms]) -> tuple[Callable[[], object], Terms]:
        """What repeats `call`, which is not made by recording it, and where it leaves what it returns."""
        graph = torch.cuda.CUDAGraph()
        before = torch.cuda.current_stream(self.stream.device)
        try:
            with torch.cuda.graph(graph, stream=self.stream):
                terms = call()
        except BaseException:
            torch.cuda.set_stream(before)  # torch leaves its own, where ending the recording fails too
            generator = torch.cuda.default_generators[self.stream.device.index or 0]
            generator.graphsafe_set_state(generator.clone_state())  # the old one believes to be recorded
            raise
        return graph.replay, terms

    @contextmanager
    def no_waiting(self) -> Iterator[None]:
        """Inside, torch raises a RuntimeError where the host would wait for the GPU."""
        before = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that this mode does not find every wait
            torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)


def _first(error: BaseException) -> BaseException:
    """The error that came first: that of ending a recording hides the one that broke it."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def _line_of(error: BaseException) -> str:
    """The innermost line of the error that is not torch's: file, number and text."""
    torch_home = Path(torch.__file__).parent
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if torch_home not in Path(frame.filename).parents:
            return f"{Path(frame.filename).name}:{frame.lineno}, `{frame.line}`"
    return ""
