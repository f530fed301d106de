"""The commands."""

import io
import os
import sys
import unicodedata
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import tyro
from rich.console import Console
from rich.markup import escape

from gainjax import __version__, curves
from gainjax.cli import pages, shown
from gainjax.cli.options import Cluster, Output, RunOptions
from gainjax.cli.values import parse_settings, parse_values
from gainjax.runs.api import run, sweep
from gainjax.runs.benchmarks import BENCHMARKS, get_benchmark
from gainjax.runs.guard import Interrupted
from gainjax.runs.partial import load
from gainjax.runs.resumption import resume

Name = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="BENCHMARK")]
Options = Annotated[RunOptions, tyro.conf.arg(name="")]
Shown = Annotated[Output, tyro.conf.arg(name="")]
_ALONE, _ALL = Cluster(), Output()


def run_command(benchmark: Name, options: Options) -> None:
    """Train methods on a benchmark, then print and save table and figure.

    Example: gainjax run split-mnist --methods ngm-sgd ./mine.py:lion --data-dir ~/data

    Args:
        benchmark: Name of the benchmark, see `gainjax list`, or a custom one: ./mine.py:bench.
        options: What to run.
    """
    bench = get_benchmark(benchmark)
    out = options.out or Path("runs") / bench.name
    shown.show_results(run(bench, **options.arguments(out)), out, options.output)


def sweep_command(
    benchmark: Name,
    grid: tuple[str, ...],
    options: Options,
    draws: int | None = None,
    draw_seed: int = 0,
) -> None:
    """Train every combination of settings and seeds, then print and save ranking and figures.

    Example: gainjax sweep split-digits --grid learning_rate=.1,.03,.01 sensitivity=.2,.4

    Args:
        benchmark: Name of the benchmark, see `gainjax list`, or a custom one: ./mine.py:bench.
        grid: What to vary: learning_rate=.1,.01 for all methods that have it, adam.b1=.8,.9 for
            one. With --draws also learning_rate=log:1e-4:1 or sensitivity=uniform:0:1.
        options: What to run.
        draws: Number of random settings per method, instead of the full product.
        draw_seed: Seed of the draws.
    """
    bench = get_benchmark(benchmark)
    out = options.out or Path("runs") / f"{bench.name}-sweep"
    arguments = options.arguments(out)
    varied = parse_settings(grid, "--grid", parse_values)
    found = sweep(bench, varied, draws=draws, draw_seed=draw_seed, **arguments)
    shown.show_results(found, out, options.output)


def resume_command(
    directory: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")],
    data_dir: Path | None = None,
    threads: int | None = None,
    cluster: Annotated[Cluster, tyro.conf.arg(name="")] = _ALONE,
    output: Shown = _ALL,
) -> None:
    """Finish an interrupted run or sweep, from its last checkpoint.

    Args:
        directory: Output folder of the run.
        data_dir: Where the data are now. Default: the original place.
        threads: Parts of the run trained in parallel on a CPU. Default: whatever is faster.
        cluster: Several processes, as many as in the original run.
        output: What to print.
    """
    cluster.join()
    progress = not output.quiet and jax.process_index() == 0
    options: dict[str, Any] = {} if data_dir is None else {"data_dir": data_dir}
    found = resume(directory, threads=threads, progress=progress, **options)
    shown.show_results(found, directory, output)


def table_command(
    directories: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="DIR")],
    floor: Path | None = None,
    format: Literal["text", "markdown", "csv", "latex"] = "text",
    output: Shown = _ALL,
) -> None:
    """Print the table of a run, or one table of several runs that belong together.

    For a run in progress, it shows the finished settings or, if there are none, all so far.

    Args:
        directories: Output folders, or files of curves.
        floor: The same run under --regime no-switch, to show the gap that remains without a switch.
        format: Output format: for a terminal, or for notes, spreadsheets and papers.
        output: What to print.
    """
    if not directories:
        raise ValueError("table needs at least one output folder of a run: gainjax table DIR")
    found = [load(directory, partial=True) for directory in directories]
    whole = found[0] if len(found) == 1 else curves.concat(found, "setting")
    of_floor = None if floor is None else load(floor)
    if format != "text":
        shown.show_formatted(whole, format, output, of_floor)
        return
    if whole.sizes["task_end"] > 1 or "unfinished" not in whole.attrs:
        shown.show_table(whole, output, of_floor)
    for directory, each in zip(directories, found, strict=True):
        shown.show_unfinished(each, directory, output)


def figure_command(
    directories: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="DIR")],
    out: Path,
    kind: shown.FigureKind = "accuracy",
) -> None:
    """Write a figure for a paper, of a run or of several runs that belong together.

    Args:
        directories: Output folders, or files of curves.
        out: The figure, such as gap.pdf, gap.png or gap.svg.
        kind: accuracy: task 1, one panel per method; curves: all curves of a run in one figure;
            frontier: gap against anytime accuracy.
    """
    if not directories:
        raise ValueError("figure needs at least one output folder of a run: gainjax figure DIR")
    found = [load(directory) for directory in directories]
    whole = found[0] if len(found) == 1 else curves.concat(found, "setting")
    shown.show_written([shown.write_figure(whole, out, kind)])


