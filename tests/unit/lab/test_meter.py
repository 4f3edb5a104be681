"""Seconds and peak memory of a piece of work."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest

from detector.lab.meter import Meter


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak is that of the process's whole life")
def test_memory_of_one_piece_of_work_does_not_count_for_the_next() -> None:
    with Meter(anew=True) as large:
        assert np.ones(40_000_000).sum() == 40_000_000  # 320 MB
        time.sleep(0.01)
    with Meter(anew=True) as small:
        pass
    assert large.seconds > 0.01
    assert small.seconds < large.seconds
    assert large.peak_mb > small.peak_mb + 250
