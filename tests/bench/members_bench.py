"""Rows/s that each default member scores and learns on one core, side by side, and all that a decision takes.

Made-up rows of 29 columns go through all members in turn, segment by segment, so that what else the machine does falls
on all alike. `together` is their sum; `decided` is the same rows through `step`, gate, fusion and budget included.

`python -m tests.bench.members_bench --help`
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.core import profile, reservoir
from detector.core.batch import TransactionBatch
from detector.core.models import build_members
from detector.core.operator import step
from detector.core.spec import Decision, Spec, parse_feature
from detector.core.state import new_state
from detector.settings.building import members_of
from detector.settings.models import Models
from tests.bench import report

COLUMNS = 29
WARM_ROWS, ROWS, BATCH_ROWS = 4_000, 100_000, 2_000


def spec_of(columns: int) -> Spec:
    """The default members over plain numbers."""
    names = tuple(f"v{column}" for column in range(columns))
    features = tuple(parse_feature(f"numeric.{name}") for name in names)
    return Spec((), names, (), features, members_of(Models()), Decision())


def made_up(rows: int) -> NDArray[np.float64]:
    """Values with long tails (WARM_ROWS + rows, COLUMNS)."""
    return np.random.RandomState(0).standard_t(4.0, (WARM_ROWS + rows, COLUMNS))


def seconds(spec: Spec, values: NDArray[np.float64]) -> dict[str, float]:
    """Seconds of each member for `values`, pivots included, after a warm-up."""
    columns = values.shape[1]
    members, profiled = build_members(spec)
    arrays = [member.new_arrays() for member in members]
    counted, histogram = np.zeros(2, np.int64), np.zeros((columns, profile.BINS), np.int64)
    sample, sampled = np.zeros((reservoir.ROWS, columns), np.float32), np.zeros(1, np.int64)
    spent = dict.fromkeys((member.name for member in members), 0.0)
    start = 0
    while start < len(values):
        stop = min(len(values), start + min(m.rows_to_pivot(a) for m, a in zip(members, arrays, strict=True)))
        part, taken = values[start:stop], np.ones(stop - start, np.bool_)
        profile.learn_kernel(profile.as_bits(part), ~taken, counted, histogram)
        reservoir.learn(part, profiled, taken, spec.seed, sample, sampled)
        cumulated = profile.cumulated(histogram)
        for member, own in zip(members, arrays, strict=True):
            began_s = time.perf_counter()
            member.learn(own, part, member.score(own, part, np.empty(len(part))), taken)
            if member.rows_to_pivot(own) <= 0:
                member.pivot(own, cumulated, sample[: min(len(sample), int(sampled[0]))])
            if start >= WARM_ROWS:
                spent[member.name] += time.perf_counter() - began_s
        start = stop
    return spent


def seconds_decided(spec: Spec, values: NDArray[np.float64]) -> float:
    """Seconds of `step` for `values`, after a warm-up."""
    n, state, spent_s = len(values), new_state(spec), 0.0
    nowhere = np.full(n, np.nan)
    batch = TransactionBatch(
        offset=np.arange(n),
        event_time_ms=1_735_689_600_000 + 1_000 * np.arange(n),
        amount=nowhere,
        key=np.empty((0, n), np.uint64),
        latitude=nowhere,
        longitude=nowhere,
        numeric=values.T,
    )
    for start in range(0, n, BATCH_ROWS):
        part = batch.rows(start, min(n, start + BATCH_ROWS))
        began_s = time.perf_counter()
        step(spec, state, part)
        if start >= WARM_ROWS:
            spent_s += time.perf_counter() - began_s
    return spent_s


def figures(rows: int) -> dict[str, float]:
    """Rows/s by member, `together` and `decided`."""
    spec, values = spec_of(COLUMNS), made_up(rows)
    spent = seconds(spec, values)
    found = {name: rows / one for name, one in spent.items()}
    return found | {"together": rows / sum(spent.values()), "decided": rows / seconds_decided(spec, values)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS, help=f"rows that are timed (default {ROWS:,})")
    parser.add_argument("--folder", type=Path, default=report.FOLDER, help="where members.json goes")
    args = parser.parse_args(arguments)
    found = figures(args.rows)
    told = [[name, f"{per_s:,.0f}", f"{1e6 / per_s:.2f}"] for name, per_s in found.items()]
    report.show(f"Score and learn {COLUMNS} columns, one core", ["who", "rows/s", "µs a row"], told)
    path = report.write("members", {"columns": COLUMNS, "rows": args.rows, "rows_per_s": found}, args.folder)
    print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
