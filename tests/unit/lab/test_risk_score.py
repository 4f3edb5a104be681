"""The Fraud Risk Score: methods are weighed by what they add, none is turned round, no unit matters."""

from __future__ import annotations

import numpy as np
import pytest

from detector.lab import risk_score
from detector.lab.quality import average_precision


def methods(rows: int = 20_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two methods that see something each, one that sees nothing, and one that is the wrong way round."""
    random = np.random.default_rng(seed)
    label = (random.random(rows) < 0.01).astype(np.int8)
    one, other = (random.normal(size=rows) + 2.0 * label for _ in range(2))
    return np.vstack([one, 0.01 * np.exp(other), random.normal(size=rows), random.normal(size=rows) - label]), label


def test_learned_weights_find_what_helps_and_turn_nothing_round() -> None:
    scores, label = methods()
    found = risk_score.learned(scores, label)
    assert found.learned
    assert (found.weights >= 0).all()
    assert found.shares.sum() == pytest.approx(1.0)
    assert found.shares[:2].min() > 0.35
    assert found.shares[2:].max() < 0.1
    fresh, truth = methods(seed=1)
    together = found.score(fresh)
    assert together.min() >= 0
    assert together.max() <= 1
    alone = max(average_precision(truth == 1, score) for score in fresh)
    assert average_precision(truth == 1, together) > alone + 0.05
    assert average_precision(truth == 1, together) > average_precision(truth == 1, risk_score.equal(4).score(fresh))
    assert together.mean() == pytest.approx(truth.mean(), abs=0.003)  # a probability


def test_units_do_not_matter() -> None:
    scores, label = methods(2_000)
    bent = np.vstack([np.exp(scores[0]), 7.0 * scores[1] - 3.0, scores[2] ** 3, scores[3]])
    for combination in (risk_score.equal(4), risk_score.learned(scores, label)):
        np.testing.assert_array_equal(combination.score(scores), combination.score(bent))


def test_too_few_frauds_weigh_all_the_same() -> None:
    scores, label = methods(2_000)
    rare = np.zeros_like(label)
    rare[: risk_score.FRAUDS_MIN - 1] = 1
    found = risk_score.learned(scores, rare)
    assert not found.learned
    assert found.weights.tolist() == [0.25] * 4
    order = np.argsort(found.score(scores))
    assert order[-1] == np.argmax(risk_score.surprise(scores).mean(axis=0))
