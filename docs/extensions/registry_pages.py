"""A page for each method, benchmark and metric, written from the registries."""

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import pandas as pd
from sphinx.application import Sphinx
from written import write

import gainjax
from gainjax.methods import Method
from gainjax.methods.method import FINITE, RANGES
from gainjax.metrics import Metric

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))
from experiments.league.entries import ENTRIES  # noqa: E402
from experiments.league.page import of_benchmark, read_stored  # noqa: E402

_COSTS = {entry.method: entry for entry in ENTRIES}
_REFERENCE = "{doc}`API reference </api/index>`"


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a table in Markdown.

    Args:
        head: Names of the columns.
        rows: Cells.
    """
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def code(text: str, language: str = "python") -> str:
    """Return a block of code."""
    return f"```{language}\n{text}\n```\n"


@cache
def league() -> dict[str, pd.DataFrame]:
    """Return the league's table of each benchmark, from its stored numbers."""
    stored = read_stored(ROOT / "experiments/results")
    return {name: of_benchmark(rows) for name, rows in stored.items()}


# --- Methods --------------------------------------------------------------------------------------


def method_page(method: Method) -> str:
    """Return the page of a method."""
    parts = [f"# {method.name}\n", f"{_sentence(method.summary)} *Source: {method.source}.*\n"]
    notes = []
    if method.needs_boundary:
        notes.append("It is informed of task changes: an oracle, for comparison only.")
    if method.borrows_gain:
        notes.append("It replays the gain of another run: `--gain-from`, `gain_from=`.")
    if not method.evaluates_trained:
        notes.append("It is evaluated at weights other than those that it trains.")
    parts += [f"{note}\n" for note in notes]
    parts.append("## Hyperparameters\n")
    rows = [
        (f"`{name}`", "none" if value is None else f"{value:g}", _range(method, name))
        for name, value in method.hyperparameters.items()
    ]
    parts.append(table(["name", "default", "range"], rows) if rows else "None.\n")
    if built := list(built_on(method)):
        parts.append("Built on " + ", ".join(built) + ".\n")
    parts += ["## Use\n", _use(method)]
    parts += list(_in_the_league(method.name))
    return "\n".join(parts)


def built_on(method: Method) -> Iterator[str]:
    """Yield links to the transformations that the factories of a method name."""
    for function in (method.make, method.gain, method.wrap):
        while isinstance(function, partial):
            function = function.func
        code_of = getattr(function, "__code__", None)
        names = code_of.co_names if code_of else ()
        for name, after in zip(names, (*names[1:], ""), strict=False):
            thing = function.__globals__.get(name)
            if name == "optax" and hasattr(thing, after):
                yield f"`optax.{after}`"
            elif getattr(thing, "__module__", "").startswith("gainjax.optim"):
                yield f"{{py:obj}}`{thing.__module__}.{thing.__qualname__}`"


def _range(method: Method, name: str) -> str:
    return (method.ranges.get(name) or RANGES.get(name, FINITE)).wanted


def _use(method: Method) -> str:
    if method.borrows_gain:
        return code(
            "gainjax run split-digits --methods ngm-sgd --out runs/ngm\n"
            f"gainjax run split-digits --methods {method.name} --gain-from runs/ngm",
            "sh",
        )
    return code(f"gainjax run split-digits --methods {method.name} --seeds 5", "sh")


def _in_the_league(name: str) -> Iterator[str]:
    rows = []
    for benchmark, results in league().items():
        if name in results.index:
            row = results.loc[name]
            gap = f"{row['gap']:.3f} [{row['gap_low']:.3f}, {row['gap_high']:.3f}]"
            rows.append((benchmark, row["setting"], gap, f"{100 * row['anytime']:.1f}"))
    if not rows:
        return
    yield "## In the league\n"
    yield "At its best of seven settings, ten fresh seeds ([comparison](../../choosing.md)).\n"
    yield table(["benchmark", "setting", "avg-SG", "anytime accuracy, %"], rows)
    if name in _COSTS:
        cost = _COSTS[name]
        yield (
            f"It costs {_times(cost.forward, 'forward pass', 'forward passes')} and "
            f"{_times(cost.backward, 'backward pass', 'backward passes')} per update, and "
            f"{_times(cost.memory, 'extra copy', 'extra copies')} of the weights.\n"
        )


def _times(number: int, one: str, many: str) -> str:
    return f"{number or 'no'} {one if number == 1 else many}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _method_row(method: Method) -> tuple[str, ...]:
    told = "yes" if method.needs_boundary else ""
    return f"[{method.name}](methods/{method.name}.md)", method.summary, told, method.source


# --- Benchmarks -----------------------------------------------------------------------------------


