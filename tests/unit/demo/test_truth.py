"""Law: every alert and every label counts once, in whichever order they come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.demo import truth as module
from detector.demo.truth import Truth

FRAUDS = {"t1": "card_testing", "t2": "card_testing", "t3": "large_amount"}
EVENTS = [("label", name) for name in FRAUDS] + [("alert", name) for name in ("t1", "t3", "genuine")]


@given(st.permutations(EVENTS))
def test_any_order_gives_the_same_figures(events: list[tuple[str, str]]) -> None:
    truth = Truth()
    for kind, name in events:
        if kind == "label":
            truth.label(name, True, FRAUDS[name])
        else:
            truth.alert(name)
    assert truth.alerts == 3
    assert dict(truth.frauds) == {"card_testing": 2, "large_amount": 1}
    assert dict(truth.caught) == {"card_testing": 1, "large_amount": 1}
    assert truth.precision == truth.recall == pytest.approx(2 / 3)
    assert truth.scenario("t1") == "card_testing"
    assert truth.scenario("genuine") is None


def test_nothing_is_claimed_before_there_is_anything() -> None:
    truth = Truth()
    assert truth.precision is truth.recall is truth.recall_max is None


def test_labels_of_genuine_payments_are_no_frauds() -> None:
    truth = Truth()
    truth.label("t1", False, "")
    truth.alert("t1")
    assert (truth.frauds.total(), truth.caught.total(), truth.precision) == (0, 0, 0.0)


def test_the_budget_bounds_recall() -> None:
    truth = Truth()
    for number in range(10):
        truth.label(f"t{number}", True, "card_testing")
    truth.alert("t0")
    truth.alert("other")
    assert truth.recall == pytest.approx(0.1)
    assert truth.recall_max == pytest.approx(0.2)


def test_ids_are_forgotten_but_not_their_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDS_MAX", 10)
    truth = Truth()
    for number in range(100):
        truth.label(f"t{number}", True, "card_testing")
        truth.alert(f"g{number}")
    assert (truth.frauds.total(), truth.alerts) == (100, 100)
    assert len(truth._scenario) == len(truth._alerted) == 10
    truth.alert("t99")
    truth.alert("t0")  # long forgotten
    assert truth.caught.total() == 1
