"""What an alert's explanation costs: contributions of all members and of each, the choice of reasons, their sentences.

`python -m tests.bench.explain_bench --help`
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from detector.codec.reasons import sentences
from detector.core.batch import ReasonEvidence
from detector.core.compile import made_up
from detector.core.explain import explain
from detector.core.operator import contributions, score, step, surprised
from detector.core.spec import Spec
from detector.core.state import new_state
from detector.settings import load

ROWS = 5_000
AIM_US = 100.0


def figures(times: int, spec: Spec | None = None) -> dict[str, float]:
    """Microseconds an alert, by part and `total`, of the default specification after ROWS rows."""
    spec = load(None, {}).spec() if spec is None else spec
    state, batch = new_state(spec), made_up(spec, ROWS)
    random = np.random.RandomState(1)
    batch.amount[:] = np.exp(random.normal(3.0, 1.0, ROWS))
    decided = step(spec, state, batch)
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
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=200, help="measurements of ten alerts each (default 200)")
    found = figures(parser.parse_args(arguments).times)
    for name, microseconds in found.items():
        print(f"{name:28} {microseconds:8.1f} us an alert")
    print(f"{'aim':28} {AIM_US:8.1f} us an alert")
    return 0


if __name__ == "__main__":
    sys.exit(main())
