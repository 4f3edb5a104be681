"""The state of a million cards with all default features, and the time from start to ready.

Every card has its own customer and its own device, so three million entities besides merchants and terminals; each pays
`--rows-a-card` times, spread over 30 days. Start-up is that of the real process against a real broker.

`python -m tests.bench.memory_bench --help`
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.progress import track

from detector.core.batch import TransactionBatch
from detector.core.entities import SLOTS
from detector.core.operator import step
from detector.core.spec import Spec
from detector.core.state import TaskState, new_state
from detector.settings import load
from tests.bench import report
from tests.bench.main_bench import broker, write_config
from tests.bench.service import running

START_MS = 1_735_689_600_000
DAYS_MS = 30 * 86_400_000
BATCH_ROWS = 20_000
MB = 1e6


def keys(values: np.ndarray, salt: int) -> np.ndarray:
    """Well-spread 64-bit keys of small integers."""
    mixed = (values.astype(np.uint64) + np.uint64(salt << 32)) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9) | np.uint64(1)


def batch(spec: Spec, cards: int, rows: int, at: int, count: int, random: np.random.Generator) -> TransactionBatch:
    """`count` rows from row `at` of `rows`, each of a random card."""
    card = random.integers(0, cards, count)
    owner = {"card": card, "customer": card, "device": card}
    spread = {"merchant": 10_000, "terminal": 20_000, "country": 20, "ip": 1_000_000}
    columns = []
    for salt, name in enumerate(spec.keys):
        values = owner.get(name)
        columns.append(keys(random.integers(0, spread.get(name, 10), count) if values is None else values, salt + 1))
    order = np.arange(at, at + count)
    return TransactionBatch(
        offset=order,
        event_time_ms=START_MS + order * DAYS_MS // rows,
        amount=random.gamma(2.0, 30.0, count),
        key=np.array(columns, np.uint64),
        latitude=random.uniform(40.0, 55.0, count),
        longitude=random.uniform(-5.0, 15.0, count),
        numeric=np.empty((len(spec.numeric), count)),
    )


def fill(cards: int, rows_a_card: int) -> tuple[Spec, TaskState, float]:
    """A state that has seen `cards` cards; and µs a row."""
    spec = load(None, {}).spec()
    state = new_state(spec)
    random = np.random.default_rng(1)
    rows = cards * rows_a_card
    spent_s = 0.0
    for at in track(range(0, rows, BATCH_ROWS), "filling the state", disable=not sys.stderr.isatty()):
        made = batch(spec, cards, rows, at, min(BATCH_ROWS, rows - at), random)
        began_s = time.perf_counter()
        step(spec, state, made)
        spent_s += time.perf_counter() - began_s
    return spec, state, 1e6 * spent_s / rows


def start_seconds(times: int) -> list[float]:
    """Seconds from start to /ready, kernels compiled before."""
    found = []
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary, broker() as bootstrap:
        folder = Path(temporary)
        for attempt in range(times + 1):  # the first compiles, and makes the topics
            name = "bench-start"
            config, port = write_config(folder, name, bootstrap, f"{name}-transactions", 100)
            if attempt == 0:
                from tests.integration.support import create_topics

                create_topics(bootstrap, {f"{name}-transactions": 1})
            began_s = time.perf_counter()
            with running(config, port, folder / f"{attempt}.log"):
                found.append(time.perf_counter() - began_s)
    return found[1:]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cards", type=int, default=1_000_000)
    parser.add_argument("--rows-a-card", type=int, default=5)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=report.FOLDER, help="where memory.json goes")
    args = parser.parse_args()
    spec, state, cost_us = fill(args.cards, args.rows_a_card)
    rows = []
    for plan, table in zip(state.plan.entities, state.tables, strict=True):
        size = sum(array.nbytes for array in table)
        slots = int(table.counter[SLOTS])
        rows.append([plan.entity.name, f"{slots:,}", f"{size / MB:.0f}", f"{size / max(slots, 1):.0f}"])
    tables = sum(array.nbytes for table in state.tables for array in table)
    rows.append(["models and profiles", "", f"{(state.nbytes() - tables) / MB:.0f}", ""])
    rows.append(["all", "", f"{state.nbytes() / MB:.0f}", ""])
    report.show(f"State, {len(spec.features)} default features, MB", ["entity", "entities", "MB", "bytes each"], rows)
    names = [plan.entity.name for plan in state.plan.entities]
    cards = state.tables[names.index("card")]
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    starts = start_seconds(args.starts) if args.starts else []
    started = statistics.median(starts) if starts else float("nan")
    report.show(
        "Process",
        ["peak resident MB", "step µs a row", "start to ready s (median)"],
        [[f"{resident / MB:.0f}", f"{cost_us:.2f}", f"{started:.2f}"]],
    )
    path = report.write(
        "memory",
        {
            "cards": args.cards,
            "state_bytes": state.nbytes(),
            "card_bytes": sum(array.nbytes for array in cards),
            "peak_resident_bytes": resident,
            "step_us": cost_us,
            "start_to_ready_s": started,
            "starts_s": starts,
        },
        args.folder,
    )
    print(f"written to {path}")


if __name__ == "__main__":
    main()
