"""Reports: tables, figures and a page, built from the files that runs leave on disk and from nothing else.

No model, no data set and no torch is needed. `results` finds and checks runs, `tables` computes, `render` writes CSV, Markdown and
LaTeX, `figures` and `curves` draw, `page` puts it together; `sheets` is how a run stores its sample images.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO

from mmbench.files import write_atomically
from mmbench.locks import locked

__all__ = ["write_report"]


def write_report(results: Path | str, say: Callable[[str], object] = print) -> list[Path]:
    """Write the report of every <dataset>/<preset> folder at, above or below `results`; the paths of all files written.

    Everything is read and drawn before the first file is written. The same runs give the same bytes.

    Args:
        results: the folder.
        say: told when another command has to be waited for.

    Raises:
        InputError: for a path without runs, damaged files, runs that do not belong together, or a folder that cannot be written.
    """
    from mmbench.report.page import build_report  # pandas and matplotlib are imported when they are needed
    from mmbench.report.results import find_runs

    folders = sorted({run.folder.parents[1] for run in find_runs(os.path.realpath(results))})
    written = []
    with ExitStack() as locks:  # held while reading too: of two reports, the later one on disk is the one that has seen more
        for folder in folders:
            locks.enter_context(locked(folder / ".lock", partial(say, f"{folder}: waiting for another command that writes its report.")))
        reports = {folder: build_report(find_runs(folder)) for folder in folders}
        for folder, files in reports.items():
            for name, content in files.items():
                write_atomically(folder / name, partial(_put, content))
                written.append(folder / name)
    return written


def _put(content: bytes, file: IO[bytes]) -> None:
    file.write(content)
