"""The report's sections, from what the survey found."""

from __future__ import annotations

from typing import Any

import numpy as np

from detector.lab.explore import behaviour, pictures
from detector.lab.explore.findings import duration, findings, strongest, telling
from detector.lab.explore.pictures import there
from detector.lab.explore.survey import BUSIEST, ENTITY_ROLES, QUANTILES, Survey
from detector.lab.report import Report, plots
from schemas.times import rfc3339_text

PAIRS, TELLING, CATEGORIES = 6, 6, 9
HEAT_MAP_COLUMNS_MAX = 32
FEW_VALUES = 2


def write(report: Report, found: Survey, told: str, toml: str | None) -> None:
    """All sections. `told`: where the roles come from; `toml`: the configuration that was guessed."""
    with plots():
        _first(report, found)
        _reading(report, found, told)
        _numbers(report, found)
        _texts(report, found)
        _missing(report, found)
        _repeats(report, found)
        _classes(report, found)
        _relations(report, found)
        _time(report, found)
        _entities(report, found)
        _outliers(report, found)
        _configuration(report, found, toml)


def _first(report: Report, found: Survey) -> None:
    cells = found.rows * len(found.missing)
    tiles = {"rows": f"{found.rows:,}", "columns": f"{len(found.missing):,}"}
    if found.clock.rows:
        tiles["of time"] = duration(found.clock.last_ms - found.clock.first_ms)
    if found.owner is not None:
        tiles[f"{found.owner}s"] = f"{found.entities[found.owner].count:,}"
    if found.roles.label is not None:
        tiles["are fraud"] = f"{found.truth[1] / max(1, sum(found.truth[:2])):.3%}"
    tiles["of all values missing"] = f"{sum(found.missing.values()) / cells:.2%}"
    tiles["copies of other rows"] = f"{found.repeats['whole rows'][0]:,}"
    report.tiles(tiles)
    report.section("Worth knowing first")
    lines = findings(found)
    report.points(lines)
    report.figures |= {"rows": found.rows, "columns": len(found.missing), "findings": lines, "missing": found.missing}


def _reading(report: Report, found: Survey, told: str) -> None:
    report.section("What the columns are taken for", told[:1].upper() + told[1:] + ".")
    report.points([choice[:1].upper() + choice[1:] + "." for choice in found.table.choices])
    kinds = found.table.columns
    report.table(
        "roles",
        ["column", "holds", "taken for"],
        [(name, kinds[name], found.roles.told.get(name, "")) for name in kinds],
    )
    report.figures |= {"roles": found.roles.by_role(), "choices": found.table.choices, "kinds": kinds}


def _numbers(report: Report, found: Survey) -> None:
    if not found.numbers:
        return
    moments = found.moments
    exact = (
        "All figures are exact."
        if found.whole
        else (
            f"Quantiles and distinct values are those of {found.sample_rows:,} rows drawn by a seed, all else is exact."
        )
    )
    report.section("Numbers", f"Ranges and statistics of each column. {exact}")
    names = ["column", "missing", "distinct", "least", "1 %", "25 %", "median", "75 %", "99 %", "greatest"]
    names += ["mean", "sd", "skewness", "kurtosis", "zero", "negative"]
    shown = [QUANTILES.index(level) for level in (0.01, 0.25, 0.5, 0.75, 0.99)]
    rows: list[list[Any]] = []
    for place, name in enumerate(found.numbers):
        row: list[Any] = [name, found.missing[name], len(np.unique(there(found.values[:, place])))]
        if moments.count[place]:
            quantiles = (float(found.quantiles[level, place]) for level in shown)
            row += [float(moments.least[place]), *quantiles, float(moments.greatest[place])]
            row += [float(one[place]) for one in (moments.mean, moments.deviation, moments.skewness, moments.kurtosis)]
            row += [int(moments.zeros[place]), int(moments.negatives[place])]
        rows.append([*row, *[None] * (len(names) - len(row))])
    report.table(
        "numbers", names, rows, "To the right skewness, above 2 for a long tail, and kurtosis, in excess of 3."
    )
    report.figures["numbers"] = {row[0]: dict(zip(names[1:], row[1:], strict=True)) for row in rows}
    if pictures.drawn(found):
        report.figure(
            "histograms",
            pictures.histograms(found),
            "How the values spread. Long tails are drawn on a "
            "logarithmic axis; else the outermost half percent on either side is cut off.",
        )
        report.figure(
            "boxes",
            pictures.boxes(found),
            "Boxes hold the middle half, whiskers reach 1.5 quartile distances "
            "further, points lie beyond. Look for columns whose points run far to one side.",
        )


