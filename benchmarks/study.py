"""The study at a budget that counts, in sittings: runs in order of worth, each taken up where it was left.

    python benchmarks/study.py results/study --data-dir DATA --minutes 13          # makes what is missing
    python benchmarks/study.py results/study --missing                             # says what is missing
    python benchmarks/study.py results/study --pack PARTS                      # results, in files of 16 MiB
    python benchmarks/study.py results/study --unpack PARTS                        # and back, elsewhere

Every line of `STUDY` is one `mmbench run`: any of them can be made by hand, and `mmbench report` and
`mmbench status` read the folders. Budgets stand apart, in folders of their own: a table compares equal ones.
When the time is up, the run under way writes its checkpoint and ends.
"""

import hashlib
import io
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click

from mmbench.plan.job import JobOptions, check_job
from models.errors import InputError

__all__ = ["STUDY", "Line", "missing", "pack", "unpack"]

MIB = 2**20
PART = 16 * MIB  # bytes of a file that is carried away
DIGEST = "sha256.txt"
GRACE = 60.0  # seconds for a last checkpoint


@dataclass(frozen=True)
class Line:
    """Runs of one model at one budget.

    Attributes:
        budget: what its folder of results is called.
        model: its name.
        steps, rate: of training.
        seeds: of training.
        named: "published", for settings as its authors published them.
        settings: others that differ from the defaults.
        label: of the variant.
        pairing: seed of the pairs of items.
        keep: which weights its runs end with.
        preset: whose protocol and tuned settings they have.
    """

    budget: str
    model: str
    steps: int
    rate: float
    seeds: tuple[int, ...] = (0,)
    named: str = ""
    settings: tuple[str, ...] = ()
    label: str = ""
    pairing: int = 0
    keep: str = "last"
    preset: str = "cpu"

    def words(self, root: Path, dataset: str) -> list[str]:
        """The arguments of `mmbench run`."""
        pairs = [f"steps={self.steps}", f"learning_rate={self.rate:g}", f"pairing_seed={self.pairing}"]
        pairs += [f"keep={self.keep}"] if self.keep != "last" else []
        pairs += [f"{self.model}={self.named}"] if self.named else []
        pairs += [f"{self.model}.{pair}" for pair in self.settings]
        return [
            *("--models", self.model, "--dataset", dataset, "--preset", self.preset, "--looks", "10"),
            *("--seeds", ",".join(map(str, self.seeds)), "--results", str(root / self.budget)),
            *(word for pair in pairs for word in ("--set", pair)),
            *(("--label", self.label) if self.label else ()),
        ]


PAPER = {"budget": "paper", "steps": 219_016, "rate": 1e-4}  # the paper's own
MIDDLE = {"budget": "30000", "steps": 30_000, "rate": 1e-3}
BEST = ("cnf-mvae", "cnf-mvae-mixture")
PUBLISHED = ("mopoe", "cada-vae")
# of cnf-mvae-mixture: results/published/tuning
SEARCHED = ("contrast_weight=6.619568622", "temperature=2.458559705", "likelihood_scale=0.8412561621")
STUDY = (
    *(Line(model=name, **PAPER) for name in BEST),
    # 30 samples cost ten times as much as one: a quarter of the steps
    Line("54754", "mmvae", 54_754, 1e-4, named="published"),
    *(Line(model=name, **PAPER, named="published") for name in PUBLISHED),
    Line(model="dmvae", **PAPER),
    *(Line(model=name, **MIDDLE, seeds=(0, 1, 2)) for name in (*BEST, "dmvae")),
    Line(model="cnf-mvae-mixture", **MIDDLE, seeds=(0, 1, 2), settings=SEARCHED, label="search"),
    *(Line(model=name, **MIDDLE, seeds=(0, 1, 2), named="published") for name in (*PUBLISHED, "mmvae")),
    *(Line(model=name, **MIDDLE, seeds=(0, 1, 2)) for name in ("mmvae", "mopoe", "mvae")),
    *(
        Line(model=name, **MIDDLE, seeds=(0, 1, 2), settings=("prior=mixture",), label="mixture")
        for name in ("mmvae", "mopoe", "mvae", "cada-vae")
    ),
    *(
        Line(model=name, **MIDDLE, label=f"pairs-{pairing}", pairing=pairing)
        for pairing in (1, 2)
        for name in BEST
    ),
    # early stopping, for those that may learn SVHN's 8,999 images by heart; and averages of the last weights
    *(
        Line(model=name, **MIDDLE, seeds=(0, 1, 2), label=label, keep=keep)
        for label, keep in (("best-look", "best"), ("average", "average"))
        for name in (*BEST, "mmvae", "mopoe")
    ),
)


