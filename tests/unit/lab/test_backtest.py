"""`detector lab backtest`: the decisions of the replay, by day, beside another configuration's and beside the truth."""

from __future__ import annotations

import csv
import html
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from detector.cli import cli
from detector.codec.hashing import hash_text
from detector.core.batch import Verdict
from detector.lab import backtest
from detector.lab.backtest import Backtest, Days
from detector.lab.chunks import Chunk, FileSource, Past
from detector.lab.errors import InputStopped, NotConfigured, WrongUsage
from detector.lab.fold import DecidedRows, Fold
from detector.lab.labels import ColumnLabels, FileLabels, HeldLabels, Labels
from detector.settings import Settings, load
from schemas.files import text_columns
from tests.unit.lab.test_replay import CONFIG, DAY_MS, START_MS, transaction

ROWS, FIRST_DAY = 3_000, START_MS // DAY_MS


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """Four days of 750 rows."""
    found = [transaction(number) for number in range(ROWS)]
    found[1_400]["at"] -= DAY_MS  # late: decided on the day after its own
    found[1_600]["amount"] = "much"
    return found


@pytest.fixture
def source(rows: list[dict[str, Any]], tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def settings(tmp_path: Path, **changes: str) -> Settings:
    text = CONFIG
    for old, new in changes.items():
        text = text.replace(f"{old} = ", f"{old} = {new} #")
    path = tmp_path / "detector.toml"
    path.write_text(text)
    return load(path, {})


def run(
    tmp_path: Path, source: Path, *configured: Settings, days: Days | None = None, labels: Labels | None = None,
    partitions: int = 1,
) -> tuple[Backtest, list[dict[str, str]]]:  # fmt: skip
    """The backtest and the lines of its CSV."""
    named = list(zip(("new", "current"), configured, strict=False))
    path = tmp_path / "alerts.csv"
    read = FileSource(source, configured[0].mapping, partitions)
    done = backtest.run(named, read, days or Days(), path, labels=labels, shown_max=1_000)
    with path.open(newline="") as file:
        return done, list(csv.DictReader(file))


def decided(configured: Settings, source: Path, labels: Labels | None = None, partitions: int = 1) -> DecidedRows:
    fold = Fold(configured, configured.topics.transactions, partitions, labels, backtest.LABEL_INTERVAL_MS)
    return fold.decide(source.read_bytes().split(b"\n"))


def alerts_of(rows: DecidedRows) -> dict[str, tuple[float, str]]:
    found = np.flatnonzero(rows.verdict == Verdict.ALERT).tolist()
    return {rows.transaction_id[row]: (round(float(rows.risk[row]), 3), " | ".join(rows.reasons[row])) for row in found}


@pytest.mark.parametrize("partitions", [1, 3])
def test_alerts_are_those_of_the_replay(tmp_path: Path, source: Path, partitions: int) -> None:
    one = settings(tmp_path)
    done, lines = run(tmp_path, source, one, partitions=partitions)
    expected = decided(one, source, partitions=partitions)
    assert {line["transaction_id"]: (float(line["risk"]), line["reasons"]) for line in lines} == alerts_of(expected)
    assert {line["change"] for line in lines} == {"alert"}
    by_day = Counter(expected.day[expected.verdict == Verdict.ALERT].tolist())
    order, table = done.accounts[0].table()
    assert order == [FIRST_DAY + number for number in range(4)]
    assert table[:, backtest.COUNTED.index("alerts")].tolist() == [by_day[day] for day in order]
    figures = done.accounts[0].figures()
    assert figures["rows"] == ROWS - 1
    assert figures["rejected"] == 1
    assert figures["alerts"] == len(lines) >= 20
    assert (figures["alerts_per_day"], figures["whole_days"]) == (20, 2)
    assert figures["days_over_budget"] == 0


def test_a_late_row_counts_on_the_day_that_decided_it(tmp_path: Path, source: Path) -> None:
    order, table = run(tmp_path, source, settings(tmp_path))[0].accounts[0].table()
    assert table[:, 0].tolist() == [750, 750, 749, 750]
    assert len(order) == 4


def test_a_day_reported_is_whole_where_rows_lie_on_either_side_of_it(tmp_path: Path, source: Path) -> None:
    inner = Days(FIRST_DAY + 1, FIRST_DAY + 2)
    assert run(tmp_path, source, settings(tmp_path), days=inner)[0].accounts[0].figures()["whole_days"] == 2
    from_second = Days(FIRST_DAY + 1)
    assert run(tmp_path, source, settings(tmp_path), days=from_second)[0].accounts[0].figures()["whole_days"] == 2


def test_two_configurations_in_one_pass_decide_as_each_alone(tmp_path: Path, source: Path) -> None:
    new, current = settings(tmp_path, alerts_per_day="30"), settings(tmp_path)
    done, lines = run(tmp_path, source, new, current)
    ours, theirs = alerts_of(decided(new, source)), alerts_of(decided(current, source))
    by_change = {
        change: {line["transaction_id"]: line for line in lines if line["change"] == change}
        for change in ("gained", "lost", "kept")
    }
    assert by_change["gained"].keys() == ours.keys() - theirs.keys() != set()
    assert by_change["lost"].keys() == theirs.keys() - ours.keys()
    assert by_change["kept"].keys() == ours.keys() & theirs.keys() != set()
    for line in by_change["gained"].values():
        assert (float(line["risk_new"]), line["reasons_new"]) == ours[line["transaction_id"]]
        assert line["verdict_current"] != "alert"
        assert line["reasons_current"] == ""
    for line in by_change["kept"].values():
        assert (float(line["risk_current"]), line["reasons_current"]) == theirs[line["transaction_id"]]
    assert {kind: count["alerts"] for kind, count in done.changes.figures().items()} == {
        kind: len(found) for kind, found in by_change.items()
    }
    swapped = {line["transaction_id"]: line["change"] for line in run(tmp_path, source, current, new)[1]}
    mirrored = {"gained": "lost", "lost": "gained", "kept": "kept"}
    assert swapped == {line["transaction_id"]: mirrored[line["change"]] for line in lines}


def test_the_same_configuration_changes_nothing(tmp_path: Path, source: Path) -> None:
    done, lines = run(tmp_path, source, settings(tmp_path), settings(tmp_path))
    assert {line["change"] for line in lines} == {"kept"}
    assert done.accounts[0].figures() == done.accounts[1].figures()


def test_days_choose_what_is_told_and_not_what_is_decided(tmp_path: Path, source: Path) -> None:
    _, every = run(tmp_path, source, settings(tmp_path))
    days = Days(FIRST_DAY + 1, FIRST_DAY + 2)
    done, some = run(tmp_path, source, settings(tmp_path), days=days)
    assert some == [line for line in every if line["day"] in ("2025-01-02", "2025-01-03")] != []
    assert done.accounts[0].figures()["days"] == 2
    with pytest.raises(InputStopped, match="expected rows in the days asked for"):
        run(tmp_path, source, settings(tmp_path), days=Days(FIRST_DAY + 40, None))


def test_reading_ends_when_every_stream_has_left_the_days(tmp_path: Path, source: Path) -> None:
    class Short(FileSource):
        def chunks(self, past: Past) -> Iterator[Chunk]:
            for chunk in super().chunks(lambda _partition: False):
                for start in range(0, len(chunk), 100):
                    if past(0):
                        return
                    some = slice(start, start + 100)
                    yield Chunk(
                        chunk.payloads[some], chunk.partition[some], chunk.offset[some], chunk.record_time_ms[some]
                    )

    one = settings(tmp_path)
    days = Days(None, FIRST_DAY + 1)
    done = backtest.run([("new", one)], Short(source, one.mapping, 1), days, tmp_path / "a.csv")
    assert done.accounts[0].figures()["rows"] == 1_500
    assert 1_500 < done.rows <= 1_800, "what was read ahead, no more"


def test_figures_against_the_truth(tmp_path: Path, source: Path, rows: list[dict[str, Any]]) -> None:
    one = settings(tmp_path)
    figures = run(tmp_path, source, one, labels=ColumnLabels("fraud", 0))[0].accounts[0].figures()
    alerts = alerts_of(decided(one, source))
    known = [row for number, row in enumerate(rows) if number != 1_600]
    frauds = [row for row in known if row["fraud"]]
    caught = [row for row in frauds if row["id"] in alerts]
    false = [row for row in known if not row["fraud"] and row["id"] in alerts]
    assert (figures["frauds"], figures["caught"]) == (len(frauds), len(caught))
    assert figures["precision"] == round(len(caught) / len(alerts), 4)
    assert figures["recall"] == round(len(caught) / len(frauds), 4) > 0
    for name, part in (("fraud_amount", frauds), ("caught_amount", caught), ("false_amount", false)):
        assert figures[name] == pytest.approx(sum(row["amount"] for row in part), abs=0.01)
    assert figures["money_recall"] == pytest.approx(figures["caught_amount"] / figures["fraud_amount"], abs=1e-4)
    assert 0.9 < figures["roc_auc"] <= 1


def test_a_file_of_labels_says_the_same_as_a_column(tmp_path: Path, source: Path, rows: list[dict[str, Any]]) -> None:
    labels = tmp_path / "labels.jsonl"
    labels.write_text("\n".join(json.dumps({"id": row["id"], "is_fraud": row["fraud"]}) for row in rows))
    one = settings(tmp_path)
    by_file = run(tmp_path, source, one, labels=FileLabels(labels, one.mapping, None, 0))[0]
    by_column = run(tmp_path, source, one, labels=ColumnLabels("fraud", 0))[0]
    assert by_file.figures() == by_column.figures()


def test_where_labels_name_frauds_only_the_rest_is_genuine(
    tmp_path: Path, source: Path, rows: list[dict[str, Any]]
) -> None:
    identity = np.array([hash_text(row["id"]) for row in rows if row["fraud"]], np.uint64)
    held = HeldLabels(identity, np.ones(len(identity), np.bool_), np.zeros(len(identity), np.int64))
    by_frauds = run(tmp_path, source, settings(tmp_path), labels=held)[0]
    by_column = run(tmp_path, source, settings(tmp_path), labels=ColumnLabels("fraud", 0))[0]
    assert by_frauds.figures() == by_column.figures()


def test_the_last_label_of_a_row_is_its_truth(tmp_path: Path, source: Path) -> None:
    identity = np.array([hash_text("t7"), hash_text("t7"), hash_text("t8")], np.uint64)
    held = HeldLabels(identity, np.array([True, False, True]), np.zeros(3, np.int64))
    figures = run(tmp_path, source, settings(tmp_path), labels=held)[0].accounts[0].figures()
    assert (figures["labelled"], figures["frauds"]) == (2, 1)


def test_labels_are_learned_by_the_configuration_that_asks_for_them(tmp_path: Path, source: Path) -> None:
    without = settings(tmp_path)
    learning = without.model_copy(update={"labels": without.labels.model_copy(update={"enabled": True})})
    labels = ColumnLabels("fraud", 3_600_000)
    _, lines = run(tmp_path, source, learning, without, labels=labels)
    ours, theirs = alerts_of(decided(learning, source, labels)), alerts_of(decided(without, source))
    assert ours != theirs
    assert {line["transaction_id"] for line in lines if line["change"] != "lost"} == ours.keys()
    assert {line["transaction_id"] for line in lines if line["change"] != "gained"} == theirs.keys()


def test_null_values_are_passed_over(tmp_path: Path, source: Path) -> None:
    one = settings(tmp_path)
    payloads: list[bytes | None] = [*source.read_bytes().split(b"\n")]
    holes = [0, 500, 2_999]
    with_holes = [None if row in holes else payload for row, payload in enumerate(payloads)]
    kept = np.array([row for row in range(ROWS) if row not in holes])
    places = np.zeros(ROWS, np.int64), np.arange(ROWS), np.full(ROWS, -1, np.int64)
    whole = Fold(one, "pay", 1).decide_at(with_holes, *places)
    part = Fold(one, "pay", 1).decide_at([payloads[row] for row in kept.tolist()], *(place[kept] for place in places))
    assert whole.risk[kept].tobytes() == part.risk.tobytes()
    assert (whole.verdict[holes] == -1).all()
    assert not set(whole.rejects) & set(holes)


def test_a_file_without_event_times_is_refused(tmp_path: Path, source: Path) -> None:
    path = tmp_path / "untimed.toml"
    path.write_text('[input.fields]\namount = "amount"\n')
    with pytest.raises(NotConfigured, match="event_time"):
        run(tmp_path, source, load(path, {}))


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["lab", "backtest", *map(str, arguments)])


