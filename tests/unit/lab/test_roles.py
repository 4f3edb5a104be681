"""What columns are taken for, and that a guess is a configuration that the service accepts."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from detector.cli import cli
from detector.codec.decode import Decoder
from detector.lab.errors import NotConfigured, WrongUsage
from detector.lab.roles import Roles, guess, settings_for, truths_of, words_of
from detector.lab.tables import open_table
from tests.quality.data import needs

GUESSES = {
    "bank_transactions.csv": {
        "event_time": "TransactionDate", "transaction_id": "TransactionID", "card": "AccountID",
        "merchant": "MerchantID", "device": "DeviceID", "ip": "IP Address", "country": "Location",
        "channel": "Channel", "amount": "TransactionAmount",
    },
    "transaction_anomalies.csv": {"transaction_id": "Transaction_ID", "amount": "Transaction_Amount"},
    "creditcard.parquet": {"event_time": "Time", "amount": "Amount", "label": "Class"},
    "fdh_raw.parquet": {
        "event_time": "TX_DATETIME", "transaction_id": "TRANSACTION_ID", "customer": "CUSTOMER_ID",
        "terminal": "TERMINAL_ID", "amount": "TX_AMOUNT", "label": "TX_FRAUD",
    },
}  # fmt: skip


def guessed(folder: Path, text: str, label: str | None = None) -> Roles:
    path = folder / "table.csv"
    path.write_text(text)
    return guess(open_table(path), label)


@pytest.mark.parametrize("name", GUESSES)
def test_the_guess_is_right_and_the_service_accepts_it(tmp_path: Path, name: str) -> None:
    table = open_table(needs(name), limit=20_000)
    settings, roles, told = settings_for(table, None, None)
    assert roles.by_role() == GUESSES[name]
    assert "guessed" in told
    assert set(roles.told) == set(table.columns)

    config = tmp_path / "detector.toml"
    config.write_text(roles.toml())
    done = CliRunner().invoke(cli, ["validate", "--config", str(config)], env={"DETECTOR_CONFIG": None})
    assert done.exit_code == 0, done.output

    if "event_time" in settings.mapping.fields:  # without it the record's own timestamp serves, which a file has not
        rows = next(table.payloads(2_000))
        decoder = Decoder(settings.mapping, settings.spec(), "t")
        offsets = np.arange(len(rows), dtype=np.int64)
        decoded = decoder.decode(rows, offsets, np.full(len(rows), -1, np.int64), np.zeros(len(rows), np.int64))
        assert decoded.rejects == []


def test_what_leaks_the_truth_is_no_number_to_look_at() -> None:
    roles = guess(open_table(needs("fdh_raw.parquet"), limit=20_000))
    assert roles.numeric == ()
    assert "truth" in roles.told["TX_FRAUD_SCENARIO"]
    assert "clock" in roles.told["TX_TIME_SECONDS"]


def test_a_file_in_no_order_has_no_budget_a_day() -> None:
    config = tomllib.loads(guess(open_table(needs("bank_transactions.csv"))).toml())
    assert config["decision"]["alerts_per_day"] == 0
    assert config["features"]["allowed_lateness"] == "366d"


def test_card_numbers_are_cards_whatever_the_name(tmp_path: Path) -> None:
    numbers = ["4111111111111111", "5500005555555559", "378282246310005", "6011000990139424"]
    rows = "".join(f"{number},{place},2024-01-01 00:00:0{place}\n" for place, number in enumerate(numbers))
    roles = guessed(tmp_path, "ref,amount,when\n" + rows)
    assert roles.card == "ref"
    assert roles.event_time == "when"
    assert not any(number in roles.toml() for number in numbers)


@pytest.mark.parametrize(
    ("values", "time_format"),
    [(range(1_700_000_000, 1_700_000_010), "epoch_s"), (range(1_700_000_000_000, 1_700_000_000_010), "epoch_ms"),
     (range(10), "seconds_since")],
)  # fmt: skip
def test_times_as_numbers(tmp_path: Path, values: range, time_format: str) -> None:
    roles = guessed(tmp_path, "timestamp,amount\n" + "".join(f"{value},{value % 7}.5\n" for value in values))
    assert roles.event_time == "timestamp"
    assert roles.time_format == time_format
    table = open_table(tmp_path / "table.csv")
    times, there = roles.times(next(table.chunks(10)))
    assert there.all()
    unit = 1 if time_format == "epoch_ms" else 1000
    assert np.diff(times).tolist() == [unit] * 9
    settings_for(table, None, None)


def test_an_empty_time_is_not_there(tmp_path: Path) -> None:
    roles = guessed(tmp_path, "t,a\n2024-01-01 00:00:00,1\n,2\n")
    times, there = roles.times(next(open_table(tmp_path / "table.csv").chunks(10)))
    assert there.tolist() == [True, False]
    assert times[0] == 1_704_067_200_000


@pytest.mark.parametrize(
    ("values", "truth"),
    [(["1", "0"], [1, 0]), (["Yes", " no"], [1, 0]), (["fraud", "Legit"], [1, 0]), ([True, False], [1, 0]),
     ([1.0, 0.0], [1, 0]), (["maybe", None], [-1, -1]), ([1, -1], [1, 0])],
)  # fmt: skip
def test_truth_in_words(values: list[object], truth: list[int]) -> None:
    assert truths_of(pa.chunked_array([values])).tolist() == truth


def test_a_column_of_three_classes_is_no_label_unless_named(tmp_path: Path) -> None:
    text = "class,amount\n1,5\n2,6\n0,7\n"
    assert guessed(tmp_path, text).label is None
    assert guessed(tmp_path, text, "class").label == "class"


def test_constant_empty_and_counting_columns_are_left_out(tmp_path: Path) -> None:
    rows = "".join(f"{row},7,,{row % 5}.25,2.5\n" for row in range(100))
    roles = guessed(tmp_path, "Unnamed: 0,same,none,value2,amount\n" + rows)
    assert roles.numeric == ("value2",)
    assert roles.told["same"] == "left out: always the same"
    assert roles.told["none"] == "left out: no value"


def test_texts_that_nothing_tells_about_are_named_in_the_configuration(tmp_path: Path) -> None:
    rows = "".join(f"{row}.5,x{row % 60},y{row % 3}\n" for row in range(200))
    text = guessed(tmp_path, "amount,PAN token,kind\n" + rows).toml()
    assert "# left out, to be named above where you know what they hold: PAN token, kind\n" in text
    assert tomllib.loads(text)["input"]["fields"] == {"amount": "amount"}


def test_an_amount_may_name_its_currency(tmp_path: Path) -> None:
    assert guessed(tmp_path, "amount_per_day,Amount (EUR)\n3,5\n4,6\n").amount == "Amount (EUR)"


def test_negative_amounts_are_allowed(tmp_path: Path) -> None:
    guessed(tmp_path, "amount,v\n-5,1\n6,2\n")
    settings, _, _ = settings_for(open_table(tmp_path / "table.csv"), None, None)
    assert settings.input.bounds.amount_min < -5


def test_names_that_toml_and_paths_must_escape(tmp_path: Path) -> None:
    guessed(tmp_path, 'amount,"say ""x""",a.b,größe\n1,1,1,1\n2,3,4,5\n')  # JSON must escape quotes: left out
    settings, roles, _ = settings_for(open_table(tmp_path / "table.csv"), None, None)
    assert sorted(settings.mapping.numeric.values()) == sorted(["a\\.b", "größe"])
    assert len(roles.numeric) == 2
    Decoder(settings.mapping, settings.spec())


