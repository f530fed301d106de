"""How the documentation is built: `make -C docs html`, offline, warnings are errors."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "gainjax"
author = "The gainjax authors"
copyright = "The gainjax authors, Apache-2.0"
release = version = version_of("gainjax")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "mathml",
    "api_pages",
    "registry_pages",
    "repository_links",
]
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]

# Pages. Every code cell is run, and one that fails stops the build.
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_timeout = 300
nb_merge_streams = True
nb_render_markdown_format = "myst"

# The reference, from docstrings.
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {
    "show-inheritance": False,
    "exclude-members": "tree_flatten_with_keys, tree_unflatten",  # the protocol of a pytree
}
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
nitpicky = True
nitpick_ignore_regex = [
    # Documented elsewhere, and their inventories are not at hand without a network.
    (r"py:.*", r"(jax|jaxlib|flax|nnx|optax|orbax|numpy|np|xarray|pandas|pd|matplotlib)(\..*)?"),
    (r"py:.*", r"(rich|ArrayTree|jaxtyping|ndarray)(\..*)?"),
    # Of no use outside of their module, where the source says what they are.
    (r"py:.*", r"gainjax\.(runs\.(plan|spec|guard)|curves\.foreign)\.\w+"),
    (r"py:.*", r"gainjax\.(training\.layout\.Tree|optim\.nested\.Kind|callbacks\._Callback)"),
    (r"py:.*", r"(collections|typing|pathlib|dataclasses|types|contextlib|os)\..*"),
    # In the signatures of overloads, which name what type checkers tell apart.
    (r"py:.*", r"(gainjax\.\S+\.)?(ProtocolOptions|CarryingOut|Options(OfResume|ForCurves)?)"),
    (r"py:.*", r"gainjax\.runs\.benchmark\._Changes"),
    (r"py:.*", r"Path|xr\.Dataset"),
]

# The site.
html_theme = "sphinx_book_theme"
html_title = "gainjax"
html_baseurl = "https://gainjax.github.io/gainjax/"
html_math_renderer = "mathml"
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {
    "repository_url": "https://github.com/gainjax/gainjax",
    "repository_branch": "main",
    "path_to_docs": "docs",
    "use_repository_button": True,
    "use_issues_button": True,
    "use_edit_page_button": True,
    "show_toc_level": 2,
    "navbar_persistent": [],  # there is a search field at the side already
}
copybutton_exclude = ".linenos, .gp, .go"
