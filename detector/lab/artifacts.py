"""A fitted model → the folder that the service loads (`detector.adapters.trained_file`).

Law: what the lab says of a trained model, it says by the loaded folder, so that a row scores live as it did here.
"""

from __future__ import annotations

import hashlib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.adapters import trained_file, trained_scores
from detector.adapters.outside import spread
from detector.adapters.trained_file import FORMAT, SKOPS, UBJ, Artifact, Card, Probe, entities_of, features_fingerprint
from detector.core.spec import Spec
from detector.core.trained import smoothed_logit
from detector.lab.matrix import Matrix
from schemas.times import rfc3339_text

Floats = NDArray[np.float64]

SCALE_ROWS_MAX = 2_000  # of the training rows, at even steps, that say how scores are spread: some models are slow
PROBES = 8
PROBE_QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)


def save(
    folder: Path,
    name: str,
    pipeline: Any,
    read: str,
    spec: Spec,
    features: tuple[str, ...],
    values: Floats,
    label: NDArray[np.int8] | None,
    **said: Any,
) -> Artifact:
    """Write a fitted `pipeline` that is asked as `read` says; `values` (n, m) are the rows of `features` it learned.

    `label` int8 (n,), 1 fraud, where it is supervised. `said` is what else the card tells: parameters, seed, figures,
    data.
    """
    file, model = _bytes(pipeline)
    entities = entities_of(spec, features)
    frauds = 0 if label is None else int(np.count_nonzero(label == 1))
    typical = _quantiles(values, (0.5,))[0]
    card = Card(
        format=FORMAT, name=name, supervised=label is not None, read=read, file=file,
        sha256=hashlib.sha256(model).hexdigest(), features=features,
        features_fingerprint=features_fingerprint(features, entities, spec.allowed_lateness_ms),
        entities=entities, allowed_lateness_ms=spec.allowed_lateness_ms, typical=_nullable(typical),
        frauds=frauds, probes=(), versions=versions(), **said,
    )  # fmt: skip
    ask = trained_scores.unchecked(Artifact(card, model, ""))
    sample = values[:: max(1, len(values) // SCALE_ROWS_MAX)]
    raw, rows = ask(sample), _probes(values)
    probes = tuple(Probe(_nullable(row), score) for row, score in zip(rows, ask(rows).tolist(), strict=True))
    scale: dict[str, float] = {}
    if card.supervised:
        scale["level"] = float(smoothed_logit(np.array([np.median(raw)]), float(frauds))[0])
    else:
        scale["center"], scale["width"] = spread(raw)
    fields = {name: getattr(card, name) for name in card.__struct_fields__}
    return trained_file.write(folder, Card(**fields | scale | {"probes": probes}), model)


def served(estimator: Any) -> tuple[Any, str]:
    """(the fitted pipeline of a model of the catalog, how it is asked)."""
    from sklearn.pipeline import Pipeline

    if hasattr(estimator, "served"):
        return estimator.served(), estimator.read
    return Pipeline([*estimator.pipeline.steps, ("model", estimator.cores)]), "neighbours"  # DBSCAN's core rows


def described(path: Path, built: Matrix) -> dict[str, Any]:
    """What a model was trained on: the file's name and SHA-256, rows, frauds, first and last event time."""
    return {
        "file": path.name,
        "sha256": file_digest(path),
        "rows": len(built),
        "frauds": int((built.label == 1).sum()),
        "from": rfc3339_text(int(built.event_time_ms.min())),
        "to": rfc3339_text(int(built.event_time_ms.max())),
    }


def file_digest(path: Path) -> str:
    """SHA-256 in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """Of the packages that a model's scores rest on."""
    import xgboost

    return {name: metadata.version(name) for name in ("scikit-learn", "numpy", "skops")} | {
        "xgboost": xgboost.__version__
    }


def _bytes(pipeline: Any) -> tuple[str, bytes]:
    """(file name, content): XGBoost's own format where the pipeline is nothing but such a model, else skops."""
    from skops import io

    if len(pipeline) == 1 and type(pipeline[-1]).__module__.startswith("xgboost."):
        return UBJ, bytes(pipeline[-1].get_booster().save_raw("ubj"))
    if "n_jobs" in pipeline[-1].get_params():
        pipeline[-1].set_params(n_jobs=1)
    return SKOPS, io.dumps(pipeline, compression=zipfile.ZIP_DEFLATED)


def _probes(values: Floats) -> Floats:
    """Rows (PROBES, m) that mix quantiles of the columns, the last one all missing: no row is one of the data's."""
    quantiles = _quantiles(values, PROBE_QUANTILES)
    random = np.random.default_rng(0)
    chosen = random.integers(0, len(PROBE_QUANTILES), (PROBES, values.shape[1]))
    rows: Floats = np.take_along_axis(quantiles, chosen, axis=0)
    rows[-1] = np.nan
    return rows


def _quantiles(values: Floats, shares: tuple[float, ...]) -> Floats:
    """Of each column's known values (shares, m); NaN where there is none."""
    found = np.full((len(shares), values.shape[1]), np.nan)
    for column in range(values.shape[1]):
        known = values[:, column][~np.isnan(values[:, column])]
        if len(known):
            found[:, column] = np.quantile(known, shares)
    return found


def _nullable(row: Floats) -> tuple[float | None, ...]:
    return tuple(None if value != value else value for value in row.tolist())
