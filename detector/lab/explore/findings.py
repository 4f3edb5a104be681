"""What a person should know first, in sentences; and what single columns and pairs say."""

from __future__ import annotations

import math

import numpy as np

from detector.lab.explore.survey import QUANTILES, Survey
from detector.lab.quality import roc_auc
from detector.lab.report import told

MISSING_SHARE = 0.2
CORRELATED = 0.95
TELLS_ALL = 0.99
LONG_TAIL = 10.0
DAY_MS, HOUR_MS = 86_400_000, 3_600_000


def findings(found: Survey) -> list[str]:
    """The sentences, what matters most first."""
    return [*_truth(found), *_columns(found), *_rows(found), *_time(found), *_entities(found)]


def telling(found: Survey) -> list[tuple[int, float]]:
    """(column, ROC AUC) of each column of numbers by itself, best first; no direction: .5 tells nothing, 1 all."""
    if not len(found.fraud_values):
        return []
    genuine = found.values[found.roles.truths(found.sample) == 0]
    areas = []
    for column in range(len(found.numbers)):
        frauds, others = found.fraud_values[:, column], genuine[:, column]
        frauds, others = frauds[~np.isnan(frauds)], others[~np.isnan(others)]
        truth = np.repeat([True, False], [len(frauds), len(others)])
        area = roc_auc(truth, np.concatenate([frauds, others]))
        if math.isfinite(area):
            areas.append((column, max(area, 1 - area)))
    return sorted(areas, key=lambda item: -item[1])


def strongest(found: Survey, most: int) -> list[tuple[int, int, float]]:
    """Pairs of columns by the size of their correlation."""
    values = np.triu(found.moments.correlation, 1)
    order = np.argsort(-np.abs(np.nan_to_num(values)), axis=None)[:most]
    one, other = np.unravel_index(order, values.shape) if values.size else (order, order)
    paired = found.moments.paired.tolist()
    return [
        (paired[a], paired[b], float(values[a, b])) for a, b in zip(one, other, strict=True) if abs(values[a, b]) > 0
    ]


def duration(ms: float) -> str:
    """A length of time for people."""
    for unit, size in (("days", DAY_MS), ("hours", HOUR_MS), ("minutes", 60_000)):
        if ms >= 2 * size:
            return f"{ms / size:,.0f} {unit}" if ms >= 10 * size else f"{ms / size:,.1f} {unit}"
    return f"{ms / 1000:,.0f} seconds"


def _listed(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _truth(found: Survey) -> list[str]:
    genuine, fraud, unknown = found.truth
    name = found.roles.label
    if name is None:
        return ["No column says which rows are fraud; name it with --label where there is one."]
    if not fraud or not genuine:
        only = "genuine" if genuine else "fraud" if fraud else "without a label"
        return [f"Every row is {only} by {name}: there is one class only, from which nothing can be learned or judged."]
    share = fraud / (fraud + genuine)
    lines = []
    lines.append(
        f"{fraud:,} of {fraud + genuine:,} rows are fraud ({share:.3%}, one in {1 / share:,.0f}). Whoever calls all "
        f"genuine is right in {1 - share:.2%} of them, so judge by precision and recall, not by accuracy."
    )
    if unknown:
        lines.append(f"{unknown:,} rows have no label that can be read in {name}.")
    tells = [found.numbers[column] for column, area in telling(found) if area >= TELLS_ALL]
    if tells:
        lines.append(f"{_listed(tells)} alone nearly tells all frauds: is it known when the transaction is decided?")
    return lines


def _columns(found: Survey) -> list[str]:
    lines, moments = [], found.moments
    empty = [name for name, count in found.missing.items() if count == found.rows]
    if empty:
        lines.append(f"Without any value: {_listed(empty)}.")
    often = [name for name, count in found.missing.items() if MISSING_SHARE * found.rows < count < found.rows]
    if often:
        lines.append(f"Missing in more than {MISSING_SHARE:.0%} of the rows: {_listed(often)}.")
    constant = [name for place, name in enumerate(found.numbers) if moments.least[place] == moments.greatest[place]]
    constant += [name for name, words in found.words.items() if words.values is not None and len(words.values) == 1]
    if constant:
        lines.append(f"Always the same: {_listed(constant)}. Such a column tells nothing.")
    twins = [
        f"{found.measured[one]} and {found.measured[other]} ({value:+.2f})"
        for one, other, value in strongest(found, 20) if abs(value) >= CORRELATED
    ]  # fmt: skip
    if twins:
        lines.append(f"Nearly the same twice, by correlation: {_listed(twins, 4)}.")
    middle, high = found.quantiles[QUANTILES.index(0.5)], found.quantiles[QUANTILES.index(0.99)]
    positive = (moments.least[: len(found.numbers)] >= 0) & (middle > 0)
    long = positive & (high > LONG_TAIL * middle)
    tails = [name for place, name in enumerate(found.numbers) if long[place]]
    if tails:
        lines.append(
            f"Long tails, one row in a hundred beyond {LONG_TAIL:.0f} times the median: {_listed(tails)}. Rules of "
            "mean and standard deviation find many there that are usual."
        )
    if found.roles.amount_min < 0:
        lines.append(
            f"Some amounts are negative, down to {told(found.roles.amount_min)}; the configuration allows them."
        )
    return lines


def _rows(found: Survey) -> list[str]:
    lines = []
    copies = found.repeats["whole rows"][0]
    if copies:
        lines.append(f"{copies:,} rows are exact copies of earlier ones ({copies / found.rows:.2%}).")
    twice = found.repeats.get("ids", (0, 0, []))[0]
    if twice:
        lines.append(f"{twice:,} rows bear an id that an earlier row has; ids ought to be met once.")
    again = found.repeats.get("rows but for the id", (0, 0, []))[0] - copies
    if again > 0:
        lines.append(f"{again:,} rows differ from an earlier one by their id alone: sent twice?")
    return lines


def _time(found: Survey) -> list[str]:
    clock, roles = found.clock, found.roles
    if roles.event_time is None:
        return ["No column of event times was found: nothing can be said of rhythm, and rows are taken as they come."]
    if not clock.rows:
        return [f"No time in {roles.event_time} can be read."]
    if not clock.backwards:
        return []
    sentence = (
        f"{clock.backwards / clock.rows:.0%} of the rows lie before one that stands above them, by up to "
        f"{duration(clock.behind_ms)}; the configuration allows as much lateness. Sort the file by time to replay it."
    )
    return [sentence]


def _entities(found: Survey) -> list[str]:
    lines = []
    if found.owner is not None and len(found.entities[found.owner].rows):
        entities = found.entities[found.owner]
        once = float((entities.rows == 1).mean())
        lines.append(
            f"{entities.count:,} {found.owner}s, {np.median(entities.rows):,.0f} rows each (median); "
            f"{once:.0%} of them have one row only, hence no history to be compared with."
        )
    elif found.owner is None:
        lines.append("No column names a card or a customer: each row can be judged by its own numbers alone.")
    return lines
