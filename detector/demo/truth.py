"""Alerts meet labels: precision and recall so far.

Law: every alert and every label counts once, in whichever order they come. Ids are kept only until they meet, and at
most IDS_MAX of either kind: an alert comes within a second of its transaction or never.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import TypeVar

IDS_MAX = 100_000

Value = TypeVar("Value")


@dataclass(slots=True)
class Truth:
    """`frauds` and `caught`: by scenario. `alerts`: all published."""

    alerts: int = 0
    frauds: Counter[str] = field(default_factory=Counter)
    caught: Counter[str] = field(default_factory=Counter)
    _scenario: OrderedDict[str, str] = field(default_factory=OrderedDict)
    _alerted: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def label(self, transaction_id: str, is_fraud: bool, scenario: str) -> None:
        """The truth about a transaction. Genuine ones are counted nowhere: no label means genuine, too."""
        if not is_fraud:
            return
        self.frauds[scenario] += 1
        if transaction_id in self._alerted:
            del self._alerted[transaction_id]
            self.caught[scenario] += 1
        _keep(self._scenario, transaction_id, scenario)

    def alert(self, transaction_id: str) -> None:
        """An alert on a transaction."""
        self.alerts += 1
        scenario = self._scenario.get(transaction_id)
        if scenario is not None:
            self.caught[scenario] += 1
        else:
            _keep(self._alerted, transaction_id, None)

    def scenario(self, transaction_id: str) -> str | None:
        """What kind of fraud it is, None for a genuine transaction."""
        return self._scenario.get(transaction_id)

    @property
    def precision(self) -> float | None:
        """Share of the alerts that are fraud; None before the first."""
        return self.caught.total() / self.alerts if self.alerts else None

    @property
    def recall(self) -> float | None:
        """Share of the frauds that are alerted; None before the first."""
        return self.caught.total() / self.frauds.total() if self.frauds else None

    @property
    def recall_max(self) -> float | None:
        """What recall would be if every alert were a fraud: the budget's own bound."""
        return min(1.0, self.alerts / self.frauds.total()) if self.frauds else None


def _keep(ids: OrderedDict[str, Value], key: str, value: Value) -> None:
    ids[key] = value
    if len(ids) > IDS_MAX:
        ids.popitem(last=False)
