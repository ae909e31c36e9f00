"""Models that misbehave, as texts of model files, each with what must come of its run."""

from dataclasses import dataclass
from pathlib import Path

HEAD = """
import asyncio, gc, json, locale, logging, os, random, shutil, signal, sys, threading, time, warnings
import numpy as np
import torch
from models.mopoe import MoPoE, MoPoESettings
from models.registry import register

class Panic(BaseException):
    '''As bindings to other languages raise it.'''

class Unspeakable(Exception):
    def __str__(self):
        raise ValueError("no words")


"""


@dataclass(frozen=True)
class Hostile:
    """A model that misbehaves.

    Attributes:
        name: of the model.
        code: the body of its class, which is MoPoE otherwise.
        state: of its run at the end, "done" or "failed".
        error: a part of the reason of a failure.
        said: parts of what the command says of it.
        deadly: whether it ends its process, which only --jobs above 1 keeps from the other runs.
    """

    name: str
    code: str
    state: str
    error: str = ""
    said: tuple[str, ...] = ()
    deadly: bool = False

    def write(self, folder: Path) -> Path:
        """The model file in `folder`."""
        body = "".join(f"    {line}\n" for line in self.code.strip().splitlines())
        head = f'@register("{self.name}", settings=MoPoESettings, source="nobody")\nclass Hostile(MoPoE):\n'
        path = folder / f"{self.name}.py"
        path.write_text(HEAD + head + body)
        return path


def in_loss(statements: str) -> str:
    """The body of a class that does this in each step, and then what MoPoE does."""
    lines = "".join(f"    {line}\n" for line in statements.strip().splitlines())
    return f"def loss(self, batch, progress):\n{lines}    return super().loss(batch, progress)"


def fails(name: str, statements: str, error: str) -> Hostile:
    return Hostile(name, in_loss(statements), "failed", error)


def leaks(name: str, statements: str, *said: str) -> Hostile:
    return Hostile(name, in_loss(statements), "done", said=said)


def dies(name: str, code: str, how: str) -> Hostile:
    return Hostile(name, code, "failed", how, deadly=True)


