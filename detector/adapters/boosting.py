"""xgboost as the trainer of the boosted head: labelled rows in, trees as arrays out. Needs the extra `boost`.

Chen, Guestrin, *XGBoost: A Scalable Tree Boosting System*, KDD 2016. One thread and a fixed seed: equal rows give
equal trees on one processor and one version of the library.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

LEARNING_RATE = 0.1
BINS = 64
INPUTS_A_TREE = 0.8  # of all, drawn by the seed: trees that see different inputs err differently

Trees = tuple[NDArray[np.int16], NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]


def train(inputs: NDArray[np.float32], is_fraud: NDArray[np.bool_], trees: int, depth: int) -> Trees:
    """(feature, threshold, value, left_if_missing), each (trees, 2^(depth + 1) − 1) in heap order.

    `inputs` (n, m), NaN where missing; a value below the threshold goes left; `feature` −1 is a leaf.
    """
    settings = {
        "objective": "binary:logistic",
        "eta": LEARNING_RATE,
        "max_depth": depth,
        "max_bin": BINS,
        "colsample_bytree": INPUTS_A_TREE,
        "tree_method": "hist",
        "nthread": 1,
        "seed": 0,
    }
    booster = xgboost.train(settings, xgboost.DMatrix(inputs, is_fraud.astype(np.float32)), trees)
    shape = (trees, 2 ** (depth + 1) - 1)
    feature, threshold = np.full(shape, -1, np.int16), np.zeros(shape, np.float32)
    value, left_if_missing = np.zeros(shape, np.float32), np.zeros(shape, np.bool_)
    for tree, text in enumerate(booster.get_dump(dump_format="json")):
        waiting: list[tuple[int, dict[str, Any]]] = [(0, json.loads(text))]
        while waiting:
            place, node = waiting.pop()
            if "leaf" in node:
                value[tree, place] = node["leaf"]
                continue
            children = {child["nodeid"]: child for child in node["children"]}
            feature[tree, place] = int(node["split"].removeprefix("f"))
            threshold[tree, place] = node["split_condition"]
            left_if_missing[tree, place] = node["missing"] == node["yes"]
            waiting += [(2 * place + 1, children[node["yes"]]), (2 * place + 2, children[node["no"]])]
    return feature, threshold, value, left_if_missing
