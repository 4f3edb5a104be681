"""Heads that were trained elsewhere: what they must do, and how their evidence meets the anomaly.

Each voice counts as much as the frauds behind it: the anomaly as `frauds_until_half` of them, the online head as those
that labels told of so far, a trained head as those that it was trained on, times its weight. What is averaged is bits:
the anomaly's −log2 of its tail probability, a head's evidence over the median row that it was trained on. So a head
that was trained needs no label live; where labels come, it fades as the online head learns of more frauds than it knew.

A probability is never taken for surer than the frauds behind it allow: half a row is added either way (Krichevsky,
Trofimov, 1981), so that forests that say 0 or 1 have evidence, not certainty.

Nothing here is state: heads are frozen, and so is the level that their evidence is measured from (laws: cut invariance,
restore ≡ replay).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detector.core import head
from detector.core.labels import FRAUDS, LabelState
from detector.core.spec import Heads, Spec


class Head(Protocol):
    """One supervised model; a row's probability is the same, to the last bit, alone and among others."""

    @property
    def frauds(self) -> float:
        """How many frauds it counts as: those that it was trained on, times its weight."""
        ...

    @property
    def level(self) -> float:
        """The `logit` of the median row that it was trained on."""
        ...

    def score(self, features: NDArray[np.float64], probability: NDArray[np.float64]) -> None:
        """Of fraud, for rows (n, f) into `probability` (n,), 0 to 1; NaN is a missing value."""
        ...

    @property
    def columns(self) -> NDArray[np.int64]:
        """The features (m,) that it looks at, none twice."""
        ...

    def logit(self, probability: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-odds (n,) of probabilities (n,), none beyond what its training tells."""
        ...

    def explain(self, row: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """What each of `columns` adds to the log-odds of one row (f,), and the base that they add to (m,)."""
        ...


def build_heads(spec: Spec) -> tuple[Head, ...]:
    """The heads that `spec` declares."""
    if spec.heads is None:
        return ()
    names = [feature.name for feature in spec.features]
    return tuple(
        declared.build_head(np.array([names.index(name) for name in declared.features], np.int64))
        for declared in spec.heads.trained
    )


def read(heads: tuple[Head, ...], features: NDArray[np.float64], probability: NDArray[np.float64]) -> None:
    """Fill `probability` (heads, n) for rows (n, f)."""
    for one, own in zip(heads, probability, strict=True):
        one.score(features, own)


def blend(
    declared: Heads,
    heads: tuple[Head, ...],
    labels: LabelState | None,
    probability: NDArray[np.float64],
    score: NDArray[np.float64],
) -> NDArray[np.float64]:
    """`score` (n,), in which anomaly and online head have met, and what the heads say (heads, n), as one score (n,)."""
    frauds = declared.frauds_until_half + frauds_learned(labels)
    bits = frauds * head.bits_of(score)
    for one, own in zip(heads, probability, strict=True):
        bits += one.frauds * evidence(one.logit(own), one.level)
        frauds += one.frauds
    blended: NDArray[np.float64] = 1.0 - np.exp2(-np.minimum(bits / frauds, head.BITS_MAX))
    return blended


def credited(
    declared: Heads,
    heads: tuple[Head, ...],
    labels: LabelState | None,
    row: NDArray[np.float64],
    profiled: NDArray[np.int64],
    bits: NDArray[np.float64],
) -> NDArray[np.float64]:
    """What each of the features `profiled` (m,) adds to the blended bits of a row (f,); `bits` (m,) without the heads.

    As `blend` weighs them; what a head owes to other features is not told.
    """
    frauds = declared.frauds_until_half + frauds_learned(labels)
    total = frauds * bits
    for one in heads:
        place = np.searchsorted(profiled, one.columns)
        known = np.isin(one.columns, profiled)
        total[place[known]] += one.frauds * one.explain(row)[0][known] / np.log(2.0)
        frauds += one.frauds
    return total / frauds


def evidence(logit: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """Log-odds (n,) in bits over those of the median row, which has 1; below the median they run out to 0."""
    bits = (logit - level) / np.log(2.0)
    above: NDArray[np.float64] = np.where(bits < 0.0, np.exp2(np.minimum(bits, 0.0)), 1.0 + bits)
    return above


def frauds_learned(labels: LabelState | None) -> float:
    """The frauds that the online head speaks from; none before its first fit."""
    if labels is None or labels.head["counter"][head.FITTED] == 0:
        return 0.0
    return float(max(labels.counter[FRAUDS], 0))


def smoothed_logit(probability: NDArray[np.float64], frauds: float) -> NDArray[np.float64]:
    """Log-odds (n,) of probabilities (n,) that rest on so many frauds."""
    likely = frauds * probability + 0.5
    logit: NDArray[np.float64] = np.log(likely / (frauds + 1.0 - likely))
    return logit