def test_roles_of_a_configuration(tmp_path: Path) -> None:
    guessed(tmp_path, "who,what,when,fraud\na,1,2024-01-01T00:00:00Z,0\nb,2,2024-01-01T00:00:01Z,1\n")
    table = open_table(tmp_path / "table.csv")
    config = tmp_path / "detector.toml"
    config.write_text(
        '[input]\ntime_format = "rfc3339"\n[input.fields]\nevent_time = "when"\ncard_id = "who"\namount = "what"\n'
    )
    settings, roles, told = settings_for(table, config, None)
    assert roles.by_role() == {"event_time": "when", "card": "who", "amount": "what", "label": "fraud"}
    assert roles.numeric == ()
    assert settings.mapping.fields["card_id"] == "who"
    assert str(config) in told

    config.write_text(config.read_text().replace('"what"', '"price"'))
    with pytest.raises(NotConfigured, match=r"input.fields.amount: expected a column at 'price'.*who, what, when"):
        settings_for(table, config, None)
    with pytest.raises(WrongUsage, match="--label other: expected one of the columns"):
        settings_for(table, None, "other")


def test_the_canonical_transaction_may_lack_what_is_optional(tmp_path: Path) -> None:
    header = "transaction_id,event_time,card_id,customer_id,merchant_id,amount,currency"
    guessed(tmp_path, f"{header}\nt1,1700000000000,c,u,m,5,EUR\nt2,1700000001000,c,u,m,6,EUR\n")
    config = tmp_path / "detector.toml"
    config.write_text("[decision]\nalerts_per_day = 5\n")
    _, roles, _ = settings_for(open_table(tmp_path / "table.csv"), config, None)
    assert roles.ip is None
    assert roles.time_format == "epoch_ms"
    guessed(tmp_path, header.replace("currency", "money") + "\nt1,1700000000000,c,u,m,5,EUR\n")
    with pytest.raises(NotConfigured, match=r"input.fields.currency: expected a column"):
        settings_for(open_table(tmp_path / "table.csv"), config, None)


