"""Any anomaly detector of river, or outlier estimator of scikit-learn, as a member, by its dotted name.

Laws (cut invariance, round trip, restore ≡ replay): the member's state is rows, not an estimator. It keeps the last
`rows` rows learned in arrays; at a pivot these become the *reference*, and from then on a fresh estimator fitted on
them scores, until the next pivot. What is fitted is thus a pure function of the arrays, so snapshots hold numbers
alone: nothing is pickled, and nothing in a snapshot is ever run. An estimator that was fitted is kept beside the
arrays, under a digest of its reference, and fitted again wherever it is not there: after a restore, for one.

For the same reason estimators score one row a call, unless they are known to give a row the same bits in any company:
matrix products do not. That, and Python itself, make a plug-in hundreds of times slower than our own members.

Rows are scaled to the unit cube by the feature profile, where a missing value is its feature's median. Scores of any
range are mapped to 0–1 by the median and the interquartile range of the scores of reference rows. An estimator must be
deterministic given its seed, and must not learn while it scores; the laws hold for those that are.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import re
import threading
import warnings
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.adapters.outside import Scorer, in_unit, left_out, package_version, spread
from detector.core.half_space_trees import BULK_WIDTHS
from detector.core.profile import bin_edges, scale_kernel, squash_kernel
from detector.core.turns import FIRST_WINDOW_ROWS, OWN, Turning, new_counter, take, turn

MAPPED_ROWS_MAX = 200  # of the reference that are scored to learn what range scores have
FITTED_KEPT = 4
# Proven by a test: a row's score is the same, to the last bit, alone and among others.
IN_ANY_COMPANY = frozenset({"sklearn.ensemble.IsolationForest", "sklearn.svm.OneClassSVM"})

REFERENCE_ROWS, LEARNED, COUNTER = range(OWN, OWN + 3)

Arrays = dict[str, NDArray[Any]]


class PluginError(ValueError):
    """An estimator that cannot take part; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """A member's declaration: `parameters` as JSON with sorted keys, `version` of the estimator's distribution."""

    estimator: str
    parameters: str
    version: str
    rows: int = 1_000
    refit_rows: int = 1_000
    features: tuple[str, ...] = ()
    weight: float = 1.0

    @property
    def kind(self) -> str:
        """Under which its score is published: `plugin_local_outlier_factor`."""
        name = self.estimator.rpartition(".")[2]
        return "plugin_" + re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()

    def build(self, columns: NDArray[np.int64], profiled: NDArray[np.int64], seed: int) -> PluginMember:
        """The member; see `detector.core.models.build_members`."""
        return PluginMember(self, columns, profiled, seed)


def declare(estimator: str, parameters: dict[str, Any], width: int = 1, **rest: Any) -> Plugin:
    """A declaration whose estimator is there, can be made, and fits rows of `width` numbers. Raises PluginError."""
    cls = _class(estimator)
    if parameters.get("n_jobs", 1) not in (None, 1):
        raise PluginError("parameters: expected no n_jobs, for threads add up in any order; found one")
    try:
        made = cls(**parameters)
    except Exception as error:  # whatever an estimator raises at wrong parameters
        raise PluginError(f"parameters: expected what {estimator} takes, found: {error}") from None
    if not _is_river(made) and (lack := _lack(made)):
        raise PluginError(
            "expected an anomaly detector of river, or an estimator with fit and score_samples, found "
            f"{estimator}: {lack}"
        )
    version = package_version(estimator.split(".")[0])
    plugin = Plugin(estimator, json.dumps(parameters, sort_keys=True), version, **rest)
    _try(estimator, plugin.parameters, min(plugin.rows, FIRST_WINDOW_ROWS), width)
    return plugin


@cache
def _try(estimator: str, parameters: str, rows: int, width: int) -> None:
    """Fit as many rows as the first pivot has: many an estimator looks at its parameters there. Raises PluginError."""
    cube = np.random.default_rng(0).random((rows, width))
    try:
        with warnings.catch_warnings(action="ignore"):
            _raw_scorer(_class(estimator)(**json.loads(parameters)), cube, False)(cube[:1])
    except Exception as error:  # whatever an estimator raises at wrong parameters
        raise PluginError(f"parameters: expected such that {estimator} fits {rows} rows, found: {error}") from None


def _lack(made: object) -> str:
    """Why something is no outlier estimator, by its own words; empty where it is one."""
    try:
        _ = made.fit, made.score_samples  # type: ignore[attr-defined]
    except AttributeError as error:
        return str(error.__cause__ or error)
    return ""


def _class(estimator: str) -> Any:
    module, _, name = estimator.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise PluginError(
            f"expected the dotted name of a class that can be imported, found {estimator}: {error}"
        ) from None
    if not inspect.isclass(found):
        raise PluginError(f"expected the dotted name of a class, found {estimator}")
    return found


def _is_river(estimator: object) -> bool:
    from river import base

    return isinstance(estimator, base.AnomalyDetector)


