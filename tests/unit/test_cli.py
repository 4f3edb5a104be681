"""The command: quick help, documented exit codes, faults before anything is touched."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from detector import cli
from detector.cli import options
from detector.settings.text import reference


def detector(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("DETECTOR_", "KAFKA_"))}
    return subprocess.run(
        [sys.executable, "-m", "detector", *arguments],
        cwd=cwd,
        env=clean | {"PYTHONPATH": str(Path(__file__).parents[2])} | (env or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_help_is_quick_and_tells_the_exit_codes(tmp_path: Path) -> None:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        result = detector("--help", cwd=tmp_path)
        seconds.append(time.perf_counter() - start)
    assert result.returncode == 0
    for code in (
        options.OK,
        options.USAGE,
        options.INPUT,
        options.BROKER,
        options.INTERNAL,
        options.CONFIGURATION,
        options.INTERRUPTED,
    ):
        assert f"{code:3}  " in result.stdout
    for command in ("run", "validate", "config", "topics", "replay", "demo", "compile"):
        assert f"  {command} " in result.stdout
    assert min(seconds) < 1.0, "help should take 0.2 s; 1 s allows for a busy machine"


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from detector import cli\n"
        "try: cli.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'numpy', 'numba', 'pydantic', 'confluent_kafka', 'msgspec', 'rich'} & set(sys.modules)))"
    )
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=tmp_path, env=env)


def test_validate_lists_every_fault_and_exits_78(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('nosuch = 1\n[http]\nport = -1\n[kafka.client]\n"ssl.ca.location" = "/none"\n')
    for command in (["validate"], ["run"], ["config", "show"], ["topics", "create"], ["topics", "list"], ["compile"]):
        result = detector(*command, "--config", str(path), cwd=tmp_path)
        assert result.returncode == 78, command
        assert "2 fault(s)" in result.stderr
        assert "http.port: expected" in result.stderr
        assert "nosuch: expected one of" in result.stderr
        assert result.stdout == ""
    path.write_text('[kafka.client]\n"ssl.ca.location" = "/none"\n')
    result = detector("validate", "--config", str(path), cwd=tmp_path)
    assert (result.returncode, "ssl.ca.location" in result.stderr) == (78, True)


def test_validate_accepts_and_finds_the_file_of_the_folder(tmp_path: Path) -> None:
    result = detector("validate", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("valid: ")
    (tmp_path / "detector.toml").write_text("[input.fields]\nevent_time = 't'\n")
    assert "2 features, 0 entities" in detector("validate", cwd=tmp_path).stdout
    other = tmp_path / "other.toml"
    other.write_text("entities = []")
    assert "0 entities" in detector("validate", cwd=tmp_path, env={"DETECTOR_CONFIG": str(other)}).stdout


def test_config_show_masks_secrets(tmp_path: Path) -> None:
    env = {"DETECTOR_KAFKA__CLIENT__SASL_PASSWORD": "hunter2", "KAFKA_BOOTSTRAP_SERVERS": "broker:1"}
    result = detector("config", "show", cwd=tmp_path, env=env)
    assert result.returncode == 0
    assert 'bootstrap_servers = "broker:1"' in result.stdout
    assert '"sasl.password" = "********"' in result.stdout
    assert "hunter2" not in result.stdout + result.stderr


def test_config_reference_is_the_page(tmp_path: Path) -> None:
    assert detector("config", "reference", cwd=tmp_path).stdout == reference()


def test_topics_list_needs_no_broker(tmp_path: Path) -> None:
    env = {"DETECTOR_APPLICATION_ID": "shop", "DETECTOR_TOPICS__ALERTS": "shop-alerts"}
    result = detector("topics", "list", cwd=tmp_path, env=env)
    assert result.returncode == 0
    for name in ("transactions", "shop-alerts", "dead-letters", "shop.journal", "shop.snapshots"):
        assert f"| `{name}` |" in result.stdout


def test_version_and_wrong_usage(tmp_path: Path) -> None:
    assert detector("--version", cwd=tmp_path).stdout.startswith("detector ")
    for wrong in (["nosuch"], ["run", "--nosuch"], ["replay"], ["demo", "--seconds", "0"]):
        result = detector(*wrong, cwd=tmp_path)
        assert result.returncode == 2, wrong
        assert "Usage:" in result.stderr


def test_errors_that_carry_an_exit_code_end_with_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Told(Exception):
        exit_code = 69

    def ends_with(error: BaseException) -> tuple[int, str]:
        def main(**_: object) -> None:
            raise error

        monkeypatch.setattr(cli.cli, "main", main)
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        return exit_.value.code, capsys.readouterr().err

    assert ends_with(Told("expected a broker, found none")) == (69, "detector: expected a broker, found none\n")
    assert ends_with(KeyboardInterrupt())[0] == 130
    code, text = ends_with(ValueError("card 4111111111111111"))
    assert code == 70
    assert "4111111111111111" not in text
    assert "internal error" in text
    assert "Traceback" in text


@pytest.mark.slow
def test_no_broker_is_told_of_before_a_command_that_does_not_wait_ends_with_69(tmp_path: Path) -> None:
    def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return detector(*command, cwd=tmp_path, env={"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})

    with ThreadPoolExecutor() as pool:
        for result in pool.map(run, [("topics", "create"), ("lab", "backtest", "--topic")]):
            assert result.returncode == 69
            first, second = result.stderr.splitlines()
            assert first.startswith("no Kafka broker answers at 127.0.0.1:1")
            assert "expected a broker at 127.0.0.1:1" in second
