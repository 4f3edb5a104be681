"""The main job on one real broker: how many transactions a second, what each step costs, how soon an alert can be read.

(a) bare `consume()`, the limit of the Python client; (b) the detector, exactly once, default features, 25 × 8 trees
alone, as (c) has them; (d) the detector with all its default models; (c) the usual loop with river. Rounds a, b, d, c,
a, …; the table shows medians, so that a noisy machine is noisy for all. Then latency, all default models: 5,000
transactions a second, from `produce` to the alert readable as `read_committed`.

`python -m tests.bench.main_bench --help`
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from detector.kafka.embedded import EmbeddedBroker
from tests.bench import report
from tests.bench.latency import measure_latency
from tests.bench.service import running

ALERTS_PER_DAY = 20  # of about 9,700 transactions: 0.2 %, as many as people may look at in a large stream
TREES_ALONE = "".join(
    f"[models.{name}]\nenabled = false\n"
    for name in ("isolation_forest", "projections_range", "projections_asinh", "mahalanobis")
)
POLL_S = 0.25  # reading the metrics costs the process milliseconds
TOPIC = f"bench-{os.getpid()}-transactions"


@contextmanager
def broker() -> Iterator[str]:
    """Bootstrap servers: KAFKA_BOOTSTRAP_SERVERS, else an embedded broker with the default JIT and 1 GB."""
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        yield given
        return
    defaults = {"log.cleaner.backoff.ms": "15000"}  # Kafka's own; the embedded broker cleans oftener, for tests
    with EmbeddedBroker(fast_start=False, heap="1g", properties=defaults) as embedded:
        yield embedded.bootstrap_servers


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_config(folder: Path, name: str, bootstrap: str, topic: str, alerts_per_day: int) -> tuple[Path, int]:
    """A detector.toml of its own application id, all else default."""
    port = free_port()
    path = folder / f"{name}.toml"
    path.write_text(
        f"""application_id = "{name}"
[kafka]
bootstrap_servers = "{bootstrap}"
[topics]
transactions = "{topic}"
alerts = "{name}-alerts"
dead_letters = "{name}-dead-letters"
[decision]
alerts_per_day = {alerts_per_day}
[http]
port = {port}
[log]
format = "json"
"""
    )
    return path, port


def contender(who: str, bootstrap: str, topic: str, count: int) -> dict[str, float]:
    """Runs (a) or (c)."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.bench.contenders", who, bootstrap, topic, str(count)]
    figures: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return figures


def detector(folder: Path, bootstrap: str, topic: str, count: int, name: str, models: str) -> dict[str, float]:
    """Runs (b) or (d): from the first commit seen to the last, and CPU seconds by step."""
    config, port = write_config(folder, f"bench-{os.getpid()}-{name}", bootstrap, topic, ALERTS_PER_DAY)
    with config.open("a") as file:
        file.write(models)
    with running(config, port, folder / f"{name}.log", wait=False) as service:
        first: tuple[float, float] | None = None
        while True:
            service.check()
            figures = service.figures()
            now_s = time.perf_counter()
            done = sum(value for key, value in figures.items() if key.startswith("detector_transactions_total"))
            if done and first is None:
                first = (now_s, done)
            if done >= count and first is not None:
                break
            time.sleep(POLL_S)
        steps = {
            key.split("step=")[1].rstrip("}"): value
            for key, value in figures.items()
            if key.startswith("detector_step_cpu_seconds_total{")
        }
        if done == first[1]:
            raise SystemExit(f"expected to see the detector at work, found all {count:,} done at once: raise --count")
        return {"records": done - first[1], "seconds": now_s - first[0], "all": done, **steps}


