"""At least once: no transactions; after a crash the tail since the last journal record is published again.

Law: nothing is lost. Outputs are delivered before the journal says so, and the journal before the group's offsets; a
restore under this guarantee believes the journal, so a crash at any point repeats outputs, never skips them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from detector.kafka.errors import OutOfPatience, Rewind
from detector.kafka.outbox import Ledger, Output, Reports, send_chunks
from detector.kafka.patience import Patience
from detector.kafka.tasks import Task
from detector.kafka.transaction import enqueue, flush_some


class AtLeastOnce:
    """The outbox of a process under `guarantee = "at_least_once"`. Used by the main thread alone."""

    guarantee = "at_least_once"

    def __init__(self, config: dict[str, Any], ledger: Ledger, patience: Patience) -> None:
        self._config, self._ledger, self._patience = config, ledger, patience
        self._producer: Producer | None = None
        self._reports = Reports()

    @property
    def snapshots_topic(self) -> str:
        """Where snapshot chunks go."""
        return self._ledger.snapshots_topic

    def open(self) -> None:
        """Make a producer; no-op where there is one."""
        if self._producer is None:
            self._producer, self._reports = Producer(self._config), Reports()

    def produce(self, output: Output) -> None:
        """Queue `output`. Raises Rewind, ConfigurationRefused."""
        try:
            enqueue(self._live(), output, self._reports.of(output))
        except KafkaException as error:
            raise self._give_up(error) from error

    def commit(self, tasks: Sequence[Task], consumer: Consumer) -> None:
        """[1] outputs and snapshot chunks delivered; [2] journal delivered; [3] the group's offsets. Raises Rewind."""
        for task in tasks:
            send_chunks(self, task)
        self.flush()  # [1]
        for task in tasks:
            self.produce(self._ledger.entry(task))
        self.flush()  # [2]
        offsets = [TopicPartition(self._ledger.topic, task.partition, task.next_offset) for task in tasks]
        try:
            self._patience.insist("commit offsets", lambda: _commit_offsets(consumer, offsets))  # [3]
        except (KafkaException, OutOfPatience) as error:
            raise Rewind("aborted", str(error)) from error
        for task in tasks:
            task.committed()

    def abort(self) -> Rewind | None:
        """What was queued may be seen; it will be published again."""
        return Rewind("aborted", "abort asked for")

    def flush(self) -> None:
        """Wait until all is delivered. Raises Rewind when something was not."""
        try:
            self._patience.insist("deliver", lambda: flush_some(self._live()))
        except (KafkaException, OutOfPatience) as error:
            raise self._give_up(error) from error
        if self._reports.failed is not None:
            raise self._give_up(KafkaException(self._reports.failed))

    def close(self) -> None:
        """Let the producer go; what is still queued is given up."""
        if self._producer is not None:
            self._producer.purge(blocking=False)
            self._producer = None

    def _give_up(self, error: KafkaException | OutOfPatience) -> Rewind:
        self.close()
        self._reports.refuse()
        return Rewind("fatal", str(error))

    def _live(self) -> Producer:
        if self._producer is None:
            raise Rewind("fatal", "the producer was thrown away")
        return self._producer


def _commit_offsets(consumer: Consumer, offsets: list[TopicPartition]) -> None:
    for done in consumer.commit(offsets=offsets, asynchronous=False):
        if done.error is not None:
            raise KafkaException(done.error)
