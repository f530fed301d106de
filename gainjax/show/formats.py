"""Tables as text for papers, notes and spreadsheets."""

import re
from collections.abc import Iterable
from typing import Literal, get_args

import xarray as xr

from gainjax.show import tables
from gainjax.show.sheets import Sheet, is_ranking, ranking_sheet, table_sheets

Format = Literal["markdown", "csv", "latex"]

_DIGITS = 2  # decimal digits of a percentage
_LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "≥": r"$\geq$",
    "±": r"$\pm$",
    "–": r"\textendash{}",
    "`": r"\textasciigrave{}",
    "†": r"$^\dagger$",
    "*": r"$^*$",
    "−": "$-$",
}

# An underscore within a word is one; brackets alone are no link; an ampersand alone is no entity.
_MARKUP = re.compile(r"[\\`*<~$|]|(?<![^\W_])_|_(?![^\W_])|\[(?=[^\]]*\]\()|&(?=#?\w+;)")


def formatted(curves: xr.Dataset, format: Format, floor: xr.Dataset | None = None) -> str:
    r"""Return the table of a run, or the ranking of a sweep, as text.

    Args:
        curves: Curves.
        format: "markdown", or "latex" for the packages ``booktabs`` and, if names need it,
            ``fontenc`` with T1: the displayed table, with footnotes. "csv": the columns of
            :func:`gainjax.table` or :func:`gainjax.ranking`, unrounded.
        floor: As for :func:`gainjax.table`; not for a sweep.

    Returns:
        The text, ending with a newline.

    Raises:
        ValueError: If the format is unknown, or as :func:`gainjax.table`.

    Example:
        >>> from gainjax import from_curves
        >>> accuracy = {"er_x": [[0.9], [0.3], [0.8]], "ewc": [[0.9], [0.6], [0.7]]}
        >>> curves = from_curves(accuracy, eval_updates=[10, 12, 20], task_ends=[10, 20])
        >>> print(formatted(curves, "latex").splitlines()[6])
        er\_x & 0.6667 & 0.6667 & 90.00 & 85.00 & 85.00 & $\geq$10 \\
    """
    if format not in get_args(Format):
        raise ValueError(f"format must be one of {', '.join(get_args(Format))}: got {format!r}")
    is_sweep = is_ranking(curves)
    if is_sweep and floor is not None:
        raise ValueError("floor is for the table of a run: a ranking has none")
    if format == "csv":
        frame = tables.ranking(curves) if is_sweep else tables.table(curves, floor=floor)
        return frame.to_csv()
    sheets = (
        [ranking_sheet(curves, tables.TOLERANCE, "method", _DIGITS)]
        if is_sweep
        else table_sheets(curves, None, _DIGITS, floor)
    )
    return markdown(sheets) if format == "markdown" else latex(sheets)


def markdown(sheets: Iterable[Sheet]) -> str:
    """Return tables in Markdown.

    Args:
        sheets: The tables.
    """
    lines = []
    for sheet in sheets:
        rows = [[*map(_literal, sheet.head)], ["---"] + ["---:"] * (len(sheet.head) - 1)]
        for row in sheet.rows:
            name = _literal(f"{row.name} {row.note}".strip().replace("\n", " "))
            cells = [name, *(" ".join(cell) for cell in row.cells)]
            rows.append([f"**{cell}**" if row.strong and cell else cell for cell in cells])
        lines += [
            f"**{_literal(sheet.title)}**",
            "",
            *(f"| {' | '.join(cells)} |" for cells in rows),
        ]
        lines += ["", *(f"- {_literal(note)}" for note in sheet.notes), ""]
    return "\n".join(lines)


def _literal(text: str) -> str:
    """Return a text that Markdown shows as it is: no HTML, links, emphasis or formulas."""
    return _MARKUP.sub(r"\\\g<0>", text)


def latex(sheets: Iterable[Sheet]) -> str:
    """Return tables in LaTeX, each a float with ``booktabs`` rules.

    Args:
        sheets: The tables.
    """
    lines = []
    for sheet in sheets:
        columns = "l" + "r" * (len(sheet.head) - 1)
        lines += [r"\begin{table}", r"\centering", f"\\caption{{{escaped(sheet.title)}}}"]
        lines += [f"\\begin{{tabular}}{{{columns}}}", r"\toprule"]
        lines.append(" & ".join(map(escaped, sheet.head)) + r" \\ \midrule")
        for number, row in enumerate(sheet.rows, 1):
            name = f"{row.name} {row.note}".strip().replace("\n", " ")
            cells = [escaped(text) for text in (name, *(" ".join(cell) for cell in row.cells))]
            bold = [rf"\textbf{{{cell}}}" if row.strong and cell else cell for cell in cells]
            rule = r" \midrule" if row.ends_group and number < len(sheet.rows) else ""
            # A bracket at the start of a line would be parsed as an option of the line break.
            lines.append(
                " & ".join("{}" * cell.startswith("[") + cell for cell in bold) + r" \\" + rule
            )
        lines += [r"\bottomrule", r"\end{tabular}", "", r"\smallskip\footnotesize"]
        lines += [
            f"{escaped(note)}." + r"\\" * (note is not sheet.notes[-1]) for note in sheet.notes
        ]
        lines += [r"\end{table}", ""]
    return "\n".join(lines)


def escaped(text: str) -> str:
    r"""Return a text in which LaTeX's special characters are escaped.

    Args:
        text: Any text.

    Example:
        >>> print(escaped("50% of a_b"))
        50\% of a\_b
    """
    mapped = "".join(_LATEX.get(character, character) for character in text)
    return re.sub("-(?=-)", "-{}", mapped)  # two hyphens would become a dash
