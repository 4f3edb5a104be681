"""One contract, every member: what `detector.core.models.Member` promises, checked on each."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from detector.core import profile
from detector.core.half_space_trees import HalfSpaceForest, draw_splits
from detector.core.isolation_forest import RollingForest
from detector.core.mahalanobis import MahalanobisDistance, covariance_kernel
from detector.core.models import Arrays, Member, build_members
from detector.core.projections import ProjectionForest, whiten_kernel
from detector.core.spec import HalfSpaceTrees, IsolationForest, Mahalanobis, ProjectionHistograms
from detector.core.turns import LOOK, PASSED
from tests.streams import CARD_ONLY, WITHOUT_JIT

COLUMNS = np.array([0, 2, 3], np.int64)
FEATURES = 5
WINDOW = 96

# every kind of member, in a size that pivots often; a new kind is added here
MEMBERS: dict[str, Member] = {
    "half_space_trees": HalfSpaceForest(HalfSpaceTrees(5, 4, WINDOW), COLUMNS, np.arange(3), seed=1),
    "isolation_forest": RollingForest(IsolationForest(20, 64, 8, WINDOW), COLUMNS, np.arange(3), seed=3),
    "projections_range": ProjectionForest(
        ProjectionHistograms("range", 20, 2.0, WINDOW), COLUMNS, np.arange(3), seed=4
    ),
    "projections_asinh": ProjectionForest(
        ProjectionHistograms("asinh", 20, 0.5, WINDOW), COLUMNS, np.arange(3), seed=5
    ),
    "mahalanobis": MahalanobisDistance(Mahalanobis(WINDOW), COLUMNS, np.arange(3), 6),
    "one stump": HalfSpaceForest(HalfSpaceTrees(1, 1, 7), COLUMNS, np.arange(3), seed=2),
}


SAMPLE = np.exp(np.random.RandomState(8).normal(0.0, 1.0, (300, len(COLUMNS)))).astype(np.float32)
SAMPLE[::9, 1] = np.nan


@pytest.fixture(params=sorted(MEMBERS))
def member(request: pytest.FixtureRequest) -> Member:
    return MEMBERS[request.param]


def rows(count: int, seed: int = 0) -> np.ndarray:
    random = np.random.RandomState(seed)
    values = np.exp(random.normal(0.0, 1.0, (count, FEATURES)))
    values[random.random_sample(values.shape) < 0.1] = np.nan
    return values


def cumulated(values: np.ndarray) -> np.ndarray:
    counts = np.zeros((len(COLUMNS), profile.BINS), np.int64)
    bits = profile.as_bits(values[:, COLUMNS])
    profile.learn_kernel(bits, np.zeros(len(values), np.bool_), np.zeros(2, np.int64), counts)
    return np.concatenate([np.zeros((len(COLUMNS), 1), np.int64), counts.cumsum(axis=1)], axis=1)


def fold(
    member: Member, arrays: Arrays, values: np.ndarray, late: np.ndarray, cuts: tuple[int, ...] = ()
) -> np.ndarray:
    """Score and learn all rows, pivoting where due, in batches cut at `cuts`."""
    scores = np.empty(len(values))
    edges = [0, *cuts, len(values)]
    table = cumulated(values)
    for start, stop in pairwise(edges):
        while start < stop:
            end = min(stop, start + member.rows_to_pivot(arrays))
            score_then_learn(member, arrays, values[start:end], late[start:end], scores[start:end])
            if member.rows_to_pivot(arrays) == 0:
                member.pivot(arrays, table, SAMPLE)
            start = end
    return scores


def score_then_learn(member: Member, arrays: Arrays, values: np.ndarray, late: np.ndarray, scores: np.ndarray) -> None:
    member.learn(arrays, values, member.score(arrays, values, scores), ~late)


def on_time(count: int) -> np.ndarray:
    return np.zeros(count, np.bool_)


def same(one: Arrays, other: Arrays) -> bool:
    return one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)


def trained(member: Member, count: int = 3 * WINDOW + 5) -> Arrays:
    arrays = member.new_arrays()
    fold(member, arrays, rows(count), on_time(count))
    return arrays


def test_it_has_a_name_and_looks_at_columns(member: Member) -> None:
    assert member.name
    assert member.columns.dtype == np.int64
    assert len(set(member.columns.tolist())) == len(member.columns) > 0


def test_it_starts_alike_and_unready(member: Member) -> None:
    arrays = member.new_arrays()
    assert same(arrays, member.new_arrays())
    assert not member.ready(arrays)
    assert member.pivots(arrays) == 0
    assert member.rows_to_pivot(arrays) >= 1


def test_scores_lie_between_zero_and_one_and_tell_the_odd(member: Member) -> None:
    arrays = trained(member)
    assert member.ready(arrays)
    values = rows(50, seed=1)
    values[-1] = 1e15
    scores = np.empty(50)
    score_then_learn(member, arrays, values, np.ones(50, np.bool_), scores)
    assert ((scores >= 0.0) & (scores <= 1.0)).all()
    assert scores[-1] >= np.median(scores[:-1])


def test_missing_values_are_scored(member: Member) -> None:
    scores = np.empty(3)
    score_then_learn(member, trained(member), np.full((3, FEATURES), np.nan), np.ones(3, np.bool_), scores)
    assert np.isfinite(scores).all()
    assert len(set(scores.tolist())) == 1


def test_cuts_change_nothing(member: Member) -> None:
    count = 2 * WINDOW + 31
    values, late = rows(count), np.random.RandomState(2).random_sample(count) < 0.1
    whole, cut = member.new_arrays(), member.new_arrays()
    expected = fold(member, whole, values, late)
    found = fold(member, cut, values, late, cuts=(1, 2, 40, WINDOW, WINDOW + 1, 2 * WINDOW))
    np.testing.assert_array_equal(found, expected)
    assert same(cut, whole)


def test_between_two_pivots_scores_do_not_depend_on_what_is_learned(member: Member) -> None:
    one = trained(member)
    other = {name: array.copy() for name, array in one.items()}
    count = member.rows_to_pivot(one)
    first, second = np.empty(1), np.empty(1)
    probe = rows(1, seed=9)
    score_then_learn(member, one, rows(count, seed=3), on_time(count), np.empty(count))
    score_then_learn(member, one, probe, np.ones(1, np.bool_), first)
    score_then_learn(member, other, probe, np.ones(1, np.bool_), second)
    assert first == second


def test_late_rows_are_scored_and_not_learned(member: Member) -> None:
    arrays = trained(member)
    before = {name: array.copy() for name, array in arrays.items()}
    count = min(40, member.rows_to_pivot(arrays))
    score_then_learn(member, arrays, rows(count, seed=4), np.ones(count, np.bool_), np.empty(count))
    for counter in (arrays["counter"], before["counter"]):
        counter[[PASSED, LOOK]] = 0
    assert same(arrays, before)


def test_scoring_changes_nothing_and_rows_stand_alone(member: Member) -> None:
    arrays = trained(member)
    before = {name: array.copy() for name, array in arrays.items()}
    values, whole, single = rows(40, seed=4), np.empty(40), np.empty(40)
    member.score(arrays, values, whole)
    for row in range(40):
        member.score(arrays, values[row : row + 1], single[row : row + 1])
    np.testing.assert_array_equal(single, whole)
    assert same(arrays, before)


def test_what_it_is_handed_it_leaves_alone(member: Member) -> None:
    values, late, table = rows(30), np.zeros(30, np.bool_), cumulated(rows(30))
    kept = values.copy(), late.copy(), table.copy()
    arrays = member.new_arrays()
    score_then_learn(member, arrays, values, late, np.empty(30))
    member.pivot(arrays, table, SAMPLE)
    for array, copy in zip((values, late, table), kept, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_arrays_keep_their_shapes(member: Member) -> None:
    new, old = member.new_arrays(), trained(member)
    assert {name: (array.shape, array.dtype) for name, array in new.items()} == {
        name: (array.shape, array.dtype) for name, array in old.items()
    }


def test_a_pivot_starts_a_new_version(member: Member) -> None:
    arrays = trained(member)
    version = member.pivots(arrays)
    member.pivot(arrays, cumulated(rows(20)), SAMPLE)
    assert member.pivots(arrays) == version + 1
    assert member.rows_to_pivot(arrays) >= 1


def test_after_a_restart_a_pivot_reads_the_sample_as_in_a_young_stream(member: Member) -> None:
    """What goes by the stream's age, that is: half-space trees and plug-ins follow their rows as ever."""
    going_on, begun = trained(member, 20 * WINDOW), trained(member, 20 * WINDOW)
    elsewhere = 3.0 * SAMPLE + 50.0
    member.restart(begun)
    for arrays in (going_on, begun):
        member.pivot(arrays, cumulated(rows(20)), elsewhere)
    values = np.full((len(elsewhere), rows(1).shape[1]), np.nan)
    values[:, COLUMNS] = elsewhere
    scores = np.empty((2, len(values)))
    for arrays, own in zip((going_on, begun), scores, strict=True):
        member.score(arrays, values, own)
    if isinstance(member, RollingForest | ProjectionForest | MahalanobisDistance):
        assert np.median(scores[1]) < np.median(scores[0]) - 0.05
    else:
        np.testing.assert_array_equal(*scores)


