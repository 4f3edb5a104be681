"""A scikit-learn pipeline that scores rows: how its input is prepared, and how its answer is read as one number a row.

Law (nothing leaks): whatever is learned of the columns, medians, scales, categories, is learned in `fit`, from the rows
given there alone. Pipelines are of scikit-learn's and imbalanced-learn's own parts, so that they can be saved without
pickling any code of ours.

Input of every pipeline: float64 (n, f + c), NaN where missing; the last c columns hold codes of categories.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]
Steps = list[tuple[str, Any]]

CHUNK_ROWS = 65_536
CATEGORIES_MAX = 20  # of one column; what is rarer shares one
CLIP_SD = 10.0


def prepared(categories: int, *, scaled: bool = True, clip: float | None = CLIP_SD) -> Steps:
    """Steps before a model: medians for what is missing, z-scores cut at `clip`, a 0/1 column a category."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

    steps: Steps = [("impute", SimpleImputer(strategy="median", keep_empty_features=True))]
    if scaled:
        steps.append(("scale", StandardScaler()))
    if scaled and clip is not None:
        steps.append(("clip", FunctionTransformer(np.clip, kw_args={"a_min": -clip, "a_max": clip})))
    if not categories:
        return steps
    encoder = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=CATEGORIES_MAX, sparse_output=False)
    columns = [
        ("numbers", Pipeline(steps), slice(0, -categories)),
        ("categories", encoder, slice(-categories, None)),
    ]
    return [("columns", ColumnTransformer(columns))]


class Piped:
    """`pipeline` fitted to rows; `read` names how it is asked (a key of `READ`; else the class scores itself)."""

    def __init__(self, steps: Steps, read: str, adapt: Callable[[Any, Labels], None] | None = None) -> None:
        """`adapt(pipeline, y)` may fit steps to the labels given before these are learned."""
        from imblearn.pipeline import Pipeline

        self.pipeline: Any = Pipeline(steps)
        self.read = read
        self._adapt = adapt

    def fit(self, rows: Floats, y: Labels | None = None) -> Piped:
        """Learn `rows` (n, f + c); `y` (n,), 1 fraud and 0 genuine, where the model is supervised."""
        if self._adapt is not None and y is not None:
            self._adapt(self.pipeline, y)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of convergence, of one bin a constant column: the figures show what came
            target = self._target(rows, y)
            self.pipeline.fit(rows, target)
        return self

    def _target(self, rows: Floats, y: Labels | None) -> Any:
        if self.read != "error":
            return y
        return self.pipeline[:-1].fit_transform(rows)  # an autoencoder's target is its own input

    def score(self, rows: Floats) -> Floats:
        """One number a row (n,), high = fraud."""
        ask = READ[self.read]
        starts = range(0, len(rows), CHUNK_ROWS)
        parts = [np.asarray(ask(self.pipeline, rows[at : at + CHUNK_ROWS]), np.float64) for at in starts]
        return np.concatenate(parts) if parts else np.empty(0)

    def served(self) -> Any:
        """The fitted pipeline without what only learning needs, of scikit-learn's own class."""
        from sklearn.pipeline import Pipeline

        return Pipeline([(name, step) for name, step in self.pipeline.steps if not hasattr(step, "fit_resample")])


def _root_mean_square(pipeline: Any, rows: Floats) -> Floats:
    z: Floats = pipeline.transform(rows)
    root: Floats = np.sqrt(np.square(z).mean(axis=1))
    return root


def _neighbours(pipeline: Any, rows: Floats) -> Floats:
    distance, _ = pipeline[-1].kneighbors(pipeline[:-1].transform(rows))
    mean: Floats = distance.mean(axis=1)
    return mean


def _error(pipeline: Any, rows: Floats) -> Floats:
    given = pipeline[:-1].transform(rows)
    mean: Floats = np.square(pipeline[-1].predict(given).reshape(given.shape) - given).mean(axis=1)
    return mean


READ: dict[str, Callable[[Any, Floats], Floats]] = {
    "probability": lambda pipeline, rows: pipeline.predict_proba(rows)[:, 1],
    "outlier": lambda pipeline, rows: -pipeline.score_samples(rows),
    "centre": lambda pipeline, rows: pipeline.transform(rows).min(axis=1),
    "neighbours": _neighbours,
    "error": _error,
    "z": _root_mean_square,
}
"""How a pipeline's answer becomes one number a row, high = fraud."""
