"""Every model by name: it tells frauds from genuine rows, bears columns that tell nothing, and repeats itself."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from detector.cli.lab import MODEL_NAMES
from detector.lab import catalog
from detector.lab.catalog import MODELS, Model
from detector.lab.errors import NotConfigured, WrongUsage
from detector.lab.matrix import Matrix
from detector.lab.quality import roc_auc
from tests.unit.lab.tables import matrix_of, rows, written

ROC_AUC_MIN = {"dbscan": 0.75, "lof": 0.7, "kmeans": 0.75, "lstm": 0.6}  # of the others .8


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    return matrix_of(written(tmp_path_factory.mktemp("catalog") / "payments.csv", rows()), "is_fraud")


def halves(matrix: Matrix) -> tuple[np.ndarray, np.ndarray]:
    return tuple(train_test_split(np.arange(len(matrix)), stratify=matrix.label, random_state=0))


def scores(model: Model, matrix: Matrix, seed: int = 0) -> np.ndarray:
    train, test = halves(matrix)
    learned = model.learned_rows(train, seed)
    built = model.build(seed, categories=len(matrix.category_names))
    built.fit(model.rows_of(matrix, learned), matrix.label[learned] if model.supervised else None)
    return built.score(model.rows_of(matrix, test))


@pytest.mark.parametrize("name", MODELS)
def test_models_tell_frauds_and_repeat_themselves(name: str, matrix: Matrix) -> None:
    model = MODELS[name]
    first = scores(model, matrix)
    assert first.shape == halves(matrix)[1].shape
    assert np.isfinite(first).all()
    assert roc_auc(matrix.label[halves(matrix)[1]] == 1, first) > ROC_AUC_MIN.get(name, 0.8)
    np.testing.assert_array_equal(first, scores(model, matrix))
    if model.seeded:
        assert not np.array_equal(first, scores(model, matrix, seed=1))


@pytest.mark.parametrize("name", [name for name in MODELS if name != "lstm"])
def test_columns_that_tell_nothing_and_very_few_rows(name: str) -> None:
    random = np.random.default_rng(0)
    given = np.column_stack([random.normal(size=12), np.full(12, np.nan), np.full(12, 3.0), [0, 1, np.nan, 1] * 3])
    model = MODELS[name]
    built = model.build(0, categories=1)
    built.fit(given, (np.arange(12) % 6 == 0).astype(np.int8) if model.supervised else None)
    asked = np.vstack([given, [9e9, 1.0, 4.0, 7.0]])  # a category and values that nobody learned
    assert np.isfinite(built.score(asked)).all()


def test_what_is_learned_of_columns_comes_from_the_learned_rows_alone(matrix: Matrix) -> None:
    train, _ = halves(matrix)
    built = MODELS["logistic_regression"].build(0, categories=len(matrix.category_names))
    built.fit(matrix.inputs(train), matrix.label[train])
    numbers = built.pipeline.named_steps["columns"].named_transformers_["numbers"]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(numbers["impute"].statistics_, np.nanmedian(matrix.values[train], axis=0))


def test_oversampling_reaches_no_row_that_is_asked_about(matrix: Matrix) -> None:
    train, test = halves(matrix)
    built = MODELS["random_forest"].build(0, frauds_share=0.5)
    built.fit(matrix.values[train], matrix.label[train])
    forest = built.pipeline.named_steps["model"]  # type: ignore[attr-defined]
    genuine = int((matrix.label[train] == 0).sum())
    assert forest._n_samples == genuine + int(0.5 * genuine)  # type: ignore[attr-defined]
    served = built.served()  # type: ignore[attr-defined]
    assert [name for name, _ in served.steps] == ["impute", "scale", "clip", "model"]
    np.testing.assert_array_equal(served.predict_proba(matrix.values[test])[:, 1], built.score(matrix.values[test]))


@pytest.mark.parametrize("frauds", [1, 2, 300])
def test_oversampling_of_any_number_of_frauds(frauds: int) -> None:
    given = np.random.default_rng(0).normal(size=(600, 3))
    y = (np.arange(600) < frauds).astype(np.int8)
    score = MODELS["random_forest"].build(0).fit(given, y).score(given)
    assert score[:frauds].mean() > score[frauds:].mean()


def test_slow_models_learn_a_sample_drawn_by_the_seed() -> None:
    train = np.arange(5, 50_005)
    learned = MODELS["knn"].learned_rows(train, 0)
    assert len(learned) == catalog.SAMPLE_ROWS
    assert np.isin(learned, train).all()
    np.testing.assert_array_equal(learned, MODELS["knn"].learned_rows(train, 0))
    assert not np.array_equal(learned, MODELS["knn"].learned_rows(train, 1))
    assert MODELS["xgboost"].learned_rows(train, 0) is train


def test_an_unknown_name_and_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WrongUsage, match="expected one of z_score, mean_k_sd"):
        catalog.model("deep_thought")
    monkeypatch.setattr(catalog, "find_spec", lambda name: None if name == "jax" else importlib.util.find_spec(name))
    with pytest.raises(NotConfigured, match=r"needs jax: pip install 'streaming-fraud-detector\[sequence\]'"):
        MODELS["lstm"].build(0)


def test_every_space_gives_parameters_that_build() -> None:
    import optuna

    for model in MODELS.values():
        parameters = model.space(optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1)).ask())
        assert model.build(0, **parameters)


def test_help_names_every_model() -> None:
    assert MODEL_NAMES.split(", ") == list(MODELS)
