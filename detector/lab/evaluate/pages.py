"""The report of an evaluation: one table, the curves behind it, how far methods agree, and the rows on top."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.lab import figures
from detector.lab.evaluate import pictures
from detector.lab.evaluate.measures import flagged_by
from detector.lab.evaluate.results import RISK_SCORE, Evaluation, Result
from detector.lab.matrix import Matrix
from detector.lab.prequential import DETECTOR
from detector.lab.report import Report, plots, told
from schemas.times import rfc3339_text

TOP_ROWS, TOP_ROWS_SHOWN = 200, 20
REASONS_MAX, RARITY_MAX = 3, 0.02
SAMPLE_ROWS = 20_000
CURVES_MAX = 8
QUALITY = {
    "average_precision": "average precision", "roc_auc": "ROC AUC", "precision": "precision", "recall": "recall",
    "f1": "F1", "accuracy": "accuracy", "card_precision": "cards@{k}", "cost": "cost",
}  # fmt: skip


def ordered(done: Evaluation) -> list[Result]:
    """Best average precision first; without labels as they ran."""
    if not done.labelled:
        return list(done.results)
    return sorted(done.results, key=lambda result: -result.figures["average_precision"])


def write(report: Report, done: Evaluation, introduction: Sequence[str]) -> None:
    """All of it."""
    results = ordered(done)
    report.tiles(_tiles(done, results))
    report.section("How it was measured")
    report.points([*introduction, *protocol(done)])
    _models(report, done, results)
    if done.labelled:
        _curves(report, done, results)
    if done.weights:
        _risk_score(report, done)
    if len(results) > 1:
        _agreement(report, done, results)
    _stability(report, results)
    _top(report, done, results)
    report.section("What the models are")
    report.table("about", ["model", "what it is"], [[result.name, result.about] for result in results])
    report.figures |= told_figures(done)


def protocol(done: Evaluation) -> list[str]:
    """What is tested on what, in sentences."""
    periods = [
        f"{fold.name}: {len(fold.test):,} rows tested, {len(fold.train):,} learned before"
        + (f", {int((done.rows.label[fold.train] == 1).sum()):,} frauds among those learned" if done.labelled else "")
        for fold in done.folds
    ]
    lines = [*periods, f"Every model flags {done.threshold}."]
    if done.labelled:
        hours = done.label_delay_ms / 3_600_000
        lines.append(f"A label is known {told(hours)} hours after its row, and learned from then on.")
        lines.append(
            f"Cost is the amounts of frauds not flagged, and {told(done.asked.alert_cost)} for each row flagged; "
            f"flagging nothing would cost {told(_nothing_done(done))}."
        )
    sampled = [result for result in done.results if result.learned < result.learnable]
    lines += [
        f"{result.name} learned {result.learned:,} of {result.learnable:,} rows, drawn by the seed: it is slow."
        for result in sampled
    ]
    lines += done.choices
    return lines


def told_figures(done: Evaluation) -> dict[str, Any]:
    """For figures.json and for tracking."""
    found: dict[str, Any] = {
        "rows": len(done.rows),
        "tested": len(done.tested),
        "frauds_tested": int(done.fraud.sum()),
        "threshold": done.threshold,
        "label_delay_ms": done.label_delay_ms,
        "choices": done.choices,
        "periods": [
            {"name": fold.name, "learned": len(fold.train), "tested": len(fold.test)} for fold in done.folds
        ],
        "models": {
            result.name: {
                **result.figures,
                "fit_s": result.fit_s, "score_s": result.score_s, "peak_mb": result.peak_mb,
                "learned_rows": result.learned, "learnable_rows": result.learnable,
                **({"stability": result.stability} if result.stability else {}),
                **({"periods": result.of_fold} if len(result.of_fold) > 1 else {}),
            }
            for result in done.results
        },
    }  # fmt: skip
    if done.weights:
        found["risk_score_weights"] = mean_weights(done)
    return found


def mean_weights(done: Evaluation) -> dict[str, float]:
    """Share of each method in the risk score, the mean over periods."""
    return {name: float(np.mean([one[name] for one in done.weights])) for name in done.weights[0]}


def _tiles(done: Evaluation, results: Sequence[Result]) -> dict[str, str]:
    tiles = {"rows": f"{len(done.rows):,}", "tested": f"{len(done.tested):,}", "models": f"{len(results)}"}
    if done.labelled:
        best = results[0]
        tiles["frauds among the tested"] = f"{int(done.fraud.sum()):,}"
        tiles[f"best average precision: {best.name}"] = f"{best.figures['average_precision']:.3f}"
        own = next((one for one in results if one.name == DETECTOR), None)
        if own is not None and own is not best:
            tiles["that of the detector"] = f"{own.figures['average_precision']:.3f}"
    return tiles


def _nothing_done(done: Evaluation) -> float:
    return float(np.nan_to_num(done.rows.amount[done.tested])[done.fraud].sum())


def _models(report: Report, done: Evaluation, results: Sequence[Result]) -> None:
    report.section(
        "The models",
        "Best average precision first." if done.labelled else "No labels: nothing says which model is right.",
    )
    if done.labelled:
        share = float(done.fraud[done.known].mean())
        with plots():
            report.figure(
                "average_precision", pictures.precision_bars(results, share),
                "Average precision over all tested rows; dots are the single periods. Dots far apart: not to be "
                "relied on.",
            )  # fmt: skip
    names = {key: name.format(k=done.asked.cards_a_day) for key, name in QUALITY.items()} if done.labelled else {}
    if names and not any(math.isfinite(result.figures["card_precision"]) for result in results):
        del names["card_precision"]
    if names:
        rows = [[result.name, *(_rounded(key, result.figures[key]) for key in names)] for result in results]
        report.table("models", ["model", *names.values()], rows, _about_table(done, names))
    costs = [
        [
            result.name,
            result.kind,
            *(_seconds(value) for value in (result.fit_s, result.score_s)),
            round(result.peak_mb) or None,
            result.learned or None,
        ]
        for result in results
    ]
    report.table(
        "costs", ["model", "kind", "fit s", "ask s", "peak MB", "learned rows"], costs,
        "Seconds over all periods; peak memory is that of the whole process. The detector's own models are asked in "
        "one pass with it: their time is in its row.",
    )  # fmt: skip
    if done.labelled and len(done.folds) > 1:
        by_fold = [
            [result.name, fold.name, _rounded("", one["average_precision"]), _rounded("", one["roc_auc"])]
            for result in results
            for fold, one in zip(done.folds, result.of_fold, strict=True)
        ]
        report.csv("periods", ["model", "period", "average precision", "ROC AUC"], by_fold)


def _about_table(done: Evaluation, names: Mapping[str, str]) -> str:
    cards = f" Cards@{done.asked.cards_a_day}: the share of frauds among each day's highest cards."
    return (
        f"Precision, recall, F1, accuracy and cost are those of flagging {done.threshold}."
        f"{cards if 'card_precision' in names else ''} Figures of each period are in periods.csv."
    )


def _curves(report: Report, done: Evaluation, results: Sequence[Result]) -> None:
    drawn = _drawn(results)
    left_out = f" Drawn are the best {len(drawn)} of {len(results)} models." if len(drawn) < len(results) else ""
    report.section("Curves", left_out.strip())
    with plots():
        report.figure(
            "curves", pictures.curves(done, drawn),
            "Where frauds are rare the right-hand picture tells more: how many of the flagged rows are fraud while "
            "more and more frauds are caught.",
        )  # fmt: skip
        report.figure(
            "gains", pictures.gains(done, drawn),
            "Left: frauds caught by the share of rows that people look at. Right: what that leaves to pay; the lowest "
            "point of a curve is the number of alerts that pays best, red is the cost of looking at none.",
        )  # fmt: skip
        report.figure(
            "confusion", pictures.confusions(results),
            f"Frauds above, genuine rows below, when each model flags {done.threshold}. Shade: the share of the row.",
        )  # fmt: skip
        if any(result.probability is not None for result in drawn):
            report.figure(
                "calibration", pictures.calibrations(done, drawn),
                "Models whose scores are probabilities. On the line, what is told is what happens; below it, frauds "
                "are told too often. SMOTE and few frauds push models off the line.",
            )  # fmt: skip


def _drawn(results: Sequence[Result]) -> list[Result]:
    """The best, always with the detector and the risk score: no more than there are colours."""
    always = [result for result in results if result.name in (DETECTOR, RISK_SCORE)]
    best = [result for result in results if result not in always][: CURVES_MAX - len(always)]
    return [result for result in results if result in always or result in best]


def _risk_score(report: Report, done: Evaluation) -> None:
    how = (
        "learned by logistic regression, not below zero, from the labels of rows that the methods had not learned"
        if done.weights_learned
        else "all the same, for there are no labels, or too few, to learn them from"
    )
    report.section(
        "The Fraud Risk Score",
        f"One number a row out of the ranks that the methods give it, as bits of surprise. Weights are {how}.",
    )
    if done.weights_learned:
        shares = dict(sorted(mean_weights(done).items(), key=lambda item: -item[1]))
        with plots():
            report.figure(
                "weights", pictures.weights(shares),
                "A method of no weight adds nothing to the others; methods that see the same share their weight.",
            )  # fmt: skip


def agreements(done: Evaluation, results: Sequence[Result]) -> dict[str, NDArray[np.float64]]:
    """`rank_correlation` and `overlap` (m, m) of all pairs."""
    size = len(results)
    found = {"rank_correlation": np.eye(size), "overlap": np.eye(size)}
    flags = [flagged_by(done, result.rank) for result in results]
    for one in range(size):
        for other in range(one):
            common = float((flags[one] & flags[other]).sum()) / max(1, int(flags[one].sum()))
            correlation = figures.correlation(results[one].rank, results[other].rank)
            found["rank_correlation"][[one, other], [other, one]] = correlation
            found["overlap"][[one, other], [other, one]] = common
    return found


def _agreement(report: Report, done: Evaluation, results: Sequence[Result]) -> None:
    report.section(
        "Agreement",
        "Methods that agree see the same thing; one that agrees with none sees something of its own, or nothing.",
    )
    found = agreements(done, results)
    squares = [
        ("Rows flagged by both, as a share", found["overlap"]),
        ("Rank correlation over all rows (Spearman)", found["rank_correlation"]),
    ]
    names = [result.name for result in results]
    with plots():
        report.figure("agreement", pictures.agreement(names, squares), "Dark: the two see the same.")
    report.csv("agreement", ["flagged by both", *names],
               [[name, *row] for name, row in zip(names, found["overlap"].tolist(), strict=True)])  # fmt: skip


def _stability(report: Report, results: Sequence[Result]) -> None:
    rows = [
        [result.name, int(result.stability["seeds"]), round(result.stability["rank_correlation"], 3),
         round(result.stability["overlap"], 3)]
        for result in results
        if result.stability
    ]  # fmt: skip
    if rows:
        report.section(
            "Stability over seeds",
            "The same rows, other random choices. Where few flagged rows stay, the seed decides who is flagged.",
        )
        report.table("stability", ["model", "seeds", "rank correlation", "flagged rows in common"], rows)


def _top(report: Report, done: Evaluation, results: Sequence[Result]) -> None:
    by = next((one for name in (RISK_SCORE, DETECTOR) for one in results if one.name == name), results[0])
    order = np.argsort(-by.rank, kind="stable")[:TOP_ROWS]
    flags = [flagged_by(done, result.rank) for result in results if result.name != RISK_SCORE]
    reasons = Reasons(done)
    rows = []
    for place in order.tolist():
        row = int(done.tested[place])
        cells: list[Any] = [identity(done, row)]
        if done.timed:
            cells.append(rfc3339_text(int(done.rows.event_time_ms[row]))[:16].replace("T", " "))
        amount = float(done.rows.amount[row])
        cells.append(round(amount, 2) if math.isfinite(amount) else None)
        if done.labelled:
            cells.append({1: "fraud", 0: "genuine"}.get(int(done.rows.label[row]), "unknown"))
        cells.append(f"{sum(int(flag[place]) for flag in flags)} of {len(flags)}")
        cells.append("; ".join(reasons.of(row)))
        rows.append(cells)
    report.section("The rows on top", f"The highest {min(TOP_ROWS_SHOWN, len(rows))} rows of {by.name}, and why.")
    columns = [
        "row",
        *(["time"] if done.timed else []),
        "amount",
        *(["truth"] if done.labelled else []),
        "flagged by",
        "what stands out",
    ]
    report.table("top_rows", columns, rows, shown=TOP_ROWS_SHOWN)


def identity(done: Evaluation, row: int) -> str:
    """What a row is called; its number in the file where names were not kept."""
    if done.matrix is not None:
        return done.matrix.ids[row]
    assert done.decided is not None
    return done.decided.ids.get(row, f"row {int(done.rows.row[row])}")


class Reasons:
    """Why a row stands out: the detector's own reasons where it alerted, else its rarest features."""

    def __init__(self, done: Evaluation) -> None:
        self._decided, self._matrix = done.decided, done.matrix
        self._sorted = None if done.matrix is None else _sample(done.matrix)

    def of(self, row: int) -> list[str]:
        """At most REASONS_MAX sentences."""
        if self._decided is not None and row in self._decided.reasons:
            return self._decided.reasons[row][:REASONS_MAX]
        if self._matrix is None or self._sorted is None:
            return []
        found = []
        for name, value, column in zip(
            self._matrix.names, self._matrix.values[row].tolist(), self._sorted, strict=True
        ):
            if not math.isfinite(value) or not len(column) or column[0] == column[-1]:
                continue
            below = float(np.searchsorted(column, value, "left")) / len(column)
            above = 1.0 - float(np.searchsorted(column, value, "right")) / len(column)
            rarity, side, share = (1.0 - below, "higher", below) if below >= above else (1.0 - above, "lower", above)
            found.append((rarity, f"{name} {told(value)} is {side} than {_share(share)} of rows"))
        return [text for rarity, text in sorted(found)[:REASONS_MAX] if rarity <= RARITY_MAX]


def _sample(matrix: Matrix) -> list[NDArray[np.float64]]:
    step = max(1, len(matrix) // SAMPLE_ROWS)
    return [np.sort(column[np.isfinite(column)]) for column in matrix.values[::step].T]


def _share(share: float) -> str:
    return "99.9%" if share >= 0.999 else f"{share:.1%}"


def _rounded(key: str, value: float) -> float | None:
    if not math.isfinite(value):
        return None
    return round(value) if key == "cost" else round(value, 3)


def _seconds(value: float) -> float | None:
    return round(value, 1 if value >= 1 else 2) or None
