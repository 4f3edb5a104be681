"""Pictures of an evaluation. Each function returns a figure; they are drawn within `report.plots()`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detector.lab import figures
from detector.lab.evaluate.results import RISK_SCORE, Evaluation, Result
from detector.lab.prequential import DETECTOR
from detector.lab.report import ACCENT, ALARM, GRID, INK, PALETTE, QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 10.0
DASHES = ("-", "--", ":")
CONFUSIONS_ACROSS = 4


def colours(results: Sequence[Result]) -> dict[str, tuple[str, str]]:
    """Name → (colour, line style), all different: colours first, then dashes."""
    return {
        result.name: (PALETTE[place % len(PALETTE)], DASHES[place // len(PALETTE) % len(DASHES)])
        for place, result in enumerate(results)
    }


def precision_bars(results: Sequence[Result], frauds_share: float) -> Figure:
    """Average precision of each model; a dot a period."""
    figure, panel = _bars(len(results))
    for place, result in enumerate(results):
        panel.barh(place, result.figures["average_precision"], color=_own(result), height=0.62)
        dots = [one["average_precision"] for one in result.of_fold]
        panel.plot(dots, [place] * len(dots), "o", color=INK, markersize=3.5, clip_on=False)
        panel.text(
            max([result.figures["average_precision"], *(dot for dot in dots if math.isfinite(dot))]) + 0.012, place,
            f"{result.figures['average_precision']:.3f}", va="center", fontsize=8, color=QUIET,
        )  # fmt: skip
    panel.axvline(frauds_share, color=ALARM, linewidth=1)
    _named(panel, [result.name for result in results])
    panel.set_xlim(0, 1)
    panel.set_xlabel("average precision; red: what chance gives")
    return figure


def curves(done: Evaluation, results: Sequence[Result]) -> Figure:
    """ROC and precision-recall curves."""
    figure, (left, right) = _panels(2, 4.6)
    known, fraud = done.known, done.fraud[done.known]
    left.plot([0, 1], [0, 1], color=GRID)
    for result, (colour, dash) in zip(results, colours(results).values(), strict=True):
        rank = result.rank[known]
        left.plot(*figures.roc_curve(fraud, rank), color=colour, linestyle=dash, label=_plain(result.name))
        right.plot(*figures.precision_recall_curve(fraud, rank), color=colour, linestyle=dash)
    _labelled(left, "ROC", "genuine rows flagged", "frauds caught")
    _labelled(right, "Precision and recall", "frauds caught (recall)", "frauds among the flagged (precision)")
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def gains(done: Evaluation, results: Sequence[Result]) -> Figure:
    """Frauds caught, and what it costs, by how many rows are looked at."""
    figure, (left, right) = _panels(2, 4.6)
    known, fraud = done.known, done.fraud[done.known]
    amount = np.nan_to_num(done.rows.amount[done.tested][known])
    for result, (colour, dash) in zip(results, colours(results).values(), strict=True):
        rank = result.rank[known]
        x, y = figures.gains_curve(fraud, rank)
        left.plot(np.maximum(x, 0.5 / len(fraud)), y, color=colour, linestyle=dash, label=_plain(result.name))
        order = np.argsort(-rank, kind="stable")
        looked = np.unique(np.geomspace(1, len(order), 200).astype(np.int64))
        saved = np.cumsum(np.where(fraud, amount, 0.0)[order])[looked - 1]
        cost = amount[fraud].sum() - saved + done.asked.alert_cost * looked
        right.plot(looked / len(order), cost, color=colour, linestyle=dash)
    least = 0.5 / len(fraud)
    _labelled(left, "Gains", "rows looked at, highest first", "frauds caught")
    left.set_xscale("log")
    left.set_xlim(least, 1)
    _labelled(right, "Cost", "rows looked at, highest first", "amounts missed + cost of alerts")
    right.set_xscale("log")
    right.set_xlim(1 / len(fraud), 1)
    nothing = float(amount[fraud].sum())
    right.axhline(nothing, color=ALARM, linewidth=1)
    right.set_ylim(0, 2 * nothing if nothing else None)
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def confusions(results: Sequence[Result]) -> Figure:
    """What became of frauds and of genuine rows, a square each."""
    import matplotlib.pyplot as plt

    across = min(CONFUSIONS_ACROSS, len(results))
    down = math.ceil(len(results) / across)
    figure, axes = plt.subplots(down, across, figsize=(WIDTH, 1.75 * down), squeeze=False)
    for panel in axes.flat:
        panel.set_axis_off()
    for panel, result in zip(axes.flat, results, strict=False):
        found = result.figures
        squares = [["caught", "missed"], ["false_alarms", "passed"]]
        totals = [found["caught"] + found["missed"], found["false_alarms"] + found["passed"]]
        shade = [[found[name] / max(1, total) for name in row] for row, total in zip(squares, totals, strict=True)]
        panel.imshow(shade, cmap="Blues", vmin=0, vmax=1.35, aspect="auto")
        for row, names in enumerate(squares):
            for column, name in enumerate(names):
                dark = shade[row][column] > 0.8
                panel.text(column, row, f"{int(found[name]):,}\n{name.replace('_', ' ')}", ha="center", va="center",
                           fontsize=8, color="white" if dark else INK)  # fmt: skip
        panel.set_title(_plain(result.name), fontsize=9)
    return figure


def calibrations(done: Evaluation, results: Sequence[Result]) -> Figure:
    """What is told beside what is found, of the models whose scores are probabilities."""
    import matplotlib.pyplot as plt

    figure, panel = plt.subplots(figsize=(0.62 * WIDTH, 4.6))
    known, fraud = done.known, done.fraud[done.known]
    least = 1 / len(fraud)
    panel.plot([0, 1], [0, 1], color=GRID)
    for result, (colour, dash) in zip(results, colours(results).values(), strict=True):
        if result.probability is None:
            continue
        groups = figures.calibration(fraud, result.probability[known])
        told, found = (np.array([group[side] for group in groups]) for side in (0, 1))
        panel.plot(told, found, "o", linestyle=dash, color=colour, markersize=4, label=_plain(result.name))
    panel.set_xscale("symlog", linthresh=least)
    panel.set_yscale("symlog", linthresh=least)
    panel.set_xlim(0, 1.1)
    panel.set_ylim(0, 1.1)
    panel.set_xlabel("mean probability told")
    panel.set_ylabel("share of frauds found")
    panel.legend()
    return figure


def agreement(names: Sequence[str], squares: Sequence[tuple[str, NDArray[np.float64]]]) -> Figure:
    """Heat maps (m, m), each with its title, values written in."""
    import matplotlib.pyplot as plt

    size = 1.6 + 0.42 * len(names)
    figure, axes = plt.subplots(len(squares), 1, figsize=(WIDTH, len(squares) * size), squeeze=False)
    for panel, (title, square) in zip(axes.flat, squares, strict=True):
        panel.imshow(square, cmap="Blues", vmin=0, vmax=1.2, aspect="auto")
        panel.grid(visible=False)
        panel.set_xticks(range(len(names)), [_broken(name) for name in names], fontsize=7)
        panel.set_yticks(range(len(names)), [_plain(name) for name in names])
        for row, column in np.ndindex(*square.shape):
            value = square[row, column]
            if row != column and math.isfinite(value):
                colour = "white" if value > 0.75 else INK
                panel.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7.5, color=colour)
        panel.set_title(title)
    return figure


def weights(shares: dict[str, float]) -> Figure:
    """What each method weighs in the Fraud Risk Score."""
    figure, panel = _bars(len(shares))
    panel.barh(range(len(shares)), list(shares.values()), color=ACCENT, height=0.62)
    for place, value in enumerate(shares.values()):
        panel.text(value + 0.005, place, f"{value:.0%}", va="center", fontsize=8, color=QUIET)
    _named(panel, list(shares))
    panel.set_xlabel("share of the weight, mean over the periods")
    panel.set_xlim(0, max(0.05, 1.12 * max(shares.values())))
    return figure


def _bars(count: int) -> tuple[Figure, Axes]:
    import matplotlib.pyplot as plt

    figure, panel = plt.subplots(figsize=(WIDTH, 0.8 + 0.29 * count))
    panel.invert_yaxis()
    panel.grid(visible=False, axis="y")
    return figure, panel


def _named(panel: Axes, names: Sequence[str]) -> None:
    panel.set_yticks(range(len(names)), [_plain(name) for name in names])


def _panels(count: int, height: float) -> tuple[Figure, Any]:
    import matplotlib.pyplot as plt

    return plt.subplots(1, count, figsize=(WIDTH, height))


def _labelled(panel: Axes, title: str, x: str, y: str) -> None:
    panel.set_title(title)
    panel.set_xlabel(x)
    panel.set_ylabel(y)
    panel.set_xlim(0, 1)
    panel.set_ylim(0, 1.02)


def _own(result: Result) -> str:
    return ALARM if result.name == RISK_SCORE else ACCENT if result.name == DETECTOR else "#9db8cc"


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _broken(name: str) -> str:
    """In lines as short as can be."""
    return _plain(name).replace(": ", ":").replace(":", ":\n").replace(" ", "\n")
