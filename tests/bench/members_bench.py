"""`python -m tests.bench.members_bench`: rows/s that each default member scores and learns on one core, side by side.

Made-up rows of 29 columns go through all members in turn, segment by segment, so that what else the machine does falls
on all alike; the last line is all of them together, the gate and the fusion left out.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from detector.core import profile, reservoir
from detector.core.models import build_members
from detector.core.spec import Decision, Spec, parse_feature
from detector.settings.building import members_of
from detector.settings.models import Models

COLUMNS = 29
WARM_ROWS, ROWS = 4_000, 100_000


def spec_of(columns: int) -> Spec:
    """The default members over plain numbers."""
    names = tuple(f"v{column}" for column in range(columns))
    features = tuple(parse_feature(f"numeric.{name}") for name in names)
    return Spec((), names, (), features, members_of(Models()), Decision())


def seconds(columns: int, rows: int) -> dict[str, float]:
    """Seconds of each member for `rows` rows, pivots included, after a warm-up."""
    spec = spec_of(columns)
    members, profiled = build_members(spec)
    arrays = [member.new_arrays() for member in members]
    values = np.random.RandomState(0).standard_t(4.0, (WARM_ROWS + rows, columns))
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


def lines(rows: int) -> list[str]:
    """The table."""
    spent = seconds(COLUMNS, rows)
    told = [f"{name:>22} {rows / one:>12,.0f} rows/s" for name, one in spent.items()]
    return [*told, f"{'together':>22} {rows / sum(spent.values()):>12,.0f} rows/s"]


if __name__ == "__main__":
    for line in lines(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS):
        print(line)
