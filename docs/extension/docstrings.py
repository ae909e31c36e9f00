"""Docstrings of this project as reStructuredText for autodoc, and as Markdown for the generated pages.

They are plain text: sections of Google's style, names between single backticks, and formulas that are
paragraphs of their own, without a full stop at their end, or indented.
"""

import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

__all__ = ["rewrite_docstring", "skip_field", "to_markdown"]

SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):")
RELATION = re.compile(r" [=~] |:=|proportional to")


def _paragraphs(text: str) -> Iterator[tuple[str, list[str]]]:
    """(kind, lines) of each block between empty lines; kinds: section, example, formula, prose."""
    in_section = False
    for block in filter(str.strip, re.split(r"\n\s*\n", text.strip("\n"))):
        lines = block.splitlines()
        if lines[0].startswith(">>> "):
            yield "example", lines
            continue
        indented = all(line.startswith("    ") for line in lines)
        in_section = bool(SECTION.fullmatch(lines[0].strip())) or (in_section and indented)
        ends = lines[-1].rstrip()[-1] in ".:,;"
        if in_section:
            yield "section", lines
        elif indented or (RELATION.search(block) and not ends):
            yield "formula", textwrap.dedent(block).splitlines()
        else:
            yield "prose", lines


def to_markdown(docstring: str | None) -> str:
    """The docstring without its sections, formulas and examples fenced."""
    parts = []
    for kind, lines in _paragraphs(inspect.cleandoc(docstring or "")):
        body = "\n".join(lines)
        if kind == "prose":
            parts.append(body)
        elif kind != "section":
            parts.append(f"```{'python' if kind == 'example' else 'text'}\n{body}\n```")
    return "\n\n".join(parts)


def rewrite_docstring(app: Any, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """The event `autodoc-process-docstring`: rewrite `lines` in place."""
    written: list[str] = []
    for kind, block in _paragraphs("\n".join(lines)):
        if kind == "formula":
            written += ["::", "", *(f"    {line}" for line in block), ""]
        elif kind == "example":
            written += [*block, ""]
        else:
            written += [*(_escape(line) for line in block), ""]
    lines[:] = written


def skip_field(app: Any, what: str, name: str, found: Any, skip: bool, options: Any) -> bool | None:
    """The event `autodoc-skip-member`: fields of a named tuple are described under it, not one by one."""
    return True if (getattr(found, "__doc__", None) or "").startswith("Alias for field number") else None


def _escape(line: str) -> str:
    """A line of prose in reStructuredText: code between double backticks, nothing else with a meaning."""
    parts = re.split(r"(`+[^`]*`+)", line)
    for index, part in enumerate(parts):
        if index % 2:
            parts[index] = f"``{part.strip('`')}``"
            if index + 1 < len(parts) and re.match(r"\w", parts[index + 1]):
                parts[index] += "\\ "  # `Name`s
        else:
            part = re.sub(r"([*|\\])", r"\\\1", part)
            parts[index] = re.sub(r"(?<=[\w\]\)])_(?=\W|$)", r"\\_", part)
    return "".join(parts)
