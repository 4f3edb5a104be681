"""Reads, splits, fits, asks.

Law (same rows, same number looked at): every model is asked about the same rows, having learned only what was known
before them, and flags as many of them as every other. Within a tested period scores are turned into ranks, so that
periods, each with a model of its own, can be put together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from detector.core.budget import DAY_MS
from detector.core.compile import Progress
from detector.lab import figures, matrix, prequential, risk_score, splits
from detector.lab.arrivals import Arrivals
from detector.lab.catalog import MODELS, Model
from detector.lab.choosing import Choice
from detector.lab.errors import InputStopped
from detector.lab.evaluate.measures import flagged_by, measure, stability
from detector.lab.evaluate.results import RISK_SCORE, Asked, Evaluation, Floats, Integers, Result
from detector.lab.meter import Meter
from detector.lab.prequential import DETECTOR, Prequential
from detector.lab.roles import Roles
from detector.lab.splits import Fold
from detector.lab.tables import Table
from detector.settings import Settings

DELAY_MS_MAX = 7 * DAY_MS
DELAY_SHARE = 0.1  # of the file's span, where no label delay is named
OF_THE_CLOCK = ("hour", "weekday")  # features that say nothing where times are made up
FOLDS_BY_TIME, FOLDS_STRATIFIED = 2, 5
INNER_SHARE = 0.6  # of the learned rows, that methods learn while their weights are learned on the rest
WEIGHED_ROWS_MAX = 1_000_000  # that weights are learned on, evenly of more: their spread is long settled
SPLIT_ROWS_MAX = 2_500_000  # of which those are held out, where no model has to be fitted to the others
SEEDS_UNLABELLED = 3
SEEDED_ROWS_MAX = 500_000  # of a file that the detector runs over again with other seeds


def run(
    table: Table,
    settings: Settings,
    roles: Roles,
    choice: Choice,
    asked: Asked,
    step: Callable[[str], None] = lambda _: None,
    seen: Callable[[int], None] | None = None,
    preparing: Progress | None = None,
) -> Evaluation:
    """All of it. `step` is told what begins, `seen` how many rows were decided, `preparing` what is compiled.

    Raises LabError.
    """
    return _Run(table, settings, roles, choice, asked, step, seen, preparing).whole()


def thinned(rows: Integers, most: int) -> Integers:
    """At most so many of the rows, evenly."""
    return rows[:: -(-len(rows) // most)] if len(rows) > most else rows


class _Run:
    """One evaluation."""

    def __init__(
        self,
        table: Table,
        settings: Settings,
        roles: Roles,
        choice: Choice,
        asked: Asked,
        step: Callable[[str], None],
        seen: Callable[[int], None] | None,
        preparing: Progress | None,
    ) -> None:
        self._table, self._settings, self._roles = table, settings, roles
        self._choice, self._asked, self._step, self._seen, self._preparing = choice, asked, step, seen, preparing
        self.choices: list[str] = []
        self._timeless = "event_time" not in settings.mapping.fields
        self._stratified = asked.stratified or self._timeless
        if self._timeless and not asked.stratified:
            self.choices.append("no event time: folds are stratified, not split by time; hour and weekday are left out")
        self._arrivals = Arrivals(table, settings, asked.rows)
        self._delay_ms = self._label_delay()

    def whole(self) -> Evaluation:
        """Reads, splits, fits, measures."""
        decided, meter = self._decided()
        read = self._matrix() if self._choice.models else None
        rows = read if read is not None else decided
        assert rows is not None, "something was asked for"
        self.choices = [*rows.choices, *self.choices]
        folds = self._folds(rows)
        tested = np.concatenate([fold.test for fold in folds])
        label = rows.label[tested]
        labelled = bool((label == 1).any() and (label == 0).any())
        if self._roles.label is not None and not labelled:
            self.choices.append(
                f"label {self._roles.label}: {int((label == 1).sum()):,} frauds and {int((label == 0).sum()):,} "
                "genuine rows among the tested: no quality to tell; methods are compared with one another"
            )
        models = self._learnable(rows, folds)
        results = []
        for model in models:
            assert read is not None
            results.append(self._offline(model, read, folds))
        results += self._streaming(decided, meter, folds)
        done = Evaluation(
            rows, folds, tested, results, labelled, "", self.choices, self._asked, self._delay_ms,
            timed=not self._timeless, matrix=read, decided=decided,
        )  # fmt: skip
        if self._asked.risk_score and len(results) > 1:
            self._combined(done, models)
        self._forget(done)
        measure(done, self._roles)
        self._seeds(done, models)
        return done

    def _label_delay(self) -> int:
        asked = self._asked.label_delay_ms
        if asked is not None or self._roles.label is None:
            return asked or 0
        span_ms = self._arrivals.span_ms
        if span_ms is None:
            return DELAY_MS_MAX
        delay_ms = min(DELAY_MS_MAX, int(DELAY_SHARE * span_ms))
        self.choices.append(
            f"label delay {delay_ms / 3_600_000:,.1f} h: a week, or a tenth of the file's time where that is less; "
            "--label-delay sets it"
        )
        return delay_ms

    def _decided(self) -> tuple[Prequential | None, Meter]:
        if not self._choice.streaming:
            return None, Meter()
        self._step("the detector, row by row")
        meter = Meter()
        found = prequential.run(
            self._table, self._settings, self._roles, arrivals=self._arrivals, label_delay_ms=self._delay_ms,
            seen=self._seen, progress=self._preparing, meter=meter,
        )  # fmt: skip
        return found, meter

    def _matrix(self) -> matrix.Matrix:
        self._step("features")
        # Folds that are no periods mix before and after: features of labels would tell what is to be told.
        delay_ms = None if self._stratified or self._roles.label is None else self._delay_ms
        read = matrix.build(
            self._table, self._settings, self._roles, arrivals=self._arrivals, label_delay_ms=delay_ms,
            progress=self._preparing,
        )  # fmt: skip
        return read.without(OF_THE_CLOCK) if self._timeless else read

    def _folds(self, rows: splits.Rows) -> list[Fold]:
        if self._stratified:
            return splits.stratified(rows, self._asked.folds or FOLDS_STRATIFIED, self._asked.seed)
        return splits.by_time(rows, self._asked.folds or FOLDS_BY_TIME, self._delay_ms)

    def _learnable(self, rows: splits.Rows, folds: Sequence[Fold]) -> list[Model]:
        """The models that can be fitted. Raises InputStopped where a named one cannot."""
        models = [MODELS[name] for name in self._choice.models]
        for fold in folds:
            label = rows.label[fold.train]
            frauds, genuine = int((label == 1).sum()), int((label == 0).sum())
            if frauds and genuine:
                continue
            lacking = [model.name for model in models if model.supervised]
            told = (
                f"expected frauds and genuine rows among those learned for {fold.name}, found {frauds:,} and "
                f"{genuine:,} whose labels are known by then"
            )
            if self._choice.named and lacking:
                raise InputStopped(
                    f"{', '.join(lacking)}: {told}; use fewer --folds, a shorter --label-delay or --folds-stratified, "
                    "or models that need no labels"
                )
            if lacking:
                self.choices.append(f"{', '.join(lacking)} left out: {told}")
            return [model for model in models if not model.supervised]
        return models

    def _offline(self, model: Model, read: matrix.Matrix, folds: Sequence[Fold]) -> Result:
        parts, probabilities = [], []
        result = Result(model.name, "learns labels" if model.supervised else "no labels", model.about, np.empty(0))
        for fold in folds:
            self._step(f"{model.name}, {fold.name}")
            model.build(self._asked.seed)  # imports its packages, which is no part of its time
            with Meter(anew=True) as fitting:
                built, result.learned, result.learnable = self._fitted(model, read, fold.train, self._asked.seed)
            with Meter(anew=True) as scoring:
                score = built.score(model.rows_of(read, fold.test))
            result.fit_s += fitting.seconds
            result.score_s += scoring.seconds
            result.peak_mb = max(result.peak_mb, fitting.peak_mb, scoring.peak_mb)
            parts.append(figures.ranks(score))
            probabilities.append(score)
        result.rank = np.concatenate(parts)
        result.probability = np.concatenate(probabilities) if model.supervised else None
        return result

    def _fitted(self, model: Model, read: matrix.Matrix, train: Integers, seed: int) -> tuple[Any, int, int]:
        """(the model, rows learned, of how many)."""
        learnable = train[read.label[train] >= 0] if model.supervised else train
        learned = model.learned_rows(learnable, seed)
        built = model.build(seed, categories=len(read.category_names))
        built.fit(model.rows_of(read, learned), read.label[learned] if model.supervised else None)
        return built, len(learned), len(learnable)

    def _streaming(self, decided: Prequential | None, meter: Meter, folds: Sequence[Fold]) -> list[Result]:
        if decided is None:
            return []
        results = []
        for name in self._choice.streaming:
            score = decided.scores[name]
            rank = np.concatenate([figures.ranks(score[fold.test]) for fold in folds])
            whole = name == DETECTOR
            about = "all of it, as it runs live" if whole else "one of the detector's own models, alone"
            kind = "streaming" + (", learns labels late" if whole and self._roles.label is not None else "")
            result = Result(name, kind, about, rank)
            if whole or DETECTOR not in self._choice.streaming:
                result.score_s, result.peak_mb = meter.seconds, meter.peak_mb
            result.learned = result.learnable = len(decided)
            results.append(result)
        return results

    def _forget(self, done: Evaluation) -> None:
        """The scores of a long file, a third of what is held of it: the tested rows' ranks are what is looked at."""
        if done.decided is not None and len(done.decided) > prequential.IDS_ROWS_MAX:
            done.decided.scores.clear()

    def _combined(self, done: Evaluation, models: Sequence[Model]) -> None:
        """The Fraud Risk Score as one more row."""
        parts = []
        names = [result.name for result in done.results]
        position = 0
        learned = True
        with Meter() as meter:
            combinations = [self._weights(done, models, fold) for fold in done.folds]
            self._forget(done)
            for fold, combination in zip(done.folds, combinations, strict=True):
                part = slice(position, position + len(fold.test))
                position += len(fold.test)
                learned &= combination.learned
                parts.append(combination.score([result.rank[part] for result in done.results]))
                done.weights.append(dict(zip(names, combination.shares.tolist(), strict=True)))
        done.weights_learned = learned
        about = "the methods' ranks together, " + (
            "weights learned from labels" if learned else "all weighing the same"
        )
        result = Result(
            RISK_SCORE, "combined", about,
            np.concatenate([figures.ranks(part) for part in parts]),
            np.concatenate(parts) if learned else None,
        )  # fmt: skip
        result.fit_s, result.peak_mb = meter.seconds, meter.peak_mb if models else 0.0
        done.results.append(result)

    def _weights(self, done: Evaluation, models: Sequence[Model], fold: Fold) -> risk_score.Combination:
        label = done.rows.label[fold.train]
        frauds = int((label == 1).sum())
        if not done.labelled or frauds < 2 * risk_score.FRAUDS_MIN:
            return risk_score.equal(len(done.results))
        train, held = self._inner(done.rows, fold.train if models else thinned(fold.train, SPLIT_ROWS_MAX))
        held = thinned(held[done.rows.label[held] >= 0], WEIGHED_ROWS_MAX)
        inner = done.rows.label[train]
        if not ((inner == 1).any() and (inner == 0).any()):
            return risk_score.equal(len(done.results))
        scores = []
        for model in models:
            assert done.matrix is not None
            self._step(f"{RISK_SCORE}, {model.name}, {fold.name}")
            built, _, _ = self._fitted(model, done.matrix, train, self._asked.seed)
            scores.append(built.score(model.rows_of(done.matrix, held)))
        for name in self._choice.streaming:
            assert done.decided is not None
            scores.append(done.decided.scores[name][held].astype(np.float64))
        return risk_score.learned(scores, done.rows.label[held])

    def _inner(self, rows: splits.Rows, train: Integers) -> tuple[Integers, Integers]:
        """(learned, held out) of the rows that may be learned, by the protocol's own kind of split."""
        if self._stratified:
            held = np.random.default_rng(self._asked.seed).random(len(train)) >= INNER_SHARE
            return train[~held], train[held]
        try:
            (fold,) = splits.by_time_of(rows.event_time_ms[train], 1, self._delay_ms, INNER_SHARE)
        except InputStopped:  # the delay leaves nothing to learn: without it
            (fold,) = splits.by_time_of(rows.event_time_ms[train], 1, 0, INNER_SHARE)
        return train[fold.train], train[fold.test]

    def _seeds(self, done: Evaluation, models: Sequence[Model]) -> None:
        """How much a model's ranks depend on its seed, in the last period."""
        asked = self._asked
        count = asked.seeds if asked.seeds is not None else 1 if done.labelled else SEEDS_UNLABELLED
        if count < 2:
            return
        fold = done.folds[-1]
        flagged = max(1, int(flagged_by(done)[-len(fold.test) :].sum()))
        for result in done.results:
            known = MODELS.get(result.name)
            others: list[Floats] = []
            for seed in range(asked.seed + 1, asked.seed + count):
                if known is not None and known.seeded and done.matrix is not None:
                    self._step(f"{result.name}, seed {seed}")
                    built, _, _ = self._fitted(known, done.matrix, fold.train, seed)
                    others.append(figures.ranks(built.score(known.rows_of(done.matrix, fold.test))))
            if others:
                result.stability = stability([result.rank[-len(fold.test) :], *others], flagged)
        self._detector_seeds(done, fold, flagged, count)

    def _detector_seeds(self, done: Evaluation, fold: Fold, flagged: int, count: int) -> None:
        if done.decided is None or len(done.decided) > SEEDED_ROWS_MAX:
            return
        first = self._settings.models.seed
        runs = []
        for seed in range(first + 1, first + count):
            self._step(f"the detector, seed {seed}")
            models = self._settings.models.model_copy(update={"seed": seed})
            runs.append(
                prequential.run(
                    self._table, self._settings.model_copy(update={"models": models}), self._roles,
                    arrivals=self._arrivals, label_delay_ms=self._delay_ms,
                ).scores
            )  # fmt: skip
        for result in done.results:
            if result.name in runs[0]:
                others = [figures.ranks(scores[result.name][fold.test]) for scores in runs]
                result.stability = stability([result.rank[-len(fold.test) :], *others], flagged)
