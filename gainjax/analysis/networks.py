"""The networks of a run at its snapshots, and their outputs for the data of its benchmark."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gainjax.checks import check_integer
from gainjax.data import Stream, normalize
from gainjax.methods import Method, as_methods
from gainjax.models import Model
from gainjax.runs.benchmark import Benchmark
from gainjax.runs.benchmarks import get_benchmark
from gainjax.training.step import TrainState

Which = Literal["evaluated", "trained"]


class Network(NamedTuple):
    """Parameters and model state, with leading axes of seeds and snapshots."""

    params: Any
    state: Any


class Examples(NamedTuple):
    """Inputs as the network takes them, shape (B, ...), and targets."""

    inputs: jax.Array
    targets: jax.Array


@dataclasses.dataclass(frozen=True)
class Subject:
    """A benchmark with its data and its model, as the subject of weight analysis.

    The model is that of ``form="optimizer"``, whose weights are effective ones. States of
    ``form="model"`` are refused: their raw weights mean something else without their gain.

    Args:
        benchmark: The benchmark or its name.
        data_dir: As for :func:`gainjax.run`.
        eval_examples: As for :func:`gainjax.run`.

    Example:
        >>> subject = Subject("split-digits")
        >>> print(subject.test(0).inputs.shape[1:], subject.old_classes(1))
        (8, 8, 1) [0 1]
    """

    benchmark: str | Benchmark
    data_dir: str | Path | None = None
    eval_examples: int | None = None
    bench: Benchmark = dataclasses.field(init=False)
    stream: Stream = dataclasses.field(init=False)
    model: Model = dataclasses.field(init=False)
    own_gains: frozenset[str] = dataclasses.field(init=False)  # in the layers of the model

    def __post_init__(self) -> None:
        bench = _benchmark(self.benchmark)
        stream = bench.load(self.data_dir, self.eval_examples)
        object.__setattr__(self, "bench", bench)
        object.__setattr__(self, "stream", stream)
        object.__setattr__(self, "model", bench.model_for(stream))
        examples = self.test(0).inputs[:2]
        gains = jax.eval_shape(
            lambda: self._gains_in(self.model.init(jax.random.key(0), examples)[1])
        )
        object.__setattr__(self, "own_gains", frozenset(gains))

    def _gains_in(self, state: Any) -> dict[str, jax.Array]:
        return {} if self.model.gains_of is None else dict(self.model.gains_of(state))

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return len(self.stream.task_end)

    def prepared(self, inputs: Any) -> jax.Array:
        """Return normalized inputs as the network takes them."""
        inputs = jnp.asarray(inputs)
        return inputs if self.bench.preprocess is None else self.bench.preprocess(inputs)

    def test(self, task: int) -> Examples:
        """Return the test set of a task, counted from 0."""
        size = int(self.stream.test_sizes[task])
        inputs = self.stream.test_inputs[task, :size]
        return Examples(self.prepared(inputs), jnp.asarray(self.stream.test_targets[task, :size]))

    def train(self, tasks: Sequence[int], most: int | None, seed: int = 0) -> Examples:
        """Return a limited number of training examples of some tasks, a fixed random choice.

        Args:
            tasks: Tasks, counted from 0.
            most: Maximum number of examples, >= 1; None for all of them.
            seed: Seed of the choice.
        """
        if most is not None:
            check_integer("most", most, 1)
        ranges = [
            np.arange(int(self.stream.task_start[task]), int(self.stream.task_end[task]))
            for task in tasks
        ]
        places = np.concatenate(ranges)
        if most is not None and len(places) > most:
            places = np.sort(np.random.default_rng(seed).choice(places, most, replace=False))
        raw = np.asarray(self.stream.train_inputs)[places]
        inputs = self.prepared(normalize(self.stream, raw))
        return Examples(inputs, jnp.asarray(np.asarray(self.stream.train_targets)[places]))

    def old_classes(self, switch: int) -> np.ndarray:
        """Return the classes of the tasks before a switch, ascending.

        Args:
            switch: Number of the switch, from 1.

        Raises:
            ValueError: If there is no such switch.
        """
        self.check_switch(switch)
        end = int(self.stream.task_end[switch - 1])
        return np.unique(np.asarray(self.stream.train_targets)[:end])

    def check_switch(self, switch: int) -> None:
        """Raise ValueError unless there is a switch of that number, from 1."""
        check_integer("switch", switch, 1, self.tasks - 1)

    def check_before(self, switch: int, snapshots: Sequence[int]) -> None:
        """Raise ValueError unless snapshots start with the last one before a switch.

        Args:
            switch: Number of the switch, from 1.
            snapshots: Their updates.
        """
        self.check_switch(switch)
        end = snapshots_around(self.bench, switch, (1,))[0]
        if snapshots[0] != end:
            raise ValueError(
                f"snapshots must start with update {end}, the last one before switch {switch} of "
                f"{self.bench.name}: got {snapshots[0]}. After run(..., updates_per_task=N), give "
                "Subject(benchmark.replace(updates_per_task=N))"
            )

    def outputs(self, network: Network, inputs: jax.Array) -> jax.Array:
        """Return the outputs of one network in evaluation mode.

        Args:
            network: The network.
            inputs: Inputs as the network takes them, shape (B, ...).

        Raises:
            ValueError: If its state holds a gain that the model lacks.
        """
        if unknown := set(self._gains_in(network.state)) - self.own_gains:
            raise ValueError(
                f"states must hold effective weights: these hold raw ones and {', '.join(unknown)},"
                " as those of form='model'. Run with form='optimizer', which gives the same runs"
            )
        out, _ = self.model.apply(network.params, network.state, inputs, train=False, key=None)
        return out


def networks(
    states: Mapping[str, TrainState], which: Which = "evaluated", methods: Any = None
) -> dict[str, Network]:
    """Return the evaluated or the trained networks of snapshots, by label.

    Args:
        states: The states from ``gainjax.run(..., snapshots=...)``.
        which: "evaluated", such as an average of the weights, or "trained".
        methods: The methods of the run, as for :func:`gainjax.run`; None if the labels (up to the
            first space) are names of registered ones.

    Raises:
        ValueError: If a method is unknown or not the one that was trained, or ``which`` is invalid.
    """
    if which not in ("evaluated", "trained"):
        raise ValueError(f"which must be 'evaluated' or 'trained': got {which!r}")
    keys, by_name = _methods_of(states, methods)
    for label, state in states.items():
        _check_trained_by(label, state, by_name[keys[label]])
    return {label: _network(state, by_name[keys[label]], which) for label, state in states.items()}


def setting_coords(states: Mapping[str, TrainState], methods: Any = None) -> dict[str, Any]:
    """Return coordinates over settings as curves have them: labels, methods and their titles.

    Args:
        states: By label.
        methods: As for :func:`networks`.
    """
    keys, by_name = _methods_of(states, methods)
    titles = [by_name[key].shown_as(key) for key in keys.values()]
    return {
        "setting": list(states),
        "method": ("setting", list(keys.values())),
        "title": ("setting", titles),
    }


def snapshots_around(
    benchmark: str | Benchmark, switch: int = 1, after: Sequence[int] = (1, 2, 5, 10, 20, 50)
) -> list[int]:
    """Return the updates for ``snapshots=``: the last one before a switch, and some after it.

    Args:
        benchmark: The benchmark or its name.
        switch: Number of the switch, from 1.
        after: Updates since the switch, ascending, >= 1.

    Raises:
        ValueError: If the task is too short, or ``updates_per_task`` is given by task and there is
            no such switch.

    Example:
        >>> snapshots_around("split-digits", 1, (1, 10))
        [200, 201, 210]
    """
    check_integer("switch", switch, 1)
    updates = _benchmark(benchmark).protocol.updates_per_task
    if isinstance(updates, int):
        updates = (updates,) * (switch + 1)
    if not 1 <= switch < len(updates):
        raise ValueError(f"switch must be between 1 and {len(updates) - 1}: got {switch}")
    for since in after:
        check_integer("after", since, 1, updates[switch])
    if not after or list(after) != sorted(set(after)):
        raise ValueError(
            f"after must be ascending updates between 1 and {updates[switch]}: got {list(after)}"
        )
    end = sum(updates[:switch])
    return [end, *(end + since for since in after)]


def over_runs(function: Callable[[Any], Any], network: Any) -> Any:
    """Call a function of one network for each seed and snapshot, sequentially on the device.

    Args:
        function: Maps one network to arrays.
        network: Network with leading axes of seeds and snapshots, which the results also have.
    """

    @jax.jit
    def every(network: Any) -> Any:
        return jax.lax.map(lambda seeds: jax.lax.map(function, seeds), network)

    return jax.tree.map(np.asarray, every(network))


def _benchmark(benchmark: str | Benchmark) -> Benchmark:
    return benchmark if isinstance(benchmark, Benchmark) else get_benchmark(benchmark)


def _methods_of(
    states: Mapping[str, TrainState], methods: Any
) -> tuple[dict[str, str], dict[str, Method]]:
    """Return the name of each setting's method, by label, and the methods by name."""
    firsts = dict.fromkeys(label.split(" ")[0] for label in states)
    by_name = as_methods([*firsts] if methods is None else methods)
    keys = {}
    for label in states:
        fitting = [name for name in by_name if f"{label} ".startswith(f"{name} ")]
        if not fitting:
            raise ValueError(
                f"methods must be those of the run, with that of {label!r}: got "
                f"{', '.join(by_name)}"
            )
        keys[label] = max(fitting, key=len)
    return keys, by_name


def _check_trained_by(label: str, state: TrainState, method: Method) -> None:
    """Raise unless a state has the averages of a method, or none if it has none."""
    is_empty = [type(part) is tuple and not part for part in (state.model_state, state.eval_state)]
    if not is_empty[0] and is_empty[1] != method.evaluates_trained:
        raise ValueError(
            f"methods must be those of the run: the states of {label!r} are not of the method that "
            "is registered by that name. Give methods= as in gainjax.run"
        )


def _network(state: TrainState, method: Method, which: Which) -> Network:
    if which == "trained" or method.evaluates_trained:
        return Network(state.params, state.model_state)
    runs = jax.tree.leaves(state.params)[0].shape[:2]
    flat = jax.tree.map(lambda x: jnp.reshape(x, (-1, *x.shape[2:])), state)
    params = jax.vmap(method.eval_params)(flat.params, flat.opt_state)
    params = jax.tree.map(lambda x: np.asarray(x).reshape(*runs, *x.shape[1:]), params)
    return Network(params, state.eval_state)
