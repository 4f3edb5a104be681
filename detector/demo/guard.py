"""Stands between the demo and one of its processes, so that nothing outlives the demo, even one killed with SIGKILL.

Contract: starts the command in a session of its own, so that Ctrl-C in the terminal is the demo's to handle; passes
SIGTERM on; ends with the command's exit status. A byte on stdin kills the command's process group. When stdin closes,
which is what the operating system does when the demo dies, the group is killed and the folder is removed.

Run by its file name, isolated; imports the standard library only and starts in 20 ms.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

_PR_SET_PDEATHSIG = 1  # prctl(2)
# The broker's own guard needs a moment to end Java, which may still write.
_REMOVE_TRIES, _REMOVE_EVERY_S = 25, 0.2


def main(argv: list[str]) -> int:
    """Arguments: the folder, then the command. Returns its exit status, 128 + signal when it was killed."""
    folder, *command = argv
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    asked: list[int] = []  # a SIGTERM may come before there is a process to pass it on to
    signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_prepare)
    except OSError as error:
        print(f"cannot start {command[0]}: {error.strerror}", file=sys.stderr)
        return 127

    def pass_on(number: int, _frame: FrameType | None) -> None:
        process.send_signal(number)

    signal.signal(signal.SIGTERM, pass_on)
    if asked:
        process.terminate()
    orphaned = threading.Event()
    threading.Thread(target=_kill_when_told, args=(process, orphaned), daemon=True).start()
    status = process.wait()
    if orphaned.is_set():
        _remove(Path(folder))
    return status if status >= 0 else 128 - status


def _kill_when_told(process: subprocess.Popen[bytes], orphaned: threading.Event) -> None:
    if not os.read(0, 1):  # not sys.stdin: its lock would stop the interpreter from ending
        orphaned.set()
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _remove(folder: Path) -> None:
    """Until it stays away."""
    for _ in range(_REMOVE_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(_REMOVE_EVERY_S)
        if not folder.exists():
            return


def _prepare() -> None:
    """In the child: default signals again, and die with the guard, should somebody kill that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
