"""What an alert's explanation costs: contributions of all members and of each, the choice of reasons, their sentences.

`python -m tests.bench.explain_bench --help`
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from detector.codec.reasons import sentences
from detector.core.batch import ReasonEvidence
from detector.core.compile import made_up
from detector.core.explain import explain
from detector.core.head import FITTED
from detector.core.labels import LabelBatch, learn_labels
from detector.core.operator import contributions, score, step, surprised
from detector.core.spec import Spec
from detector.core.state import new_state
from detector.settings import load
from tests.bench import report

ROWS = 5_000
FRAUDS = 40  # of them, told before the last row is decided: the online head is fitted
AIM_US = 100.0


def figures(times: int, spec: Spec | None = None) -> dict[str, float]:
    """Microseconds an alert, by part and `total`, of the default specification after ROWS rows.

    Where the specification has labels, the online head has learned the FRAUDS rows of the highest amounts.
    """
    spec = load(None, {}).spec() if spec is None else spec
    state, batch = new_state(spec), made_up(spec, ROWS)
    random = np.random.RandomState(1)
    batch.amount[:] = np.exp(random.normal(3.0, 1.0, ROWS))
    step(spec, state, batch.rows(0, ROWS - 1))
    if spec.labels is not None:
        told = np.argsort(batch.amount[:-1])[-FRAUDS:]
        now_ms = np.full(FRAUDS, batch.event_time_ms[-2])
        learn_labels(spec, state, LabelBatch(batch.identity[told], np.ones(FRAUDS, np.bool_), now_ms))
    decided = step(spec, state, batch.rows(ROWS - 1, ROWS))
    assert state.labels is None or state.labels.head["counter"][FITTED], "the head speaks"
    row, amount = decided.features[-1].copy(), float(batch.amount[-1])
    row[state.plan.profiled] *= 5.0
    members = list(zip(state.plan.members, state.members, strict=True))
    scores = np.empty((len(members), 1))
    score(members, row[None, :], scores)
    nats, plan = surprised(state, scores).nats[:, 0], state.plan
    contribution = contributions(spec, state, row, nats)

    def chosen() -> tuple[ReasonEvidence, ...]:
        return explain(spec, plan.tellable, row, amount, state.reference, plan.edges, contribution)

    evidence = chosen()
    parts: dict[str, Callable[[], object]] = {
        "contributions": lambda: contributions(spec, state, row, nats),
        "reasons": chosen,
        "sentences": lambda: sentences(spec, evidence, amount),
    }
    found = {name: median_us(part, times) for name, part in parts.items()}
    found["total"] = sum(found.values())
    for member, arrays in members:
        found[f"of it {member.name}"] = median_us(lambda own=member, held=arrays: own.explain(held, row), times)  # type: ignore[misc]
    return found


def median_us(part: Callable[[], object], times: int) -> float:
    """The median over runs of ten calls each: a busy machine has bad moments."""
    part()
    spent = []
    for _ in range(times):
        began_s = time.perf_counter()
        for _ in range(10):
            part()
        spent.append((time.perf_counter() - began_s) / 10)
    return 1e6 * float(np.median(spent))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=200, help="measurements of ten alerts each (default 200)")
    parser.add_argument("--folder", type=Path, default=report.FOLDER, help="where explain.json goes")
    args = parser.parse_args(arguments)
    labels = load(None, {"DETECTOR_LABELS__ENABLED": "true"}).spec()
    plain, labelled = figures(args.times), figures(args.times, labels)
    rows = [[name, f"{plain[name]:.1f}", f"{labelled[name]:.1f}"] for name in plain]
    columns = ["part", "without labels", "with labels, online head"]
    report.show(f"An alert's explanation, µs; the aim is {AIM_US:.0f} in total", columns, rows)
    path = report.write(
        "explain", {"aim_us": AIM_US, "without_labels_us": plain, "with_labels_us": labelled}, args.folder
    )
    print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
