"""The command `detector run` as users start it, and what it has written, by place in the input. No fixtures here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
from confluent_kafka import KafkaError, KafkaException

from schemas.dead_letter import DeadLetter
from tests.integration.support import committed_offsets, end_offsets, read_topic, wait_for

ROOT = Path(__file__).parents[2]
COMING_UP = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
)
Place = tuple[int, int]  # partition, offset


class Source(msgspec.Struct):
    partition: int
    offset: int


class Reason(msgspec.Struct):
    text: str


class Told(msgspec.Struct):
    """What alerts and decisions share, and an alert's reasons."""

    transaction_id: str
    event_time: int
    verdict: str
    risk_score: float
    scores: dict[str, float]
    late: bool
    source: Source
    reasons: list[Reason] = []

    @property
    def place(self) -> Place:
        return self.source.partition, self.source.offset


def environment(kafka: str, names: Mapping[str, str], **settings: object) -> dict[str, str]:
    """Environment of the command: `names` as the fixture `topic_names` gives them; `kafka__commit_interval_ms=5`."""
    found = {name: value for name, value in os.environ.items() if not name.startswith(("DETECTOR_", "KAFKA_"))}
    topics = {f"topics__{role}": name for role, name in names.items() if role != "application_id"}
    wanted = {"kafka__bootstrap_servers": kafka, "application_id": names["application_id"], **topics,
              "http__port": 0, "output__decisions": "all", **settings}  # fmt: skip
    return found | {f"DETECTOR_{name.upper()}": str(value) for name, value in wanted.items()}


@contextmanager
def running(env: Mapping[str, str], log: Path, config: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """`detector run`; killed on leaving where it still runs. Its log goes to the end of `log`."""
    command = [sys.executable, "-m", "detector", "run", *(["--config", str(config)] if config else [])]
    with log.open("ab") as errors:
        process = subprocess.Popen(command, cwd=ROOT, env=dict(env), stderr=errors)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)


def settled_rows(kafka: str, names: Mapping[str, str]) -> int:
    """Input records that the group has committed; 0 while its coordinator is still coming up."""
    try:
        return sum(committed_offsets(kafka, names["application_id"], names["transactions"]).values())
    except KafkaException as error:
        if error.args[0].code() not in COMING_UP:
            raise
        return 0


def wait_settled(process: subprocess.Popen[bytes], kafka: str, names: Mapping[str, str], log: Path) -> None:
    """Wait until all of the input is committed, then stop the detector, which must end with 0."""

    def settled() -> bool:
        assert process.poll() is None, f"ended with {process.returncode}\n{log.read_text()}"
        return settled_rows(kafka, names) == sum(end_offsets(kafka, names["transactions"]).values())

    wait_for(settled, 180, "input settled", every_s=0.2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, log.read_text()


def told(kafka: str, topic: str) -> dict[Place, Told]:
    """Alerts or decisions by the place of their input; that each place is there once is asserted."""
    decode = msgspec.json.Decoder(Told).decode
    records = [decode(record.value or b"") for record in read_topic(kafka, topic, timeout_s=120)]
    found = {record.place: record for record in records}
    assert len(found) == len(records), f"{topic}: {len(records) - len(found)} inputs told of twice"
    return found


def dead_letters(kafka: str, topic: str) -> dict[Place, str]:
    """Reason codes by the place of the input; that each place is there once is asserted."""
    letters = [DeadLetter.from_headers(list(record.headers)) for record in read_topic(kafka, topic)]
    found = {(letter.partition, letter.offset): letter.reason.value for letter in letters}
    assert len(found) == len(letters)
    return found
