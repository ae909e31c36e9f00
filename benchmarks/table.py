"""The table: rows as they are measured, the CSV file that collects them, and the Markdown that shows it."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from mmbench.plan.environment import describe_environment
from mmbench.storage.files import write_atomically

__all__ = ["FIELDS", "Row", "markdown", "merge", "read_csv", "sitting", "write_csv"]

SITTING = (
    "date",
    "command",
    "commit",
    "mmbench",
    "torch",
    "multivae",
    "pytorch-fid",
    "processor",
    "cores",
    "threads",
)
FIELDS = (
    "group",
    "row",
    "unit",
    "ours",
    "theirs",
    "compared",
    "median",
    "low",
    "high",
    "must",
    "aim",
    "reached",
    "repeats",
    "work",
    *SITTING,
)
COMPARED = {"rate": "ours / theirs", "time": "theirs / ours", "excess": "ours - theirs"}


def digits(value: float) -> str:
    """Four digits, without an exponent."""
    return np.format_float_positional(value, precision=4, fractional=False, trim="-")


@dataclass(frozen=True)
class Row:
    """One row: what either side took, round by round.

    Attributes:
        row: its name.
        unit: of `ours` and `theirs`.
        ours, theirs: one value per round; what is compared is those of the same round.
        compared: "rate" (ours / theirs), "time" (theirs / ours) or "excess" (ours - theirs).
        must: what the median must reach: at least, or at most where it is an excess.
        aim: what it is hoped to reach, None for none.
        work: what was measured, in words.
    """

    row: str
    unit: str
    ours: Sequence[float]
    theirs: Sequence[float]
    compared: str
    must: float
    aim: float | None
    work: str

    def quartiles(self) -> tuple[float, float, float]:
        """First quartile, median and third quartile of what is compared."""
        a, b = np.array(self.ours), np.array(self.theirs)
        values = {"rate": lambda: a / b, "time": lambda: b / a, "excess": lambda: a - b}[self.compared]()
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        return float(low), float(middle), float(high)

    def reached(self) -> str:
        """aim, must or no."""
        median = self.quartiles()[1]
        if self.compared == "excess":
            return "must" if median <= self.must else "no"
        return (
            "aim" if self.aim is not None and median >= self.aim else "must" if median >= self.must else "no"
        )

    def record(self, group: str, sitting: Mapping[str, str]) -> dict[str, str]:
        """The row of the CSV file."""
        low, middle, high = self.quartiles()
        numbers = {
            "ours": np.median(self.ours),
            "theirs": np.median(self.theirs),
            "median": middle,
            "low": low,
            "high": high,
            "must": self.must,
        }
        values = {
            **{name: digits(value) for name, value in numbers.items()},
            "group": group,
            "row": self.row,
            "unit": self.unit,
            "compared": COMPARED[self.compared],
            "aim": "" if self.aim is None else digits(self.aim),
            "reached": self.reached(),
            "repeats": str(len(self.ours)),
            "work": self.work,
            **sitting,
        }
        return {name: values[name] for name in FIELDS}


def sitting(command: str, threads: int) -> dict[str, str]:
    """Where and when rows were measured: the columns that rows of one sitting share."""
    found = describe_environment(torch.device("cpu"))
    name = str(found["device"]).removeprefix("cpu: ")
    return {
        "date": date.today().isoformat(),
        "command": command,
        "commit": str(found["git_commit"] or "")[:12],
        "mmbench": str(found["mmbench"]),
        "torch": str(found["torch"]),
        "multivae": version("multivae"),
        "pytorch-fid": version("pytorch-fid"),
        "processor": f"{name} ({bfloat16_unit()})",
        "cores": str(os.cpu_count()),
        "threads": str(threads),
    }


def bfloat16_unit() -> str:
    """What the processor multiplies bfloat16 with, on which the rows of `--precision auto` depend most."""
    if torch.cpu._is_amx_tile_supported():
        return "AMX"
    return "AVX-512 BF16" if torch.cpu._is_avx512_bf16_supported() else "no bfloat16"


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a table, none where there is no file yet."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_csv(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write `rows`, which have the same columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())


def merge(
    old: Sequence[dict[str, str]], new: Sequence[dict[str, str]], groups: Sequence[str]
) -> list[dict[str, str]]:
    """`new` rows in the place of those of their groups and processor, sorted as `groups` are."""
    measured = {(row["group"], row["processor"]) for row in new}
    kept = [row for row in old if (row["group"], row["processor"]) not in measured and row["group"] in groups]
    return sorted([*kept, *new], key=lambda row: groups.index(row["group"]))


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """The table and, under it, where and when its rows were measured."""
    lines = [
        "| row | processor | ours | theirs | compared: median (quartiles) | must reach | aim | reached |",
        "| :-- | :-- | --: | --: | --: | --: | --: | :-- |",
    ]
    for row in rows:
        excess = row["compared"] == COMPARED["excess"]
        times = "" if excess else "x"
        limit = f"at most {row['must']}" if excess else f"{row['must']}x"
        aim = f"{row['aim']}x" if row["aim"] else "-"
        found = f"{row['median']}{times} ({row['low']} to {row['high']})"
        lines.append(
            f"| {row['row']} | {row['processor']} | {row['ours']} {row['unit']} | "
            f"{row['theirs']} {row['unit']} | {found} | {limit} | {aim} | {row['reached']} |"
        )
    lines += ["", "What each row measures:", ""]
    lines += dict.fromkeys(
        f"- {row['row']}: {row['work']}; {row['compared']}, {row['repeats']} rounds." for row in rows
    )
    lines += ["", "Measured:", ""]
    sittings = {tuple(row[name] for name in SITTING): dict(row) for row in rows}
    for key, first in sittings.items():
        names = "; ".join(
            dict.fromkeys(row["group"] for row in rows if tuple(row[name] for name in SITTING) == key)
        )
        lines.append(
            f"- {names}: `{first['command']}`, {first['date']}, commit {first['commit'] or 'unknown'}, "
            f"mmbench {first['mmbench']}, MultiVae {first['multivae']}, torch {first['torch']}, "
            f"pytorch-fid {first['pytorch-fid']}, {first['processor']}, {first['cores']} cores, "
            f"{first['threads']} threads."
        )
    return "\n".join(lines) + "\n"