HOSTILE = (
    # raise
    Hostile(
        "in-init",
        "def __init__(self, *a):\n    super().__init__(*a)\n    raise RuntimeError('in init')",
        "failed",
        "RuntimeError: in init",
    ),
    fails("cancelled", "raise asyncio.CancelledError", "CancelledError"),
    fails("panic", "raise Panic('index out of bounds')", "Panic: index out of bounds"),
    fails("exit", "sys.exit(0)", "SystemExit: 0"),
    fails("interrupt", "raise KeyboardInterrupt", "KeyboardInterrupt"),
    fails(
        "stopped", "from mmbench.execution.signals import StoppedError\nraise StoppedError", "StoppedError"
    ),
    fails("unspeakable", "raise Unspeakable", "Unspeakable: its message cannot be shown"),
    fails("longwinded", "raise ValueError('x' * 10**7)", "(10,000,000 characters)"),
    fails("no-memory", "raise MemoryError('80 GiB')", "MemoryError: 80 GiB"),
    fails("recursion", "return self.loss(batch, progress)", "RecursionError"),
    Hostile(
        "in-translate",
        "def decode(self, name, latent):\n"
        "    if not self.training:\n        raise GeneratorExit\n"
        "    return super().decode(name, latent)",
        "failed",
        "GeneratorExit",
    ),
    # return what they should not
    Hostile(
        "nan-loss",
        "def loss(self, batch, progress):\n    found = super().loss(batch, progress)\n"
        "    return found._replace(total=found.total * float('nan'))",
        "failed",
        "loss became nan at step 1",
    ),
    Hostile(
        "a-loss-per-item",
        "def loss(self, batch, progress):\n    found = super().loss(batch, progress)\n"
        "    return found._replace(total=found.total.expand(3))",
        "failed",
        "grad can be implicitly created only for scalar outputs",
    ),
    Hostile(
        "nan-images",
        "def decode(self, name, latent):\n"
        "    return super().decode(name, latent) * (1.0 if self.training else float('nan'))",
        "done",
    ),
    Hostile(
        "wrong-shape",
        "def generate(self, n, generator):\n"
        "    return {name: x.flatten(1) for name, x in super().generate(n, generator).items()}",
        "failed",
        "generate gave (500, ",
    ),
    Hostile(
        "one-for-all",
        "def translate(self, inputs, targets, sample=False, generator=None):\n"
        "    found = super().translate(inputs, targets, sample, generator)\n"
        "    return {name: x[:1] for name, x in found.items()}",
        "failed",
        "translate gave (1, ",
    ),
    Hostile(
        "forgets-a-modality",
        "def loss(self, batch, progress):\n    found = super().loss(batch, progress)\n"
        "    if progress > 0.5:\n        self.modalities.popitem()\n    return found",
        "failed",
        "the model has handwritten for its modalities, expected handwritten, street",
    ),
    Hostile(
        "one-buffer",
        "def embed(self, inputs):\n    found = super().embed(inputs)\n"
        "    kept = self.__dict__.setdefault('kept', torch.empty(500, found.shape[1]))[: len(found)]\n"
        "    return kept.copy_(found)",
        "done",
    ),
    # change what others see
    leaks("in-place", "for x in batch.values():\n    x.zero_()"),
    Hostile(
        "other-dtype",
        in_loss("torch.set_default_dtype(torch.float64)"),
        "failed",
        "must have the same dtype",
        ("torch's default dtype",),
    ),
    leaks("no-gradients", "torch.set_anomaly_enabled(True)", "anomaly detection"),
    leaks("moves", "os.chdir('/')", "the working directory"),
    leaks("deafens", "warnings.simplefilter('ignore')\nlogging.disable(50)", "warning filters", "logging"),
    leaks(
        "environment",
        "os.environ['MMBENCH_CACHE'] = '/nowhere'\nos.environ.pop('PATH', None)",
        "environment variables",
    ),
    leaks(
        "dice", "random.seed(0); np.random.seed(0)\nnp.seterr(all='raise')", "numpy's handling of floating"
    ),
    leaks(
        "mutes", "sys.stdout = sys.stderr = open(os.devnull, 'w')\nsys.path.clear()", "standard output", "sys"
    ),
    leaks("deaf-to-signals", "signal.signal(signal.SIGTERM, signal.SIG_IGN)", "signal handlers"),
    leaks(
        "replaces",
        "torch.nn.Linear.reset_parameters = lambda self: None\nnp.mean = None",
        "Linear.reset_parameters",
        "numpy.mean",
    ),
    Hostile(
        "flushes",
        "def embed(self, inputs):\n    torch.set_flush_denormal(True)\n    torch.set_num_threads(1)\n"
        "    torch.autocast('cpu').__enter__()\n    return super().embed(inputs).float()",
        "done",
        said=("flushing of denormal numbers", "autocast"),
    ),
    # touch the files of their run
    leaks(
        "scribbles",
        "folder = next(p for p in FOLDERS.glob('**/scribbles/seed-0'))\n"
        "for name in ('metrics.json', 'history.csv', 'checkpoint.pt'):\n"
        "    (folder / name).write_text('scribbled')",
    ),
    Hostile(
        "scribbles-its-config",
        in_loss(
            "for status in FOLDERS.glob('**/scribbles-its-config/seed-0/status.json'):\n"
            "    status.with_name('config.json').write_text('{')"
        ),
        "failed",
        "DamagedError: ",
    ),
    fails(
        "deletes-itself",
        "for status in FOLDERS.glob('**/deletes-itself/seed-0/status.json'):\n"
        "    shutil.rmtree(status.parent)\n"
        "    raise RuntimeError('deleted')",
        "RuntimeError: deleted",
    ),
    # end their process
    dies("vanishes", in_loss("os._exit(0)"), "its process ended with exit code 0"),
    dies(
        "vanishes-late",
        "def embed(self, inputs):\n    os._exit(0)",
        "its process ended with exit code 0",
    ),
    dies(
        "killed-in-init",
        "def __init__(self, *a):\n    os.kill(os.getpid(), signal.SIGKILL)",
        "its process was killed by SIGKILL",
    ),
    dies("aborts", in_loss("os.abort()"), "its process was killed by SIGABRT"),
    dies(
        "terminates",
        in_loss("os.kill(os.getpid(), signal.SIGTERM)"),
        "its process was told to stop by a signal",
    ),
    Hostile(
        "lingers",
        in_loss("threading.Thread(target=time.sleep, args=(10**6,)).start()"),
        "done",
        deadly=True,
    ),
)

AT_IMPORT = {
    "raises": ("raise RuntimeError('at import')", "fails in line 1: RuntimeError: at import"),
    "is cancelled": ("import asyncio\nraise asyncio.CancelledError", "fails in line 2: CancelledError"),
    "panics": (
        "class Panic(BaseException): ...\nraise Panic('oh')",
        "fails in line 2: Panic: oh",
    ),
    "exits": ("import sys\nsys.exit(0)", "fails in line 2: SystemExit: 0"),
    "has a name with slashes": (
        HEAD + '@register("../../x", settings=MoPoESettings, source="nobody")\nclass Hostile(MoPoE): ...',
        "The model name '../../x' is not usable",
    ),
    "registers twice": (
        HEAD + '@register("twice", settings=MoPoESettings, source="nobody")\n'
        '@register("twice", settings=MoPoESettings, source="nobody")\nclass Hostile(MoPoE): ...',
        "The model name 'twice' is taken already",
    ),
    "has a title that is no text": (
        HEAD + '@register("five", settings=MoPoESettings, source="nobody", title=5)\nclass H(MoPoE): ...',
        "The title of the model 'five' is 5: expected a text.",
    ),
}
"""How a model file fails when it is read: text, and a part of what is said."""
