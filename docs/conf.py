"""How Sphinx makes the documentation site of these pages: `sphinx-build -W docs site`. _toc.yml has its navigation."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

project = "faceline"
html_title = "faceline"
language = "en"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_external_toc"]
myst_heading_anchors = 3  # the anchors that a code host gives the headings, so that links work in both places
html_theme = "furo"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

# The docstrings behind reference/api.md
default_role = "code"  # `x` is code, as in Markdown
autodoc_member_order = "bysource"
napoleon_use_ivar = True