def _texts(report: Report, found: Survey) -> None:
    if not found.words:
        return
    report.section("Texts and ids", "Columns of words: how many different ones, and the most frequent.")
    distinct = {getattr(found.roles, role): entities.count for role, entities in found.entities.items()}
    if found.roles.transaction_id is not None:
        distinct[found.roles.transaction_id] = found.repeats["ids"][1]
    rows: list[list[Any]] = []
    values: list[list[Any]] = []
    for name, words in found.words.items():
        count = distinct.get(name, None if words.values is None else len(words.values))
        top = words.top(1)
        often = f"{top[0][0]} ({top[0][1] / found.rows:.1%})" if top else None
        rows.append([name, found.missing[name], count, words.shortest, words.longest, often])
        values += [
            [name, value, count, frauds if found.roles.label else None] for value, count, frauds in words.top(50)
        ]
    report.table("texts", ["column", "missing", "distinct", "shortest", "longest", "most frequent"], rows)
    ids = {getattr(found.roles, role) for role in ("transaction_id", "ip", *ENTITY_ROLES)}
    few = [
        name
        for name, words in found.words.items()
        if words.values and len(words.values) >= FEW_VALUES and name not in ids
    ]
    few = sorted(few, key=lambda name: len(found.words[name].values or {}))[:CATEGORIES]
    if few:
        truth = "; in red the share of frauds among them" if found.truth[1] else ""
        report.figure(
            "categories", pictures.categories(found, few), f"Rows of each value, the ten most frequent{truth}."
        )
        report.csv("values", ["column", "value", "rows", "frauds"], [row for row in values if row[0] in few])
    report.figures["texts"] = {row[0]: {"missing": row[1], "distinct": row[2]} for row in rows}


def _missing(report: Report, found: Survey) -> None:
    total = sum(found.missing.values())
    report.section("Missing values", "" if total else "None: every row has a value in every column.")
    if total:
        report.figure(
            "missing",
            pictures.missing(found),
            "Share of the rows without a value. A feature without its "
            "value is missing too; the models then follow the heavier branch.",
        )


def _repeats(report: Report, found: Survey) -> None:
    report.section("Duplicates")
    rows = [[what, count, count / found.rows] for what, (count, _, _) in found.repeats.items()]
    report.table("duplicates", ["equal to an earlier row by", "rows", "share"], rows, percent=["share"])
    listed = [[what, row, before] for what, (_, _, pairs) in found.repeats.items() for row, before in pairs]
    if listed:
        report.table(
            "duplicate_rows",
            ["equal by", "row", "equals row"],
            listed,
            "Rows are counted from 0, as `lab explain --row` takes them. The first few of each kind.",
            shown=12,
        )
    report.figures["duplicates"] = {what: count for what, count, _ in rows}


def _classes(report: Report, found: Survey) -> None:
    if found.roles.label is None:
        return
    report.section("Fraud and genuine", f"By the column {found.roles.label}.")
    total = sum(found.truth)
    names = ("genuine", "fraud", "no label")
    report.table(
        "classes",
        ["class", "rows", "share"],
        [[name, count, count / total] for name, count in zip(names, found.truth, strict=True)],
        percent=["share"],
    )
    report.figures["classes"] = dict(zip(names, found.truth, strict=True))
    areas = telling(found)
    if not areas:
        return
    report.figure(
        "telling",
        pictures.telling(found, areas[:TELLING]),
        "The columns that tell frauds apart best by "
        "themselves: the further the red line lies off the blue field, the better.",
    )
    report.table(
        "telling",
        ["column", "ROC AUC by itself"],
        [[found.numbers[column], area] for column, area in areas],
        "0.5 tells nothing, 1 everything; from frauds "
        f"({len(found.fraud_values):,}) and the genuine rows of the sample.",
        shown=12,
    )
    report.figures["telling"] = {found.numbers[column]: area for column, area in areas}


