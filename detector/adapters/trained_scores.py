"""A trained model file → a function that scores rows: the same bits for a row alone and in any company.

Steps before the model (medians for what is missing, z-scores, clipping) work number by number, so they take all rows at
once. Then trees are walked and sums are taken column by column, row for row in one order; models that multiply matrices
or search neighbours are asked one row at a time, which costs up to milliseconds a row: so the README's table says.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from detector.adapters.outside import Floats, Scorer
from detector.adapters.trained_file import SKOPS, Artifact, TrainedError

VALUE_MAX = 1e30  # what single precision can still be scaled in
PROBE_TOLERANCE = 1e-6  # another processor may differ in the last bits of a single-precision number
KNOWN_TYPES = frozenset(
    {
        *("numpy.dtype", "numpy.clip", "numpy.divide", "sklearn.tree._tree.Tree"),
        *("sklearn.neighbors._kd_tree.KDTree", "sklearn.neighbors._ball_tree.BallTree"),
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    }
)
"""Types that skops does not trust by itself, and that our models hold."""

# Classes that give a row the same bits in any company, proven by a test.
FORESTS = frozenset({"RandomForestClassifier", "ExtraTreesClassifier"})
IN_ANY_COMPANY = FORESTS | {"IsolationForest"}


def scorer(artifact: Artifact) -> Scorer:
    """The function: rows float64 (n, m), NaN where missing → raw scores (n,), high = fraud.

    Raises TrainedError: unknown types in the file, a package that is missing, scores that are not those it was trained
    with.
    """
    expected = np.array([probe.score for probe in artifact.card.probes])
    try:
        ask = unchecked(artifact)
        found = ask(np.array([probe.row for probe in artifact.card.probes], np.float64))
    except TrainedError:
        raise
    except Exception as error:  # whatever a model raises that is not what its card says
        raise TrainedError(
            f"{artifact.card.file}: expected a model that can be asked by {artifact.card.read!r}, as model.json says, "
            f"found: {error}; copy the whole folder again, or train it anew"
        ) from error
    if not np.allclose(found, expected, rtol=PROBE_TOLERANCE, atol=PROBE_TOLERANCE):
        worst = int(np.argmax(np.abs(found - expected)))
        versions = ", ".join(f"{name} {version}" for name, version in artifact.card.versions.items())
        raise TrainedError(
            f"expected a score of {expected[worst]:.6g} for its probe {worst}, as where it was trained ({versions}), "
            f"found {found[worst]:.6g}: install those versions, or train it anew"
        )
    return ask


def unchecked(artifact: Artifact) -> Scorer:
    """The same, its probes not looked at."""
    return _clipped((_scikit_learn if artifact.card.file == SKOPS else _xgboost)(artifact))


def _clipped(ask: Scorer) -> Scorer:
    lock = threading.Lock()

    def clipped(rows: Floats) -> Floats:
        with lock:
            return ask(np.clip(rows, -VALUE_MAX, VALUE_MAX))

    return clipped


def _xgboost(artifact: Artifact) -> Scorer:
    try:
        import xgboost
    except ImportError as error:
        raise TrainedError(f"expected xgboost, found none ({error}); install the extra `trained`") from None
    if not artifact.model.startswith(b"{"):  # XGBoost ends the process over an empty one
        raise TrainedError(f"{artifact.card.file}: expected a model of XGBoost in UBJSON, found something else")
    booster = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(bytearray(artifact.model))
    except xgboost.core.XGBoostError as error:
        reason = re.sub(r"^\[.*?\] \S+: ", "", str(error).strip().splitlines()[0])  # without time and source line
        raise TrainedError(f"{artifact.card.file}: expected a model of XGBoost, found: {reason}") from None
    if booster.num_features() != len(artifact.card.features):
        raise TrainedError(
            f"{artifact.card.file}: expected a model of {len(artifact.card.features)} features, "
            f"found {booster.num_features()}"
        )
    return lambda rows: np.asarray(booster.inplace_predict(rows.astype(np.float32)), np.float64)


def _scikit_learn(artifact: Artifact) -> Scorer:
    pipeline = load_skops(artifact.model, artifact.card.file)
    read = READ.get(artifact.card.read)
    if read is None:
        raise TrainedError(f"expected a way to ask it among {', '.join(sorted(READ))}, found {artifact.card.read!r}")
    expected, found = len(artifact.card.features), getattr(pipeline, "n_features_in_", None)
    if found != expected:
        raise TrainedError(f"{artifact.card.file}: expected a model of {expected} features, found {found}")
    model = pipeline[-1]
    if "n_jobs" in model.get_params():
        model.set_params(n_jobs=1)  # threads add up in any order
    return read(pipeline)


def load_skops(data: bytes, name: str) -> Any:
    """What a skops file holds: a pipeline of scikit-learn. Raises TrainedError, and makes nothing of unknown types."""
    try:
        import sklearn.pipeline
        from skops import io
    except ImportError as error:
        raise TrainedError(
            f"expected skops and scikit-learn, found none ({error}); install the extra `trained`"
        ) from None
    try:
        unknown = sorted(set(io.get_untrusted_types(data=data)) - KNOWN_TYPES)
        if unknown:
            raise TrainedError(
                f"{name}: expected known types of scikit-learn and numpy alone, found {', '.join(unknown)}; nothing of "
                "it was loaded"
            )
        found = io.loads(data, trusted=sorted(KNOWN_TYPES))
    except TrainedError:
        raise
    except Exception as error:  # whatever a damaged archive makes skops raise
        raise TrainedError(f"{name}: expected a skops file that can be read here, found: {error}") from None
    if not isinstance(found, sklearn.pipeline.Pipeline):
        raise TrainedError(f"{name}: expected a pipeline of scikit-learn, found {type(found).__name__}")
    return found


def _prepare(pipeline: Any, steps: int) -> Callable[[Floats], Floats]:
    """The steps before the model. Those of the lab's are done here: asking them costs milliseconds a call."""
    made = [_step(step) for _, step in pipeline.steps[:steps] if step != "passthrough"]

    def prepare(rows: Floats) -> Floats:
        for step in made:
            rows = step(rows)
        return np.ascontiguousarray(rows, np.float64)

    return prepare


