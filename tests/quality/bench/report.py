"""The bench's table, and the same rows as CSV, JSON and picture."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

Row = dict[str, Any]
COLUMNS = (
    "set", "labels", "who", "scored", "seeds", "auc", "auc_spread", "ap", "ap_spread", "auc_detector", "ap_detector",
    "auc_all", "ap_all", "precision_at_budget", "precision_at_budget_spread", "alert_precision", "alert_recall",
    "week_auc", "week_ap", "card_precision_100", "card_caught", "card_delay_h", "terminal_caught", "terminal_delay_h",
    "rows", "rows_per_s",
)  # fmt: skip
"""Of a row; what a set does not have is empty. `*_spread` is the standard deviation over seeds; `rows_per_s`
is empty for a member alone, which runs within the detector."""


def table(rows: Sequence[Row], console: Console) -> None:
    """Print it."""
    shown = Table(title="Detection quality: score, then learn; one pass, original order", title_justify="left")
    for index, name in enumerate(
        ("set", "labels", "who", "rows scored", "ROC AUC", "average\nprecision", "detector on\nthe same rows",
         "precision\nat budget", "cards\n@100", "cards\nfound", "terminals\nfound", "rows/s")
    ):  # fmt: skip
        shown.add_column(name, justify="left" if index < 4 else "right", no_wrap=index != 2)
    before = ""
    for row in rows:
        if before and row["set"] != before:
            shown.add_section()
        shown.add_row(*cells(row, row["set"] != before), style="bold" if row["who"] == "detector" else None)
        before = row["set"]
    console.print(shown)


def cells(row: Row, first: bool) -> list[str]:
    """One row of the table as text."""
    same = f"{short(row['auc_detector'])} / {short(row['ap_detector'])}" if "auc_detector" in row else ""
    return [
        row["set"] if first else "", row["labels"], row["who"], row["scored"],
        with_spread(row["auc"], row["auc_spread"]), with_spread(row["ap"], row["ap_spread"]), same,
        short(row["precision_at_budget"]), short(row.get("card_precision_100")) if "week_auc" in row else "",
        found(row, "card"), found(row, "terminal"),
        "" if math.isnan(row["rows_per_s"]) else f"{row['rows_per_s']:,}",
    ]  # fmt: skip


def short(value: float | None) -> str:
    """.953"""
    return "–" if value is None or math.isnan(value) else f"{value:.3f}".removeprefix("0")


def with_spread(value: float, spread: float | None) -> str:
    return short(value) if spread is None or math.isnan(spread) else f"{short(value)} ± {short(spread)}"


def found(row: Row, entity: str) -> str:
    """The share of compromises that were found, and hours until half of all were."""
    share, hours = row.get(f"{entity}_caught"), row.get(f"{entity}_delay_h")
    if share is None or hours is None or math.isnan(share):
        return ""
    return f"{share:.0%}, {hours:.0f} h" if math.isfinite(hours) else f"{share:.0%}"


def write(rows: Sequence[Row], folder: Path) -> None:
    """quality.csv, quality.json and quality.png."""
    folder.mkdir(parents=True, exist_ok=True)
    said = [{name: finite(row.get(name)) for name in COLUMNS if name in row} for row in rows]
    (folder / "quality.json").write_text(json.dumps(said, indent=1, allow_nan=False) + "\n")
    with (folder / "quality.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(said)
    picture(rows, folder / "quality.png")


def finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def picture(rows: Sequence[Row], path: Path) -> None:
    """A panel a set and figure, a bar a contender with its spread; the detector stands out."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    groups = list(dict.fromkeys((row["set"], row["labels"]) for row in rows))
    counts = [sum((row["set"], row["labels"]) == group for row in rows) for group in groups]
    figure, axes = plt.subplots(
        len(groups), 2, figsize=(13, 1.2 + 0.27 * sum(counts) + 0.5 * len(groups)), squeeze=False, sharex="col",
        gridspec_kw={"height_ratios": counts}, layout="constrained",
    )  # fmt: skip
    for (name, labels), pair in zip(groups, axes, strict=True):
        some = [row for row in rows if (row["set"], row["labels"]) == (name, labels)][::-1]
        for axis, figure_name in zip(pair, ("auc", "ap"), strict=True):
            bars(axis, some, figure_name)
        pair[0].set_yticks(range(len(some)), [f"{row['who']}{prefix(row)}" for row in some], fontsize=8)
        pair[1].set_yticks([])
        pair[0].set_title(name if labels == "none" else f"{name}, labels after {labels}", loc="left", fontsize=10)
    for axis, title in zip(axes[-1], ("ROC AUC", "average precision"), strict=True):
        axis.set_xlabel(title)
        axis.set_xlim(0, 1.12)
        axis.set_xticks([0, 0.25, 0.5, 0.75, 1])
    figure.savefig(path, dpi=110)
    plt.close(figure)


def bars(axis: Any, rows: Sequence[Row], figure: str) -> None:
    """One panel, drawn from below."""
    colours = {"detector": "#b3282d", "member": "#e3a6a0", "peer": "#8aa0b6"}
    values = [0.0 if math.isnan(row[figure]) else row[figure] for row in rows]
    spreads = [row[f"{figure}_spread"] for row in rows]
    kinds = [
        "detector" if row["who"] == "detector" else "member" if row["who"].startswith("detector") else "peer"
        for row in rows
    ]
    axis.barh(range(len(rows)), values, color=[colours[kind] for kind in kinds], height=0.74)
    for position, (value, spread) in enumerate(zip(values, spreads, strict=True)):
        spread = 0.0 if spread is None or math.isnan(spread) else spread
        if spread:
            axis.errorbar(value, position, xerr=spread, color="#333333", linewidth=1, capsize=2)
        said = "no fraud in these rows" if math.isnan(rows[position][figure]) else short(value)
        axis.text(min(value + spread, 1.0) + 0.01, position, said, va="center", fontsize=7)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)


def prefix(row: Row) -> str:
    return "" if row["scored"] == "all" else f" ({row['scored']})"
