"""Settings of the site that scripts/docs.sh builds: Sphinx, with the guide's chapters and the docstrings."""

import mpibatch

project, author = "mpibatch", "the mpibatch developers"
version = release = mpibatch.__version__
project_copyright = "the mpibatch developers"

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc"]
html_theme = "pydata_sphinx_theme"
html_title = f"mpibatch {version}"
html_copy_source = html_show_sourcelink = False
html_theme_options = {"show_nav_level": 2, "navigation_with_keys": False, "secondary_sidebar_items": ["page-toc"]}

myst_heading_anchors = 3
# The text of docstrings is that of a terminal: `name` is a name, not a title.
default_role = "code"
autodoc_typehints = "none"  # numpydoc's sections have them in words
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
suppress_warnings = ["myst.xref_missing"]  # of the README's links to files
