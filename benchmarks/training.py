"""Rows of training: one run, four runs at once, the share of the CPU's peak, and the data path alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch

from benchmarks import ours, peer
from benchmarks.bench import Bench, alternate, seconds
from benchmarks.table import Row
from mmbench.console import Console
from mmbench.data.batches import Batches
from mmbench.execution.local import execute
from mmbench.execution.signals import Stop
from mmbench.plan.presets import PRESETS
from models.base import MultimodalModel

__all__ = ["CONTESTS", "Contest", "data_path", "four_runs", "one_run", "peak_share"]


@dataclass(frozen=True)
class Contest:
    """A model that both sides have.

    Attributes:
        title: in the table.
        ours, settings: registered name and settings.
        theirs, config: MultiVae's class and the part of its configuration that differs from ours in name.
        cost: work of a step, in steps of MoPoE: how many times the decoders run.
        must, aim: in float32 and in the precision that auto means.
    """

    title: str
    ours: str
    theirs: str
    cost: int
    must: tuple[float, float]
    aim: tuple[float, float]
    settings: dict[str, object] = field(default_factory=dict)
    config: dict[str, object] = field(default_factory=dict)


def _mmvae(samples: int) -> Contest:
    """MMVAE with so many importance samples, MultiVae's with our family, prior and gradient."""
    config = {"K": samples, "prior_and_posterior_dist": "normal", "learn_prior": False, "loss": "dreg_looser"}
    return Contest(
        f"MMVAE, K={samples}",
        "mmvae",
        "MMVAE",
        2 * samples,
        (1.4, 1.8),
        (2.0, 2.5),
        {"samples": samples},
        config,
    )


CONTESTS = (
    Contest("MoPoE", "mopoe", "MoPoE", 1, (1.0, 1.4), (1.3, 2.0), config={"beta": 2.5}),
    _mmvae(1),
    _mmvae(10),
)


def _batches(bench: Bench) -> Batches:
    return Batches(bench.data.train, bench.data.modalities, bench.work.batch, seed=0)


