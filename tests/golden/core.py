"""What is frozen of the core: a small run's snapshot, the decisions that follow it, and the splits of a seed.

`python -m tests.golden.core` writes the files of the present snapshot version where there are none. They are never
written twice: a state or a fold that changes takes a new version, and the files of the old one stay.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from detector.codec.reasons import sentences
from detector.codec.snapshot import VERSION, snapshot
from detector.core.batch import DecisionBatch, TransactionBatch
from detector.core.half_space_trees import draw_splits
from detector.core.operator import step
from detector.core.spec import Decision, Entity, HalfSpaceTrees, Spec, parse_feature
from detector.core.state import new_state

FOLDER = Path(__file__).parent
ROWS, CUT = 900, 600
NAMES = (
    *("amount", "hour", "weekday", "numeric.v", "card.count.1h", "card.count.24h", "card.sum.7d", "card.sum.30d"),
    *("card.seconds_since_last", "card.amount_to_mean.30d", "card.amount_deviation.30d", "card.amount_to_max.30d"),
    *("card.new.merchant", "card.distinct.merchant.24h", "card.distance_km", "card.speed_kmh", "merchant.count.1h"),
)
SPEC = Spec(
    keys=("card", "merchant"),
    numeric=("v",),
    entities=(Entity("card", "card", slots_max=40), Entity("merchant", "merchant", "global", slots_max=1_000)),
    features=tuple(parse_feature(name) for name in NAMES),
    members=(HalfSpaceTrees(5, 5, 128),),
    decision=Decision(2_000, 800.0, 700.0),
)


def snapshot_file(version: int) -> Path:
    return FOLDER / f"snapshot-v{version}.npz"


SPLITS_FILE = FOLDER / "splits.npz"
SPLITS = {"trees": 3, "height": 5, "features": 4, "seed": 42}


def batch() -> TransactionBatch:
    """Nine hundred purchases of fifty cards in three days, some late, some incomplete."""
    random = np.random.RandomState(2_026)  # its stream is frozen by numpy's policy
    event_time_ms = 1_735_689_600_000 + np.cumsum(random.randint(0, 600_000, ROWS)).astype(np.int64)
    event_time_ms[random.random_sample(ROWS) < 0.05] -= 5_000_000
    amount = np.round(10.0 ** random.uniform(0.0, 3.0, ROWS), 2)
    amount[random.random_sample(ROWS) < 0.05] = np.nan
    key = np.stack([random.randint(0, most, ROWS) for most in (51, 30)]).astype(np.uint64)
    key *= np.uint64(0x9E3779B97F4A7C15)
    latitude, longitude = random.uniform(40.0, 50.0, ROWS), random.uniform(0.0, 9.0, ROWS)
    latitude[random.random_sample(ROWS) < 0.1] = np.nan
    numeric = random.normal(0.0, 1.0, (1, ROWS))
    return TransactionBatch(np.arange(ROWS), event_time_ms, amount, key, latitude, longitude, numeric)


def decisions(decided: DecisionBatch, amount: np.ndarray) -> dict[str, np.ndarray]:
    """What was decided, as arrays; reasons in words."""
    words = [
        " | ".join(reason.text for reason in sentences(SPEC, decided.reasons[row], float(amount[row])))
        if row in decided.reasons
        else ""
        for row in range(len(decided))
    ]
    names = ("score", "risk", "verdict", "late", "features", "model_version")
    return {name: getattr(decided, name) for name in names} | {"reasons": np.array(words)}


def main() -> int:
    path = snapshot_file(VERSION)
    if path.exists() and "--overwrite" not in sys.argv[1:]:  # before a first release only
        print(f"{path.name} exists; a changed state takes a new version", file=sys.stderr)
        return 1
    rows, state = batch(), new_state(SPEC)
    step(SPEC, state, rows.rows(0, CUT))
    frozen = np.frombuffer(snapshot(SPEC, state), np.uint8)
    tail = rows.rows(CUT, ROWS)
    np.savez_compressed(path, snapshot=frozen, **decisions(step(SPEC, state, tail), tail.amount))
    splits = draw_splits(**SPLITS)
    np.savez_compressed(SPLITS_FILE, feature=splits.feature, threshold=splits.threshold)
    return 0


if __name__ == "__main__":
    sys.exit(main())
