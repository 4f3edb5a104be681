"""`deploy/examples/bank_transactions.toml` over made-up rows of its format, in no order of time."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from detector.cli import cli
from tests.quality.data import EXAMPLES, needs

CONFIG = EXAMPLES / "bank_transactions.toml"
FIRST = datetime(2023, 1, 2, 16, tzinfo=UTC)
ROWS, ODD = 1_500, 1_400
CITIES = ("San Diego", "Houston", "Mesa", "Raleigh", "Oklahoma City")
COLUMNS = (
    "TransactionID", "AccountID", "TransactionAmount", "TransactionDate", "TransactionType", "Location", "DeviceID",
    "IP Address", "MerchantID", "Channel", "CustomerAge", "CustomerOccupation", "TransactionDuration", "LoginAttempts",
    "AccountBalance", "PreviousTransactionDate",
)  # fmt: skip


def transaction(number: int, chance: np.random.RandomState) -> dict[str, Any]:
    """A row; that of number ODD is far off in amount, duration and attempts."""
    account, odd = int(chance.randint(40)), number == ODD
    day = FIRST + timedelta(days=int(chance.randint(364)), minutes=int(chance.randint(150)))
    values = (
        f"TX{number + 1:06}", f"AC{account:05}", 9_000.0 if odd else round(float(chance.gamma(2.0, 60.0)), 2),
        f"{day:%d-%m-%Y %H:%M}", "Debit", CITIES[account % 5], f"D{account % 30:06}", f"162.198.218.{account}",
        f"M{chance.randint(20):03}", ("ATM", "Online", "Branch")[chance.randint(3)], 20 + account, "Doctor",
        290 if odd else int(chance.randint(20, 200)), 5 if odd else 1, round(500.0 + 100 * account, 2),
        "04-11-2024 08:08",
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, Any]]:
    """Made up, and written to `bank.csv`."""
    chance = np.random.RandomState(3)
    made = [transaction(number, chance) for number in range(ROWS)]
    with (tmp_path / "bank.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(made)
    return made


def test_every_row_is_decided_by_its_own_time_and_the_odd_one_alerts(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    output = tmp_path / "decisions.parquet"
    command = ["replay", "--config", str(CONFIG), "--input", str(tmp_path / "bank.csv"), "--output", str(output)]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    decided = pq.read_table(output).to_pylist()
    assert [one["transaction_id"] for one in decided] == [row["TransactionID"] for row in rows]
    told = [datetime.strptime(row["TransactionDate"], "%d-%m-%Y %H:%M").replace(tzinfo=UTC) for row in rows]
    assert [one["event_time"] for one in decided] == told, "day first, UTC"
    assert not any(one["late"] for one in decided), "within a year nothing is"
    alerts = [one for one in decided if one["verdict"] == "alert"]
    assert 0 < len(alerts) < ROWS / 10
    found = decided[ODD]
    assert found["verdict"] == "alert"
    assert any("9,000" in reason or "9000" in reason for reason in found["reasons"]), found["reasons"]


def test_the_columns_are_the_file_s_own() -> None:
    with needs("bank_transactions.csv").open(newline="") as file:
        assert tuple(next(csv.reader(file))) == COLUMNS
