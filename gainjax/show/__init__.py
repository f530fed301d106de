"""Tables, figures and files that present a run or a sweep."""

from gainjax.show.formats import Format, formatted
from gainjax.show.output import print_ranking, print_table, write, write_sweep
from gainjax.show.tables import comparison, ranking, table, with_bounds

__all__ = [
    "Format",
    "comparison",
    "formatted",
    "print_ranking",
    "print_table",
    "ranking",
    "table",
    "with_bounds",
    "write",
    "write_sweep",
]