def missing(line: Line, root: Path, dataset: str, data_dir: Path | None = None) -> list[str]:
    """The runs of a line that are not done, by folder."""
    words = line.words(root, dataset)
    options: dict[str, list[str]] = {}
    for name, value in zip(words[::2], words[1::2], strict=True):
        options.setdefault(name.removeprefix("--"), []).append(value)
    job = check_job(
        JobOptions(
            **{key: options[key][0] for key in ("models", "dataset", "preset", "seeds")},
            results=Path(options["results"][0]),
            overrides=options["set"],
            label=line.label or None,
            data_dir=data_dir,
        )
    )
    folders = (job.folder(config, seed) for config in job.configs for seed in job.seeds)
    return [str(folder.path.relative_to(root)) for folder in folders if not folder.is_done()]


def make(line: Line, root: Path, dataset: str, more: list[str], seconds: float) -> bool:
    """`mmbench run` of a line for at most so many seconds; False where it was stopped or failed."""
    command = [sys.executable, "-m", "mmbench", "run", *line.words(root, dataset), *more]
    process = subprocess.Popen(command)
    try:
        return process.wait(timeout=seconds) == 0
    except subprocess.TimeoutExpired:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=GRACE)
        return False
    finally:
        process.kill()
        process.wait()


def _kept(root: Path) -> Iterator[Path]:
    """Files of the results that are carried away: all but checkpoints before the newest, and locks."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and ".previous" not in path.name and path.suffix != ".lock":
            yield path


def pack(root: Path, parts: Path) -> list[Path]:
    """The results as one compressed archive, cut into files of at most PART bytes in the folder `parts`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
        for path in _kept(root):
            archive.add(path, path.relative_to(root).as_posix())
    content = buffer.getvalue()
    parts.mkdir(parents=True, exist_ok=True)
    made = [parts / DIGEST]
    made[0].write_text(hashlib.sha256(content).hexdigest())
    for start in range(0, len(content), PART):
        made.append(parts / f"part-{start // PART:02}.bin")
        made[-1].write_bytes(content[start : start + PART])
    return made


def unpack(parts: Path, root: Path) -> None:
    """What `pack` made, back into a folder of results; InputError where it is no such archive."""
    content = b"".join(path.read_bytes() for path in sorted(parts.glob("part-*.bin")))
    try:
        if hashlib.sha256(content).hexdigest() != (parts / DIGEST).read_text():
            raise tarfile.ReadError("a part is missing, or another's")
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:xz") as archive:
            archive.extractall(root, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InputError(f"{parts} holds no whole archive of a study ({error}).") from None


@click.command()
@click.argument("root", type=click.Path(path_type=Path, file_okay=False))
@click.option("--dataset", default="mnist-svhn", show_default=True)
@click.option("--data-dir", type=click.Path(path_type=Path), envvar="MMBENCH_DATA", help="Where images are.")
@click.option("--minutes", type=click.FloatRange(0), default=13.0, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--missing", "asks", is_flag=True, help="Say what is missing, and make nothing.")
@click.option("--pack", "packs", type=click.Path(path_type=Path), help="Folder for the packed results.")
@click.option("--unpack", "unpacks", type=click.Path(path_type=Path), help="Folder of packed results.")
def main(
    root: Path,
    dataset: str,
    data_dir: Path | None,
    minutes: float,
    device: str,
    asks: bool,
    packs: Path | None,
    unpacks: Path | None,
) -> None:
    """Make the runs of the study that are missing in ROOT, in order of worth."""
    end = time.monotonic() + 60 * minutes
    more = ["--device", device, *(["--data-dir", str(data_dir)] if data_dir else [])]
    try:
        if unpacks:
            unpack(unpacks, root)
        for line in () if asks or packs or unpacks else STUDY:
            left = end - time.monotonic() - GRACE
            if left <= 0:
                break
            if missing(line, root, dataset, data_dir):
                make(line, root, dataset, more, left)
        for path in pack(root, packs) if packs else []:
            click.echo(f"wrote {path}")
        for line in STUDY:
            for run in missing(line, root, dataset, data_dir):
                click.echo(f"missing: {run}")
    except InputError as error:
        raise click.UsageError(str(error)) from None


if __name__ == "__main__":
    main()
