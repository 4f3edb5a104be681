"""What a start must not wait for: river and scikit-learn take seconds to import."""

from __future__ import annotations

import subprocess
import sys


def test_the_service_starts_without_river_and_scikit_learn() -> None:
    program = (
        "import sys; import detector.kafka.service, detector.lab.replay, detector.cli; "
        "print(sorted({'river', 'sklearn', 'narwhals'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
