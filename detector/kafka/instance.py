"""A transactional id that survives restarts.

Law: a process that comes back takes the id of the one that died, so that opening the producer aborts the dead one's
transaction at once. A random id would leave it open for its whole timeout, and stall every `read_committed` reader.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from detector.kafka.errors import ConfigurationRefused

# More processes of one application than this on one host are a mistake.
INSTANCES_MAX = 256


class Instance:
    """This process's name within the application, held for its lifetime. A context manager.

    `instance_id` is the configured one, else the first free of `host-0`, `host-1` and so on, free meaning that no live
    process of this host holds its lock file in `folder`. The kernel drops the lock with the process, kill -9 included;
    only then does the empty file stay. Raises ConfigurationRefused where no lock file can be written, or all are held.
    """

    def __init__(self, application_id: str, configured: str | None = None, folder: Path | None = None) -> None:
        self._lock: int | None = None
        self._path = Path()
        self.instance_id = configured or self._first_free(application_id, folder or Path(tempfile.gettempdir()))
        self.transactional_id = f"{application_id}-{self.instance_id}"

    def _first_free(self, application_id: str, folder: Path) -> str:
        host = socket.gethostname()
        for number in range(INSTANCES_MAX):
            name = f"{host}-{number}"
            path = folder / re.sub(r"[^\w.-]", "_", f"{application_id}-{name}.lock")
            try:
                lock = _locked(path)
            except OSError as error:
                raise ConfigurationRefused(
                    f"expected a lock file that can be written at {path}, found: {error.strerror}; "
                    "set kafka.instance_id, or TMPDIR to another folder"
                ) from error
            if lock is not None:
                self._lock, self._path = lock, path
                return name
        raise ConfigurationRefused(
            f"expected a free instance of {application_id} on {host}, found {INSTANCES_MAX} in use; "
            "set kafka.instance_id"
        )

    def close(self) -> None:
        """Give the name back; safe to call twice."""
        if self._lock is not None:
            with suppress(OSError):  # another user's file stays
                self._path.unlink()  # while it is still held: see `_locked`
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Instance:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _locked(path: Path) -> int | None:
    """The descriptor of the lock file at `path`, held; None where another process holds it.

    A holder removes the file as it lets go: a lock on a file that is no longer the one at `path` is worth nothing.
    """
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), path.stat()):
                return lock
        os.close(lock)
