"""Crafted folders of results, as a stranger might send them: every command answers them with a sentence.

    python tests/faults/folders.py [CRAFTS] [SEED]

One run of two is spoiled: a field holds what nobody expects (with a right checksum), a file is a pipe, a
device or huge, a configuration is gone. `status` still shows the other run; whatever refuses the folder names
it; nothing waits, raises or follows a link out of the folder.
"""

import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

from click.testing import CliRunner
from common import JOB

from mmbench.api import load_results
from mmbench.cli import main
from mmbench.storage.files import FORMAT, content_hash, read_json
from models.errors import InputError

PATIENCE = 600  # seconds: a command that takes them waits for ever
EVIL, GOOD = "mopoe", "mvae"
RECORDS = ("config", "status", "metrics", "samples/samples", "samples/diagnostics")


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


VALUES = {
    "null": None,
    "true": True,
    "text": "many",
    "empty text": "",
    "negative": -1,
    "fraction": 0.5,
    "large": 1e308,
    "larger": -1e308,
    "300 digits": 10**299,
    "list": [],
    "object": {},
    "list of lists": [[1], ["a"]],
    "nested": deep(30),
    "nested deeper": deep(400),
    "nested too deeply": deep(900),
    "half a character": "\ud800",
    "formula": "=cmd|' /C calc'!A0",
    "command": "\x1b]0;title\x07\x1b[2J\u202e",
    "lines": "a\tb\r\nc\x00",
    "long": "x" * 200_000,
    "markup": "<script>$\\frac{`|*_[](){}%&#~^",
    "leads elsewhere": "../../../etc/passwd",
}


def fields(value, path=()):
    """The paths of all fields; of a list its first item stands for all."""
    yield path
    if isinstance(value, dict):
        for key, each in list(value.items())[:12]:
            yield from fields(each, (*path, key))
    elif isinstance(value, list) and value:
        yield from fields(value[0], (*path, 0))


def forge(file, value):
    """Write what `write_json` refuses, with the checksum that it would have."""
    content = {"format": FORMAT, **value} if isinstance(value, dict) else value
    if isinstance(content, dict):
        content |= {"checksum": content_hash(content)}
    file.write_text(json.dumps(content))


def spoil_field(file, path, value):
    content = read_json(file, most=2**30)
    if not path:
        content = value
    else:
        *above, last = path
        inner = content
        for key in above:
            inner = inner[key]
        inner[last] = value
    forge(file, content)


def replace(file, make):
    shutil.rmtree(file) if file.is_dir() and not file.is_symlink() else file.unlink(missing_ok=True)
    make(file)


def huge(size):
    def make(file):
        with file.open("wb") as stream:
            stream.truncate(size)

    return make


KINDS = {
    "folder": lambda file: file.mkdir(),
    "pipe": os.mkfifo,
    "/dev/zero": lambda file: file.symlink_to("/dev/zero"),
    "/proc/kmsg": lambda file: file.symlink_to("/proc/kmsg"),
    "dangling link": lambda file: file.symlink_to("nowhere"),
    "link to itself": lambda file: file.symlink_to(file.name),
    "empty": lambda file: file.touch(),
    "500 MB": huge(500 * 2**20),
    "500 GB": huge(500 * 2**30),
    "other bytes": lambda file: file.write_bytes(bytes(range(256)) * 9),
    "gone": lambda file: None,
}
FILES = (
    *(f"{name}.json" for name in RECORDS),
    "history.csv",
    "checkpoint.pt",
    "samples",
    ".lock",
    "samples/joint-handwritten.webp",
)


def crafts(folder):
    """(name, what spoils the run in a folder) for every craft."""
    for name in RECORDS:
        file = f"{name}.json"
        for path in fields(read_json(folder / file, most=2**30)):
            for word, value in VALUES.items():
                yield (
                    f"{file} {'.'.join(map(str, path))}: {word}",
                    lambda at, file=file, path=path, value=value: spoil_field(at / file, path, value),
                )
    for name in FILES:
        for word, make in KINDS.items():
            yield f"{name}: {word}", lambda at, name=name, make=make: replace(at / name, make)


@contextmanager
def patience():
    def give_up(*_):
        raise TimeoutError(f"nothing after {PATIENCE} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def ask(*words):
    """The exit code and the output of a command, which raises nothing and names a path where it refuses."""
    with patience():
        result = CliRunner().invoke(main, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def refused(act, *arguments):
    """Why `act` refuses these arguments, in a sentence; empty where it does not."""
    try:
        act(*arguments)
    except InputError as error:
        return str(error)
    return ""


def shows(results, spoiled):
    """Why `load_results` refuses a folder with a spoiled run; empty where it does not. `status` shows it."""
    code, text = ask("status", results)
    assert code == 0, text
    assert any(GOOD in line and "done" in line for line in text.splitlines()), text
    assert "\x1b" not in text, text
    with patience():
        refusal = refused(load_results, results)
    assert not refusal or str(spoiled) in refusal, refusal
    return refusal


def answers(results, spoiled):
    """Ask the commands that read a folder about one with a spoiled run."""
    comparison = ("report", "--results", results, "--against", results)
    for words in (comparison, ("report", "--results", results), ("evaluate", spoiled, "--metrics", "probe")):
        code, text = ask(*words)
        assert code in (0, 2), text
        if code == 2:
            assert text.startswith("Error: "), text
            assert text.count("\n") == 1, text
            assert spoiled.name in text, text
            assert "elete" not in text or "checkpoint" in text, text


def craft_often(results: Path, scratch: Path, count: int, seed: int = 0, reports: int = 10**6) -> str:
    """Try `count` crafts, drawn from all, on copies of `results`; what came of them, in a sentence.

    Of those that are accepted, the first `reports` get a whole report and an evaluation, which take seconds.
    """
    home = next(results.rglob(f"{EVIL}/seed-0"))
    every = list(crafts(home))
    drawn, verdicts = random.Random(seed).sample(every, min(count, len(every))), Counter()
    for name, spoil in drawn:
        copy = scratch / "copy"
        shutil.copytree(results, copy, symlinks=True)
        spoiled = copy / home.relative_to(results)
        try:
            spoil(spoiled)
            refusal = shows(copy, spoiled)
            if refusal or verdicts["as usual"] < reports:
                answers(copy, spoiled)
            verdicts["refused" if refusal else "as usual"] += 1
        except BaseException:
            print(f"craft of seed {seed}: {name}", file=sys.stderr)
            raise
        shutil.rmtree(copy)
    said = ", ".join(f"{number} {verdict}" for verdict, number in sorted(verdicts.items()))
    return f"{len(drawn)} crafted folders of {len(every)}: {said}."


if __name__ == "__main__":
    count, seed = (int(word) for word in (*sys.argv[1:], *("100", "0")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["MMBENCH_CACHE"] = f"{scratch}/cache"
        small = ["--models", f"{EVIL},{GOOD}", "--set", "steps=4", "--jobs", "1"]
        made = CliRunner().invoke(main, [*JOB, *small, "--results", f"{scratch}/results"])
        assert made.exit_code == 0, made.output
        print(craft_often(Path(scratch) / "results", Path(scratch), count, seed))
