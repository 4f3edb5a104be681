"""What `lab tune` searches: a model of the catalog, or the detector itself.

A problem gives, for parameters, the average precision of each tested period, as they come; and that of the newest rows,
which no trial sees.
"""

from __future__ import annotations

import hashlib
import math
import tomllib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from detector.lab import matrix, prequential, splits
from detector.lab.errors import InputStopped
from detector.lab.parameters import as_toml, defaults
from detector.lab.quality import average_precision
from detector.lab.roles import settings_for
from detector.lab.train import check_labels, fitted, learnable, limited, servable
from detector.settings import Settings
from detector.settings.text import toml

if TYPE_CHECKING:
    from detector.lab.tables import Table
    from detector.lab.tune import Asked, Tell

DETECTOR = "detector"
BEST_MODEL, BEST_DETECTOR = "best.toml", "detector.toml"
WEIGHTS = (0.05, 4.0)
MEMBERS: dict[str, dict[str, tuple[float, float]]] = {
    "half_space_trees": {"weight": WEIGHTS},
    "isolation_forest": {"weight": WEIGHTS, "sample_rows": (64, 1_024)},
    "projections_range": {"weight": WEIGHTS, "width": (0.25, 4.0)},
    "projections_asinh": {"weight": WEIGHTS, "width": (0.25, 4.0)},
    "mahalanobis": {"weight": WEIGHTS},
}
LABELS = {"frauds_until_half": (10.0, 1_000.0), "fraud_weight": (0.5, 16.0), "learning_rate": (0.02, 0.5)}
"""What is searched of the detector's own settings, on a logarithmic scale: least and greatest."""

Integers = NDArray[np.int64]
Value = tuple[float, int]  # average precision of a period, NaN without a fraud; its rows


class Problem(Protocol):
    """What can be tuned."""

    digest: str

    def suggest(self, trial: Any) -> dict[str, Any]:
        """A trial's parameters."""

    def given(self, params: dict[str, Any]) -> dict[str, Any]:
        """The parameters of a trial that was kept."""

    def values(self, parameters: dict[str, Any]) -> Iterator[Value]:
        """Of each period."""

    def default(self, name: str) -> Any:
        """What this parameter is where no trial sets it."""

    def newest(self, parameters: dict[str, Any]) -> float:
        """Average precision on the newest rows."""

    def written(self, parameters: dict[str, Any]) -> tuple[str, str]:
        """(file name, text) that the next command takes."""


class TunedModel:
    """A model of the catalog, by its own space."""

    def __init__(self, table: Table, asked: Asked, tell: Tell) -> None:
        self._model, self._asked = servable(asked.model), asked
        settings, roles, text = settings_for(table, asked.config, asked.label)
        delay_ms = asked.label_delay_ms if settings.labels.enabled else None
        self._built = built = matrix.build(table, settings, roles, rows=asked.rows, label_delay_ms=delay_ms)
        for line in (text, *table.choices, *built.choices):
            tell(line)
        check_labels(self._model, built)
        must_be_labelled(built.labelled)
        self.digest = hashlib.sha256(repr(built.names).encode()).hexdigest()[:16]
        self._periods, self._newest = periods(built.event_time_ms, asked)

    def suggest(self, trial: Any) -> dict[str, Any]:
        """By the catalog."""
        return self._model.space(trial)

    def given(self, params: dict[str, Any]) -> dict[str, Any]:
        """As they are."""
        return params

    def default(self, name: str) -> Any:
        """The model's own."""
        return defaults(self._model)[name]

    def values(self, parameters: dict[str, Any]) -> Iterator[Value]:
        """Each period by a model of what was known before it."""
        for fold in self._periods:
            yield self._precision(fold, parameters), len(fold.test)

    def newest(self, parameters: dict[str, Any]) -> float:
        """NaN where there are none."""
        return math.nan if self._newest is None else self._precision(self._newest, parameters)

    def written(self, parameters: dict[str, Any]) -> tuple[str, str]:
        """For `lab train --parameters`."""
        return BEST_MODEL, as_toml(self._model.name, parameters)

    def _precision(self, fold: splits.Fold, parameters: dict[str, Any]) -> float:
        built, seed = self._built, self._asked.seed
        rows = learnable(self._model, built, fold.train, seed)
        known = fold.test[built.label[fold.test] >= 0]
        if not (built.label[known] == 1).any():
            return math.nan
        if self._model.supervised and len(set(built.label[rows].tolist())) < 2:
            return math.nan
        estimator = fitted(self._model, parameters, seed, built, rows)
        return average_precision(built.label[known] == 1, estimator.score(limited(built.values[known])))