def test_a_configured_format_that_nobody_would_guess(tmp_path: Path) -> None:
    guessed(tmp_path, "when,amount\n31 12 99 23h59,1\n01 01 00 00h00,2\nnever,3\n")
    config = tmp_path / "detector.toml"
    config.write_text(
        '[input]\ntime_format = "%d %m %y %Hh%M"\n[input.fields]\nevent_time = "when"\namount = "amount"\n'
    )
    table = open_table(tmp_path / "table.csv")
    _, roles, _ = settings_for(table, config, None)
    times, there = roles.times(next(table.chunks(10)))
    assert there.tolist() == [True, True, False]
    assert times[1] - times[0] == 60_000


def test_numbers_out_of_bounds_are_left_out(tmp_path: Path) -> None:
    roles = guessed(tmp_path, "amount,x,y\n1e13,1e16,1\n2,3,7\n")
    assert roles.amount is None
    assert roles.numeric == ("amount", "y")


@pytest.mark.parametrize(
    ("name", "words"),
    [("TX_FRAUD_SCENARIO", ["tx", "fraud", "scenario"]), ("IPAddress", ["ip", "address"]), ("V12", ["v12"]),
     ("isFlaggedFraud", ["is", "flagged", "fraud"]), ("IP Address", ["ip", "address"])],
)  # fmt: skip
def test_words_of_a_name(name: str, words: list[str]) -> None:
    assert words_of(name) == words


def test_years_that_no_transaction_has_are_no_times(tmp_path: Path) -> None:
    rows = [f"{i},{2024 if i % 10 else year}-01-01 00:{i % 60:02d}:00,{i}" for i, year in zip(
        range(100), ("0001", "9999") * 50, strict=True)]  # fmt: skip
    roles = guessed(tmp_path, "id,time,amount\n" + "\n".join(rows))
    assert roles.event_time == "time"
    _, there = roles.times(open_table(tmp_path / "table.csv").sample)
    assert there.tolist() == [i % 10 != 0 for i in range(100)]
    assert roles.disorder_ms == 58 * 60_000  # from minute 59 to the next hour's minute 1


@pytest.mark.parametrize("text", ["alerts_per_month = 3", "x = ["])
def test_every_command_tells_the_faults_of_a_configuration(tmp_path: Path, text: str) -> None:
    (tmp_path / "table.csv").write_text("id,amount\n1,2\n2,3\n")
    (tmp_path / "bad.toml").write_text(text)
    for command in (["explore"], ["evaluate", "--no-tracking"], ["train", "--model=xgboost", "--no-tracking"]):
        arguments = ["lab", *command, str(tmp_path / "table.csv"), "--config", str(tmp_path / "bad.toml")]
        error = CliRunner().invoke(cli, arguments).exception
        assert isinstance(error, NotConfigured)
        assert f"{tmp_path / 'bad.toml'}: 1 fault(s)" in str(error)
