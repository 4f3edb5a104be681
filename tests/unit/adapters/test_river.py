"""Our members in river: river's own checks, one row against many, and pickles that go on alike."""

from __future__ import annotations

import copy
import doctest
import itertools
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import river.checks
import river.datasets
from river import compose, evaluate, metrics, preprocessing

from detector.adapters import river as ours

CLASSES = (ours.HalfSpaceTrees, ours.IsolationForest, ours.ProjectionHistograms, ours.Mahalanobis)


class Purchases:
    """Ten thousand rows of six numbers from a seed, one in a hundred far off; river's checks would download theirs."""

    def __init__(self, rows: int = 10_000) -> None:
        self.rows = rows

    def take(self, count: int) -> Purchases:
        return Purchases(count)

    def __iter__(self) -> Iterator[tuple[dict[str, float], int]]:
        random = np.random.RandomState(4)
        values = np.exp(random.normal(0.0, 0.5, (self.rows, 6)))
        odd = random.random_sample(self.rows) < 0.01
        values[odd, :3] *= 8.0
        names = [f"V{column}" for column in range(6)]
        for row, truth in zip(values.tolist(), odd.tolist(), strict=True):
            yield dict(zip(names, row, strict=True)), int(truth)


def checks() -> list[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(river.datasets, "CreditCard", Purchases)
        return [
            pytest.param(cls, check, id=f"{cls.__name__}-{check.__name__}")
            for cls in CLASSES
            for check in river.checks.yield_checks(cls())
        ]


@pytest.mark.parametrize(("cls", "check"), checks())
def test_river_s_checks(cls: type, check: Callable[[Any], None]) -> None:
    check(cls().clone())


def test_the_example_in_the_documentation_runs() -> None:
    done = doctest.testmod(ours)
    assert done.attempted == 4
    assert done.failed == 0


def frame(count: int) -> Any:
    import pyarrow as pa

    return pa.Table.from_pylist([x for x, _ in itertools.islice(Purchases(), count)])


@pytest.mark.parametrize("cls", CLASSES)
def test_many_rows_are_learned_and_scored_like_one_after_the_other(cls: type) -> None:
    table, one, many = frame(2_500), cls(seed=3), cls(seed=3)
    for x in table.to_pylist():
        one.learn_one(x)
    for start, stop in itertools.pairwise((0, 1, 700, 701, 2_500)):
        many.learn_many(table.slice(start, stop - start))
    assert pickle.dumps(one) == pickle.dumps(many)
    scores = many.score_many(table)
    assert scores.tolist() == [one.score_one(x) for x in table.to_pylist()]
    assert scores.std() > 0.0
    many.learn_many(table.slice(0, 0))
    assert pickle.dumps(one) == pickle.dumps(many)


@pytest.mark.parametrize("cls", CLASSES)
def test_a_pickled_one_goes_on_alike(cls: type) -> None:
    rows = [x for x, _ in itertools.islice(Purchases(), 1_500)]
    model = cls(seed=5)
    for x in rows[:700]:
        model.learn_one(x)
    kept = pickle.loads(pickle.dumps(model))
    for x in rows[700:]:
        assert kept.score_one(x) == model.score_one(x)
        kept.learn_one(x)
        model.learn_one(x)


@pytest.mark.parametrize("cls", CLASSES)
def test_scoring_changes_nothing(cls: type) -> None:
    model = cls()
    model.learn_many(frame(900))
    before = pickle.dumps(model)
    for x, _ in itertools.islice(Purchases(), 50):
        assert 0.0 <= model.score_one(x) <= 1.0
    assert pickle.dumps(model) == before


@pytest.mark.parametrize("cls", CLASSES)
def test_it_takes_part_in_river_s_evaluation_and_pipelines(cls: type) -> None:
    for model in (cls(seed=1), compose.Select("V0", "V1", "V2") | preprocessing.StandardScaler() | cls(seed=1)):
        auc = evaluate.progressive_val_score(Purchases(3_000), model, metrics.ROCAUC())
        assert auc.get() > 0.8


@pytest.mark.parametrize("cls", CLASSES)
def test_missing_none_and_unknown_features(cls: type) -> None:
    model = cls()
    model.learn_many(frame(900))
    same = copy.deepcopy(model)
    row = {"V0": 1.0, "V1": float("nan"), "V2": None, "new": 3.0}
    assert model.score_one(row) == model.score_one({"V0": 1.0})
    model.learn_one(row)
    same.learn_one({"V0": 1.0})
    assert pickle.dumps(model) == pickle.dumps(same)


@pytest.mark.parametrize("cls", CLASSES)
def test_a_first_row_without_features_is_refused(cls: type) -> None:
    model = cls()
    with pytest.raises(ValueError, match="at least one feature"):
        model.learn_one({})
    assert model.score_one({"V0": 1.0}) == 0.0


@pytest.mark.parametrize("parameters", [{"trees": 0}, {"height": -1}, {"window_rows": 0}])
def test_a_parameter_that_means_nothing_is_refused(parameters: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected greater than 0"):
        ours.HalfSpaceTrees(**parameters).learn_one({"amount": 1.0})