def _step(step: Any) -> Callable[[Floats], Floats]:
    kind = type(step).__name__
    if kind == "SimpleImputer" and not step.add_indicator and not np.isnan(step.statistics_).any():
        usual = np.asarray(step.statistics_, np.float64)
        return lambda rows: np.where(np.isnan(rows), usual, rows)
    if kind == "StandardScaler" and step.with_mean and step.with_std:
        center, width = np.asarray(step.mean_, np.float64), np.asarray(step.scale_, np.float64)
        return lambda rows: (rows - center) / width
    if kind == "FunctionTransformer" and step.func in (np.clip, np.divide) and not step.validate:
        function, known = step.func, step.kw_args or {}
        if function is np.clip:
            return lambda rows: np.clip(rows, known["a_min"], known["a_max"])
        return lambda rows: rows / known["x2"]
    return lambda rows: np.asarray(step.transform(rows), np.float64)


def _model_of(pipeline: Any) -> tuple[Callable[[Floats], Floats], Any, bool]:
    """(what prepares rows, the model, whether it may be asked of many rows at once)."""
    model = pipeline[-1]
    return _prepare(pipeline, len(pipeline) - 1), model, type(model).__name__ in IN_ANY_COMPANY


def _asked(prepare: Callable[[Floats], Floats], ask: Scorer, together: bool) -> Scorer:
    if together:
        return lambda rows: np.asarray(ask(prepare(rows)), np.float64)

    def one_by_one(rows: Floats) -> Floats:
        z = prepare(rows)
        return np.array([float(ask(z[i : i + 1].copy())[0]) for i in range(len(z))])

    return one_by_one


def _probability(pipeline: Any) -> Scorer:
    prepare, model, together = _model_of(pipeline)
    if type(model).__name__ == "LogisticRegression":
        weight, bias = np.asarray(model.coef_[0], np.float64), float(model.intercept_[0])
        return lambda rows: 1.0 / (1.0 + np.exp(-np.clip(_weighted(prepare(rows), weight, bias), -700.0, 700.0)))
    if type(model).__name__ in FORESTS:
        return _asked(prepare, _mean_of(model.estimators_), together)
    return _asked(prepare, lambda z: model.predict_proba(z)[:, 1], together)


def _mean_of(estimators: Any) -> Scorer:
    """The trees' mean probability, tree by tree: what the forest says, without the 10 ms that asking it costs."""
    trees = [_sound(estimator.tree_) for estimator in estimators]
    columns = max(tree.n_features for tree in trees)

    def mean(z: Floats) -> Floats:
        if z.shape[1] != columns:
            raise TrainedError(f"expected trees over {z.shape[1]} columns, found {columns}: the file is damaged")
        inputs, total = z.astype(np.float32), np.zeros(len(z))
        for tree in trees:
            total += tree.predict(inputs)[:, 1]
        return total / len(trees)

    return mean


def _weighted(z: Floats, weight: Floats, bias: float) -> Floats:
    """The sum in the columns' order, so that no row's depends on how many there are."""
    total = np.full(len(z), bias)
    for column, one in enumerate(weight.tolist()):
        total += one * z[:, column]
    return total


