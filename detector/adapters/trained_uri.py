"""A trained model at an MLflow URI: `runs:/RUN/model`, `models:/NAME/VERSION`. Downloaded, read, and gone from disk.

Needs mlflow-skinny, which is imported for such a URI alone. A URI is asked once a process: a version that moves on
meanwhile is taken up by the next start.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from detector.adapters.trained_file import CARD, Artifact, TrainedError, read

SCHEMES = ("runs:/", "models:/")


def is_uri(path: str) -> bool:
    """Whether it names a model in MLflow."""
    return path.startswith(SCHEMES)


@cache
def fetch(uri: str, tracking_uri: str = "") -> Artifact:
    """The model there. `tracking_uri` empty: MLFLOW_TRACKING_URI, else mlflow.db beside. Raises TrainedError."""
    from detector.adapters import tracker

    try:
        with tracker.quiet(), tempfile.TemporaryDirectory() as folder:
            _, chosen = tracker.client(tracking_uri)
            from mlflow.artifacts import download_artifacts

            download_artifacts(artifact_uri=uri, dst_path=folder, tracking_uri=chosen, registry_uri=chosen)
            found = sorted(Path(folder).rglob(CARD))
            if not found:
                raise TrainedError(f"{uri}: expected a model of `detector lab train`, found no {CARD} there")
            return read(found[0].parent)
    except ImportError as error:
        raise TrainedError(f"{uri}: expected mlflow-skinny, found none ({error}); install the extra `trained`") from None
    except TrainedError:
        raise
    except Exception as error:  # whatever a store, a server or a disk makes mlflow raise
        raise TrainedError(f"{uri}: expected a model that MLflow can give, found: {error}") from None
