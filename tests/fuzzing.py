"""How the fuzzing tests draw their inputs; GAINJAX_FUZZ scales how many, 400 by default."""

import os

from hypothesis import HealthCheck, settings

EXAMPLES = int(os.environ.get("GAINJAX_FUZZ", "400"))


def examples(short):
    """Return the number of inputs of a test that draws `short` of them by default."""
    return max(1, short * EXAMPLES // 400)


FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=EXAMPLES < 1000,  # the short form is the same everywhere
)
