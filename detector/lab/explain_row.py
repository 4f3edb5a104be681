"""`detector lab explain --row`: where one row's score comes from, as our models say and as LIME does, in one picture.

Ours are read off the trees and projections that scored the row, and are what its reasons are ranked by; LIME's come of
asking the same models about rows around it (see `freeze`, `lime`).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.lab.freeze import Frozen, find
from detector.lab.lime import SAMPLES, TOP, Compared, Comparison, compare, share
from detector.lab.report import ACCENT, ALARM, INK, Report, plots, told
from detector.settings import Settings
from schemas.times import rfc3339_text

SHOWN_MAX = 16  # features in the picture; the table has all


def run(
    settings: Settings, path: Path, row_id: str, output: Path, partitions: int = 1, *, overwrite: bool = False
) -> list[str]:
    """The report of one row into `output`; returns the lines to print. Raises LabError, ConfigError."""
    with Report(output, f"One row of {path.name}", "explain", overwrite) as report:
        frozen = find(settings, path, row_id, partitions)
        compared = compare(frozen)
        lines = _write(report, frozen, compared)
    return [*lines, f"report: {output / 'report.html'}"]


def _write(report: Report, frozen: Frozen, compared: Comparison) -> list[str]:
    head = f"{frozen.transaction_id}, {rfc3339_text(frozen.event_time_ms)}: risk {frozen.risk:.1f}, {frozen.verdict}"
    fused = compared.fused
    agreement = f"agreement with LIME: {_agreement(fused, len(compared.features))}"
    order = np.argsort(-np.abs(fused.ours), kind="stable")
    report.figures |= _figures(frozen, compared)
    report.text(f"{head}.")
    report.tiles(
        {
            "risk": f"{frozen.risk:.1f}",
            "verdict": frozen.verdict,
            "rank correlation": _number(fused.rank_correlation),
            f"of the first {TOP} alike": f"{fused.top} of {min(TOP, len(compared.features))}",
        }
    )
    report.section("Reasons", "As the alert tells them; of a row that is none, what stands out most.")
    report.points(frozen.reasons)
    report.section(
        "Contributions beside LIME's",
        "Where the score comes from, each side as shares of its own absolute sum. Ours are read off the models that "
        "scored the row; LIME asks the same models, standing still, about rows drawn around it and fits a line. Look "
        "for the same features on top: LIME is one witness, not the truth, and its fit says how far a line can follow.",
    )
    with plots():
        report.figure("contributions", _picture(frozen, compared, order[:SHOWN_MAX]), agreement)
    report.table("contributions", *_contributions(frozen, compared, order), "All features, most of ours first.")
    report.section(
        "Member by member", "The same of each model's own score; a model that finds the row usual gives nothing."
    )
    report.table("agreement", *_members(frozen, compared), "Rank correlation is Spearman's; fit is R² of LIME's line.")
    if compared.missing:
        report.text("Missing in this row, hence left out: " + ", ".join(compared.missing) + ".")
    ours, theirs = share(fused.ours), share(fused.lime)
    table = [
        f"  {compared.features[place]:<32} {told(float(compared.values[place])):>10}"
        f"  ours {ours[place]:+.3f}  LIME {theirs[place]:+.3f}"
        for place in order[:SHOWN_MAX].tolist()
    ]
    reasons = [f"  {number}. {text}" for number, text in enumerate(frozen.reasons, start=1)]
    return [head, *reasons, "", *table, agreement]


def _agreement(one: Compared, features: int) -> str:
    if math.isnan(one.rank_correlation):
        return "none to tell, for the models find this row as usual as any"
    return (
        f"rank correlation {one.rank_correlation:.2f} over {features} features, {one.top} of the first "
        f"{min(TOP, features)} alike (R² of LIME's line {one.fit:.2f})"
    )


def _number(value: float) -> str:
    return "none" if math.isnan(value) else f"{value:.2f}"


def _picture(frozen: Frozen, compared: Comparison, shown: NDArray[np.int64]) -> Any:
    import matplotlib.pyplot as plt

    names = [f"{compared.features[place]} = {told(float(compared.values[place]))}" for place in shown.tolist()]
    figure, axes = plt.subplots(figsize=(8.0, 1.1 + 0.34 * len(names)))
    at = np.arange(len(names))[::-1]
    sides = (("ours", compared.fused.ours, ACCENT, 0.19), ("LIME", compared.fused.lime, ALARM, -0.19))
    for name, contribution, colour, beside in sides:
        axes.barh(at + beside, share(contribution)[shown], height=0.34, color=colour, label=name)
    axes.axvline(0.0, color=INK, linewidth=0.8)
    axes.set_yticks(at, names)
    axes.grid(axis="y", visible=False)
    axes.set_title(f"{frozen.transaction_id}: what raises its score, and what lowers it")
    axes.set_xlabel("share of all contributions")
    axes.legend(loc="lower right")
    return figure


def _contributions(frozen: Frozen, compared: Comparison, order: NDArray[np.int64]) -> tuple[list[str], list[list[Any]]]:
    columns = ["feature", "value", "ours, share", "LIME, share", "ours", "LIME", *frozen.members]
    fused = compared.fused
    ours, theirs = share(fused.ours), share(fused.lime)
    rows = [
        [
            *(compared.features[place], float(compared.values[place]), round(float(ours[place]), 4)),
            *(round(float(theirs[place]), 4), float(fused.ours[place]), float(fused.lime[place])),
            *(float(line.ours[place]) for line in compared.lines[:-1]),
        ]
        for place in order.tolist()
    ]
    return columns, rows


def _members(frozen: Frozen, compared: Comparison) -> tuple[list[str], list[list[Any]]]:
    columns = ["explained", "score", "rank correlation", f"of the first {TOP} alike", "fit"]
    scores = [*frozen.score.tolist(), None]
    rows = [
        [
            *(line.explained, None if score is None else round(score, 4)),
            None if math.isnan(line.rank_correlation) else round(line.rank_correlation, 3),
            *(line.top, round(line.fit, 3)),
        ]
        for line, score in zip(compared.lines, scores, strict=True)
    ]
    return columns, rows


def _figures(frozen: Frozen, compared: Comparison) -> dict[str, Any]:
    return {
        "transaction_id": frozen.transaction_id,
        "risk": frozen.risk,
        "verdict": frozen.verdict,
        "reasons": list(frozen.reasons),
        "spec_fingerprint": frozen.spec.fingerprint(),
        "scores": dict(zip(frozen.members, frozen.score.tolist(), strict=True)),
        "missing": compared.missing,
        "lime_samples": SAMPLES,
        "agreement": {
            line.explained: {
                "rank_correlation": line.rank_correlation,
                "top_alike": line.top,
                "fit": line.fit,
                "ours": dict(zip(compared.features, line.ours.tolist(), strict=True)),
                "lime": dict(zip(compared.features, line.lime.tolist(), strict=True)),
            }
            for line in compared.lines
        },
    }