def throughput(folder: Path, bootstrap: str, args: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """All rounds of all contenders."""
    subprocess.run(
        [
            *(sys.executable, "-m", "producers", "simulate", "--bootstrap-servers", bootstrap, "--topic", TOPIC),
            *("--labels-topic", f"{TOPIC}-labels", "--partitions", "1", "--count", str(args.count), "--quiet"),
        ],
        check=True,
    )
    runs: dict[str, list[dict[str, float]]] = {"consume": [], "trees": [], "detector": [], "river": []}
    for round_ in range(args.rounds):
        print(f"round {round_ + 1} of {args.rounds}", file=sys.stderr, flush=True)
        runs["consume"].append(contender("bare", bootstrap, TOPIC, args.count))
        for who, models in (("trees", TREES_ALONE), ("detector", "")):
            runs[who].append(detector(folder, bootstrap, TOPIC, args.count, f"{who}-{round_}", models))
        runs["river"].append(contender("river", bootstrap, TOPIC, min(args.count, args.river_count)))
    return runs


def rate(runs: list[dict[str, float]]) -> float:
    """Median records a second."""
    return statistics.median(run["records"] / run["seconds"] for run in runs)


def costs(runs: list[dict[str, float]]) -> dict[str, float]:
    """Median CPU µs a transaction, by step."""
    names = sorted(runs[0].keys() - {"records", "seconds", "all"})
    return {step: statistics.median(1e6 * run[step] / run["all"] for run in runs) for step in names}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_500_000, help="transactions in the topic")
    parser.add_argument("--river-count", type=int, default=60_000, help="of these, how many the river loop reads")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency-rate", type=int, default=5_000, help="transactions a second")
    parser.add_argument("--latency-seconds", type=float, default=30.0)
    parser.add_argument("--folder", type=Path, default=report.FOLDER, help="where main.json goes")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary, broker() as bootstrap:
        folder = Path(temporary)
        runs = throughput(folder, bootstrap, args)
        print("latency", file=sys.stderr, flush=True)
        latency = measure_latency(folder, bootstrap, args.latency_rate, args.latency_seconds, write_config)
    consume, ours, whole, river = (rate(runs[who]) for who in ("consume", "trees", "detector", "river"))
    rows = [
        ["(a) consume(), nothing else", f"{consume:,.0f}", f"{consume / consume:.2f}", f"{consume / river:.1f}"],
        ["(b) detector, exactly once, 25 × 8 trees", f"{ours:,.0f}", f"{ours / consume:.2f}", f"{ours / river:.1f}"],
        ["(d) the same, all default models", f"{whole:,.0f}", f"{whole / consume:.2f}", f"{whole / river:.1f}"],
        ["(c) poll, json.loads, river 25 × 8", f"{river:,.0f}", f"{river / consume:.2f}", "1.0"],
    ]
    report.show("Transactions a second, one partition", ["who", "tx/s", "÷ (a)", "÷ (c)"], rows)
    steps, all_steps = costs(runs["trees"]), costs(runs["detector"])
    report.show(
        "CPU µs a transaction",
        ["step", "(b)", "(d)"],
        [[step, f"{cost:.2f}", f"{all_steps[step]:.2f}"] for step, cost in steps.items()],
    )
    report.show(
        f"produce → alert readable as read_committed, {args.latency_rate:,} transactions/s, ms",
        ["alerts", "p50", "p90", "p99", "max"],
        [[f"{latency['alerts']:.0f}", *(f"{latency[name]:.1f}" for name in ("p50", "p90", "p99", "max"))]],
    )
    path = report.write(
        "main",
        {
            "consume_per_s": consume,
            "detector_per_s": ours,
            "detector_all_models_per_s": whole,
            "river_per_s": river,
            "detector_to_consume": ours / consume,
            "detector_to_river": ours / river,
            "latency_p50_ms": latency["p50"],
            "latency_p99_ms": latency["p99"],
            "step_cpu_us": steps,
            "step_cpu_us_all_models": all_steps,
            "runs": runs,
        },
        args.folder,
    )
    print(f"written to {path}")


if __name__ == "__main__":
    main()
