"""Figures of scores: those of scikit-learn and scipy where these have them, else counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn import metrics

from detector.lab import figures


def drawn(rows: int = 2_000, share: float = 0.03, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    fraud = random.random(rows) < share
    return fraud, np.round(random.normal(size=rows) + 1.5 * fraud, 1)  # with many ties


def test_at_a_threshold_and_ranks_as_scikit_learn_has_them() -> None:
    fraud, score = drawn()
    flagged = figures.top(score, 80)
    assert flagged.sum() == 80
    assert score[flagged].min() >= score[~flagged].max()
    found = figures.at_threshold(fraud, flagged)
    assert found["accuracy"] == metrics.accuracy_score(fraud, flagged)
    assert found["precision"] == metrics.precision_score(fraud, flagged)
    assert found["recall"] == metrics.recall_score(fraud, flagged)
    assert found["f1"] == pytest.approx(metrics.f1_score(fraud, flagged))
    matrix = metrics.confusion_matrix(fraud, flagged)
    assert [[found["passed"], found["false_alarms"]], [found["missed"], found["caught"]]] == matrix.tolist()
    assert math.isnan(figures.at_threshold(~fraud & fraud, flagged)["recall"])
    ranking = figures.ranking(fraud, figures.ranks(score))  # ranks order as the scores do
    assert ranking["roc_auc"] == pytest.approx(metrics.roc_auc_score(fraud, score))
    assert ranking["average_precision"] == pytest.approx(metrics.average_precision_score(fraud, score))


def test_rank_correlation_and_overlap() -> None:
    _, one = drawn()
    _, other = drawn(seed=1)
    both = one + other
    assert figures.rank_correlation(one, both) == pytest.approx(spearmanr(one, both).statistic)
    assert figures.rank_correlation(one, np.exp(one)) == pytest.approx(1.0)
    assert math.isnan(figures.rank_correlation(one, np.ones(len(one))))
    assert figures.overlap(np.arange(10.0), np.arange(10.0), 3) == 1.0
    assert figures.overlap(np.arange(10.0), -np.arange(10.0), 3) == 0.0


def test_ranks_and_bits() -> None:
    assert figures.ranks(np.array([5.0, 1.0, 5.0, 9.0])).tolist() == [0.625, 0.25, 0.625, 1.0]
    rank = figures.ranks(np.arange(1_024.0))
    assert figures.bits(rank, 1_024)[-1] == pytest.approx(11.0)
    assert (np.diff(figures.bits(rank, 1_024)) > 0).all()


def test_cost_counts_missed_amounts_and_alerts() -> None:
    fraud = np.array([True, True, False, True])
    flagged = np.array([True, False, True, False])
    assert figures.cost(fraud, flagged, np.array([100.0, 40.0, 7.0, np.nan]), 5.0) == 40.0 + 2 * 5.0


def test_card_precision_drops_cards_once_found() -> None:
    day = np.array([0, 0, 0, 1, 1])
    card = np.array([1, 2, 3, 1, 2], np.uint64)
    fraud = np.array([True, False, False, True, True])
    score = np.array([0.9, 0.8, 0.1, 0.9, 0.5])
    # day 0: cards 1 and 2, one of them defrauded; day 1: card 1 is known, card 2 alone is left
    assert figures.card_precision(day, card, fraud, score, 2) == (0.5 + 0.5) / 2


def test_curves_end_where_all_is_flagged_and_enclose_the_figures() -> None:
    fraud, score = drawn(60_000)
    x, y = figures.roc_curve(fraud, score)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert len(x) <= 2 * figures.CURVE_POINTS_MAX
    assert np.trapezoid(y, x) == pytest.approx(metrics.roc_auc_score(fraud, score), abs=1e-3)
    recall, precision = figures.precision_recall_curve(fraud, score)
    assert recall[-1] == 1
    assert precision[-1] == pytest.approx(fraud.mean())
    looked, caught = figures.gains_curve(fraud, score)
    assert (looked[-1], caught[-1]) == (1, 1)
    assert (np.diff(caught) >= 0).all()


def test_calibration_of_what_is_calibrated_and_of_what_is_not() -> None:
    random = np.random.default_rng(0)
    probability = random.beta(0.1, 4.0, 50_000)
    fraud = random.random(50_000) < probability
    groups = figures.calibration(fraud, probability)
    assert sum(rows for _, _, rows in groups) == 50_000
    assert len(groups) == 10
    assert figures.calibration_error(groups) < 0.01
    assert all(told == pytest.approx(found, rel=0.25) for told, found, _ in groups)
    assert figures.calibration_error(figures.calibration(fraud, np.sqrt(probability))) > 0.05
    assert len(figures.calibration(fraud, np.full(50_000, 0.5))) == 1  # one group of equal probabilities
