"""Tables and files that tell about a run or a sweep, for readers."""

from gainjax.show.output import print_ranking, print_table, write, write_sweep
from gainjax.show.tables import comparison, ranking, table

__all__ = [
    "comparison",
    "print_ranking",
    "print_table",
    "ranking",
    "table",
    "write",
    "write_sweep",
]
