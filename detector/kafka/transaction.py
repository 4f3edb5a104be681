"""Exactly once: one Kafka transaction a commit (KIP-98, KIP-447; after librdkafka's `examples/transactions.c`).

Law: what `commit` settles becomes visible all together or not at all: alerts, decisions, dead letters, snapshot chunks,
journal records and the input offsets. Whatever goes wrong, the remedy is one of three::

    CLOSED ──open()──▶ IDLE ──produce()──▶ OPEN ──commit()──▶ IDLE
      ▲                 ▲                   │
      │                 └── abort_transaction, Rewind("aborted") ── error.txn_requires_abort()
      │                                     │
      │                                     │   error.retriable(): the same call again, with the same arguments
      │                                     │
      └──── producer thrown away, Rewind("fatal") ── error.fatal(), fenced, outcome unknown, anything else

After a Rewind the caller restores every task that was touched. A commit whose outcome is unknown needs no case of its
own: `open()` makes the coordinator finish it one way or the other, and the restore reads which from the broker.

Not taken: checking each delivery report (`commit_transaction` fails when a delivery failed); one producer a task
(pre-KIP-447); keeping state after an abort (there is no rollback code, and so none that can be wrong).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from detector.kafka.bounded import within
from detector.kafka.errors import ConfigurationRefused, OutOfPatience, Rewind
from detector.kafka.outbox import Ledger, Output, Report, Reports, send_chunks
from detector.kafka.patience import Patience, undisguised
from detector.kafka.tasks import Task

# One try of a call; what did not finish by then is called again.
CALL_TIMEOUT_S = 5.0
# A call that has not even timed out by then never will.
CALL_LOST_S = 8.0
# Partitions that an admin client has just made are known to a producer within this time.
UNKNOWN_PARTITION_S_MAX = 20.0
# Fenced so often in so short a time means a twin with our transactional id, not an accident.
FENCED_MAX, FENCED_WITHIN_S = 5, 60.0
# Who fenced us is told to come again until our transaction is aborted, and does so each half second (librdkafka). Were
# we back by then, we should fence him in turn, and the id would go to and fro for as long as both are quick.
FENCED_PAUSE_S = 1.0

log = structlog.get_logger(__name__)


class ExactlyOnce:
    """The outbox of a process under `guarantee = "exactly_once"`. Used by the main thread alone."""

    guarantee = "exactly_once"

    def __init__(self, config: dict[str, Any], ledger: Ledger, patience: Patience) -> None:
        self._config, self._ledger, self._patience = config, ledger, patience
        self._producer: Producer | None = None
        self._open = False
        self._reports = Reports()
        self._fenced_s: deque[float] = deque(maxlen=FENCED_MAX)

    @property
    def snapshots_topic(self) -> str:
        """Where snapshot chunks go."""
        return self._ledger.snapshots_topic

    def open(self) -> None:
        """CLOSED → IDLE: fences older owners of the id, aborts or completes what they left. No-op unless CLOSED.

        May block for as long as the broker is away. Raises ConfigurationRefused, OutOfPatience.
        """
        while self._producer is None:
            if self._fenced_s:
                self._give_way(self._fenced_s[-1] + FENCED_PAUSE_S)
            producer = Producer(self._config)
            try:
                self._patience.insist("init transactions", partial(producer.init_transactions, CALL_TIMEOUT_S))
            except KafkaException as error:
                self._refuse(error.args[0])
                self._patience.failed("init transactions", error.args[0])
                self._patience.wait()
            else:
                self._producer = producer

    def produce(self, output: Output) -> None:
        """Queue `output` in the open transaction, opening one if need be. Raises Rewind, ConfigurationRefused."""
        try:
            producer = self._live()
            if not self._open:
                producer.begin_transaction()
                self._open = True
            enqueue(producer, output, self._reports.of(output))
        except KafkaException as error:
            raise self._remedy(error) from error

    def commit(self, tasks: Sequence[Task], consumer: Consumer) -> None:
        """Settle everything done for `tasks` (all touched ones) since the last commit. Raises Rewind.

        [1] snapshot chunks that are due; [2] a journal record for each task; [3] the input offsets, our own, under the
        consumer's current group metadata, which fences us if the group has moved on; [4] commit; [5] only then are the
        tasks told, and only after this returns may metrics count.
        """
        for task in tasks:
            send_chunks(self, task)  # [1]
        for task in tasks:
            self.produce(self._ledger.entry(task))  # [2]
        try:
            producer = self._live()
            offsets = [TopicPartition(self._ledger.topic, task.partition, task.next_offset) for task in tasks]
            member = consumer.consumer_group_metadata()
            send = partial(producer.send_offsets_to_transaction, offsets, member, CALL_TIMEOUT_S)
            self._insist(lambda: within(CALL_LOST_S, "send offsets", send))  # [3]
            self._insist(partial(producer.commit_transaction, CALL_TIMEOUT_S))  # [4]
        except (KafkaException, OutOfPatience) as error:
            raise self._remedy(error) from error
        self._open = False
        for task in tasks:
            task.committed()  # [5]

    def abort(self) -> Rewind | None:
        """Throw the open transaction away. The tasks touched must restore; None where there was none."""
        return self._remedy(KafkaException(_ABORT)) if self._open else None

    def flush(self) -> None:
        """Wait until all is delivered, so that the first chunk's offset is known. Raises Rewind."""
        try:
            self._insist(lambda: flush_some(self._live()))
        except (KafkaException, OutOfPatience) as error:
            raise self._remedy(error) from error

    def close(self) -> None:
        """→ CLOSED. An open transaction is left to be aborted by the next owner of the id, or by its timeout."""
        if self._producer is not None:
            self._discard()

    def _remedy(self, error: KafkaException | OutOfPatience) -> Rewind:
        why = error.args[0]
        if isinstance(why, KafkaError) and why.txn_requires_abort() and not why.fatal():
            try:
                self._insist(lambda: self._live().abort_transaction(CALL_TIMEOUT_S))
            except (KafkaException, OutOfPatience) as worse:
                why = worse.args[0]
            else:
                self._open = False
                self._reports.refuse()
                return Rewind("aborted", _text(why))
        if isinstance(why, KafkaError):
            self._refuse(why)
        self._discard()
        self._reports.refuse()
        return Rewind("fatal", _text(why))

    def _refuse(self, error: KafkaError) -> None:
        """Raise where trying again would go on for ever."""
        if error.code() in _NEVER:
            raise ConfigurationRefused(
                f"the broker refuses transactional id {self._config['transactional.id']}: {error.str()}; "
                "grant Write and Describe on it, check transaction.max.timeout.ms, or set kafka.guarantee"
            )
        if error.code() in _FENCED:
            self._fenced_s.append(time.monotonic())
            if len(self._fenced_s) == FENCED_MAX and self._fenced_s[-1] - self._fenced_s[0] < FENCED_WITHIN_S:
                raise ConfigurationRefused(
                    f"another process uses transactional id {self._config['transactional.id']}: fenced {FENCED_MAX} "
                    f"times within {FENCED_WITHIN_S:.0f} s; give each process its own kafka.instance_id"
                )

    def _give_way(self, until_s: float) -> None:
        while (left_s := until_s - time.monotonic()) > 0:
            self._patience.wait(left_s)

    def _insist(self, call: Callable[[], object]) -> None:
        self._patience.insist("transaction", call)

    def _live(self) -> Producer:
        if self._producer is None:
            raise Rewind("fatal", "the producer was thrown away")
        return self._producer

    def _discard(self) -> None:
        producer, self._producer, self._open = self._producer, None, False
        if producer is not None:
            producer.purge(in_queue=True, in_flight=True, blocking=False)


