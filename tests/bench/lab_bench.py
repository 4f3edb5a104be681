"""Time and peak memory of the lab's commands on a file that need not fit into memory.

The file is simulated (`producers simulate`): 10 M rows take 2.9 GB, the truth of each stands in it and, once more, in a
file of labels. Each command runs in a process of its own, whose peak resident memory is told by the kernel.

`python -m tests.bench.lab_bench --help`
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import report

MB = 1e6
BUDGET_BYTES = 2e9  # for 10 M rows


def simulated(folder: Path, count: int) -> Path:
    """Rows with their truth as `is_fraud`; beside them `labels.jsonl` of all, `frauds.jsonl` of the frauds alone."""
    bare, rows = folder / "bare.jsonl", folder / "transactions.jsonl"
    simulate = ["simulate", "--count", str(count), "--label-genuine-share", "1", "--quiet", "--output", str(bare)]
    subprocess.run([sys.executable, "-m", "producers", *simulate], check=True)
    labels = bare.with_suffix(".labels.jsonl").rename(folder / "labels.jsonl")
    with (
        bare.open("rb") as told, labels.open("rb") as truths,
        rows.open("wb") as whole, (folder / "frauds.jsonl").open("wb") as frauds,
    ):  # fmt: skip
        for row, truth in zip(told, truths, strict=True):  # in one order, for all labels are as late
            is_fraud = b'"is_fraud":true' in truth
            whole.write(row.rstrip()[:-1] + b',"is_fraud":%d}\n' % is_fraud)
            if is_fraud:
                frauds.write(truth)
    bare.unlink()
    return rows


def commands(rows: Path, folder: Path) -> dict[str, list[str]]:
    """Name → arguments of `detector lab`, each into a folder of its own."""
    labels, frauds = str(folder / "labels.jsonl"), str(folder / "frauds.jsonl")
    current = folder / "current.toml"
    current.write_text("[decision]\nalerts_per_day = 50\n")
    streaming = ["--config", str(current), "--label", "is_fraud", "--model", "streaming", "--no-tracking"]
    found = {
        "explore": ["explore", str(rows)],
        "evaluate": ["evaluate", str(rows), *streaming],
        "backtest": ["backtest", str(rows), "--labels", frauds],
        "backtest_labelled": ["backtest", str(rows), "--labels", labels],
        "backtest_against": ["backtest", str(rows), "--labels-column", "is_fraud", "--against", str(current)],
    }
    return {name: [*arguments, "--output", str(folder / name)] for name, arguments in found.items()}


def measured(arguments: list[str]) -> tuple[float, float]:
    """Seconds and peak bytes of one command. Raises SystemExit with its words where it fails."""
    began_s = time.monotonic()
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            [sys.executable, "-m", "detector", "lab", *arguments], stdout=subprocess.DEVNULL, stderr=said
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            said.seek(0)
            raise SystemExit(f"{' '.join(arguments)}: {said.read()[-2000:].decode(errors='replace')}")
    return time.monotonic() - began_s, usage.ru_maxrss * 1024


def main() -> None:
    """Simulate, run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of the file")
    parser.add_argument("--only", nargs="*", help="these commands")
    parser.add_argument("--folder", type=Path, default=report.FOLDER, help="where lab.json goes")
    asked = parser.parse_args()
    figures: dict[str, object] = {"rows": asked.rows}
    table = []
    with tempfile.TemporaryDirectory() as folder:
        rows = simulated(Path(folder), asked.rows)
        for name, arguments in commands(rows, Path(folder)).items():
            if asked.only and name not in asked.only:
                continue
            seconds, peak_bytes = measured(arguments)
            figures |= {f"{name}_s": round(seconds, 1), f"{name}_peak_bytes": peak_bytes}
            table.append([name, f"{seconds:,.1f}", f"{asked.rows / seconds:,.0f}", f"{peak_bytes / MB:,.0f}"])
    title = f"{asked.rows:,} rows; at most {BUDGET_BYTES / MB:,.0f} MB are allowed for 10 M"
    report.show(title, ["command", "seconds", "rows/s", "peak MB"], table)
    print(report.write("lab", figures, asked.folder))


if __name__ == "__main__":
    main()
