"""The bench of the members, run tiny so that it cannot rot."""

from __future__ import annotations

import pytest

from tests.bench import members_bench
from tests.streams import WITHOUT_JIT


@pytest.mark.skipif(WITHOUT_JIT, reason="a bench of compiled kernels")
def test_it_names_every_member_and_all_together() -> None:
    told = members_bench.lines(2_000)
    assert [line.split()[0] for line in told] == [
        "half_space_trees",
        "isolation_forest",
        "projections_range",
        "projections_asinh",
        "mahalanobis",
        "together",
    ]
    assert all(float(line.split()[1].replace(",", "")) > 1_000 for line in told)
