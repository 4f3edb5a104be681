"""What an evaluation is asked, and what it comes to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.lab.matrix import Matrix
from detector.lab.prequential import Prequential
from detector.lab.splits import Fold

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
RISK_SCORE = "fraud_risk_score"


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for; None leaves the choice to the file."""

    folds: int | None = None
    stratified: bool = False
    label_delay_ms: int | None = None
    alerts_per_day: int | None = None
    alert_cost: float = 10.0
    cards_a_day: int = 100
    seeds: int | None = None
    seed: int = 0
    rows: int | None = None
    risk_score: bool = True


@dataclass(slots=True)
class Result:
    """One model. `rank` float64 (t,), of the tested rows within their period; `probability` (t,) where its scores are
    some, else None; `of_fold` figures of each period; `learned` rows of `learnable` in the last one.
    """

    name: str
    kind: str
    about: str
    rank: Floats
    probability: Floats | None = None
    fit_s: float = 0.0
    score_s: float = 0.0
    peak_mb: float = 0.0
    learned: int = 0
    learnable: int = 0
    figures: dict[str, Any] = field(default_factory=dict)
    of_fold: list[dict[str, float]] = field(default_factory=list)
    stability: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Evaluation:
    """What came out. `tested` int64 (t,), rows in the order of the periods; `fraud` bool (t,) and `known` bool (t,) of
    them; `flagged` rows of each period; `weights` a period: method → share in the risk score.
    """

    rows: Matrix | Prequential
    folds: list[Fold]
    tested: Integers
    results: list[Result]
    labelled: bool
    threshold: str
    choices: list[str]
    asked: Asked
    label_delay_ms: int
    timed: bool = True  # else event times are made up
    weights: list[dict[str, float]] = field(default_factory=list)
    weights_learned: bool = False
    matrix: Matrix | None = None
    decided: Prequential | None = None

    @property
    def known(self) -> NDArray[np.bool_]:
        """(t,) whose label is known."""
        known: NDArray[np.bool_] = self.rows.label[self.tested] >= 0
        return known

    @property
    def fraud(self) -> NDArray[np.bool_]:
        """(t,)."""
        fraud: NDArray[np.bool_] = self.rows.label[self.tested] == 1
        return fraud
