"""A benchmark: a stream of tasks, a model, a goal and a protocol."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Unpack

import jax
import numpy as np

from gainjax.checks import lookup
from gainjax.data import Stream, check_stream
from gainjax.data.stream import classes_seen
from gainjax.methods import Method
from gainjax.models import MLP, Model, as_model
from gainjax.models.model import Modulate
from gainjax.runs.fit import check_fit, is_classes
from gainjax.training import Goal, Program, Protocol
from gainjax.training.goal import accuracy, cross_entropy, predictive_entropy
from gainjax.training.program import Augment, Form, Preprocess
from gainjax.training.protocol import ProtocolOptions

MakeStream = Callable[..., Stream]  # (data_dir=None, eval_examples=None) -> Stream
_HIDDEN = 200  # units of the default network's two hidden layers


class _Changes(ProtocolOptions, total=False):
    stream: Stream | MakeStream
    modulate: Modulate | None


class Benchmark:
    """A stream of tasks, a model and a protocol, on which methods are compared.

    Args:
        name: Name in results.
        stream: The tasks, for example from :func:`gainjax.data.class_incremental`, or a function
            with the keywords ``data_dir`` and ``eval_examples`` that returns them.
        model: A :class:`gainjax.models.Model` or a Flax Linen module; None for a ReLU network with
            two hidden layers of 200 units.
        loss: ``loss(outputs, targets)`` of each example, shape (B,); cross-entropy if None.
        score: ``score(outputs, targets)`` of each example, shape (B,), higher is better; if None,
            whether the answer is right, which needs class targets.
        uncertainty: ``uncertainty(outputs)`` of a batch, shape (), >= 0. Predictive entropy if
            None and the loss is cross-entropy; otherwise there is no uncertainty, and methods that
            follow it are rejected.
        augment: ``augment(key, inputs)`` changes a batch of raw training inputs on the device.
        preprocess: ``preprocess(inputs)`` is applied on the device, to each input independently.
        modulate: Gain on "all" layers or on the "head" alone, for models that offer the choice.
        hyperparameters: Values that differ from the methods' defaults: by name for every method
            that has them, or by the method's name for that method.
        summary: One-line description.
        source: Where the benchmark is described.
        **protocol: Fields of :class:`gainjax.training.Protocol`: ``updates_per_task``,
            ``batch_size``, ``eval_every``, ...

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If the stream is invalid, the model does not fit it, or an option is unknown or
            out of range.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from gainjax.data import class_incremental
        >>> x, y = load_iris(return_X_y=True)
        >>> stream = class_incremental(x[::2], y[::2], x[1::2], y[1::2], tasks=[[0], [1, 2]])
        >>> Benchmark("iris", stream=stream, updates_per_task=[20, 50], batch_size=32)
        Benchmark('iris')
    """

    def __init__(  # one argument per choice, all but the name by keyword
        self,
        name: str,
        *,
        stream: Stream | MakeStream,
        model: Any = None,
        loss: Callable[..., jax.Array] | None = None,
        score: Callable[..., jax.Array] | None = None,
        uncertainty: Callable[..., jax.Array] | None = None,
        augment: Augment | None = None,
        preprocess: Preprocess | None = None,
        modulate: Modulate | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
        summary: str = "",
        source: str = "",
        **protocol: Unpack[ProtocolOptions],
    ) -> None:
        if not isinstance(name, str) or not name.strip():
            raise TypeError(f"name of a benchmark must be a word: got {name!r}")
        for option, function in (
            ("loss", loss),
            ("score", score),
            ("uncertainty", uncertainty),
            ("augment", augment),
            ("preprocess", preprocess),
        ):
            if function is not None and not callable(function):
                raise TypeError(f"{option} must be a function or None: got {function!r}")
        self.name, self.summary, self.source = name, summary, source
        self.reference: str | None = None  # the "module:attribute" that it was imported from
        self.stream = stream
        self.goal = Goal(
            loss or cross_entropy,
            score or accuracy,
            uncertainty or (predictive_entropy if loss is None else None),
        )
        self.augment, self.preprocess, self.modulate = augment, preprocess, modulate
        self.hyperparameters = MappingProxyType(dict(hyperparameters or {}))
        check_names(protocol, inspect.signature(Benchmark).parameters)
        self.protocol = changed_protocol(None, protocol)
        self._model = None if model is None else as_model(model)
        self._check_given_stream()

    def __repr__(self) -> str:
        return f"Benchmark({self.name!r})"

    def replace(
        self, *, name: str | None = None, model: Any = None, **changes: Unpack[_Changes]
    ) -> "Benchmark":
        """Return this benchmark with another name, stream or model, or other protocol fields.

        Args:
            name: Its new name, or None.
            model: Another model, or None.
            **changes: ``stream``, ``modulate``, or fields of :class:`gainjax.training.Protocol`.

        Raises:
            ValueError: As the benchmark itself.
        """
        other = object.__new__(Benchmark)
        other.__dict__.update(self.__dict__)
        other.name = name or self.name
        given: dict[str, Any] = {**changes}
        if name is not None or model is not None or "stream" in given:
            other.reference = None
        for field in ("stream", "modulate"):
            if field in given:
                setattr(other, field, given.pop(field))
        if model is not None:
            other._model = as_model(model)
        other.protocol = changed_protocol(self.protocol, given)
        other._check_given_stream()
        return other

    def load(self, data_dir: str | Path | None = None, eval_examples: int | None = None) -> Stream:
        """Load the data and make the stream of tasks.

        Args:
            data_dir: Where the data are, as for :func:`gainjax.data.load_source`.
            eval_examples: Size of a fixed random subset of each task's test set, or None for all.

        Raises:
            ValueError: If the stream is invalid or has more test examples than ``eval_examples``,
                or if it is already in memory and one of the arguments is given.
        """
        if not callable(self.stream):
            for option, value in (("data_dir", data_dir), ("eval_examples", eval_examples)):
                if value is not None:
                    raise ValueError(
                        f"{option} does not apply to benchmark {self.name!r}, whose stream is "
                        f"already in memory: got {value!r}. Give it where the stream is made"
                    )
            return self.stream
        stream = self.stream(data_dir=data_dir, eval_examples=eval_examples)
        self.check(stream)
        if eval_examples is not None and (most := int(np.max(stream.test_sizes))) > eval_examples:
            raise ValueError(
                f"eval_examples={eval_examples} has no effect on benchmark {self.name!r}: a task "
                f"has {most} test examples. Its stream function must pass eval_examples on, for "
                "example to gainjax.data.class_incremental"
            )
        return stream

    def model_for(self, stream: Stream, modulate: Modulate | None = None) -> Model:
        """Return the model, with its gain on all layers or the head.

        Args:
            stream: The tasks.
            modulate: "all", "head", or None for the benchmark's choice.

        Raises:
            ValueError: If the model does not offer the choice.
        """
        model = _default_model(_num_outputs(stream)) if self._model is None else self._model
        chosen = modulate or self.modulate
        if chosen not in (None, "all", "head"):
            raise ValueError(f"modulate must be 'all' or 'head': got {chosen!r}")
        if chosen is None or (model.choose is None and chosen == "all"):
            return model
        if model.choose is None:
            raise ValueError(
                f"modulate={chosen!r} needs a model with a field `modulate`, like built-in ones: "
                "for others, choose the modulated parameters with mask= when making the model, as "
                "in gainjax.models.from_linen(module, mask=...)"
            )
        return model.choose(chosen)

    def program(
        self,
        method: Method,
        stream: Stream | None = None,
        *,
        form: Form = "optimizer",
        modulate: Modulate | None = None,
        schedules: frozenset[str] = frozenset(),
    ) -> Program:
        """Return the program that trains a method.

        Args:
            method: The method.
            stream: The tasks, or None to load them.
            form: Where the gain is, in the "optimizer" or in the "model".
            modulate: As for :meth:`model_for`.
            schedules: Names of the hyperparameters with one value per update.
        """
        stream = self.load() if stream is None else stream
        return Program(
            self.model_for(stream, modulate),
            method,
            self.protocol,
            self.goal,
            form,
            self.augment,
            self.preprocess,
            num_classes(self.goal, stream),
            schedules,
        )

    def defaults(self, method: Method, label: str | None = None) -> dict[str, float | None]:
        """Return all hyperparameters of a method on this benchmark.

        Args:
            method: The method.
            label: Its label, for which the benchmark may also have values.
        """
        values = dict(method.hyperparameters)
        own = [self.hyperparameters.get(key, {}) for key in (method.name, label or method.name)]
        for overrides in (self.hyperparameters, *own):
            if isinstance(overrides, Mapping):
                values |= {name: overrides[name] for name in values if name in overrides}
        return values

    def _check_given_stream(self) -> None:
        if not callable(self.stream):
            return self.check(self.stream)
        try:
            inspect.signature(self.stream).bind(data_dir=None, eval_examples=None)
        except ValueError:
            return  # a built-in function without a signature
        except TypeError as error:
            raise TypeError(
                f"stream of benchmark {self.name!r} must be a function with the keywords data_dir "
                f"and eval_examples: {error}"
            ) from None

    def check(self, stream: Stream) -> None:
        """Raise ValueError unless the stream is valid and the model and the goal fit it."""
        check_stream(stream)
        self.protocol.task_ends(len(stream.task_end))
        check_fit(
            self.name, self.model_for(stream), self.goal, self.preprocess, self.augment, stream
        )


def check_names(options: Iterable[str], others: Iterable[str] = ()) -> None:
    """Raise if an option is not a field of the protocol, and suggest the nearest name.

    Args:
        options: Names of options.
        others: Names of other options that might have been meant.

    Raises:
        ValueError: If there is no such option.
    """
    names = [*(field.name for field in dataclasses.fields(Protocol)), *others]
    for name in options:
        lookup(dict.fromkeys(names), "option", name)


def changed_protocol(protocol: Protocol | None, changes: Mapping[str, Any]) -> Protocol:
    """Return a protocol with some fields replaced; for a misspelled one, suggest a name.

    Args:
        protocol: The protocol, or None to make one.
        changes: Values by name of the field.
    """
    check_names(changes)
    if protocol is not None:
        return dataclasses.replace(protocol, **changes)
    if missing := [name for name in ("updates_per_task", "batch_size") if name not in changes]:
        raise ValueError(f"a benchmark needs {' and '.join(missing)}")
    return Protocol(**changes)


def num_classes(goal: Goal, stream: Stream) -> int:
    """Return the number of classes of a stream, 0 if its targets are not classes."""
    targets = stream.train_targets
    return int(np.max(targets)) + 1 if goal.classifies and is_classes(targets) else 0


def seen_by_task(goal: Goal, stream: Stream) -> tuple[int, ...] | None:
    """Return the number of classes seen by the end of each task, None without classes."""
    return tuple(classes_seen(stream)) if num_classes(goal, stream) else None


def _num_outputs(stream: Stream) -> int:
    targets = np.asarray(stream.train_targets)
    if is_classes(targets):
        return int(targets.max()) + 1
    return 1 if targets.ndim == 1 else targets.shape[-1]


@functools.cache  # since compiled programs are cached by the model
def _default_model(outputs: int) -> Model:
    return as_model(MLP((_HIDDEN, _HIDDEN, outputs), (0.05, 0.05, 0.05)))
