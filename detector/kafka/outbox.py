"""Where outputs go, whatever the guarantee: the seam between the loop and the two ways to commit.

Law: `commit` settles everything done for the tasks since the last commit, or raises Rewind and settles nothing that a
restore would not find.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from confluent_kafka import Consumer, KafkaError, Message

from detector.codec.encode import OutMessage
from detector.kafka import journal
from detector.kafka.errors import ConfigurationRefused, Rewind
from detector.kafka.tasks import Task
from schemas.topics import MESSAGE_BYTES_MAX

Report = Callable[[KafkaError | None, Message], None]


@dataclass(frozen=True, slots=True)
class Output:
    """A message and the topic it goes to; without a `partition`, to the one of its key.

    `on_delivery` learns what became of it, `too_large` that its topic takes none of its size, for next time.
    """

    topic: str
    message: OutMessage
    partition: int = -1
    on_delivery: Report | None = None
    too_large: Callable[[Message], None] | None = None


@dataclass(frozen=True, slots=True)
class Ledger:
    """What journal records say besides the task: the topics, the spec and the guarantee they are written under.

    `labels_topic`: None where no labels are read. `topic_ids`, `state_parts`: as `JournalRecord` has them.
    """

    topic: str
    journal_topic: str
    snapshots_topic: str
    spec_fingerprint: str
    state_fingerprint: str
    guarantee: str
    labels_topic: str | None = None
    topic_ids: dict[str, str] = field(default_factory=dict)
    state_parts: dict[str, str] = field(default_factory=dict)

    def entry(self, task: Task) -> Output:
        """The journal record of the commit now being made."""
        snapshot = (task.upload.reference() if task.upload is not None else None) or task.snapshot
        inputs = {journal.input_name(self.topic, task.partition): task.next_offset}
        cuts: tuple[journal.Cut, ...] = ()
        merged = None
        if self.labels_topic is not None and task.labels is not None:
            inputs[journal.input_name(self.labels_topic, task.partition)] = task.labels.next_offset
            cuts, merged = task.labels.since(snapshot)
        record = journal.JournalRecord(
            version=journal.JOURNAL_VERSION,
            task=task.partition,
            commit=task.commit + 1,
            inputs=inputs,
            origin_offset=task.origin_offset,
            snapshot=snapshot,
            state_fingerprint=self.state_fingerprint,
            spec_fingerprint=self.spec_fingerprint,
            guarantee=self.guarantee,
            labels_origin=task.labels.origin_offset if task.labels is not None else None,
            cuts=cuts,
            merged=merged,
            topic_ids=self.topic_ids,
            state_parts=self.state_parts,
        )
        message = OutMessage(journal.key(task.partition), journal.encode(record), [])
        return Output(self.journal_topic, message, task.partition)


@dataclass(slots=True)
class Reports:
    """Delivery reports of one producer. `failed`: why something was not delivered; `refusing`: a topic that never will
    take what it is sent.
    """

    failed: KafkaError | None = None
    refusing: str = ""

    def of(self, output: Output) -> Report:
        """The report of one message."""
        on_delivery, too_large = output.on_delivery, output.too_large  # not the message: it would be held till then

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self.failed = error
                if error.code() == KafkaError.MSG_SIZE_TOO_LARGE and too_large is not None:
                    too_large(message)
                elif error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                    self.refusing = message.topic() or ""
            if on_delivery is not None:
                on_delivery(error, message)

        return delivered

    def refuse(self) -> None:
        """Raises ConfigurationRefused where trying again would go on for ever."""
        if self.refusing:
            raise ConfigurationRefused(
                f"expected topic {self.refusing} to take what is written to it, found that it refuses it as too large: "
                f"raise its max.message.bytes, to {MESSAGE_BYTES_MAX} as `detector topics create` has it. Nothing is "
                "lost: what was not committed is decided again at the next start"
            )


class Outbox(Protocol):
    """One producer, and one way to commit."""

    guarantee: str

    @property
    def snapshots_topic(self) -> str:
        """Where snapshot chunks go."""
        ...

    def open(self) -> None:
        """Make the producer usable; no-op where it is."""
        ...

    def produce(self, output: Output) -> None:
        """Queue a message for the next commit."""
        ...

    def commit(self, tasks: Sequence[Task], consumer: Consumer) -> None:
        """Settle everything done for `tasks`."""
        ...

    def abort(self) -> Rewind | None:
        """Give up what was not committed."""
        ...

    def flush(self) -> None:
        """Wait until all that was queued is delivered."""
        ...

    def close(self) -> None:
        """Let the producer go."""
        ...


def send_chunks(outbox: Outbox, task: Task) -> None:
    """Queue the next chunks of the task's snapshot; when it is whole, wait to know where it begins. Raises Rewind."""
    upload = task.upload
    if upload is None:
        return
    for key, value, headers, first in upload.take():
        on_delivery = upload.first_delivered if first else None
        chunk = OutMessage(key, value, [*headers])
        outbox.produce(Output(outbox.snapshots_topic, chunk, task.partition, on_delivery))
    if upload.whole and upload.reference() is None:
        outbox.flush()
