"""The command line of the experiments: ``python -m experiments NAME``."""

import tyro

from experiments.analysis.bursts import bursts
from experiments.analysis.drop import drop
from experiments.analysis.gain_claims import gain_claims
from experiments.analysis.landscape import landscape
from experiments.cifar import cifar
from experiments.cifar_first_switch import cifar_first_switch
from experiments.controls import controls
from experiments.league import claim, league
from experiments.learning_rates import digits_learning_rates, learning_rates
from experiments.level import level
from experiments.paper_claims import paper_claims
from experiments.paper_table import other_seeds, paper_table
from experiments.protocols import protocols
from experiments.replay import replay
from experiments.sampling import sampling
from experiments.sensitivity import sensitivity
from experiments.tables import tables

PROGRAMS = (
    paper_table,
    other_seeds,
    paper_claims,
    learning_rates,
    controls,
    sensitivity,
    protocols,
    cifar,
    cifar_first_switch,
    drop,
    landscape,
    digits_learning_rates,
    league,
    claim,
    sampling,
    bursts,
    gain_claims,
    level,
    replay,
)


def main(args: list[str] | None = None) -> None:
    """Run one program.

    Args:
        args: The arguments after ``python -m experiments``, or None for those of the process.
    """
    app = tyro.extras.SubcommandApp()
    for program in PROGRAMS:
        app.command(name=program.__name__.replace("_", "-"))(program)
    app.command(name="tables")(tables)
    app.cli(prog="python -m experiments", description="Reproduce a result.", args=args)


if __name__ == "__main__":
    main()
