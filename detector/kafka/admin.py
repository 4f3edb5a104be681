"""Topics: made where they are missing, waited for where they are not ours to make.

Law: the journal and the snapshots have as many partitions as the input, record for task p in partition p. The input
topic itself is never made by a running detector: a misspelt name must not become an empty topic.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from detector.kafka import client
from detector.kafka.errors import BrokerAway, ConfigurationRefused
from detector.kafka.patience import Patience
from detector.settings import Settings
from schemas.topics import TOPICS

REQUEST_TIMEOUT_S = 10.0
FIRST_TIMEOUT_S = 1.5  # soon enough to be told of a broker that is not there
INTERNAL = ("journal", "snapshots")
OUTPUT = ("alerts", "decisions", "dead_letters")
MADE_ANEW = "topics that are written to were gone; made anew"

log = structlog.get_logger(__name__)


def topic_names(settings: Settings) -> dict[str, str]:
    """Role → name, of every topic of the application."""
    own = {role: getattr(settings.topics, role) for role in TOPICS if role not in INTERNAL}
    return own | {role: TOPICS[role].name.format(application_id=settings.application_id) for role in INTERNAL}


def create_topics(settings: Settings, partitions: int | None, tell: Callable[[str], None]) -> dict[str, str]:
    """Make every topic of the table that is not there yet; what `detector topics create` does.

    `partitions`: of the input topic, where it is made. `tell` takes a line for people while no broker answers. Returns
    name → `created` or `exists`. Raises BrokerAway when none answers within some ten seconds, ConfigurationRefused when
    one refuses, or librdkafka a property of `[kafka] client`.
    """
    admin = client.new_admin(settings, lambda _error: None)
    names = topic_names(settings)
    there = first_answer(admin, settings.kafka.bootstrap_servers, tell)
    like_input = there.get(names["transactions"]) or partitions or TOPICS["transactions"].partitions
    wanted = {role: like_input if role == "transactions" else TOPICS[role].partitions or like_input for role in TOPICS}
    return _create(admin, {names[role]: (role, count) for role, count in wanted.items()}, there)


def ensure_topics(admin: AdminClient, settings: Settings, input_partitions: int) -> list[str]:
    """Make the topics that the detector writes, and give the internal ones as many partitions as the input has.

    Returns the names of those that were not there. Raises ConfigurationRefused when the broker does not let us,
    KafkaException when it is away.
    """
    names, there = topic_names(settings), partition_counts(admin)
    roles = [role for role in (*INTERNAL, *OUTPUT) if role != "decisions" or settings.output.decisions != "none"]
    wanted = {names[role]: (role, TOPICS[role].partitions or input_partitions) for role in roles}
    made = [name for name, outcome in _create(admin, wanted, there).items() if outcome == "created"]
    for name in made:
        log.info("topic made", topic=name, partitions=wanted[name][1])
    for role in INTERNAL:
        if (found := there.get(names[role], input_partitions)) < input_partitions:
            log.warning("input has grown; adding partitions", topic=names[role], found=found, wanted=input_partitions)
            growth = admin.create_partitions([NewPartitions(names[role], input_partitions)])
            _settle(growth, names[role], {KafkaError.INVALID_PARTITIONS})
    return made


def wait_for_input(admin: AdminClient, topic: str, patience: Patience, role: str = "transactions") -> int:
    """Number of partitions of an input topic, as soon as there is one. Raises OutOfPatience."""
    timeout_s = FIRST_TIMEOUT_S
    while True:
        try:
            counts = partition_counts(admin, topic, timeout_s)
        except KafkaException as error:
            admin.poll(0)  # where the client says why
            patience.failed(f"look for topic {topic}", error.args[0])
            if error.args[0].code() == KafkaError._TIMED_OUT:  # connected, and slow
                timeout_s = REQUEST_TIMEOUT_S
        else:
            if found := counts.get(topic, 0):
                patience.succeeded()
                return found
            patience.failed(
                f"look for topic {topic}",
                f"there is no topic {topic!r}; make it (detector topics create), or set topics.{role}",
            )
        patience.wait(1.0)


def mend_topics(admin: AdminClient, settings: Settings, partitions: int) -> None:
    """What follows, while the detector runs, from topics that are gone or an input that has grown.

    Raises as `ensure_topics`.
    """
    if gone := ensure_topics(admin, settings, partitions):
        log.warning(MADE_ANEW, topics=gone)
    labels = settings.topics.labels
    if settings.labels.enabled and (found := partition_counts(admin, labels).get(labels, 0)) < partitions:
        log.error(
            "the labels topic has fewer partitions than the input: tasks of the new ones wait; add partitions to it",
            topic=labels,
            found=found,
            wanted=partitions,
        )


def check_labels(settings: Settings, partitions: int, labels_partitions: int) -> None:
    """Labels must meet their transactions in one task. Raises ConfigurationRefused when the topics differ."""
    if labels_partitions != partitions:
        topics = settings.topics
        raise ConfigurationRefused(
            f"expected topic {topics.labels} to have {partitions} partitions, as {topics.transactions} has, found "
            f"{labels_partitions}: labels would not meet their transactions. Give both topics the same number of "
            "partitions, and their records the same keys, or set labels.enabled = false"
        )


def partition_counts(
    admin: AdminClient, topic: str | None = None, timeout_s: float = REQUEST_TIMEOUT_S
) -> dict[str, int]:
    """Topic → number of partitions, of one topic or all. Raises KafkaException when no broker answers."""
    topics = admin.list_topics(topic, timeout=timeout_s).topics
    return {name: len(found.partitions) for name, found in topics.items() if found.error is None}


def topic_ids(admin: AdminClient, names: Iterable[str]) -> dict[str, str]:
    """CLUSTER/NAME → the broker's own id of each topic, which one made anew under the name does not have.

    With the cluster, since a copy of a topic on another has the same offsets and an id of its own. Left out where the
    broker knows no ids (before Kafka 2.8). Raises KafkaException.
    """
    cluster = admin.list_topics(timeout=REQUEST_TIMEOUT_S).cluster_id
    asked = admin.describe_topics(TopicCollection([*names]), request_timeout=REQUEST_TIMEOUT_S)
    found = {name: future.result().topic_id for name, future in asked.items()}
    return {f"{cluster}/{name}": str(one) for name, one in found.items() if one.get_most_significant_bits()}


def topic_config(admin: AdminClient, topic: str) -> dict[str, str]:
    """Settings of `topic` as the broker sees them, defaults included. Raises KafkaException."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    entries = admin.describe_configs([resource], request_timeout=REQUEST_TIMEOUT_S)[resource].result()
    return {name: entry.value for name, entry in entries.items() if entry.value is not None}