def _sound(tree: Any) -> Any:
    """The tree, no walk through which leaves its arrays. Raises TrainedError: a file may hold any numbers."""
    node = np.arange(tree.node_count)
    inner = tree.children_left >= 0
    for children in (tree.children_left, tree.children_right):
        if not ((children == -1) & ~inner | (children > node) & (children < tree.node_count) & inner).all():
            raise TrainedError("expected trees whose nodes follow their parents, found others: the file is damaged")
    if not ((tree.feature[inner] >= 0) & (tree.feature[inner] < tree.n_features)).all():
        raise TrainedError("expected trees that cut along known features, found others: the file is damaged")
    return tree


def _outlier(pipeline: Any) -> Scorer:
    prepare, model, together = _model_of(pipeline)
    if type(model).__name__ == "IsolationForest":
        return _asked(prepare, _shortness(model), together)
    return _asked(prepare, lambda z: -model.score_samples(z), together)


def _shortness(model: Any) -> Scorer:
    """How short the paths to a row are, 0 to 1: an isolation forest's score (Liu, Ting, Zhou, 2008), tree by tree."""
    trees = [
        (_sound(one.tree_), columns) for one, columns in zip(model.estimators_, model.estimators_features_, strict=True)
    ]
    if any(tree.n_features != len(columns) for tree, columns in trees):
        raise TrainedError("expected trees over the columns drawn for each, found others: the file is damaged")
    lengths = [_path_lengths(tree) for tree, _ in trees]
    usual = len(trees) * float(_expected_path(np.array([model.max_samples_]))[0])

    def shortness(z: Floats) -> Floats:
        inputs, total = z.astype(np.float32), np.zeros(len(z))
        for (tree, columns), length in zip(trees, lengths, strict=True):
            total += length[tree.apply(np.ascontiguousarray(inputs[:, columns]))]
        score: Floats = np.exp2(-total / usual) if usual else np.ones(len(z))
        return score

    return shortness


def _path_lengths(tree: Any) -> Floats:
    """Of each node: the cuts above it, and those that its rows would further need."""
    depth = np.zeros(tree.node_count)
    for node in range(tree.node_count):  # children come after their parents
        for child in (tree.children_left[node], tree.children_right[node]):
            if child >= 0:
                depth[child] = depth[node] + 1.0
    return depth + _expected_path(tree.n_node_samples)


def _expected_path(rows: Any) -> Floats:
    """Mean cuts that set one of so many rows apart."""
    count = np.maximum(np.asarray(rows, np.float64), 2.0)
    length: Floats = 2.0 * (np.log(count - 1.0) + np.euler_gamma) - 2.0 * (count - 1.0) / count
    return np.where(np.asarray(rows) <= 1, 0.0, np.where(np.asarray(rows) == 2, 1.0, length))


def _centre(pipeline: Any) -> Scorer:
    prepare, model, _ = _model_of(pipeline)
    centres = np.asarray(model.cluster_centers_, np.float64)

    def distance(rows: Floats) -> Floats:
        z = prepare(rows)
        squares = np.zeros((len(centres), len(z)))
        for column in range(z.shape[1]):
            squares += np.square(z[None, :, column] - centres[:, column, None])
        nearest: Floats = np.sqrt(squares.min(axis=0))
        return nearest

    return distance


def _neighbours(pipeline: Any) -> Scorer:
    prepare, model, _ = _model_of(pipeline)
    return _asked(prepare, lambda z: model.kneighbors(z)[0].mean(axis=1), together=False)


def _error(pipeline: Any) -> Scorer:
    prepare, model, _ = _model_of(pipeline)
    return _asked(prepare, lambda z: np.square(model.predict(z).reshape(z.shape) - z).mean(axis=1), together=False)


def _z(pipeline: Any) -> Scorer:
    prepare = _prepare(pipeline, len(pipeline))

    def root_mean_square(rows: Floats) -> Floats:
        z = prepare(rows)
        root: Floats = np.sqrt(_weighted(np.square(z), np.full(z.shape[1], 1.0 / z.shape[1]), 0.0))
        return root

    return root_mean_square


def _beyond(pipeline: Any) -> Scorer:
    prepare = _prepare(pipeline, len(pipeline))

    def counted(rows: Floats) -> Floats:
        excess = np.maximum(np.abs(prepare(rows)) - 1.0, 0.0)
        farthest = excess.max(axis=1, initial=0.0)
        count: Floats = (excess > 0).sum(axis=1) + farthest / (1.0 + farthest)
        return count

    return counted


READ: dict[str, Callable[[Any], Scorer]] = {
    "probability": _probability,
    "outlier": _outlier,
    "centre": _centre,
    "neighbours": _neighbours,
    "error": _error,
    "z": _z,
    "beyond": _beyond,
}
"""How a pipeline is asked: by what it is, as `detector.lab.models` reads it offline."""