class PluginMember(Turning):
    """The member: immutable plan, but for the estimators fitted last, which the arrays determine."""

    def __init__(self, spec: Plugin, columns: NDArray[np.int64], profiled: NDArray[np.int64], seed: int) -> None:
        """`columns` of the feature matrix that it looks at, and their rows in the feature profile."""
        self.spec = spec
        self.name = spec.kind
        self.columns = columns
        self.profiled = profiled
        self.seed = seed
        self._edges = bin_edges()
        self._fitted: OrderedDict[bytes, Scorer] = OrderedDict()
        self._lock = threading.RLock()

    def new_arrays(self) -> Arrays:
        """The state before the first row: `scale` float64 (2, m), center and width; `latest` float64 (rows, m), a ring
        of the rows learned last; `reference` float64 (rows, m), scaled, the oldest first.
        """
        shape = (self.spec.rows, len(self.columns))
        counter = new_counter(COUNTER, self.spec.refit_rows)
        scale = np.zeros((2, len(self.columns)))
        scale[1] = 1.0
        return {"counter": counter, "scale": scale, "latest": np.zeros(shape), "reference": np.zeros(shape)}

    def ready(self, arrays: Arrays) -> bool:
        """Whether there is a reference to fit an estimator on."""
        return bool(arrays["counter"][REFERENCE_ROWS] > 0)

    def score(self, arrays: Arrays, features: NDArray[np.float64], score: NDArray[np.float64]) -> None:
        """Score rows (n, f) into `score` (n,) by the estimator of the reference; 0 until there is one. No trace."""
        if not self.ready(arrays):
            score[:] = 0.0
            return
        score[:] = self._scorer(arrays)(self._scaled(arrays, features))

    def learn(self, arrays: Arrays, features: NDArray[np.float64], trace: Any, taken: NDArray[np.bool_]) -> None:
        """Keep the rows taken, over the oldest ones."""
        counter = arrays["counter"]
        rows = features[taken][:, self.columns]
        places = (counter[LEARNED] + np.arange(len(rows))) % self.spec.rows
        last = slice(max(0, len(rows) - self.spec.rows), None)
        arrays["latest"][places[last]] = rows[last]
        counter[LEARNED] += len(rows)
        take(counter, taken)

    def pivot(self, arrays: Arrays, cumulated: NDArray[np.int64], sample: Any = None) -> None:
        """The rows kept become the reference, scaled by the feature profile at this row; `sample` is not looked at."""
        counter, scale = arrays["counter"], arrays["scale"]
        scale_kernel(cumulated, self.profiled, self._edges, scale[0], scale[1])
        scale[1] *= BULK_WIDTHS
        kept = int(min(counter[LEARNED], self.spec.rows))
        order = (counter[LEARNED] - kept + np.arange(kept)) % self.spec.rows
        arrays["reference"][:kept] = _squashed(arrays["latest"][order], np.arange(len(self.columns)), scale)
        counter[REFERENCE_ROWS] = kept
        turn(counter, self.spec.refit_rows)

    def explain(self, arrays: Arrays, row: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """Leave one out: how the score falls where a feature takes its median; in proportion, so that parts add up."""
        width = len(self.columns)
        if not self.ready(arrays):
            return np.zeros(width), 0.0
        return left_out(self._scorer(arrays), self._scaled(arrays, row[None, :])[0], np.full(width, 0.5))

    def merge(self, one: Arrays, other: Arrays) -> Arrays:
        """Raises ValueError: the last rows of two streams have no order between them."""
        raise ValueError(f"{self.name}: rows of two streams cannot be merged; keep the state of one")

    def _scaled(self, arrays: Arrays, features: NDArray[np.float64]) -> NDArray[np.float64]:
        return _squashed(features, self.columns, arrays["scale"])

    def _scorer(self, arrays: Arrays) -> Scorer:
        """The estimator of this reference: remembered, or fitted anew. Two threads may ask at once."""
        reference = np.ascontiguousarray(arrays["reference"][: arrays["counter"][REFERENCE_ROWS]])
        digest = hashlib.blake2b(reference.tobytes(), digest_size=16).digest()
        with self._lock:
            if digest not in self._fitted:
                self._fitted[digest] = self._fit(reference)
                while len(self._fitted) > FITTED_KEPT:
                    self._fitted.popitem(last=False)
            return self._fitted[digest]

    def _fit(self, reference: NDArray[np.float64]) -> Scorer:
        cls, parameters = _class(self.spec.estimator), json.loads(self.spec.parameters)
        for seed in {"seed", "random_state"} & set(inspect.signature(cls).parameters) - set(parameters):
            parameters[seed] = self.seed
        raw = _raw_scorer(cls(**parameters), reference, self.spec.estimator in IN_ANY_COMPANY)
        center, width = spread(raw(reference[:: -(-len(reference) // MAPPED_ROWS_MAX)]))

        def mapped(z: NDArray[np.float64]) -> NDArray[np.float64]:
            with self._lock:
                return in_unit(raw(z), center, width)

        return mapped


def _squashed(
    values: NDArray[np.float64], columns: NDArray[np.int64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Rows (n, m) in the unit cube; a missing value lies in its middle, where its feature's median does."""
    z = np.empty((len(columns), len(values)))
    squash_kernel(values, columns, scale[0], scale[1], z)
    return np.ascontiguousarray(np.where(np.isnan(z), 0.5, z).T)


def _raw_scorer(estimator: Any, reference: NDArray[np.float64], in_any_company: bool) -> Scorer:
    """Fit; the function gives scores (n,) of any range, high = anomalous."""
    if _is_river(estimator):
        names = [f"x{column}" for column in range(reference.shape[1])]
        for row in reference.tolist():
            estimator.learn_one(dict(zip(names, row, strict=True)))

        def one_by_one(z: NDArray[np.float64]) -> NDArray[np.float64]:
            rows = (dict(zip(names, row, strict=True)) for row in z.tolist())
            return np.fromiter((estimator.score_one(row) for row in rows), np.float64, len(z))

        return one_by_one
    estimator.fit(reference)
    if in_any_company:
        return lambda z: -np.asarray(estimator.score_samples(z), np.float64)
    return lambda z: np.array([-float(estimator.score_samples(z[i : i + 1].copy())[0]) for i in range(len(z))])
