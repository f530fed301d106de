"""A short run on digits, shared by the tests of what its gain does."""

import gainjax

UPDATES = 50


def recorded_run():
    """Return curves and final states of a short run on digits."""
    return gainjax.run(
        "split-digits", ["ngm-sgd", "sgd", "ngm-adam"], 3, updates_per_task=UPDATES,
        progress=False, return_states=True,
    )  # fmt: skip
