"""All tests in two processes: those that wait for brokers and processes, and beside them those that compute.

`python -m tests.halves`. The former print as they go, the latter when the former are done; each keeps what failed in a
cache of its own. With `--failed-again` what failed runs once more, alone: tests that kill brokers race the machine now
and then, so what failed must fail twice, and is named either way. The last line is pytest's own, over all tests; the
exit code is pytest's, the graver of the two. Any other arguments are for one pytest over all tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parents[1]
WAITING, COMPUTING = 0, 1
HALVES = (
    ["tests/integration"],
    ["--ignore=tests/integration", "-o", "cache_dir=.pytest_cache/computing"],
)
FAILED_AGAIN = "--failed-again"
KINDS = ("tests", "failures", "errors", "skipped")  # as JUnit's reports have them
NICENESS = 15  # of those that compute: the others have deadlines


class Half:
    """One run of one half, in a process of its own."""

    def __init__(self, half: int, folder: Path, *options: str, output: IO[bytes] | None = None) -> None:
        self._report = folder / f"{half}.xml"
        self._report.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", *HALVES[half], f"--junitxml={self._report}", *options]
        if half == COMPUTING:
            command = ["nice", "-n", str(NICENESS), *command]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT if output else None)

    def outcomes(self) -> Counter[str]:
        """How many tests passed, failed, ended in an error, were skipped; nothing where pytest died before."""
        counted: Counter[str] = Counter()
        if self._report.exists():
            for suite in ET.parse(self._report).iter("testsuite"):
                counted += Counter({kind: int(suite.get(kind, 0)) for kind in KINDS})
        bad = {"failed": counted["failures"], "error": counted["errors"], "skipped": counted["skipped"]}
        return Counter({**bad, "passed": counted["tests"] - sum(bad.values())})


def run_both(folder: Path) -> list[Half]:
    """Both halves, side by side, to their ends."""
    with tempfile.TemporaryFile() as output:
        halves = [Half(WAITING, folder), Half(COMPUTING, folder, output=output)]
        try:
            for half in halves:
                half.process.wait()
        finally:
            for half in halves:
                half.process.kill()
                half.process.wait()
        output.seek(0)
        sys.stdout.flush()
        while block := output.read(1 << 16):
            os.write(sys.stdout.fileno(), block)
    return halves


def main(arguments: Sequence[str]) -> int:
    """The exit code."""
    if list(arguments) not in ([], [FAILED_AGAIN]):
        return subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=ROOT, check=False).returncode
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        halves = run_both(folder)
        codes = [half.process.returncode for half in halves]
        outcomes = [half.outcomes() for half in halves]
        for half, code in enumerate(codes):
            if code != 0 and arguments:
                print("some tests failed, see above; running these once more", flush=True)
                again = Half(half, folder, "--last-failed")
                codes[half] = again.process.wait()
                passed = Counter({"passed": outcomes[half]["passed"], "skipped": outcomes[half]["skipped"]})
                outcomes[half] = passed + again.outcomes()
    total = sum(outcomes, Counter[str]())
    said = ", ".join(f"{total[kind]} {kind}" for kind in ("failed", "passed", "skipped", "error") if total[kind])
    print(f"{f' {said} in {time.monotonic() - began_s:.2f}s ':=^80}", flush=True)
    return max(abs(code) for code in codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
