"""Links of the Markdown pages to code and folders, which a forge shows and a site does not: to its pages."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

__all__ = ["rewrite_links"]

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("models", "metrics", "mmbench")


def rewrite_links(app: Any, docname: str, source: list[str]) -> None:
    """The event `source-read`: rewrite the text of a page, source[0], in place."""
    here = (ROOT / docname).parent

    def rewrite(match: re.Match[str]) -> str:
        words, link = match["words"], match["link"]
        path = link.partition("#")[0]
        if "://" in path or not path:
            return match[0]
        target = (here / unquote(path)).resolve()
        if not target.is_relative_to(ROOT):
            return match[0]
        name = target.relative_to(ROOT).as_posix()
        if target.is_dir() and (target / "README.md").exists():
            return f"[{words}](/{name}/README.md)"
        if name.partition("/")[0] in PACKAGES and (target.is_dir() or target.suffix == ".py"):
            return f"[{words}](#api-{name.removesuffix('.py').replace('/', '.')})"
        if target.is_dir():
            return words
        if target.suffix == ".md" and target.is_file() and not _is_page(app, name):
            return f"{{download}}`{words} <{path}>`"
        return match[0]

    if docname.startswith("results/published/") and not source[0].startswith("#"):
        source[0] = f"# {docname.rpartition('/')[2].capitalize()}\n\n{source[0]}"
    if not docname.startswith("docs/tutorials/"):  # of notebooks the text is JSON
        source[0] = re.sub(r"(?<!!)\[(?P<words>[^\]\[]*)\]\((?P<link>[^)\s]+)\)", rewrite, source[0])


def _is_page(app: Any, name: str) -> bool:
    """Whether a file of the repository is a page of the site."""
    return app.env.path2doc(ROOT / name) in app.env.found_docs
