"""The figures of quality are scikit-learn's, ties and all."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from detector.lab.quality import average_precision, roc_auc

rows = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.5, 0.5000001, 1.0])), min_size=2, max_size=200)


@settings(deadline=None)
@given(rows)
def test_equal_to_scikit_learn_with_ties(drawn: list[tuple[bool, float]]) -> None:
    fraud = np.array([one[0] for one in drawn] + [True, False])
    score = np.array([one[1] for one in drawn] + [0.5, 0.1])
    assert roc_auc(fraud, score) == pytest.approx(roc_auc_score(fraud, score), abs=1e-12)
    assert average_precision(fraud, score) == pytest.approx(average_precision_score(fraud, score), abs=1e-12)


def test_equal_to_scikit_learn_on_many_rows() -> None:
    random = np.random.default_rng(3)
    fraud = random.random(200_000) < 0.01
    score = np.round(random.random(200_000) + 0.3 * fraud, 3)
    assert roc_auc(fraud, score) == pytest.approx(roc_auc_score(fraud, score), abs=1e-12)
    assert average_precision(fraud, score) == pytest.approx(average_precision_score(fraud, score), abs=1e-12)


def test_all_equal_scores_tell_nothing() -> None:
    fraud = np.array([True, False, False, False])
    assert roc_auc(fraud, np.full(4, 0.7)) == 0.5
    assert average_precision(fraud, np.full(4, 0.7)) == 0.25


def test_perfect_and_reversed() -> None:
    fraud = np.array([False, True, False, True])
    assert roc_auc(fraud, np.array([0.1, 0.8, 0.2, 0.9])) == 1.0
    assert average_precision(fraud, np.array([0.1, 0.8, 0.2, 0.9])) == 1.0
    assert roc_auc(fraud, np.array([0.9, 0.2, 0.8, 0.1])) == 0.0


@pytest.mark.parametrize("only", [True, False])
def test_nothing_to_rank_is_nan(only: bool) -> None:
    fraud, score = np.full(3, only), np.array([0.1, 0.2, 0.3])
    assert math.isnan(roc_auc(fraud, score))
    assert math.isnan(average_precision(fraud, score)) is not only
