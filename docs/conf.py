"""How Sphinx builds these pages: ``sphinx-build docs docs/_build``. Nothing is fetched, here or by a reader."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "zoo"
version = release = version_of("ehr-zoo")
html_title = f"zoo {version}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "_docstrings", "_pages"]
exclude_patterns = ["_build"]
highlight_language = "text"
nitpicky = True

myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
maximum_signature_line_length = 88
napoleon_use_ivar = True
napoleon_use_rtype = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["zoo.css"]
html_extra_path = ["../benchmarks/results"]
html_copy_source = False
html_show_copyright = False
