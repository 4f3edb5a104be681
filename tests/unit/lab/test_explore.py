"""`detector lab explore`: what it says of a table is so, and it says it of any table."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from detector.cli import cli, main
from detector.lab import report
from detector.lab.errors import NotConfigured
from detector.lab.explore.clock import WIDTHS_MS, Clock
from detector.lab.explore.entities import Entities
from detector.lab.explore.findings import duration, findings
from detector.lab.explore.numbers import PAIRED_MAX, Moments
from detector.lab.explore.run import run
from detector.lab.explore.samples import Repeats, Sample, hashes, joined
from detector.lab.explore.survey import BUSIEST, Survey, survey
from detector.lab.roles import guess
from detector.lab.tables import open_table
from tests.quality.data import needs

CARD = "4111111111111111"


@pytest.fixture(autouse=True)
def _coarse_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """What they show is looked at by people; here they need only be drawn."""
    monkeypatch.setattr(report, "DPI", 40)


def told(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "figures.json").read_text())
    return found


def cells(folder: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / name).read_text().splitlines()))


def surveyed(path: Path, limit: int | None = None) -> Survey:
    table = open_table(path, limit)
    return survey(table, guess(table), 3.0, 1.5)


def command(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["lab", "explore", *arguments], env={"DETECTOR_CONFIG": None})


# whole reports


def test_bank_transactions(tmp_path: Path) -> None:
    path = needs("bank_transactions.csv")
    folder = run(path, tmp_path / "out")
    figures = told(folder)
    assert (folder / "detector.toml").read_text() == surveyed(path).roles.toml()
    assert figures["rows"] == 2_512
    assert figures["numbers"]["TransactionAmount"]["greatest"] == 1_919.11
    assert figures["entities"]["card"]["count"] == 495
    assert figures["duplicates"] == {"whole rows": 0, "ids": 0, "rows but for the id": 0}
    assert any("before one that stands above" in line for line in figures["findings"])
    assert {path.stem for path in folder.glob("*.png")} == {
        "histograms", "boxes", "categories", "correlations", "pairs", "over_time", "week", "amount_in_time",
        "behaviour", "examples", "outliers",
    }  # fmt: skip
    named = cells(folder, "outlier_rows.csv")
    assert len(named) == sum(sum(some.values()) for rule, some in figures["outliers"].items() if "±" in rule)
    assert all(row["id"] == f"TX{int(row['row']) + 1:06d}" for row in named)


def test_transaction_anomalies(tmp_path: Path) -> None:
    folder = run(needs("transaction_anomalies.csv"), tmp_path / "out")
    assert told(folder)["rows"] == 1_000
    assert not (folder / "over_time.png").exists()
    assert "event_time" not in (folder / "detector.toml").read_text().replace("no event time", "")


def test_creditcard(tmp_path: Path) -> None:
    folder = run(needs("creditcard.parquet"), tmp_path / "out", limit=30_000)
    figures = told(folder)
    assert figures["classes"] == {"genuine": 29_906, "fraud": 94, "no label": 0}
    assert figures["telling"]["V14"] > 0.9
    assert figures["duplicates"]["whole rows"] > 0
    assert "Class" not in (folder / "detector.toml").read_text()


def test_a_month_of_the_handbook(tmp_path: Path) -> None:
    path = needs("fdh_raw.parquet")
    month = tmp_path / "month.parquet"
    table = pq.read_table(path, filters=[("TX_DATETIME", "<", datetime(2018, 5, 1))])
    pq.write_table(table, month)
    folder = run(month, tmp_path / "out")
    figures = told(folder)
    assert figures["rows"] == table.num_rows > 280_000
    assert figures["classes"]["fraud"] == int(np.asarray(table["TX_FRAUD"]).sum())
    assert figures["entities"]["customer"]["count"] == len(np.unique(np.asarray(table["CUSTOMER_ID"])))
    amounts = np.asarray(table["TX_AMOUNT"])
    said = figures["numbers"]["TX_AMOUNT"]
    assert said["mean"] == pytest.approx(amounts.mean())
    assert said["sd"] == pytest.approx(amounts.std(ddof=1))
    assert said["median"] == pytest.approx(np.median(amounts), rel=0.02)  # of the sample
    outside = np.abs(amounts - amounts.mean()) > 3 * amounts.std(ddof=1)
    assert figures["outliers"]["mean ± 3 sd"]["TX_AMOUNT"] == outside.sum()
    assert any("TX_FRAUD_SCENARIO alone" in line for line in figures["findings"])


# the command


def transactions(path: Path, rows: int = 60, **columns: Callable[[int], object]) -> Path:
    """A CSV; `columns` beside or instead of the usual ones. An empty text is no value."""
    every: dict[str, Callable[[int], object]] = {
        "id": lambda row: f"t{row}", "when": lambda row: f"2024-01-{1 + row // 24:02d} {row % 24:02d}:00:00",
        "card_number": lambda row: CARD if row % 3 else "5500005555555559", "merchant": lambda row: f"m{row % 4}",
        "amount": lambda row: 10 + row % 7, "is_fraud": lambda row: int(row % 20 == 0), **columns,
    }  # fmt: skip
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(every)
        writer.writerows([[value(row) for value in every.values()] for row in range(rows)])
    return path


def test_the_command(tmp_path: Path) -> None:
    source = transactions(tmp_path / "some.csv")
    out = str(tmp_path / "out")
    done = command(str(source), "--output", out, "--deviations", "2", "--fence", "3", "--limit", "50")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        f"{out}/report.html",
        f"a configuration to begin with: {out}/detector.toml",
    ]
    figures = told(Path(out))
    assert figures["rows"] == 50
    assert list(figures["outliers"]) == ["mean ± 2 sd", "quartiles ± 3 IQR", "rows_outside"]
    refused = command(str(source), "--output", str(tmp_path))
    assert "--overwrite" in str(refused.exception)
    assert "--label other" in str(command(str(source), "--output", out, "--label", "other").exception)


def test_no_card_number_leaves(tmp_path: Path) -> None:
    folder = run(transactions(tmp_path / "some.csv", secret=lambda _: CARD), tmp_path / "out")
    for path in folder.iterdir():
        assert CARD.encode() not in path.read_bytes(), path.name
    assert cells(folder, "busiest_card.csv")[0]["card"] == "*" * 12 + CARD[-4:]


def test_no_card_number_leaves_as_a_number(tmp_path: Path) -> None:
    path, amex = tmp_path / "a.parquet", 378282246310005
    pq.write_table(pa.table({"pan": [amex] * 9, "other": [int(CARD)] * 9, "金额": np.arange(9) % 7 + 0.5}), path)
    folder = run(path, tmp_path / "out")
    for file in folder.iterdir():
        for number in (str(amex), CARD, "378,282,246,310,005"):
            assert number.encode() not in file.read_bytes(), file.name
    assert told(folder)["roles"]["card"] == "pan"


def test_a_configuration_says_what_the_columns_are(tmp_path: Path) -> None:
    source = transactions(tmp_path / "some.csv")
    config = tmp_path / "detector.toml"
    config.write_text(
        '[input]\ntime_format = "%Y-%m-%d %H:%M:%S"\n'
        '[input.fields]\nevent_time = "when"\ncustomer_id = "merchant"\namount = "amount"\n'
    )
    folder = run(source, tmp_path / "out", config=config)
    assert told(folder)["roles"] == {
        "event_time": "when",
        "customer": "merchant",
        "amount": "amount",
        "label": "is_fraud",
    }
    assert not (folder / "detector.toml").exists()


# bad input: a report that says so


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"nothing": lambda _: ""}, "Without any value: nothing."),
        ({"same": lambda _: 5}, "Always the same: same."),
        ({"word": lambda _: "x"}, "Always the same: word."),
        ({"is_fraud": lambda _: 0}, "Every row is genuine by is_fraud: there is one class only"),
        ({"is_fraud": lambda row: "" if row else 1}, "Every row is fraud by is_fraud"),
        ({"is_fraud": lambda row: row % 2 if row % 5 else ""}, "12 rows have no label"),
        ({"mostly": lambda row: "" if row % 3 else row}, "Missing in more than 20% of the rows: mostly."),
        ({"twin": lambda row: 20 + 2 * (row % 7)}, "Nearly the same twice, by correlation: amount and twin (+1.00)"),
        ({"amount": lambda row: row - 3.5}, "Some amounts are negative, down to -3.5"),
        ({"id": lambda row: f"t{row // 2 if row < 4 else row}"}, "2 rows bear an id that an earlier row has"),
        ({"when": lambda row: "2024-01-01" if row else "2024-01-02"}, "98% of the rows lie before one"),
        ({"tell": lambda row: 5 * int(row % 20 == 0) + row / 1e9}, "tell alone nearly tells all frauds"),
    ],
)  # fmt: skip
def test_findings(tmp_path: Path, columns: dict[str, Callable[[int], object]], said: str) -> None:
    found = surveyed(transactions(tmp_path / "some.csv", **columns))
    assert any(line.startswith(said) for line in findings(found)), findings(found)


@pytest.mark.parametrize(
    "columns",
    [
        {"when": lambda _: "", "huge": lambda row: 10.0**row * (-1) ** row},
        {"amount": lambda _: "", "extra": lambda row: "" if row else 1.5},
        {"amount": lambda _: 5, "is_fraud": lambda _: 1},
        {"card_number": lambda _: "", "merchant": lambda _: "", "$name_{": lambda row: f"${row % 3}_^{{"},
        {"amount": lambda row: -float(row), "is_fraud": lambda _: ""},
    ],
)
def test_a_report_of_what_is_odd(tmp_path: Path, columns: dict[str, Callable[[int], object]]) -> None:
    folder = run(transactions(tmp_path / "some.csv", 48, **columns), tmp_path / "out")
    assert told(folder)["rows"] == 48


@pytest.mark.parametrize("text", ["a\n1\n", "word\nx\n", "a,b\n1,x\n2,\n", "t\n2024-01-01 00:00:00\n"])
def test_a_report_of_almost_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    assert (run(tmp_path / "a.csv", tmp_path / "out") / "report.html").exists()


def test_the_busiest_are_named_wherever_they_stand(tmp_path: Path) -> None:
    rows = 150_000  # of which the sample holds less than half
    card = np.arange(rows) // 3
    card[-6:] = 7
    path = tmp_path / "a.parquet"
    columns = {"card_id": card, "timestamp": 1_700_000_000 + np.arange(rows), "amount": np.arange(rows) % 50 + 1.0}
    pq.write_table(pa.table(columns), path)
    found = surveyed(path)
    assert len(found.names["card"]) == BUSIEST
    assert found.examples["7"][:, 1].tolist() == columns["amount"][card == 7].tolist()


def test_a_file_of_another_country_is_read_and_told(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    lines = ["Zeit;Konto;Betrag;Betrag;Ort"]
    lines += [f"{1 + row % 28:02d}.01.2024 10:{row % 60:02d};K{row % 5};{row},50;1;Köln" for row in range(60)]
    lines[20:22] = ["2024-01-31 12:00:00;K1;3,25;1;Ulm", "zu;kurz"]
    path.write_bytes("\n".join(lines).encode("cp1252"))
    figures = told(run(path, tmp_path / "out"))
    said = " | ".join(figures["choices"])
    for choice in (
        "encoding cp1252",
        "separator ;",
        "decimal comma",
        "mixed time formats",
        "twice",
        "1 rows are left out",
    ):
        assert choice in said
    assert figures["rows"] == 59
    assert figures["numbers"]["Betrag"]["greatest"] == 59.5
    assert figures["roles"] == {"event_time": "Zeit", "amount": "Betrag"}


@pytest.mark.parametrize(
    ("text", "arguments", "code", "words"),
    [
        ("", [], 65, "found an empty file"),
        ("a,b\n", [], 65, "expected rows below the header"),
        ("a,b\n1,2\n", ["--label", "c"], 2, "expected one of the columns a, b"),
        ("a,b\n1,2\n", ["--config", "CONFIG"], 78, "input.fields.amount: expected a column at 'price'"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str,
    arguments: list[str], code: int, words: str,
) -> None:  # fmt: skip
    source, config, out = tmp_path / "a.csv", tmp_path / "detector.toml", tmp_path / "out"
    source.write_text(text)
    config.write_text('[input.fields]\namount = "price"\n')
    arguments = [str(config) if one == "CONFIG" else one for one in arguments]
    monkeypatch.setattr(sys, "argv", ["detector", "lab", "explore", str(source), "--output", str(out), *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    assert words in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == [], "nothing is left behind"


@pytest.mark.parametrize("package", ["matplotlib", "pyarrow"])
def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(NotConfigured, match=r"pip install 'streaming-fraud-detector\[lab\]'"):
        run(tmp_path / "a.csv", tmp_path / "out")


def test_copies_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,x\na,1\nb,2\na,1\nc,2\n")
    folder = run(path, tmp_path / "out")
    assert told(folder)["duplicates"] == {"whole rows": 1}, "an id that repeats in a fourth of the rows is none"
    assert cells(folder, "duplicate_rows.csv") == [{"equal by": "whole rows", "row": "2", "equals row": "0"}]


# its parts


VALUES = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 60), st.just(3)),
    elements=st.one_of(st.just(np.nan), st.floats(-1e6, 1e6).map(lambda value: round(value, 3))),
)


@given(VALUES, st.integers(1, 60))
@settings(deadline=None)
def test_law_moments_are_those_of_the_whole(values: np.ndarray, cut: int) -> None:
    moments = Moments(3)
    for part in (values[:cut], values[cut:]):
        if len(part):
            moments.add(part)
    for column in range(3):
        some = values[~np.isnan(values[:, column]), column]
        assert moments.count[column] == len(some)
        if not len(some):
            continue
        assert (moments.least[column], moments.greatest[column]) == (some.min(), some.max())
        assert moments.mean[column] == pytest.approx(some.mean(), rel=1e-9, abs=1e-6)
        if len(some) > 1:
            assert moments.deviation[column] == pytest.approx(some.std(ddof=1), rel=1e-6, abs=1e-5)


def test_skewness_kurtosis_and_correlation() -> None:
    rng = np.random.default_rng(0)
    values = rng.gamma(2.0, size=(5_000, 3))
    values[:, 1] += values[:, 0]
    values[rng.random(5_000) < 0.3, 2] = np.nan
    moments = Moments(3)
    for part in np.array_split(values, 7):
        moments.add(part)
    away = values[:, 0] - values[:, 0].mean()
    assert moments.skewness[0] == pytest.approx((away**3).mean() / (away**2).mean() ** 1.5)
    assert moments.kurtosis[0] == pytest.approx((away**4).mean() / (away**2).mean() ** 2 - 3)
    both = ~np.isnan(values[:, 2])
    assert moments.correlation[0, 1] == pytest.approx(np.corrcoef(values[:, 0], values[:, 1])[0, 1])
    assert moments.correlation[1, 2] == pytest.approx(np.corrcoef(values[both, 1], values[both, 2])[0, 1])


def test_of_many_columns_the_first_and_the_last_are_paired() -> None:
    values = np.random.default_rng(3).normal(size=(60, PAIRED_MAX + 50))
    values[:, -1] = values[:, 2] + 0.1 * values[:, -1]
    moments = Moments(values.shape[1])
    for part in np.array_split(values, 3):
        moments.add(part)
    assert moments.paired.tolist() == [*range(PAIRED_MAX - 1), PAIRED_MAX + 49]
    assert moments.correlation == pytest.approx(np.corrcoef(values[:, moments.paired], rowvar=False))
    assert moments.mean == pytest.approx(values.mean(axis=0))


@given(st.lists(st.integers(1, 400), min_size=1, max_size=5), st.integers(1, 300))
@settings(deadline=None, max_examples=30)
def test_law_the_sample_does_not_depend_on_chunks(cuts: list[int], size: int) -> None:
    table = pa.table({"x": np.arange(sum(cuts))})
    parts, whole = Sample(size), Sample(size)
    at = 0
    for cut in cuts:
        parts.add(table.slice(at, cut), at)
        at += cut
    whole.add(table, 0)
    (some, row), (same, _) = parts.finish(), whole.finish()
    assert some == same
    assert some is not None
    assert some["x"].to_pylist() == row.tolist() == sorted(row.tolist())
    assert len(row) == min(size, sum(cuts))


def test_the_sample_is_fair() -> None:
    sample = Sample(2_000)
    for start in range(0, 40_000, 1_000):
        sample.add(pa.table({"x": np.arange(start, start + 1_000)}), start)
    _, row = sample.finish()
    assert row.mean() == pytest.approx(20_000, rel=0.05)
    assert np.bincount(row // 10_000).min() > 420


def test_hashes_tell_values_apart() -> None:
    column = pa.chunked_array([["a", None, "b", "a", ""]])
    found = hashes(column)
    assert found[0] == found[3]
    assert len(set(found.tolist())) == 4
    numbers = hashes(pa.chunked_array([[0.0, -0.0, 1.5, None]]))
    assert numbers[0] == numbers[1]
    assert len(set(numbers.tolist())) == 3
    pair = joined([found, found[::-1]])
    assert pair[0] != pair[4]


def test_repeats() -> None:
    repeats = Repeats()
    repeats.add(hashes(pa.chunked_array([["a", "b", None]])))
    repeats.add(hashes(pa.chunked_array([["b", None, "b", "c"]])))
    assert repeats.finish(10) == (2, 3, [(3, 1), (5, 3)])
    assert Repeats().finish(1) == (0, 0, [])


def test_the_clock_finds_order_and_bins() -> None:
    clock = Clock()
    hour = 3_600_000
    times = np.array([0, 2, 1, 30]) * hour  # 1970-01-01, a Thursday
    clock.add(times[:2], np.array([1.0, np.nan]), np.array([True, False]))
    clock.add(times[2:], np.array([3.0, 4.0]), np.array([False, False]))
    assert (clock.backwards, clock.behind_ms) == (1, hour)
    assert clock.week[3, :3].tolist() == [1, 1, 1]
    assert clock.week[4, 6] == 1
    width, start, values = clock.series()
    assert width in WIDTHS_MS
    assert values.sum(axis=0).tolist() == [4.0, 8.0, 1.0]
    assert np.diff(start).tolist() == [width] * (len(start) - 1)


def test_the_clock_widens_its_bins() -> None:
    clock = Clock()
    days = np.arange(40_000) * 86_400_000
    clock.add(days, np.ones(40_000), np.zeros(40_000, np.bool_))
    width, start, values = clock.series()
    assert width == WIDTHS_MS[-1]
    assert values[:, 0].sum() == 40_000
    assert len(start) == pytest.approx(40_000 / 7, abs=2)


def followed(entities_max: int, cut: int) -> Entities:
    rng = np.random.default_rng(1)
    card, place = rng.integers(0, 200, 3_000), rng.integers(0, 9, 3_000)
    entities = Entities(("merchant",), entities_max)
    keys, places = hashes(pa.chunked_array([card])), hashes(pa.chunked_array([place]))
    times, amounts = np.arange(3_000) * 1_000, card.astype(float)
    for start in range(0, 3_000, cut):
        some = slice(start, start + cut)
        entities.add(keys[some], times[some], amounts[some], card[some] == 7, {"merchant": places[some]})
    return entities


def test_law_entities_do_not_depend_on_chunks() -> None:
    whole, parts = followed(1_000, 3_000), followed(1_000, 170)
    order, other = np.argsort(whole.hash), np.argsort(parts.hash)
    for name in ("hash", "rows", "frauds", "amount", "highest", "first_ms", "last_ms"):
        assert getattr(whole, name)[order].tolist() == getattr(parts, name)[other].tolist(), name
    assert whole.gaps.tolist() == parts.gaps.tolist()
    assert whole.gaps.sum() == 3_000 - 200
    assert whole.distinct("merchant")[order].tolist() == parts.distinct("merchant")[other].tolist()
    assert whole.count == 200
    assert whole.rows.sum() == 3_000


def test_too_many_entities_are_sampled_whole() -> None:
    some, every = followed(60, 170), followed(1_000, 3_000)
    assert some.share < 1
    assert len(some.hash) <= 60
    assert some.count == pytest.approx(200, rel=0.4)
    rows = dict(zip(every.hash.tolist(), every.rows.tolist(), strict=True))
    places = dict(zip(every.hash.tolist(), every.distinct("merchant").tolist(), strict=True))
    assert [rows[key] for key in some.hash.tolist()] == some.rows.tolist(), "of one that is followed every row counts"
    assert [places[key] for key in some.hash.tolist()] == some.distinct("merchant").tolist()


def test_outliers_of_a_table_of_many_chunks(tmp_path: Path) -> None:
    values = np.random.default_rng(2).normal(size=150_000)
    values[[7, 149_999]] = [50.0, -60.0]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": values}), path)
    found = surveyed(path)
    assert found.outliers is not None
    low, high = values.mean() - 3 * values.std(ddof=1), values.mean() + 3 * values.std(ddof=1)
    assert found.outliers.below[0, 0] == (values < low).sum()
    assert found.outliers.above[0, 0] == (values > high).sum()
    assert [one.row for one in found.outliers.named[0][0][:2]] == [149_999, 7]
    assert [row for _, _, row, _ in found.outliers.top[:2]] == [149_999, 7]
    assert not found.whole


@pytest.mark.parametrize(
    ("ms", "text"), [(5_000, "5 seconds"), (90 * 60_000, "90 minutes"), (2.5 * 86_400_000, "2.5 days")]
)
def test_durations(ms: float, text: str) -> None:
    assert duration(ms) == text
