"""Outlier models that need no label, each a pipeline of scikit-learn.

They see z-scores cut at ten standard deviations, so that one wild column does not outvote the rest; the two that count
standard deviations themselves see them uncut.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from detector.lab.models.piped import Floats, Labels, Piped, Steps, prepared

DISTANCE_QUANTILE = 0.9  # of the distances to the n-th neighbour: DBSCAN's radius, so that one row in ten is no core


def z_score(seed: int, categories: int) -> Piped:
    """How many standard deviations a row lies off the means: the root mean square over the columns."""
    return Piped(prepared(categories, clip=None), "z")


def mean_k_sd(seed: int, categories: int, k: float = 3.0) -> Piped:
    """How many columns lie outside mean ± k standard deviations; of equal counts the farther row is higher."""
    return _Beyond(k, prepared(categories, clip=None))


class _Beyond(Piped):
    def __init__(self, k: float, steps: Steps) -> None:
        super().__init__(steps, "beyond")
        self._k = k

    def score(self, rows: Floats) -> Floats:
        """One number a row (n,)."""
        excess = np.maximum(np.abs(self.pipeline.transform(rows)) - self._k, 0.0)
        farthest = excess.max(axis=1, initial=0.0)
        counted: Floats = (excess > 0).sum(axis=1) + farthest / (1.0 + farthest)
        return counted


def kmeans(seed: int, categories: int, clusters: int = 8) -> Any:
    """Distance to the nearest of some centres."""
    return _Clusters(seed, categories, clusters)


class _Clusters(Piped):
    """K-Means; never more centres than rows."""

    def __init__(self, seed: int, categories: int, clusters: int) -> None:
        from sklearn.cluster import KMeans

        model = KMeans(n_clusters=clusters, n_init=3, random_state=seed)
        super().__init__([*prepared(categories), ("model", model)], "centre")

    def fit(self, rows: Floats, y: Labels | None = None) -> Piped:
        """As any."""
        model = self.pipeline[-1]
        model.set_params(n_clusters=min(model.n_clusters, len(rows)))
        return super().fit(rows)


class _Neighbours(Piped):
    """A model of so many neighbours; never more than there are rows besides the one asked about."""

    def fit(self, rows: Floats, y: Labels | None = None) -> Piped:
        """As any."""
        model = self.pipeline[-1]
        model.set_params(n_neighbors=max(1, min(model.n_neighbors, len(rows) - 1)))
        return super().fit(rows)


def knn(seed: int, categories: int, neighbours: int = 10) -> Piped:
    """The mean distance to the nearest learned rows (Ramaswamy, Rastogi, Shim, SIGMOD 2000)."""
    from sklearn.neighbors import NearestNeighbors

    model = NearestNeighbors(n_neighbors=neighbours)
    return _Neighbours([*prepared(categories), ("model", model)], "neighbours")


def local_outlier_factor(seed: int, categories: int, neighbours: int = 20) -> Piped:
    """How much thinner it is around a row than around its neighbours (Breunig et al., SIGMOD 2000)."""
    from sklearn.neighbors import LocalOutlierFactor

    model = LocalOutlierFactor(n_neighbors=neighbours, novelty=True)
    return _Neighbours([*prepared(categories), ("model", model)], "outlier")


def isolation_forest(seed: int, categories: int, trees: int = 100, sample_rows: int = 256) -> Piped:
    """How few random cuts set a row apart (Liu, Ting, Zhou, ICDM 2008)."""
    from sklearn.ensemble import IsolationForest

    return _Forest(
        [
            *prepared(categories, scaled=False),
            ("model", IsolationForest(n_estimators=trees, max_samples=sample_rows, random_state=seed)),
        ],
        "outlier",
    )


class _Forest(Piped):
    """An isolation forest; its trees never see more rows than there are."""

    def fit(self, rows: Floats, y: Labels | None = None) -> Piped:
        """As any."""
        model = self.pipeline[-1]
        model.set_params(max_samples=min(model.max_samples, len(rows)))
        return super().fit(rows)


class Dbscan:
    """Distance to the nearest core row of DBSCAN's clusters (Ester et al., KDD 1996), in units of its radius.

    DBSCAN itself only labels the rows that it was given: a row within the radius of a core is in its cluster, one
    outside of all is noise, and how far outside is the score. Without a radius given it is the 90 % quantile of the
    distances to the `neighbours`-th neighbour.
    """

    def __init__(self, seed: int, categories: int, neighbours: int = 10, radius: float | None = None) -> None:
        from sklearn.pipeline import Pipeline

        self.pipeline: Any = Pipeline(prepared(categories))
        self._neighbours, self._radius = neighbours, radius
        self.cores: Any = None

    def fit(self, rows: Floats, y: Labels | None = None) -> Dbscan:
        """Learn `rows` (n, f + c)."""
        from sklearn.cluster import DBSCAN
        from sklearn.neighbors import NearestNeighbors

        given = self.pipeline.fit_transform(rows)
        count = max(1, min(self._neighbours, len(given) - 1))
        if self._radius is None:
            distance, _ = NearestNeighbors(n_neighbors=count).fit(given).kneighbors()
            self._radius = max(float(np.quantile(distance[:, -1], DISTANCE_QUANTILE)), 1e-9)
        found = DBSCAN(eps=self._radius, min_samples=count).fit(given)
        cores = given[found.core_sample_indices_] if len(found.core_sample_indices_) else given
        self.cores = NearestNeighbors(n_neighbors=1).fit(cores)
        return self

    def score(self, rows: Floats) -> Floats:
        """One number a row (n,): up to 1 within a cluster, beyond it noise."""
        distance, _ = self.cores.kneighbors(self.pipeline.transform(rows))
        scaled: Floats = distance[:, 0] / self._radius
        return scaled


def autoencoder(seed: int, categories: int, hidden: int = 0, alpha: float = 1e-4) -> Piped:
    """How badly a row is told from a few numbers: the error of a small network with a waist of `hidden` units.

    0: a third of the columns, at least 2.
    """
    return _Autoencoder(seed, categories, hidden, alpha)


class _Autoencoder(Piped):
    def __init__(self, seed: int, categories: int, hidden: int, alpha: float) -> None:
        from sklearn.neural_network import MLPRegressor

        model = MLPRegressor(
            activation="tanh", alpha=alpha, batch_size=256, learning_rate_init=0.003, max_iter=30, tol=1e-4,
            n_iter_no_change=3, random_state=seed,
        )  # fmt: skip
        super().__init__([*prepared(categories), ("model", model)], "error")
        self._hidden = hidden

    def fit(self, rows: Floats, y: Labels | None = None) -> Piped:
        """Learn to give `rows` back."""
        width = self.pipeline[:-1].fit_transform(rows[:2]).shape[1]
        waist = self._hidden or max(2, width // 3)
        model = self.pipeline[-1]
        model.set_params(hidden_layer_sizes=(2 * waist, waist, 2 * waist), batch_size=min(256, len(rows)))
        return super().fit(rows)
