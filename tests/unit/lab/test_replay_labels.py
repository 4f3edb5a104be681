"""`detector replay` with late labels: when each is learned, from where it comes, and what is told of it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from detector.cli import cli
from detector.codec.hashing import hash_columns
from detector.core.labels import LabelBatch
from detector.lab import replay
from detector.lab.errors import InputStopped, WrongUsage
from detector.lab.labels import FileLabels, Schedule
from detector.settings import load
from schemas.mapping import Mapping
from tests.unit.lab.test_replay import CONFIG, DAY_MS, START_MS, run

ROWS = 1_500


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "detector.toml"
    path.write_text(CONFIG)
    return path


def transaction(number: int) -> dict[str, Any]:
    """Two days of 750 rows. Frauds have amounts like any other and an n that is not far off: labels can tell best."""
    random = np.random.default_rng(number)
    fraud = number % 10 == 7 and number > 100
    amount = float(np.round(np.exp(random.normal(3.0, 0.4)), 2))
    row = {"id": f"t{number}", "at": START_MS + number * DAY_MS // 750, "card": f"c{number % 13}", "amount": amount,
           "n": 5.0 if fraud else float(number % 5)}  # fmt: skip
    return row | ({"fraud": int(fraud)} if number % 100 != 99 else {})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(transaction(number)) for number in range(ROWS)))
    return path


def label_file(
    path: Path, kind: str, delay_ms: int | None, names: tuple[str, str] = ("transaction_id", "is_fraud")
) -> Path:
    """The truth of `transaction`, with its arrival where a delay is given, in file order turned round."""
    rows = [transaction(number) for number in reversed(range(ROWS)) if number % 100 != 99]
    told = [{names[0]: row["id"], names[1]: row["fraud"]} for row in rows]
    if delay_ms is not None:
        told = [one | {"event_time": row["at"] + delay_ms} for one, row in zip(told, rows, strict=True)]
    path = path.with_suffix("." + kind)
    if kind == "jsonl":
        path.write_text("\n".join(json.dumps(one) for one in told))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(told[0]))
            writer.writeheader()
            writer.writerows(told)
    return path


def test_labels_are_learned_late_wherever_they_come_from(config: Path, source: Path, tmp_path: Path) -> None:
    plain = run(config, source, tmp_path / "plain.parquet")
    hours = {"label_delay_ms": 6 * 3_600_000}
    column = run(config, source, tmp_path / "a.parquet", labels_column="fraud", **hours)
    assert column != plain
    jsonl = label_file(tmp_path / "labels", "jsonl", hours["label_delay_ms"])
    assert run(config, source, tmp_path / "b.parquet", labels_file=jsonl) == column
    table = label_file(tmp_path / "labels", "csv", None, ("id", "truth"))
    assert run(config, source, tmp_path / "c.parquet", labels_file=table, labels_column="truth", **hours) == column
    first = next(row for row in range(ROWS) if column[row]["risk_score"] != plain[row]["risk_score"])
    assert column[first]["event_time"] >= START_MS + hours["label_delay_ms"]
    late = [row for row in range(ROWS // 2, ROWS)]
    fraud = [row for row in late if transaction(row).get("fraud")]
    assert np.median([column[row]["risk_score"] for row in fraud]) > 850
    assert np.mean([plain[row]["risk_score"] for row in fraud]) < np.mean([column[row]["risk_score"] for row in fraud])


def test_decisions_with_labels_do_not_depend_on_the_cut(
    config: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"labels_column": "fraud", "label_delay_ms": 3_600_000, "label_interval_ms": 600_000}
    whole = {count: run(config, source, tmp_path / "whole.parquet", count, **options) for count in (1, 3)}
    monkeypatch.setattr(replay, "BATCH_ROWS", 37)
    for count, rows in whole.items():
        assert run(config, source, tmp_path / "cut.parquet", count, **options) == rows


def test_without_a_label_in_time_nothing_changes(config: Path, source: Path, tmp_path: Path) -> None:
    plain = run(config, source, tmp_path / "plain.parquet")
    assert run(config, source, tmp_path / "late.parquet", labels_column="fraud", label_delay_ms=30 * DAY_MS) == plain


def test_rows_without_an_id_are_labelled_by_their_place(config: Path, tmp_path: Path) -> None:
    rows = [{name: value for name, value in transaction(number).items() if name != "id"} for number in range(300)]
    source = tmp_path / "nameless.jsonl"
    source.write_text("\n".join(json.dumps(row) for row in rows))
    labels = tmp_path / "labels.jsonl"
    labels.write_text("\n".join(json.dumps({"transaction_id": f"pay-0-{n}", "is_fraud": True}) for n in range(100)))
    arguments = ["replay", "--config", str(config), "--input", str(source), "--output", str(tmp_path / "out.csv")]
    result = CliRunner().invoke(cli, [*arguments, "--labels", str(labels), "--label-delay", "1h"])
    assert result.exit_code == 0, result.output
    assert "labels: 100 learned" in " ".join(result.output.split())


def test_the_command_tells_what_became_of_the_labels(config: Path, source: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.jsonl"
    told = [("t1", 1, 1), ("t1", 1, 2), ("t1", 0, 3), ("t2", 0, 90), ("nobody", 1, 1)]
    lines = [{"transaction_id": n, "is_fraud": f, "event_time": START_MS + h * 3_600_000} for n, f, h in told]
    lines.append({"transaction_id": "t3", "is_fraud": "perhaps", "event_time": START_MS})
    labels.write_text("\n".join(json.dumps(line) for line in lines))
    arguments = ["replay", "--config", str(config), "--input", str(source), "--output", str(tmp_path / "out.csv")]
    result = CliRunner().invoke(cli, [*arguments, "--labels", str(labels)])
    assert result.exit_code == 0, result.output
    words = " ".join(result.output.split())
    assert "labels: 1 learned, 1 told before, 1 told otherwise before, 1 not yet arrived at the last row" in words
    assert "1 of 5 labels name no row that was decided" in words
    assert "1 rows of the labels left out" in words
    refused = CliRunner().invoke(cli, [*arguments, "--labels-column", "fraud", "--label-delay", "soon"])
    assert refused.exit_code == 2


def test_faults_of_label_files(config: Path, source: Path, tmp_path: Path) -> None:
    timeless = label_file(tmp_path / "labels", "csv", None)
    with pytest.raises(WrongUsage, match="--label-delay"):
        run(config, source, tmp_path / "out.parquet", labels_file=timeless)
    with pytest.raises(WrongUsage, match="--labels"):
        run(config, source, tmp_path / "out.parquet", label_delay_ms=1)
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(InputStopped, match="expected labels with transaction_id"):
        run(config, source, tmp_path / "out.parquet", labels_file=other)
    other.write_text("transaction_id,is_fraud\n1,ja\n")
    with pytest.raises(InputStopped, match="1, 0, yes, no"):
        run(config, source, tmp_path / "out.parquet", labels_file=other)
    for time in ("yesterday", str(START_MS // 1000)):
        other.write_text(f"transaction_id,is_fraud,event_time\n1,1,{time}\n")
        with pytest.raises(InputStopped, match=f"epoch milliseconds.* found '{time}'"):
            run(config, source, tmp_path / "out.parquet", labels_file=other)


def test_a_label_may_be_a_word(config: Path, source: Path, tmp_path: Path) -> None:
    numbers = label_file(tmp_path / "labels", "csv", 3_600_000)
    words = tmp_path / "words.csv"
    words.write_text(numbers.read_text().replace(",1,", ",Fraud,").replace(",0,", ",no,"))
    settings = load(config, {})
    held = [FileLabels(path, settings.mapping, None, None) for path in (numbers, words)]
    identity = hash_columns([["t107", "t108"]])[0]
    assert [one.of([], identity, np.zeros(2, np.int64)).is_fraud.tolist() for one in held] == [[True, False]] * 2


def test_a_label_may_write_its_time_as_the_transactions_do(tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("transaction_id,is_fraud,event_time\n1,1,2025-01-01 00:00:05\n2,0,2025-01-01T01:00:06+01:00\n")
    held = FileLabels(labels, Mapping(time_format="%Y-%m-%d %H:%M:%S"), None, None)
    told = held.of([], hash_columns([["1", "2"]])[0], np.zeros(2, np.int64))
    assert told.event_time_ms.tolist() == [1_735_689_605_000, 1_735_689_606_000]


def test_what_a_live_run_would_do_otherwise_is_said(
    config: Path, source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(config, source, tmp_path / "a.parquet", labels_column="fraud", label_delay_ms=1)
    assert "a live run would learn none" in capfd.readouterr().err
    settings = load(config, {"DETECTOR_LABELS__ENABLED": "true"})
    replay.run(settings, source, tmp_path / "b.parquet", labels_column="fraud")
    assert "labels.enabled is set, but none were learned" in capfd.readouterr().err
    replay.run(settings, source, tmp_path / "c.parquet", labels_column="fraud", label_delay_ms=1)
    assert "labels.enabled" not in capfd.readouterr().err
    assert not (tmp_path / "out.parquet").exists()


def test_a_schedule_holds_labels_back_until_their_interval_ends() -> None:
    schedule = Schedule(100)
    schedule.put(LabelBatch(np.array([5, 6], np.uint64), np.array([True, False]), np.array([250, 200])))
    found = list(schedule.segments(np.array([10, 199, 200, 120, 299, 301])))
    assert [(start, stop) for start, stop, _ in found] == [(0, 1), (1, 2), (2, 5), (5, 6)]
    assert [None if due is None else due.identity.tolist() for _, _, due in found] == [None, None, [6], [5]]
    assert schedule.waiting == 0
