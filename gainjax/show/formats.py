"""Tables as text for other programs: Markdown, CSV and LaTeX."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Literal, get_args

import pandas as pd
import xarray as xr

from gainjax.curves import swept_names
from gainjax.show import tables
from gainjax.show.sheets import Sheet, ranking_sheet, table_sheets

Format = Literal["markdown", "csv", "latex"]

# What LaTeX takes for commands, and signs that its usual fonts lack.
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        "±": r"$\pm$",
        "≥": r"$\geq$",
        "†": r"\dag{}",
        "–": "--",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
    }
)


def formatted(
    curves: xr.Dataset, how: Format, floor: xr.Dataset | None = None, digits: int = 2
) -> str:
    r"""Return the table of curves, or the ranking of a sweep, as text for another program.

    Args:
        curves: Curves.
        how: "markdown", "latex" (a ``tabular`` with the rules of the package booktabs), or "csv",
            which has all columns of :func:`gainjax.table`, fractions unrounded.
        floor: As for :func:`gainjax.table`; not for a sweep.
        digits: Digits behind the point of a percentage.

    Raises:
        ValueError: If the format is not one of those, or as :func:`gainjax.table`.

    Example:
        >>> from gainjax import from_curves
        >>> accuracy = {"er_1": [[0.9], [0.3], [0.8]]}
        >>> found = from_curves(accuracy, eval_updates=[10, 12, 20], task_ends=[10, 20])
        >>> [line for line in formatted(found, "latex").splitlines() if line.startswith("er")]
        ['er\\_1 & 0.6667 & 0.6667 & 90.00 & 85.00 & 85.00 & $\\geq$10 \\\\']
    """
    if how not in get_args(Format):
        raise ValueError(f"the format must be one of {', '.join(get_args(Format))}: got {how!r}")
    is_sweep = bool(swept_names(curves))
    if is_sweep and floor is not None:
        raise ValueError("a ranking has no floor: give a floor for the table of a run")
    if how == "csv":
        frame: pd.DataFrame = (
            tables.ranking(curves) if is_sweep else tables.table(curves, floor=floor)
        )
        return str(frame.to_csv(lineterminator="\n"))
    sheets = (
        [ranking_sheet(curves, tables.TOLERANCE, "method", digits)]
        if is_sweep
        else list(table_sheets(curves, None, digits, floor))
    )
    return _WRITERS[how](sheets)


def markdown(sheets: Iterable[Sheet]) -> str:
    """Return sheets as tables of Markdown, with their footnotes as lists.

    Args:
        sheets: The tables.
    """
    lines = []
    for sheet in sheets:
        rows = [sheet.head, ["---"] + ["---:"] * (len(sheet.head) - 1)]
        for row in sheet.rows:
            name = f"{row.name} {row.note}".strip().replace("\n", " ").replace("|", "\\|")
            cells = [name, *(" ".join(cell) for cell in row.cells)]
            rows.append([f"**{cell}**" if row.strong and cell else cell for cell in cells])
        lines += [f"**{sheet.title}**", "", *(f"| {' | '.join(cells)} |" for cells in rows)]
        lines += ["", *(f"- {note}" for note in sheet.notes), ""]
    return "\n".join(lines)


def latex(sheets: Iterable[Sheet]) -> str:
    """Return sheets as tables of LaTeX that need the package booktabs; footnotes are comments.

    Args:
        sheets: The tables.
    """
    lines = []
    for sheet in sheets:
        lines += [f"% {sheet.title}", *(f"% {note}" for note in sheet.notes)]
        lines += [rf"\begin{{tabular}}{{l{'r' * (len(sheet.head) - 1)}}}", r"\toprule"]
        lines += [_line(sheet.head), r"\midrule"]
        for row in sheet.rows:
            name = f"{row.name} {row.note}".strip().replace("\n", " ")
            lines.append(_line([name, *(" ".join(cell) for cell in row.cells)], row.strong))
            if row.ends_group and row is not sheet.rows[-1]:
                lines.append(r"\midrule")
        lines += [r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join(lines)


def _line(cells: Iterable[str], strong: bool = False) -> str:
    texts = [cell.translate(_LATEX) for cell in cells]
    if strong:
        texts = [rf"\textbf{{{text}}}" if text else "" for text in texts]
    return rf"{' & '.join(texts)} \\"


_WRITERS: Mapping[str, Callable[[Iterable[Sheet]], str]] = MappingProxyType(
    {"markdown": markdown, "latex": latex}
)
