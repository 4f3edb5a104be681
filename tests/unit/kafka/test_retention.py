"""The start-up check of the input's retention."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from detector.kafka.errors import ConfigurationRefused
from detector.kafka.retention import judge


@pytest.mark.parametrize(
    "config", [{"retention.ms": "120000"}, {"retention.ms": "-1"}, {}, {"cleanup.policy": "compact"}]
)
def test_enough(config: dict[str, str]) -> None:
    judge("input", config, 60)


@pytest.mark.parametrize("policy", ["delete", "compact,delete"])
def test_too_little_names_both_settings(policy: str) -> None:
    with pytest.raises(
        ConfigurationRefused, match=r"120000 ms.*retention.ms=119999.*snapshots.interval_s to 59"
    ) as refusal:
        judge("input", {"retention.ms": "119999", "cleanup.policy": policy}, 60)
    assert refusal.value.exit_code == 78


@pytest.mark.parametrize("config", [{"retention.bytes": "1000000"}, {"cleanup.policy": "compact"}])
def test_what_may_be_too_little_is_warned_of(config: dict[str, str]) -> None:
    with capture_logs() as logs:
        judge("input", config, 60)
    assert [line["log_level"] for line in logs] == ["warning"]
