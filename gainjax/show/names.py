"""Displayed names of settings, methods and hyperparameters."""

import xarray as xr


def setting_names(curves: xr.Dataset | xr.DataArray) -> dict[str, str]:
    """Return the displayed name of each setting: its label with the title of its method.

    Args:
        curves: Curves, or what is measured on the same settings.

    Returns:
        Names by label, all different; the labels themselves if titles are ambiguous.
    """
    labels, methods, titles = (
        curves[name].values.tolist() for name in ("setting", "method", "title")
    )
    names = [
        title + label.removeprefix(method) if label.startswith(method) else label
        for label, method, title in zip(labels, methods, titles, strict=True)
    ]
    if len(set(names)) < len(names):
        names = labels
    return {label: printable(name) for label, name in zip(labels, names, strict=True)}


def method_names(curves: xr.Dataset) -> dict[str, str]:
    """Return the displayed name of each method.

    Args:
        curves: Curves.

    Returns:
        Titles by method, in order; the methods themselves if titles are ambiguous.
    """
    titles = dict(
        zip(curves["method"].values.tolist(), curves["title"].values.tolist(), strict=True)
    )
    if len(set(titles.values())) < len(titles):
        titles = {method: method for method in titles}
    return {method: printable(title) for method, title in titles.items()}


def printable(text: str) -> str:
    """Return a text without terminal control characters.

    Args:
        text: Any text, possibly from a foreign file.
    """
    return "".join(c if c.isprintable() else "�" for c in text)


def words(name: str) -> str:
    """Return the displayed name of a hyperparameter.

    Args:
        name: A Python identifier.
    """
    return name.replace("_", " ")


def value_text(value: float | str) -> str:
    """Return the value of a swept hyperparameter, empty for a method without it.

    Args:
        value: A coordinate: a number, infinite for "no bound", or the name of a schedule.
    """
    if isinstance(value, str):
        return printable(value)
    if value != value:
        return ""
    return "none" if value == float("inf") else f"{value:g}"
