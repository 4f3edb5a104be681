"""The models that the lab knows by name, besides the detector's own: what each is, and how it is built and searched.

A model is built anew for each part of a file that it learns, `build(seed, categories=c, **parameters)`, and has
`fit(rows, y=None)` and `score(rows)`, high = fraud. Rows are those of `Model.rows_of`: float64 (n, f + c), the last c
columns codes of categories.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from detector.lab.errors import NotConfigured, WrongUsage
from detector.lab.models import outliers, sequence, supervised

if TYPE_CHECKING:
    from detector.lab.matrix import Matrix

Parameters = dict[str, Any]
Space = Callable[[Any], Parameters]

SAMPLE_ROWS = 10_000  # that the slow ones learn at most, drawn by the seed
WINDOW_ROWS = 8  # of a card, the one asked about included
MODULES = {"lab": ("sklearn", "imblearn", "xgboost"), "sequence": ("jax",)}


class Estimator(Protocol):
    """A model built: fit once, ask often."""

    def fit(self, rows: Any, y: NDArray[np.int8] | None = None) -> Any:
        """Learn `rows`; `y` (n,) 1 fraud, 0 genuine, where the model is supervised."""
        ...

    def score(self, rows: Any) -> NDArray[np.float64]:
        """One number a row (n,), high = fraud."""
        ...


@dataclass(frozen=True, slots=True)
class Model:
    """One model. `needs` the extra that it comes with; `fit_rows_max`: more rows are sampled, None learns all;
    `seeded`: another seed gives another model; `window_rows`: it reads so many rows of a card, 0 just the one.
    """

    name: str
    about: str
    make: Callable[..., Any]
    space: Space
    supervised: bool = False
    needs: str = "lab"
    fit_rows_max: int | None = None
    seeded: bool = False
    window_rows: int = 0

    def build(self, seed: int = 0, *, categories: int = 0, **parameters: Any) -> Estimator:
        """A new one. Raises NotConfigured where its packages are missing."""
        lacking = absent(self.needs)
        if lacking:
            raise NotConfigured(
                f"model {self.name}: needs {lacking}: pip install 'streaming-fraud-detector[{self.needs}]'"
            )
        built: Estimator = self.make(seed, categories, **parameters)
        return built

    def rows_of(self, matrix: Matrix, rows: NDArray[np.int64]) -> Any:
        """What `fit` and `score` take, of these rows of the matrix."""
        if self.window_rows:
            return sequence.Windows(matrix.inputs(), matrix.windows(rows, self.window_rows))
        return matrix.inputs(rows)

    def learned_rows(self, rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
        """Of `rows` those that are learned, in their order."""
        if self.fit_rows_max is None or len(rows) <= self.fit_rows_max:
            return rows
        return np.sort(np.random.default_rng(seed).choice(rows, self.fit_rows_max, replace=False))


def absent(extra: str) -> str:
    """The first module of an extra that is not installed; empty where all are."""
    return next((module for module in MODULES[extra] if find_spec(module) is None), "")


def _nothing(trial: Any) -> Parameters:
    return {}


MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        Model("z_score", "root mean square of the columns' z-scores", outliers.z_score, _nothing),
        Model("mean_k_sd", "columns outside mean ± 3 standard deviations", outliers.mean_k_sd,
              lambda trial: {"k": trial.suggest_float("k", 1.5, 6.0)}),
        Model("kmeans", "distance to the nearest of 8 centres (K-Means)", outliers.kmeans,
              lambda trial: {"clusters": trial.suggest_int("clusters", 2, 64, log=True)}, seeded=True),
        Model("knn", "mean distance to the 10 nearest rows", outliers.knn,
              lambda trial: {"neighbours": trial.suggest_int("neighbours", 1, 100, log=True)},
              fit_rows_max=SAMPLE_ROWS),
        Model("dbscan", "distance to the nearest core row of DBSCAN's clusters", outliers.Dbscan,
              lambda trial: {"neighbours": trial.suggest_int("neighbours", 3, 50, log=True)},
              fit_rows_max=SAMPLE_ROWS),
        Model("isolation_forest", "isolation forest, 100 trees", outliers.isolation_forest,
              lambda trial: {"trees": trial.suggest_int("trees", 50, 300, step=50),
                             "sample_rows": trial.suggest_int("sample_rows", 64, 4_096, log=True)}, seeded=True),
        Model("lof", "local outlier factor, 20 neighbours", outliers.local_outlier_factor,
              lambda trial: {"neighbours": trial.suggest_int("neighbours", 5, 200, log=True)},
              fit_rows_max=SAMPLE_ROWS),
        Model("autoencoder", "error of a small network with a narrow waist", outliers.autoencoder,
              lambda trial: {"hidden": trial.suggest_int("hidden", 2, 16),
                             "alpha": trial.suggest_float("alpha", 1e-6, 1e-1, log=True)},
              fit_rows_max=5 * SAMPLE_ROWS, seeded=True),
        Model("lstm", "LSTM autoencoder over a card's last 8 rows", sequence.Lstm,
              lambda trial: {"hidden": trial.suggest_int("hidden", 4, 64, log=True),
                             "rate": trial.suggest_float("rate", 1e-3, 3e-2, log=True)},
              needs="sequence", fit_rows_max=5 * SAMPLE_ROWS, seeded=True, window_rows=WINDOW_ROWS),
        Model("logistic_regression", "logistic regression on z-scores", supervised.logistic_regression,
              lambda trial: {"strength": trial.suggest_float("strength", 1e-4, 1e2, log=True),
                             "clip": trial.suggest_float("clip", 3.0, 30.0, log=True)}, supervised=True),
        Model("random_forest", "random forest, 100 trees, with SMOTE", supervised.random_forest,
              lambda trial: {"leaf_rows": trial.suggest_int("leaf_rows", 1, 20, log=True),
                             "columns": trial.suggest_float("columns", 0.1, 1.0),
                             "frauds_share": trial.suggest_float("frauds_share", 0.005, 0.3, log=True)},
              supervised=True, seeded=True),
        Model("xgboost", "gradient boosted trees, 200 of depth 5", supervised.xgboost,
              lambda trial: {"trees": trial.suggest_int("trees", 50, 600, log=True),
                             "depth": trial.suggest_int("depth", 2, 10),
                             "rate": trial.suggest_float("rate", 0.01, 0.3, log=True),
                             "rows": trial.suggest_float("rows", 0.5, 1.0),
                             "columns": trial.suggest_float("columns", 0.3, 1.0),
                             "child_weight": trial.suggest_float("child_weight", 0.5, 20.0, log=True)},
              supervised=True, seeded=True),
    )
}  # fmt: skip
"""By name. Their order is that of tables."""


def model(name: str) -> Model:
    """The model of that name. Raises WrongUsage, with all names."""
    found = MODELS.get(name)
    if found is None:
        raise WrongUsage(f"model {name!r}: expected one of {', '.join(MODELS)}")
    return found