def report_command(
    directories: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="DIR")],
    out: Path | None = None,
) -> None:
    """Write a page about one or several runs: one HTML file that works offline.

    Args:
        directories: Output folders, or files of curves.
        out: The page. Default: page.html in the first folder.
    """
    shown.show_written([pages.write_report(directories, out)])


def watch_command(
    directory: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")],
    out: Path | None = None,
    every: float = 10.0,
    once: bool = False,
) -> None:
    """Update the page of a running job until it is finished; Ctrl-C stops watching.

    Args:
        directory: Output folder of the run.
        out: The page, which reloads itself. Default: page.html in the folder.
        every: Seconds between updates of the page.
        once: Write the page once.
    """
    shown.show_written([pages.watch(directory, out, every, once=once)])


def demo_command(seeds: str = "5", out: Path = Path("gainjax-demo"), output: Shown = _ALL) -> None:
    """Show the stability gap within a minute: four methods on handwritten digits, no download.

    Args:
        seeds: Number of seeds, or which: 5:10 or 3,7.
        out: Folder for curves, table and figure.
        output: What to print.
    """
    run_command("split-digits", RunOptions(seeds=seeds, out=out, output=output))


def list_command(
    name: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="NAME")] = None,
) -> None:
    """List benchmarks and methods, or the protocol or hyperparameters of one.

    Args:
        name: A benchmark or a method.
    """
    if name is None:
        shown.show_registries()
    else:
        shown.show_entry(name)


def main(args: list[str] | None = None) -> None:
    """Run the command line; user errors are one line on standard error, with exit code 2.

    Args:
        args: The arguments after ``gainjax``, or None for those of the process.
    """
    args = sys.argv[1:] if args is None else args
    if args == ["--version"]:
        print(f"gainjax {__version__}")
        return
    for name in ("stdout", "stderr"):  # None if it was closed before the start
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    errors = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)

    def show_warning(message: Warning | str, *where: object, **more: object) -> None:
        errors.print(f"[bold yellow]warning:[/] {escape(str(message))}")  # without a source line

    for stream in (sys.stdout, sys.stderr):  # unsupported characters must not raise
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        _refuse_control_characters(args)
        _refuse_repeated(args)
        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            _app().cli(
                prog="gainjax",
                description="Measure and close the stability gap of continual learning.",
                args=args,
            )
            sys.stdout.flush()
    except BrokenPipeError:  # the reader has closed the pipe; all files are written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt as stopped:
        if not isinstance(stopped, Interrupted):
            errors.print("interrupted; results stored so far are kept")
            sys.exit(130)
        errors.print(escape(str(stopped)))
        sys.exit(128 + stopped.signum)
    except (ValueError, OSError, jax.errors.JaxRuntimeError) as error:
        errors.print(f"[bold red]error:[/] {escape(str(error))}")
        if jax.distributed.is_initialized():  # else JAX waits minutes for the other processes
            sys.stdout.flush()
            os._exit(2)
        sys.exit(2)


def _app() -> tyro.extras.SubcommandApp:
    app = tyro.extras.SubcommandApp()
    app.command(name="demo")(demo_command)
    app.command(name="run", help=f"{_first_line(run_command)}\n\n{_own_values()}")(run_command)
    app.command(name="sweep", help=f"{_first_line(sweep_command)}\n\n{_own_values()}")(
        sweep_command
    )
    app.command(name="resume")(resume_command)
    app.command(name="table")(table_command)
    app.command(name="figure")(figure_command)
    app.command(name="report")(report_command)
    app.command(name="watch")(watch_command)
    app.command(name="list")(list_command)
    return app


def _first_line(function: object) -> str:
    paragraphs = (function.__doc__ or "").split("\n\n")
    return "\n\n".join(part.strip() for part in paragraphs[:2])


def _own_values() -> str:
    """Return the main values of each benchmark, for the help text."""
    parts = [
        f"{name} ({b.protocol.updates_per_task} updates of {b.protocol.batch_size})"
        for name, b in BENCHMARKS.items()
    ]
    return f"Benchmarks, with their updates per task and batch size: {', '.join(parts)}."


def _refuse_control_characters(args: list[str]) -> None:
    """Reject characters that would move the cursor or color the terminal when printed."""
    for word in args:
        if any(unicodedata.category(character) == "Cc" for character in word):
            raise ValueError(f"control characters are not allowed: got {word!r}")


def _refuse_repeated(args: list[str]) -> None:
    """Reject repeated options, of which only the last would count."""
    options = [word.partition("=")[0] for word in args if word.startswith("--")]
    for option in options:
        if options.count(option) > 1:
            raise ValueError(f"{option} is given twice: give it once, followed by all its values")
