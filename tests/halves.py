"""All tests in two processes: those that wait for brokers and processes, and beside them those that compute.

`python -m tests.halves`, or with `--last-failed` what failed then. The former print as they go, the latter when the
former are done; each keeps what failed in a cache of its own. The exit code is pytest's, the graver of the two. Any
other arguments are for one pytest over all tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
WAITING = "tests/integration"
AGAIN = ("--last-failed", "--last-failed-no-failures=none")
CACHE = ".pytest_cache/computing"
NICENESS = 15  # of those that compute: the others have deadlines
NONE_TO_RUN = 5  # pytest's exit code: what failed last is in the other half


def main(arguments: Sequence[str]) -> int:
    """The exit code."""
    pytest = [sys.executable, "-m", "pytest"]
    if list(arguments) not in ([], ["--last-failed"]):
        return subprocess.run([*pytest, *arguments], cwd=ROOT, check=False).returncode
    again = AGAIN if arguments else ()
    with tempfile.TemporaryFile() as output:
        computing = subprocess.Popen(
            ["nice", "-n", str(NICENESS), *pytest, f"--ignore={WAITING}", "-o", f"cache_dir={CACHE}", *again],
            cwd=ROOT, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            waiting = subprocess.run([*pytest, WAITING, *again], cwd=ROOT, check=False).returncode
            codes = [waiting, computing.wait()]
        finally:
            computing.kill()
            computing.wait()
        output.seek(0)
        sys.stdout.flush()
        while block := output.read(1 << 16):
            os.write(sys.stdout.fileno(), block)
    print(f"{WAITING} ended with exit code {codes[0]}, all other tests with {codes[1]}", flush=True)
    if codes == [NONE_TO_RUN, NONE_TO_RUN]:
        return NONE_TO_RUN
    return max(0 if code == NONE_TO_RUN else abs(code) for code in codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
