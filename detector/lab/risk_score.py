"""The Fraud Risk Score: one number a row, 0 to 1, out of the ranks that several methods give it.

A rank is the share of the period's rows that score at most as high, so methods need no common unit. It goes in as bits,
minus the log of the share above: the step from one row in a hundred to one in a thousand then counts as much as that
from one in ten to one in a hundred, where ranks themselves hardly differ. Where labels exist the weights are learned, a
logistic regression that may not turn a method round, on rows that the methods had not learned; else all weigh the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.lab.figures import bits, ranks

Floats = NDArray[np.float64]
FRAUDS_MIN = 5  # to learn weights from
PENALTY = 1e-3


@dataclass(frozen=True, slots=True)
class Combination:
    """`weights` (m,), not below 0, of each method's bits; `intercept`; `learned` or all the same."""

    weights: Floats
    intercept: float
    learned: bool

    def score(self, scores: Sequence[Floats]) -> Floats:
        """(n,) in 0–1 of the methods' scores, m of (n,), all of one period."""
        told = np.zeros(len(scores[0]))
        for weight, score in zip(self.weights.tolist(), scores, strict=True):
            told += weight * bits(ranks(score), len(score))
        if not self.learned:
            equal: Floats = 1.0 - np.exp2(-told)
            return equal
        logistic: Floats = 1.0 / (1.0 + np.exp(-(told + self.intercept)))
        return logistic

    @property
    def shares(self) -> Floats:
        """Weights that add up to 1; all the same where every weight is 0."""
        total = self.weights.sum()
        return self.weights / total if total > 0 else np.full(len(self.weights), 1 / len(self.weights))


def surprise(scores: Sequence[Floats]) -> Floats:
    """Bits (m, n) of the scores, m of (n,)."""
    told = np.empty((len(scores), len(scores[0])))
    for method, score in enumerate(scores):
        told[method] = bits(ranks(score), len(score))
    return told


def equal(methods: int) -> Combination:
    """All methods weigh the same: the mean of their bits."""
    return Combination(np.full(methods, 1.0 / methods), 0.0, False)


def learned(scores: Sequence[Floats], label: NDArray[np.int8]) -> Combination:
    """Weights from scores, m of (n,), of rows whose labels (n,) are known; `equal` where there are too few frauds."""
    frauds = int((label == 1).sum())
    if frauds < FRAUDS_MIN or frauds == len(label):
        return equal(len(scores))
    from scipy.optimize import minimize

    given, fraud = surprise(scores), (label == 1).astype(np.float64)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        margin = parameters[:-1] @ given + parameters[-1]
        told = 1.0 / (1.0 + np.exp(-margin))
        value = float((np.logaddexp(0.0, margin) - fraud * margin).mean() + PENALTY * np.square(parameters[:-1]).sum())
        off = (told - fraud) / len(fraud)
        return value, np.append(given @ off + 2 * PENALTY * parameters[:-1], off.sum())

    start = np.append(np.full(len(scores), 0.1), np.log(frauds / (len(label) - frauds)))
    bounds: list[Any] = [(0.0, None)] * len(scores) + [(None, None)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return Combination(np.asarray(found.x[:-1]), float(found.x[-1]), True)
