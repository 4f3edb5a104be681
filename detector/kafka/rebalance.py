"""Partitions come and go (KIP-429 cooperative, or KIP-848).

Law: a task's records are committed by its owner or by nobody. Called back from within `consume()` and `close()`, in the
main thread:

========  ================================================================================================
event     do
========  ================================================================================================
assigned  a task each, RESTORING; its partition paused until it is restored
revoked   commit what is in the open transaction if that works within `LEAVE_S`, else abort; drop the tasks
lost      abort, never commit: somebody else owns them by now; drop the tasks
========  ================================================================================================

Assigning begins at offset 0 on purpose: should a record slip through before the pause, it is below what the restore
settles, and left out. Python tells us lost from revoked only by which callback it calls, hence both are registered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from detector.kafka.tasks import Phase, Task

log = structlog.get_logger(__name__)


class Owner(Protocol):
    """What the loop does when tasks come and go."""

    def assigned(self, tasks: Sequence[Task]) -> None:
        """Start restoring them."""
        ...

    def revoking(self, tasks: Sequence[Task]) -> None:
        """Commit within bounds, or abort. Does not raise Rewind: what must restore is told to."""
        ...

    def losing(self, tasks: Sequence[Task]) -> None:
        """Abort."""
        ...

    def dropped(self, tasks: Sequence[Task]) -> None:
        """They are closed; forget their metrics."""
        ...


class Assignment:
    """The tasks held, by partition, kept in step with the group."""

    def __init__(self, topic: str, owner: Owner) -> None:
        self.topic, self._owner = topic, owner
        self.tasks: dict[int, Task] = {}

    def subscribe(self, consumer: Consumer) -> None:
        """Join the group."""
        consumer.subscribe([self.topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)

    def running(self) -> list[Task]:
        """Tasks that take records."""
        return [task for task in self.tasks.values() if task.phase is Phase.RUNNING]

    def restoring(self) -> list[Task]:
        """Tasks that do not yet."""
        return [task for task in self.tasks.values() if task.phase is Phase.RESTORING]

    def touched(self) -> list[Task]:
        """Tasks that the next commit settles and an abort undoes."""
        return [task for task in self.tasks.values() if task.touched]

    def where(self, tasks: Sequence[Task]) -> list[TopicPartition]:
        """Their partitions, for the client."""
        return [TopicPartition(self.topic, task.partition) for task in tasks]

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        new = [Task(partition.partition) for partition in partitions if partition.partition not in self.tasks]
        where = [TopicPartition(self.topic, task.partition, OFFSET_BEGINNING) for task in new]
        consumer.incremental_assign(where)
        consumer.pause(where)
        self.tasks.update((task.partition, task) for task in new)
        log.info("partitions assigned", partitions=[task.partition for task in new])
        self._owner.assigned(new)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._give_up(consumer, partitions, self._owner.revoking, "partitions revoked")

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._give_up(consumer, partitions, self._owner.losing, "partitions lost")

    def _give_up(
        self, consumer: Consumer, partitions: list[TopicPartition], settle: Callable[[Sequence[Task]], None], what: str
    ) -> None:
        # The group may name partitions that we do not hold (confluent-kafka-python #1551).
        leaving = [self.tasks[one.partition] for one in partitions if one.partition in self.tasks]
        try:
            if leaving:
                log.info(what, partitions=[task.partition for task in leaving])
                settle(leaving)
        finally:
            for task in leaving:
                del self.tasks[task.partition]
                task.close()
            try:
                consumer.incremental_unassign(self.where(leaving))
            except KafkaException as error:
                log.debug("nothing to unassign", error=str(error))
            self._owner.dropped(leaving)