def one_run(bench: Bench) -> list[Row]:
    """Pairs per second of either trainer, ours in float32 and in the precision that auto means."""
    rows = []
    for contest in CONTESTS:
        steps = max(1, bench.work.steps // contest.cost)
        rates = _rates(bench, contest, steps)
        for index, (side, precision) in enumerate((("fp32", "fp32"), ("auto", bench.auto))):
            name = f"one run, {'float32' if side == 'fp32' else '--precision auto'}: {contest.title}"
            work = (
                f"{steps} steps of {bench.work.batch} pairs through either trainer, data included; ours "
                f"{precision}, theirs fp32"
            )
            must, aim = contest.must[index], contest.aim[index]
            rows.append(Row(name, "pairs/s", rates[side], rates["theirs"], "rate", must, aim, work))
    return sorted(rows, key=lambda row: "auto" in row.row)


def _rates(bench: Bench, contest: Contest, steps: int) -> dict[str, list[float]]:
    """Pairs per second, round by round, of "fp32", "theirs" and "auto".

    Three models of the same initial weights, trained on the same pairs.
    """
    batches = _batches(bench)
    settings = {"latent_size": bench.work.latent, **contest.settings}
    exact, quick = (ours.make_model(contest.ours, bench.data.modalities, **settings) for _ in range(2))
    twin = peer.make_peer(contest.theirs, exact, **contest.config)

    def rate(train: Callable[[int], float], count: int) -> float:
        return count * bench.work.batch / train(count)

    sides: dict[str, Callable[[int], float]] = {  # theirs stands next to both of ours
        "fp32": lambda count: ours.train(exact, batches, count, "fp32"),
        "theirs": lambda count: peer.train(twin, peer.dataset(batches, count), bench.work.batch),
        "auto": lambda count: ours.train(quick, batches, count, bench.auto),
    }
    for train in sides.values():
        train(1)  # libraries choose their kernels in the first step
    return alternate({name: partial(rate, train, steps) for name, train in sides.items()}, bench.repeats)


def four_runs(bench: Bench) -> list[Row]:
    """Wall time of four runs, ours with `--jobs 2`, at the length of the preset "quick".

    Measured are runs of `job_steps` steps. The part of our wall time in which processes train is multiplied
    up to the preset's steps; the rest, their start, is counted once. The peer's runs follow each other in
    this process, which has started already.
    """
    target, steps = int(str(PRESETS["quick"].training["steps"])), bench.work.job_steps
    contests = CONTESTS[:2]
    pairs = peer.dataset(_batches(bench), steps)
    starts = []

    def mine() -> float:
        wall, trained = _jobs(bench, [(contest.ours, seed) for seed in (0, 1) for contest in contests])
        busy = makespan(trained, 2)
        starts.append(wall - busy)
        return starts[-1] + busy * target / steps

    def theirs() -> float:
        total = 0.0
        for contest in 2 * contests:
            settings = {"latent_size": bench.work.latent, **contest.settings}
            model = ours.make_model(contest.ours, bench.data.modalities, **settings)
            twin = peer.make_peer(contest.theirs, model, **contest.config)
            total += peer.train(twin, pairs, bench.work.batch)
        return total * target / steps

    found = alternate({"ours": mine, "theirs": theirs}, bench.few)
    work = (
        f"MoPoE and MMVAE (K=1) with two seeds each, "
        f"{bench.auto} in 2 processes of {max(1, bench.threads // 2)} threads against fp32 one after another;"
        f" {steps} steps measured, scaled to {target}; "
        f"starting the processes, {median(starts):.1f} s, is counted in ours"
    )
    name = "four runs, --jobs 2, --precision auto"
    return [Row(name, "s", found["ours"], found["theirs"], "time", 1.8, 2.5, work)]


def _jobs(bench: Bench, runs: list[tuple[str, int]]) -> tuple[float, list[float]]:
    """Wall time of all runs, two at a time, and the seconds that each trained."""
    with TemporaryDirectory() as name, Stop() as stop:
        folder = Path(name)
        work = ours.TrainOnly(
            bench.data, bench.work.job_steps, bench.work.batch, bench.work.latent, bench.auto, folder
        )
        wall = seconds(lambda: execute(runs, work, 2, Console(), stop, lambda run, how: None))
        lost = [run for run in runs if not (folder / "{}-{}".format(*run)).exists()]
        if lost:
            raise RuntimeError(f"the runs {lost} of the row on --jobs failed")
        return wall, [float((folder / "{}-{}".format(*run)).read_text()) for run in runs]


def makespan(times: Sequence[float], workers: int) -> float:
    """When the last of `times` ends, each begun in order by the first of the `workers` that is free."""
    free = [0.0] * workers
    for each in times:
        free[free.index(min(free))] += each
    return max(free)


SIDE = 2048  # of the matrix product that is taken for the peak


def product_rate(precision: str, least: float = 0.3) -> float:
    """GFLOP/s of products of 2048 x 2048 matrices, measured for at least `least` seconds."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.rand(SIDE, SIDE).to(dtype) for _ in range(2))
    a @ b
    taken, count = 0.0, 0
    while taken < least:
        taken += seconds(lambda: a @ b)
        count += 1
    return 2e-9 * SIDE**3 * count / taken


def step_rate(model: MultimodalModel, batches: Batches, steps: int, precision: str, flops: float) -> float:
    """GFLOP/s of training, at `flops` a step."""
    return 1e-9 * flops * steps / ours.train(model, batches, steps, precision)


def peak_share(bench: Bench) -> list[Row]:
    """FLOP/s of a training step of every model, against those of a matrix product just before it."""
    rows, batches = [], _batches(bench)
    for precision in dict.fromkeys(("fp32", bench.auto)):
        for entry in ours.latent_models():
            model = ours.make_model(entry.name, bench.data.modalities, latent_size=bench.work.latent)
            flops = ours.step_flops(model, batches.batch(0))
            steps = max(2, bench.work.steps // 4)
            ours.train(model, batches, 2, precision)

            found = alternate(
                {
                    "theirs": partial(product_rate, precision),
                    "ours": partial(step_rate, model, batches, steps, precision, flops),
                },
                bench.few,
            )
            work = (
                f"{steps} steps of {bench.work.batch} pairs, {1e-9 * flops:.1f} GFLOP each, "
                f"against {SIDE} x {SIDE} matrix products in {precision}"
            )
            must = 0.5 if precision == "fp32" else 0.4
            name = f"share of the peak, {precision}: {entry.title}"
            rows.append(Row(name, "GFLOP/s", found["ours"], found["theirs"], "rate", must, 0.7, work))
    return rows


def data_path(bench: Bench) -> list[Row]:
    """Pairs per second of batches alone against training, MoPoE in the precision that auto means."""
    batches, steps = _batches(bench), bench.work.steps
    model = ours.make_model("mopoe", bench.data.modalities, latent_size=bench.work.latent)
    ours.train(model, batches, 1, bench.auto)
    made = 5 * steps  # batches are that much quicker

    def gather() -> None:
        fresh = _batches(bench)  # and so is the permutation of the pairs
        for step in range(made):
            fresh.batch(step)

    sides: dict[str, Callable[[], float]] = {
        "ours": lambda: made * bench.work.batch / seconds(gather),
        "theirs": lambda: steps * bench.work.batch / ours.train(model, batches, steps, bench.auto),
    }
    found = alternate(sides, bench.repeats)
    work = (
        f"{made} batches of {bench.work.batch} pairs (ours) against {steps} training steps of our MoPoE in "
        f"{bench.auto} (theirs)"
    )
    return [Row("data path alone", "pairs/s", found["ours"], found["theirs"], "rate", 20.0, None, work)]
