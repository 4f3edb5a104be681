"""Pictures of single columns and of pairs. Each function returns a figure; they are drawn within `report.plots()`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detector.codec.masking import mask
from detector.lab.explore.survey import QUANTILES, Survey
from detector.lab.report import ACCENT, ALARM, GRID, INK, QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
WIDTH = 10.0  # inches, of every figure
COLUMNS_MAX = 40
POINTS_MAX, FRAUDS_DRAWN_MAX = 6_000, 1_000
BOX_TICKS = (-10_000, -1000, -100, -10, -3, -1, 0, 1, 3, 10, 100, 1000, 10_000)
BINS_MAX = 35
TAIL = 20.0  # a 99 % quantile so many times the median: drawn on a logarithmic axis


def shown(name: str, most: int = 26) -> str:
    """A name or a value as a label: masked, and cut where it is long."""
    text = mask(name).replace("$", r"\$")
    return text if len(text) <= most else text[: most - 1] + "…"


def short(value: float) -> str:
    """A number on an axis: 250k, 1.5M."""
    for least, unit, letter in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return f"{value / unit:g}{letter}"
    return f"{value:g}"


def grid(count: int, across: int, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """`count` panels, `across` in a row, each `height` inches high; those left over are not drawn."""
    import matplotlib.pyplot as plt

    across = min(across, count)
    down = math.ceil(count / across)
    figure, axes = plt.subplots(down, across, figsize=(WIDTH, down * height), squeeze=False, **options)
    panels = list(axes.flat)
    for panel in panels[count:]:
        panel.set_axis_off()
    return figure, panels[:count]


def histograms(found: Survey) -> Figure:
    """Every column of numbers; frauds apart where they are known."""
    columns = drawn(found)
    figure, panels = grid(len(columns), 4, 1.75)
    for panel, column in zip(panels, columns, strict=True):
        values, frauds = there(found.values[:, column]), there(found.fraud_values[:, column])
        _histogram(panel, values, frauds)
        panel.set_title(shown(found.numbers[column]))
    if len(found.fraud_values):
        _legend(figure)
    return figure


def telling(found: Survey, columns: list[tuple[int, float]]) -> Figure:
    """The columns that tell frauds apart best, (column, ROC AUC) each."""
    figure, panels = grid(len(columns), 3, 2.1)
    for panel, (column, area) in zip(panels, columns, strict=True):
        _histogram(panel, there(found.values[:, column]), there(found.fraud_values[:, column]))
        panel.set_title(f"{shown(found.numbers[column])}   AUC {area:.2f}")
    _legend(figure)
    return figure


def boxes(found: Survey) -> Figure:
    """Box plots in quartile distances from the median, so that all columns fit one axis."""
    import matplotlib.pyplot as plt

    columns = [column for column in drawn(found) if _between(found, column) > 0]  # a box needs quartiles that differ
    apart = len(found.fraud_values) > 0
    figure, panel = plt.subplots(figsize=(WIDTH, 1.0 + len(columns) * (0.36 if apart else 0.3)))
    middle = found.quantiles[QUANTILES.index(0.5)]
    for place, column in enumerate(columns):
        for values, colour, shift in ((found.values, ACCENT, -0.17), (found.fraud_values, ALARM, 0.17)):
            some = (there(values[:, column]) - middle[column]) / _between(found, column)
            if len(some):
                _box(panel, some, place + (shift if apart else 0.0), colour, 0.26 if apart else 0.5)
    panel.set_yticks(range(len(columns)), [shown(found.numbers[column]) for column in columns])
    panel.set_xscale("symlog", linthresh=3)
    low, high = panel.dataLim.intervalx
    panel.set_xlim(1.2 * min(low, -1.0), 1.2 * max(high, 1.0))
    ticks = [tick for tick in BOX_TICKS if 1.2 * min(low, -1.0) <= tick <= 1.2 * max(high, 1.0)]
    panel.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    panel.set_ylim(len(columns) - 0.4, -0.6)
    panel.set_xlabel("distance from the median, in quartile distances; logarithmic beyond ± 3")
    panel.grid(axis="y", visible=False)
    panel.axvline(0, color=QUIET, linewidth=0.8)
    if apart:
        _legend(figure)
    return figure


def correlations(found: Survey, columns: list[int]) -> Figure:
    """Pearson's correlation as colour, as a number where there is room; `columns` are places among the paired."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("both", [ACCENT, "#ffffff", ALARM])
    values = found.moments.correlation[np.ix_(columns, columns)]
    np.fill_diagonal(values, np.nan)
    size = min(WIDTH, 3.8 + 0.5 * len(columns))
    figure, panel = plt.subplots(figsize=(size, size * 0.86))
    panel.set_facecolor(GRID)  # seen where there is no value, as on the diagonal
    picture = panel.imshow(values, cmap=colours, vmin=-1, vmax=1)
    names = [shown(found.measured[found.moments.paired[column]], 22) for column in columns]
    panel.set_xticks(range(len(names)), names, rotation=90)
    panel.set_yticks(range(len(names)), names)
    panel.grid(visible=False)
    panel.spines[:].set_visible(False)
    if len(columns) <= 14:
        for row, column in np.ndindex(*values.shape):
            if math.isfinite(values[row, column]):
                colour = "white" if abs(values[row, column]) > 0.6 else INK
                panel.text(
                    column, row, f"{values[row, column]:.2f}", ha="center", va="center", fontsize=7.5, color=colour
                )
    bar = figure.colorbar(picture, ax=panel, shrink=0.7, aspect=30, pad=0.02)
    bar.outline.set_visible(False)
    return figure


