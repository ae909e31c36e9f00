"""Steps that are recorded once and repeated, with a stand-in for CUDA graphs: what is not CUDA's own."""

from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch._dynamo.exc import TorchDynamoException
from training_setup import make_batches, make_model, make_trainer

from mmbench.data.base import Split
from mmbench.data.batches import Batches
from mmbench.execution.recordable import why_not_recorded
from mmbench.training.compiled import Compiled
from mmbench.training.recorded import WARM_UPS, RecordedStep, Saved, unlike
from mmbench.training.step import Terms, TrainStep
from models.base import Loss
from models.conformance import TWO
from models.names import find_models

STEPS = 6
every_model = pytest.mark.parametrize("entry", find_models("all"), ids=lambda entry: entry.name)


class Graphs:
    """Repeats a call by making it again; while it is recorded, nothing changes."""

    def __init__(self, step, model):
        self.step, self.model, self.made, self.strict = step, model, 0, False

    def aside(self):
        return nullcontext()

    def record(self, call):
        before = Saved(self.step, self.model)
        terms = call()
        before.restore()
        self.made += 1

        def repeat():
            terms.values.copy_(call().values)

        return repeat, terms

    @contextmanager
    def no_waiting(self):
        self.strict = True
        yield
        self.strict = False


def train(model, step, make, batches, steps=STEPS):
    """The loss of every step, its terms by name."""
    found = []
    for number in range(steps):
        names, start = batches.place(number)
        step.move(start, number / steps, 1e-3)
        terms = make(names)
        found.append(dict(zip(terms.names, terms.values.tolist(), strict=True)))
    return found


def eager(model, batches, steps=STEPS):
    """What `train` finds, step by step."""
    torch.manual_seed(5)
    step = TrainStep(model.stages()[0], batches, 1e-3, False)
    return train(model, step, step, batches, steps)


def recorded(model, batches, graphs=Graphs, steps=STEPS):
    """As `eager`, and the recorded step, and what it said."""
    torch.manual_seed(5)
    step, lines = TrainStep(model.stages()[0], batches, 1e-3, False), []
    make = RecordedStep(step, model, lines.append, graphs(step, model))
    return train(model, step, make, batches, steps), make, lines


def assert_same_weights(one, other):
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@every_model
def test_a_recorded_training_is_the_eager_one(entry):
    """Steps that warm up count, and comparing leaves weights, moments and noise as they were."""
    one, other = make_model(entry), make_model(entry)
    batches = make_batches(labels=entry.uses_labels)
    expected = eager(one, batches)
    found, make, lines = recorded(other, batches)
    assert found == expected
    assert_same_weights(one, other)
    assert lines == []
    assert make.graphs.made == 1


def test_the_error_that_broke_a_recording_is_named():
    """Not that of ending it, which torch raises in its place."""

    class Broken(Graphs):
        def record(self, call):
            try:
                raise RuntimeError("this waits for the host")
            except RuntimeError as error:
                failed = RuntimeError("operation failed due to a previous error")
                failed.__context__ = error
            raise failed

    entry = find_models("mvae")[0]
    one, other = make_model(entry), make_model(entry)
    found, make, lines = recorded(other, make_batches(), Broken)
    assert found == eager(one, make_batches())
    assert not make.possible
    assert "(RuntimeError: this waits for the host, at test_recorded.py:" in lines[0]


def two_kinds():
    """Batches of which some lack a modality."""
    generator = torch.Generator().manual_seed(0)
    items = {m.name: torch.randint(256, (40, *m.shape), dtype=torch.uint8, generator=generator) for m in TWO}
    pairs = torch.randint(40, (100, 2), generator=generator)
    pairs[::2, 1] = -1
    classes = {name: torch.zeros(40, dtype=torch.int64) for name in items}
    return Batches(Split(items, classes, pairs), TWO, 8, seed=3)


def test_each_kind_of_batch_is_recorded_apart():
    entry = next(each for each in find_models("all") if each.incomplete)
    one, other = make_model(entry), make_model(entry)
    expected = eager(one, two_kinds(), 3 * WARM_UPS + 4)
    found, make, lines = recorded(other, two_kinds(), steps=3 * WARM_UPS + 4)
    assert found == expected
    assert lines == []
    assert make.graphs.made == 2


def counting(model):
    """`model`, whose loss depends on a number of Python that each call changes."""
    whole, calls = model.loss, []

    def loss(batch, progress):
        calls.append(1)
        total, terms = whole(batch, progress)
        return Loss(total * (1 + 0.1 * len(calls)), terms)

    model.loss = loss
    return model


def test_a_step_that_changes_on_the_host_is_found_out():
    entry = find_models("mopoe")[0]
    found, make, lines = recorded(counting(make_model(entry)), make_batches())
    assert not make.recorded
    assert [line.split(":")[0] for line in lines] == [
        "Training steps of MoPoE cannot be recorded (repeated, its loss differs, so something in it changes "
        "outside of the GPU)"
    ]
    assert len(found) == STEPS


