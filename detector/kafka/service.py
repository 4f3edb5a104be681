"""`detector run`: put the Kafka shell together, run it, and say in one number how it ended.

Order at start: listen for metrics and health; wait for broker and input; topics, retention; kernels; the producer,
which aborts what a dead predecessor left open; then join the group.
"""

from __future__ import annotations

import contextlib
import gc
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import confluent_kafka
import structlog
from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient

from detector.codec.encode import Encoder, member_names
from detector.core.compile import compile_kernels
from detector.core.spec import Spec
from detector.kafka import admin as topics
from detector.kafka import client
from detector.kafka.at_least_once import AtLeastOnce
from detector.kafka.dead_letters import DeadLetters
from detector.kafka.engine import CoreEngine, Engine
from detector.kafka.errors import OutOfPatience, Stop
from detector.kafka.instance import Instance
from detector.kafka.journal import JournalError
from detector.kafka.labels import LabelFeed, LabelFold
from detector.kafka.loop import Loop
from detector.kafka.outbox import Ledger, Outbox
from detector.kafka.patience import Patience
from detector.kafka.restore import Restorer
from detector.kafka.retention import check_retention
from detector.kafka.transaction import ExactlyOnce
from detector.kafka.watch import Watch
from detector.observe import logs
from detector.observe.health import Health
from detector.observe.metrics import Metrics
from detector.observe.server import ListenError, serve
from detector.settings import Settings
from schemas.topics import MESSAGE_BYTES_MAX

EXIT_OK, EXIT_CONFIGURATION = 0, 78
# Of Python's collector: a turn makes thousands of short-lived messages, none of them in a cycle.
GC_THRESHOLDS = (100_000, 20, 50)

EngineFactory = Callable[[Settings, Spec], Engine]
log = structlog.get_logger(__name__)


def run(
    settings: Settings,
    *,
    rebuild: bool = False,
    stop: threading.Event | None = None,
    engine_factory: EngineFactory = CoreEngine,
    on_listening: Callable[[int], None] | None = None,
) -> int:
    """Run until SIGTERM, SIGINT or `stop`; returns the exit code: 0, 65, 70 or 78 (see `errors`).

    `rebuild`: fold the retained log anew where the saved state cannot be used. `on_listening` is told the HTTP port.
    With `stop` given, signals are left alone. Exceptions that are ours to fix are raised.
    """
    logs.configure(settings.log.format, settings.log.level)
    metrics, health = Metrics(), Health()
    stopped = stop if stop is not None else threading.Event()
    try:
        with contextlib.ExitStack() as stack:
            if stop is None:
                stack.enter_context(_signals(stopped))
            server = serve(settings.http.host, settings.http.port, metrics, health)
            stack.callback(server.close)
            if on_listening is not None:
                on_listening(server.port)
            own = stack.enter_context(Instance(settings.application_id, settings.kafka.instance_id or None))
            log.info("starting", application_id=settings.application_id, instance_id=own.instance_id,
                     guarantee=settings.kafka.guarantee, http=server.url)  # fmt: skip
            patience = Patience(stopped, health, settings.kafka.bootstrap_servers)
            loop = _assemble(settings, own, engine_factory, metrics, health, patience, stopped, rebuild)
            _calm_collector()
            loop.run()
    except OutOfPatience as reason:
        log.warning("stopped while waiting for the broker; nothing is lost", why=str(reason))
    except Stop as error:
        log.error("stopped", reason=str(error), exit_code=error.exit_code)
        return error.exit_code
    except (ListenError, JournalError) as error:
        log.error("stopped", reason=str(error), exit_code=EXIT_CONFIGURATION)
        return EXIT_CONFIGURATION
    log.info("stopped", exit_code=EXIT_OK)
    return EXIT_OK


