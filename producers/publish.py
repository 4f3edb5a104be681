"""The Kafka producer: records out in order, none lost while the broker is away, every failure said in plain words.

Contract: idempotent (`enable.idempotence`, acks=all), so retries neither duplicate nor reorder; a full queue holds the
caller up. `send` returning means queued; `close` returning 0 means that the broker has acknowledged all. While the
broker is away it says so once and keeps trying; with `wait` off it raises Unavailable instead.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from threading import Event
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from schemas.topics import TOPICS

EX_INPUT, EX_UNAVAILABLE, EX_CONFIG = 65, 69, 78
POLL_FULL_S = 0.05
CONNECT_S = 5.0
ANSWER_S = 1.5  # a broker that has not answered by then is said to be away
CLOSE_S_MAX = 5.0  # to deliver what is queued when stopped while the broker is away
DELIVERY_MS_MAX = 30_000  # with waiting off
STATISTICS_MS = 1_000  # how often we see whether the broker is back: librdkafka has no event for it
SETTLED_LISTS, SETTLE_S = 5, 0.1  # a new topic must be listed so often in a row

DEFAULTS: dict[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "lz4",
    "linger.ms": 5,
    "batch.size": 1_000_000,
    "queue.buffering.max.messages": 200_000,
    "queue.buffering.max.kbytes": 262_144,
    "partitioner": "consistent_random",  # CRC32 of the key: a card's records share a partition
    "log_level": 2,  # what matters arrives in the error callback
}
_CONFIG_ERRORS = (KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError.TOPIC_AUTHORIZATION_FAILED,
                  KafkaError.CLUSTER_AUTHORIZATION_FAILED, KafkaError.SASL_AUTHENTICATION_FAILED)  # fmt: skip


class PublishError(Exception):
    """Publishing cannot go on; `exit_code` says why to the shell."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Unavailable(PublishError):
    """The broker does not answer, and waiting is off."""

    def __init__(self, message: str) -> None:
        super().__init__(message, EX_UNAVAILABLE)


