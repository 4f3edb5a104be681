"""Rows of files become the same bytes whoever asks, and lose nothing on the way."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import math
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.files import FileError, payloads, row_count, text_columns
from schemas.mapping import Mapping


def rows(path: Path, **options: object) -> list[bytes]:
    return [payload for batch in payloads(path, **options) for payload in batch]  # type: ignore[arg-type]


def parquet(folder: Path, columns: dict[str, pa.Array], **options: object) -> Path:
    path = folder / "rows.parquet"
    pq.write_table(pa.table(columns), path, **options)
    return path


def csv(folder: Path, text: str, name: str = "rows.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_parquet_values(tmp_path: Path) -> None:
    path = parquet(
        tmp_path,
        {
            "int": pa.array([1, None, -(2**63)], pa.int64()),
            "uint": pa.array([2**64 - 1, 0, None], pa.uint64()),
            "float": pa.array([0.1, math.nan, -0.0]),
            "narrow": pa.array([0.1, 1e30, None], pa.float32()),
            "text": pa.array(["00123", "", "ü"]),
            "word": pa.array(["a", "a", None]).dictionary_encode(),
            "flag": pa.array([True, False, None]),
            "money": pa.array([Decimal("12.30"), None, Decimal("-0.01")], pa.decimal128(10, 2)),
            "bytes": pa.array([b"abc", None, "ü".encode()]),
            "day": pa.array([dt.date(2020, 2, 29), None, dt.date(1, 1, 1)]),
            "list": pa.array([[1, 2], None, []]),
            "object": pa.array([{"a": 1}, None, {"a": 2}]),
        },
    )
    first, second, third = rows(path)
    assert first == (
        b'{"int":1,"uint":18446744073709551615,"float":0.1,"narrow":0.10000000149011612,"text":"00123","word":"a",'
        b'"flag":true,"money":12.30,"bytes":"abc","day":"2020-02-29","list":[1,2],"object":{"a":1}}'
    )
    assert second == b'{"uint":0,"narrow":1.0000000150474662e30,"text":"","word":"a","flag":false}'
    assert json.loads(third)["int"] == -(2**63)
    assert third.startswith(b'{"int":-9223372036854775808,"float":-0.0,')


@pytest.mark.parametrize("name", ['say "x"', "back\\slash", "line\nbreak", "naïve", "a.b", "", "class"])
def test_parquet_columns_of_any_name(tmp_path: Path, name: str) -> None:
    path = parquet(tmp_path, {name: pa.array([1, None]), "column_0": pa.array([None, 2])})
    assert [json.loads(row) for row in rows(path)] == [{name: 1}, {"column_0": 2}]
    assert rows(path, columns=[]) == [b"{}", b"{}"]


def test_infinity_is_text_that_a_reader_refuses_by_name(tmp_path: Path) -> None:
    path = parquet(tmp_path, {"x": pa.array([math.inf, -math.inf, 1.0])})
    assert rows(path) == [b'{"x":"Infinity"}', b'{"x":"-Infinity"}', b'{"x":1.0}']


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_timestamps_are_rfc3339_with_the_decimals_they_need(tmp_path: Path, unit: str) -> None:
    whole = np.array(["2018-04-01T00:00:31", "NaT", "1969-12-31T23:59:59"], f"datetime64[{unit}]")
    naive = parquet(tmp_path, {"t": pa.array(whole)})
    assert rows(naive) == [b'{"t":"2018-04-01T00:00:31Z"}', b"{}", b'{"t":"1969-12-31T23:59:59Z"}']
    zoned = parquet(tmp_path, {"t": pa.array(whole).cast(pa.timestamp(unit, "Europe/Paris"))})
    assert rows(zoned)[0] == b'{"t":"2018-04-01T00:00:31Z"}'


def test_timestamp_fractions(tmp_path: Path) -> None:
    times = np.array(
        ["2018-04-01T00:00:31.5", "2018-04-01T00:00:31.000000001", "2018-04-01T00:00:30"], "datetime64[ns]"
    )
    path = parquet(tmp_path, {"t": pa.array(times)})
    assert [json.loads(row)["t"] for row in rows(path)] == [
        "2018-04-01T00:00:31.5Z",
        "2018-04-01T00:00:31.000000001Z",
        "2018-04-01T00:00:30Z",
    ]


@given(
    floats=st.lists(st.floats(allow_infinity=False), min_size=1, max_size=30),
    batch_rows=st.integers(1, 40),
    width=st.sampled_from([16, 32, 64]),
)
def test_law_one_row_one_payload(
    tmp_path_factory: pytest.TempPathFactory, floats: list[float], batch_rows: int, width: int
) -> None:
    """Batch borders and row groups change nothing, and every number reads back to itself."""
    with np.errstate(over="ignore"):
        values = np.array(floats).astype(f"float{width}")
    values = values[~np.isinf(values)]
    table = {"x": pa.array(values), "i": pa.array(np.arange(len(values)))}
    folder = tmp_path_factory.mktemp("law")
    path = parquet(folder, table, row_group_size=7)
    whole = rows(path)
    assert rows(path, batch_rows=batch_rows) == whole
    back = [json.loads(row).get("x", math.nan) for row in whole]
    np.testing.assert_array_equal(np.array(back), values.astype(np.float64))


def test_csv_values(tmp_path: Path) -> None:
    path = csv(
        tmp_path,
        "id,amount,when,note,n\r\n"
        '00123,14.090,11-04-2023 16:29,"a ""b"", c",1e5\r\n'
        "123,,x,,NaN\r\n"
        "\r\n"
        '7,.5,"line\nbreak",true,+3\r\n',
    )
    assert rows(path) == [
        b'{"id":"00123","amount":14.090,"when":"11-04-2023 16:29","note":"a \\"b\\", c","n":1e5}',
        b'{"id":123,"when":"x"}',
        b'{"id":7,"amount":0.5,"when":"line\\nbreak","note":"true","n":3.0}',
    ]
    assert rows(path, text_columns={"id", "n"})[1:] == [
        b'{"id":"123","when":"x","n":"NaN"}',
        b'{"id":"7","amount":0.5,"when":"line\\nbreak","note":"true","n":"+3"}',
    ]
    assert rows(path, columns=["n", "id"], limit=1) == [b'{"n":1e5,"id":"00123"}']


@pytest.mark.parametrize("text", ["Infinity", "1e999x", "--1", "0x10", "1_000", "٣", "1.2.3", "-", "007", "-01"])
def test_csv_text_that_is_no_number_stays_text(tmp_path: Path, text: str) -> None:
    assert json.loads(rows(csv(tmp_path, f"a,b\n{text},1\n"))[0])["a"] == text


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_csv_numbers_keep_their_digits(tmp_path_factory: pytest.TempPathFactory, number: float) -> None:
    path = csv(tmp_path_factory.mktemp("csv"), f"a,b\n{number!r},x\n")
    assert rows(path) == [f'{{"a":{number!r},"b":"x"}}'.encode()]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_csv_delimiters(tmp_path: Path, delimiter: str) -> None:
    text = f"\N{BYTE ORDER MARK}a{delimiter}b c\n1{delimiter}2,5\n"
    assert rows(csv(tmp_path, text)) == [b'{"a":1,"b c":"2,5"}']


def test_json_lines_pass_untouched(tmp_path: Path) -> None:
    text = '{"a": 1.50, "b":[1]}\n\n not json \r\n{"b":2}\n'
    path = csv(tmp_path, text, "rows.jsonl")
    assert rows(path) == [b'{"a": 1.50, "b":[1]}', b"not json", b'{"b":2}']
    good = csv(tmp_path, text.replace(" not json ", ""), "rows.ndjson")
    assert rows(good, columns=["b", "a"]) == [b'{"b":[1],"a":1.50}', b'{"b":2}']


def test_gzip_is_undone(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(b"a\n1\n2\n"))
    assert rows(path) == [b'{"a":1}', b'{"a":2}']


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_gzip_that_is_cut_off_damaged_or_none_is_named(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows.{ending}.gz"
    lines = b"a\n" + b"".join(b"%d\n" % (number * number) for number in range(50_000))
    whole = gzip.compress(lines)
    middle = len(whole) // 2
    damaged = whole[:middle] + bytes(255 - byte for byte in whole[middle : middle + 100]) + whole[middle + 100 :]
    wrong_sum = whole[:-8] + bytes(8)
    for content in (whole[:middle], whole[:-4], lines, damaged, wrong_sum):
        path.write_bytes(content)
        with pytest.raises(FileError, match=rf"rows\.{ending}\.gz, after line \d+: expected"):
            rows(path)


def test_parquet_that_is_damaged_inside_is_named(tmp_path: Path) -> None:
    numbers = np.random.default_rng(1).integers(0, 50, 20_000)
    columns = {"a": pa.array(numbers), "b": pa.array([f"row {number}" for number in numbers])}
    path = parquet(tmp_path, columns, compression="snappy", row_group_size=5_000, use_dictionary=False)
    whole = path.read_bytes()
    middle = len(whole) // 2
    turned = bytes(255 - byte for byte in whole[middle : middle + 300])
    path.write_bytes(whole[:middle] + turned + whole[middle + 300 :])
    with pytest.raises(FileError, match=r"rows\.parquet, after row \d+: expected a Parquet file in one piece"):
        rows(path)


def test_limit_and_batches(tmp_path: Path) -> None:
    path = csv(tmp_path, "a\n" + "".join(f"{i}\n" for i in range(25)))
    assert [len(batch) for batch in payloads(path, batch_rows=10)] == [10, 10, 5]
    assert [len(batch) for batch in payloads(path, batch_rows=10, limit=12)] == [10, 2]
    assert rows(path, limit=0) == []


def test_row_count_is_known_for_parquet_alone(tmp_path: Path) -> None:
    assert row_count(parquet(tmp_path, {"a": pa.array([1, 2, 3])})) == 3
    assert row_count(csv(tmp_path, "a\n1\n")) is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.xlsx", b"", "ending in one of"),
        ("rows.parquet.gz", b"", "ending in one of"),
        ("rows", b"", "ending in one of"),
        ("rows.parquet", b"not parquet", "expected a Parquet file"),
        ("rows.csv", b"", "expected a header line"),
        ("rows.csv", b"a,b\n1,2\n1\n", "line 3: expected 2 fields, found 1"),
        ("rows.csv", b"a,a\n1,2\n", r"found \['a'\] more than once"),
        ("rows.csv", b"a,b\n1,\xff\n", "expected UTF-8"),
        ("rows.csv", b'a,b\n1,"x\n', "expected comma-separated values"),
    ],
)
def test_faults_say_what_was_expected(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(FileError, match=message):
        rows(path)


def test_missing_file_and_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"nowhere\.csv: expected a file"):
        payloads(tmp_path / "nowhere.csv")
    for path in (csv(tmp_path, "a,b\n1,2\n"), parquet(tmp_path, {"a": pa.array([1]), "b": pa.array([2])})):
        with pytest.raises(FileError, match=r"expected the columns \['c'\], found \['a', 'b'\]"):
            rows(path, columns=["a", "c"])
    with pytest.raises(FileError, match="line 2: expected a JSON object"):
        rows(csv(tmp_path, '{"a":1}\n[1]\n', "x.jsonl"), columns=["a"])


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = parquet(tmp_path, {"a": pa.array([1])})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match="install the extra `files`"):
        rows(path)


def test_columns_that_a_mapping_reads_as_text() -> None:
    fields = {"card_id": "card.number", "event_time": "when", "amount": "sum"}
    assert text_columns(Mapping.model_validate({"fields": fields})) == {"card"}
    assert text_columns(Mapping.model_validate({"fields": fields, "time_format": "%Y%m%d"})) == {"card", "when"}
