"""Models of two parameters, trained one after the other."""

from dataclasses import dataclass

import torch
from training_setup import make_trainer

from models.base import Loss, MultimodalModel, Stage
from models.conformance import TWO
from models.settings import setting


@dataclass(frozen=True)
class NoSettings:
    bad_step: int = setting(-1, "progress at which a term turns NaN")


class TwoStages(MultimodalModel):
    """Two parameters, one per stage; records the progress that each stage sees."""

    def __init__(self, modalities, settings):
        super().__init__(modalities, settings)
        self.first, self.second = torch.nn.Parameter(torch.ones(())), torch.nn.Parameter(torch.ones(()))
        self.seen = {"one": [], "two": []}

    def stages(self):
        return (
            Stage(
                "one", 0.25, lambda batch, progress: self._loss("one", self.first, progress), (self.first,)
            ),
            Stage(
                "two", 0.75, lambda batch, progress: self._loss("two", self.second, progress), (self.second,)
            ),
        )

    def _loss(self, stage, parameter, progress):
        self.seen[stage].append(float(progress))
        bad = (
            torch.tensor(float("nan"))
            if len(self.seen["one"]) + len(self.seen["two"]) - 1 == self.settings.bad_step
            else torch.zeros(())
        )
        return Loss(parameter.square() + bad, {"fine": torch.ones(()), "term": bad})

    def loss(self, batch, progress): ...

    def generate(self, n, generator): ...

    def translate(self, inputs, targets, sample=False, generator=None): ...

    def embed(self, inputs): ...


class Noisy(TwoStages):
    """Its weights depend on every draw of noise since the beginning."""

    def _loss(self, stage, parameter, progress):
        return Loss((parameter - torch.randn(())).square(), {"term": parameter.detach()})


def train_noisy(batches, folder, stop_at=None, lines=None):
    """A training of 40 steps, to the end or to its stop."""
    torch.manual_seed(5)
    trainer = make_trainer(Noisy(TWO, NoSettings()), batches, folder, steps=40)
    trainer.watch.say = print if lines is None else lines.append
    trainer.watch.stop = lambda: trainer.step == stop_at
    assert trainer.run() is (stop_at is None)
    torch.randn(3)
    return trainer


def same(a, b):
    return (
        a.history == b.history
        and torch.equal(a.model.first, b.model.first)
        and torch.equal(a.model.second, b.model.second)
    )
