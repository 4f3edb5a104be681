"""Where scores come from: credit against sums written out, and the order that it gives to reasons."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from detector.core import credit, profile
from detector.core.explain import explain, tellable
from tests.bench import explain_bench
from tests.streams import EVERYTHING, WITHOUT_JIT, features_of

NAMES = ("card.count.1h", "card.distance_km", "merchant.count.7d", "amount")


def chosen(values: list[float], contribution: list[float], names: tuple[str, ...] = NAMES) -> list[str]:
    """Names of the reasons of a row, where earlier rows held 0 to 999 in each feature."""
    counts = np.zeros((len(names), profile.BINS), np.int64)
    bits = profile.as_bits(np.tile(np.arange(1_000.0)[:, None], (1, len(names))))
    profile.learn_kernel(bits, np.zeros(1_000, np.bool_), np.zeros(2, np.int64), counts)
    features = features_of(*names)
    table = profile.cumulated(counts)
    spec = type(EVERYTHING)((), (), (), features, EVERYTHING.members, EVERYTHING.decision)
    columns = np.arange(len(names))
    row = np.array(values)
    found = explain(spec, tellable(features, columns), row, 1.0, table, profile.bin_edges(), np.array(contribution))
    return [names[item.feature] for item in found]


@pytest.mark.parametrize(
    ("values", "contribution", "expected"),
    [
        ([999.0, 2e4, 3e4, 4e4], [0.0, 0.0, 0.0, 0.0], (1, 2, 3)),
        ([2e4, 2e4, 3e4, 4e4], [0.1, 0.2, 0.4, 0.3], (2, 3, 1, 0)),
        ([2e4, 2e4, 5.0, 6.0], [0.1, 0.2, 0.9, 0.8], (1, 0)),
        ([4.0, 5.0, 6.0, 7.0], [0.1, -0.2, 0.9, 0.8], (2,)),
        ([2e4, 5.0, 6.0, 7.0], [-0.5, 0.2, 0.9, 0.8], (0,)),
        ([np.nan, 2e4, np.nan, 3e4], [0.9, 0.1, 0.9, 0.2], (3, 1)),
    ],
)
def test_what_is_rare_in_order_of_contribution(
    values: list[float], contribution: list[float], expected: tuple[int, ...]
) -> None:
    found = chosen(values, contribution)
    if not any(contribution):  # equal contributions: the rarest first, and 999 is rarer than nothing here
        assert set(found) >= {NAMES[position] for position in expected}
    else:
        assert found == [NAMES[position] for position in expected]


def test_one_thing_said_in_three_ways_is_said_twice() -> None:
    names = ("card.amount_to_mean.7d", "card.amount_deviation.7d", "card.amount_to_max.7d", "card.count.1h")
    found = chosen([2e4, 3e4, 4e4, 5e4], [0.4, 0.3, 0.2, 0.1], names)
    assert found == [names[0], names[1], names[3]]
    assert chosen([2e4, 3e4, 4e4, 5e4, 6e4], [0.4, 0.3, 0.2, 0.1, 0.05], (*names, "amount")) == [
        *(names[0], names[1], names[3], "amount")
    ]


def test_no_number_is_told_twice_of_one_thing() -> None:
    names = ("card.sum.7d", "card.sum.30d", "merchant.sum.30d")
    assert chosen([2e4, 2e4, 2e4], [0.3, 0.2, 0.1], names) == [names[0], names[2]]


def test_credit_along_a_walk_against_means_written_out() -> None:
    """A tree of height two: first on feature 1 at 0.5, then on feature 0 at 0.5 on either side."""
    feature, threshold = np.array([[1, 0, 0]]), np.full((1, 3), 0.5)
    weight, value = np.array([[6, 2, 0, 0]]), np.array([[10.0, 2.0, 7.0, 1.0]])
    heavier = np.array([[False, False, True]])
    top, left, right = (6 * 10 + 2 * 2) / 8, (6 * 10 + 2 * 2) / 8, (7 + 1) / 2
    cases = {
        (0.2, 0.2): (10.0 - left, left - top),
        (0.7, 0.2): (2.0 - left, left - top),
        (0.2, 0.7): (7.0 - right, right - top),
        (np.nan, 0.7): (1.0 - right, right - top),
        (np.nan, np.nan): (10.0 - left, left - top),
    }
    mean = np.empty((1, 3))
    credit.means_kernel(weight, value, mean)
    assert mean.tolist() == [[top, left, right]]
    for z, expected in cases.items():
        given = np.zeros(2)
        leaf = np.empty(1, np.int32)
        base = credit.walk_kernel(np.array(z), feature, threshold, heavier, 2, mean, value, given, leaf)
        assert base == top
        assert value[0, leaf[0]] == pytest.approx(top + sum(expected))
        assert given.tolist() == pytest.approx(expected)


def test_scaled_credit_keeps_proportions_and_sums_to_the_gain() -> None:
    given = credit.scaled_to(np.array([3.0, -1.0, 2.0]), 0.5)
    assert given.sum() == pytest.approx(0.5)
    assert given.tolist() == pytest.approx([0.375, -0.125, 0.25])
    assert not credit.scaled_to(np.array([1.0, -1.0]), 0.5).any()
    assert not credit.scaled_to(np.zeros(2), 0.5).any()


def test_members_give_credit_in_proportion_to_their_part_of_the_fused_score() -> None:
    credits = np.array([[0.2, 0.2, 0.0], [0.0, 0.01, 0.03], [-0.5, 0.1, 0.0]])
    given = credit.fused(credits, np.array([4.0, 8.0, 100.0]))
    assert given.tolist() == pytest.approx([2.0, 2.0 + 2.0, 6.0])  # the third finds the row no odder than usual
    assert not credit.fused(credits, np.zeros(3)).any()
    assert not credit.fused(np.zeros((2, 3)), np.ones(2)).any()


@pytest.mark.skipif(WITHOUT_JIT, reason="a bench of compiled kernels")
def test_the_bench_of_explanations_runs(tmp_path: Path) -> None:
    assert explain_bench.main(["--times", "1", "--folder", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "explain.json").read_text())
    for found in (written["without_labels_us"], written["with_labels_us"]):
        parts = ("contributions", "reasons", "sentences")
        assert found["total"] == pytest.approx(sum(found[name] for name in parts))
        assert {"of it half_space_trees", "of it projections_asinh"} < found.keys()
        assert all(value > 0.0 for value in found.values())
