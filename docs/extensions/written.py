"""Files that the build writes."""

from pathlib import Path


def write(path: Path, text: str) -> None:
    """Write a page, unless it is there as it should be: then Sphinx need not read it again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