def pairs(found: Survey, some: list[tuple[int, int, float]]) -> Figure:
    """Scatter plots of pairs of columns, (one, other, correlation)."""
    rows = found.values[spread(len(found.values), POINTS_MAX)]
    frauds = found.fraud_values[spread(len(found.fraud_values), FRAUDS_DRAWN_MAX)]
    figure, panels = grid(len(some), 3, 2.7)
    for panel, (one, other, correlation) in zip(panels, some, strict=True):
        _scatter(panel, rows[:, [one, other]], frauds[:, [one, other]])
        panel.set_xlabel(shown(found.numbers[one]))
        panel.set_ylabel(shown(found.numbers[other]))
        panel.set_title(f"correlation {correlation:+.2f}")
    if len(found.fraud_values):
        _legend(figure)
    return figure


def categories(found: Survey, columns: list[str], values_max: int = 10) -> Figure:
    """Rows of each value; the share of frauds beside it where it is known."""
    figure, panels = grid(len(columns), 3, 2.4)
    for panel, name in zip(panels, columns, strict=True):
        top = found.words[name].top(values_max)
        rows = [count for _, count, _ in top]
        panel.barh(range(len(top)), rows, color=ACCENT, height=0.72)
        panel.set_yticks(range(len(top)), [shown(value, 18) for value, _, _ in top])
        panel.set_ylim(max(len(top), 4) - 0.4, -0.6)
        panel.grid(axis="y", visible=False)
        panel.set_title(f"{shown(name)}   {len(found.words[name].values or {}):,} values")
        panel.locator_params(axis="x", nbins=4)
        if found.truth[1]:
            for place, (_, count, frauds) in enumerate(top):
                panel.annotate(f" {frauds / count:.2%}", (count, place), va="center", fontsize=7.5, color=ALARM)
            panel.margins(x=0.22)
    return figure


def missing(found: Survey) -> Figure:
    """Share of rows without a value, of the columns that have such."""
    import matplotlib.pyplot as plt

    names = sorted((name for name, count in found.missing.items() if count), key=lambda name: -found.missing[name])
    names = names[:COLUMNS_MAX]
    shares = [found.missing[name] / found.rows for name in names]
    figure, panel = plt.subplots(figsize=(WIDTH, 0.8 + 0.28 * len(names)))
    panel.barh(range(len(names)), [1.0] * len(names), color=GRID, height=0.7)
    panel.barh(range(len(names)), shares, color=ACCENT, height=0.7)
    for place, share in enumerate(shares):
        panel.annotate(f"{share:.2%}", (min(share, 0.93) + 0.005, place), va="center", fontsize=8,
                       color="white" if share > 0.93 else INK)  # fmt: skip
    panel.set_yticks(range(len(names)), [shown(name) for name in names])
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.set_xlim(0, 1)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    panel.grid(visible=False)
    return figure


def outliers(found: Survey) -> Figure:
    """Share of rows that each rule calls outliers, by column."""
    import matplotlib.pyplot as plt

    assert found.outliers is not None, "drawn after the second pass"
    totals = found.outliers.below + found.outliers.above
    columns = sorted((int(one) for one in np.flatnonzero(totals.any(axis=0))), key=lambda one: -totals[:, one].max())
    columns = columns[:COLUMNS_MAX]
    figure, panel = plt.subplots(figsize=(WIDTH, 1.2 + 0.34 * len(columns)))
    for place, (rule, colour) in enumerate(zip(found.outliers.rules, (ACCENT, "#a9c4d6"), strict=True)):
        heights = np.arange(len(columns)) + (place - 0.5) * 0.36
        panel.barh(heights, totals[place, columns] / found.rows, height=0.34, color=colour, label=rule.name)
    panel.set_yticks(range(len(columns)), [shown(found.numbers[column]) for column in columns])
    panel.set_ylim(len(columns) - 0.4, -0.6)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:.3g}".rstrip() if value == 0 else f"{value:.1%}")
    panel.set_xlabel("share of rows")
    panel.grid(axis="y", visible=False)
    panel.legend(loc="lower right")
    return figure


