"""Nothing outlives the demo: real processes, killed in every way there is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from detector.demo.children import Child, ChildEnded, end_all, readable, tail

PYTHON = [sys.executable, "-I", "-S", "-c"]
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
POLITE = "import time; print('up', flush=True); time.sleep(60)"
WITH_CHILD = (
    "import subprocess, sys, time;"
    "p = subprocess.Popen([sys.executable, '-I', '-S', '-c', 'import time; time.sleep(60)']);"
    "print(p.pid, flush=True); time.sleep(60)"
)


def begin(code: str, folder: Path, finishes: bool = False) -> Child:
    return Child("a child", [*PYTHON, code], folder, os.environ, finishes)


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.02)


def lives(pid: int) -> bool:
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(found.strip()) and not found.startswith("Z")


def test_a_child_that_is_asked_ends(tmp_path: Path) -> None:
    child = begin(POLITE, tmp_path)
    wait_until(lambda: child.last_words() == ["up"], "the child speaks")
    child.check()
    assert child.running
    assert child.end(10.0) == 128 + signal.SIGTERM
    assert not child.running
    assert child.end(10.0) == 128 + signal.SIGTERM
    assert tmp_path.exists()


def test_a_child_that_will_not_end_is_killed(tmp_path: Path) -> None:
    child = begin(STUBBORN, tmp_path)
    wait_until(lambda: child.last_words() == ["up"], "the child speaks")
    assert child.end(0.3) == 128 + signal.SIGKILL
    assert tmp_path.exists()


def test_what_a_child_has_started_dies_with_it(tmp_path: Path) -> None:
    child = begin(WITH_CHILD, tmp_path)
    wait_until(lambda: bool(child.last_words()), "the child speaks")
    grandchild = int(child.last_words()[0])
    child.kill()
    child.end(10.0)
    wait_until(lambda: not lives(grandchild), "the grandchild is gone")


def test_all_end_together(tmp_path: Path) -> None:
    children = [begin(STUBBORN, tmp_path) for _ in range(3)]
    wait_until(lambda: children[0].last_words().count("up") == 3, "all speak")
    begun_s = time.monotonic()
    end_all(children, 0.5, lambda: False)
    assert 0.4 < time.monotonic() - begun_s < 5.0
    assert not any(child.running for child in children)


def test_in_a_hurry_nobody_is_waited_for(tmp_path: Path) -> None:
    child = begin(STUBBORN, tmp_path)
    wait_until(lambda: child.last_words() == ["up"], "the child speaks")
    end_all([child], 60.0, lambda: True)
    assert not child.running


@pytest.mark.parametrize(("status", "exit_code"), [(0, 70), (1, 70), (65, 65), (69, 69), (78, 78), (130, 70)])
def test_a_child_that_ends_by_itself_is_named_with_its_last_words(tmp_path: Path, status: int, exit_code: int) -> None:
    child = begin(f"print('one'); print('two'); raise SystemExit({status})", tmp_path)
    wait_until(lambda: not child.running, "the child ends")
    with pytest.raises(ChildEnded, match=r"^a child (?s:.*)one\n  two$") as found:
        child.check()
    assert found.value.exit_code == exit_code
    child.end(0.0)


def test_a_child_that_is_to_finish_may(tmp_path: Path) -> None:
    child = begin("", tmp_path, finishes=True)
    wait_until(lambda: child.finished, "the child finishes")
    child.check()
    child.end(0.0)


def test_a_command_that_is_not_there_is_said(tmp_path: Path) -> None:
    child = Child("ghost", [str(tmp_path / "nothing")], tmp_path, os.environ)
    wait_until(lambda: not child.running, "the guard ends")
    with pytest.raises(ChildEnded, match=r"cannot start .*nothing: No such file"):
        child.check()
    child.end(0.0)


def test_when_the_demo_is_killed_its_children_and_its_folder_go(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "deep").mkdir(parents=True)
    code = (
        "import os, pathlib, sys, time\n"
        "from detector.demo.children import Child\n"
        f"folder = pathlib.Path({str(folder)!r})\n"
        f"child = Child('a child', [sys.executable, '-I', '-S', '-c', {WITH_CHILD!r}], folder, os.environ)\n"
        "time.sleep(60)\n"
    )
    demo = subprocess.Popen([sys.executable, "-c", code])
    log = folder / "a-child.log"
    wait_until(lambda: bool(tail(log)), "the grandchild has started")
    grandchild = int(tail(log)[0])
    assert lives(grandchild)
    demo.kill()
    demo.wait()
    wait_until(lambda: not lives(grandchild), "the grandchild is gone")
    wait_until(lambda: not folder.exists(), "the folder is gone")


def test_the_end_of_a_long_log_begins_with_a_whole_line(tmp_path: Path) -> None:
    log = tmp_path / "long.log"
    log.write_text("".join(f"line {number} {'x' * 100}\n\n" for number in range(1_000)))
    lines = tail(log)
    assert lines[0].startswith("line ")
    assert lines[-1].startswith("line 999 ")
    assert len(lines) < 200
    assert tail(tmp_path / "missing.log") == []


def test_structured_lines_are_read_out() -> None:
    line = '{"event": "starting", "level": "info", "logger": "x", "time": "now", "http": "http://127.0.0.1:1"}'
    assert readable(line) == "info starting http=http://127.0.0.1:1"
    assert readable("Traceback (most recent call last):") == "Traceback (most recent call last):"
    assert readable("[1, 2]") == "[1, 2]"