def _relations(report: Report, found: Survey) -> None:
    some = strongest(found, 50)
    if not some:
        return
    paired, measured = len(found.moments.paired), len(found.measured)
    of_some = f" Of {measured:,} columns the first {paired:,} are paired." if paired < measured else ""
    report.section("Relations", f"Pearson's correlation of each pair, over all rows that have both values.{of_some}")
    varies = np.isfinite(np.diag(found.moments.correlation))
    weight = np.nansum(np.abs(found.moments.correlation), axis=0) * varies
    columns = sorted(np.argsort(-weight, kind="stable")[: min(HEAT_MAP_COLUMNS_MAX, int(varies.sum()))].tolist())
    more = "" if len(columns) == varies.sum() else f" The {len(columns)} columns that correlate most."
    report.figure(
        "correlations",
        pictures.correlations(found, columns),
        "Red rises together, blue against each other. "
        f"Deep colours off the diagonal are columns that say the same.{more}",
    )
    kept = {place for place, name in enumerate(found.numbers) if name in found.roles.used}
    telling_pairs = [pair for pair in some if {*pair[:2]} <= kept][:PAIRS]
    if telling_pairs:
        text = "The pairs that are bound closest, as rows of the sample. Look for rows that leave the crowd."
        report.figure("pairs", pictures.pairs(found, telling_pairs), text)
    report.table(
        "correlations",
        ["column", "other", "correlation"],
        [[found.measured[one], found.measured[other], value] for one, other, value in some],
        shown=12,
    )


def _time(report: Report, found: Survey) -> None:
    clock = found.clock
    if not clock.rows:
        return
    first, last = rfc3339_text(clock.first_ms)[:19], rfc3339_text(clock.last_ms)[:19]
    report.section("Over time", f"From {first} to {last} (UTC), by {found.roles.event_time}.")
    report.figure(
        "over_time",
        behaviour.over_time(found),
        "Volume and amount. Look for gaps, for steps, and for days that are like no other.",
    )
    report.figure("week", behaviour.week(found), "Rows by weekday and hour: the darker, the more.")
    if found.roles.amount:
        report.figure(
            "amount_in_time", behaviour.amount_in_time(found), "Single rows of the sample, amount against time."
        )
    width, start, values = clock.series()
    rows = [[rfc3339_text(at), *row] for at, row in zip(start.tolist(), values.tolist(), strict=True)]
    report.csv("volume", ["from", "rows", "amount", "frauds"], rows)
    report.figures["time"] = {
        "first": first,
        "last": last,
        "rows": clock.rows,
        "bin_ms": width,
        "behind_ms": clock.behind_ms,
        "backwards": clock.backwards,
    }


def _entities(report: Report, found: Survey) -> None:
    for role, entities in found.entities.items():
        if not len(entities.rows):
            continue
        part = "" if entities.share == 1 else f" One {role} in {1 / entities.share:,.0f} was followed."
        column = getattr(found.roles, role)
        report.section(f"What each {role} does", f"{entities.count:,} of them, by {column}.{part}")
        if role == found.owner:
            report.figure(
                "behaviour",
                behaviour.entity(found, role),
                "Rhythm, usual amounts and places. The dotted line is where "
                "the deviation equals the mean; those above it have no usual amount.",
            )
            if found.examples:
                report.figure(
                    "examples",
                    behaviour.examples(found, role),
                    f"The busiest {role}s and some of the middle: each stroke "
                    "is a row, as high as its amount" + (", frauds red." if found.truth[1] else "."),
                )
        _busiest(report, found, role)
        report.figures.setdefault("entities", {})[role] = {
            "count": entities.count,
            "followed": len(entities.rows),
            "rows_median": float(np.median(entities.rows)),
            "rows_most": int(entities.rows.max()),
            "once": int((entities.rows == 1).sum()),
        }


