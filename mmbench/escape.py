"""Words from outside, written so that they are words wherever they are read: the one place for every format.

Titles, labels and messages come from whoever made a model or a folder of results. A terminal takes some
characters for commands, a spreadsheet takes a cell that begins with = for a formula, and Markdown and LaTeX
have signs of their own. (HTML: the templates of the report escape by themselves, after `visible`.)
"""

import csv
import html
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence

__all__ = ["csv_text", "escape_latex", "escape_markdown", "one_line", "visible"]

_FORMULA = re.compile(r"(^|;)(\s*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")  # each also in full width
_NUMBER = r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
_NUMBERS = re.compile(f"{_NUMBER}(;{_NUMBER})*")
_MARKDOWN = re.compile(r"([\\`*{}\[\]|~$#]|(?<![^\W_])_|_(?![^\W_]))")  # inside a word _ means nothing
_LATEX = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # after the end of a row it would begin an option
    "]": "{]}",
    "*": "{*}",  # and this would belong to that end
    "→": r"$\to$",
    "±": r"$\pm$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "\N{MINUS SIGN}": "$-$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "Δ": r"$\Delta$",
    "—": "---",
    "\N{EN DASH}": "--",
    "…": r"\ldots{}",
}


def visible(text: str) -> str:
    r"""`text` in which every character is seen and does nothing else. Newlines stay.

    Control characters, and those that turn the direction of writing, become escapes such as \x1b.

    >>> visible("\x1b[31mred")
    '\\x1b[31mred'
    """
    if text.isprintable():
        return text
    shown = (c if c == "\n" or unicodedata.category(c)[0] != "C" else _escaped(c) for c in text)
    return "".join(shown)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def one_line(text: str) -> str:
    """`text` as `visible`, in one line with single blanks."""
    return visible(" ".join(text.split()))


def escape_markdown(text: str) -> str:
    """`text` as it is, in one line of Markdown: no HTML, emphasis, links, formulas or table bars."""
    return _MARKDOWN.sub(r"\\\1", html.escape(one_line(text), quote=False))


def escape_latex(text: str, most: int = 0) -> str:
    """`text` as it is, in one line of LaTeX; what pdfLaTeX has no letter for is written as its code.

    Args:
        most: letters, after which an ellipsis stands for the rest: TeX has a widest box. 0 for all of them.
    """
    letters = "".join(map(_in_latex, one_line(text)))
    if most and len(letters) > most:
        letters = f"{letters[: most - 1]}…"
    return "".join(_LATEX.get(char, char) for char in letters)


def _in_latex(char: str) -> str:
    """A character that pdfLaTeX has, or the code of one that it has not."""
    base = unicodedata.normalize("NFD", char)[0]  # é is an accent over e, which every font has
    has = char.isascii() or char in _LATEX or char in "ßØøÆæŒœŁł" or (char <= "ÿ" and base.isascii())
    return char if has else f"U+{ord(char):04X}"


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV: numbers to 10 digits, None as nothing, texts such that no spreadsheet runs them.

    An apostrophe stands before what would begin a formula, also after a semicolon, which many spreadsheets
    read as the end of a cell. Negative numbers stay numbers.

    >>> csv_text([["=1+1", -0.25, "-0.5;0.5", None]])
    "'=1+1,-0.25,-0.5;0.5,\\n"
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows([_csv_field(field) for field in row] for row in rows)
    return stream.getvalue()


def _csv_field(field: object) -> str:
    """What stands in one cell."""
    if field is None:
        return ""
    if not isinstance(field, str):
        return f"{field:.10g}" if isinstance(field, float) else str(field)
    text = visible(field).replace("\n", "\\n")
    return text if _NUMBERS.fullmatch(text) else _FORMULA.sub(r"\1\2'", text)
