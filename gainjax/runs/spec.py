"""The description of a run: one typed value, written as JSON and compared field by field."""

import dataclasses
import operator
from collections.abc import Mapping
from typing import Any

from gainjax.curves import Setting, check_settings
from gainjax.curves.joining import of_seeds
from gainjax.runs.settings import Schedule, Value
from gainjax.training import Protocol

# Fields that do not affect the results: where code is found, and what follows from the others.
DESCRIPTIVE = ("found_by", "references", "classes_seen", "borrowed_from", "dynamics")


@dataclasses.dataclass(frozen=True)
class RunSpec:
    """The description of a run; anything that it does not contain does not affect the results.

    Args:
        benchmark: Name of the benchmark.
        model: Human-readable description of the model.
        score: Name of the score.
        tasks: Number of tasks.
        settings: The rows of the results: methods with values for their hyperparameters.
        seeds: Seeds, which all settings share.
        protocol: How the stream is trained on and evaluated.
        eval_examples: Size of the evaluation subsets, or None for whole test sets.
        form: Where the gain is, "optimizer" or "model".
        modulate: Gain of "all" layers or the "head", or None for the model's mask.
        data: Checksum of all data.
        borrowed: A borrowed gain: its setting, and for each seed a checksum; or None.
        common: Fingerprint of what all methods share: model, goal and augmentation.
        programs: For each label the fingerprints of its programs, by the kinds of their numbers.
        found_by: How to find the benchmark again: its registered name or ``"module:attribute"``;
            None for an object passed by the caller.
        references: For each label how to find the method again: a registered name or
            ``"module:attribute"``; None for an object passed by the caller.
        classes_seen: Number of classes in the training data up to each task; None if targets are
            not classes, and in files of earlier versions.
        borrowed_from: Directory of the run whose gain is borrowed.
        dynamics: For the label of each setting whose gain follows uncertainty, the numbers of its
            :class:`gainjax.GainDynamics`.
    """

    benchmark: str
    model: str
    score: str
    tasks: int
    settings: tuple[Setting, ...]
    seeds: tuple[int, ...]
    protocol: Protocol
    eval_examples: int | None
    form: str
    modulate: str | None
    data: str
    borrowed: Mapping[str, Any] | None
    common: str
    programs: Mapping[str, Mapping[str, str]]
    found_by: str | None
    references: Mapping[str, str | None]
    classes_seen: tuple[int, ...] | None = None
    borrowed_from: str | None = None
    dynamics: Mapping[str, Mapping[str, float | None]] = dataclasses.field(default_factory=dict)

    def replace(self, **changes: Any) -> "RunSpec":
        """Return the description with changed fields."""
        return dataclasses.replace(self, **changes)

    @property
    def labels(self) -> list[str]:
        """Names of the rows."""
        return [setting.label for setting in self.settings]

    def part(self, settings: tuple[Setting, ...], seeds: tuple[int, ...]) -> "RunSpec":
        """Return the description of some rows and seeds of this run."""
        labels = {setting.label for setting in settings}
        methods = {setting.method for setting in settings}
        borrowed = None if self.borrowed is None else of_seeds(self.borrowed, seeds)
        return self.replace(
            settings=settings,
            seeds=seeds,
            borrowed=borrowed,
            programs={k: v for k, v in self.programs.items() if k in methods},
            references={k: v for k, v in self.references.items() if k in methods},
            dynamics={k: v for k, v in self.dynamics.items() if k in labels},
        )

    def decisive(self) -> dict[str, Any]:
        """Return the JSON values that affect the results."""
        stored = self.to_json()
        return {name: stored[name] for name in stored if name not in DESCRIPTIVE}

    def to_json(self) -> dict[str, Any]:
        """Return the description as plain JSON values."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        protocol = dataclasses.asdict(self.protocol)
        if isinstance(protocol["updates_per_task"], tuple):
            protocol["updates_per_task"] = list(protocol["updates_per_task"])
        if self.borrowed_from is None:
            del fields["borrowed_from"]
        return fields | {
            "settings": [setting_to_json(setting) for setting in self.settings],
            "seeds": list(self.seeds),
            "protocol": protocol,
            "borrowed": None if self.borrowed is None else dict(self.borrowed),
            "programs": {label: dict(found) for label, found in self.programs.items()},
            "references": dict(self.references),
            "classes_seen": None if self.classes_seen is None else list(self.classes_seen),
            "dynamics": {label: dict(found) for label, found in self.dynamics.items()},
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "RunSpec":
        """Return the description that :meth:`to_json` wrote.

        Raises:
            ValueError: If fields are missing, unknown or of another kind.
        """
        try:
            spec = cls(
                **{
                    **stored,
                    "settings": tuple(setting_from_json(row) for row in stored["settings"]),
                    "seeds": tuple(int(seed) for seed in stored["seeds"]),
                    "protocol": Protocol(**stored["protocol"]),
                    "classes_seen": _numbers(stored.get("classes_seen")),
                }
            )
            check_settings(spec.settings)
            unknown = {row.method for row in spec.settings} - spec.references.keys()
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not the description of a run: {error!r}") from error
        if unknown:
            raise ValueError(f"not the description of a run: no reference for {min(unknown)!r}")
        places = [spec.found_by, *spec.references.values()]
        if wrong := [place for place in places if not isinstance(place, str | None)]:
            raise ValueError(f"not the description of a run: it refers to {wrong[0]!r}")
        return spec


def _numbers(stored: Any) -> tuple[int, ...] | None:
    return None if stored is None else tuple(operator.index(number) for number in stored)


def setting_to_json(setting: Setting) -> dict[str, Any]:
    """Return a row of a description as JSON values."""

    def plain(value: Value) -> Any:
        if isinstance(value, Schedule):
            return {"schedule": value.name, "values": list(value.values)}
        return value

    values = {name: plain(value) for name, value in setting.hyperparameters.items()}
    return {**setting._asdict(), "hyperparameters": values, "swept": list(setting.swept)}


def setting_from_json(row: Mapping[str, Any]) -> Setting:
    """Return the row that :func:`setting_to_json` wrote."""

    def value(stored: Any) -> Value:
        if isinstance(stored, Mapping):
            return Schedule(stored["schedule"], tuple(map(float, stored["values"])))
        return None if stored is None else float(stored)

    values = {name: value(stored) for name, stored in row["hyperparameters"].items()}
    return Setting(row["label"], row["method"], row["title"], values, tuple(row["swept"]))