def test_a_step_that_waits_for_the_host_is_made_one_by_one_and_named():
    entry = find_models("mopoe")[0]
    one, other = make_model(entry), make_model(entry)
    batches = make_batches()
    expected = eager(one, batches)
    torch.manual_seed(5)
    step, lines = TrainStep(other.stages()[0], batches, 1e-3, False), []
    graphs, whole = Graphs(step, other), step.loss

    def loss(batch, progress):
        torch.randn(3)  # noise is drawn before the wait is noticed
        if graphs.strict:
            graphs.strict = False
            raise RuntimeError("called a synchronizing CUDA operation")
        torch.set_rng_state(state)
        return whole(batch, progress)

    def make(names):
        nonlocal state
        state = torch.get_rng_state()
        return recording(names)

    state = None
    step.loss, recording = loss, RecordedStep(step, other, lines.append, graphs)
    assert train(other, step, make, batches) == expected
    assert_same_weights(one, other)
    assert len(lines) == 1
    assert "called a synchronizing CUDA operation, at test_recorded.py:" in lines[0]
    assert graphs.made == 0


def test_a_step_that_no_graph_takes_is_made_one_by_one():
    class Refusing(Graphs):
        def record(self, call):
            call()
            raise RuntimeError("operation not permitted when stream is capturing")

    entry = find_models("mvae")[0]
    one, other = make_model(entry), make_model(entry)
    expected = eager(one, make_batches())
    found, make, lines = recorded(other, make_batches(), Refusing)
    assert found == expected
    assert_same_weights(one, other)
    assert len(lines) == 1
    assert "operation not permitted" in lines[0]
    assert not make.possible


@every_model
def test_what_a_check_says_beforehand(entry):
    assert why_not_recorded(entry, torch.device("cpu"), Graphs) is None


def test_a_check_names_what_keeps_a_model_from_being_recorded():
    mopoe = find_models("mopoe")[0]

    class Counting:
        uses_labels, settings = False, mopoe.settings

        @staticmethod
        def build(modalities, settings, classes):
            return counting(mopoe.build(modalities, settings, classes))

    assert "repeated, its loss differs" in why_not_recorded(Counting, torch.device("cpu"), Graphs)


@pytest.mark.parametrize("why", [None, "Training steps of MoPoE cannot be recorded."])
def test_mmbench_check_tells_on_a_gpu_alone(why, invoke, monkeypatch):
    said = "note Its training steps can be recorded on this GPU." if why is None else f"note {why}"
    assert "recorded" not in invoke("check", "mopoe").text
    monkeypatch.setattr("mmbench.plan.choices.pick_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr("mmbench.execution.recordable.why_not_recorded", lambda entry, device: why)
    assert said in invoke("check", "mopoe").text


@pytest.mark.parametrize(
    ("expected", "found", "term"),
    [
        ([[1.0, 2.0]], [[1.0, 2.0]], None),
        ([[1.0, 2.0]], [[1.0005, 2.0]], None),
        ([[1.0, 2.0]], [[1.0, 2.01]], "loss"),
        ([[1.0, 2.0], [1.0, 2.0]], [[1.0, 2.0], [1.1, 2.0]], "kl"),
        ([[0.0, 2.0]], [[float("nan"), 2.0]], "kl"),
        ([[float("nan"), 2.0]], [[float("nan"), 2.0]], None),  # diverged, and told as such by the trainer
    ],
)
def test_losses_that_differ_by_more_than_rounding_are_unlike(expected, found, term):
    assert unlike(torch.tensor(expected), torch.tensor(found), ["kl", "loss"]) == term


def test_a_loss_that_cannot_be_compiled_is_computed_as_it_is(monkeypatch):
    calls, lines = [], []

    def refuse(loss, dynamic):
        def call(batch, progress):
            calls.append(1)
            raise TorchDynamoException("no such thing\nand more")

        return call

    monkeypatch.setattr(torch, "compile", refuse)
    loss = Compiled(lambda batch, progress: Loss(progress, {}), lines.append)
    assert loss({}, torch.tensor(0.25)).total == 0.25
    assert loss({}, torch.tensor(0.5)).total == 0.5
    assert len(calls) == 1
    assert lines == ["torch.compile does not take the loss (no such thing): it is computed as it is."]


@pytest.mark.slow  # compiles C++
def test_a_compiled_training_is_the_eager_one_but_for_noise(tmp_path):
    entry = find_models("mdae")[0]
    histories = []
    for kind in ("eager", "compiled"):
        torch.manual_seed(0)
        trainer = make_trainer(make_model(entry), make_batches(), tmp_path / kind, steps=20, step=kind)
        assert trainer.run()
        histories.append([row["loss"] for row in trainer.history])
        assert (trainer.compile_seconds > 0) == (kind == "compiled")
        assert trainer.compile_steps == (WARM_UPS + 1 if kind == "compiled" else 0)
    # compiled code draws noise of its own
    assert histories[1] == pytest.approx(histories[0], rel=1e-2)


def test_terms_name_the_total_last():
    entry = find_models("mvae")[0]
    model, batches = make_model(entry), make_batches()
    step = TrainStep(model.stages()[0], batches, 1e-3, False)
    names, start = batches.place(0)
    step.move(start, 0.5, 1e-3)
    terms = step(names)
    assert isinstance(terms, Terms)
    assert terms.names[-1] == "loss"
    assert terms.values.shape == (len(terms.names),)
