"""Instance names: stable over restarts, never shared by two live processes."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

from detector.kafka.instance import Instance

HOLD = """
import sys, time
from pathlib import Path
from detector.kafka.instance import Instance

own = Instance("app", None, Path(sys.argv[1]))
print(own.instance_id, flush=True)
time.sleep(60)
"""


def test_the_first_free_number_is_taken_and_given_back(tmp_path: Path) -> None:
    first, second = Instance("app", None, tmp_path), Instance("app", None, tmp_path)
    other = Instance("other", None, tmp_path)
    assert first.instance_id.endswith("-0")
    assert second.instance_id.endswith("-1")
    assert other.instance_id == first.instance_id
    assert first.transactional_id == f"app-{first.instance_id}"
    first.close()
    first.close()
    with Instance("app", None, tmp_path) as again:
        assert again.instance_id == first.instance_id
    second.close()
    other.close()
    assert list(tmp_path.iterdir()) == []


def test_names_taken_and_given_back_in_a_hurry_are_never_shared(tmp_path: Path) -> None:
    held: set[str] = set()
    shared: list[str] = []
    guard = threading.Lock()

    def hurry() -> None:
        for _ in range(200):
            with Instance("app", None, tmp_path) as one:
                with guard:
                    if one.instance_id in held:
                        shared.append(one.instance_id)
                    held.add(one.instance_id)
                time.sleep(0)
                with guard:
                    held.remove(one.instance_id)

    threads = [threading.Thread(target=hurry) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shared == []
    assert list(tmp_path.iterdir()) == []


def test_a_configured_name_needs_no_lock(tmp_path: Path) -> None:
    with Instance("app", "blue", tmp_path) as one, Instance("app", "blue", tmp_path) as two:
        assert one.transactional_id == two.transactional_id == "app-blue"
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_its_name_to_the_next(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        with Instance("app", None, tmp_path) as other:
            assert other.instance_id != name
        process.kill()
        process.wait()
        with Instance("app", None, tmp_path) as heir:
            assert heir.instance_id == name
