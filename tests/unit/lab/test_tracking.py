"""Runs in MLflow: what is kept, what is not, and stores that cannot be reached."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.adapters import tracker
from detector.lab import tracking
from detector.lab.errors import NotConfigured


def found(uri: str, run_id: str) -> Any:
    with tracker.quiet():
        return tracker.client(uri)[0].get_run(run_id)


def test_a_run_keeps_parameters_figures_and_files(mlflow_uri: str, tmp_path: Path) -> None:
    (tmp_path / "plot.png").write_bytes(b"picture")
    with tracking.run("detector lab train", "forest on a.csv", {"trees": 9, "card": None}, uri=mlflow_uri) as run:
        run.parameters({"model": {"depth": 3, "note": "of 4111111111111111"}})
        run.figures({"ap": 0.5, "test": {"recall": np.float64(0.25), "curve": [1, 2]}, "bad": float("nan"), "n": 3})
        run.artifact(tmp_path, "report")
        assert run.told == f"tracked as run {run.id} in {mlflow_uri}"
    kept = found(mlflow_uri, run.id)
    assert kept.data.params == {"trees": "9", "model.depth": "3", "model.note": "of ************1111"}
    assert kept.data.metrics == {"ap": 0.5, "test.recall": 0.25, "n": 3.0}
    assert kept.data.tags["command"] == "detector lab train"
    assert (kept.info.status, kept.info.run_name) == ("FINISHED", "forest on a.csv")
    files = tracking.files_of(mlflow_uri)
    assert files is not None
    assert [path.read_bytes() for path in files.rglob(f"{run.id}/artifacts/report/plot.png")] == [b"picture"]


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_run_that_fails_says_so(mlflow_uri: str, error: type[BaseException], status: str) -> None:
    with pytest.raises(error), tracking.run("detector lab tune", "n", {}, uri=mlflow_uri) as run:  # noqa: PT012
        with tracking.run("detector lab tune", "trial 0", {}, uri=mlflow_uri, parent=run.id) as child:
            child.figures({"ap": 1})
        raise error
    assert found(mlflow_uri, run.id).info.status == status
    assert found(mlflow_uri, child.id).data.tags["mlflow.parentRunId"] == run.id


def test_without_tracking_nothing_is_imported_or_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tracker, "client", None)
    with tracking.run("detector lab train", "n", {"a": 1}, uri=None) as run:
        run.parameters({"a": 1})
        run.figures({"b": 1})
        run.artifact(tmp_path)
    assert run.told == ""
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_be_reached_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no database, but long enough to be looked at as one " * 20)
    for uri in (f"sqlite:///{tmp_path}/file", "ftp://nowhere"):
        with pytest.raises(NotConfigured, match=r"expected a store of MLflow .* or say --no-tracking"):
            tracking.run("detector lab train", "n", {}, uri=uri)
