"""`detector lab explain --row`: the state stands still as it was when the row was decided; ours beside LIME's."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from detector.cli import cli
from detector.lab import freeze, lime
from detector.lab.errors import InputStopped, WrongUsage
from detector.lab.fold import VERDICTS, DecidedRows, Fold
from detector.settings import Settings, load
from tests.unit.lab.test_replay import CONFIG, transaction

ROWS, ODD = 1_500, 1_350  # `transaction` makes every 200th from 150 on thirty times as dear
CARD = "4111111111111111"
NOISE = '[input.numeric]\nn = "n"\nm = "m"\n'


@pytest.fixture(scope="module")
def rows() -> list[bytes]:
    found = [transaction(number, m=float(np.random.default_rng(number).normal())) for number in range(ROWS)]
    found[1_340]["id"] = CARD
    found[1_341]["amount"] = "much"
    del found[1_342]["n"]
    return [json.dumps(row).encode() for row in found]


@pytest.fixture
def source(rows: list[bytes], tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(rows))
    return path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    path = tmp_path / "detector.toml"
    path.write_text(CONFIG.replace('[input.numeric]\nn = "n"\n', NOISE))
    return load(path, {})


@pytest.fixture
def decided(settings: Settings, rows: list[bytes]) -> DecidedRows:
    return Fold(settings, "pay", 1).decide(rows)


def test_what_is_explained_is_what_was_decided(settings: Settings, source: Path, decided: DecidedRows) -> None:
    for row in (1_200, ODD):
        frozen = freeze.find(settings, source, f"t{row}")
        assert frozen.risk == decided.risk[row]
        assert frozen.verdict == VERDICTS[int(decided.verdict[row])]
        assert frozen.score.tobytes() == decided.score[:, row].tobytes()
        pairs = zip(frozen.state.plan.members, frozen.state.members, strict=True)
        again = np.empty(len(frozen.members))
        for position, (member, arrays) in enumerate(pairs):
            member.score(arrays, frozen.features[None], again[position : position + 1])
        assert again.tobytes() == frozen.score.tobytes()
    assert frozen.verdict == "alert"
    assert list(frozen.reasons) == decided.reasons[ODD]


def test_asking_changes_nothing(settings: Settings, source: Path) -> None:
    frozen = freeze.find(settings, source, f"t{ODD}")
    first = lime.compare(frozen, samples=500)
    second = lime.compare(frozen, samples=500)
    for one, other in zip(first.lines, second.lines, strict=True):
        assert one.ours.tobytes() == other.ours.tobytes()
        assert one.lime.tobytes() == other.lime.tobytes()


def test_contributions_of_the_members_add_up_to_the_fused_ones(settings: Settings, source: Path) -> None:
    credits = freeze.find(settings, source, f"t{ODD}").credits()
    assert credits[:-1].sum(axis=0) == pytest.approx(credits[-1])
    assert credits[-1].sum() > 0


def test_both_find_the_amount(settings: Settings, source: Path) -> None:
    compared = lime.compare(freeze.find(settings, source, f"t{ODD}"), samples=2_000)
    fused = compared.fused
    assert "amount" in compared.features[int(np.argmax(fused.ours))]
    first = [compared.features[place] for place in np.argsort(-fused.lime)[:3].tolist()]
    assert any("amount" in name for name in first)
    assert compared.features[int(np.argmax(fused.lime))] not in ("numeric.n", "numeric.m")
    assert fused.rank_correlation > 0.3
    assert fused.top >= 3
    assert 0 < fused.fit <= 1
    assert np.abs(lime.share(fused.ours)).sum() == pytest.approx(1)


def test_a_value_that_is_missing_is_left_out_and_named(settings: Settings, source: Path) -> None:
    compared = lime.compare(freeze.find(settings, source, "t1342"), samples=500)
    assert "numeric.n" in compared.missing
    assert "numeric.n" not in compared.features


def test_a_row_without_id_is_found_by_its_place(settings: Settings, source: Path, rows: list[bytes]) -> None:
    by_id, by_place = (freeze.find(settings, source, name) for name in ("t1200", "pay-0-1200"))
    assert by_id.features.tobytes() == by_place.features.tobytes()
    with pytest.raises(WrongUsage, match="expected the id of a row"):
        freeze.find(settings, source, "1200")
    nameless = settings.model_copy(
        update={
            "input": settings.input.model_copy(
                update={
                    "fields": {role: path for role, path in settings.input.fields.items() if role != "transaction_id"}
                }
            )
        }
    )
    assert freeze.find(nameless, source, "1200").transaction_id == "pay-0-1200"


def test_rows_that_cannot_be_explained_say_why(settings: Settings, source: Path) -> None:
    with pytest.raises(WrongUsage, match="found none among 1,500 rows"):
        freeze.find(settings, source, "t9999")
    with pytest.raises(InputStopped, match=r"wrong_type, amount: expected"):
        freeze.find(settings, source, "t1341")
    with pytest.raises(InputStopped, match="expected a row after the models' first window"):
        freeze.find(settings, source, "t5")


def test_the_command_leaves_a_report(settings: Settings, source: Path, tmp_path: Path) -> None:
    config, output = tmp_path / "detector.toml", tmp_path / "report"
    arguments = ["lab", "explain", str(source), "--config", str(config), "--row", CARD, "--output", str(output)]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    assert "agreement with LIME: rank correlation" in done.stdout
    page = (output / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert CARD not in page + done.stdout
    figures = json.loads((output / "figures.json").read_text())
    assert figures["transaction_id"] == "************1111"
    assert set(figures["agreement"]) == {"fused", *figures["scores"]}
    with (output / "contributions.csv").open() as file:
        table = list(csv.DictReader(file))
    assert sum(abs(float(line["ours, share"])) for line in table) == pytest.approx(1, abs=0.01)
    assert {line["feature"] for line in table} == set(figures["agreement"]["fused"]["ours"])
    again = CliRunner().invoke(cli, [*arguments[:-1], str(source.parent)])
    assert again.exit_code != 0


def test_one_file_has_to_be_named(source: Path) -> None:
    for arguments in ([], [str(source), "--input", str(source)]):
        done = CliRunner().invoke(cli, ["lab", "explain", *arguments])
        assert done.exit_code == 2
        assert "expected one file" in done.output