def drawn(found: Survey) -> list[int]:
    """The columns of numbers that are drawn: at most COLUMNS_MAX, those that vary."""
    count = len(found.numbers)
    varies = found.moments.least[:count] < found.moments.greatest[:count]
    return [int(column) for column in np.flatnonzero(varies)[:COLUMNS_MAX]]


def spread(rows: int, most: int) -> NDArray[np.int64]:
    """At most `most` of so many places, evenly."""
    return np.unique(np.linspace(0, rows - 1, min(rows, most)).astype(np.int64))


def there(values: Floats) -> Floats:
    """Those that are not missing."""
    return values[~np.isnan(values)]


def _between(found: Survey, column: int) -> float:
    lower, upper = found.quantiles[QUANTILES.index(0.25), column], found.quantiles[QUANTILES.index(0.75), column]
    return float(upper - lower)


def _histogram(panel: Axes, values: Floats, frauds: Floats) -> None:
    """Densities: logarithmic where the tail is long, else from the 0.5 % to the 99.5 % quantile."""
    low, high = np.quantile(values, [0.005, 0.995]) if len(values) else (0.0, 1.0)
    if len(frauds):
        low, high = min(low, np.quantile(frauds, 0.02)), max(high, np.quantile(frauds, 0.98))
    middle = float(np.median(values)) if len(values) else 0.0
    distinct = np.unique(values)
    if len(distinct) <= 24:
        edges = np.append(distinct - 0.5 * np.diff(distinct, prepend=distinct[0] - 1).min(), distinct[-1] + 0.5)
        edges = np.unique(edges)
    elif low >= 0 and middle > 0 and high > TAIL * middle:
        edges = np.geomspace(max(low, middle / 1e4, 1e-12), max(values.max(), 1e-9), BINS_MAX + 1)
        panel.set_xscale("log")
    elif (values == np.floor(values)).all():  # each bin holds as many whole numbers, else it looks like a comb
        width = max(1.0, np.ceil((high - low + 1) / BINS_MAX))
        edges = np.arange(np.floor(low) - 0.5, high + width, width)
    else:
        edges = np.linspace(low, high if high > low else low + 1, BINS_MAX + 1)
    for some, colour, filled in ((values, ACCENT, True), (frauds, ALARM, False)):
        if not len(some):
            continue
        heights = np.histogram(some, edges)[0] / len(some)
        panel.stairs(heights, edges, fill=filled, color=colour, alpha=0.75 if filled else 1.0, linewidth=1.3)
    panel.set_yticks([])
    panel.spines["left"].set_visible(False)
    panel.grid(visible=False)
    if panel.get_xscale() == "linear":
        panel.locator_params(axis="x", nbins=4)
        panel.xaxis.set_major_formatter(lambda value, _: short(value))


def _box(panel: Axes, values: Floats, place: float, colour: str, width: float) -> None:
    parts = panel.boxplot(
        values, positions=[place], widths=width, orientation="horizontal", manage_ticks=False, patch_artist=True,
        flierprops={"marker": ".", "markersize": 2.5, "markerfacecolor": colour, "markeredgewidth": 0, "alpha": 0.35},
        medianprops={"color": "white", "linewidth": 1.4}, boxprops={"facecolor": colour, "edgecolor": colour},
        whiskerprops={"color": colour}, capprops={"color": colour},
    )  # fmt: skip
    for fliers in parts["fliers"]:
        fliers.set_rasterized(True)


def _scatter(panel: Axes, values: Floats, frauds: Floats) -> None:
    panel.scatter(values[:, 0], values[:, 1], s=4, color=ACCENT, alpha=0.25, linewidths=0)
    if len(frauds):
        panel.scatter(frauds[:, 0], frauds[:, 1], s=7, color=ALARM, alpha=0.55, linewidths=0)
    for axis, column in ((panel.set_xlim, 0), (panel.set_ylim, 1)):
        every = there(np.concatenate([values[:, column], frauds[:, column]]))
        low, high = np.quantile(every, [0.001, 0.999]) if len(every) else (0.0, 1.0)
        room = 0.04 * (high - low) or 1.0
        axis(low - room, high + room)
    panel.locator_params(nbins=5)
    for ruler in (panel.xaxis, panel.yaxis):
        ruler.set_major_formatter(lambda value, _: short(value))


def _legend(figure: Figure) -> None:
    from matplotlib.patches import Patch

    marks = [Patch(color=ACCENT, alpha=0.75, label="all rows"), Patch(color=ALARM, label="frauds")]
    figure.legend(handles=marks, loc="outside upper right", ncols=2)
