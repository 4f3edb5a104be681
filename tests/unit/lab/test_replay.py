"""`detector replay`: row i of the output is row i of the input, however the file is cut and whatever is in it."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from sklearn.metrics import average_precision_score, roc_auc_score

from detector.cli import cli
from detector.lab import output as lab_output
from detector.lab import replay
from detector.lab.errors import InputStopped, NotConfigured, WrongUsage
from detector.lab.fold import Fold
from detector.settings import load

DAY_MS = 86_400_000
START_MS = 1_735_689_600_000
CARD = "4111111111111111"
CONFIG = """
[topics]
transactions = "pay"
[input.fields]
transaction_id = "id"
event_time = "at"
card_id = "card"
amount = "amount"
currency = "money"
[input.numeric]
n = "n"
[decision]
alerts_per_day = 20
review_risk_min = 900.0
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "detector.toml"
    path.write_text(CONFIG)
    return path


def transaction(number: int, **changes: Any) -> dict[str, Any]:
    """A row of a stream of two days of 750 rows each; each 200th is far off."""
    random = np.random.default_rng(number)
    odd = number % 200 == 150
    amount = float(np.round(np.exp(random.normal(3.0, 0.4)) * (30 if odd else 1), 2))
    row = {"id": f"t{number}", "at": START_MS + number * DAY_MS // 750, "card": f"c{number % 13}", "amount": amount,
           "money": "EUR", "n": float(random.normal()), "fraud": int(odd)}  # fmt: skip
    return row | changes


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """1,500 rows: among them not JSON, a wrong type, a late one, one without id, one with a card number for an id."""
    rows: list[Any] = [transaction(number) for number in range(1_500)]
    rows[700] = b"not json"
    rows[701]["amount"] = "much"
    rows[702]["at"] -= DAY_MS // 2
    del rows[703]["id"]
    rows[704]["id"] = CARD
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows))
    return path


def table(path: Path) -> list[dict[str, Any]]:
    found = pq.read_table(path)
    at = found.schema.get_field_index("event_time")
    rows: list[dict[str, Any]] = found.set_column(at, "event_time", found["event_time"].cast(pa.int64())).to_pylist()
    return rows


def run(config: Path, source: Path, output: Path, partitions: int = 1, **options: Any) -> list[dict[str, Any]]:
    assert replay.run(load(config, {}), source, output, partitions, **options) == 0
    return table(output)


def test_a_row_for_each_row_in_order(config: Path, source: Path, tmp_path: Path) -> None:
    rows = run(config, source, tmp_path / "out.parquet")
    assert len(rows) == 1_500
    assert [row["offset"] for row in rows] == list(range(1_500))
    plain = [row for row in range(1_500) if not 700 <= row <= 704]
    assert [rows[row]["transaction_id"] for row in plain] == [f"t{row}" for row in plain]
    assert [rows[row]["event_time"] for row in plain] == [transaction(row)["at"] for row in plain]
    assert rows[703]["transaction_id"] == "pay-0-703"
    assert rows[704]["transaction_id"] == "************1111"
    assert [row for row in range(1_500) if rows[row]["late"]] == [702]

    alerts = [row for row in rows if row["verdict"] == "alert"]
    assert 20 <= len(alerts) <= 40
    assert all(row["reasons"] for row in alerts)
    assert not any(row["reasons"] for row in rows if row["verdict"] in ("pass", "review"))
    assert {row["verdict"] for row in rows} == {"pass", "review", "alert", "rejected"}
    assert all(0 <= row["risk_score"] <= 1000 for row in rows if row["verdict"] != "rejected")
    assert all(0 <= row["score_half_space_trees"] <= 1 for row in rows if row["verdict"] != "rejected")


def test_rejected_rows_keep_their_place_and_say_why(config: Path, source: Path, tmp_path: Path) -> None:
    rows = run(config, source, tmp_path / "out.parquet")
    assert [number for number, row in enumerate(rows) if row["reject_reason"]] == [700, 701]
    for number, reason in ((700, "not_json"), (701, "wrong_type")):
        row = rows[number]
        assert row["transaction_id"] == f"pay-0-{number}"
        assert (row["verdict"], row["reject_reason"]) == ("rejected", reason)
        assert [row[name] for name in ("event_time", "risk_score", "late", "score_half_space_trees")] == [None] * 4
    assert rows[701]["reasons"][0].startswith("amount: expected ")
    assert "much" not in str(rows[701]["reasons"])


@pytest.mark.parametrize("partitions", [1, 3])
def test_decisions_do_not_depend_on_the_cut(
    config: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, partitions: int
) -> None:
    whole = run(config, source, tmp_path / "whole.parquet", partitions)
    monkeypatch.setattr(replay, "BATCH_ROWS", 37)
    monkeypatch.setattr(lab_output, "GROUP_ROWS", 100)
    assert run(config, source, tmp_path / "cut.parquet", partitions) == whole
    assert pq.ParquetFile(tmp_path / "cut.parquet").num_row_groups > 10


