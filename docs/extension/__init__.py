"""What makes the pages of the site from the code: a Sphinx extension, in the parts that its modules name."""

from typing import Any

from extension.docstrings import rewrite_docstring, skip_field
from extension.links import rewrite_links
from extension.mathml import visit_block, visit_inline
from extension.pages import write_pages

__all__ = ["setup"]


def setup(app: Any) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    app.connect("builder-inited", write_pages)
    app.connect("source-read", rewrite_links)
    app.connect("autodoc-process-docstring", rewrite_docstring, priority=100)  # before napoleon
    app.connect("autodoc-skip-member", skip_field)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
