"""Estimators of river and scikit-learn as members: what every member promises, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.adapters.plugin import IN_ANY_COMPANY, Plugin, PluginError, PluginMember, declare
from detector.codec.encode import member_names
from detector.codec.snapshot import SnapshotError, restore
from detector.core import profile
from detector.core.models import Arrays
from detector.core.spec import Spec
from detector.settings import ConfigError, load
from detector.settings.text import show
from tests.streams import CARD_ONLY, SMALL, assert_laws, run, seeded_codes, state_bytes, stream

COLUMNS = np.array([0, 2, 3], np.int64)
FEATURES = 5
SMALL_ROWS: dict[str, Any] = {"rows": 48, "refit_rows": 96}

DECLARED = {
    "river trees": ("river.anomaly.HalfSpaceTrees", {"n_trees": 5, "height": 4, "window_size": 24}),
    "river neighbours": ("river.anomaly.LocalOutlierFactor", {"n_neighbors": 5}),
    "river one-class": ("river.anomaly.OneClassSVM", {}),
    "scikit-learn forest": ("sklearn.ensemble.IsolationForest", {"n_estimators": 10}),
    "scikit-learn one-class": ("sklearn.svm.OneClassSVM", {}),
    "scikit-learn neighbours": ("sklearn.neighbors.LocalOutlierFactor", {"n_neighbors": 5, "novelty": True}),
    "scikit-learn ellipse": ("sklearn.covariance.EllipticEnvelope", {"support_fraction": 0.9}),
}


def declared(name: str) -> Plugin:
    estimator, parameters = DECLARED[name]
    return declare(estimator, parameters, **SMALL_ROWS)


@pytest.fixture(params=sorted(DECLARED))
def member(request: pytest.FixtureRequest) -> PluginMember:
    return declared(request.param).build(COLUMNS, np.arange(3), seed=1)


def rows(count: int, seed: int = 0) -> np.ndarray:
    random = np.random.RandomState(seed)
    values = np.exp(random.normal(0.0, 1.0, (count, FEATURES)))
    values[random.random_sample(values.shape) < 0.1] = np.nan
    return values


def fold(member: PluginMember, arrays: Arrays, values: np.ndarray, taken: np.ndarray, step: int) -> np.ndarray:
    scores = np.empty(len(values))
    counts = np.zeros((3, profile.BINS), np.int64)
    late = np.zeros(len(values), np.bool_)
    profile.learn_kernel(profile.as_bits(values[:, COLUMNS]), late, np.zeros(2, np.int64), counts)
    start = 0
    while start < len(values):
        stop = min(start + step, len(values), start + member.rows_to_pivot(arrays))
        member.score(arrays, values[start:stop], scores[start:stop])
        member.learn(arrays, values[start:stop], None, taken[start:stop])
        if member.rows_to_pivot(arrays) == 0:
            member.pivot(arrays, profile.cumulated(counts))
        start = stop
    return scores


def trained(member: PluginMember, count: int = 200, step: int = 1_000) -> Arrays:
    arrays = member.new_arrays()
    fold(member, arrays, rows(count), np.ones(count, np.bool_), step)
    return arrays


def test_it_starts_unready_and_scores_nothing(member: PluginMember) -> None:
    arrays, score = member.new_arrays(), np.empty(4)
    member.score(arrays, rows(4), score)
    assert not member.ready(arrays)
    assert not score.any()
    assert not member.explain(arrays, rows(1)[0])[0].any()


def test_scores_lie_between_zero_and_one_and_tell_the_odd(member: PluginMember) -> None:
    arrays, values, score = trained(member), np.nan_to_num(rows(50, seed=1), nan=1.0), np.empty(50)
    values[-1] = 1e15
    member.score(arrays, values, score)
    assert ((score >= 0.0) & (score <= 1.0)).all()
    assert score[-1] >= np.quantile(score[:-1], 0.9)


def test_cuts_change_nothing_and_nor_does_a_fresh_start(member: PluginMember) -> None:
    values, taken = rows(230), np.random.RandomState(2).random_sample(230) < 0.9
    whole, cut = member.new_arrays(), member.new_arrays()
    expected = fold(member, whole, values, taken, 1_000)
    fresh = PluginMember(member.spec, COLUMNS, np.arange(3), seed=1)  # has fitted nothing yet
    assert fold(fresh, cut, values, taken, 7).tolist() == expected.tolist()
    for name in whole:
        assert cut[name].tobytes() == whole[name].tobytes()


@pytest.mark.parametrize("estimator", sorted(IN_ANY_COMPANY))
def test_a_row_scores_the_same_alone_and_in_any_company(estimator: str) -> None:
    member = declare(estimator, {}, rows=300, refit_rows=256).build(COLUMNS, np.arange(3), seed=3)
    arrays = trained(member, 700)
    values, together = rows(150, seed=6), np.empty(150)
    member.score(arrays, values, together)
    random = np.random.RandomState(1)
    for _ in range(60):
        some = random.choice(150, random.randint(1, 20), replace=False)
        apart = np.empty(len(some))
        member.score(arrays, values[some], apart)
        assert apart.tobytes() == together[some].tobytes()


def test_contributions_add_up(member: PluginMember) -> None:
    arrays, values, scores = trained(member), rows(8, seed=7), np.empty(8)
    member.score(arrays, values, scores)
    for row, score in zip(values, scores.tolist(), strict=True):
        given, base = member.explain(arrays, row)
        assert base + given.sum() == pytest.approx(score, abs=1e-9)


def test_the_ring_holds_the_rows_learned_last(member: PluginMember) -> None:
    arrays = member.new_arrays()
    values = np.arange(60.0)[:, None] * np.ones(FEATURES)
    for part in np.split(values, [1, 4, 53]):
        member.learn(arrays, part, None, np.ones(len(part), np.bool_))
    counts = np.zeros((3, profile.BINS), np.int64)
    member.pivot(arrays, profile.cumulated(counts))
    assert sorted(arrays["latest"][:, 0].tolist()) == list(range(12, 60))
    assert (np.diff(arrays["reference"][:, 0]) > 0.0).all()  # the oldest first
    with pytest.raises(ValueError, match="cannot be merged"):
        member.merge(arrays, arrays)


def spec_with(name: str, seed: int = 42) -> Spec:
    return replace(CARD_ONLY, members=(SMALL, declared(name)), seed=seed)


@pytest.mark.parametrize("name", ["river trees", "scikit-learn forest", "scikit-learn neighbours"])
def test_the_laws_hold_with_a_plugin(name: str) -> None:
    batch, whole, decided = assert_laws(spec_with(name))
    assert whole.members[1]["counter"][3] >= 2
    assert run(spec_with(name, seed=43), [batch])[1] != decided


def test_its_snapshot_is_numbers_and_belongs_to_its_declaration() -> None:
    spec = spec_with("scikit-learn forest")
    state, _ = run(spec, [stream(spec, seeded_codes(3, 230, True))])
    data = state_bytes(spec, state)
    assert b"sklearn" not in data
    one = declare("sklearn.ensemble.IsolationForest", {"n_estimators": 10}, **SMALL_ROWS)
    assert replace(spec, members=(SMALL, one)).fingerprint() == spec.fingerprint()
    for changed in (
        declare("sklearn.ensemble.IsolationForest", {"n_estimators": 11}, **SMALL_ROWS),
        replace(one, version="0.0"),
    ):
        with pytest.raises(SnapshotError):
            restore(replace(spec, members=(SMALL, changed)), data)
    with pytest.raises(SnapshotError):
        restore(replace(spec, members=(SMALL,)), data)


def test_its_score_has_a_name() -> None:
    assert member_names(spec_with("river neighbours"))[1] == "plugin_local_outlier_factor"
    assert declared("river one-class").kind == "plugin_one_class_svm"


@pytest.mark.parametrize(
    ("estimator", "parameters", "message"),
    [
        ("river.anomaly.NoSuchThing", {}, "can be imported"),
        ("no_such_package.Thing", {}, "can be imported"),
        ("HalfSpaceTrees", {}, "expected the dotted name of a class that can be imported, found HalfSpaceTrees"),
        ("..anomaly.HalfSpaceTrees", {}, "can be imported"),
        ("json.dumps", {}, "name of a class"),
        ("json.JSONDecoder", {}, "expected an anomaly detector of river"),
        ("river.anomaly.GaussianScorer", {}, "expected an anomaly detector of river"),
        ("sklearn.neighbors.LocalOutlierFactor", {}, "novelty=True"),
        ("sklearn.svm.OneClassSVM", {"nu": 2.5}, "fits 64 rows, found: The 'nu' parameter"),
        ("river.anomaly.HalfSpaceTrees", {"n_trees": "many"}, "fits 64 rows, found: 'str'"),
        ("sklearn.ensemble.IsolationForest", {"n_jobs": 2}, "no n_jobs"),
        ("river.anomaly.HalfSpaceTrees", {"leaves": 3}, "leaves"),
    ],
)
def test_what_cannot_take_part_is_refused(estimator: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        declare(estimator, parameters)


def test_parameters_may_rest_on_the_width_of_the_rows() -> None:
    parameters = {"n_estimators": 5, "max_samples": 300, "max_features": 3}
    assert declare("sklearn.ensemble.IsolationForest", parameters, 3).rows == 1_000


TOML = """
[input.fields]
transaction_id = "id"
event_time = "at"
amount = "amount"
card_id = "card"

[[models.plugins]]
estimator = "river.anomaly.LocalOutlierFactor"
parameters = { n_neighbors = 7 }
weight = 0.5
features = ["amount"]
"""


def test_the_settings_declare_it(tmp_path: Path) -> None:
    path = tmp_path / "detector.toml"
    path.write_text(TOML)
    settings = load(path, {})
    member = settings.spec().members[-1]
    assert isinstance(member, Plugin)
    assert (member.estimator, member.parameters) == ("river.anomaly.LocalOutlierFactor", '{"n_neighbors": 7}')
    assert (member.weight, member.features, member.rows) == (0.5, ("amount",), 1_000)
    assert member.version
    shown = tmp_path / "shown.toml"
    shown.write_text(show(settings))
    assert load(shown, {}).spec() == settings.spec()


def test_its_faults_have_a_place(tmp_path: Path) -> None:
    path = tmp_path / "detector.toml"
    path.write_text(TOML.replace("n_neighbors", "neighbours").replace('["amount"]', '["hue"]'))
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    first, second = caught.value.faults
    assert first.startswith("models.plugins.0.features: expected names among the features in use, found 'hue'")
    assert second.startswith("models.plugins.0: parameters: expected what river.anomaly.LocalOutlierFactor takes")
