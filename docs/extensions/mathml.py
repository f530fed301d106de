"""Formulas as MathML: browsers draw it themselves, so pages need neither a network nor a script.

A formula that cannot be translated is a warning, and so an error of the build. What MathML needs is
a font that knows of formulas; one comes along for systems without.
"""

from importlib.resources import as_file, files
from pathlib import Path

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.fileutil import copy_asset_file

LOG = logging.getLogger(__name__)


def _mathml(node: nodes.Element, *, block: bool) -> str:
    try:
        return tex2mathml(node.astext(), as_block=block)
    except (MathError, IndexError) as error:  # the latter for a script without a base
        LOG.warning("formula %r: %s", node.astext(), error, location=node)
        return f"<code>{node.astext()}</code>"


def _inline(translator, node):
    translator.body.append(_mathml(node, block=False))
    raise nodes.SkipNode


def _block(translator, node):
    # Not of the class "math", which the theme lays out for another renderer.
    translator.body.append(f'<div class="formula">{_mathml(node, block=True)}</div>')
    raise nodes.SkipNode


def _copy_font(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        with as_file(files("ziamath") / "fonts" / "STIXTwoMath-Regular.ttf") as font:
            copy_asset_file(font, Path(app.outdir) / "_static")


def setup(app: Sphinx) -> dict:
    """Register the renderer under the name "mathml"."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("build-finished", _copy_font)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
