"""Damages files of every kind that mmbench reads back, at random: each damage must be named and mended, be
refused, or change nothing at all.

python tests/faults/damages.py [DAMAGES] [SEED]
"""

import hashlib
import os
import random
import sys
import tempfile
from collections import Counter
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from click.testing import CliRunner
from common import JOB

from metrics.protocol import Protocol
from mmbench.cli import main
from mmbench.data.arrays import read_arrays
from mmbench.data.base import DataSettings
from mmbench.data.splits import Images, assemble
from mmbench.execution.cached_references import make_references
from mmbench.report.numbers.render import to_csv
from mmbench.report.numbers.results import find_runs
from mmbench.report.numbers.tables import build_tables
from mmbench.storage.files import read_json
from mmbench.storage.history import read_history
from mmbench.storage.samples import load_samples
from mmbench.training.checkpoints import Checkpoints
from models.base import Modality
from models.errors import InputError
from models.registry import MODELS

MODALITIES = (Modality("a", (1, 8, 8)), Modality("b", (3, 8, 8)))
PROTOCOL = Protocol(draws=40, joint_draws=40, judge_steps=1, judge_batch_size=8)


def truncate(content, chance, others):
    return content[: chance.randrange(len(content))]


def empty(content, chance, others):
    return b""


def flip(content, chance, others, count=1):
    changed = bytearray(content)
    for position in chance.sample(range(len(content)), min(count, len(content))):
        changed[position] ^= 1 << chance.randrange(8)
    return bytes(changed)


def overwrite(content, chance, others):
    """A block of zeros, as of a disk that lost it."""
    first = chance.randrange(len(content))
    return content[:first] + bytes(len(content[first : first + 512])) + content[first + 512 :]


def digit(content, chance, others):
    """Another digit in the place of one, which leaves JSON and CSV what they are."""
    places = [i for i, byte in enumerate(content) if byte in b"0123456789"] or [0]
    place = chance.choice(places)
    return content[:place] + str((content[place] + chance.randint(1, 9)) % 10).encode() + content[place + 1 :]


def swap(content, chance, others):
    """What another run, or another entry of the cache, has in the place."""
    return chance.choice(others)


WAYS = {
    "truncated": truncate,
    "emptied": empty,
    "bit flipped": flip,
    "8 bits flipped": partial(flip, count=8),
    "zeroed": overwrite,
}
WAYS |= {"digit changed": digit, "swapped": swap}


def names(error, text):
    assert text in str(error)


