"""The hidden place beside an output, a name for each process, in which the output is made until it is whole."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

SUFFIX = ".part"


def beside(path: Path) -> Path:
    """A file or folder that is not there yet; what killed processes left of the same output is removed."""
    prefix = f".{path.name}."
    with suppress(OSError):
        for left in path.parent.iterdir():
            number = left.name.removeprefix(prefix).removesuffix(SUFFIX)
            if left.name == f"{prefix}{number}{SUFFIX}" and number.isdecimal() and not _at_work(int(number)):
                _removed(left)
    return path.with_name(f"{prefix}{os.getpid()}{SUFFIX}")


def _at_work(number: int) -> bool:
    """Whether another process has this number."""
    if number == os.getpid():
        return False
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _removed(left: Path) -> None:
    if left.is_dir() and not left.is_symlink():
        shutil.rmtree(left, ignore_errors=True)
    else:
        with suppress(OSError):
            left.unlink()
