"""Models that the lab trained, as members and heads: scores as in the lab, the laws, and what is refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from detector.adapters import tracker, trained
from detector.adapters.trained import Trained, TrainedMember
from detector.adapters.trained_file import CARD, TrainedError, read
from detector.adapters.trained_scores import _mean_of, _sound
from detector.cli import cli
from detector.codec.encode import member_names
from detector.codec.snapshot import SnapshotError, restore
from detector.core.fusion import score_bins
from detector.core.head import bits_of
from detector.core.operator import step
from detector.core.spec import Heads, Labels, Spec
from detector.core.state import new_state
from detector.core.trained import blend, build_heads, credited
from detector.settings import ConfigError, Settings, load
from detector.settings.text import show
from tests.labelled import Turn, labelled_stream, play
from tests.streams import (
    CARD_ONLY,
    HOUR,
    SMALL,
    assert_laws,
    features_of,
    lines,
    run,
    seeded_codes,
    state_bytes,
    stream,
)
from tests.trained import FEATURES, SUPERVISED, UNSUPERVISED, declared, fitted, learned, saved, spec_with

OTHERS = ("isolation_forest", "projections_range", "projections_asinh", "mahalanobis")
EXPECTED = {  # what each pipeline says itself, asked of all rows at once
    "probability": lambda pipeline, rows: pipeline.predict_proba(rows)[:, 1],
    "outlier": lambda pipeline, rows: -pipeline.score_samples(rows),
    "centre": lambda pipeline, rows: pipeline.transform(rows).min(axis=1),
    "neighbours": lambda pipeline, rows: pipeline[-1].kneighbors(pipeline[:-1].transform(rows))[0].mean(axis=1),
    "error": lambda pipeline, rows: np.square(
        pipeline.predict(rows).reshape(rows.shape) - pipeline[:-1].transform(rows)
    ).mean(axis=1),
    "z": lambda pipeline, rows: np.sqrt(np.square(pipeline.transform(rows)).mean(axis=1)),
    "beyond": lambda pipeline, rows: (np.abs(pipeline.transform(rows)) > 1.0).sum(axis=1),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(params=[*SUPERVISED, *UNSUPERVISED])
def model(request: pytest.FixtureRequest, folder: Path) -> Trained:
    path = folder / request.param
    return trained.declare(str(path)) if path.exists() else declared(path, request.param)


def test_a_row_scores_the_same_alone_and_in_any_company(model: Trained) -> None:
    values = learned()[0][:120]
    together = trained.scores(model, values)
    assert ((together >= 0.0) & (together <= 1.0)).all()
    assert len(set(together.tolist())) > 5
    random = np.random.RandomState(1)
    for _ in range(12):
        some = random.choice(len(values), random.randint(1, 9), replace=False)
        assert trained.scores(model, values[some]).tobytes() == together[some].tobytes()


@pytest.mark.parametrize("name", [*SUPERVISED, *UNSUPERVISED])
def test_it_scores_as_the_estimator_that_was_fitted(name: str, folder: Path) -> None:
    model = declared(folder / name, name)
    pipeline, read_as = fitted(name)
    values, _ = learned()
    expected = np.asarray(EXPECTED[read_as](pipeline, values[:200]), np.float64)
    found = trained.scores(model, values[:200])
    if model.supervised:
        assert found == pytest.approx(expected, abs=1e-6)
    elif read_as == "beyond":  # rows of equal counts are told apart by how far out they lie
        assert (np.diff(expected[np.argsort(found, kind="stable")]) >= 0.0).all()
    else:
        card = read(folder / name).card
        widths_off = (2.0 * found - 1.0) / (1.0 - np.abs(2.0 * found - 1.0))
        assert widths_off == pytest.approx((expected - card.center) / card.width, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", ["forest", "clusters", "autoencoder"])
def test_contributions_add_up(name: str, folder: Path) -> None:
    model = declared(folder / name, name)
    member = model.build(np.arange(len(FEATURES)), np.arange(len(FEATURES)), 1)
    arrays = member.new_arrays()
    values, _ = learned()
    assert not member.explain(arrays, values[0])[0].any()
    member.pivot(arrays)
    scores = np.empty(20)
    member.score(arrays, values[:20], scores)
    for row, score in zip(values[:20], scores.tolist(), strict=True):
        given, base = member.explain(arrays, row)
        assert base + given.sum() == pytest.approx(score, abs=1e-9)


def test_two_streams_that_turned_alike_merge(folder: Path) -> None:
    member = declared(folder / "forest", "forest").build(np.arange(4), np.arange(4), 1)
    assert isinstance(member, TrainedMember)
    one, other = member.new_arrays(), member.new_arrays()
    member.learn(one, np.zeros((5, 4)), None, np.array([True, True, False, True, True]))
    assert member.rows_to_pivot(member.merge(one, other)) == member.rows_to_pivot(one) == 59
    member.pivot(one)
    with pytest.raises(ValueError, match="as many pivots"):
        member.merge(one, other)


@pytest.mark.parametrize("name", ["random forest", "xgboost", "forest"])
def test_the_laws_hold_with_a_trained_model(name: str, folder: Path) -> None:
    spec = spec_with(declared(folder / name, name))
    batch, _, decided = assert_laws(spec)
    _, without = run(replace(spec, members=(SMALL,), heads=None), [batch])
    assert [line.split("risk")[0] for line in decided] != [line.split("risk")[0] for line in without]


def with_labels(spec: Spec) -> Spec:
    label_features = features_of("card.fraud_count.1h", "card.fraud_rate.1d")
    labels = Labels(pending_rows_max=50, frauds_until_half=2.0, genuine_share=1.0)
    return replace(spec, features=(*spec.features, *label_features), labels=labels)


def test_the_laws_hold_with_a_head_where_labels_come(folder: Path) -> None:
    spec = with_labels(spec_with(declared(folder / "xgboost", "xgboost")))
    batch = labelled_stream(spec, seeded_codes(4, 200, True))
    script = [Turn(60, ((3, True, 1), (9, False, 1))), Turn(50, ((1, True, 0),)), Turn(90, ())]
    whole, cut = new_state(spec), new_state(spec)
    decided, _, _ = play(spec, whole, batch, script)
    first, _, row = play(spec, cut, batch, script[:1], [7, 31], one_by_one=True)
    cut = restore(spec, state_bytes(spec, cut))
    rest, _, _ = play(spec, cut, batch, script[1:], [70, 133], place=row)
    assert first + rest == decided
    assert state_bytes(spec, cut) == state_bytes(spec, whole)


def test_what_is_published_is_what_the_lab_says(folder: Path) -> None:
    for name in ("random forest", "xgboost", "neighbours"):
        model = declared(folder / name, name)
        spec = spec_with(model)
        decided = step(spec, new_state(spec), stream(spec, seeded_codes(11, 150, True)))
        columns = [FEATURES.index(feature) for feature in model.features]
        assert decided.score[-1].tobytes() == trained.scores(model, decided.features[:, columns]).tobytes()
        assert member_names(spec)[-1] == "trained_" + name.replace(" ", "_")


def test_a_head_needs_no_label_and_counts_by_the_frauds_it_was_trained_on(folder: Path) -> None:
    model = declared(folder / "xgboost", "xgboost")
    spec = spec_with(model)
    assert spec.heads is not None
    (head,) = build_heads(spec)
    probability, anomaly = np.array([[0.001, 0.02, 0.6, 0.99]]), np.full(4, 0.9)
    heard = blend(spec.heads, (head,), None, probability, anomaly)
    assert (np.diff(heard) > 0.0).all()
    share = model.frauds / (model.frauds + 10.0)
    evidence = (head.logit(probability[0]) - head.level)[-1] / np.log(2.0) + 1.0
    assert bits_of(heard)[-1] == pytest.approx((1 - share) * bits_of(anomaly)[-1] + share * evidence)
    silent = replace(spec.heads, trained=(replace(model, weight=1e-6),))
    hushed = blend(silent, build_heads(replace(spec, heads=silent)), None, probability, anomaly)
    assert hushed == pytest.approx(anomaly, abs=1e-4)
    assert len(set(score_bins(heard).tolist())) == 4


@pytest.mark.parametrize("name", ["xgboost", "logistic regression"])
def test_what_a_head_adds_goes_to_its_features(name: str, folder: Path) -> None:
    model = declared(folder / name, name)
    spec = spec_with(model)
    assert spec.heads is not None
    (head,) = build_heads(spec)
    values, _ = learned()
    logit, weight = np.empty(20), model.frauds / (model.frauds + 10.0)
    head.score(values[:20], logit)
    for row, said in zip(values[:20], head.logit(logit).tolist(), strict=True):
        given, base = head.explain(row)
        assert base + given.sum() == pytest.approx(said, abs=1e-9)
        everything = credited(spec.heads, (head,), None, row, np.arange(values.shape[1]), np.zeros(values.shape[1]))
        assert everything[head.columns] == pytest.approx(weight * given / np.log(2.0))
        some = credited(spec.heads, (head,), None, row, np.array([1]), np.zeros(1))
        assert some.tolist() == everything[[1]].tolist()


def test_a_head_may_change_live_a_member_may_not(folder: Path) -> None:
    heads = [spec_with(declared(folder / name, name)) for name in ("xgboost", "random forest")]
    assert heads[0].fingerprint() != heads[1].fingerprint()
    assert len({spec.state_fingerprint() for spec in (*heads, replace(heads[0], heads=None))}) == 1
    state, _ = run(heads[0], [stream(heads[0], seeded_codes(3, 80, True))])
    data = state_bytes(heads[0], state)
    restore(heads[1], data)
    member = spec_with(declared(folder / "forest", "forest"))
    with pytest.raises(SnapshotError):
        restore(member, data)


def test_its_digest_is_in_the_fingerprint(folder: Path, tmp_path: Path) -> None:
    one = declared(folder / "xgboost", "xgboost")
    path = tmp_path / "again"
    two = trained.of(saved(path, "xgboost", figures={"ap": 0.5}))
    assert one.digest != two.digest
    assert spec_with(one).fingerprint() != spec_with(two).fingerprint()
    assert trained.declare(str(path)) == two


def changed(path: Path, **fields: object) -> Path:
    card = json.loads((path / CARD).read_text())
    (path / CARD).write_text(json.dumps(card | fields))
    return path


def test_a_model_that_was_changed_or_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainedError, match=r"expected a folder made by `detector lab train`, found: No such file"):
        trained.declare(str(tmp_path / "none"))
    saved(tmp_path, "xgboost")
    model = tmp_path / "model.ubj"
    whole = model.read_bytes()
    model.write_bytes(whole[:-3] + b"abc")
    with pytest.raises(TrainedError, match=r"expected the file that was trained, SHA-256 .* it was changed or damaged"):
        trained.declare(str(tmp_path))
    model.write_bytes(whole)
    for fields, reason in (
        ({"format": 9}, "expected format 1, found 9"),
        ({"file": "model.pkl"}, "expected a file model.skops or model.ubj, found 'model.pkl'"),
        ({"typical": [1.0]}, "typical values and probes for each feature"),
        ({"features": "amount"}, "expected what `detector lab train` writes"),
        ({"supervised": False}, "expected supervised, read and width that go together, found False, 'probability'"),
        ({"width": 0.0}, "found True, 'probability' and 0.0: it was edited"),
        ({"name": "../../x"}, "expected a name of up to 64 letters"),
    ):
        saved(tmp_path, "xgboost")
        with pytest.raises(TrainedError, match=reason):
            trained.declare(str(changed(tmp_path, **fields)))


@pytest.mark.parametrize("content", [b"", b"\x80\x04.", b"{}", b"{L\x00"])
def test_what_is_no_model_of_xgboost_is_refused_with_the_reason(tmp_path: Path, content: bytes) -> None:
    saved(tmp_path, "xgboost")
    (tmp_path / "model.ubj").write_bytes(content)
    with pytest.raises(TrainedError, match=r"model\.ubj: expected a model of XGBoost") as error:
        trained.declare(str(changed(tmp_path, sha256=hashlib.sha256(content).hexdigest())))
    assert "[bt]" not in str(error.value)


@pytest.mark.parametrize("read", ["neighbours", "centre", "error", "z", "beyond"])
def test_a_model_that_cannot_be_asked_as_its_card_says_is_refused(tmp_path: Path, read: str) -> None:
    saved(tmp_path, "forest")
    with pytest.raises(TrainedError, match=f"expected a model that can be asked by '{read}', as model.json says"):
        trained.declare(str(changed(tmp_path, read=read)))


def test_a_card_too_deep_to_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text('{"data":' * 100_000)
    with pytest.raises(TrainedError, match="expected what `detector lab train` writes"):
        trained.declare(str(tmp_path))


def test_a_model_that_scores_otherwise_here_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, "random forest")
    probes = json.loads((tmp_path / CARD).read_text())["probes"]
    probes[2]["score"] += 0.01
    with pytest.raises(TrainedError, match=r"for its probe 2, as where it was trained \(scikit-learn "):
        trained.declare(str(changed(tmp_path, probes=probes)))


class Stranger:
    """A type that nobody trusts."""

    def __init__(self) -> None:
        self.made = True


def test_unknown_types_inside_the_file_are_refused_and_never_made(tmp_path: Path) -> None:
    import hashlib

    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer
    from skops import io

    saved(tmp_path, "forest")
    strange = Pipeline([("step", FunctionTransformer(kw_args={"one": Stranger()}))])
    for content, reason in (
        (io.dumps(strange), r"expected known types .* found .*Stranger; nothing of it was loaded"),
        (io.dumps([1, 2]), "expected a pipeline of scikit-learn, found list"),
        (b"no archive", "expected a skops file that can be read here"),
    ):
        (tmp_path / "model.skops").write_bytes(content)
        changed(tmp_path, sha256=hashlib.sha256(content).hexdigest())
        with pytest.raises(TrainedError, match=reason):
            trained.declare(str(tmp_path))


def test_trees_that_lead_out_of_their_arrays_are_refused() -> None:
    tree = SimpleNamespace(
        node_count=3, n_features=2, feature=np.array([1, -2, -2]), children_left=np.array([1, -1, -1]),
        children_right=np.array([2, -1, -1]),
    )  # fmt: skip
    assert _sound(tree) is tree
    for name, values in (("children_right", [3, -1, -1]), ("children_left", [0, -1, -1]), ("feature", [2, -2, -2])):
        damaged = SimpleNamespace(**vars(tree) | {name: np.array(values)})
        with pytest.raises(TrainedError, match="the file is damaged"):
            _sound(damaged)


def test_trees_over_other_columns_than_a_row_has_are_refused() -> None:
    from sklearn.tree import DecisionTreeClassifier

    z = np.random.RandomState(0).normal(size=(50, 3))
    mean = _mean_of([DecisionTreeClassifier(random_state=0).fit(z, z[:, 2] > 0)])
    assert mean(z).shape == (50,)
    with pytest.raises(TrainedError, match="expected trees over 2 columns, found 3"):
        mean(z[:, :2])


def test_a_model_that_does_not_fit_the_features_is_refused_with_what_differs(folder: Path) -> None:
    model = declared(folder / "forest", "forest")
    assert trained.fault(model, CARD_ONLY) is None
    assert trained.fault(model, with_labels(CARD_ONLY)) is None  # more features than it asks for
    fewer = replace(CARD_ONLY, features=CARD_ONLY.features[:2])
    assert trained.fault(model, fewer) == (
        "expected features card.amount_to_mean.24h, card.seconds_since_last, which it was trained on, found none such "
        "among amount, card.count.1h; add them to features.use"
    )
    other_key = replace(CARD_ONLY, entities=(replace(CARD_ONLY.entities[0], key="device", scope="global"),))
    assert "entities.card was card by partition and is device by global" in str(trained.fault(model, other_key))
    later = replace(CARD_ONLY, allowed_lateness_ms=2 * HOUR)
    assert "allowed_lateness was 3600000 ms and is 7200000 ms" in str(trained.fault(model, later))


TOML = """
[input.fields]
transaction_id = "id"
event_time = "at"
amount = "amount"
card_id = "card"