def test_merging_adds_and_leaves_both_as_they_were(member: Member) -> None:
    arrays = trained(member)
    member.pivot(arrays, cumulated(rows(500)), SAMPLE)
    fresh = {name: array.copy() for name, array in arrays.items()}
    count = member.rows_to_pivot(arrays)
    values, half = rows(count, seed=5), count // 2
    whole = {name: array.copy() for name, array in arrays.items()}
    score_then_learn(member, whole, values, on_time(count), np.empty(count))
    score_then_learn(member, arrays, values[:half], on_time(half), np.empty(half))
    score_then_learn(member, fresh, values[half:], on_time(count - half), np.empty(count - half))
    before = [{name: array.copy() for name, array in side.items()} for side in (arrays, fresh)]
    assert same(member.merge(arrays, fresh), whole)
    assert same(member.merge(fresh, arrays), whole)
    assert same(arrays, before[0])
    assert same(fresh, before[1])


def test_masses_stay_exact_at_their_largest() -> None:
    """Height 15 and ten million rows a window: sums of masses leave 32 bits, in plain Python too."""
    height = 10 if WITHOUT_JIT else 15
    forest = HalfSpaceForest(HalfSpaceTrees(2, height, 10_000_000), np.zeros(1, np.int64), np.zeros(1, np.int64), 0)
    arrays = forest.new_arrays()
    arrays["latest"][:, 0] = 10_000_000
    arrays["counter"][1] = 10_000_000
    forest.freeze(arrays)
    score = np.empty(2)
    lowest = np.array([[-1.0, 2.0]])
    forest.walk(arrays, lowest, score)
    np.testing.assert_array_equal(score, [0.0, 1.0 - 1.0 / (2 ** (height + 1) - 1)])