def digest(value):
    """Of every bit of it: what `repr` says of a large array leaves most of it out."""
    if isinstance(value, dict):
        return {key: digest(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [digest(each) for each in value]
    if not isinstance(value, (torch.Tensor, np.ndarray)):
        return repr(value)
    array = np.asarray(value)
    return str(array.dtype), array.shape, hashlib.sha256(array.tobytes()).hexdigest()


def shown(results):
    """All that a report draws on, as text."""
    runs = find_runs(results)
    parts = [to_csv(table) for table in build_tables(runs)]
    for run in runs:
        samples = load_samples(run.folder / "samples")
        sheets = [
            *samples.joint.values(),
            *(part for each in samples.cross for part in (each.conditions, each.outputs)),
        ]
        parts += [repr(run.config), repr(run.status), read_history(run.folder).to_csv(), repr(digest(sheets))]
    return parts


class Reports:
    """Files of runs, read as a report reads them."""

    def __init__(self, results):
        self.results, self.truth = results, shown(results)

    def files(self):
        for pattern in (
            "config.json",
            "status.json",
            "metrics.json",
            "history.csv",
            "samples/*.webp",
            "samples/samples.json",
        ):
            yield pattern, sorted(self.results.rglob(f"seed-*/{pattern}"))

    def verdict(self, path):
        try:
            found = shown(self.results)
        except InputError as error:
            names(error, path.name)
            return "refused"
        assert found == self.truth, path
        return "harmless"


class Trainings:
    """Checkpoints, read as a resumed training reads them."""

    def __init__(self, results):
        self.paths = sorted(results.rglob("checkpoint.pt"))
        self.truth = {path: digest(torch.load(path, weights_only=True)) for path in self.paths}
        self.models = {}
        for path in self.paths:
            config = read_json(path.with_name("config.json"))
            entry = MODELS.get(config["model"])
            modalities = [Modality(**each | {"shape": tuple(each["shape"])}) for each in config["modalities"]]
            self.models[path] = config, entry.model(modalities, entry.settings(**config["settings"]))

    def files(self):
        yield "checkpoint.pt", self.paths

    def verdict(self, path):
        (config, model), said = self.models[path], []
        before = {name: value.clone() for name, value in model.state_dict().items()}
        try:
            found = Checkpoints(path, config["hash"], config["seed"]).restore(model, said.append)
        except InputError as error:
            names(error, str(path))
            found = None
        else:
            assert (found is None) == bool(said)
        if found is None:  # nothing of it is in the model
            assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
            return "mended" if said else "refused"
        assert digest(found) == self.truth[path]
        return "harmless"


class Caches:
    """Judges and statistics, read as a job reads them."""

    def __init__(self, folder):
        self.folder = folder
        os.environ["MMBENCH_CACHE"] = str(folder)
        self.data = [self.make(seed) for seed in (0, 1)]
        self.truth = [self.values(data)[0] for data in self.data]

    def make(self, seed):
        generator = torch.Generator().manual_seed(seed)
        noise = {
            m.name: Images(
                torch.randint(256, (60, *m.shape), dtype=torch.uint8, generator=generator),
                torch.arange(60) % 10,
            )
            for m in MODALITIES
        }
        return assemble(
            "noise", MODALITIES, {name: (images, images) for name, images in noise.items()}, DataSettings()
        )

    def values(self, data):
        said = StringIO()
        with redirect_stdout(said):
            found = make_references(data, PROTOCOL, ("coherence", "fd_clf"))
        (space,) = found.feature_spaces
        real = {name: vars(statistics) for name, statistics in space.real.items()}
        weights = [judge.state_dict() for judge in found.judges.values()]
        return digest(
            [found.judge_accuracy, space.floor, real, space.roots, space.train_count, weights]
        ), said.getvalue()

    def files(self):
        for pattern in ("judges/*.pt", "statistics/*.npz"):
            yield pattern, sorted(self.folder.glob(pattern))

    def verdict(self, path):
        mended = 0
        for data, truth in zip(self.data, self.truth, strict=True):
            found, said = self.values(data)
            assert found == truth, path
            mended += f"The cached file {path} is damaged (" in said
        return "mended" if mended else "harmless"


class Images32:
    """Prepared data, read as a job reads them."""

    def __init__(self, folder):
        chance = np.random.default_rng(0)
        self.path = folder / "svhn_train.npz"
        np.savez_compressed(
            self.path,
            images=chance.integers(256, size=(40, 32, 32, 3), dtype=np.uint8),
            labels=np.arange(40, dtype=np.uint8) % 10,
        )
        self.truth = read_arrays(self.path, (32, 32, 3))

    def files(self):
        yield "data.npz", [self.path]

    def verdict(self, path):
        try:
            found = read_arrays(path, (32, 32, 3))
        except InputError as error:
            names(error, str(path))
            return "refused"
        assert np.array_equal(found.images, self.truth.images)
        assert np.array_equal(found.labels, self.truth.labels)
        return "harmless"


def damage_often(results: Path, scratch: Path, damages: int, seed: int = 0, every: int = 100) -> str:
    """Do `damages` damages, one at a time, to copies that are whole otherwise.

    AssertionError for one that goes unnoticed.

    After every `every`th damage to a run, `mmbench report` answers with a sentence. What happened, in a
    sentence.
    """
    chance, counts, kinds, reports = random.Random(seed), Counter(), Counter(), 0
    readers = [Reports(results), Trainings(results), Caches(scratch / "cache"), Images32(scratch)]
    targets = [(reader, kind, paths) for reader in readers for kind, paths in reader.files()]
    for number in range(damages):
        reader, kind, paths = targets[number % len(targets)]
        path = chance.choice(paths)
        whole = path.read_bytes()
        others = [content for other in paths if other != path and (content := other.read_bytes()) != whole]
        way = chance.choice([way for way in WAYS if others or way != "swapped"])
        path.write_bytes(WAYS[way](whole, chance, others))
        try:
            verdict = reader.verdict(path)
            if (
                isinstance(reader, Reports)
                and verdict == "refused"
                and number % every < len(targets)
                and number // every >= reports
            ):
                reports += 1
                answer = CliRunner().invoke(main, ["report", "--results", str(results)])
                assert (answer.exit_code, answer.output.count("\n"), "Traceback" in answer.output) == (
                    2,
                    1,
                    False,
                ), answer.output
        except BaseException:
            print(f"damage {number} of seed {seed}: {path} {way}", file=sys.stderr)
            raise
        path.write_bytes(whole)
        counts[verdict] += 1
        kinds[kind] += 1
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    each = ", ".join(f"{kind} {count}" for kind, count in kinds.items())
    return (
        f"{damages} damages: {verdicts}; none used. {reports} reports asked for by command, all answered "
        f"with a sentence. By kind: {each}."
    )


if __name__ == "__main__":
    count, seed = (int(word) for word in (*sys.argv[1:], *("500", "0")[len(sys.argv) - 1 :]))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["MMBENCH_CACHE"] = f"{scratch}/first"
        job = [
            *JOB,
            "--models",
            "mopoe,cada-vae",
            "--seeds",
            "0,1",
            "--set",
            "steps=4",
            "--jobs",
            "1",
            "--results",
            f"{scratch}/results",
        ]
        made = CliRunner().invoke(main, job)
        assert made.exit_code == 0, made.output
        print(damage_often(Path(scratch) / "results", Path(scratch), count, seed))