def first_answer(admin: AdminClient, servers: str, tell: Callable[[str], None]) -> dict[str, int]:
    """Topic → number of partitions, of all topics, for a command that does not wait for a broker to come up.

    `tell` takes a line for people as soon as none answers. Raises BrokerAway when none does within some ten seconds.
    """
    with contextlib.suppress(KafkaException):
        return partition_counts(admin, timeout_s=FIRST_TIMEOUT_S)
    tell(f"no Kafka broker answers at {servers}: trying on for {REQUEST_TIMEOUT_S:.0f} s")
    try:
        return partition_counts(admin)
    except KafkaException as error:
        raise broker_away(servers, error.args[0]) from None


def broker_away(servers: str, error: KafkaError) -> BrokerAway:
    """What ends a command that finds no broker."""
    return BrokerAway(
        f"expected a broker at {servers}, found none: {error.str()}; start it, or set kafka.bootstrap_servers"
    )


def _create(admin: AdminClient, wanted: Mapping[str, tuple[str, int]], there: Iterable[str]) -> dict[str, str]:
    new = [
        NewTopic(name, num_partitions=count, replication_factor=-1, config=TOPICS[role].config())
        for name, (role, count) in wanted.items()
        if name not in there
    ]
    outcome = dict.fromkeys(wanted, "exists")
    if new:
        for name, future in admin.create_topics(new, request_timeout=REQUEST_TIMEOUT_S).items():
            if _settle({name: future}, name, {KafkaError.TOPIC_ALREADY_EXISTS}):
                outcome[name] = "created"
    return outcome


def _settle(futures: Mapping[str, Future[Any]], name: str, harmless: set[int]) -> bool:
    """True when done, False when somebody else was quicker."""
    try:
        futures[name].result()
    except KafkaException as error:
        if error.args[0].code() in harmless:
            return False
        if error.args[0].retriable() or error.args[0].code() in (KafkaError._TRANSPORT, KafkaError._TIMED_OUT):
            raise
        raise ConfigurationRefused(
            f"expected to be allowed to make topic {name} or its partitions, found {error.args[0].str()}; "
            "grant Create and Alter, or have it made beforehand (detector topics create shows all of them)"
        ) from None
    return True
