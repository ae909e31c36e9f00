"""Reports: tables, figures and a page, built from the files that runs leave on disk and from nothing else.

No model, no data set and no torch is needed. `numbers/` computes tables, writes them as CSV, Markdown, LaTeX
and JSON, and lays two folders side by side; `pictures/` draws; `pages/` puts it together; `status.py` says
how far runs are.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from mmbench.report.leftovers import LIST, find_leftovers, list_files
from mmbench.storage.files import WriteError, write_atomically
from mmbench.storage.locks import locked
from mmbench.storage.records import find_folders

__all__ = ["write_comparison", "write_ranks", "write_report"]


def write_report(results: Path | str, say: Callable[[str], object] = print) -> list[Path]:
    """Write the report of every <dataset>/<preset> folder at, above or below `results`.

    Everything is read and drawn before the first file is written. The same runs give the same bytes. Files
    that an earlier report wrote there and this one does not are removed.

    Args:
        results: the folder.
        say: told when another command has to be waited for.

    Returns:
        The paths of all files written.

    Raises:
        InputError: for a path without runs, damaged files, runs that do not belong together, or a folder that
            cannot be written.
    """
    # pandas and matplotlib are imported when they are needed
    from mmbench.report.numbers.export import to_json
    from mmbench.report.numbers.further import build_all_tables
    from mmbench.report.numbers.results import find_runs
    from mmbench.report.pages.page import build_report

    def build(folder: Path) -> dict[str, bytes]:
        runs = find_runs(folder)
        tables = build_all_tables(runs)
        files = build_report(runs, tables) | {"results.json": to_json(runs, tables).encode()}
        return files | {LIST: list_files(files)}

    folders = sorted({folder.parents[1] for folder in find_folders(Path(os.path.realpath(results)))})
    return list(_write(folders, build, say))


def write_comparison(
    results: Path | str, against: Path | str, say: Callable[[str], object] = print
) -> tuple[str, list[Path]]:
    """Write comparison.md and comparison.csv for what two folders of results have in common.

    They go into every <dataset>/<preset> folder at, above or below `results` that `against` has too.

    Args:
        results, against: the folders, A and B.
        say: told when another command has to be waited for.

    Returns:
        All comparisons in Markdown, and the paths of the files written.

    Raises:
        InputError: as `write_report`, and where the two have no data set and preset in common.
    """
    from mmbench.report.numbers.compare import compare, match
    from mmbench.report.numbers.results import find_runs

    shared, lonely = match(find_runs(os.path.realpath(results)), find_runs(os.path.realpath(against)))
    sides = {ours[0].folder.parents[1]: (ours, theirs) for ours, theirs in shared}
    written = _write(sorted(sides), lambda folder: compare(*sides[folder]), say)
    texts = [content.decode() for path, content in written.items() if path.suffix == ".md"]
    return "\n".join([*texts, *([lonely] if lonely else [])]), list(written)


def write_ranks(results: Path | str, say: Callable[[str], object] = print) -> tuple[str, list[Path]]:
    """Write ranks.md, ranks.csv and a picture for each measure: models ranked over data sets.

    Pictures that an earlier one wrote there and this one does not are removed.

    Args:
        results: a folder that holds results of several data sets.
        say: told when another command has to be waited for.

    Returns:
        The tables in Markdown, and the paths of the files written.

    Raises:
        InputError: as `write_report`, and where no two models are on two data sets.
    """
    from mmbench.report.numbers.across import rank_across, ranks_csv, ranks_markdown
    from mmbench.report.numbers.results import find_runs
    from mmbench.report.pictures.ranks import draw_ranks

    def build(folder: Path) -> dict[str, bytes]:
        rankings, notes = rank_across(find_runs(folder))
        names = [f"ranks-{number}.png" for number in range(1, len(rankings) + 1)]
        pictures = {name: draw_ranks(each).png for name, each in zip(names, rankings, strict=True)}
        text, rows = ranks_markdown(rankings, notes, names), ranks_csv(rankings)
        files = {"ranks.md": text.encode(), "ranks.csv": rows.encode(), **pictures}
        return files | {LIST: list_files(files)}

    written = _write([Path(os.path.realpath(results))], build, say)
    return next(content.decode() for path, content in written.items() if path.suffix == ".md"), list(written)


def _write(
    folders: Sequence[Path], build: Callable[[Path], dict[str, bytes]], say: Callable[[str], object]
) -> dict[Path, bytes]:
    """Write the files that `build` makes for each folder, all built before the first is written.

    Where a list is one of them, what the list of before has beyond them is removed.

    Returns:
        Their contents by path.
    """
    with ExitStack() as locks:
        # held while reading too: of two reports, the later one on disk is the one that has seen more
        for folder in folders:
            told = partial(say, f"{folder}: waiting for another command that writes its report.")
            locks.enter_context(locked(folder / ".lock", told))
        built = {folder: build(folder) for folder in folders}
        leftovers = [
            path for folder, own in built.items() if LIST in own for path in find_leftovers(folder, own)
        ]
        for path in leftovers:
            try:
                path.unlink()
            except OSError as error:
                raise WriteError(path, error) from error
        files = {folder / name: content for folder, own in built.items() for name, content in own.items()}
        for path, content in files.items():
            write_atomically(path, content)
    return files
