"""LIME beside our own contributions, for one row (Ribeiro, Singh, Guestrin, *Why Should I Trust You?*, KDD 2016).

LIME knows nothing of the models: it draws rows around this one, asks what each would score, and fits a linear model to
the answers, the near ones weighing most. The state stands still meanwhile. Features are drawn around the row on scales
of their own, not put into quartiles as LIME does by default: an alert lies at the far end of a bin, and what LIME could
then see is the bin. A contribution is the slope times how far the row lies from the mean of recent rows.

Both say where a score comes from, in units of their own: shares of the absolute sum are compared, ranks and the first
five features.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.lab.errors import InputStopped, NotConfigured
from detector.lab.freeze import Frozen

Floats = NDArray[np.float64]

SAMPLES, SEED, TOP = 5_000, 0, 5
ROWS_MIN = 64  # of the reservoir, to know what is usual
FUSED = "fused"


@dataclass(frozen=True, slots=True)
class Compared:
    """Contributions of k features to what is `explained` (a member's name or FUSED), ours and LIME's, both (k,).

    `rank_correlation` (Spearman) and `top` of TOP are NaN and 0 where the row is not odd to the member: then it has
    nothing to give. `fit`: R² of LIME's linear model about its own draws.
    """

    explained: str
    ours: Floats
    lime: Floats
    rank_correlation: float
    top: int
    fit: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """The features compared, with the row's values; those missing in the row are left out and named."""

    features: list[str]
    values: Floats
    missing: list[str]
    lines: list[Compared]

    @property
    def fused(self) -> Compared:
        """Of the whole score."""
        return self.lines[-1]


def compare(frozen: Frozen, samples: int = SAMPLES, seed: int = SEED) -> Comparison:
    """Ours beside LIME's, for each member and fused, the latter last. Raises NotConfigured without lime."""
    values = frozen.features[frozen.columns]
    here = np.flatnonzero(~np.isnan(values))
    usual = frozen.background()[:, here]
    if len(usual) < ROWS_MIN or not len(here):
        raise InputStopped(f"expected {ROWS_MIN} rows learned before this one, found {len(usual)}: name a later row")
    middle = np.nan_to_num(np.nanmedian(np.vstack([usual, values[here]]), axis=0))
    usual = np.where(np.isnan(usual), middle, usual)
    ours = frozen.credits()[:, here]
    lines = []
    for position, name in enumerate((*frozen.members, FUSED)):
        asked = _asked(frozen, frozen.columns[here], None if name == FUSED else position)
        theirs, fit = _lime(usual, values[here], asked, samples, seed)
        lines.append(_compared(name, ours[position], theirs, fit))
    names = frozen.names
    return Comparison(
        features=[names[index] for index in here.tolist()],
        values=values[here],
        missing=[names[index] for index in np.flatnonzero(np.isnan(values)).tolist()],
        lines=lines,
    )


def share(contribution: Floats) -> Floats:
    """Contributions (k,) as shares of their absolute sum."""
    total = float(np.abs(contribution).sum())
    shares: Floats = contribution / total if total else np.zeros_like(contribution)
    return shares


def _asked(frozen: Frozen, columns: NDArray[np.int64], member: int | None) -> Callable[[Floats], Floats]:
    """Draws (n, k) of the row's known features → surprise in nats (n,); the others stay as they are."""

    def surprise(draws: Floats) -> Floats:
        rows = np.repeat(frozen.features[None], len(draws), axis=0)
        rows[:, columns] = draws
        return frozen.anomaly_nats(rows) if member is None else frozen.surprise(rows)[member]

    return surprise


def _lime(
    usual: Floats, row: Floats, asked: Callable[[Floats], Floats], samples: int, seed: int
) -> tuple[Floats, float]:
    """LIME's contributions (k,) and the R² of its fit."""
    try:
        from lime.lime_tabular import LimeTabularExplainer
    except ImportError as error:
        raise NotConfigured("needs pip install 'streaming-fraud-detector[lab]'") from error
    explainer = LimeTabularExplainer(
        usual, mode="regression", discretize_continuous=False, sample_around_instance=True, random_state=seed
    )
    told = explainer.explain_instance(row, asked, num_features=len(row), num_samples=samples)
    slope = np.zeros(len(row))
    for index, weight in told.as_map()[1]:
        slope[index] = weight
    scaler = explainer.scaler
    return slope * (row - scaler.mean_) / scaler.scale_, float(told.score)


def _compared(name: str, ours: Floats, theirs: Floats, fit: float) -> Compared:
    if not ours.any() or len(ours) < 2:
        return Compared(name, ours, theirs, math.nan, 0, fit)
    from scipy.stats import spearmanr

    firsts = [set(np.argsort(-one, kind="stable")[:TOP].tolist()) for one in (ours, theirs)]
    correlation = float(spearmanr(ours, theirs).statistic) if theirs.any() else math.nan
    return Compared(name, ours, theirs, correlation, len(firsts[0] & firsts[1]), fit)
