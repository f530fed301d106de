"""Random curves of tasks, for properties that hold for all curves."""

import math

import numpy as np
from hypothesis import strategies as st


@st.composite
def streams(draw, least_tasks=2, rows=()):
    """Draw curves of all tasks with the updates at which they were evaluated and tasks ended."""
    lengths = draw(st.lists(st.integers(1, 6), min_size=least_tasks, max_size=4))
    ends = np.cumsum(lengths)
    extra = draw(st.sets(st.integers(1, int(ends[-1]))))
    updates = np.array(sorted(extra | set(ends.tolist())))
    shape = (*rows, len(updates), len(ends))
    # Eighths are exact, and few enough for ties and for an accuracy of 0.
    size = math.prod(shape)
    accuracy = draw(st.lists(st.integers(0, 8), min_size=size, max_size=size))
    return np.reshape(accuracy, shape) / 8, updates, ends
