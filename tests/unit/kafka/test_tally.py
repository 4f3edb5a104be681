"""What a transaction did is shown when it is committed: the labels' part."""

from __future__ import annotations

import numpy as np
import pytest

from detector.core.labels import LabelTally
from detector.kafka.tally import Tally
from detector.observe.metrics import Metrics


def test_labels_are_counted_at_the_commit_with_their_delay_and_the_late_among_them() -> None:
    tally, metrics = Tally(), Metrics()
    value = metrics.registry.get_sample_value
    tally.add_labels(LabelTally(learned=2, orphan=1, late=1, delay_s=np.array([30.0, 7_200.0])), [])
    tally.add_labels(LabelTally(learned=1, duplicate=4, late=1, delay_s=np.array([-5.0])), [])
    assert value("detector_late_labels_total") == 0
    tally.publish(metrics, 0.01)
    assert value("detector_labels_total", {"outcome": "learned"}) == 3
    assert value("detector_labels_total", {"outcome": "duplicate"}) == 4
    assert value("detector_late_labels_total") == 2
    assert value("detector_label_delay_seconds_count") == 3
    assert value("detector_label_delay_seconds_sum") == pytest.approx(7_230.0)
    assert value("detector_label_delay_seconds_bucket", {"le": "60.0"}) == 2


def test_a_commit_without_labels_shows_none() -> None:
    metrics = Metrics()
    Tally().publish(metrics, 0.01)
    assert metrics.registry.get_sample_value("detector_label_delay_seconds_count") == 0
    assert metrics.registry.get_sample_value("detector_late_labels_total") == 0