def _busiest(report: Report, found: Survey, role: str) -> None:
    entities = found.entities[role]
    order = np.lexsort((entities.hash, -entities.rows))[:BUSIEST]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = entities.amount / entities.priced
    places = {place: entities.distinct(place) for place in entities.places}
    columns = [role, "rows"] + ["frauds"] * (found.roles.label is not None) + ["mean amount", "highest"]
    rows: list[list[Any]] = []
    for one in order.tolist():
        row: list[Any] = [found.names[role].get(int(entities.hash[one])), int(entities.rows[one])]
        row += [int(entities.frauds[one])] if found.roles.label is not None else []
        row += [
            float(mean[one]) if entities.priced[one] else None,
            float(entities.highest[one]) if entities.priced[one] else None,
        ]
        rows.append([*row, *(int(counts[one]) for counts in places.values())])
    report.table(
        f"busiest_{role}",
        [*columns, *(f"{getattr(found.roles, place)} values" for place in places)],
        rows,
        f"The busiest {role}s.",
        shown=10,
    )


def _outliers(report: Report, found: Survey) -> None:
    outliers = found.outliers
    if outliers is None or not found.numbers:
        return
    report.section(
        "Outliers",
        "Rows beyond " + ", or beyond ".join(rule.name for rule in outliers.rules) + ", one column at a "
        "time. Both rules know no card and no hour; in long tails they call much that is usual an outlier.",
    )
    if (outliers.below + outliers.above).any():
        report.figure("outliers", pictures.outliers(found), "Share of all rows that each rule calls outliers.")
    rows: list[list[Any]] = []
    named: list[list[Any]] = []
    for place, rule in enumerate(outliers.rules):
        for column, name in enumerate(found.numbers):
            count = int(outliers.below[place, column] + outliers.above[place, column])
            frauds = int(outliers.frauds[place, column])
            rows.append(
                [
                    name,
                    rule.name,
                    float(rule.low[column]),
                    float(rule.high[column]),
                    int(outliers.below[place, column]),
                    int(outliers.above[place, column]),
                    count / found.rows,
                    frauds / count if count and found.truth[1] else None,
                ]
            )
            named += [
                [name, rule.name, one.row, one.identity, one.value, one.away] for one in outliers.named[place][column]
            ]
    rows = [[None if isinstance(cell, float) and np.isnan(cell) else cell for cell in row] for row in rows]
    rows.sort(key=lambda row: -row[6])
    columns = ["column", "rule", "from", "to", "below", "above", "share"]
    columns += ["of them fraud"] if found.roles.label is not None else []
    report.table(
        "outliers",
        columns,
        [row[: len(columns)] for row in rows],
        "A column whose quartiles are equal has no bounds by the second rule.",
        shown=20,
        percent=["share", "of them fraud"],
    )
    report.table(
        "outlier_rows_many",
        ["row", "id", "columns outside", "distance"],
        [[row, identity, count, distance] for count, distance, row, identity in outliers.top],
        f"Rows outside in most columns, by {outliers.rules[0].name}; distance in sd, all columns added. Rows are "
        "counted from 0, as `lab explain --row` takes them.",
        shown=15,
    )
    furthest = sorted(named, key=lambda row: -row[5])
    report.table(
        "outlier_rows",
        ["column", "rule", "row", "id", "value", "beyond the bound"],
        furthest,
        "The furthest out, in the rule's own unit (sd, IQR).",
        shown=25,
    )
    report.figures["outliers"] = {
        rule.name: {
            name: int(outliers.below[place, column] + outliers.above[place, column])
            for column, name in enumerate(found.numbers)
        }
        for place, rule in enumerate(outliers.rules)
    } | {"rows_outside": outliers.rows_outside}


def _configuration(report: Report, found: Survey, toml: str | None) -> None:
    if toml is None:
        return
    report.section(
        "A configuration to begin with",
        "The guess above as detector.toml, beside this page. The service takes it "
        "as it is; look it over first, and try it: detector validate --config detector.toml.",
    )
    report.code(toml)
    report.path("detector.toml").write_text(toml, encoding="utf-8")
