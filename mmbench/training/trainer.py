"""Training: the stages of a model over batches. It is checkpointed and resumes to the bit.

No step waits for the device: losses are read once per row of the history.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from mmbench.data.batches import Batches
from mmbench.plan.presets import Training
from mmbench.training.checkpoints import Checkpoints
from mmbench.training.compiled import Compiled
from mmbench.training.denormals import flushed_denormals
from mmbench.training.kept import make_kept
from mmbench.training.memory import keep_freed_memory
from mmbench.training.recorded import WARM_UPS, RecordedStep, wait_for
from mmbench.training.step import Terms, TrainStep
from models.base import MultimodalModel, Stage
from models.errors import InputError

__all__ = ["DivergedError", "Trainer", "Watch"]

CHECKPOINT_SECONDS = 120.0
LOG_EVERY = 50  # steps between two rows of history, where the budget is long enough


class DivergedError(RuntimeError):
    """A loss term turned NaN or infinite."""


class _Recorder:
    """Keeps the loss terms of a few steps on the device, so that the host waits for them once per row of
    history and not per step.

    Attributes:
        names: of the terms of each step; batches without a modality lack some.
        rows: their values.
    """

    def __init__(self, names: list[list[str]], rows: list[Tensor]):
        self.names, self.rows = names, rows

    def add(self, terms: Terms) -> None:
        self.names.append(terms.names)
        self.rows.append(terms.values)

    def flush(self, step: int) -> dict[str, float]:
        """Means over the recorded steps, of which `step` is the last.

        Of a term that only some of the steps have, the mean is over those.
        """
        first = step - len(self.rows) + 1
        found = [(first + row, name) for row, names in enumerate(self.names) for name in names]
        values = torch.cat(self.rows).tolist()
        self.names.clear()
        self.rows.clear()
        terms: dict[str, list[float]] = {}
        for (when, name), value in zip(found, values, strict=True):
            if not math.isfinite(value):
                raise DivergedError(f"{name} became {value} at step {when}: try a lower learning_rate.")
            terms.setdefault(name, []).append(value)
        return {name: fmean(recorded) for name, recorded in terms.items()}


@dataclass
class Watch:
    """What a trainer tells and asks while it trains. Every field may be left as it is.

    Attributes:
        report: called with (steps done, row) after every row of history.
        stop: asked after every step; once it says True, the trainer writes a checkpoint and returns.
        say: told about checkpoints that are damaged and not used.
        look: gives numbers by name after a step, which become part of that row of the history; it leaves the
            weights and torch's random state as they were.
        looks: how many times `look` is called, at evenly spaced steps of which the last is the end.
        score: the figure of a look, the higher the better, by which weights are kept where they are; a look
            without one keeps none.
    """

    report: Callable[[int, dict[str, Any]], object] = lambda step, row: None
    stop: Callable[[], bool] = lambda: False
    say: Callable[[str], object] = print
    look: Callable[[int], Mapping[str, float]] = lambda step: {}
    looks: int = 0
    score: Callable[[Mapping[str, float]], float | None] | None = None


class Trainer:
    """Trains one model and keeps its checkpoint.

    Args:
        model: on its device, freshly made; where a checkpoint is found, its weights take the place of the
            initial ones.
        batches: batch number `step` is a function of the step alone, so that a resumed run sees what an
            unbroken one sees.
        config: the budget.
        checkpoints: where the state is written every two minutes and at the end; None keeps none.
        precision: "fp32", or "bf16" for autocast to bfloat16 in the loss; weights, gradients and the
            optimiser stay in float32.
        watch: what is told and asked meanwhile.
        step: how steps are made, one of STEPS: "eager", operation by operation; "captured", recorded once as
            a CUDA graph; "compiled", the loss through torch.compile, and recorded on a GPU.

    Attributes:
        seconds, look_seconds, compile_seconds: what training took up to the last checkpoint, over all
            sittings; what looks took; and what preparing other steps than eager ones took, of which the
            first few steps are a part.
        compile_steps: how many these are, which no rate of training should count.
        kept: the weights that training ends with, where these are not the last ones; else None.
    """

    def __init__(
        self,
        model: MultimodalModel,
        batches: Batches,
        config: Training,
        checkpoints: Checkpoints | None = None,
        precision: str = "fp32",
        watch: Watch | None = None,
        step: str = "eager",
    ):
        self.model, self.batches, self.config, self.checkpoints = model, batches, config, checkpoints
        self.watch = watch or Watch()
        self.low_precision = precision == "bf16"
        self.stages = model.stages()
        self.kind = step
        self.step = 0
        self.seconds = self.look_seconds = self.compile_seconds = 0.0
        self.compile_steps = 0
        self._others = 0.0  # seconds of this sitting that are not training's
        self.history: list[dict[str, Any]] = []
        self.recorder = _Recorder([], [])
        self.made: TrainStep | None = None  # that of the stage
        self.log_every = max(1, min(LOG_EVERY, config.steps // 20))
        self.kept = make_kept(config, self.stages)
        self.keeping = self._look_steps(self.kept.looks if self.kept else 0)
        self.looks = self._look_steps(self.watch.looks) | self.keeping

    def run(self) -> bool:
        """Train to the end of the budget, from the checkpoint if there is one; False when stopped before."""
        keep_freed_memory()
        with flushed_denormals():
            return self._run_stages()

    def _run_stages(self) -> bool:
        """All stages that are left; False when stopped before the end."""
        saved = self._restore()
        self._began = time.monotonic() - self.seconds
        self.model.train()
        first = 0
        for index, stage in enumerate(self.stages):
            share = sum(s.share for s in self.stages[: index + 1])
            last = self.config.steps if index == len(self.stages) - 1 else round(share * self.config.steps)
            if self.step < last:
                self.made = TrainStep(stage, self.batches, self.config.learning_rate, self.low_precision)
                if saved and saved["stage"] == index:
                    self.made.load(saved["optimizer"]["state"])
                else:
                    self._start(stage)
                if not self._run_stage(index, stage, first, last):
                    return False
            first = last
        return True

    def _start(self, stage: Stage) -> None:
        """What the stage does before its first step, in full precision."""
        if stage.start is not None:
            begun = self.step
            with torch.no_grad():
                stage.start(lambda number: self.batches.batch(begun + number))

    def _look_steps(self, count: int) -> frozenset[int]:
        """`count` steps, evenly spaced up to the last as far as the history has rows there."""
        rows = -(-self.config.steps // self.log_every)
        return frozenset(
            min(-(-rows * (k + 1) // count) * self.log_every, self.config.steps) for k in range(count)
        )

    def _stepping(self) -> Callable[[tuple[str, ...]], Terms]:
        """The step of the stage, made as it is to be made."""
        assert self.made is not None
        if self.kind == "compiled":
            self.made.loss = Compiled(self.made.loss, self.watch.say)
        if self.kind == "eager" or self.batches.device.type != "cuda":
            make: Callable[[tuple[str, ...]], Terms] = self.made
        else:
            make = RecordedStep(self.made, self.model, self.watch.say)
        return make if self.kind == "eager" else self._counting(make)

    def _counting(self, make: Callable[[tuple[str, ...]], Terms]) -> Callable[[tuple[str, ...]], Terms]:
        """`make`, with the first calls of every kind of batch timed: those that compile and record."""
        calls: Counter[tuple[str, ...]] = Counter()

        def step(names: tuple[str, ...]) -> Terms:
            if calls[names] > WARM_UPS:
                return make(names)
            calls[names] += 1
            began = time.monotonic()
            terms = make(names)
            wait_for(self.batches.device)
            self.compile_seconds += self._other(began)
            self.compile_steps += 1
            return terms

        return step

    def _other(self, began: float) -> float:
        """The seconds since `began`, which were not training's."""
        seconds = time.monotonic() - began
        self._others += seconds
        return seconds

    def _run_stage(self, index: int, stage: Stage, first: int, last: int) -> bool:
        """Steps `self.step` to `last` of a stage that began at `first`; False when stopped before its end."""
        assert self.made is not None
        make = self._stepping()
        saved_at = time.monotonic()
        while self.step < last:
            progress = (self.step - first) / (last - first)
            # 10 % less after 40 % and after 80 % of the steps
            rate = self.config.learning_rate * 0.9 ** ((progress >= 0.4) + (progress >= 0.8))
            if self.step + 1 in self.looks:
                self._save(index)  # a look takes seconds: one that is stopped or killed is all that is lost
            names, start = self.batches.place(self.step)
            self.made.move(start, progress, rate)
            self.recorder.add(make(names))
            self.step += 1
            if self.kept:
                self.kept.after_step(self.step, self.model)
            if self.step % self.log_every == 0 or self.step == last:
                row = {
                    "step": self.step,
                    "stage": stage.name,
                    "learning_rate": rate,
                    **self.recorder.flush(self.step),
                }
                if self.step in self.looks:
                    row |= self._look()
                self.history.append(row)
                self.watch.report(self.step, row)
            if self.kept and self.step == self.config.steps:
                self.kept.give_back(self.model)
            stopping = self.watch.stop()
            if stopping or self.step == last or time.monotonic() - saved_at > CHECKPOINT_SECONDS:
                self._save(index)
                saved_at = time.monotonic()
            if stopping and self.step < self.config.steps:
                return False
        return True

    def _look(self) -> Mapping[str, float]:
        """What a look finds, which may decide what weights are kept."""
        began = time.monotonic()
        found = self.watch.look(self.step)
        if self.kept and self.watch.score and self.step in self.keeping:
            self.kept.after_look(self.step, self.watch.score(found), self.model)
        self.look_seconds += self._other(began)
        return found

    def _save(self, stage: int) -> None:
        """Write a checkpoint in the middle or at the end of a stage."""
        if self.checkpoints is None:
            return
        assert self.made is not None
        device = next(self.model.parameters()).device
        wait_for(device)
        self.seconds = time.monotonic() - self._began - self._others
        state = {
            "seconds": self.seconds,
            "look_seconds": self.look_seconds,
            "compile_seconds": self.compile_seconds,
            "compile_steps": self.compile_steps,
            "stage": stage,
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizer": self.made.optimizer.state_dict(),
            "history": self.history,
            "kept": self.kept.state() if self.kept else None,
            "recorded": {"names": self.recorder.names, "rows": [row.cpu() for row in self.recorder.rows]},
            "cpu_random_state": torch.get_rng_state(),
            "cuda_random_state": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        }
        self.checkpoints.save(state)

    def _restore(self) -> dict[str, Any] | None:
        """Take up the checkpoint where there is one."""
        saved = self.checkpoints.restore(self.model, self.watch.say) if self.checkpoints else None
        if saved is None:
            return None
        self.step, self.seconds, self.history = saved["step"], saved["seconds"], saved["history"]
        # older checkpoints have all of it in `seconds`
        self.look_seconds = saved.get("look_seconds", 0.0)
        self.compile_seconds = saved.get("compile_seconds", 0.0)
        self.compile_steps = saved.get("compile_steps", 0)
        device = next(self.model.parameters()).device
        self._restore_kept(saved.get("kept"), device)
        self.recorder = _Recorder(
            saved["recorded"]["names"], [row.to(device) for row in saved["recorded"]["rows"]]
        )
        torch.set_rng_state(saved["cpu_random_state"])
        if saved["cuda_random_state"] is not None:
            torch.cuda.set_rng_state(saved["cuda_random_state"], device)
        return saved

    def _restore_kept(self, state: dict[str, Any] | None, device: torch.device) -> None:
        """Take up the kept weights of a checkpoint, of a training that keeps the same."""
        if (self.kept.state().keys() if self.kept else None) != (state.keys() if state else None):
            raise InputError(
                f"The checkpoint is of a training with another `keep` than {self.config.keep}: go on with "
                "that one, or take another file."
            )
        if self.kept and state:
            self.kept.load(state, device)