def test_whitened_directions_are_as_wide_as_their_draws() -> None:
    random = np.random.RandomState(11)
    mixed = random.normal(0.0, 1.0, (4, 4)) @ random.normal(0.0, 1.0, (4, 3_000))
    z = (mixed * 10.0 ** np.arange(-1.0, 3.0)[:, None]).astype(np.float32)
    chosen = np.array([[0, 1], [2, 1], [3, 2]], np.int32)
    drawn = random.standard_normal(chosen.shape).astype(np.float32)
    weight = np.empty_like(drawn)
    whiten_kernel(z, chosen, drawn, weight)
    for columns, draws, direction in zip(chosen, drawn, weight, strict=True):
        assert (direction @ z[columns]).std() == pytest.approx(np.linalg.norm(draws), rel=0.05)


@pytest.mark.parametrize("sample", [np.zeros((3, 1)), np.zeros((3, 50)), np.tile(np.arange(9.0), (3, 1))])
def test_columns_that_never_differ_have_directions_too(sample: np.ndarray) -> None:
    chosen, drawn = np.array([[0, 1, 2]], np.int32), np.array([[1.0, -0.5, 2.0]], np.float32)
    weight = np.full_like(drawn, np.nan)
    whiten_kernel(sample.astype(np.float32), chosen, drawn, weight)
    assert np.isfinite(weight).all()
    assert np.abs(weight).max() > 0.0


def test_what_parts_columns_that_go_together_is_odd_to_whitened_projections() -> None:
    random = np.random.RandomState(12)
    common = random.normal(0.0, 1.0, (1_000, 1))
    values = np.zeros((1_000, FEATURES))
    values[:, COLUMNS] = common + 0.05 * random.normal(0.0, 1.0, (1_000, 3))
    values[-1, COLUMNS] = [0.4, -0.4, 0.0]  # each within a usual row's reach
    asked = ProjectionHistograms("asinh", 30, 0.5, WINDOW)
    member = ProjectionForest(asked, COLUMNS, np.arange(3), seed=6)
    arrays, sample = member.new_arrays(), values[:500, COLUMNS].astype(np.float32)
    member.learn(arrays, values[:64], None, np.ones(64, np.bool_))
    member.pivot(arrays, cumulated(values[:64]), sample)
    score = np.empty(500)
    member.score(arrays, values[500:], score)
    assert score[-1] == score.max()