def benchmark_page(benchmark: gainjax.Benchmark) -> str:
    """Return the page of a benchmark."""
    protocol = benchmark.protocol
    parts = [
        f"# {benchmark.name}\n",
        f"{_sentence(benchmark.summary)} *Source: {benchmark.source}.*\n",
        "## Protocol\n",
        table(
            ["field", "value"],
            [(f"`{name}`", _shown(value)) for name, value in vars(protocol).items()],
        ),
        "Meanings: {py:class}`gainjax.training.Protocol`.\n",
    ]
    own = [
        (f"`{name}`", f"{value:g}", "every method that has it")
        for name, value in benchmark.hyperparameters.items()
        if not isinstance(value, dict)
    ]
    own += [
        (f"`{name}`", f"{number:g}", f"[{method}](../methods/{method}.md)")
        for method, values in benchmark.hyperparameters.items()
        if isinstance(values, dict)
        for name, number in values.items()
    ]
    if own:
        parts += ["## Hyperparameters that differ here\n", table(["name", "value", "of"], own)]
    parts += ["## Use\n", code(_command(benchmark), "sh")]
    return "\n".join(parts)


def _command(benchmark: gainjax.Benchmark) -> str:
    command = f"gainjax run {benchmark.name} --methods ngm-sgd sgd --seeds 5"
    return command if "digits" in benchmark.name else f"{command} --data-dir DIR"


def _shown(value: Any) -> str:
    return "whole" if value is None else f"{value}"


def _benchmark_row(benchmark: gainjax.Benchmark) -> tuple[str, ...]:
    name = benchmark.name
    return f"[{name}](benchmarks/{name}.md)", benchmark.summary, benchmark.source


# --- Metrics --------------------------------------------------------------------------------------


def metric_page(metric: Metric) -> str:
    """Return the page of a metric."""
    facts = {
        "title": metric.title,
        "unit": metric.unit,
        "better": metric.better or "neither",
        "convention": metric.convention or "every table",
        "of the curves": ", ".join(f"`{name}`" for name in metric.needs),
        "options": ", ".join(f"`{name}`" for name in metric.options) or "none",
        "compared between methods": "yes" if metric.compared else "no",
        "in printed tables": "yes" if metric.shown else "no, in files and data frames",
    }
    parts = [f"# {metric.name}\n", f"{_sentence(metric.meaning)}\n", table(["", ""], facts.items())]
    if metric.bound:
        parts.append(f"A lower bound if [{metric.bound}]({metric.bound}.md) is below 1.\n")
    if metric.when_diverged is not None:
        parts.append(f"A seed that diverged counts with {metric.when_diverged:g}.\n")
    function = f"gainjax.metrics.{metric.function.__name__}"
    if hasattr(gainjax.metrics, metric.function.__name__):
        parts.append(f"Definition: {{py:func}}`{function}`.\n")
    parts.append(code(f'gainjax.per_seed(curves)["{metric.name}"]'))
    return "\n".join(parts)


def _metric_row(metric: Metric) -> tuple[str, ...]:
    name = f"[{metric.name}](metrics/{metric.name}.md)"
    return name, metric.title, metric.meaning, metric.unit, metric.better or ""


# --- All ------------------------------------------------------------------------------------------

_KINDS: dict[str, tuple[Any, Callable[[Any], str], Callable[[Any], Any], list[str], str]] = {
    "methods": (
        gainjax.METHODS,
        method_page,
        _method_row,
        ["name", "description", "knows switches", "source"],
        "Available by name in `gainjax.run` and on the command line. To add one, see "
        "[bring your own](../bring-your-own.md).",
    ),
    "benchmarks": (
        gainjax.BENCHMARKS,
        benchmark_page,
        _benchmark_row,
        ["name", "description", "source"],
        "The digits ship with scikit-learn; the others need their data: see "
        "[getting started](../getting-started.md).",
    ),
    "metrics": (
        gainjax.METRICS,
        metric_page,
        _metric_row,
        ["name", "title", "meaning", "unit", "better"],
        "For index ranges and figures of both conventions, see [metrics](../metrics.md).",
    ),
}


def _write_pages(app: Sphinx) -> None:
    folder = Path(app.srcdir) / "registry"
    for kind, (registry, page, row, head, lead) in _KINDS.items():
        for name, entry in registry.items():
            write(folder / kind / f"{name}.md", page(entry))
        entries = "\n".join(f"{kind}/{name}" for name in registry)
        toctree = f"```{{toctree}}\n:hidden:\n\n{entries}\n```\n"
        rows = table(head, map(row, registry.values()))
        title = f"# All {kind}\n"
        write(folder / f"{kind}.md", "\n".join([title, f"{lead}\n", rows, toctree]))


def setup(app: Sphinx) -> dict:
    """Write the pages before they are read."""
    app.connect("builder-inited", _write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