[features]
use = ["amount", "card.count.1h", "card.amount_to_mean.24h", "card.seconds_since_last"]

[models.half_space_trees]
enabled = {enabled}

[[models.trained]]
path = "{path}"
weight = 0.5
"""


def settings_with(folder: Path, path: object, enabled: str = "true") -> Settings:
    file = folder / "detector.toml"
    file.write_text(TOML.format(path=path, enabled=enabled))
    return load(file, {})


def test_the_settings_declare_it(folder: Path, tmp_path: Path) -> None:
    declared(folder / "xgboost", "xgboost")
    settings = settings_with(tmp_path, folder / "xgboost")
    spec = settings.spec()
    assert spec.heads is not None
    assert (spec.heads.frauds_until_half, spec.heads.trained[0].features) == (10.0, FEATURES)
    declared(folder / "forest", "forest")
    member = settings_with(tmp_path, folder / "forest").spec().members[-1]
    assert isinstance(member, Trained)
    assert (member.kind, member.weight, member.features) == ("trained_forest", 0.5, FEATURES)
    shown = tmp_path / "shown.toml"
    shown.write_text(show(settings))
    assert load(shown, {}).spec() == spec


def test_its_faults_have_a_place_and_end_in_78(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_with(tmp_path, tmp_path / "none")
    assert caught.value.faults[0].startswith(f"models.trained.0: {tmp_path / 'none' / CARD}: expected a folder made by")
    declared(folder / "forest", "forest")
    file = tmp_path / "detector.toml"
    file.write_text(TOML.format(path=folder / "forest", enabled="true").replace('"card.count.1h", ', ""))
    told = CliRunner().invoke(cli, ["validate", "--config", str(file)])
    assert told.exit_code == 78
    assert (
        "models.trained.0: expected features card.count.1h, which it was trained on, found none such among"
        in told.output
    )


def test_a_head_alone_is_no_detector(folder: Path, tmp_path: Path) -> None:
    declared(folder / "xgboost", "xgboost")
    file = tmp_path / "detector.toml"
    others = "".join(f"[models.{name}]\nenabled = false\n" for name in OTHERS)
    file.write_text(TOML.format(path=folder / "xgboost", enabled="false") + others)
    with pytest.raises(ConfigError, match="at least one model that needs no labels, found supervised ones alone"):
        load(file, {})
    declared(folder / "forest", "forest")
    file.write_text(TOML.format(path=folder / "forest", enabled="false") + others)
    spec = load(file, {}).spec()
    assert [member.kind for member in spec.members] == ["trained_forest"]
    decided = step(spec, new_state(spec), stream(spec, seeded_codes(3, 200, True)))
    assert len(set(decided.risk[100:].tolist())) > 20


def test_mlflow_gives_a_model_by_its_run_or_its_name(folder: Path, tmp_path: Path, mlflow_uri: str) -> None:
    model = declared(folder / "xgboost", "xgboost")
    with tracker.quiet():
        client, chosen = tracker.client(mlflow_uri)
        assert chosen == mlflow_uri
        run_id = client.create_run(client.create_experiment("trained", str(tmp_path / "files"))).info.run_id
        client.log_artifacts(run_id, str(folder / "xgboost"), "model")
        client.log_artifact(run_id, str(folder / "xgboost" / "model.ubj"), "other")
        client.create_registered_model("fraud")
        client.create_model_version("fraud", f"runs:/{run_id}/model", run_id)
        client.set_registered_model_alias("fraud", "live", "1")
    for uri in (f"runs:/{run_id}/model", "models:/fraud/1", "models:/fraud/latest", "models:/fraud@live"):
        assert trained.declare(uri, tracking_uri=mlflow_uri) == model
    with pytest.raises(TrainedError, match="models:/fraud/2: expected a model that MLflow can give, found: "):
        trained.declare("models:/fraud/2", tracking_uri=mlflow_uri)
    with pytest.raises(TrainedError, match=r"expected a model of `detector lab train`, found no model\.json there"):
        trained.declare(f"runs:/{run_id}/other", tracking_uri=mlflow_uri)


def test_heads_of_their_own_declare_their_weight(folder: Path) -> None:
    one, two = (declared(folder / name, name, weight=2.0) for name in ("xgboost", "random forest"))
    spec = replace(CARD_ONLY, members=(SMALL,), heads=Heads((one, two), 10.0))
    decided = step(spec, new_state(spec), stream(spec, seeded_codes(3, 90, True)))
    assert decided.score.shape == (3, 90)
    assert len(lines(decided)) == 90
