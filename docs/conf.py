"""Sphinx's settings: `sphinx-build -W docs docs/_build` makes the tutorial and the API reference."""

import gradlab

project, author, release = "gradlab", "The gradlab developers", gradlab.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "myst_parser"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"gradlab {release}"
autodoc_default_options = {"members": True}
autodoc_type_aliases = {"Array": "Array"}
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
suppress_warnings = ["ref.python"]  # several tasks have an input_size
