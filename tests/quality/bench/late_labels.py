"""A streaming peer that learns from labels when they arrive: river's logistic regression, its defaults."""

from __future__ import annotations

import time
from collections import deque
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.quality.bench.peers import Floats, Scored, chunks, filled, remembered
from tests.quality.bench.sets import Loaded

NAME = "river LogisticRegression"


def scored(data: Loaded, features: Floats, delay_ms: int, kept: Path) -> Scored:
    """All rows of `features`, each label learned `delay_ms` after its row."""
    rows = slice(0, len(features))
    said = f"{NAME} {version('river')} {delay_ms} {Path(__file__).read_text()}"
    score, spent_s = remembered(
        kept, said, features,
        lambda: logistic_regression(filled(features), data.fraud[rows], data.event_time_ms[rows], delay_ms),
    )  # fmt: skip
    return Scored(rows, score, len(score) / spent_s)


def logistic_regression(
    features: Floats, fraud: NDArray[np.bool_], event_time_ms: NDArray[np.int64], delay_ms: int
) -> tuple[Floats, float]:
    """(probability of fraud a row, seconds). Labels learned before a row are those that arrived by its event time."""
    from river import linear_model, preprocessing

    model: Any = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    score, spent_s = np.empty(len(features)), 0.0
    waiting: deque[tuple[int, dict[int, float], bool]] = deque()
    for start, some in chunks(features):
        part = slice(start, start + len(some))
        rows = [dict(enumerate(row)) for row in some.tolist()]
        given = zip(event_time_ms[part].tolist(), rows, fraud[part].tolist(), strict=True)
        began_s = time.perf_counter()
        for position, (time_ms, row, is_fraud) in enumerate(given, start):
            while waiting and waiting[0][0] <= time_ms:
                _, learned, truth = waiting.popleft()
                model.learn_one(learned, truth)
            score[position] = model.predict_proba_one(row).get(True, 0.0)
            waiting.append((time_ms + delay_ms, row, is_fraud))
        spent_s += time.perf_counter() - began_s
    return score, spent_s
