"""`python -m tests.quality.bench`: the table of detection quality; `--help` says what may be asked.

All is prequential (score, then learn), one pass in original order, cold start included. Sets that are not there are
named and skipped. What peers did on the very same rows, seed and version is kept in `build/bench/peers` and not done
again; `--fresh` forgets it.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from detector.core.compile import compile_kernels
from tests.bench.report import FOLDER
from tests.quality.bench import ours, peers, report
from tests.quality.bench.figures import Figures, figures
from tests.quality.bench.progress import Bar
from tests.quality.bench.sets import SETS, BenchSet, Loaded, load_set

QUICK_ROWS = 1_500
SEEDS = (42, *range(1, 100))
Row = report.Row


def main(arguments: Sequence[str] | None = None) -> int:
    asked = parsed(arguments)
    if asked.fresh:
        shutil.rmtree(asked.folder / "peers", ignore_errors=True)
    with Bar() as bar:
        rows = [row for source in chosen(asked, bar) for row in one_set(source, asked, bar)]
    table_console = Console(width=None if sys.stdout.isatty() else 190)
    report.table(rows, table_console)
    report.write(rows, asked.folder)
    table_console.print(f"Written: {asked.folder}/quality.csv, .json, .png")
    return 0


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.quality.bench", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="runs of the detector (5)")
    parser.add_argument("--peer-seeds", type=int, help="runs of each peer (as many)")
    parser.add_argument("--sets", nargs="+", choices=[source.name for source in SETS], help="these sets only")
    parser.add_argument("--peers", nargs="*", metavar="WORD", help="only peers whose name holds a word; none: no peer")
    parser.add_argument("--quick", action="store_true", help=f"the first {QUICK_ROWS:,} rows of each set, one seed")
    parser.add_argument("--fresh", action="store_true", help="run peers again that were run before")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"where to write ({FOLDER})")
    asked = parser.parse_args(arguments)
    if asked.quick:
        asked.seeds = 1
    asked.peer_seeds = asked.seeds if asked.peer_seeds is None else asked.peer_seeds
    return asked


def chosen(asked: argparse.Namespace, bar: Bar) -> Iterator[BenchSet]:
    """The sets that are asked for and there."""
    for source in SETS:
        if asked.sets and source.name not in asked.sets:
            continue
        if source.absent:
            bar.tell(f"{source.name}: skipped, no {source.file} in shared/data beside the repository")
            continue
        yield source


def one_set(source: BenchSet, asked: argparse.Namespace, bar: Bar) -> Iterator[Row]:
    """All contenders on one set."""
    bar.tell(f"{source.name}: reading")
    data = load_set(source, QUICK_ROWS if asked.quick else None)
    compile_kernels(data.spec)
    runs = []
    for seed in SEEDS[: asked.seeds]:
        with bar.step(f"{source.name}: detector, seed {seed}", len(data)) as told:
            runs.append(ours.run(data, seed, told))
    yield from our_rows(data, runs)
    features = ours.features_of(data, ours.model_columns(data), max(peer.rows_max for peer in peers.PEERS))
    for peer in wanted(asked, bar):
        yield peer_row(data, peer, features, asked, runs, bar)


def our_rows(data: Loaded, runs: Sequence[ours.Run]) -> Iterator[Row]:
    """The detector, and its members alone."""
    whole = slice(0, len(data))
    per_s = float(np.median([len(data) / run.step_s for run in runs]))
    for who in runs[0].scores:
        found = [figures(data, run.scores[who], whole) for run in runs]
        if who == "detector":
            for one, run in zip(found, runs, strict=True):
                one |= alerts(data.fraud, run.alert)
        yield row_of(data, who, whole, found, per_s)


def alerts(fraud: NDArray[np.bool_], alert: NDArray[np.bool_]) -> Figures:
    """Of what was published, within the day's budget as it went."""
    caught = int((fraud & alert).sum())
    return {
        "alert_precision": caught / int(alert.sum()) if alert.any() else math.nan,
        "alert_recall": caught / int(fraud.sum()) if fraud.any() else math.nan,
    }


def wanted(asked: argparse.Namespace, bar: Bar) -> Iterator[peers.Peer]:
    """The peers that are asked for and installed."""
    for peer in peers.PEERS:
        if asked.peers is not None and not any(word.lower() in peer.name.lower() for word in asked.peers):
            continue
        if peer.absent:
            bar.tell(f"{peer.name}: skipped, {peer.package} is not installed (pip install {peer.package})")
            continue
        yield peer


def peer_row(
    data: Loaded,
    peer: peers.Peer,
    features: NDArray[np.float64],
    asked: argparse.Namespace,
    runs: Sequence[ours.Run],
    bar: Bar,
) -> Row:
    """One peer over its seeds, beside what the detector reached on the same rows."""
    done = []
    for seed in SEEDS[: asked.peer_seeds if peer.seeded else 1]:
        with bar.step(f"{data.source.name}: {peer.name}, seed {seed}", None):
            done.append(peers.scored(peer, features, seed, asked.folder / "peers"))
    rows = done[0].rows
    row = row_of(
        data, peer.name, rows, [figures(data, one.score, rows) for one in done],
        float(np.median([one.rows_per_s for one in done])),
    )  # fmt: skip
    same = [figures(data, run.scores["detector"][rows], rows) for run in runs]
    row["auc_detector"], row["ap_detector"] = mean_of(same, "auc"), mean_of(same, "ap")
    return row


def row_of(data: Loaded, who: str, rows: slice, found: Sequence[Figures], per_s: float, labels: str = "none") -> Row:
    """Means over seeds, and spreads."""
    row: Row = {"set": data.source.name, "labels": labels, "who": who, "scored": scored(rows, len(data))}
    row |= {"seeds": len(found), "rows": rows.stop - rows.start, "rows_per_s": round(per_s)}
    for name in found[0]:
        row[name] = mean_of(found, name)
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
    return (
        f"last {(all_rows - rows.start) / all_rows:.0%}" if rows.stop == all_rows else f"{rows.start:,}–{rows.stop:,}"
    )


if __name__ == "__main__":
    sys.exit(main())
