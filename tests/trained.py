"""Trained models for the tests: pipelines fitted to what the core makes of a stream, saved as the lab saves them."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from detector.adapters.trained import Trained, of
from detector.adapters.trained_file import Artifact
from detector.core.operator import step
from detector.core.spec import Heads, Spec
from detector.core.state import new_state
from detector.lab import artifacts
from tests.streams import CARD_ONLY, SMALL, seeded_codes, stream

FEATURES = tuple(feature.name for feature in CARD_ONLY.features)
SUPERVISED = ("logistic regression", "random forest", "xgboost")
UNSUPERVISED = ("forest", "clusters", "neighbours", "outlier factor", "autoencoder", "z-score", "beyond")


@cache
def learned() -> tuple[np.ndarray, np.ndarray]:
    """Rows of CARD_ONLY's features as the core makes them, and made-up labels."""
    decided = step(CARD_ONLY, new_state(CARD_ONLY), stream(CARD_ONLY, seeded_codes(5, 600, True)))
    values = decided.features
    flipped = np.random.RandomState(7).random_sample(len(values)) < 0.1
    return values, ((values[:, 0] > 40.0) ^ (values[:, 1] > 6.0) ^ flipped).astype(np.int8)


def pipeline(name: str) -> tuple[Any, str]:
    """(unfitted pipeline, how it is asked)."""
    from sklearn.cluster import KMeans
    from sklearn.ensemble import IsolationForest, RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler
    from xgboost import XGBClassifier

    before = [
        ("impute", SimpleImputer(strategy="median", keep_empty_features=True)),
        ("scale", StandardScaler()),
        ("clip", FunctionTransformer(np.clip, kw_args={"a_min": -10.0, "a_max": 10.0})),
    ]
    models: dict[str, tuple[Any, str]] = {
        "logistic regression": (LogisticRegression(max_iter=300), "probability"),
        "random forest": (RandomForestClassifier(n_estimators=12, random_state=1, n_jobs=2), "probability"),
        "xgboost": (XGBClassifier(n_estimators=12, max_depth=3, random_state=1, n_jobs=1), "probability"),
        "forest": (IsolationForest(n_estimators=12, random_state=1), "outlier"),
        "clusters": (KMeans(n_clusters=4, n_init=1, random_state=1), "centre"),
        "neighbours": (NearestNeighbors(n_neighbors=3), "neighbours"),
        "outlier factor": (LocalOutlierFactor(n_neighbors=5, novelty=True), "outlier"),
        "autoencoder": (MLPRegressor(hidden_layer_sizes=(3,), max_iter=5, random_state=1), "error"),
        "z-score": (None, "z"),
        "beyond": (None, "beyond"),
    }
    model, read = models[name]
    if name == "xgboost":
        return Pipeline([("model", model)]), read
    return Pipeline([*before, *([("model", model)] if model is not None else [])]), read


@cache
def fitted(name: str) -> tuple[Any, str]:
    made, read = pipeline(name)
    values, label = learned()
    target = made[:-1].fit_transform(values) if read == "error" else label
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an optimiser that was stopped early
        made.fit(values, target)
    return made, read


def saved(folder: Path, name: str, spec: Spec = CARD_ONLY, **said: Any) -> Artifact:
    values, label = learned()
    made, read = fitted(name)
    given = label if name in SUPERVISED else None
    return artifacts.save(folder, name.replace(" ", "_"), made, read, spec, FEATURES, values, given, **said)


def spec_with(declared: Trained, spec: Spec = CARD_ONLY) -> Spec:
    if declared.supervised:
        return replace(spec, members=(SMALL,), heads=Heads((declared,)))
    return replace(spec, members=(SMALL, declared))


def declared(folder: Path, name: str, weight: float = 1.0) -> Trained:
    return of(saved(folder, name), weight)
