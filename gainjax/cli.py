"""The command line: a thin layer over the Python interface."""

import dataclasses
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import tyro
import xarray as xr
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from scipy.stats import loguniform, uniform

from gainjax import show as report
from gainjax.curves import dataset as results
from gainjax.methods import METHODS
from gainjax.runs.api import DEFAULT_METHODS, resume, run, sweep
from gainjax.runs.benchmarks import BENCHMARKS, get_benchmark
from gainjax.runs.guard import Interrupted


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Several processes that share the runs; give each the same command."""

    distributed: bool = False
    """Share the runs with the other processes of a SLURM, MPI or cloud job, which JAX finds."""
    coordinator: str | None = None
    """HOST:PORT of the first process, where nobody else says who takes part."""
    processes: int | None = None
    """Number of processes, with --coordinator."""
    process_id: int | None = None
    """Number of this process, from 0, with --coordinator."""

    def join(self) -> None:
        """Join the other processes, if there are to be any; before JAX is used."""
        given = (self.coordinator, self.processes, self.process_id)
        if any(x is not None for x in given) and any(x is None for x in given):
            raise ValueError(
                "--coordinator HOST:PORT, --processes N and --process-id K belong together: got "
                f"{self.coordinator}, {self.processes} and {self.process_id}"
            )
        if self.coordinator is not None and ":" not in self.coordinator:
            raise ValueError(f"--coordinator must be HOST:PORT: got {self.coordinator!r}")
        if self.distributed or self.coordinator is not None:
            jax.distributed.initialize(*given)


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Options of a run; what is not given is the benchmark's own."""

    methods: tuple[str, ...] = DEFAULT_METHODS
    """Methods to compare, see `gainjax list`."""
    seeds: int = 5
    """Number of seeds, trained side by side: 0, 1, ..."""
    data_dir: Path | None = None
    """Folder with the data: a prepared TFDS folder or NAME.npz in the Keras naming."""
    out: Path | None = None
    """Folder for curves, table and figure. Default: runs/BENCHMARK."""
    set: tuple[str, ...] = ()
    """Hyper-parameters: learning_rate=0.1 for all methods, adam.learning_rate=0.001 for one."""
    updates_per_task: int | None = None
    """Updates on each task."""
    batch_size: int | None = None
    """Examples per update."""
    eval_every: int | None = None
    """Evaluate after each update whose number this divides, and at the end of each task."""
    eval_tasks: Literal["first", "all"] | None = None
    """Evaluate the test set of the first task or of all tasks."""
    eval_examples: int | None = None
    """Evaluate on a fixed random subset of this size of each test set."""
    seen_every: int | None = None
    """Measure accuracy on all tasks seen so far after each update whose number this divides."""
    batch_growth: Literal["constant", "linear"] | None = None
    """Batches of task k are of that size, or k times as large."""
    regime: Literal["joint", "replay", "fine-tuning"] | None = None
    """Later tasks train on all data so far, on new data and a bounded memory, or on new data."""
    buffer: Literal["reservoir", "balanced"] | None = None
    """Memory of the replay: uniform over the past, or balanced by class."""
    buffer_size: int | None = None
    """Images in the memory of the replay."""
    gain_from: Path | None = None
    """Folder of a finished run of ngm-sgd whose gain the controls borrow."""
    form: Literal["optimizer", "model"] = "optimizer"
    """Where the gain is: in the optimizer or in the model. The runs are the same."""
    modulate: Literal["all", "head"] | None = None
    """Which layers of the model have a gain."""
    chunk: int = 100
    """Updates between two looks at the clock; changes no number."""
    layout: Literal["map", "vmap"] | None = None
    """Runs on a device one after the other or batched. Default: what is faster there."""
    memory_gb: float | None = None
    """Memory for what is trained at once. Default: a share of what the machine has."""
    cluster: Annotated[Cluster, tyro.conf.arg(name="")] = Cluster()


def run_command(
    benchmark: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="BENCHMARK")],
    options: Annotated[RunOptions, tyro.conf.arg(name="")],
) -> None:
    """Train methods on a benchmark, then print and save table and figure.

    Example: gainjax run split-mnist --methods ngm-sgd sgd --data-dir ~/tensorflow_datasets

    Args:
        benchmark: Name of the benchmark, see `gainjax list`.
        options: What to run.
    """
    out = options.out or Path("runs") / benchmark
    _show(run(benchmark, **_arguments(benchmark, options, out)), out)


def sweep_command(
    benchmark: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="BENCHMARK")],
    grid: tuple[str, ...],
    options: Annotated[RunOptions, tyro.conf.arg(name="")],
    draws: int | None = None,
    draw_seed: int = 0,
) -> None:
    """Train every combination of settings and seeds, then print and save ranking and figures.

    Example: gainjax sweep split-digits --grid learning_rate=.1,.03,.01 sensitivity=.2,.4

    Args:
        benchmark: Name of the benchmark, see `gainjax list`.
        grid: What to vary: learning_rate=.1,.01 for all methods that have it, adam.b1=.8,.9 for
            one. With --draws also learning_rate=log:1e-4:1 or sensitivity=uniform:0:1.
        options: What to run.
        draws: Random settings per method instead of the whole product.
        draw_seed: Seed of the draws.
    """
    out = options.out or Path("runs") / f"{benchmark}-sweep"
    arguments = _arguments(benchmark, options, out)
    varied = parse_settings(grid, "--grid", _parse_values)
    _show(sweep(benchmark, varied, draws=draws, draw_seed=draw_seed, **arguments), out)


