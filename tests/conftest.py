"""Fixtures that every kind of test may use: the broker of the run, a broker of its own, names nobody else has."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from detector.kafka.embedded import EmbeddedBroker
from detector.kafka.embedded_jars import KAFKA_VERSION_TO_KILL, Progress, class_path
from tests.broker import ChosenBroker, chosen_broker

# How long an example takes says more of the machine than of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

_CHOSEN = pytest.StashKey[ChosenBroker]()


@pytest.fixture(scope="session")
def say(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Prints a line for the person who watches, past pytest's capture."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def print_now(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{text}", end="", flush=True)

    return print_now


@pytest.fixture(scope="session")
def broker_jars(say: Callable[[str], None]) -> list[Path]:
    """Jars of the embedded broker; the first run of all fetches them, visibly."""
    return class_path(_progress(say))


def _progress(say: Callable[[str], None]) -> Progress:
    return lambda text, done, total: say(f"{text}: {done}/{total}") if done % 10 == 0 else None


@pytest.fixture(scope="session")
def kafka(pytestconfig: pytest.Config, say: Callable[[str], None]) -> Iterator[str]:
    """Bootstrap servers of the broker that this run's tests share: take names from `unique_name` or `topic_names`."""
    with chosen_broker(say) as broker:
        pytestconfig.stash[_CHOSEN] = broker
        yield broker.bootstrap_servers


@pytest.fixture
def own_broker(say: Callable[[str], None]) -> Iterator[EmbeddedBroker]:
    """A broker for one test, which may kill and restart it."""
    class_path(_progress(say), KAFKA_VERSION_TO_KILL)
    with EmbeddedBroker(version=KAFKA_VERSION_TO_KILL) as broker:
        yield broker


@pytest.fixture
def unique_name() -> Callable[[str], str]:
    """Makes a name of its own for a topic or a group: the base, a hyphen, eight random characters."""
    return lambda base: f"{base}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def topic_names(unique_name: Callable[[str], str]) -> dict[str, str]:
    """An `application_id` and one name for each public topic, all ending alike and used by this test only."""
    ending = unique_name("")
    roles = ("transactions", "alerts", "decisions", "dead-letters", "labels")
    names = {role.replace("-", "_"): role + ending for role in roles}
    return {"application_id": "fraud-detector" + ending, **names}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the broker in the report: a green run says what it ran on."""
    chosen = config.stash.get(_CHOSEN, None)
    if chosen is not None:
        terminalreporter.write_line(f"kafka: {chosen.bootstrap_servers} ({chosen.what})")


@pytest.fixture(scope="session")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """MLflow's tables in a SQLite file that this run's tests share, for they take seconds to make: use own names."""
    from detector.adapters import tracker

    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"
    with tracker.quiet():
        tracker.client(uri)
    return uri
