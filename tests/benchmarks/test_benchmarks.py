"""The benchmark script: both sides do the same work, its arithmetic is right, sittings become one table."""

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from mmbench.data.batches import Batches
from models.base import Modality

pytest.importorskip(
    "multivae", reason="needs MultiVae, the peer of the benchmarks: pip install -e '.[multivae]'"
)
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # the scripts are no part of the installation

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

import benchmarks.bench  # noqa: E402
from benchmarks import compare, evaluating, growth, ours, peer, processes, table, training  # noqa: E402
from benchmarks.bench import Bench, Work, alternate  # noqa: E402

MODALITIES = (Modality("a", (1, 28, 28), weight=3072 / 784), Modality("b", (3, 32, 32)))
TINY = Work(
    batch=16,
    latent=8,
    steps=2,
    job_steps=1,
    draws=20,
    conditions=12,
    features=24,
    feature_rows=40,
    images=2,
    growth_batch=4,
    growth_steps=1,
)
SITTING = {"date": "today", "command": "c", "commit": "", "mmbench": "0", "torch": "2"} | dict.fromkeys(
    ("multivae", "pytorch-fid", "processor", "cores", "threads"), "1"
)


@pytest.fixture(scope="module")
def bench():
    """The smallest sitting, on one thread; the data are made once for all tests."""
    threads, load = torch.get_num_threads(), benchmarks.bench.load_data
    data = load("digits")
    torch.set_num_threads(1)
    benchmarks.bench.load_data = lambda *_: data
    yield Bench(TINY, repeats=2, threads=1)
    benchmarks.bench.load_data = load
    torch.set_num_threads(threads)


def both(contest):
    """Our model and MultiVae's, with the same weights."""
    model = ours.make_model(contest.ours, MODALITIES, latent_size=16, **contest.settings)
    return model, peer.make_peer(contest.theirs, model, **contest.config)


def random_batch(items):
    return {m.name: torch.rand(items, *m.shape) for m in MODALITIES}


def flops(loss):
    with FlopCounterMode(display=False) as counter:
        loss().backward()
    return counter.get_total_flops()


# --- the same work ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("contest", training.CONTESTS, ids=lambda contest: contest.title)
def test_both_sides_train_the_same_model(contest):
    """Weights, matrix products and, where both report the bound, the loss given the same noise."""
    model, twin = both(contest)
    trained = [sum(p.numel() for p in side.parameters() if p.requires_grad) for side in (model, twin)]
    assert trained[0] == trained[1] > 1e6
    batch = random_batch(16)
    per_item = 1 if contest.theirs == "MoPoE" else 1 / 16  # MultiVae's MMVAE adds up the items of a batch
    torch.manual_seed(1)
    mine = model.loss(batch, torch.tensor(0.5)).total
    torch.manual_seed(1)
    other = twin(peer.paired(batch, torch.zeros(16))).loss * per_item
    # with more samples MultiVae reports a surrogate of the same gradient
    if contest.settings.get("samples", 1) == 1:
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=0)
    # of the same network, not of whatever a quicker way to compute it takes: the share of the peak is of
    # useful work
    assert ours.step_flops(model, batch) == pytest.approx(
        flops(lambda: twin(peer.paired(batch, torch.zeros(16))).loss), rel=0.02
    )


def test_the_peers_networks_are_as_its_users_have_them():
    """In PyTorch's default memory format, whatever ours are in."""
    _, twin = both(training.CONTESTS[0])
    assert all(p.is_contiguous() for p in twin.parameters())


def test_both_sides_see_the_same_pairs(bench):
    batches = Batches(bench.data.train, bench.data.modalities, 16, seed=0)
    pairs = peer.dataset(batches, 3)
    assert len(pairs) == 48
    for name, batch in batches.batch(2).items():
        assert torch.equal(pairs.data[name][32:], batch)


def test_both_trainers_take_the_steps_that_are_timed(bench):
    """Counted by calls of the first encoder in training mode; MultiVae makes one more, to check the model."""
    contest, calls = training.CONTESTS[0], {"ours": 0, "theirs": 0}
    model, twin = both(contest)
    batches = Batches(bench.data.train, bench.data.modalities, 16, seed=0)
    model = ours.make_model(contest.ours, bench.data.modalities, latent_size=8)
    twin = peer.make_peer(contest.theirs, model, **contest.config)

    def count(side):
        def hook(*_):
            calls[side] += 1

        return hook

    next(iter(model.encoders.values())).register_forward_hook(count("ours"))
    next(iter(twin.encoders.values())).register_forward_hook(count("theirs"))
    before = [p.detach().clone() for p in twin.parameters()]
    assert ours.train(model, batches, 3, "fp32") > 0
    assert peer.train(twin, peer.dataset(batches, 3), 16) > 0
    assert calls == {"ours": 3, "theirs": 4}
    assert any(not torch.equal(a, b) for a, b in zip(before, twin.parameters(), strict=True))


