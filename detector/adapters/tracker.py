"""mlflow-skinny's client, quiet and offline: what it tells, and what it would tell its makers, is switched off.

Imported where runs are tracked, or a model is loaded from MLflow, and nowhere else. Connections to a database are
closed after each call.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

DEFAULT_URI = "sqlite:///mlflow.db"  # in the current directory; files beside it, in mlruns
SWITCHES = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",  # it tells of each migration of its tables
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # the default of 7 is minutes of silence where a server is away
}
"""What mlflow takes from the environment alone; one set there already is left as it is."""


def client(uri: str) -> tuple[Any, str]:
    """(an MlflowClient, the URI in force): `uri`, or MLFLOW_TRACKING_URI, or DEFAULT_URI. Call it within `quiet`."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient
    from mlflow.tracking import get_tracking_uri, is_tracking_uri_set

    chosen = uri or (get_tracking_uri() if is_tracking_uri_set() else DEFAULT_URI)  # type: ignore[no-untyped-call]
    return MlflowClient(tracking_uri=chosen, registry_uri=chosen), chosen


@contextmanager
def quiet() -> Iterator[None]:
    """Around each call of mlflow, which warns of what its own libraries will change, and whose tables log each step."""
    logging.getLogger("alembic").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
