"""Stands between a parent and its broker process, so that the broker never outlives the parent, even one that is killed
with SIGKILL.

Contract: starts the command, prints its process id on stdout, ends with its exit status. When stdin closes, which is
what the operating system does when the parent dies, the command is killed and the folder after `--remove` is deleted.
On Linux the command also dies with this process: the death signal is tied to the thread that forked, here the main
thread, which lives as long as the process.

Not a death signal set by the parent itself: it would fire when the parent's *thread* that started the broker ends, and
a hook between fork and exec is unsafe in a process with threads. Run by its file name, isolated; imports the standard
library only and starts in 20 ms.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading

_PR_SET_PDEATHSIG = 1  # prctl(2)


def main(argv: list[str]) -> int:
    """Arguments: folder to remove or empty, then the command. Returns its exit status, 128 + signal when killed."""
    remove, *command = argv
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, preexec_fn=_die_with_guard) as process:
        print(process.pid, flush=True)
        orphaned = threading.Event()
        threading.Thread(target=_kill_at_end_of_input, args=(process, orphaned), daemon=True).start()
        status = process.wait()
    if orphaned.is_set() and remove:
        shutil.rmtree(remove, ignore_errors=True)
    return status if status >= 0 else 128 - status


def _kill_at_end_of_input(process: subprocess.Popen[bytes], orphaned: threading.Event) -> None:
    while os.read(0, 1):  # not sys.stdin: its lock would stop the interpreter from ending
        pass
    orphaned.set()
    process.kill()


def _die_with_guard() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