def enqueue(producer: Producer, output: Output, on_delivery: Report) -> None:
    """`produce`, waiting while the client's queue is full, or while it has yet to hear of a topic's new partitions, or
    that a topic was made anew.

    The latter are no fault of the transaction's, and throwing a producer away in the middle of its requests can end the
    process: librdkafka asserts on the answer that comes too late. Raises KafkaException.
    """
    message = output.message
    until_s = time.monotonic() + UNKNOWN_PARTITION_S_MAX
    while True:
        try:
            producer.produce(
                output.topic,
                message.value,
                message.key,
                output.partition,
                on_delivery,
                headers=message.headers,  # type: ignore[arg-type]
            )
            return
        except BufferError:
            undisguised(partial(producer.poll, 0.05))
        except KafkaException as error:
            if error.args[0].code() not in _UNHEARD_OF or time.monotonic() > until_s:
                raise
            if producer.list_topics(output.topic, CALL_TIMEOUT_S).topics[output.topic].error is not None:
                raise  # it is gone
            time.sleep(0.05)


def flush_some(producer: Producer) -> None:
    """One try to deliver all. Raises a retriable KafkaException when some are still on their way."""
    if producer.flush(CALL_TIMEOUT_S):
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "messages not delivered yet", retriable=True))


def _text(why: object) -> str:
    return f"{why.name()}: {why.str()}" if isinstance(why, KafkaError) else str(why)


_ABORT = KafkaError(KafkaError._STATE, "abort asked for", txn_requires_abort=True)
_UNHEARD_OF = frozenset((KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC))
_FENCED = frozenset((KafkaError._FENCED, KafkaError.PRODUCER_FENCED))
_NEVER = frozenset(
    (
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.INVALID_TRANSACTION_TIMEOUT,
        KafkaError.UNSUPPORTED_VERSION,
        KafkaError._UNSUPPORTED_FEATURE,
    )
)
