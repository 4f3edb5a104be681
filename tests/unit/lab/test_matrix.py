"""The lab's matrix: the live features, row for row, and what is told of columns that tell nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector.codec.decode import Decoder
from detector.core.labels import LabelBatch, learn_labels
from detector.core.operator import step
from detector.core.state import new_state
from detector.lab.arrivals import ROW_EVERY_MS, Arrivals
from detector.lab.errors import InputStopped, NotConfigured
from detector.lab.labels import Schedule
from detector.lab.matrix import build, with_labels
from detector.lab.replay import LABEL_INTERVAL_MS
from detector.lab.roles import Roles, settings_for
from detector.lab.tables import open_table
from tests.unit.lab.tables import DAY_MS, matrix_of, rows, written


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return written(tmp_path / "payments.csv", rows())


@pytest.mark.parametrize("delay_ms", [None, DAY_MS])
def test_law_the_lab_sees_what_the_service_sees(source: Path, delay_ms: int | None) -> None:
    table = open_table(source)
    settings, roles, _ = settings_for(table, None, None)
    assert roles.label == "is_fraud"
    settings = settings if delay_ms is None else with_labels(settings)
    spec = settings.spec(1)  # with all its models
    payloads = [one for some in table.payloads(500) for one in some]
    decoded = Decoder(settings.mapping, spec, "t").decode(
        payloads, np.arange(len(payloads)), np.full(len(payloads), -1)
    )
    batch, state = decoded.batch, new_state(spec)
    fraud = np.array([one["is_fraud"] == 1 for one in rows()])
    features = []
    schedule = Schedule(LABEL_INTERVAL_MS)
    for start, stop, due in schedule.segments(batch.event_time_ms):
        if due is not None:
            learn_labels(spec, state, due)
        features.append(step(spec, state, batch.rows(start, stop)).features)
        if delay_ms is not None:
            part = slice(start, stop)
            schedule.put(LabelBatch(batch.identity[part], fraud[part], batch.event_time_ms[part] + delay_ms))
    matrix = build(table, settings, roles, label_delay_ms=delay_ms)
    assert matrix.names == [feature.name for feature in spec.features]
    np.testing.assert_array_equal(matrix.values, np.concatenate(features))
    np.testing.assert_array_equal(matrix.label, fraud)
    if delay_ms is not None:
        assert matrix.values[:, matrix.names.index("card.fraud_count.7d")].max() > 0


def test_columns_beside_the_features(source: Path) -> None:
    matrix = matrix_of(source)
    given = rows()
    assert matrix.ids == [one["transaction_id"] for one in given]
    np.testing.assert_allclose(matrix.amount, [one["amount"] for one in given])
    way = matrix.category_names.index("way")
    assert matrix.categories[:, way].tolist() == [one["way"] for one in given]
    assert matrix.inputs().shape == (len(given), len(matrix.names) + len(matrix.category_names))
    assert len(np.unique(matrix.card)) == 15


def test_windows_are_a_cards_rows_oldest_first(source: Path) -> None:
    matrix = matrix_of(source)
    asked = np.array([0, 40, 1_199])
    windows = matrix.windows(asked, 3)
    for row, window in zip(asked.tolist(), windows.tolist(), strict=True):
        own = [one for one in range(row + 1) if matrix.card[one] == matrix.card[row]][-3:]
        assert window == [-1] * (3 - len(own)) + own


def test_rows_in_no_order_are_put_in_order(tmp_path: Path) -> None:
    given = rows()
    shuffled = [given[index] for index in np.random.default_rng(1).permutation(1_200)]
    straight = open_table(written(tmp_path / "payments.csv", rows()))
    (config := tmp_path / "detector.toml").write_text(settings_for(straight, None, None)[1].toml())
    straight = matrix_of(tmp_path / "payments.csv", config=config)
    matrix = matrix_of(written(tmp_path / "shuffled.csv", shuffled), config=config)
    assert (np.diff(matrix.event_time_ms) >= 0).all()
    assert matrix.ids == straight.ids
    np.testing.assert_array_equal(matrix.values, straight.values)
    assert any("put in order" in choice for choice in matrix.choices)
    assert [shuffled[row]["transaction_id"] for row in matrix.row.tolist()] == matrix.ids


def test_rows_without_a_time_come_one_after_the_other(tmp_path: Path) -> None:
    timeless = [{name: value for name, value in one.items() if name != "time"} for one in rows(50)]
    table = open_table(written(tmp_path / "timeless.csv", timeless))
    settings, roles, _ = settings_for(table, None, None)
    arrivals = Arrivals(table, settings, 20)
    assert [len(batch.payloads) for batch in arrivals.batches(8)] == [8, 8, 4]
    matrix = build(table, settings, roles, rows=20)
    assert np.diff(matrix.event_time_ms).tolist() == [ROW_EVERY_MS] * 19
    assert any("no event time" in choice for choice in matrix.choices)


def test_what_tells_nothing_is_told(tmp_path: Path) -> None:
    odd = [one | {"speed": "", "noise": 7} for one in rows(300)]
    config = tmp_path / "detector.toml"
    config.write_text(
        '[input]\ntime_format = "rfc3339"\nnumeric = ["speed", "noise"]\n'
        '[input.fields]\nevent_time = "time"\namount = "amount"\n'
    )
    table = open_table(written(tmp_path / "odd.csv", odd))
    settings, roles, _ = settings_for(table, config, "is_fraud")
    told = " ".join(build(table, settings, roles).choices)
    assert "without any value, which tell nothing: numeric.speed" in told
    assert "one value only, which tell nothing: numeric.noise" in told


def test_a_label_that_is_not_there_or_is_an_input(source: Path) -> None:
    table = open_table(source)
    settings, _, _ = settings_for(table, None, None)
    with pytest.raises(InputStopped, match="expected a label column 'truth', found transaction_id, time"):
        build(table, settings, Roles(label="truth"))
    with pytest.raises(NotConfigured, match="reads speed, which is the label"):
        build(table, settings, Roles(label="speed"))


def test_a_file_of_no_transactions_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "detector.toml"
    config.write_text('[input]\ntime_format = "epoch_ms"\n[input.fields]\nevent_time = "way"\n')
    table = open_table(written(tmp_path / "payments.csv", rows(20)))
    settings, roles, _ = settings_for(table, config, None)
    with pytest.raises(InputStopped, match=r"found none; the last one: .*way"):
        build(table, settings, roles)
