"""Links of pages to files of the repository outside of docs/ lead to them on GitHub.

So one text serves both: there the relative link works, on the site the full one. Images are copied.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging

LOG = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"(?<!!)(\[[^\]]*\])\(\.\./([^)#\s]+)(#[^)\s]*)?\)")


def _lead_outside(app: Sphinx, page: str, source: list[str]) -> None:
    base = f"{app.config.html_theme_options['repository_url']}/blob/main"

    def url(match: re.Match) -> str:
        text, target, anchor = match.groups()
        if not (ROOT / target).exists():
            LOG.warning("link to ../%s, which is not in the repository", target, location=page)
        return f"{text}({base}/{target}{anchor or ''})"

    if "/" not in page:
        source[0] = _LINK.sub(url, source[0])


def setup(app: Sphinx) -> dict:
    """Rewrite the source of pages before they are parsed."""
    app.connect("source-read", _lead_outside)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
