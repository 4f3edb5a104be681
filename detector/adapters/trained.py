"""Models trained by `detector lab train`, as members of the ensemble or as supervised heads beside it.

A model without labels is a member: its score goes through surprise and fusion as ours do, and it learns nothing. It
pivots with the others, for the distribution of its scores is learned. A supervised model is a head (see
`detector.core.trained`). Neither has state that a snapshot would have to hold; the digest of its files is in the spec,
so that equal fingerprints decide equally.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.adapters import trained_uri
from detector.adapters.outside import Scorer, in_unit, left_out, package_version
from detector.adapters.trained_file import MODULE, Artifact, Card, TrainedError, misfit, read
from detector.adapters.trained_scores import scorer
from detector.core.spec import Spec
from detector.core.trained import smoothed_logit
from detector.core.turns import OWN, Turning, join, new_counter, take, turn

PIVOT_ROWS = 1_000
Arrays = dict[str, NDArray[Any]]

_loaded: dict[str, tuple[Card, Scorer]] = {}
"""What was read in this process, by its digest: specs name models by what they are, not by where they lie."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model's declaration: `digest` of its `model.json`, `version` of the library that runs it."""

    name: str
    digest: str
    version: str
    features: tuple[str, ...]
    frauds: int = 0
    weight: float = 1.0

    @property
    def kind(self) -> str:
        """Under which its score is published: `trained_random_forest`."""
        return "trained_" + re.sub(r"\W+", "_", self.name)

    @property
    def supervised(self) -> bool:
        """Whether it is a head."""
        return self.frauds > 0

    def build(self, columns: NDArray[np.int64], profiled: NDArray[np.int64], seed: int) -> TrainedMember:
        """The member; see `detector.core.models.build_members`."""
        return TrainedMember(self, columns, *_loaded[self.digest])

    def build_head(self, columns: NDArray[np.int64]) -> TrainedHead:
        """The head; see `detector.core.trained.build_heads`."""
        return TrainedHead(self, columns, *_loaded[self.digest])


def declare(path: str, weight: float = 1.0, tracking_uri: str = "") -> Trained:
    """The model in the folder `path`, or at an MLflow URI (`runs:/…`, `models:/…`). Raises TrainedError."""
    artifact = trained_uri.fetch(path, tracking_uri) if trained_uri.is_uri(path) else read(Path(path))
    return of(artifact, weight)


def of(artifact: Artifact, weight: float = 1.0) -> Trained:
    """The declaration of a model that was read. Raises TrainedError."""
    card = artifact.card
    if card.supervised and card.frauds < 1:
        raise TrainedError("expected a supervised model that was trained on a fraud at least, found none")
    if artifact.digest not in _loaded:
        _loaded[artifact.digest] = (card, scorer(artifact))
    version = package_version(MODULE[card.file])
    return Trained(card.name, artifact.digest, version, card.features, card.frauds if card.supervised else 0, weight)


def fault(declared: Trained, spec: Spec) -> str | None:
    """Why it cannot be given the features of `spec`; None where it can."""
    card, _ = _loaded[declared.digest]
    return misfit(card, [feature.name for feature in spec.features], spec)


def scores(declared: Trained, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is published for rows (n, m) of its features: a member's score, or a head's probability, 0 to 1."""
    card, ask = _loaded[declared.digest]
    return _published(card, ask(values))


def _published(card: Card, raw: NDArray[np.float64]) -> NDArray[np.float64]:
    if not card.supervised:
        return in_unit(raw, card.center, card.width)
    probability: NDArray[np.float64] = np.clip(np.nan_to_num(raw, nan=0.0), 0.0, 1.0)
    return probability


def _typical(card: Card) -> NDArray[np.float64]:
    """The median of each of its features (m,), NaN where it was missing for the most part."""
    return np.array([np.nan if value is None else value for value in card.typical])


class TrainedMember(Turning):
    """The member: it scores from the first row on, and never learns."""

    def __init__(self, declared: Trained, columns: NDArray[np.int64], card: Card, ask: Scorer) -> None:
        """`columns` of the feature matrix that it looks at, in its own order."""
        self.name = declared.kind
        self.columns = columns
        self._card = card
        self._ask = ask
        self._usual = _typical(card)

    def new_arrays(self) -> Arrays:
        """The state before the first row: when it turns."""
        return {"counter": new_counter(OWN, PIVOT_ROWS)}

    def ready(self, arrays: Arrays) -> bool:
        """Whether it is known how its scores are spread."""
        return self.pivots(arrays) > 0

    def score(self, arrays: Arrays, features: NDArray[np.float64], score: NDArray[np.float64]) -> None:
        """Score rows (n, f) into `score` (n,). No trace."""
        score[:] = self._published(features[:, self.columns])

    def learn(self, arrays: Arrays, features: NDArray[np.float64], trace: Any, taken: NDArray[np.bool_]) -> None:
        """Count the rows taken."""
        take(arrays["counter"], taken)

    def pivot(self, arrays: Arrays, cumulated: Any = None, sample: Any = None) -> None:
        """The next window begins."""
        turn(arrays["counter"], PIVOT_ROWS)

    def explain(self, arrays: Arrays, row: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """Leave one out: how the score falls where a feature takes its median of the training rows."""
        if not self.ready(arrays):
            return np.zeros(len(self.columns)), 0.0
        return left_out(self._published, row[self.columns], self._usual)

    def merge(self, one: Arrays, other: Arrays) -> Arrays:
        """What two streams learned is nothing: the state of either, where both have turned alike."""
        if self.pivots(one) != self.pivots(other):
            raise ValueError(f"{self.name}: expected as many pivots, found {self.pivots(one)} and {self.pivots(other)}")
        merged = {"counter": one["counter"].copy()}
        join(merged["counter"], other["counter"])
        return merged

    def _published(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return _published(self._card, self._ask(values))


class TrainedHead:
    """The head: frozen."""

    def __init__(self, declared: Trained, columns: NDArray[np.int64], card: Card, ask: Scorer) -> None:
        """`columns` of the feature matrix that it looks at, in its own order."""
        self.columns = columns
        self.frauds = declared.weight * declared.frauds
        self.level = card.level
        self._card = card
        self._ask = ask
        self._usual = _typical(card)

    def score(self, features: NDArray[np.float64], probability: NDArray[np.float64]) -> None:
        """Of fraud, for rows (n, f) into `probability` (n,)."""
        probability[:] = _published(self._card, self._ask(features[:, self.columns]))

    def logit(self, probability: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-odds (n,), none surer than the frauds that it was trained on allow."""
        return smoothed_logit(probability, float(self._card.frauds))

    def explain(self, row: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """Leave one out, of log-odds: how they fall where a feature takes its median of the training rows."""

        def logits(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return self.logit(_published(self._card, self._ask(values)))

        return left_out(logits, row[self.columns], self._usual)
