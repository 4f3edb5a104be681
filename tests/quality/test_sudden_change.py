"""A stream whose rows are all of another kind from one row on: the detector must find its feet again."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from tests.quality.bench import ours
from tests.quality.bench.sets import SETS, load_set
from tests.streams import WITHOUT_JIT

NAME = "sudden change"
CHANGE = 0.4  # of the stream


@pytest.mark.skipif(WITHOUT_JIT, reason="100,000 rows take minutes without the compiler")
def test_frauds_rank_high_again_soon_after_a_change() -> None:
    data = load_set(next(source for source in SETS if source.name == NAME))
    risk = ours.run(data, 1, lambda _rows: None).scores["detector"]
    after = np.arange(len(risk)) >= CHANGE * len(risk)
    assert average_precision_score(data.fraud[after], risk[after]) > 0.7
    later = np.arange(len(risk)) >= (1.0 + CHANGE) / 2 * len(risk)
    assert average_precision_score(data.fraud[later], risk[later]) > 0.95
    assert 0.003 < np.mean(risk[later] >= 990.0) < 0.02
