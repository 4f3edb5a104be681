"""The commit of a transaction, by a producer that answers as it is told: what is called again, and what ends it."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from detector.kafka import transaction
from detector.kafka.errors import Rewind
from detector.kafka.outbox import Ledger
from detector.kafka.patience import Patience
from detector.kafka.tasks import Task
from detector.observe.health import Health

LEDGER = Ledger("transactions", "app.journal", "app.snapshots", "spec-1", "state-1", "exactly_once")
AWAY = KafkaError(KafkaError._TIMED_OUT, "the coordinator is loading", retriable=True)
ABORT = KafkaError(KafkaError.ILLEGAL_GENERATION, "the group has moved on", txn_requires_abort=True)
LOST = KafkaError(KafkaError._STATE, "in the wrong state")


class Scripted:
    """Stands in for the producer; `script` holds the errors that its calls end in, by their names, in turn."""

    def __init__(self, script: dict[str, list[KafkaError]]) -> None:
        self.script, self.calls = script, list[tuple[str, Any]]()

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **_options: Any) -> None:
            self.calls.append((name, arguments))
            if errors := self.script.get(name):
                raise KafkaException(errors.pop(0))

        return call

    def arguments(self, name: str) -> list[Any]:
        return [arguments for called, arguments in self.calls if called == name]


class Member:
    """A consumer, of which a commit asks nothing but who it is in its group: each time somebody else."""

    def consumer_group_metadata(self) -> object:
        return object()


def committed(
    monkeypatch: pytest.MonkeyPatch, script: dict[str, list[KafkaError]]
) -> tuple[Scripted, Task, Rewind | None]:
    """A commit of one task by a producer with that script, and how it ended."""
    producer = Scripted(script)
    monkeypatch.setattr(transaction, "Producer", lambda _config: producer)
    patience = Patience(threading.Event(), Health(), "broker:9092")
    monkeypatch.setattr(patience, "wait", lambda: None)
    outbox = transaction.ExactlyOnce({"transactional.id": "app-1"}, LEDGER, patience)
    outbox.open()
    task = Task(partition=3)
    task.restored(None, next_offset=40, origin_offset=0, commit=7, snapshot=None, rows=0)
    task.skip(42)
    try:
        outbox.commit([task], cast(Consumer, Member()))
    except Rewind as rewind:
        return producer, task, rewind
    return producer, task, None


def test_what_may_pass_is_called_again_with_the_same_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    script = {"send_offsets_to_transaction": [AWAY, AWAY], "commit_transaction": [AWAY]}
    producer, task, rewind = committed(monkeypatch, script)
    assert rewind is None
    sent = producer.arguments("send_offsets_to_transaction")
    assert len(sent) == 3
    assert all(one is other for again in sent[1:] for one, other in zip(again, sent[0], strict=True))
    ((offset,), _, seconds) = sent[0]
    assert isinstance(offset, TopicPartition)
    assert (offset.topic, offset.partition, offset.offset) == ("transactions", 3, 42)
    assert producer.arguments("commit_transaction") == [(seconds,)] * 2
    names = [name for name, _ in producer.calls]
    assert names.count("begin_transaction") == names.count("produce") == 1
    assert "abort_transaction" not in names
    assert (task.committed_offset, task.commit, task.touched) == (42, 8, False)


@pytest.mark.parametrize(
    ("error", "cause", "last"), [(ABORT, "aborted", "abort_transaction"), (LOST, "fatal", "purge")]
)
@pytest.mark.parametrize("call", ["send_offsets_to_transaction", "commit_transaction"])
def test_what_will_not_pass_is_called_once_and_the_task_is_to_restore(
    monkeypatch: pytest.MonkeyPatch, call: str, error: KafkaError, cause: str, last: str
) -> None:
    producer, task, rewind = committed(monkeypatch, {call: [error]})
    assert rewind is not None
    assert rewind.cause == cause
    assert len(producer.arguments(call)) == 1
    assert producer.calls[-1][0] == last
    assert (task.committed_offset, task.touched) == (40, True)
