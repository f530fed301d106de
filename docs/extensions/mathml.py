"""Formulas as MathML: browsers draw it themselves, so pages need neither a network nor a script.

A formula that cannot be translated is a warning, and so an error of the build.
"""

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

LOG = logging.getLogger(__name__)


def _mathml(node: nodes.Element, *, block: bool) -> str:
    try:
        return tex2mathml(node.astext(), as_block=block)
    except (MathError, IndexError) as error:  # the latter for a script without a base
        LOG.warning("formula %r: %s", node.astext(), error, location=node)
        return f"<code>{node.astext()}</code>"


def inline(translator, node):
    """Write a formula of a line of text."""
    translator.body.append(_mathml(node, block=False))
    raise nodes.SkipNode


def block(translator, node):
    """Write a formula that stands alone."""
    translator.body.append(f'<div class="math">{_mathml(node, block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict:
    """Register the renderer under the name "mathml"."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
