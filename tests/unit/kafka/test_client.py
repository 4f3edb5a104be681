"""Properties of `[kafka] client` that librdkafka does not take are the configuration's fault, not ours."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from detector.cli import cli
from detector.kafka import client
from detector.kafka.errors import ConfigurationRefused
from detector.settings import Settings


def settings(**properties: Any) -> Settings:
    return Settings.model_validate({"kafka": {"bootstrap_servers": "127.0.0.1:1", "client": properties}})


@pytest.mark.parametrize(
    ("properties", "told"),
    [
        ({"security.protocl": "SSL"}, "security.protocl"),
        ({"security.protocol": "SSSL"}, "SSSL"),
        ({"fetch.min.bytes": "many"}, "fetch.min.bytes"),
        ({"security.protocol": "SSL", "ssl.ca.location": "/no/such/file"}, "ssl.ca.location"),
    ],
    ids=["name", "value", "value_of_consumers_only", "file"],
)
def test_what_librdkafka_does_not_take_is_refused(properties: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigurationRefused, match=told) as refusal:
        client.new_admin(settings(**properties), lambda _error: None)
    assert refusal.value.exit_code == 78
    assert str(refusal.value).startswith("kafka.client: ")


@pytest.mark.parametrize("command", [["validate"], ["run"], ["topics", "create"], ["lab", "backtest", "--topic"]])
def test_commands_end_with_the_exit_code_of_a_wrong_configuration(
    command: list[str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "detector.toml"
    path.write_text('[http]\nport = 0\n[kafka.client]\n"security.protocol" = "SSSL"\n')
    done = CliRunner().invoke(cli, [*command, "--config", str(path)])
    code = done.exit_code if isinstance(done.exception, SystemExit) else getattr(done.exception, "exit_code", None)
    assert code == 78, done.output