def test_both_evaluations_judge_as_many_images(bench, monkeypatch):
    judged = {}

    class Counting(evaluating.Judge):
        def forward(self, x):
            judged[self.side] = judged.get(self.side, 0) + len(x)
            return super().forward(x)

    def side(name, function):
        def call(*arguments, **options):
            Counting.side = name
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(evaluating, "Judge", Counting)
    monkeypatch.setattr(evaluating, "evaluate", side("ours", evaluating.evaluate))
    monkeypatch.setattr(peer, "coherence", side("theirs", peer.coherence))
    (row,) = evaluating.coherence(Bench(TINY, repeats=1, threads=1))
    assert judged["ours"] == judged["theirs"] == 2 * TINY.draws + 2 * 2 * TINY.conditions
    assert len(row.ours) == len(row.theirs) == 1


def test_both_frechet_distances_are_equal(bench):
    (row,) = evaluating.frechet(bench)
    assert "equal values" in row.work
    with pytest.raises(RuntimeError, match="not to be compared"):
        evaluating._check_equal("distances", 1.0, 1.001)


# --- arithmetic ---------------------------------------------------------------------------------------------


def test_sides_take_turns():
    order = []

    def side(name, values):
        values = iter(values)

        def call():
            order.append(name)
            return next(values)

        return call

    assert alternate({"a": side("a", [1.0, 2.0]), "b": side("b", [3.0, 4.0])}, 2) == {
        "a": [1.0, 2.0],
        "b": [3.0, 4.0],
    }
    assert order == ["a", "b", "a", "b"]


@pytest.mark.parametrize(
    ("compared", "expected", "reached"),
    [
        # compared round by round: the medians of either side would give 1, 1 and 0
        ("rate", np.quantile([4 / 1, 2 / 8, 1 / 2], [0.25, 0.5, 0.75]), "no"),
        ("time", np.quantile([1 / 4, 8 / 2, 2 / 1], [0.25, 0.5, 0.75]), "aim"),
        ("excess", np.quantile([4 - 1, 2 - 8, 1 - 2], [0.25, 0.5, 0.75]), "must"),
    ],
)
def test_what_is_compared_is_of_the_same_round(compared, expected, reached):
    row = table.Row("r", "s", [4.0, 2.0, 1.0], [1.0, 8.0, 2.0], compared, must=0.9, aim=1.5, work="w")
    assert row.quartiles() == pytest.approx(tuple(expected))
    assert row.reached() == reached
    assert table.Row("r", "s", [1.0], [1.0], compared, must=-1.0, aim=None, work="").reached() == (
        "no" if compared == "excess" else "must"
    )


def test_growth_flags_what_grows_faster_than_what_is_varied():
    values = (1, 2, 4)
    quadratic = [growth.Curve("modalities", name, values, (1.0, 4.0, 16.0)) for name in ("mopoe", "other")]
    linear = growth.Curve("batch", "mopoe", values, (3.0, 6.0, 12.0))
    assert [c.slope for c in (*quadratic, linear)] == pytest.approx([2.0, 2.0, 1.0])
    assert growth.worse_than_linear([*quadratic, linear]) == [quadratic[1]]
    assert quadratic[0].flag
    assert not linear.flag


def test_peak_is_that_of_a_product(monkeypatch):
    monkeypatch.setattr(training, "SIDE", 64)
    monkeypatch.setattr(training, "seconds", lambda function: function() is None or 0.5)
    assert training.product_rate("fp32", least=1.2) == pytest.approx(2e-9 * 64**3 / 0.5)


def test_four_runs_are_scaled_with_their_start_counted_once(bench, monkeypatch):
    """One step of 1,400 is measured: ours 10 s of starting and training, theirs 10 s of training per run."""
    monkeypatch.setattr(training, "_jobs", lambda *_: (10.0, [1.0, 3.0, 1.0, 3.0]))
    monkeypatch.setattr(peer, "train", lambda *_: 10.0)
    (row,) = training.four_runs(Bench(TINY, repeats=3, threads=2))
    assert row.ours == [(10 - 5) + 5 * 1400] * 2
    assert row.theirs == [4 * 10 * 1400] * 2


def test_makespan_gives_each_run_to_the_first_free_worker():
    assert training.makespan([1.0, 3.0, 1.0, 3.0], 2) == 5.0  # 1 + 1 + 3 and 3
    assert training.makespan([2.0, 2.0, 2.0, 2.0], 2) == 4.0
    assert training.makespan([3.0, 1.0, 1.0, 1.0], 2) == 3.0


# --- tables -------------------------------------------------------------------------------------------------


