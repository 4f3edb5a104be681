"""What the loop tells the outside: metrics, health, and the watch over a topic that grows.

Law: telling costs nothing per transaction, and is right after a commit, never before.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from detector.kafka.engine import Engine
from detector.kafka.labels import LabelFeed
from detector.kafka.patience import Patience
from detector.kafka.rebalance import Assignment
from detector.kafka.tally import Tally
from detector.kafka.tasks import RestoreCause, Task
from detector.observe.health import Health
from detector.observe.metrics import Metrics

TICK_S = 1.0
COUNT_PARTITIONS_S = 30.0
PROBE_TIMEOUT_S = 1.0
# The group answers a member without partitions with nothing at all; after this long it has had its say.
JOIN_WAIT_S = 10.0
GROUP, RESTORED = "group", "restored"

log = structlog.get_logger(__name__)


class Watch:
    """Used by the main thread; `stop` is set by a signal handler or another thread.

    `mend(partitions)` is called when the input has more partitions than known, or a topic may have been deleted.
    """

    def __init__(
        self,
        metrics: Metrics,
        health: Health,
        patience: Patience,
        stop: threading.Event,
        partitions: int,
        mend: Callable[[int], None],
    ) -> None:
        self._metrics, self._health, self._patience, self._stop = metrics, health, patience, stop
        self._partitions, self._mend = partitions, mend
        self._cpu_s: Counter[str] = Counter()
        self._tick_s = 0.0
        self._counted_s = time.monotonic()
        self._joined = False
        self._since_s = time.monotonic()
        health.declare(GROUP, RESTORED)

    @property
    def stopping(self) -> bool:
        """Whether the process was asked to end."""
        return self._stop.is_set()

    def spent(self, step: str, cpu_s: float) -> None:
        """CPU seconds of this thread on one step of the straight line."""
        self._cpu_s[step] += cpu_s  # type: ignore[assignment]

    def committed(self, tally: Tally, commit_s: float) -> None:
        """A commit succeeded."""
        tally.publish(self._metrics, commit_s)
        self._patience.succeeded()

    def rewound(self, cause: RestoreCause) -> None:
        """A transaction is gone."""
        self._metrics.commits_total.labels(cause).inc()
        self._health.set(RESTORED, False, f"restoring after a transaction was lost ({cause})")

    def restored(self, task: Task) -> None:
        """A task is RUNNING: the next tick, which may say that all are, comes at once."""
        self._tick_s = 0.0
        self._metrics.restores_total.labels(task.cause).inc()
        self._metrics.restore_seconds.observe(time.monotonic() - task.restoring_since_s)

    def mend(self) -> None:
        """See to it that all topics are there; where the broker is away, the next lost transaction asks again."""
        try:
            self._mend(self._partitions)
        except KafkaException as error:
            self._patience.failed("look after the topics", error.args[0])

    def snapshot(self, size_bytes: int, seconds: float) -> None:
        """A snapshot was taken."""
        self._metrics.snapshot_bytes.set(size_bytes)
        self._metrics.snapshot_seconds.observe(seconds)

    def assigned(self, tasks: Sequence[Task]) -> None:
        """Partitions came, none at all perhaps; one beyond those that we knew of means that the input has grown."""
        self._joined = True
        if tasks:
            self._health.set(RESTORED, False, "restoring")
        if (count := max((task.partition + 1 for task in tasks), default=0)) > self._partitions:
            self._found(count)

    def lost(self) -> None:
        """The group goes on without us; we are joining it anew."""
        self._joined, self._since_s = False, time.monotonic()
        self._health.set(GROUP, False, "partitions were lost; joining the group again")

    def dropped(self, tasks: Sequence[Task]) -> None:
        """Partitions went."""
        for task in tasks:
            self._metrics.drop_partition(task.partition)

    def tick(self, assignment: Assignment, consumer: Consumer, engine: Engine, labels: LabelFeed | None) -> bool:
        """Once a second bring gauges and health up to date; True when it did."""
        self._health.beat()
        now_s = time.monotonic()
        if now_s - self._tick_s < TICK_S:
            return False
        self._tick_s = now_s
        self._probe(assignment, consumer, now_s)
        restoring = assignment.restoring()
        if not restoring:
            self._health.set(RESTORED, True)
        joined = self._joined or (bool(consumer.memberid()) and now_s - self._since_s > JOIN_WAIT_S)
        self._health.set(GROUP, joined, "" if joined else "the group has not assigned anything yet")
        for step, cpu_s in self._cpu_s.items():
            self._metrics.step_cpu_seconds_total.labels(step).inc(cpu_s)
        self._cpu_s.clear()
        self._gauges(assignment, consumer, engine)
        if labels is not None:
            self._label_lags(assignment, labels)
        return True

    def _label_lags(self, assignment: Assignment, labels: LabelFeed) -> None:
        for task in assignment.running():
            if (lag := labels.lag(task)) is not None:
                self._metrics.labels_lag_records.labels(str(task.partition)).set(lag)

    def _gauges(self, assignment: Assignment, consumer: Consumer, engine: Engine) -> None:
        figures = {}
        for task in assignment.running():
            name = str(task.partition)
            figures[task.partition] = own = engine.gauges(task.state)
            where = TopicPartition(assignment.topic, task.partition)
            known = consumer.get_watermark_offsets(where, cached=True)
            if known is not None and known[1] >= 0:
                self._metrics.lag_records.labels(name).set(max(0, known[1] - task.committed_offset))
            if (newest_ms := own.get("event_time_ms_max", -1.0)) > 0:
                self._metrics.event_time_lag_seconds.labels(name).set(time.time() - newest_ms / 1e3)
        state_bytes = sum(engine.nbytes(task.state) for task in assignment.running())
        self._metrics.set_tasks(figures, state_bytes, engine.slots)

    def _probe(self, assignment: Assignment, consumer: Consumer, now_s: float) -> None:
        """Ask the broker for the input topic: at once when it is said to be away, else now and then."""
        if not self._patience.away and now_s - self._counted_s < COUNT_PARTITIONS_S:
            return
        self._counted_s = now_s
        try:
            found = consumer.list_topics(assignment.topic, PROBE_TIMEOUT_S).topics[assignment.topic]
        except KafkaException as error:
            self._patience.failed("ask for the input topic", error.args[0])
            return
        if found.error is not None:
            self._patience.failed("ask for the input topic", found.error)
            return
        self._patience.succeeded()
        if len(found.partitions) > self._partitions:
            self._found(len(found.partitions))

    def _found(self, partitions: int) -> None:
        log.warning(
            "the input has more partitions than at the start: keys move between tasks, and the alert budget is still "
            "shared by the old number; restart all processes of the group",
            before=self._partitions,
            now=partitions,
        )
        self._partitions = partitions
        self.mend()
