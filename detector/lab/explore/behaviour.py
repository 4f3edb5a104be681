"""Pictures of time and of entities."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detector.lab.explore.entities import GAP_EDGES_S, Entities
from detector.lab.explore.pictures import FRAUDS_DRAWN_MAX, POINTS_MAX, WIDTH, grid, shown, spread
from detector.lab.explore.survey import Survey, amounts
from detector.lab.report import ACCENT, ALARM, QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTHS = {60_000: "minute", 600_000: "10 minutes", 3_600_000: "hour", 21_600_000: "6 hours", 86_400_000: "day",
          604_800_000: "week"}  # fmt: skip
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MARKS_S = {1: "1 s", 60: "1 min", 3_600: "1 h", 86_400: "1 day", 604_800: "1 week", 2_592_000: "30 days"}
ROWS_FOR_HOURS = 5  # of an entity, before its usual hour means something
Floats = NDArray[np.float64]


def over_time(found: Survey) -> Figure:
    """Rows, amount and frauds of each stretch of time."""
    import matplotlib.pyplot as plt

    width, start, values = found.clock.series()
    times = start.astype("datetime64[ms]")
    wanted = [("rows", values[:, 0], ACCENT)]
    if found.roles.amount:
        wanted.append((f"sum of {shown(found.roles.amount)}", values[:, 1], "#5b8e7d"))
    if found.truth[1]:
        with np.errstate(invalid="ignore"):
            wanted.append(("share of frauds", values[:, 2] / values[:, 0], ALARM))
    figure, panels = plt.subplots(len(wanted), 1, figsize=(WIDTH, 1.75 * len(wanted)), sharex=True, squeeze=False)
    for panel, (name, heights, colour) in zip(panels[:, 0], wanted, strict=True):
        if len(times) > 60:
            panel.fill_between(times, np.nan_to_num(heights), step="post", color=colour, alpha=0.25, linewidth=0)
            panel.step(times, heights, where="post", color=colour, linewidth=0.9)
        else:
            panel.bar(times, heights, np.timedelta64(round(width * 0.86), "ms"), align="edge", color=colour)
        panel.set_title(f"{name} per {WIDTHS[width]}")
        panel.set_ylim(bottom=0)
        if name == "share of frauds":
            panel.yaxis.set_major_formatter(lambda value, _: f"{value:.1%}")
    _dates(panels[-1, 0])
    return figure


def week(found: Survey) -> Figure:
    """Rows by weekday and hour, UTC."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("one", ["#f6f8fa", ACCENT])
    figure, panel = plt.subplots(figsize=(WIDTH, 2.5))
    panel.imshow(found.clock.week, cmap=colours, aspect="auto", vmin=0)
    panel.set_yticks(range(7), DAYS)
    panel.set_xticks(range(0, 24, 2), [f"{hour:02d}:00" for hour in range(0, 24, 2)])
    panel.grid(visible=False)
    panel.spines[:].set_visible(False)
    return figure


def amount_in_time(found: Survey) -> Figure:
    """The sample's amounts over time, frauds on top."""
    import matplotlib.pyplot as plt

    figure, panel = plt.subplots(figsize=(WIDTH, 3.0))
    for rows, colour, size, alpha in ((found.sample, ACCENT, 4, 0.3), (found.frauds, ALARM, 8, 0.6)):
        if rows is None:
            continue
        some = rows.take(spread(rows.num_rows, FRAUDS_DRAWN_MAX if rows is found.frauds else POINTS_MAX))
        times, there = found.roles.times(some)
        panel.scatter(times[there].astype("datetime64[ms]"), amounts(some, found.roles)[there], s=size, color=colour,
                      alpha=alpha, linewidths=0)  # fmt: skip
    if found.roles.amount_min >= 0:
        panel.set_yscale("log")
    panel.set_title(f"{shown(found.roles.amount or '')} of {min(POINTS_MAX, found.rows):,} rows"
                    + (", frauds in red" if found.truth[1] else ""))  # fmt: skip
    _dates(panel)
    return figure


def entity(found: Survey, role: str) -> Figure:
    """Rhythm, usual amounts and places of the owners, and how busy they are."""
    entities = found.entities[role]
    pictures: list[tuple[str, Any]] = [(f"rows per {role}", lambda panel: _counts(panel, entities.rows))]
    if found.clock.rows and entities.gaps.sum():
        pictures.append((f"time between rows of a {role}", lambda panel: _gaps(panel, entities)))
        pictures.append(("how much each keeps to its hours", lambda panel: _hours(panel, entities)))
    if entities.priced.any():
        pictures.append((f"mean amount of a {role}", lambda panel: _amounts(panel, entities)))
        pictures.append(("its deviation against its mean", lambda panel: _deviations(panel, entities)))
    pictures += [
        (f"{shown(getattr(found.roles, place))}: values per {role}", partial(_counts, counts=entities.distinct(place)))
        for place in entities.places
    ]
    figure, panels = grid(len(pictures), 3, 2.3)
    for panel, (title, draw) in zip(panels, pictures, strict=True):
        draw(panel)
        panel.set_title(title)
    return figure