def test_the_command_leaves_a_report(tmp_path: Path, source: Path) -> None:
    settings(tmp_path)
    new, output = tmp_path / "new.toml", tmp_path / "report"
    new.write_text(CONFIG.replace("alerts_per_day = 20", "alerts_per_day = 30"))
    current = tmp_path / "detector.toml"
    done = command(
        source, "--config", new, "--against", current, "--label", "fraud", "--from", "2025-01-02", "--to",
        "2025-01-03", "--show", "3", "--output", output,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    expected, lines = run(
        tmp_path, source, load(new, {}), load(current, {}), days=Days(FIRST_DAY + 1, FIRST_DAY + 2),
        labels=ColumnLabels("fraud", 0),
    )  # fmt: skip
    figures = json.loads((output / "figures.json").read_text())
    for name in ("new", "current", "changes"):
        assert figures[name] == json.loads(json.dumps(expected.figures()[name]))
    with (output / "alerts.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == lines
    with (output / "days.csv").open(newline="") as file:
        days = list(csv.DictReader(file))
    assert [(day["day"], day["configuration"], day["budget"]) for day in days] == [
        (day, name, budget)
        for day in ("2025-01-02", "2025-01-03")
        for name, budget in (("new", "30"), ("current", "20"))
    ]
    assert sum(int(day["alerts"]) for day in days if day["configuration"] == "new") == figures["new"]["alerts"]
    page = (output / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    gained = [line for line in lines if line["change"] == "gained"]
    with (output / "gained_shown.csv").open(newline="") as file:
        shown = list(csv.DictReader(file))
    places = [[one["transaction_id"] for one in gained].index(one["transaction"]) for one in shown]
    assert places == sorted(set(places))
    assert len(places) == min(3, len(gained))
    assert shown[0]["transaction"] in page
    assert shown[0]["reasons"].split("; ")[0] in html.unescape(page)
    assert "records before the first day shown warmed the state up" in page
    assert "alerts of new against current: " in done.stdout


def test_labels_that_are_nowhere_are_told(tmp_path: Path, source: Path) -> None:
    settings(tmp_path)
    done = command(source, "--config", tmp_path / "detector.toml", "--label", "froud", "--output", tmp_path / "report")
    assert done.exit_code == 0, done.output
    assert "no row of these days has a label" in done.stdout
    assert "no row of these days has a label" in (tmp_path / "report" / "report.html").read_text()


def test_a_table_of_any_dialect_decides_alike(tmp_path: Path, source: Path, rows: list[dict[str, Any]]) -> None:
    names = ["id", "at", "card", "amount", "money", "n", "fraud"]
    rows = [row for row in rows if row["amount"] != "much"]  # to a table a missing number, to JSON a reject
    source.write_text("\n".join(map(json.dumps, rows)))
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(names)
        for row in rows:
            writer.writerow(
                [str(row[name]).replace(".", ",") if name in ("amount", "n") else row[name] for name in names]
            )
    one = settings(tmp_path)
    texts = text_columns(one.mapping)
    written = tmp_path / "a.csv"
    by_table = backtest.run([("new", one)], FileSource(path, one.mapping, 1, texts), Days(), written, shown_max=3)
    by_lines, lines = run(tmp_path, source, one)
    assert by_table.figures()["new"]["alerts"] == by_lines.figures()["new"]["alerts"] == len(lines) > 3
    ids = [line[3] for line in by_lines.changes.shown["alert"]]
    assert ids == [line["transaction_id"] for line in lines]
    places = [ids.index(line[3]) for line in by_table.changes.shown["alert"]]
    assert places == sorted(set(places))
    assert len(places) == 3
    assert places != [0, 1, 2], "drawn evenly, not the first ones"


def test_labels_without_a_time_need_a_delay_to_be_learned(tmp_path: Path, source: Path) -> None:
    path = tmp_path / "learning.toml"
    path.write_text(CONFIG + "[labels]\nenabled = true\n")
    with pytest.raises(WrongUsage, match="expected --label-delay"):
        CliRunner().invoke(
            cli, ["lab", "backtest", str(source), "--config", str(path), "--labels-column", "fraud", "--output",
                  str(tmp_path / "r")], catch_exceptions=False,
        )  # fmt: skip
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected one input"),
        (["--topic", "FILE"], "expected one input"),
        (["FILE", "--input", "FILE"], "expected one input"),
        (["FILE", "--from", "2025-01-04", "--to", "2025-01-02"], "expected the first day not to be after the last"),
        (["FILE", "--from", "yesterday"], "expected a day such as 2018-07-01, found 'yesterday'"),
    ],
)
def test_wrong_usage_is_told(source: Path, arguments: list[str], message: str) -> None:
    done = command(*(source if one == "FILE" else one for one in arguments))
    assert done.exit_code == 2
    assert message in done.output