def run(out, *arguments):
    result = CliRunner().invoke(
        compare.main, ["--out", str(out), "--repeats", "2", "--threads", "1", *arguments]
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_rows_are_measured_alone_and_merge(bench, tmp_path):
    sizes = [word for name, value in vars(TINY).items() for word in ("--set", f"{name}={value}")]
    first = run(tmp_path, "--rows", "frechet", *sizes)
    assert first.exit_code == 0, first.output
    second = run(tmp_path, "--rows", "data", *sizes)
    assert "data path alone" in second.output
    third = run(tmp_path, "--rows", "frechet", "--repeats", "1", *sizes)
    assert third.exit_code == 0
    rows = table.read_csv(tmp_path / "compare.csv")
    # in the table's order, measured anew
    assert [(row["group"], row["repeats"]) for row in rows] == [("data", "2"), ("frechet", "1")]
    assert all(tuple(row) == table.FIELDS for row in rows)
    assert all(
        row["torch"] == version("torch") and row["multivae"] == "1.0.3" and row["threads"] == "1"
        for row in rows
    )
    assert "--rows data" in rows[0]["command"]
    text = (tmp_path / "compare.md").read_text()
    assert "| data path alone | " in text
    assert str(tmp_path) not in text


def test_the_markdown_says_what_when_and_how():
    rows = [
        table.Row("fast", "pairs/s", [20000.0], [10000.0], "rate", 1.5, 2.5, "some steps").record(
            "training", SITTING
        ),
        table.Row("small", "GiB", [2.0], [1.5], "excess", 1.2, None, "a run").record(
            "memory", SITTING | {"date": "tomorrow"}
        ),
    ]
    lines = table.markdown(rows).splitlines()
    assert lines[2] == "| fast | 1 | 20000 pairs/s | 10000 pairs/s | 2x (2 to 2) | 1.5x | 2.5x | must |"
    assert lines[3] == "| small | 1 | 2 GiB | 1.5 GiB | 0.5 (0.5 to 0.5) | at most 1.2 | - | must |"
    assert [line[:10] for line in lines if "today" in line or "tomorrow" in line] == [
        "- training",
        "- memory: ",
    ]


def test_a_table_holds_both_of_two_processors():
    def measured(processor, ours):
        row = table.Row("fast", "s", [ours], [4.0], "time", 1.0, None, "steps")
        return row.record("training", SITTING | {"processor": processor})

    old = [measured("A (AMX)", 1.0), measured("B (no bfloat16)", 2.0)]
    rows = table.merge(old, [measured("B (no bfloat16)", 1.0)], ["training"])
    assert [(row["processor"], row["median"]) for row in rows] == [("A (AMX)", "4"), ("B (no bfloat16)", "4")]
    text = table.markdown(rows)
    assert "| fast | A (AMX) |" in text
    assert "| fast | B (no bfloat16) |" in text
    assert text.count("- fast: steps") == 1
    assert text.count("- training: ") == 2


def test_growth_is_written_as_points_and_a_plot(bench, tmp_path):
    axes = (growth.Axis("batch", (2, 4)), growth.Axis("K", (1, 2), "samples"))
    curves = list(growth.growth(bench, axes))
    over = {curve.model for curve in curves if curve.axis == "batch"}
    assert {"cnf-mvae", "mmvae", "mopoe"} <= over
    assert [curve.model for curve in curves if curve.axis == "K"] == ["mmvae"]
    growth.write_growth(curves, tmp_path, SITTING)
    rows = table.read_csv(tmp_path / "growth.csv")
    assert len(rows) == 2 * len(curves)
    assert {"axis", "model", "value", "milliseconds", "slope", "flag", "torch"} <= set(rows[0])
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "trainin"], "Unknown group 'trainin' in --rows"),
        (["--rows", "memory"], "name the folder of its images with --data-dir"),
        (["--rows", "data", "--set", "stepz=3"], "Unknown setting 'stepz'"),
        (["--rows", "data", "--set", "steps=0"], "expected a whole number, at least 1"),
    ],
)
def test_bad_input_is_a_sentence(arguments, message, tmp_path):
    before = torch.get_num_threads()
    result = run(tmp_path, *arguments)
    torch.set_num_threads(before)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_the_readme_takes_the_table_between_its_markers(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{compare.BEGIN}\nold\n{compare.END}\nafter\n")
    compare._show(readme, "| new |\n")
    assert readme.read_text() == f"before\n{compare.BEGIN}\n| new |\n{compare.END}\nafter\n"
    assert compare._show(readme, "| new |\n") is None
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert text.count(compare.BEGIN) == text.count(compare.END) == 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_peak_memory_is_that_of_the_command_alone(tmp_path):
    """Listing models takes PyTorch and little else, however large the process that asks."""
    ballast = np.ones(2**27)  # 1 GiB
    assert 2**26 < processes.run_peak(["models"], tmp_path, threads=1) < 3 * 2**28 < ballast.nbytes
    with pytest.raises(RuntimeError, match="No such option"):
        processes.run_peak(["models", "--all"], tmp_path, threads=1)


@pytest.mark.slow
def test_every_group_of_rows_can_be_measured(bench, tmp_path):
    """With tiny sizes, the worker processes of --jobs included; memory apart, which needs real images."""
    sizes = [word for name, value in vars(TINY).items() for word in ("--set", f"{name}={value}")]
    groups = [name for name in compare.GROUPS if name not in ("memory", "growth")]
    result = run(tmp_path, "--rows", ",".join(groups), *sizes)
    assert result.exit_code == 0, result.output
    rows = table.read_csv(tmp_path / "compare.csv")
    assert list(dict.fromkeys(row["group"] for row in rows)) == groups
    assert len([row for row in rows if row["group"] == "training"]) == 6
