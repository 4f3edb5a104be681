"""Ready only when all parts say so; alive only while the loop beats."""

from __future__ import annotations

from detector.observe.health import Health


class Clock:
    """Time that the test turns by hand."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_nothing_declared_is_not_ready() -> None:
    health = Health()
    assert not health.ready()
    assert health.reasons() == {"start": "not all parts are known yet"}


def test_the_first_part_to_report_does_not_speak_for_those_to_come() -> None:
    health = Health()
    health.set("broker", True)
    assert not health.ready()
    assert health.start_s() is None
    health.declare("restored")
    assert health.reasons() == {"restored": "not reported yet"}
    health.set("restored", True)
    assert health.ready()


def test_ready_when_all_declared_parts_are_ok() -> None:
    health = Health()
    health.declare("restored", "consumer")
    health.set("restored", True)
    assert not health.ready()
    assert health.reasons() == {"consumer": "not reported yet"}
    health.set("consumer", True)
    assert health.ready()
    assert health.reasons() == {}


def test_declaring_again_forgets_nothing() -> None:
    health = Health()
    health.set("consumer", True)
    health.declare("consumer")
    assert health.ready()


def test_goes_down_again_with_its_reason() -> None:
    health = Health()
    health.declare("producer")
    health.set("producer", True)
    health.set("producer", False, "broker away")
    assert not health.ready()
    assert health.reasons() == {"producer": "broker away"}
    health.set("producer", False)
    assert health.reasons() == {"producer": "down"}


def test_alive_while_starting_then_only_while_beating() -> None:
    clock = Clock()
    health = Health(stalled_after_s=30.0, clock=clock)
    clock.now_s += 1_000
    assert health.alive()
    assert health.seconds_since_beat() is None
    health.beat()
    clock.now_s += 30.0
    assert health.alive()
    clock.now_s += 0.1
    assert not health.alive()
    health.beat()
    assert health.alive()


def test_start_seconds_are_those_of_the_first_time() -> None:
    clock = Clock()
    health = Health(clock=clock)
    health.declare("restored", "consumer")
    clock.now_s += 2.0
    health.set("restored", True)
    assert health.start_s() is None
    clock.now_s += 0.5
    health.set("consumer", True)
    assert health.start_s() == 2.5
    clock.now_s += 10.0
    health.set("consumer", False)
    health.set("consumer", True)
    assert health.start_s() == 2.5
