"""The benches, tiny: they must not rot between the times that someone looks at their figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def bench(module: str, folder: Path, servers: str, *arguments: str) -> dict[str, float]:
    """Runs a bench as a user would; returns the figures that it wrote."""
    command = [sys.executable, "-m", f"tests.bench.{module}", "--folder", str(folder), *arguments]
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": servers}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    figures: dict[str, float] = json.loads((folder / f"{module.removesuffix('_bench')}.json").read_text())
    return figures


def test_main_bench_writes_its_figures(kafka: str, tmp_path: Path) -> None:
    figures = bench(
        *("main_bench", tmp_path, kafka, "--count", "300000", "--river-count", "3000", "--rounds", "1"),
        *("--latency-seconds", "4", "--latency-rate", "2000"),
    )
    for name in ("consume_per_s", "detector_per_s", "river_per_s", "latency_p50_ms", "latency_p99_ms"):
        assert figures[name] > 0, name


def test_memory_bench_writes_its_figures(kafka: str, tmp_path: Path) -> None:
    figures = bench("memory_bench", tmp_path, kafka, "--cards", "20000", "--rows-a-card", "2", "--starts", "0")
    assert 20_000 * 100 < figures["state_bytes"] < 20_000 * 2_000


def test_lab_bench_writes_its_figures(kafka: str, tmp_path: Path) -> None:
    figures = bench("lab_bench", tmp_path, kafka, "--rows", "5000", "--only", "backtest_against")
    names = [name for name in figures if name.endswith("_peak_bytes")]
    assert "backtest_against_peak_bytes" in names
    assert all(0 < figures[name] < 2e9 for name in names)
