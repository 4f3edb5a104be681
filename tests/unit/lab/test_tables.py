"""Any table in chunks and as payloads: what is read, what is decided on the way, and what is refused."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.lab.errors import InputStopped
from detector.lab.tables import Table, as_text, open_table
from schemas.files import payloads
from tests.quality.data import needs

DATA = ("bank_transactions.csv", "transaction_anomalies.csv", "creditcard.parquet", "fdh_raw.parquet")


def written(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows(table: Table, chunk_rows: int = 1000) -> list[dict[str, Any]]:
    return [row for chunk in table.chunks(chunk_rows) for row in chunk.to_pylist()]


def sent(table: Table, batch_rows: int = 1000) -> list[dict[str, Any]]:
    return [json.loads(payload) for batch in table.payloads(batch_rows) for payload in batch]


def at(*moment: int) -> datetime:
    return datetime(*moment, tzinfo=UTC)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize("name", DATA)
def test_payloads_are_those_of_the_producer(name: str) -> None:
    path = needs(name)
    ours = [one for batch in open_table(path, limit=3_000).payloads(700) for one in batch]
    theirs = [one for batch in payloads(path, limit=3_000) for one in batch]
    assert ours == theirs


CELLS = st.one_of(
    st.integers(-(10**6), 10**6).map(str),
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(repr),
    st.sampled_from(["+5", ".5", "5.", "1e3", "0.10"]),
)
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00", exclude_categories=("Cs",)), max_size=8)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(CELLS, WORDS), min_size=1, max_size=30))
def test_law_a_csv_that_schemas_reads_gives_its_payloads(cells: list[tuple[str, str]]) -> None:
    import csv
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("amount", "word"), *(cell if cell[1] else (cell[0], "x") for cell in cells)])
        table = open_table(path)
        if table.columns["word"] != "text":  # all words are numbers: which of them is none, the column decides
            return
        assert [one for batch in table.payloads(7) for one in batch] == [one for b in payloads(path) for one in b]


@pytest.mark.parametrize("name", ["table.csv", "table.parquet", "table.jsonl"])
def test_law_chunks_are_the_same_however_they_are_cut(tmp_path: Path, name: str) -> None:
    values = [{"t": f"2024-01-{1 + row % 28:02d}", "x": row / 4, "word": f"w{row % 3}"} for row in range(100)]
    path = tmp_path / name
    if name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(values), path)
    elif name.endswith("jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in values))
    else:
        path.write_text("t,x,word\n" + "".join(f"{row['t']},{row['x']},{row['word']}\n" for row in values))
    table = open_table(path)
    assert table.columns == {"t": "time", "x": "number", "word": "text"}
    whole = rows(table)
    assert len(whole) == 100
    assert whole[5] == {"t": at(2024, 1, 6), "x": 1.25, "word": "w2"}
    for size in (1, 7, 99, 100):
        cut = list(table.chunks(size))
        assert [chunk.num_rows for chunk in cut[:-1]] == [size] * (len(cut) - 1)
        assert [row for chunk in cut for row in chunk.to_pylist()] == whole
    assert rows(open_table(path, limit=42), 10) == whole[:42]
    assert len(sent(open_table(path, limit=42), 10)) == 42


def test_packed_csv(tmp_path: Path) -> None:
    table = open_table(written(tmp_path, "a.csv.gz", gzip.compress("a;b\n1,5;é\n".encode("latin-1"))))
    assert rows(table) == sent(table) == [{"a": 1.5, "b": "é"}]


def test_columns_can_be_chosen(tmp_path: Path) -> None:
    table = open_table(written(tmp_path, "a.csv", "a,b,c\n1,2,3\n"))
    assert next(table.chunks(5, ["c", "a"])).to_pylist() == [{"c": 3.0, "a": 1.0}]
    with pytest.raises(InputStopped, match=r"expected the columns \['d'\], found \['a', 'b', 'c'\]"):
        list(table.chunks(5, ["d"]))


def test_semicolons_decimal_commas_and_another_encoding(tmp_path: Path) -> None:
    text = "Zeit;Betrag;Ort\n01.02.2024 12:00;1.234,50;Köln\n13.02.2024 12:30;-7,5;Ulm\n"
    table = open_table(written(tmp_path, "a.csv", text.encode("cp1252")))
    assert rows(table) == [
        {"Zeit": at(2024, 2, 1, 12), "Betrag": 1234.5, "Ort": "Köln"},
        {"Zeit": at(2024, 2, 13, 12, 30), "Betrag": -7.5, "Ort": "Ulm"},
    ]
    assert table.choices == [
        "encoding cp1252, for the file is not UTF-8",
        "separator ;",
        "Zeit: times as %d.%m.%Y %H:%M",
        "Betrag: decimal comma",
    ]
    assert sent(table)[0] == {"Zeit": "01.02.2024 12:00", "Betrag": 1234.5, "Ort": "Köln"}
    assert table.time_format("Zeit") == "%d.%m.%Y %H:%M"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_byte_order_marks(tmp_path: Path, encoding: str) -> None:
    table = open_table(written(tmp_path, "a.csv", "é;b\n1;x\n".encode(encoding)))
    assert rows(table) == [{"é": 1.0, "b": "x"}]


def test_commas_between_thousands(tmp_path: Path) -> None:
    table = open_table(written(tmp_path, "a.csv", 'a,b\nx,"1,234.5"\ny,"12"\n'))
    assert [row["b"] for row in rows(table)] == [1234.5, 12.0]
    assert "b: commas between thousands" in table.choices
    assert [row["b"] for row in sent(table)] == [1234.5, 12.0]


def test_a_doubtful_comma_is_told(tmp_path: Path) -> None:
    table = open_table(written(tmp_path, "a.csv", "a;b\nx;1,234\n"))
    assert rows(table)[0]["b"] == 1.234
    assert "b: a comma might also be between thousands" in table.choices


def test_mixed_time_formats(tmp_path: Path) -> None:
    text = "t,v\n2024-01-31 12:00:00,1\n31/01/2024 13:00,2\n2024-01-31T12:00:00.25+01:00,3\n"
    table = open_table(written(tmp_path, "a.csv", text))
    assert [row["t"] for row in rows(table)] == [
        at(2024, 1, 31, 12), at(2024, 1, 31, 13), at(2024, 1, 31, 11, 0, 0, 250_000),
    ]  # fmt: skip
    assert any("mixed time formats" in choice for choice in table.choices)
    assert table.time_format("t") == "rfc3339"
    assert [row["t"] for row in sent(table)] == [
        "2024-01-31T12:00:00.000Z", "2024-01-31T13:00:00.000Z", "2024-01-31T11:00:00.250Z",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "pattern", "moment"),
    [
        ("2024-01-31T12:00:01.123456Z", "rfc3339", at(2024, 1, 31, 12, 0, 1, 123_000)),
        ("2024-01-31 12:00:01.5", "%Y-%m-%d %H:%M:%S.%f", at(2024, 1, 31, 12, 0, 1, 500_000)),
        ("31.01.2024 12:00:01.5", "%d.%m.%Y %H:%M:%S.%f", at(2024, 1, 31, 12, 0, 1, 500_000)),
        ("2024/01/31", "%Y/%m/%d", at(2024, 1, 31)),
        ("1/31/2024 1:05 PM", "%m/%d/%Y %I:%M %p", at(2024, 1, 31, 13, 5)),
        ("31-Jan-2024", "%d-%b-%Y", at(2024, 1, 31)),
    ],
)
def test_times(tmp_path: Path, text: str, pattern: str, moment: datetime) -> None:
    table = open_table(written(tmp_path, "a.csv", f"t;n\n{text};1\n"))
    assert table.columns["t"] == "time"
    assert table.time_format("t") == pattern
    assert rows(table)[0]["t"] == moment


@pytest.mark.parametrize("text", ["2023-02-29 12:00:00", "2023-02-30T12:00:00Z", "31.04.2023 10:00"])
def test_a_day_that_its_month_has_not_is_no_time(tmp_path: Path, text: str) -> None:
    good = text.replace("29", "28").replace("30", "28").replace("31", "28")
    table = open_table(written(tmp_path, "a.csv", "t,n\n" + f"{good},1\n" * 99 + f"{text},2\n"))
    assert table.columns["t"] == "time"
    assert [row["t"] for row in rows(table)][-1] is None
    assert table.choices[-1] == "column t: 1 values are no time and count as missing, the first in row 100"


def test_day_or_month_first_is_told_where_both_fit(tmp_path: Path) -> None:
    table = open_table(written(tmp_path, "a.csv", "t,n\n01-02-2024,1\n03-04-2024,2\n"))
    assert rows(table)[0]["t"] == at(2024, 2, 1)
    assert table.choices == ["t: times as %d-%m-%Y; %m-%d-%Y would read them all too"]


def test_columns_with_one_name_or_none(tmp_path: Path) -> None:
    table = open_table(written(tmp_path, "a.csv", "a,a,,b\n1,2,3,4\n"))
    assert rows(table) == sent(table) == [{"a": 1, "a_2": 2, "column_3": 3, "b": 4}]
    assert len(table.choices) == 2
    assert "twice" in table.choices[0]


def test_ragged_rows_are_left_out_and_told(tmp_path: Path) -> None:
    table = open_table(written(tmp_path, "a.csv", "a,b\n1,2\n3\n4,5,6\n7,8\n"))
    assert rows(table) == sent(table) == [{"a": 1, "b": 2}, {"a": 7, "b": 8}]
    assert any(choice.startswith("2 rows are left out") for choice in table.choices)


def test_mostly_ragged_is_another_separator(tmp_path: Path) -> None:
    with pytest.raises(InputStopped, match="check the separator"):
        open_table(written(tmp_path, "a.csv", "a,b\n" + "1,2,3\n" * 30))


def test_what_is_no_number_in_a_column_of_numbers_is_missing_and_counted(tmp_path: Path) -> None:
    text = "a,b\n" + "1,x\n" * 200 + "oops,y\nNA,y\n,z\n"
    table = open_table(written(tmp_path, "a.csv", text))
    found = rows(table)
    assert [row["a"] for row in found[199:]] == [1.0, None, None, None]
    assert table.choices == ["column a: 1 values are no number and count as missing, the first in row 201"]
    assert sent(table)[199:] == [{"a": 1, "b": "x"}, {"b": "y"}, {"b": "y"}, {"b": "z"}]


def test_ids_stay_what_they_are(tmp_path: Path) -> None:
    table = open_table(written(tmp_path, "a.csv", "card,zip,n\n4111111111111111,00123,7\n"))
    assert table.columns == {"card": "text", "zip": "text", "n": "number"}
    assert rows(table)[0]["card"] == "4111111111111111"
    assert as_text(pa.chunked_array([[7.0, None]]).combine_chunks()).to_pylist() == ["7", None]


def test_booleans(tmp_path: Path) -> None:
    table = open_table(written(tmp_path, "a.csv", "a,b\ntrue,1\nFalse,2\n,3\n"))
    assert [row["a"] for row in rows(table)] == [True, False, None]


def test_all_null_columns_are_told(tmp_path: Path) -> None:
    table = open_table(written(tmp_path, "a.csv", "a,b\n,1\n,2\n"))
    assert [row["a"] for row in rows(table)] == [None, None]
    assert table.choices == ["a: no value at all"]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": pa.nulls(2), "b": pa.array([1, None], pa.int32())}), path)
    table = open_table(path)
    assert rows(table) == [{"a": None, "b": 1}, {"a": None, "b": None}]
    assert table.choices == ["a: no value at all"]


def test_json_lines_are_columns_by_path(tmp_path: Path) -> None:
    lines = '{"a":{"b":1,"c.d":"x"},"l":[1],"t":"2024-01-01T00:00:00Z"}\n\n{"a":{"b":2.5}}\nnope\n'
    table = open_table(written(tmp_path, "a.jsonl.gz", gzip.compress(lines.encode())))
    assert table.columns == {"a.b": "number", "a.c\\.d": "text", "t": "time"}
    assert [row["a.b"] for row in rows(table)] == [1.0, 2.5, None]
    assert len(next(table.payloads(10))) == 3
    assert "1 of the first 3 lines are no JSON objects" in table.choices[0]
    assert table.path_of("a.b") == "a.b"


def test_a_dot_in_a_columns_own_name(tmp_path: Path) -> None:
    assert open_table(written(tmp_path, "a.csv", "a.b,c\n1,2\n")).path_of("a.b") == "a\\.b"


def test_types_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    columns = {
        "i": pa.array([1, 2], pa.int8()), "f": pa.array([0.5, float("nan")], pa.float32()),
        "d": pa.array(["x", "y"]).dictionary_encode(), "b": pa.array([True, False]),
        "t": pa.array([0, 1_500], pa.timestamp("ms")), "day": pa.array([0, 1], pa.date32()), "l": pa.array([[1], []]),
    }  # fmt: skip
    pq.write_table(pa.table(columns), path)
    table = open_table(path)
    assert table.rows == 2
    assert list(table.columns.values()) == ["number", "number", "text", "boolean", "time", "time"]
    second = rows(table)[1]
    assert second["f"] is None
    assert second["t"] == at(1970, 1, 1, 0, 0, 1, 500_000)
    assert second["day"] == at(1970, 1, 2)
    assert any(choice.startswith("l: ") for choice in table.choices)


def test_infinity_is_missing_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": [1.0, float("nan"), float("inf")]}), path)
    table = open_table(path)
    assert [row["x"] for row in rows(table)] == [1.0, None, None]
    assert table.choices == ["column x: 1 values are no number and count as missing, the first in row 3"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "empty file"),
        ("a.csv", "\n\n\n", "expected a header line"),
        ("a.csv", "a,b\n", "expected rows below the header, found none"),
        ("a.csv", "1,2\n3,4\n", "line 1: expected a header line with column names, found numbers only"),
        ("a.jsonl", "", "found none"),
        ("a.jsonl", "x\ny\n", "expected a JSON object on each line"),
        ("a.parquet", "no", "expected a file that can be read"),
        ("a.xls", "x", "expected a file ending in one of"),
        ("a.csv.gz", "x", "expected a file that can be read to its end"),
    ],
)
def test_what_is_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(InputStopped, match=message) as stopped:
        open_table(written(tmp_path, name, content))
    assert name in str(stopped.value)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(InputStopped, match="check the path"):
        open_table(tmp_path / "none.csv")


def test_parquet_without_rows_or_with_one_name_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": pa.array([], pa.int64())}), path)
    with pytest.raises(InputStopped, match="found none"):
        open_table(path)
    pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), path)
    with pytest.raises(InputStopped, match="more than once"):
        open_table(path)


@pytest.mark.parametrize("name", ["table.csv", "table.parquet", "table.jsonl"])
def test_columns_that_records_are_not_read_by_are_left_out_and_told(tmp_path: Path, name: str) -> None:
    path, odd = tmp_path / name, ['a "b"', "c\td", "e\\f"]
    values = {column: [1.0, 2.0] for column in ["amount", *odd]}
    if name.endswith("parquet"):
        pq.write_table(pa.table(values), path)
    elif name.endswith("csv"):
        path.write_text('amount,"a ""b""","c\td",e\\f\n1,1,1,1\n2,2,2,2\n')
    else:
        path.write_text("".join(json.dumps({column: row + 1 for column in values}) + "\n" for row in range(2)))
    table = open_table(path)
    assert list(table.columns) == ["amount"]
    assert any("quotes, backslashes or control characters" in choice for choice in table.choices)
    [payloads] = table.payloads(10)
    assert [json.loads(payload)["amount"] for payload in payloads] == [1, 2]