def _arguments(benchmark: str, options: RunOptions, out: Path) -> dict[str, Any]:
    """Return the arguments of :func:`gainjax.run` that options stand for."""
    fields = {field.name for field in dataclasses.fields(get_benchmark(benchmark).protocol)}
    given = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    options.cluster.join()
    return {
        "methods": options.methods,
        "seeds": options.seeds,
        "data_dir": options.data_dir,
        "out": out,
        "hyperparameters": parse_settings(options.set),
        "eval_examples": options.eval_examples,
        "gain_from": options.gain_from,
        "form": options.form,
        "modulate": options.modulate,
        "chunk": options.chunk,
        "layout": options.layout,
        "memory": None if options.memory_gb is None else options.memory_gb * 2**30,
        "progress": jax.process_index() == 0,
        **{name: given[name] for name in fields & given.keys() if given[name] is not None},
    }


def _show(curves: xr.Dataset, out: Path) -> None:
    """Print and write what there is to see of a run or sweep; one of several processes does it."""
    if jax.process_index() > 0:
        return
    console = Console(width=None if sys.stdout.isatty() else 100)
    if "setting" in curves.dims:
        report.print_ranking(curves, console)
        paths = report.write_sweep(curves, out)
    else:
        report.print_table(curves, console)
        paths = report.write(curves, out)
    for path in (out / results.FILE, *paths):
        console.print(f"wrote {path}", soft_wrap=True, highlight=False)


def resume_command(
    directory: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")],
    data_dir: Path | None = None,
    cluster: Annotated[Cluster, tyro.conf.arg(name="")] = Cluster(),
) -> None:
    """Finish a run or sweep that was interrupted, from its last checkpoint.

    Args:
        directory: Output folder of the run.
        data_dir: Where the data are now. Default: where they were.
        cluster: Several processes, as many as it was begun by.
    """
    cluster.join()
    shown = jax.process_index() == 0
    _show(resume(directory, data_dir=data_dir, progress=shown), directory)


def demo_command(seeds: int = 5, out: Path = Path("gainjax-demo")) -> None:
    """See the stability gap within a minute: four methods on handwritten digits, no download.

    Args:
        seeds: Number of seeds, trained side by side.
        out: Folder for curves, table and figure.
    """
    run_command("split-digits", RunOptions(seeds=seeds, out=out))


def list_command() -> None:
    """List benchmarks and methods, each with one line and its source."""
    console = Console(width=None if sys.stdout.isatty() else 100)
    for title, registry in (("benchmark", BENCHMARKS), ("method", METHODS)):
        table = Table(title, "what it is", "source", box=None, title_justify="left", padding=(0, 2))
        for name, entry in registry.items():
            table.add_row(f"[bold]{name}[/]", entry.summary, f"[dim]{entry.source}[/]")
        console.print(table)
        console.print()


def parse_settings(
    pairs: tuple[str, ...], option: str = "--set", parse: Callable[[str], Any] = float
) -> dict[str, Any]:
    """Return the hyper-parameters that NAME=VALUE or METHOD.NAME=VALUE strings stand for.

    Args:
        pairs: The strings.
        option: Where they were given, for the message.
        parse: From the text of a value to the value.

    Raises:
        ValueError: If a string has another form, or a name is given twice.

    Example:
        >>> parse_settings(("learning_rate=0.1", "adam.learning_rate=1e-3"))
        {'learning_rate': 0.1, 'adam': {'learning_rate': 0.001}}
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        method, _, name = key.rpartition(".")
        try:
            value = parse(text)
        except ValueError as error:
            example = "0.1" if parse is float else "0.1,0.03 or, with --draws, log:1e-4:1"
            raise ValueError(
                f"{option} takes NAME=VALUE or METHOD.NAME=VALUE, such as "
                f"learning_rate={example}: got {pair!r}"
            ) from error
        group = settings.setdefault(method, {}) if method else settings
        if not isinstance(group, dict) or isinstance(settings.get(key), dict):
            raise ValueError(f"{option} gives {method or key} both a value and values of its own")
        if name in group:
            raise ValueError(f"{option} gives {key} twice: give it once")
        group[name] = value
    return settings


def _parse_values(text: str) -> Any:
    """Return numbers between commas, or the distribution that log:LOW:HIGH or uniform:... is."""
    kind, *bounds = text.split(":")
    if not bounds:
        return [float(number) for number in text.split(",")]
    low, high = map(float, bounds)
    if kind not in ("log", "uniform") or not low < high or (kind == "log" and low <= 0):
        raise ValueError(f"no such distribution: {text}")
    return loguniform(low, high) if kind == "log" else uniform(low, high - low)


def main(args: list[str] | None = None) -> None:
    """Run the command line; errors of the user's are one line on standard error, exit code 2.

    Args:
        args: The words after ``gainjax``, or None for those of the process.
    """
    app = tyro.extras.SubcommandApp()
    app.command(name="demo")(demo_command)
    app.command(name="run")(run_command)
    app.command(name="sweep")(sweep_command)
    app.command(name="resume")(resume_command)
    app.command(name="list")(list_command)
    errors = Console(stderr=True, soft_wrap=True, highlight=False)

    def show_warning(message: Warning | str, *where: Any, **more: Any) -> None:
        errors.print(f"[bold yellow]warning:[/] {escape(str(message))}")  # not a line of our code

    try:
        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            app.cli(
                prog="gainjax",
                description="Measure and close the stability gap of continual learning.",
                args=args,
            )
    except Interrupted as stopped:
        errors.print(escape(str(stopped)))
        sys.exit(128 + stopped.signum)
    except (ValueError, OSError) as error:
        errors.print(f"[bold red]error:[/] {escape(str(error))}")
        if jax.distributed.is_initialized():  # else JAX waits minutes for the other processes
            sys.stdout.flush()
            os._exit(2)
        sys.exit(2)


if __name__ == "__main__":
    main()