def _assemble(
    settings: Settings,
    own: Instance,
    engine_factory: EngineFactory,
    metrics: Metrics,
    health: Health,
    patience: Patience,
    stopped: threading.Event,
    rebuild: bool,
) -> Loop:
    """All parts, connected. Raises Stop, OutOfPatience."""
    names, on_error = topics.topic_names(settings), patience.heard
    source = names["transactions"]

    def new_admin() -> AdminClient:
        return client.new_admin(settings, on_error)

    admin = new_admin()
    partitions = topics.wait_for_input(admin, source, patience)
    insist = patience.insist
    insist("look after the topics", lambda: topics.ensure_topics(admin, settings, partitions))
    insist("check the retention", lambda: check_retention(admin, source, settings.snapshots.interval_s))
    labels_topic = names["labels"] if settings.labels.enabled else None
    if labels_topic is not None:
        topics.check_labels(settings, partitions, topics.wait_for_input(admin, labels_topic, patience, "labels"))
        insist("check the labels", lambda: check_retention(admin, names["labels"], settings.snapshots.interval_s))

    spec = settings.spec(partitions)
    engine = engine_factory(settings, spec)
    if engine_factory is CoreEngine:
        compile_kernels(spec, lambda what, done, total: log.info("kernels", what=what, done=done, total=total))
    _tell_versions(metrics, spec, engine)

    guarantee = settings.kafka.guarantee
    inputs = [source] if labels_topic is None else [source, labels_topic]
    ledger = Ledger(
        source,
        names["journal"],
        names["snapshots"],
        engine.spec_fingerprint,
        engine.state_fingerprint,
        guarantee,
        labels_topic,
        insist("ask for the ids of the inputs", lambda: topics.topic_ids(admin, inputs)),
        engine.state_parts,
    )
    exactly = guarantee == "exactly_once"
    config = client.producer_config(settings, own.transactional_id if exactly else None, on_error)
    outbox: Outbox = (ExactlyOnce if exactly else AtLeastOnce)(config, ledger, patience)
    outbox.open()

    consumer = Consumer(client.consumer_config(settings, on_error))
    restorer = Restorer(
        engine, ledger, consumer, new_admin, client.reader_config(settings, on_error), patience, rebuild
    )
    watch = Watch(
        metrics, health, patience, stopped, partitions, lambda count: topics.mend_topics(admin, settings, count)
    )
    letters = _dead_letters(settings, spec, source, admin)
    labels = None
    if labels_topic is not None:
        interval_s = settings.labels.interval_ms / 1e3
        feed = LabelFeed(client.labels_config(settings, on_error), labels_topic, engine, patience, interval_s)
        labels = LabelFold(feed, engine, outbox, _dead_letters(settings, spec, labels_topic, admin))
    return Loop(settings, engine, consumer, outbox, restorer, letters, watch, patience, labels)


def _dead_letters(settings: Settings, spec: Spec, source: str, admin: AdminClient) -> DeadLetters:
    """Of records from topic `source`."""
    encoder, topic = Encoder(settings.mapping, spec, source, settings.application_id), settings.topics.dead_letters
    return DeadLetters(encoder, topic, _dead_letter_bytes_max(admin, topic))


def _dead_letter_bytes_max(admin: AdminClient, topic: str) -> int:
    try:
        return int(topics.topic_config(admin, topic).get("max.message.bytes", MESSAGE_BYTES_MAX))
    except KafkaException as error:
        log.warning("cannot read the dead-letter topic's settings; taking the broker's default size limit",
                    topic=topic, error=error.args[0].str(), bytes_max=MESSAGE_BYTES_MAX)  # fmt: skip
        return MESSAGE_BYTES_MAX


def _tell_versions(metrics: Metrics, spec: Spec, engine: Engine) -> None:
    metrics.set_build(str(confluent_kafka.__version__), str(confluent_kafka.libversion()[0]))
    metrics.set_model(engine.spec_fingerprint, engine.state_fingerprint, member_names(spec))


def _calm_collector() -> None:
    """What is here now stays: keep the collector from walking it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


@contextlib.contextmanager
def _signals(stopped: threading.Event) -> Iterator[None]:
    def asked(number: int, _frame: FrameType | None) -> None:
        log.info("asked to stop", signal=signal.Signals(number).name)
        stopped.set()

    before = {number: signal.signal(number, asked) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
