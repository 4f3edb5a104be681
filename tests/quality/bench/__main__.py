"""`python -m tests.quality.bench`: the table of detection quality; `--help` says what may be asked.

All is prequential (score, then learn), one pass in original order, cold start included. Sets that are not there are
named and skipped. What peers did on the very same rows, seed and version is kept in `build/bench/peers` and not done
again; `--fresh` forgets it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from tests.bench.report import FOLDER
from tests.quality.bench import contest, report
from tests.quality.bench.progress import Bar
from tests.quality.bench.sets import FURTHER, SETS, BenchSet, load_set

QUICK_ROWS = 1_000


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
    parser.add_argument("--sets", nargs="+", choices=[one.name for one in SETS + FURTHER], help="these sets only")
    parser.add_argument("--further", action="store_true", help="small sets besides, that no choice was made on")
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
    for source in SETS + FURTHER:
        if source.name not in asked.sets if asked.sets else source in FURTHER and not asked.further:
            continue
        if source.absent:
            bar.tell(f"{source.name}: skipped, no {source.file} in shared/data beside the repository")
            continue
        yield source


def one_set(source: BenchSet, asked: argparse.Namespace, bar: Bar) -> Iterator[report.Row]:
    """All contenders on one set."""
    bar.tell(f"{source.name}: reading")
    data = load_set(source, QUICK_ROWS if asked.quick else None)
    yield from contest.without_labels(data, asked, bar)
    if source.label_delay:
        yield from contest.with_labels(data, asked, bar)


if __name__ == "__main__":
    sys.exit(main())