def test_partitions_are_tasks_of_their_own(config: Path, source: Path, tmp_path: Path) -> None:
    rows = run(config, source, tmp_path / "out.parquet", 3)
    assert {row["partition"] for row in rows} == {0, 1, 2}
    lines = source.read_bytes().split(b"\n")
    settings = load(config, {})
    for partition in range(3):
        mine = [number for number, row in enumerate(rows) if row["partition"] == partition]
        assert [rows[number]["offset"] for number in mine] == list(range(len(mine)))
        alone = _alone(Fold(settings, "pay", 3), partition, [lines[number] for number in mine])
        risk = [rows[number]["risk_score"] for number in mine]
        assert [None if np.isnan(one) else one for one in alone.risk.tolist()] == risk
        assert {mine[row]: texts for row, texts in alone.reasons.items()} == {
            number: rows[number]["reasons"] for number in mine if rows[number]["verdict"] == "alert"
        }


def _alone(fold: Fold, partition: int, payloads: list[bytes]) -> Any:
    """These payloads as the only ones, all in `partition`."""

    class One:
        unkeyed = 0

        def place(self, payloads: list[bytes]) -> tuple[Any, Any]:
            return np.full(len(payloads), partition), np.arange(len(payloads))

    fold.placed = One()  # type: ignore[assignment]
    return fold.decide(payloads)


def test_limit_and_topic(config: Path, source: Path, tmp_path: Path) -> None:
    rows = run(config, source, tmp_path / "out.parquet", limit=704, topic="other")
    assert len(rows) == 704
    assert rows[703]["transaction_id"] == "other-0-703"
    assert rows == run(config, source, tmp_path / "all.parquet", topic="other")[:704]


