"""What Sphinx is told; `website/__main__.py` lays the pages and the generated reference before it."""

from __future__ import annotations

import flyweight

project = "flyweight"
author = "the flyweight maintainers"
copyright = "the flyweight maintainers"
version = release = flyweight.__version__
extensions = ["myst_parser"]
root_doc = "index"
html_theme = "furo"
html_title = f"flyweight {flyweight.__version__}"
html_show_sourcelink = False
html_copy_source = False
myst_heading_anchors = 4  # the anchors that code hosts give, so that links work in both places
smartquotes = False  # -- is the beginning of an option
