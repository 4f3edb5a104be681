"""All contenders on one set, and what comes of it: rows of the table, means and spreads over seeds."""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from detector.core.compile import compile_kernels
from detector.core.spec import parse_duration_ms
from tests.quality.bench import late_labels, ours, peers
from tests.quality.bench.figures import Figures, figures
from tests.quality.bench.progress import Bar
from tests.quality.bench.report import Row
from tests.quality.bench.sets import BOOK_WEEK_MS, Loaded

SEEDS = (42, *range(1, 100))
WEEK = "book's week"


def without_labels(data: Loaded, asked: Namespace, bar: Bar) -> Iterator[Row]:
    """The detector, its members alone, and the peers."""
    compile_kernels(data.spec)
    runs = []
    for seed in SEEDS[: asked.seeds]:
        with bar.step(f"{data.source.name}: detector, seed {seed}", len(data)) as told:
            runs.append(ours.run(data, seed, told))
    whole = slice(0, len(data))
    for who in runs[0].scores:
        found = [figures(data, run.scores[who], whole) for run in runs]
        if who == "detector":
            for one, run in zip(found, runs, strict=True):
                one |= alerts(data.fraud, run.alert)
        yield row_of(data, who, whole, found, ours.rows_per_s(runs) if who == "detector" else math.nan)
    wanted = [peer for peer in peers.PEERS if is_wanted(peer, asked, bar)]
    if wanted:
        features = ours.features_of(data, ours.model_columns(data), max(peer.rows_max for peer in wanted))
        for peer in wanted:
            yield peer_row(data, peer, features, asked, runs, bar)


def is_wanted(peer: peers.Peer, asked: Namespace, bar: Bar) -> bool:
    """Whether a peer is asked for and installed."""
    if asked.peers is not None and not any(word.lower() in peer.name.lower() for word in asked.peers):
        return False
    if peer.absent:
        bar.tell(f"{peer.name}: skipped, {peer.package} is not installed (pip install {peer.package})")
    return not peer.absent


def peer_row(
    data: Loaded,
    peer: peers.Peer,
    features: NDArray[np.float64],
    asked: Namespace,
    runs: Sequence[ours.Run],
    bar: Bar,
) -> Row:
    """One peer over its seeds, beside what the detector reached on the same rows."""
    done = []
    for seed in SEEDS[: asked.peer_seeds if peer.seeded else 1]:
        with bar.step(f"{data.source.name}: {peer.name}, seed {seed}", None):
            done.append(peers.scored(peer, features, seed, asked.folder / "peers"))
    rows = done[0].rows
    found = [figures(data, one.score, rows) for one in done]
    row = row_of(data, peer.name, rows, found, float(np.median([one.rows_per_s for one in done])))
    same = [figures(data, run.scores["detector"][rows], rows) for run in runs]
    return row | {"auc_detector": mean_of(same, "auc"), "ap_detector": mean_of(same, "ap")}


def with_labels(data: Loaded, asked: Namespace, bar: Bar) -> Iterator[Row]:
    """The same with labels that come late, and a streaming learner on the same features, those of labels included.

    Where the Handbook's test week is in the rows, figures are that week's.
    """
    name, delay_ms = data.source.name, parse_duration_ms(data.source.label_delay)
    compile_kernels(data.labelled)
    runs = []
    for seed in SEEDS[: asked.seeds]:
        with bar.step(f"{name}: detector, labels after {data.source.label_delay}, seed {seed}", len(data)) as told:
            runs.append(ours.run(data, seed, told, delay_ms))
    whole = slice(0, len(data))
    found = [figures(data, run.scores["detector"], whole) | alerts(data.fraud, run.alert) for run in runs]
    yield labelled_row(data, "detector", whole, found, ours.rows_per_s(runs))
    if asked.peers is not None and not any(word.lower() in late_labels.NAME.lower() for word in asked.peers):
        return
    end = int(np.searchsorted(data.event_time_ms, BOOK_WEEK_MS[1])) + 1 if "scenario" in data.extra else len(data)
    features = ours.features_of(data, None, end, delay_ms)
    with bar.step(f"{name}: {late_labels.NAME}, labels after {data.source.label_delay}", None):
        done = late_labels.scored(data, features, delay_ms, asked.folder / "peers")
    peer = [figures(data, done.score, done.rows)]
    same = [figures(data, run.scores["detector"][done.rows], done.rows) for run in runs]
    row = labelled_row(data, late_labels.NAME, done.rows, peer, done.rows_per_s)
    auc, ap = ("week_auc", "week_ap") if row["scored"] == WEEK else ("auc", "ap")
    yield row | {"auc_detector": mean_of(same, auc), "ap_detector": mean_of(same, ap)}


def labelled_row(data: Loaded, who: str, rows: slice, found: Sequence[Figures], per_s: float) -> Row:
    """As `row_of`; `auc` and `ap` are the book's week's where there is one, those of all rows stay beside them."""
    if "week_auc" not in found[0]:
        return row_of(data, who, rows, found, per_s, data.source.label_delay)
    of_week = [
        one | {"auc": one["week_auc"], "ap": one["week_ap"], "auc_all": one["auc"], "ap_all": one["ap"]}
        for one in found
    ]
    return row_of(data, who, rows, of_week, per_s, data.source.label_delay) | {"scored": WEEK}


def alerts(fraud: NDArray[np.bool_], alert: NDArray[np.bool_]) -> Figures:
    """Of what was published, within the day's budget as it went."""
    caught = int((fraud & alert).sum())
    return {
        "alert_precision": caught / int(alert.sum()) if alert.any() else math.nan,
        "alert_recall": caught / int(fraud.sum()) if fraud.any() else math.nan,
    }


def row_of(data: Loaded, who: str, rows: slice, found: Sequence[Figures], per_s: float, labels: str = "none") -> Row:
    """Means over seeds, and spreads."""
    row: Row = {"set": data.source.name, "labels": labels, "who": who, "scored": scored(rows, len(data))}
    row |= {
        "seeds": len(found),
        "rows": rows.stop - rows.start,
        "rows_per_s": per_s if math.isnan(per_s) else round(per_s),
    }
    row |= {name: mean_of(found, name) for name in found[0]}
    for name in ("auc", "ap", "precision_at_budget"):
        values = [one[name] for one in found]
        row[f"{name}_spread"] = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return row


def mean_of(found: Sequence[Figures], name: str) -> float:
    return float(np.mean([one[name] for one in found]))


def scored(rows: slice, all_rows: int) -> str:
    """Which rows, in words."""
    if rows.start == 0:
        return "all" if rows.stop == all_rows else f"first {rows.stop:,}"
    return f"last {(all_rows - rows.start) / all_rows:.0%}"
