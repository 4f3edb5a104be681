"""Models that learn from labels, each a pipeline of scikit-learn, imbalanced-learn and XGBoost.

Oversampling happens inside the pipeline, so that made-up frauds never reach a row that is asked about.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from detector.lab.models.piped import Labels, Piped, prepared

THREADS = 2
SMOTE_NEIGHBOURS = 5


def logistic_regression(seed: int, categories: int, strength: float = 1.0, clip: float = 10.0) -> Piped:
    """A weighted sum of z-scores; `strength` is scikit-learn's C, one over the penalty."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, max_iter=300, random_state=seed)
    return Piped([*prepared(categories, clip=clip), ("model", model)], "probability")


def random_forest(
    seed: int, categories: int, trees: int = 100, leaf_rows: int = 1, columns: float = 0.2, frauds_share: float = 0.05
) -> Piped:
    """Trees on rows to which made-up frauds were added by SMOTE (Chawla et al., JAIR 2002) up to `frauds_share` of the
    genuine; `columns` is the share of columns that each cut may choose from.
    """
    from imblearn.over_sampling import SMOTE
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(
        n_estimators=trees,
        min_samples_leaf=leaf_rows,
        max_features=columns,
        max_samples=0.5,
        n_jobs=THREADS,
        random_state=seed,
    )
    smote = SMOTE(sampling_strategy=frauds_share, k_neighbors=SMOTE_NEIGHBOURS, random_state=seed)
    return Piped([*prepared(categories), ("smote", smote), ("model", model)], "probability", _adapt_smote)


def _adapt_smote(pipeline: Any, y: Labels) -> None:
    """As many neighbours as there are other frauds; no oversampling where there is one fraud, or share enough."""
    frauds, genuine = int((y == 1).sum()), int((y == 0).sum())
    smote = pipeline.named_steps["smote"]
    if frauds < 2 or frauds >= smote.sampling_strategy * genuine:
        pipeline.set_params(smote="passthrough")
    else:
        smote.set_params(k_neighbors=min(SMOTE_NEIGHBOURS, frauds - 1))


def xgboost(
    seed: int,
    categories: int,
    trees: int = 200,
    depth: int = 5,
    rate: float = 0.1,
    rows: float = 0.8,
    columns: float = 0.6,
    child_weight: float = 1.0,
) -> Piped:
    """Boosted trees (Chen, Guestrin, KDD 2016). Missing values stay missing: each cut learns where they go."""
    from xgboost import XGBClassifier

    model = XGBClassifier(
        n_estimators=trees, max_depth=depth, learning_rate=rate, subsample=rows, colsample_bytree=columns,
        min_child_weight=child_weight, tree_method="hist", n_jobs=THREADS, random_state=seed, missing=np.nan,
    )  # fmt: skip
    return Piped([*_one_hot(categories), ("model", model)], "probability")


def _one_hot(categories: int) -> list[tuple[str, Any]]:
    """Numbers as they are, a 0/1 column a category."""
    if not categories:
        return []
    from sklearn.compose import ColumnTransformer

    (_, columns), *_ = prepared(categories)
    (_, _, numbers), (_, encoder, codes) = columns.transformers
    return [("columns", ColumnTransformer([("numbers", "passthrough", numbers), ("categories", encoder, codes)]))]