class Publisher:
    """One producer. `options` override any librdkafka property; `tell` takes a line for people; `stop` ends waits.

    Raises PublishError (78) where librdkafka refuses the options. Not thread-safe.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        options: Mapping[str, str] | None = None,
        wait: bool = True,
        tell: Callable[[str], None] = print,
        stop: Event | None = None,
    ) -> None:
        self._servers = bootstrap_servers
        self._wait = wait
        self._tell = tell
        self._stop = stop or Event()
        self._fault: PublishError | None = None
        self._away_since_s: float | None = None
        self._silent = 0
        self._undelivered = 0
        self._config: dict[str, Any] = {
            "bootstrap.servers": bootstrap_servers,
            **DEFAULTS,
            "message.timeout.ms": 0 if wait else DELIVERY_MS_MAX,  # 0: as long as it takes
            **(options or {}),
        }
        watched: dict[str, Any] = {
            "statistics.interval.ms": STATISTICS_MS,
            **self._config,
            "error_cb": self._on_error,
            "stats_cb": self._on_statistics,
            "on_delivery": self._on_delivery,
            "delivery.report.only.error": True,
        }
        try:
            self._producer = Producer(watched)
        except (KafkaException, TypeError, ValueError) as error:
            raise PublishError(f"Kafka options: {_words(error)}; correct --kafka-option", EX_CONFIG) from error

    def connect(self, topics: Mapping[str, str], partitions: int = 0) -> bool:
        """Waits for the broker, then makes sure that the topics exist. True when ready, False when stopped meanwhile.

        `topics`: role of `schemas.topics.TOPICS` → name. Missing ones are made with so many partitions and the table's
        settings; with 0 they are an error (78). With `wait` off raises Unavailable when the broker has not answered
        within CONNECT_S.
        """
        config: dict[str, Any] = {**self._config, "error_cb": self._on_error}
        admin = AdminClient(config)
        known = self._known_topics(admin)
        if known is None:
            return False
        missing = {role: topic for role, topic in topics.items() if topic not in known}
        if missing and not partitions:
            names = ", ".join(topics.values())
            raise PublishError(
                f"expected the topics {names} at {self._servers}, found no {', '.join(missing.values())}: "
                "make them with `detector topics create` and the same --config, or give --partitions 1",
                EX_CONFIG,
            )
        if missing:
            self._create(admin, missing, partitions)
        return not self._stop.is_set()

    def _known_topics(self, admin: AdminClient) -> set[str] | None:
        """Topics of the cluster that have a leader for every partition; None when stopped before it answered."""
        timeout_s, until_s = ANSWER_S, time.monotonic() + CONNECT_S
        while not self._stop.is_set():
            try:
                topics = admin.list_topics(timeout=timeout_s).topics
            except KafkaException as error:
                admin.poll(0)
                self._raise_fault()
                self._away()
                if not self._wait and time.monotonic() >= until_s:
                    raise Unavailable(f"expected a Kafka broker at {self._servers}: {_words(error)}") from error
                if error.args[0].code() == KafkaError._TIMED_OUT:  # connected, and slow
                    timeout_s = CONNECT_S
                self._stop.wait(0.5)
                continue
            self._back()
            return {
                name
                for name, topic in topics.items()
                if topic.partitions and all(part.leader >= 0 for part in topic.partitions.values())
            }
        return None

    def send(self, topic: str, keys: Sequence[str | None], values: Sequence[bytes]) -> int:
        """Queues the records in order; returns how many (fewer only when stopped while the queue was full).

        Raises PublishError: a record refused (65 too large), a delivery given up, a fatal client error.
        """
        produce = self._producer.produce
        sent = 0
        for key, value in zip(keys, values, strict=True):
            while True:
                try:
                    produce(topic, value, key)
                    break
                except BufferError:
                    self._producer.poll(POLL_FULL_S)
                    self._raise_fault()
                    if self._stop.is_set() and self._away_since_s is not None:
                        return sent
                except KafkaException as error:
                    raise self._refused(topic, value, error) from error
            sent += 1
        self._producer.poll(0)
        self._raise_fault()
        return sent

    def close(self) -> int:
        """Delivers what is queued; returns how many records were not delivered (0: all arrived).

        Waits as long as the broker answers; while it is away, on if waiting is on and nobody stops us, else
        CLOSE_S_MAX.
        """
        give_up_s: float | None = None
        while (left := self._producer.flush(0.5)) and self._fault is None:
            if self._away_since_s is None or (self._wait and not self._stop.is_set()):
                give_up_s = None
                continue
            now_s = time.monotonic()
            give_up_s = give_up_s or now_s + CLOSE_S_MAX
            if now_s > give_up_s:
                break
        self._undelivered += left
        self._producer.purge()
        self._producer.flush(1)
        return self._undelivered

    @property
    def fault(self) -> PublishError | None:
        """What went wrong for good, if anything did."""
        return self._fault

    def _create(self, admin: AdminClient, topics: Mapping[str, str], partitions: int) -> None:
        """Makes topics and waits until the cluster shows them steadily.

        The producer must not ask for a topic before: where it sees one come, go and come again, librdkafka starts its
        sequence numbers anew, the broker takes the first record for a repetition, and drops it without an error
        (librdkafka issue 3712).
        """
        wanted = [NewTopic(topic, partitions, config=TOPICS[role].config()) for role, topic in topics.items()]
        for topic, made in admin.create_topics(wanted, operation_timeout=30).items():
            try:
                made.result(timeout=60)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise PublishError(f"topic {topic} could not be made: {_words(error)}", EX_CONFIG) from error
        seen = 0
        while seen < SETTLED_LISTS and not self._stop.is_set():
            known = self._known_topics(admin)
            seen = seen + 1 if known is not None and known.issuperset(topics.values()) else 0
            self._stop.wait(SETTLE_S)

    def _on_error(self, error: KafkaError) -> None:
        if error.code() in _CONFIG_ERRORS:
            self._fault = PublishError(f"{self._servers} refuses us: {error.str()}; check --kafka-option", EX_CONFIG)
        elif error.fatal():
            self._fault = PublishError(f"the Kafka client gave up: {error.str()}", EX_UNAVAILABLE)
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._away()

    def _on_statistics(self, statistics: str) -> None:
        """The broker is back once a connection is up, and away where records wait and none is up twice in a row.

        librdkafka says once that all brokers are down, and never that one is up; the length of its queue counts its
        own events too, so a shrinking queue proves nothing.
        """
        told = json.loads(statistics)
        if any(broker["state"] == "UP" for broker in told["brokers"].values()):
            self._silent = 0
            self._back()
        elif told["msg_cnt"]:
            self._silent += 1
            if self._silent > 1:
                self._away()

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is None or error.code() in (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT):
            return
        self._undelivered += 1
        if self._fault is None:
            where = f"topic {message.topic()}"
            if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
                self._fault = PublishError(f"{where} does not exist any more: make it again", EX_CONFIG)
            elif error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                self._fault = PublishError(f"{where}: a record is larger than the topic allows", EX_INPUT)
            else:
                self._fault = Unavailable(f"{where}: records could not be delivered: {error.str()}")

    def _refused(self, topic: str, value: bytes, error: KafkaException) -> PublishError:
        if error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return PublishError(
                f"topic {topic}: expected records within message.max.bytes, found one of {len(value):,} bytes; "
                "leave it out or raise the limit (--kafka-option message.max.bytes=...)",
                EX_INPUT,
            )
        return PublishError(f"topic {topic}: {_words(error)}", EX_CONFIG)

    def _raise_fault(self) -> None:
        if self._fault is not None:
            raise self._fault

    def _away(self) -> None:
        if self._away_since_s is None:
            self._away_since_s = time.monotonic()
            then = "trying on, nothing is lost; Ctrl-C stops" if self._wait else "waiting is off"
            self._tell(f"no Kafka broker answers at {self._servers}: {then}")

    def _back(self) -> None:
        if self._away_since_s is not None:
            self._tell(
                f"the broker at {self._servers} answers again after {time.monotonic() - self._away_since_s:.0f} s"
            )
            self._away_since_s = None


def _words(error: BaseException) -> str:
    first = error.args[0] if error.args else error
    return first.str() if isinstance(first, KafkaError) else str(first)