def examples(found: Survey, role: str) -> Figure:
    """A few owners, each row a stroke as high as its amount."""
    figure, panels = grid(len(found.examples), 2, 1.35, sharex=True)
    for panel, (name, rows) in zip(panels, found.examples.items(), strict=True):
        times = rows[:, 0].astype(np.int64).astype("datetime64[ms]")
        fraud = rows[:, 2] == 1
        panel.vlines(times[~fraud], 0, rows[~fraud, 1], color=ACCENT, linewidth=0.9, alpha=0.8)
        panel.vlines(times[fraud], 0, rows[fraud, 1], color=ALARM, linewidth=1.4)
        panel.set_title(f"{role} {shown(name)}   {len(rows):,} rows")
        panel.set_ylim(bottom=min(0.0, float(np.nanmin(rows[:, 1], initial=0.0))))
        panel.locator_params(axis="y", nbins=3)
    for panel in panels[-2:]:
        _dates(panel)
    return figure


def _dates(panel: Axes) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(maxticks=8)  # type: ignore[no-untyped-call]
    panel.xaxis.set_major_locator(locator)
    panel.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def _bars(panel: Axes, heights: Any, edges: Any, label: str) -> None:
    panel.stairs(heights, edges, fill=True, color=ACCENT, alpha=0.8)
    panel.set_yticks([])
    panel.spines["left"].set_visible(False)
    panel.grid(axis="y", visible=False)
    panel.set_xlabel(label)


def _counts(panel: Axes, counts: NDArray[np.int64]) -> None:
    most = int(counts.max(initial=1))
    if most <= 40:
        _bars(panel, np.bincount(counts, minlength=most + 1), np.arange(most + 2) - 0.5, _middle(counts))
    else:
        edges = np.unique(np.geomspace(1, most + 1, 32).astype(int)).astype(float)
        _bars(panel, np.histogram(counts, edges)[0] / np.diff(np.log(edges)), edges, _middle(counts))
        panel.set_xscale("log")


def _middle(counts: NDArray[np.int64]) -> str:
    return f"median {np.median(counts):,.0f}, most {counts.max(initial=0):,}"


def _gaps(panel: Axes, entities: Entities) -> None:
    edges = GAP_EDGES_S.copy()
    edges[0] = 0.5
    some = np.flatnonzero(entities.gaps)
    first, last = int(some[0]), int(some[-1]) + 1
    _bars(panel, entities.gaps[first:last], edges[first : last + 1], f"{entities.gaps.sum():,} gaps")
    panel.set_xscale("log")
    marks = [seconds for seconds in MARKS_S if edges[first] / 2 <= seconds <= edges[last] * 2]
    panel.set_xticks(marks, [MARKS_S[seconds] for seconds in marks], rotation=30)
    panel.minorticks_off()


def _hours(panel: Axes, entities: Entities) -> None:
    some = entities.rows >= ROWS_FOR_HOURS
    length = np.hypot(entities.east[some], entities.north[some]) / np.maximum(entities.rows[some], 1)
    _bars(panel, np.histogram(length, np.linspace(0, 1, 26))[0], np.linspace(0, 1, 26), "0 any hour, 1 always the same")


def _amounts(panel: Axes, entities: Entities) -> None:
    mean = entities.amount[entities.priced > 0] / entities.priced[entities.priced > 0]
    if (mean > 0).all() and mean.max() > 20 * np.median(mean):
        edges = np.geomspace(mean.min(), mean.max(), 33)
        panel.set_xscale("log")
    else:
        edges = np.linspace(mean.min(), mean.max() if mean.max() > mean.min() else mean.min() + 1, 33)
    _bars(panel, np.histogram(mean, edges)[0], edges, f"median {np.median(mean):,.2f}")


def _deviations(panel: Axes, entities: Entities) -> None:
    some = np.flatnonzero(entities.priced >= 2)[:POINTS_MAX]
    mean = entities.amount[some] / entities.priced[some]
    spread = np.sqrt(np.maximum(entities.square[some] / entities.priced[some] - mean**2, 0))
    panel.scatter(mean, spread, s=5, color=ACCENT, alpha=0.35, linewidths=0)
    panel.set_xlabel("mean")
    panel.axline((0, 0), slope=1, color=QUIET, linewidth=0.8, linestyle=":")
    panel.set_xlim(0, float(np.quantile(mean, 0.995)) * 1.05 if len(mean) else 1)
    panel.set_ylim(0, float(np.quantile(spread, 0.995)) * 1.05 + 1e-9 if len(mean) else 1)
