"""The report of a backtest: alerts against the budget by day, frauds and money caught, alerts gained and lost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detector.lab.backtest import COUNTED, Account, Backtest
from detector.lab.output import REASON_SEPARATOR
from detector.lab.report import ACCENT, ALARM, INK, QUIET, Report, plots, told
from schemas.times import rfc3339_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DAY_MS = 86_400_000
ALERTS = "alerts.csv"
DAYS_SHOWN_MAX, DAYS_NAMED_MAX = 92, 8
COLOURS = (ACCENT, QUIET)
ABOUT = {
    "alert": "Alerts of these days.",
    "gained": "The new configuration alerts them, the current one does not.",
    "lost": "The current configuration alerts them, the new one does not.",
}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
OF_A_DAY = (
    *("alerts", "reviews", "frauds", "caught", "precision", "recall", "fraud_amount", "caught_amount", "false_amount"),
    *("rows", "labelled", "labelled_alerts"),
)
SHOWN = {  # column of the changes → heading
    "event_time": "event time", "transaction_id": "transaction", "amount": "amount", "truth": "truth",
    "risk": "risk", "risk_new": "risk, new", "risk_current": "risk, current",
    "verdict_new": "new", "verdict_current": "current",
}  # fmt: skip


def write(report: Report, done: Backtest, introduction: Sequence[str]) -> list[str]:
    """All of it into `report`; returns the lines to print."""
    report.figures |= done.figures()
    first = done.accounts[0]
    figures = first.figures()
    report.tiles(_tiles(figures))
    report.text(*introduction, *(line for line in summary(done) if line.startswith("no row of these days")))
    report.table("summary", *_summary_table(done.accounts), "Money is that of the labelled rows, added up as it is.")
    report.section(
        "Day by day", "Days are event-time days (UTC) of the stream: a late row counts where it was decided."
    )
    with plots():
        report.figure("alerts_by_day", _alerts_plot(done.accounts), _alerts_caption(done.accounts))
        if figures["frauds"]:
            report.figure(
                "caught_by_day", _caught_plot(done.accounts),
                "Frauds that were alerted among all known ones (grey), and their money, day by day. What is grey above "
                "a line got away.",
            )  # fmt: skip
    _changes(report, done)
    report.section("All days")
    report.table(
        "days", *_days(done.accounts), "Each day and configuration; money is that of the labelled rows.",
        DAYS_SHOWN_MAX * len(done.accounts),
    )  # fmt: skip
    return summary(done)


def summary(done: Backtest) -> list[str]:
    """The backtest in sentences."""
    lines = []
    for account in done.accounts:
        figures = account.figures()
        lines.append(_alert_line(account.name, figures))
        if figures["frauds"]:
            lines.append(_truth_line(account.name, figures))
        elif figures["labelled"]:
            lines.append(f"{account.name}: no fraud among {figures['labelled']:,} labelled rows")
    if done.measured and not any(account.figures()["labelled"] for account in done.accounts):
        lines.append("no row of these days has a label: check the column's or the file's name, and the days")
    if len(done.accounts) > 1:
        told_of = done.changes.figures()
        counts = ", ".join(f"{int(one['alerts']):,} {kind}" for kind, one in told_of.items())
        labelled = any(one["frauds"] + one["genuine"] for one in told_of.values())
        frauds = "; frauds among them: " + ", ".join(f"{int(one['frauds']):,} {kind}" for kind, one in told_of.items())
        lines.append(f"alerts of new against current: {counts}" + (frauds if labelled else ""))
    return lines


def _alert_line(name: str, figures: dict[str, Any]) -> str:
    line = (
        f"{name}: {figures['alerts']:,} alerts and {figures['reviews']:,} for review among {figures['rows']:,} rows of "
        f"{figures['days']:,} days; {told(figures['alerts_a_day_mean'])} alerts a day, {figures['alerts_a_day_max']:,} "
        "at most"
    )
    if "days_over_budget" in figures:
        line += (
            f"; the budget of {figures['alerts_per_day']:,} was passed on {figures['days_over_budget']:,} days and met "
            f"within 10 % on {figures['days_within_budget_10pct']:,} of {figures['whole_days']:,} whole ones"
        )
    return line + (f"; {figures['rejected']:,} records rejected" if figures["rejected"] else "")


def _truth_line(name: str, figures: dict[str, Any]) -> str:
    precision, recall, money = (figures[key] for key in ("precision", "recall", "money_recall"))
    return (
        f"{name}: {figures['caught']:,} of {figures['frauds']:,} frauds alerted (recall {_percent(recall)}), "
        f"{_percent(precision)} of the labelled alerts are fraud (precision); {told(figures['caught_amount'])} of "
        f"{told(figures['fraud_amount'])} in money caught ({_percent(money)}), {told(figures['false_amount'])} in "
        f"false alerts; ROC AUC {told(figures['roc_auc'])}, average precision {told(figures['average_precision'])}"
    )


SUMMARY = {  # figure → what it is called, in the order of the table
    "rows": "rows", "days": "days", "alerts_per_day": "budget a day", "alerts": "alerts", "alerts_a_day_mean": "a day",
    "days_within_budget_10pct": "days within 10 % of the budget", "days_over_budget": "days over the budget",
    "reviews": "for review", "labelled": "rows labelled", "frauds": "frauds", "caught": "frauds alerted",
    "precision": "precision", "recall": "recall", "fraud_amount": "money in frauds",
    "caught_amount": "money caught", "false_amount": "money in false alerts", "roc_auc": "ROC AUC of the risk",
    "average_precision": "average precision of the risk", "rejected": "records rejected",
    "spec_fingerprint": "spec fingerprint",
}  # fmt: skip


def _summary_table(accounts: Sequence[Account]) -> tuple[list[str], list[list[Any]]]:
    """A line a figure, a column a configuration; what no configuration has is left out."""
    figures = [account.figures() for account in accounts]
    labelled = any(one["labelled"] for one in figures)
    of_labels = set(COUNTED[3:]) | {"precision", "recall"}
    names = [name for name in SUMMARY if any(one.get(name) is not None for one in figures)]
    rows = [[SUMMARY[name], *(one.get(name) for one in figures)] for name in names if labelled or name not in of_labels]
    return ["", *(account.name for account in accounts)], rows


def _tiles(figures: dict[str, Any]) -> dict[str, str]:
    tiles = {"alerts": told(figures["alerts"]), "alerts a day": told(figures["alerts_a_day_mean"])}
    if figures["alerts_per_day"]:
        tiles["budget a day"] = told(figures["alerts_per_day"])
    if figures["frauds"]:
        tiles |= {
            "precision": _percent(figures["precision"]),
            "recall": _percent(figures["recall"]),
            "money caught": _percent(figures["money_recall"]),
        }
    return tiles


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.1f} %"


def _alerts_caption(accounts: Sequence[Account]) -> str:
    budgets = {account.budget for account in accounts}
    if budgets == {None}:
        return "Alerts a day. There is no budget: the threshold alone decides."
    return (
        "Alerts a day against the budget (broken line). Days well below it had nothing odd enough, or began late; none "
        "should stand above."
    )


def _dates(days: Sequence[int]) -> NDArray[np.datetime64]:
    return np.array(days, "datetime64[D]")


def _alerts_plot(accounts: Sequence[Account]) -> Any:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9.0, 3.0))
    for account, colour in zip(accounts, COLOURS, strict=False):
        days, table = account.table()
        _line(axes, days, table[:, COUNTED.index("alerts")], colour, account.name)
    for budget in sorted({account.budget for account in accounts if account.budget}):
        axes.axhline(budget, color=ALARM, linestyle="--", linewidth=1.0, label=f"budget {budget:,}")
    axes.set_ylim(bottom=0)
    axes.set_title("Alerts a day")
    axes.margins(x=0.01)
    _legend_above(axes)
    return figure


def _caught_plot(accounts: Sequence[Account]) -> Any:
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, 1, figsize=(9.0, 5.0), sharex=True)
    pairs = (("frauds", "caught", "Frauds a day"), ("fraud_amount", "caught_amount", "Money in frauds a day"))
    for axes, (whole, part, title) in zip(panels, pairs, strict=True):
        days, table = accounts[0].table()
        axes.bar(_dates(days), table[:, COUNTED.index(whole)], width=0.9, color="#dfe4ea", label="all known")
        for account, colour in zip(accounts, COLOURS, strict=False):
            days, table = account.table()
            _line(axes, days, table[:, COUNTED.index(part)], colour, f"alerted, {account.name}")
        axes.set_title(title)
        axes.set_ylim(bottom=0)
        axes.margins(x=0.01)
    _legend_above(panels[0])
    return figure


def _line(axes: Axes, days: Sequence[int], values: NDArray[np.float64], colour: str, name: str) -> None:
    few = len(days) <= 62
    axes.plot(_dates(days), values, color=colour, label=name, marker="o" if few else "", markersize=3)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    if len(days) <= DAYS_NAMED_MAX:  # else the axis would name hours between them
        axes.set_xticks(_dates(days), _dates(days).astype(str))


def _legend_above(axes: Axes) -> None:
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, labelcolor=INK, borderaxespad=0.1)


def _days(accounts: Sequence[Account]) -> tuple[list[str], list[list[Any]]]:
    rows: list[list[Any]] = []
    for account in accounts:
        for day, sums in zip(*account.table(), strict=True):
            values = dict(zip(COUNTED, sums.tolist(), strict=True))
            found = {name: round(value, 2) if "amount" in name else int(value) for name, value in values.items()}
            found["precision"] = _short(values["caught"], values["labelled_alerts"])
            found["recall"] = _short(values["caught"], values["frauds"])
            text = rfc3339_text(day * DAY_MS)[:10]
            rows.append([text, account.name, account.budget, *(found[name] for name in OF_A_DAY)])
    rows.sort(key=lambda row: row[0])
    return ["day", "configuration", "budget", *(name.replace("_", " ") for name in OF_A_DAY)], rows


def _short(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None


def _changes(report: Report, done: Backtest) -> None:
    changes = done.changes
    if len(done.accounts) > 1:
        report.section("What would change", "Alerts of the new configuration against those of the current one.")
        rows = [[kind, *count.values()] for kind, count in changes.figures().items()]
        report.table("changes", ["", "alerts", "frauds", "genuine", "money"], rows)
    for kind, about in ABOUT.items():
        if kind not in changes.shown:
            continue
        count = int(changes.count[kind]["alerts"])
        report.section(f"Alerts {kind}" if kind != "alert" else "Alerts", about)
        if not count:
            report.text("None.")
            continue
        reasons = {"gained": "reasons_new", "lost": "reasons_current", "alert": "reasons"}[kind]
        columns = [name for name in SHOWN if name in changes.columns]
        places = [changes.columns.index(name) for name in (*columns, reasons)]
        rows = [[_shown(values[place]) for place in places] for values in changes.shown[kind]]
        more = f" {len(rows):,} of {count:,}, drawn evenly." if count > len(rows) else ""
        report.table(
            f"{kind}_shown", [*(SHOWN[name] for name in columns), "reasons"], rows,
            f"In log order.{more} All alerts, with the reasons of either configuration, are in {ALERTS}.",
            len(rows), below=True,
        )  # fmt: skip


def _shown(value: Any) -> Any:
    """A time without the letters that a page can do without, reasons as a sentence has them; all else as it is."""
    if not isinstance(value, str):
        return value
    return value[:19].replace("T", " ") if TIME.fullmatch(value) else value.replace(REASON_SEPARATOR, "; ")