class TunedDetector:
    """The detector: weights of its members and what else MEMBERS says, and LABELS where it learns them.

    Every trial decides the whole table, each row before it is learned, labels learned as late as they would come.
    """

    def __init__(self, table: Table, asked: Asked, tell: Tell) -> None:
        self._table, self._asked = table, asked
        self._settings, self._roles, text = settings_for(table, asked.config, asked.label)
        tell(text)
        must_be_labelled(self._roles.label is not None)
        self.digest = self._settings.spec().fingerprint()
        members = [name for name in MEMBERS if getattr(self._settings.models, name).enabled]
        self._space = {f"models.{name}.{field}": edges for name in members for field, edges in MEMBERS[name].items()}
        if self._settings.labels.enabled:
            self._space |= {f"labels.{field}": edges for field, edges in LABELS.items()}
        raw = asked.config.read_text(encoding="utf-8") if asked.config is not None else self._roles.toml()
        self._raw = tomllib.loads(raw)

    def suggest(self, trial: Any) -> dict[str, Any]:
        """All on a logarithmic scale."""
        for place, (low, high) in self._space.items():
            if isinstance(low, int) and isinstance(high, int):
                trial.suggest_int(place, low, high, log=True)
            else:
                trial.suggest_float(place, low, high, log=True)
        return self.given(trial.params)

    def given(self, params: dict[str, Any]) -> dict[str, Any]:
        """Rounded to what a person would write."""
        return {place: one if isinstance(one, int) else float(f"{one:.3g}") for place, one in params.items()}

    def default(self, name: str) -> Any:
        """As the configuration has it."""
        found: Any = self._settings
        for part in name.split("."):
            found = getattr(found, part)
        return found

    def values(self, parameters: dict[str, Any]) -> Iterator[Value]:
        """All periods by one run."""
        fraud, risk, found, _ = self._decided(parameters)
        for fold in found:
            yield ranked(fraud, risk, fold.test), len(fold.test)

    def newest(self, parameters: dict[str, Any]) -> float:
        """NaN where there are none."""
        fraud, risk, _, newest = self._decided(parameters)
        return math.nan if newest is None else ranked(fraud, risk, newest.test)

    def written(self, parameters: dict[str, Any]) -> tuple[str, str]:
        """A whole detector.toml: the one that was given, or guessed, with these settings in it."""
        values = self._raw
        for place, value in parameters.items():
            values = with_value(values, place.split("."), value)
        return BEST_DETECTOR, toml(values)

    def _decided(self, parameters: dict[str, Any]) -> tuple[NDArray[np.int8], Any, list[splits.Fold], Any]:
        settings = changed(self._settings, parameters)
        delay_ms = self._asked.label_delay_ms if settings.labels.enabled else None
        run = prequential.run(self._table, settings, self._roles, rows=self._asked.rows, label_delay_ms=delay_ms)
        must_be_labelled(bool((run.label == 1).any() and (run.label == 0).any()))
        return run.label, run.scores[prequential.DETECTOR], *periods(run.event_time_ms, self._asked)


def must_be_labelled(labelled: bool) -> None:
    """Raises InputStopped where there is nothing to tune by."""
    if not labelled:
        raise InputStopped(
            "tuning compares with the truth: expected a label column with frauds and genuine rows, found none; name it "
            "with --label"
        )


def periods(event_time_ms: Integers, asked: Asked) -> tuple[list[splits.Fold], splits.Fold | None]:
    """(periods that trials are scored on, the newest rows with all that was known before them)."""
    order = np.argsort(event_time_ms, kind="stable")
    older = np.sort(order[: len(order) - round(asked.holdout * len(order))])
    found = [
        splits.Fold(fold.name, older[fold.train], older[fold.test])
        for fold in splits.by_time_of(event_time_ms[older], asked.folds, asked.label_delay_ms)
    ]
    if not asked.holdout:
        return found, None
    [newest] = splits.by_time_of(event_time_ms, 1, asked.label_delay_ms, 1.0 - asked.holdout)
    return found, newest


def ranked(label: NDArray[np.int8], risk: Any, rows: Integers) -> float:
    """Average precision of these rows' risk, those of unknown label left out; NaN without a fraud."""
    known = rows[label[rows] >= 0]
    return average_precision(label[known] == 1, np.asarray(risk[known], np.float64))


def changed(settings: Settings, parameters: dict[str, Any]) -> Settings:
    """The settings with these in their places."""
    for place, value in parameters.items():
        *sections, name = place.split(".")
        parents: list[Any] = [settings]
        for section in sections:
            parents.append(getattr(parents[-1], section))
        inner = parents[-1].model_copy(update={name: value})
        for parent, section in zip(reversed(parents[:-1]), reversed(sections), strict=True):
            inner = parent.model_copy(update={section: inner})
        settings = inner
    return settings


def with_value(values: dict[str, Any], place: list[str], value: Any) -> dict[str, Any]:
    """Nested tables with a value at a place."""
    head, *rest = place
    return values | {head: with_value(values.get(head, {}), rest, value) if rest else value}
