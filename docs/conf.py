"""The site: `sphinx-build --fail-on-warning -c docs . build/site` in the root of the repository, no network.

The root is the source folder, because pages of `docs/` and of published results link to each other. What the
registries, docstrings and published tables know is written into pages of `docs/generated/` first (see
`extension/`), which git ignores.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(DOCS), str(ROOT)]

project = "mmbench"
author = "The mmbench authors"
copyright = "the mmbench authors, MIT licence"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
    "extension",
]
root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "docs/**/*.md",
    "docs/**/*.ipynb",
    "results/published/README.md",
    "results/published/**/*.md",
    "benchmarks/README.md",
    "examples/plugin/README.md",
    "CHANGELOG.md",
]
exclude_patterns = [
    "docs/extension/**",
    "docs/README.md",
    "results/published/**/pictures.md",
    "results/published/**/table*.md",
]

suppress_warnings = ["ref.python"]  # fields of one name in several classes

html_theme = "furo"
html_title = "mmbench"
html_static_path = ["extension/static"]
html_css_files = ["site.css"]
html_extra_path = ["extension/start"]  # index.html, which leads on to docs/index.html
html_show_sourcelink = False
html_show_sphinx = False

# The browser renders MathML, the fonts and scripts of MathJax and KaTeX would come from a network
html_math_renderer = "mathml"

myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 4
smartquotes = False  # two dashes begin an option
nb_execution_mode = "auto"
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_execution_timeout = 600  # seconds of a cell, on a machine that does other things
nb_merge_streams = True

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_inherit_docstrings = False
# what extras bring, where they are not installed
autodoc_mock_imports = [
    name
    for name in ("ray", "optuna", "multivae", "pythae", "tensorboard", "tomli")
    if find_spec(name) is None
]
maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # autodoc lists the fields of named tuples too
add_module_names = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
