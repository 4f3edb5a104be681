"""`detector lab explain`: alerts of every group, drawn evenly and alike at each run, with their reasons."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from detector.cli import cli
from detector.lab import examples
from detector.lab.errors import InputStopped, NotConfigured
from detector.lab.fold import Fold
from detector.lab.labels import LABEL_INTERVAL_MS, learning
from detector.settings import load
from tests.unit.lab.test_replay import CONFIG, transaction

ROWS = 1_500
CARD = "4111111111111111"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "detector.toml"
    path.write_text(CONFIG.replace("alerts_per_day = 20", "alerts_per_day = 40"))
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    rows = [transaction(number) for number in range(ROWS)]
    rows[1_350]["fraud"] = CARD
    del rows[1_150]["fraud"]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def run(config: Path, source: Path, alerts: int = 10, column: str | None = "fraud") -> list[str]:
    return examples.run(load(config, {}), source, column=column, alerts=alerts)


def test_it_prints_alerts_of_each_group_with_the_reasons_of_the_replay(config: Path, source: Path) -> None:
    lines = run(config, source)
    fold = Fold(load(config, {}), "pay", 1)
    decided = fold.decide(source.read_bytes().split(b"\n"))
    frauds = [row for row in decided.reasons if transaction(row)["fraud"] and row not in (1_150, 1_350)]
    heading = f"## fraud = 1: {len(frauds)} alerts among 5 rows"
    assert heading in lines
    part = lines[lines.index(heading) + 2 :]
    for row in frauds:
        at = part.index(next(line for line in part if line.startswith(f"t{row}  ")))
        assert f"risk {decided.risk[row]:.1f}" in part[at]
        shown = part[at + 1 : at + 1 + len(decided.reasons[row])]
        assert shown == [f"  {n}. {text}" for n, text in enumerate(decided.reasons[row], start=1)]
    assert any(line.startswith("## fraud = nothing: ") for line in lines)
    assert any(line.startswith("## fraud = ************1111: ") for line in lines)
    assert CARD not in "\n".join(lines)


def test_which_alerts_are_shown_is_drawn_evenly_and_alike_each_time(config: Path, source: Path) -> None:
    all_of_them, some = run(config, source, 1_000), run(config, source, 6)
    assert run(config, source, 6) == some

    def of_no_fraud(lines: list[str]) -> list[int]:
        part = lines[lines.index(next(line for line in lines if line.startswith("## fraud = 0: "))) :]
        part = part[: next((n for n, line in enumerate(part) if n and line.startswith("##")), len(part))]
        return [int(line.split(" ")[0][1:]) for line in part if line.startswith("t")]

    drawn, every = of_no_fraud(some), of_no_fraud(all_of_them)
    assert len(drawn) == 6 < len(every)
    assert set(drawn) < set(every)
    assert drawn == sorted(drawn)
    assert np.median(drawn) > every[3]  # not simply the first ones


def test_without_a_column_all_rows_are_one_group(config: Path, source: Path) -> None:
    lines = run(config, source, column=None)
    assert len([line for line in lines if line.startswith("##")]) == 1
    assert lines[0].startswith("## ")
    assert "among 1,500 rows" in lines[0]


def test_a_column_of_ids_is_refused(config: Path, source: Path) -> None:
    with pytest.raises(NotConfigured, match="--by id: expected at most 50 values"):
        run(config, source, column="id")


def test_a_column_that_is_not_there_is_refused(config: Path, source: Path) -> None:
    with pytest.raises(NotConfigured, match="--by scenarios: expected a column with values, found none"):
        examples.run(load(config, {}), source, column="scenarios")


def test_what_cannot_be_read_is_told(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("{}\n" * 20)
    with pytest.raises(InputStopped):
        run(config, path)
    untimed = tmp_path / "untimed.toml"
    untimed.write_text('[input.fields]\namount = "amount"\n')
    with pytest.raises(NotConfigured, match="event_time"):
        run(untimed, path)


def test_the_command_prints_them(config: Path, source: Path) -> None:
    arguments = ["lab", "explain", "--config", str(config), "--input", str(source), "--by", "fraud", "--alerts", "2"]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    assert "## fraud = 1: " in done.stdout
    assert "  1. " in done.stdout


def test_without_a_configuration_the_columns_are_guessed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DETECTOR_CONFIG", raising=False)
    (tmp_path / "detector.toml").unlink(missing_ok=True)
    done = CliRunner().invoke(cli, ["lab", "explain", str(source), "--alerts", "2"])
    assert done.exit_code == 0, done.output
    assert "no configuration: roles are guessed" in done.stderr
    assert "alerts among" in done.stdout


def test_a_file_of_another_dialect_is_read_as_explore_reads_it(config: Path, tmp_path: Path) -> None:
    """Semicolons, decimal commas, no UTF-8: the same alerts as of plain CSV, and what was decided is told."""
    rows = [transaction(number) | {"place": "Málaga"} for number in range(ROWS)]
    plain, german = tmp_path / "plain.csv", tmp_path / "german.csv"
    for path, delimiter, encoding in ((plain, ",", "utf-8"), (german, ";", "cp1252")):
        with path.open("w", newline="", encoding=encoding) as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows if path == plain else [comma(row) for row in rows])
    found = run(config, german)
    assert "separator ;" in found
    assert found[-len(run(config, plain)) :] == run(config, plain)


def comma(row: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value).replace(".", ",") if isinstance(value, float) else value for name, value in row.items()}


def test_labels_are_learned_as_a_replay_learns_them(config: Path, source: Path) -> None:
    command = [
        *("lab", "explain", str(source), "--config", str(config), "--by", "fraud"),
        *("--labels-column", "fraud", "--label-delay", "1m"),
    ]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    settings, labels = learning(load(config, {}), "fraud", None, 60_000)
    decided = Fold(settings, "pay", 1, labels, LABEL_INTERVAL_MS).decide(source.read_bytes().split(b"\n"))
    assert f"## fraud = 0: {sum(not transaction(row)['fraud'] for row in decided.reasons)} alerts" in done.output
    without = CliRunner().invoke(cli, command[:-4])
    assert without.output != done.output
    refused = CliRunner().invoke(cli, [*command[:-4], "--label-delay", "1h"])
    assert "expected --labels or --labels-column beside it" in str(refused.exception)
    assert CliRunner().invoke(cli, [*command, "--row", "t1"]).exit_code == 2
