"""The command line: what is refused, with which exit code; files as output. Brokers come in the integration tests."""

from __future__ import annotations

import gzip
import time
from pathlib import Path
from threading import Event

import pytest
from click.testing import CliRunner, Result

from producers import cli
from producers.cli import main
from producers.publish import ANSWER_S, CONNECT_S, Publisher
from schemas.files import payloads

SMALL = ["--customers", "50", "--terminals", "80", "--merchants", "20", "--days", "3"]
NOBODY = "localhost:1"  # nothing listens on port 1


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_simulate_to_files(tmp_path: Path) -> None:
    outputs = []
    for name in ("a.jsonl", "b.jsonl"):
        result = invoke("simulate", *SMALL, "--fraud-share", "0.1", "--output", tmp_path / name)
        assert result.exit_code == 0, result.output
        outputs.append((tmp_path / name).read_bytes())
        assert (tmp_path / name.replace(".jsonl", ".labels.jsonl")).read_bytes().count(b'"is_fraud":true') > 5
    assert outputs[0] == outputs[1]
    assert f"{outputs[0].count(10):,} transactions" in result.output


def test_count_is_exact_beyond_the_default_days(tmp_path: Path) -> None:
    result = invoke("simulate", *SMALL[:6], "--count", "5000", "--output", tmp_path / "a.jsonl", "--quiet")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "a.jsonl").read_bytes().count(b"\n") == 5_000


def test_replay_to_a_file_is_the_file(tmp_path: Path) -> None:
    source = tmp_path / "rows.csv"
    source.write_text("card_id,amount\n007,1.50\n8,\n")
    result = invoke("replay", source, "--output", tmp_path / "out.jsonl")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out.jsonl").read_bytes() == b'{"card_id":"007","amount":1.50}\n{"card_id":"8"}\n'
    assert next(payloads(tmp_path / "out.jsonl")) == [b'{"card_id":"007","amount":1.50}', b'{"card_id":"8"}']


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["simulate", "--start", "yesterday"], "expected a day such as"),
        (["simulate", "--start", "2025-01-01T12:00:00Z"], "expected a day such as"),
        (["simulate", "--label-delay", "soon"], "expected a duration such as"),
        (["simulate", "--scenario", "phishing"], "phishing"),
        (["simulate", "--kafka-option", "linger.ms"], "expected key=value"),
        (["replay", "x.csv", "--speed", "2", "--rate", "5"], "expected --speed or --rate"),
    ],
)
def test_usage_faults_end_with_2(arguments: list[str], message: str) -> None:
    result = invoke(*arguments)
    assert (result.exit_code, message in result.output) == (2, True), result.output


def test_input_faults_end_with_65(tmp_path: Path) -> None:
    result = invoke("replay", tmp_path / "none.csv", "--output", tmp_path / "out.jsonl")
    assert result.exit_code == 65
    assert "expected a file to read rows from" in result.output
    source = tmp_path / "rows.csv"
    source.write_text("a,b\n1,2\n3\n")
    result = invoke("replay", source, "--output", tmp_path / "out.jsonl")
    assert result.exit_code == 65
    assert "line 3: expected 2 fields" in result.output
    cut_off = tmp_path / "rows.jsonl.gz"
    cut_off.write_bytes(gzip.compress(b"".join(b'{"a":%d}\n' % (i * i) for i in range(10_000)))[:-100])
    result = invoke("replay", cut_off, "--output", tmp_path / "out.jsonl")
    assert result.exit_code == 65
    assert "rows.jsonl.gz, after line " in result.output


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux alone has a device that is always full")
def test_a_full_disk_ends_with_78(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").symlink_to("/dev/full")
    result = invoke("simulate", *SMALL[:6], "--count", "5", "--output", tmp_path / "a.jsonl")
    assert result.exit_code == 78
    assert "a.jsonl: cannot be written to its end: No space left on device" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        (None, "expected a detector.toml"),
        ("[input\n", "expected TOML"),
        ('[input]\ntime_format="dunno"\n[input.fields]\nwho="a"\n', "[input] fields.who"),
    ],
)
def test_configuration_faults_end_with_78(tmp_path: Path, toml: str | None, message: str) -> None:
    source, config = tmp_path / "rows.csv", tmp_path / "detector.toml"
    source.write_text("a\n1\n")
    if toml is not None:
        config.write_text(toml)
    result = invoke("replay", source, "--config", config, "--output", tmp_path / "out.jsonl")
    assert (result.exit_code, message in result.output) == (78, True), result.output


def test_labels_without_ids_end_with_78_before_anything_is_written(tmp_path: Path) -> None:
    source, config, output = tmp_path / "rows.csv", tmp_path / "detector.toml", tmp_path / "out.jsonl"
    source.write_text("Time,Class\n1,0\n")
    config.write_text('[input]\ntime_format="epoch_s"\n[input.fields]\nevent_time="Time"\n')
    result = invoke("replay", source, "--config", config, "--labels-column", "Class", "--output", output)
    assert result.exit_code == 78
    assert f"{config}: expected transaction_id" in result.output
    assert not output.exists()


def test_unknown_kafka_options_end_with_78() -> None:
    result = invoke("simulate", *SMALL, "--bootstrap-servers", NOBODY, "--kafka-option", "linger.mss=1")
    assert result.exit_code == 78
    assert 'No such configuration property: "linger.mss"' in result.output


def test_no_broker_and_no_wait_ends_with_69() -> None:
    result = invoke("simulate", *SMALL, "--bootstrap-servers", NOBODY, "--no-wait")
    assert result.exit_code == 69
    assert f"expected a Kafka broker at {NOBODY}" in result.output


def test_a_broker_that_is_not_there_is_told_of_before_waiting_is_given_up() -> None:
    told, stop = [], Event()

    def tell(line: str) -> None:
        told.append(line)
        stop.set()

    began_s = time.monotonic()
    assert not Publisher(NOBODY, tell=tell, stop=stop).connect({"transactions": "payments"})
    assert time.monotonic() - began_s < CONNECT_S - ANSWER_S
    assert told == [f"no Kafka broker answers at {NOBODY}: trying on, nothing is lost; Ctrl-C stops"]


def test_what_should_not_happen_ends_with_70(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cli, "run", lambda *arguments: 1 / 0)
    result = invoke("simulate", *SMALL, "--output", tmp_path / "a.jsonl")
    assert result.exit_code == 70
    assert "ZeroDivisionError" in result.output


@pytest.mark.parametrize("command", [[], ["simulate"], ["replay"]])
def test_help_tells_the_exit_codes(command: list[str]) -> None:
    result = invoke(*command, "--help")
    assert result.exit_code == 0
    for code in ("0 ", "2 ", "65", "69", "70", "78"):
        assert f"\n    {code} " in result.output or f"\n  {code} " in result.output
