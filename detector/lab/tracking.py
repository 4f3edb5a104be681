"""Runs of `evaluate`, `train` and `tune` in MLflow: parameters, figures, plots, the model. Offline, SQLite by default.

A store that cannot be reached ends the command before it begins its work. A run that fails is kept, marked as failed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from detector.adapters import tracker
from detector.codec.masking import mask
from detector.lab.errors import NotConfigured

EXPERIMENT = "detector lab"
VALUE_CHARACTERS_MAX = 500  # of a parameter: more is refused by some stores
BATCH = 100  # of parameters, the most that MLflow takes at once


class Run(Protocol):
    """One run of a command; also a context manager."""

    def parameters(self, parameters: Mapping[str, Any]) -> None:
        """What was asked for, besides what was known at the start."""

    def figures(self, figures: Mapping[str, Any]) -> None:
        """What came out: numbers, nested as they may be; what is no finite number is left out."""

    def artifact(self, path: Path, within: str = "") -> None:
        """A file, or all of a folder, kept under `within`."""

    def registered(self, name: str) -> str:
        """The model that was kept, under a name."""
        ...

    @property
    def told(self) -> str:
        """Where it is, for people; empty where nothing is tracked."""
        ...


def run(
    command: str, name: str, parameters: Mapping[str, Any], *, uri: str | None = "", parent: str = ""
) -> TrackedRun | UntrackedRun:
    """A run of `command` called `name`, as a context manager.

    `uri` of the store or server; empty: MLFLOW_TRACKING_URI, else mlflow.db here; None: nothing is tracked. `parent`:
    the id of the run that this one is a part of. Raises NotConfigured: no mlflow, or no such store.
    """
    if uri is None:
        return UntrackedRun()
    return TrackedRun(command, name, parameters, uri, parent)


class UntrackedRun:
    """--no-tracking: takes all, keeps nothing."""

    id = told = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def parameters(self, parameters: Mapping[str, Any]) -> None:
        """Not kept."""

    def figures(self, figures: Mapping[str, Any]) -> None:
        """Not kept."""

    def artifact(self, path: Path, within: str = "") -> None:
        """Not kept."""

    def registered(self, name: str) -> str:
        """Nowhere."""
        return ""


class TrackedRun:
    """A run in MLflow; begun when it is made."""

    def __init__(self, command: str, name: str, parameters: Mapping[str, Any], uri: str, parent: str) -> None:
        with _reached(uri):
            self._client, self.uri = tracker.client(uri)
            found = self._client.get_experiment_by_name(EXPERIMENT)
            experiment = found.experiment_id if found is not None else self._new_experiment()
            tags = {"command": command} | ({"mlflow.parentRunId": parent} if parent else {})
            self.id: str = self._client.create_run(experiment, run_name=mask(name), tags=tags).info.run_id
            self.parameters(parameters)

    def _new_experiment(self) -> str:
        files = files_of(self.uri)
        return str(self._client.create_experiment(EXPERIMENT, None if files is None else files.as_uri()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = "FINISHED" if kind is None else "KILLED" if kind is KeyboardInterrupt else "FAILED"
        with tracker.quiet():
            self._client.set_terminated(self.id, status)

    @property
    def told(self) -> str:
        """Where it is."""
        return f"tracked as run {self.id} in {self.uri}"

    def parameters(self, parameters: Mapping[str, Any]) -> None:
        """Kept as text."""
        from mlflow.entities import Param

        kept = [
            Param(key, mask(str(value))[:VALUE_CHARACTERS_MAX])
            for key, value in _flat(parameters)
            if value is not None and str(value) != ""
        ]
        with tracker.quiet():
            for start in range(0, len(kept), BATCH):
                self._client.log_batch(self.id, params=kept[start : start + BATCH])

    def figures(self, figures: Mapping[str, Any]) -> None:
        """Kept as metrics."""
        with tracker.quiet():
            for key, value in _flat(figures):
                if isinstance(value, bool | int | float) and math.isfinite(value):
                    self._client.log_metric(self.id, key, float(value))

    def artifact(self, path: Path, within: str = "") -> None:
        """Copied to where the store keeps files."""
        log = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        with tracker.quiet():
            log(self.id, str(path), within or None)

    def registered(self, name: str) -> str:
        """Its files under `model` as the next version of the model `name`; where that is found, for people."""
        from mlflow.exceptions import MlflowException

        with tracker.quiet():
            try:
                self._client.get_registered_model(name)
            except MlflowException:
                self._client.create_registered_model(name)
            version = self._client.create_model_version(name, f"runs:/{self.id}/model", self.id).version
        return f"registered as models:/{name}/{version}"


def files_of(uri: str) -> Path | None:
    """The folder for files beside a SQLite file; None where the store has a place of its own."""
    place = uri.removeprefix("sqlite:///")
    return None if place == uri else Path(place).resolve().parent / "mlruns"


@contextmanager
def _reached(uri: str) -> Iterator[None]:
    try:
        with tracker.quiet():
            yield
    except ImportError as error:
        raise NotConfigured(
            f"tracking needs pip install 'streaming-fraud-detector[lab]' ({error}); or say --no-tracking"
        ) from error
    except Exception as error:  # whatever a store, a server or a disk makes mlflow raise
        raise NotConfigured(
            f"--tracking-uri {uri or '(MLFLOW_TRACKING_URI)'}: expected a store of MLflow that can be written, found: "
            f"{str(error).splitlines()[0]}; name another, or say --no-tracking"
        ) from error


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested names as `outer.inner`, in what MLflow allows in a name."""
    for name, value in values.items():
        key = prefix + re.sub(r"[^\w\-. /]", "_", mask(str(name)))
        if isinstance(value, Mapping):
            yield from _flat(value, f"{key}.")
        elif hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
            yield key, value.item()
        else:
            yield key, value
