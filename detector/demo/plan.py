"""What the demo runs: names, configuration and command lines, all decided before anything starts.

Law: a run has its own application id and, on a broker that is not its own, its own topics; so it neither sees nor
touches what belongs to others.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from schemas.topics import TOPICS

PARTITIONS = 3
RATE_PER_S = 3_000
# 8,000 customers pay about 15,000 times a day, so a day passes in 5 seconds: within a minute every card has a history
# to be compared with.
CUSTOMERS, TERMINALS, MERCHANTS = 8_000, 10_000, 2_000
FRAUD_SHARE = 0.01
ALERTS_PER_DAY = 18  # of about 150 frauds: three or four alerts a second, the most that an eye can follow
TREES = 50
# What tells fraud from habit in such payments. Every further feature that is often missing, or often odd in honest
# payments, takes splits away from these.
MODEL_FEATURES = (
    "amount",
    "card.count.1h",
    "card.count.24h",
    "card.sum.24h",
    "card.seconds_since_last",
    "card.amount_to_mean.30d",
    "card.amount_to_max.30d",
    "card.new.country",
    "card.new.device",
    "card.speed_kmh",
    "device.count.1h",
)
METRICS_PORT = 9464  # the default of [http] port; any free one where it is taken
# A demo may stay open for hours: old segments go, whatever the table of topics says.
SHORT_LIVED = {"retention.ms": "300000", "segment.ms": "120000", "segment.bytes": "33554432"}
SHORT_LIVED_COMPACTED = {
    "segment.ms": "60000",
    "segment.bytes": "33554432",
    "min.cleanable.dirty.ratio": "0.1",
    "delete.retention.ms": "60000",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. `topics`: role → name; `folder` holds every file of the run; `given_servers` empty: an own broker."""

    folder: Path
    application_id: str
    topics: Mapping[str, str]
    given_servers: str

    @classmethod
    def draw(cls, folder: Path, given_servers: str) -> Plan:
        """A plan with names nobody else has."""
        application_id = f"fraud-demo-{uuid.uuid4().hex[:8]}"
        prefix = f"{application_id}." if given_servers else ""
        names = {role: prefix + topic.name for role, topic in TOPICS.items() if "{" not in topic.name}
        names |= {
            role: topic.name.format(application_id=application_id)
            for role, topic in TOPICS.items()
            if "{" in topic.name
        }
        return cls(folder, application_id, names, given_servers)

    @property
    def port_file(self) -> Path:
        """Where the embedded broker writes its address."""
        return self.folder / "broker.address"

    @property
    def config_file(self) -> Path:
        """The detector's settings."""
        return self.folder / "detector.toml"

    def write_config(self, bootstrap_servers: str, http_port: int) -> None:
        """The settings, for the detector and for whoever wants to read them."""
        topics = "\n".join(
            f"{role} = {json.dumps(name)}" for role, name in self.topics.items() if role not in ("journal", "snapshots")
        )
        self.config_file.write_text(
            f"""# The demo's detector: everything not said here has its default.
application_id = {json.dumps(self.application_id)}

[kafka]
bootstrap_servers = {json.dumps(bootstrap_servers)}
guarantee = "exactly_once"

[topics]
{topics}

[input]
event_time_ahead_max = ""  # simulated days pass in seconds, and soon lie in the future

[models.half_space_trees]
trees = {TREES}
features = {json.dumps(MODEL_FEATURES)}

[decision]
alerts_per_day = {ALERTS_PER_DAY}  # days of event time

[http]
port = {http_port}

[log]
format = "json"
""",
            encoding="utf-8",
        )

    def environment(self) -> dict[str, str]:
        """Of the children: ours, less what would change their settings; temporary files lie in the run's folder."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if name == "DETECTOR_CACHE_DIR" or not name.startswith(("DETECTOR_", "KAFKA_BOOTSTRAP_SERVERS"))
        }
        return kept | {"TMPDIR": str(self.folder), "PYTHONUNBUFFERED": "1"}

    def broker(self) -> list[str]:
        """Command line of the embedded broker."""
        return [*_python("detector.kafka.embedded"), "--port-file", str(self.port_file)]

    def make_topics(self) -> list[str]:
        """Command line that makes the topics."""
        return [
            *_python("detector"), "topics", "create", "--config", str(self.config_file),
            "--partitions", str(PARTITIONS),
        ]  # fmt: skip

    def detector(self) -> list[str]:
        """Command line of the detector."""
        return [*_python("detector"), "run", "--config", str(self.config_file)]

    def simulator(self, bootstrap_servers: str) -> list[str]:
        """Command line of the simulator: endless, labels at once so that the view knows the truth."""
        options = {
            "bootstrap-servers": bootstrap_servers,
            "topic": self.topics["transactions"],
            "labels-topic": self.topics["labels"],
            "customers": CUSTOMERS,
            "terminals": TERMINALS,
            "merchants": MERCHANTS,
            "fraud-share": FRAUD_SHARE,
            "rate": RATE_PER_S,
            "days": 0,
            "label-delay": "0s",
        }
        return [*_python("producers"), "simulate", *(f"--{name}={value}" for name, value in options.items())]


def _python(module: str) -> list[str]:
    """-P: a folder of the same name where the demo happens to run must not take the module's place."""
    return [sys.executable, "-P", "-m", module]
