"""Properties of `[kafka] client` are tried on every client that a run makes, before it runs and without a broker."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from detector.cli import cli
from detector.kafka import properties
from detector.settings import Settings


def settings(client: dict[str, Any], **kafka: Any) -> Settings:
    return Settings.model_validate({"kafka": {"client": client, **kafka}})


def test_every_property_at_fault_is_told_by_the_name_that_it_has_in_the_file() -> None:
    client = {
        "sasl.mechanisn": "PLAIN", "security.protocl": "SSL", "compression.type": "best", "linger.ms": 5,
        "fetch.min.bytes": 0, "retries": 0, "stats_cb": "x",
    }  # fmt: skip
    found = properties.faults(settings(client))
    places = {fault.partition(": ")[0].removeprefix("kafka.client.") for fault in found}
    assert places == client.keys() - {"linger.ms"}
    assert len(found) == len(places)
    assert all(": expected what librdkafka takes, found: " in fault for fault in found)


@pytest.mark.parametrize(
    "client",
    [
        {},
        {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.username": "a", "sasl.password": "b"},
        {"linger.ms": 5, "fetch.min.bytes": 5, "enable.ssl.certificate.verification": True},
    ],
)
@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_what_librdkafka_takes_is_no_fault(client: dict[str, Any], guarantee: str) -> None:
    assert properties.faults(settings(client, guarantee=guarantee)) == []


def test_what_goes_together_is_one_fault() -> None:
    [fault] = properties.faults(settings({"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"}))
    assert fault.startswith("kafka.client: expected")
    assert "sasl.username" in fault


def test_what_only_transactions_forbid_is_a_fault_of_theirs_alone() -> None:
    client = {"message.timeout.ms": 250_000}
    [fault] = properties.faults(settings(client, guarantee="exactly_once"))
    assert fault.startswith("kafka.client.message.timeout.ms: expected")
    assert properties.faults(settings(client, guarantee="at_least_once")) == []


def test_secrets_are_not_shown() -> None:
    [fault] = properties.faults(settings({"debug": "hunter2", "sasl.password": "hunter2"}))
    assert fault.startswith("kafka.client.debug: ")
    assert "hunter2" not in fault


def test_validate_tells_them_beside_missing_files_and_asks_no_broker(tmp_path: Path) -> None:
    path = tmp_path / "detector.toml"
    with socket.create_server(("127.0.0.1", 0)) as broker:
        broker.settimeout(0.3)
        path.write_text(
            f'[kafka]\nbootstrap_servers = "127.0.0.1:{broker.getsockname()[1]}"\n[kafka.client]\n'
            '"security.protocol" = "SSL"\n"ssl.ca.location" = "/none"\n"linger.mss" = 5\n'
        )
        done = CliRunner().invoke(cli, ["validate", "--config", str(path)])
        with pytest.raises(TimeoutError):
            broker.accept()
    assert done.exit_code == 78
    [head, file, name] = done.stderr.splitlines()
    assert "2 fault(s)" in head
    assert file.strip().startswith("kafka.client.ssl.ca.location: expected a file that is there")
    assert name.strip().startswith("kafka.client.linger.mss: expected what librdkafka takes")