def test_all_formats_say_the_same(config: Path, source: Path, tmp_path: Path) -> None:
    rows = run(config, source, tmp_path / "out.parquet")
    settings = load(config, {})
    replay.run(settings, source, tmp_path / "out.jsonl")
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()] == rows
    replay.run(settings, source, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == list(rows[0])
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        shown = "" if row["risk_score"] is None else str(row["risk_score"])
        assert (line["risk_score"], line["verdict"]) == (shown, row["verdict"])
        assert line["reasons"] == " | ".join(row["reasons"])
        assert line["late"] == ("" if row["late"] is None else str(row["late"]).lower())
    assert lines[1]["event_time"] == "2025-01-01T00:01:55.200Z"
    assert lines[700]["event_time"] == ""


def test_quality_where_the_truth_is_known(config: Path, source: Path, tmp_path: Path, capfd: Any) -> None:
    rows = run(config, source, tmp_path / "out.parquet", labels_column="fraud")
    told = capfd.readouterr().err
    decided = [number for number, row in enumerate(rows) if row["verdict"] != "rejected"]
    fraud = [number % 200 == 150 for number in decided]
    for name in ("risk_score", "score_half_space_trees"):
        score = [rows[number][name] for number in decided]
        figures = f"{roc_auc_score(fraud, score):.4f}, average precision {average_precision_score(fraud, score):.4f}"
        assert f"{name.removeprefix('score_')}: ROC AUC {figures}" in told
    alerts = [number % 200 == 150 for number in decided if rows[number]["verdict"] == "alert"]
    assert "quality by fraud: 7 frauds among 1,498 rows (0.467%)" in told
    assert f"of {len(alerts)} alerts {sum(alerts) / len(alerts):.2%} are fraud (precision)" in told
    assert f"of the frauds {sum(alerts) / 7:.2%} are alerts (recall)" in told
    assert "2 rows left out" in told
    run(config, source, tmp_path / "out.parquet", labels_column="absent")
    assert "no quality to tell: no decided row has a label by absent" in capfd.readouterr().err


def test_summary(config: Path, source: Path, tmp_path: Path, capfd: Any) -> None:
    rows = run(config, source, tmp_path / "out.parquet", 3)
    told = capfd.readouterr().err
    counts = {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in ("alert", "review", "pass")}
    assert (
        f"1,500 rows: {counts['alert']} alert, {counts['review']} review, {counts['pass']:,} pass, 2 rejected" in told
    )
    assert "1 late" in told
    assert "over 2 day(s) that the stream was in, from 2025-01-01 to 2025-01-02" in told
    assert "rejected 1: wrong_type, first in row 701: amount: expected" in told
    assert "1 rows have no key" in told
    assert load(config, {}).spec(3).fingerprint() in told


@pytest.mark.parametrize(
    "spoil", ["rejects", "all rejects", "cut off", "broken", "ending", "itself", "folder", "no time"]
)
def test_a_replay_that_cannot_be_leaves_nothing(config: Path, source: Path, tmp_path: Path, spoil: str) -> None:
    output = tmp_path / "out.parquet"
    output.write_text("before")
    expected: type[Exception] = WrongUsage
    if spoil == "rejects":
        source.write_bytes(b"\n".join([*source.read_bytes().split(b"\n")[:100], *[b'{"at":"no"}'] * 2_000]))
        expected = InputStopped
    elif spoil == "all rejects":
        source.write_bytes(b'{"at":"no"}\n' * 10)
        expected = InputStopped
    elif spoil == "cut off":
        whole = gzip.compress(source.read_bytes())
        source = tmp_path / "rows.jsonl.gz"
        source.write_bytes(whole[: len(whole) // 2])
        expected = InputStopped
    elif spoil == "broken":
        source = tmp_path / "rows.parquet"
        source.write_bytes(b"PAR1 and no more")
        expected = InputStopped
    elif spoil == "ending":
        output = tmp_path / "out.xls"
    elif spoil == "itself":
        output = source
    elif spoil == "folder":
        output = tmp_path / "absent" / "out.parquet"
    elif spoil == "no time":
        config.write_text('[input.fields]\namount = "amount"\n')
        expected = NotConfigured
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(expected):
        replay.run(load(config, {}), source, output)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_interrupt_leaves_nothing(
    config: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "BATCH_ROWS", 100)
    decide: Callable[..., Any] = Fold.decide

    def interrupted(fold: Fold, payloads: list[bytes]) -> Any:
        if fold.placed.rows >= 500:
            raise KeyboardInterrupt
        return decide(fold, payloads)

    monkeypatch.setattr(Fold, "decide", interrupted)
    with pytest.raises(KeyboardInterrupt):
        replay.run(load(config, {}), source, tmp_path / "out.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["detector.toml", "rows.jsonl"]


def test_too_many_rejects_says_what_to_check(config: Path, source: Path, tmp_path: Path) -> None:
    source.write_bytes(b'{"at":"no"}\n' * 2_000)
    with pytest.raises(InputStopped, match=r"at most 50% of 1000 rows.* found 1000; the last one: wrong_type, at: "):
        replay.run(load(config, {}), source, tmp_path / "out.parquet")
    config.write_text(CONFIG.replace("[input.fields]", "[input]\nrejects_max_share = 1.0\n[input.fields]"))
    assert {row["verdict"] for row in run(config, source, tmp_path / "out.parquet")} == {"rejected"}


def test_a_file_without_one_transaction_stops_however_short(config: Path, source: Path, tmp_path: Path) -> None:
    source.write_bytes(b'{"at":"no"}\n' * 10)
    with pytest.raises(InputStopped, match=r"all 10 are rejects; the last one: wrong_type, at: .* input\.fields"):
        replay.run(load(config, {}), source, tmp_path / "out.parquet")
    source.write_bytes(b'{"at":"no"}\n' * 9 + json.dumps(transaction(0)).encode())
    verdicts = [row["verdict"] for row in run(config, source, tmp_path / "out.parquet")]
    assert [verdict == "rejected" for verdict in verdicts] == [True] * 9 + [False]


@pytest.mark.parametrize(("ending", "room"), [("jsonl", 2_000), ("csv", 100), ("parquet", 100), ("parquet", 20_000)])
def test_a_full_disk_is_told_and_leaves_nothing(
    config: Path, source: Path, tmp_path: Path, ending: str, room: int
) -> None:
    """As one, a limit on the size of files."""
    output = tmp_path / f"out.{ending}"
    limited = (
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}));"
        "from detector.cli import main; main()"
    )
    arguments = ["replay", "--config", str(config), "--input", str(source), "--output", str(output)]
    ended = subprocess.run([sys.executable, "-c", limited, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == WrongUsage.exit_code, ended.stderr
    assert f"--output {output}: expected a place where it can be written: File too large" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["detector.toml", "rows.jsonl"]


def test_an_empty_file_gives_an_empty_one(config: Path, tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_bytes(b"")
    assert run(config, source, tmp_path / "out.parquet") == []
    replay.run(load(config, {}), source, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().startswith("transaction_id,event_time,verdict,")


def test_the_command_and_its_exit_codes(config: Path, source: Path, tmp_path: Path) -> None:
    arguments = ["replay", "--config", str(config), "--input", str(source), "--output", str(tmp_path / "out.parquet")]
    result = CliRunner().invoke(cli, [*arguments, "--partitions", "2", "--limit", "100", "--labels-column", "fraud"])
    assert result.exit_code == 0, result.output
    rows = table(tmp_path / "out.parquet")
    assert len(rows) == 100
    assert {row["partition"] for row in rows} == {0, 1}
    assert [error.exit_code for error in (WrongUsage, InputStopped, NotConfigured)] == [2, 65, 78]
