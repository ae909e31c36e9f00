"""What a run leaves for TensorBoard: every row once, samples; and results that are the same without."""

import csv

import numpy as np
import pytest
from options import SMALL

from mmbench.storage.samples import load_samples
from mmbench.storage.tiles import tile
from mmbench.training.tensorboard import Board

event_accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="the extra tensorboard is not installed"
)
RUN = (
    "run",
    "--dataset",
    "digits",
    "--preset",
    "smoke",
    "--jobs",
    "1",
    *SMALL,
    "--set",
    "steps=40",
    "--models",
    "mopoe",
    "--metrics",
    "probe",
)


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    """It takes seconds, and is nothing for TensorBoard."""
    monkeypatch.setattr("mmbench.report.write_report", lambda *_: [])


def load(folder):
    return event_accumulator.EventAccumulator(
        str(folder / "tensorboard"), size_guidance={"scalars": 0, "images": 0}
    ).Reload()


def read_scalars(folder):
    """Tag -> [(step, value)]."""
    found = load(folder)
    return {
        tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]
    }


def read_history(folder):
    with (folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = {
        name: name if "/" in name else f"train/{name}" for name in rows[0] if name not in ("step", "stage")
    }
    names = {name: tag.replace("->", "_to_") for name, tag in names.items()}
    return {
        tag: [(int(row["step"]), pytest.approx(float(row[name]), rel=1e-6)) for row in rows if row[name]]
        for name, tag in names.items()
    }


def seed_folder(results):
    return results / "digits" / "smoke" / "mopoe" / "seed-0"


def test_a_run_writes_its_history_and_samples_and_the_same_results(invoke, tmp_path):
    plain, shown = (seed_folder(tmp_path / name) for name in ("plain", "shown"))
    assert invoke(*RUN, "--looks", "2", "--results", tmp_path / "plain").code == 0
    result = invoke(*RUN, "--looks", "2", "--tensorboard", "--results", tmp_path / "shown")
    assert result.code == 0, result.text
    for name in ("metrics.json", "history.csv"):
        assert (plain / name).read_bytes() == (shown / name).read_bytes()
    assert not (plain / "tensorboard").exists()
    scalars = read_scalars(shown)
    assert {"train/loss", "train/learning_rate", "validation/probe/street"} <= set(scalars)
    assert scalars == read_history(shown)
    samples, found = load_samples(shown / "samples"), load(shown)
    assert set(found.Tags()["images"]) == {
        "joint/handwritten",
        "joint/street",
        *(
            f"cross/{pair}/{part}"
            for pair in ("handwritten_to_street", "street_to_handwritten")
            for part in ("conditions", "outputs")
        ),
    }
    (image,) = found.Images("joint/street")
    assert (image.step, image.height, image.width) == (40, *tile(samples.joint["street"], 8).shape[:2])


@pytest.mark.parametrize("when", ["training", "evaluation"])
def test_a_run_that_goes_on_has_every_point_once(when, invoke, tmp_path, monkeypatch):
    """Stopped without a checkpoint it begins anew; in its evaluation, nothing is left to train."""
    add_row = Board.add_row

    def fail(*_, **__):
        raise RuntimeError("on purpose")

    def add_some(self, row):
        add_row(self, {**row, "loss": -1.0})
        if row["step"] > 30:
            fail()

    with monkeypatch.context() as broken:
        if when == "training":
            broken.setattr(Board, "add_row", add_some)
        else:
            broken.setattr("mmbench.execution.train.write_evaluation", fail)
        assert invoke(*RUN, "--tensorboard", "--results", tmp_path).code == 1
    assert len(read_scalars(seed_folder(tmp_path))["train/loss"]) > 10
    assert invoke(*RUN, "--tensorboard", "--results", tmp_path).code == 0
    assert len(list((seed_folder(tmp_path) / "tensorboard").iterdir())) == 2
    assert read_scalars(seed_folder(tmp_path)) == read_history(seed_folder(tmp_path))
    assert len(load(seed_folder(tmp_path)).Images("joint/street")) == 1


def test_texts_are_texts(tmp_path):
    from mmbench.storage.samples import SampleSet

    with Board(tmp_path / "tensorboard") as board:
        board.add_samples(
            SampleSet({"text": ["six  ", "seven"], "image": np.zeros((3, 1, 4, 4), np.uint8)}, []),
            {"step": 7},
        )
    found = load(tmp_path)
    assert [event.step for event in found.Images("joint/image")] == [7]
    (event,) = found.Tensors("joint/text/text_summary")
    assert event.tensor_proto.string_val == [b"    six  \n    seven"]


def test_without_the_package_it_is_refused_before_anything_is_done(invoke, tmp_path, monkeypatch):
    monkeypatch.setattr("mmbench.plan.choices.find_spec", lambda name: None)
    result = invoke(*RUN, "--tensorboard", "--results", tmp_path / "results")
    assert result.code == 2
    assert (
        "--tensorboard needs the package tensorboard: "
        "install the extra with pip install 'mmbench[tensorboard]'." in result.text
    )
    assert not (tmp_path / "results").exists()
