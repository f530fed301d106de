"""The command line: a thin layer over the Python interface."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
import xarray as xr
from rich.console import Console
from rich.table import Table

from gainjax import report, results
from gainjax.benchmarks import BENCHMARKS, get_benchmark
from gainjax.guard import Interrupted
from gainjax.methods import METHODS
from gainjax.runner import DEFAULT_METHODS, resume, run


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
    chunk: int = 100
    """Updates between two looks at the clock; changes no number."""


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
    protocol_fields = {
        field.name for field in dataclasses.fields(get_benchmark(benchmark).protocol)
    }
    protocol = {
        name: value
        for name, value in dataclasses.asdict(options).items()
        if name in protocol_fields and value is not None
    }
    out = options.out or Path("runs") / benchmark
    curves = run(
        benchmark,
        options.methods,
        options.seeds,
        data_dir=options.data_dir,
        out=out,
        hyperparameters=parse_settings(options.set),
        eval_examples=options.eval_examples,
        gain_from=options.gain_from,
        form=options.form,
        chunk=options.chunk,
        progress=True,
        **protocol,
    )
    _show(curves, out)


def _show(curves: xr.Dataset, out: Path) -> None:
    """Print and write what there is to see of a run."""
    console = Console(width=None if sys.stdout.isatty() else 100)
    report.print_table(curves, console)
    for path in (out / results.FILE, *report.write(curves, out)):
        console.print(f"wrote {path}", soft_wrap=True, highlight=False)


def resume_command(
    directory: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")],
    data_dir: Path | None = None,
) -> None:
    """Finish a run that was interrupted, from its last checkpoint.

    Args:
        directory: Output folder of the run.
        data_dir: Where the data are now. Default: where they were.
    """
    _show(resume(directory, data_dir=data_dir, progress=True), directory)


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


def parse_settings(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Return the hyper-parameters that NAME=VALUE or METHOD.NAME=VALUE strings stand for.

    Args:
        pairs: The strings.

    Raises:
        ValueError: If a string has another form.

    Example:
        >>> parse_settings(("learning_rate=0.1", "adam.learning_rate=1e-3"))
        {'learning_rate': 0.1, 'adam': {'learning_rate': 0.001}}
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        method, _, name = key.rpartition(".")
        try:
            value = float(text)
        except ValueError:
            raise ValueError(
                f"--set takes NAME=NUMBER or METHOD.NAME=NUMBER, such as learning_rate=0.1: "
                f"got {pair!r}"
            ) from None
        (settings.setdefault(method, {}) if method else settings)[name] = value
    return settings


def main(args: list[str] | None = None) -> None:
    """Run the command line; errors of the user's are one line on standard error, exit code 2.

    Args:
        args: The words after ``gainjax``, or None for those of the process.
    """
    app = tyro.extras.SubcommandApp()
    app.command(name="demo")(demo_command)
    app.command(name="run")(run_command)
    app.command(name="resume")(resume_command)
    app.command(name="list")(list_command)
    try:
        app.cli(
            prog="gainjax",
            description="Measure and close the stability gap of continual learning.",
            args=args,
        )
    except Interrupted as stopped:
        Console(stderr=True).print(str(stopped), soft_wrap=True, highlight=False)
        sys.exit(128 + stopped.signum)
    except (ValueError, OSError) as error:
        Console(stderr=True).print(f"[bold red]error:[/] {error}", soft_wrap=True, highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
