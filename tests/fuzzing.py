"""How many inputs the fuzzing tests draw: GAINJAX_FUZZ scales all of them, 400 by default."""

import os

EXAMPLES = int(os.environ.get("GAINJAX_FUZZ", "400"))


def examples(short):
    """Return the number of inputs of a test that draws `short` of them by default."""
    return max(1, short * EXAMPLES // 400)
