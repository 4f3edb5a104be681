"""A trained model at an MLflow URI: `runs:/RUN/model`, `models:/NAME/VERSION`. Downloaded, read, and gone from disk.

Needs mlflow-skinny, which is imported for such a URI alone. A URI is asked once a process: a version that moves on
meanwhile is taken up by the next start.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from detector.adapters.trained_file import CARD, Artifact, TrainedError, read

RUNS, MODELS = "runs:/", "models:/"


def is_uri(path: str) -> bool:
    """Whether it names a model in MLflow."""
    return path.startswith((RUNS, MODELS))


@cache
def fetch(uri: str, tracking_uri: str = "") -> Artifact:
    """The model there. `tracking_uri` empty: MLFLOW_TRACKING_URI, else mlflow.db beside. Raises TrainedError."""
    from detector.adapters import tracker

    try:
        with tracker.quiet(), tempfile.TemporaryDirectory() as folder:
            client, chosen = tracker.client(tracking_uri)
            from mlflow.artifacts import download_artifacts

            source = _source(client, uri) if uri.startswith(MODELS) else uri
            download_artifacts(artifact_uri=source, dst_path=folder, tracking_uri=chosen, registry_uri=chosen)
            found = sorted(Path(folder).rglob(CARD))
            if not found:
                raise TrainedError(f"{uri}: expected a model of `detector lab train`, found no {CARD} there")
            return read(found[0].parent)
    except ImportError as error:
        raise TrainedError(
            f"{uri}: expected mlflow-skinny, found none ({error}); install the extra `trained`"
        ) from None
    except TrainedError:
        raise
    except Exception as error:  # whatever a store, a server or a disk makes mlflow raise
        raise TrainedError(f"{uri}: expected a model that MLflow can give, found: {error}") from None


def _source(client: Any, uri: str) -> str:
    """Where a registered model's files lie: `models:/NAME/3`, `models:/NAME/latest` or `models:/NAME@ALIAS`."""
    name, at, alias = uri.removeprefix(MODELS).partition("@")
    if at:
        return str(client.get_model_version_by_alias(name, alias).source)
    name, _, version = name.rpartition("/")
    if version == "latest":
        versions = client.search_model_versions(f"name='{name}'")
        version = str(max((int(one.version) for one in versions), default=0))
    return str(client.get_model_version(name, version).source)