def distances(values: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """Mahalanobis scores of rows (n, m) after one look at a sample."""
    every = np.arange(values.shape[1])
    member = MahalanobisDistance(Mahalanobis(WINDOW), every, every, 0)
    arrays, score = member.new_arrays(), np.empty(len(values))
    member.pivot(arrays, np.zeros((0, 0), np.int64), sample.astype(np.float32))
    member.score(arrays, values, score)
    return score


def test_what_breaks_what_many_columns_have_in_common_lies_far_out() -> None:
    random = np.random.RandomState(13)
    usual = random.normal(0.0, 1.0, (1_000, 3)) @ random.normal(0.0, 1.0, (3, 12))
    usual += 0.1 * random.normal(0.0, 1.0, usual.shape)
    odd = np.stack([random.permutation(usual[:, column])[:50] for column in range(12)], axis=1)  # each column as usual
    score = distances(np.concatenate([usual[500:], odd]), usual[:500])
    assert (score[500:] > np.quantile(score[:500], 0.99)).mean() > 0.95


def test_a_crowd_of_oddities_in_the_sample_does_not_hide_them() -> None:
    random = np.random.RandomState(14)
    usual, crowd = random.normal(0.0, 1.0, (1_000, 8)), random.normal(3.0, 0.2, (100, 8))
    score = distances(np.concatenate([usual[500:], crowd[50:]]), np.concatenate([usual[:500], crowd[:50]]))
    assert score[500:].min() > np.quantile(score[:500], 0.97)


def test_the_inverse_of_the_factor_makes_columns_uncorrelated() -> None:
    random = np.random.RandomState(15)
    rows = (random.normal(0.0, 1.0, (4_000, 5)) @ (np.eye(5) + 0.4 * np.tri(5))).astype(np.float32)
    mean, whiten = np.empty(5, np.float32), np.empty((5, 5), np.float32)
    covariance_kernel(rows, mean, whiten)
    np.testing.assert_allclose(mean, rows.mean(axis=0), atol=1e-5)
    white = np.cov(((rows - mean) @ whiten.T).T)
    np.testing.assert_allclose(np.diag(white), 1.0, atol=0.05)
    assert np.abs(white - np.diag(np.diag(white))).max() < 0.1


@pytest.mark.parametrize("heavier", ["left", "right"])
def test_a_missing_value_follows_the_heavier_child_of_the_reference(heavier: str) -> None:
    """Not that of the profile that learns, which would make a score depend on where a batch was cut."""
    forest = HalfSpaceForest(HalfSpaceTrees(1, 1, 100), np.zeros(1, np.int64), np.zeros(1, np.int64), 0)
    arrays = forest.new_arrays()
    masses = [70, 30] if heavier == "left" else [30, 70]
    arrays["latest"][0] = masses
    arrays["counter"][1] = 100
    forest.freeze(arrays)
    arrays["latest"][0] = masses[::-1]
    missing, score = np.full((1, 1), np.nan), np.empty(1)
    leaf = forest.walk(arrays, missing, score)
    assert score[0] == 1.0 - (100 + 2 * 70) / (100 * 3)
    before = arrays["latest"].copy()
    forest.count(arrays, leaf, np.ones(1, np.bool_))
    assert (arrays["latest"] - before)[0].tolist() == [int(heavier == "left"), int(heavier == "right")]


def test_splits_stay_inside_their_half_spaces() -> None:
    splits = draw_splits(trees=4, height=6, features=3, seed=5)
    for tree in range(4):
        limits = {0: np.tile([0.0, 1.0], (3, 1))}
        for node in range(2**6 - 1):
            limit = limits.pop(node)
            column, threshold = splits.feature[tree, node], splits.threshold[tree, node]
            low, high = limit[column]
            assert low + 0.15 * (high - low) <= threshold <= high - 0.15 * (high - low)
            left, right = limit.copy(), limit.copy()
            left[column, 1] = right[column, 0] = threshold
            limits[2 * node + 1], limits[2 * node + 2] = left, right


def test_a_spec_s_members_are_built_in_its_order() -> None:
    spec = replace(
        CARD_ONLY, members=(HalfSpaceTrees(2, 3, 64, ("card.count.1h",)), HalfSpaceTrees(3, 2, 64, ("amount",)))
    )
    members, profiled = build_members(spec)
    assert [member.columns.tolist() for member in members] == [[1], [0]]
    assert profiled.tolist() == [0, 1]


def test_contributions_add_up_to_the_score_less_the_base(member: Member) -> None:
    arrays, values = trained(member), rows(60, seed=7)
    values[:5] *= 50.0
    scores = np.empty(60)
    member.score(arrays, values, scores)
    before = {name: array.copy() for name, array in arrays.items()}
    bases = set()
    for row, score in zip(values, scores.tolist(), strict=True):
        given, base = member.explain(arrays, row)
        assert given.shape == member.columns.shape
        assert base + given.sum() == pytest.approx(score, abs=1e-9)
        bases.add(base)
    assert len(bases) == 1
    assert 0.0 <= bases.pop() <= 1.0
    assert same(arrays, before)


def test_a_member_that_is_not_ready_explains_nothing(member: Member) -> None:
    given, base = member.explain(member.new_arrays(), rows(1)[0])
    assert not given.any()
    assert base == 0.0


def test_the_odd_feature_contributes_most(member: Member) -> None:
    arrays, hits = trained(member), 0
    for position, column in enumerate(COLUMNS.tolist()):
        values = np.ones((1, FEATURES))
        values[0, column] = 1e4
        given, _ = member.explain(arrays, values[0])
        hits += int(given.argmax()) == position
    assert hits == len(COLUMNS) or member is MEMBERS["one stump"]  # which knows one feature only
