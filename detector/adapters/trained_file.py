"""A trained model as a folder: the model's own file, and `model.json`, which says what it is and what it fits.

The model is saved by skops (scikit-learn), or in XGBoost's own binary JSON: neither is a pickle, and reading a skops
file makes objects of known types only (`KNOWN_TYPES` besides those that skops itself trusts). `model.json` holds the
model file's SHA-256, the features in order and what they mean, and a few made-up rows with their scores, so that a
model that does not score here as it did where it was trained is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from detector.core.spec import Spec

CARD = "model.json"
FORMAT = 1
FEATURES_VERSION = 1  # of what features mean
FILE_BYTES_MAX = 1 << 30
SKOPS, UBJ = "model.skops", "model.ubj"
PROBABILITY = "probability"  # how supervised models are asked, and no others
NAME = r"[\w -]{1,64}"
MODULE = {SKOPS: "sklearn", UBJ: "xgboost"}


class TrainedError(ValueError):
    """A trained model that cannot take part; the message says what was expected and found."""


class Entity(msgspec.Struct, frozen=True):
    """What a feature's history is kept for."""

    key: str
    scope: str


class Probe(msgspec.Struct, frozen=True):
    """A made-up row, and its raw score where the model was trained. None is a missing value."""

    row: tuple[float | None, ...]
    score: float


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What `model.json` holds.

    `read` says how the model is asked, a key of `trained_scores.READ`. Unsupervised scores are mapped to 0–1 by
    `center` and `width`; a supervised model's evidence is measured from `level`, the log-odds of the median row that it
    was trained on, and counts as its `frauds`. `typical` are the medians of the features.
    """

    format: int
    name: str
    supervised: bool
    read: str
    file: str
    sha256: str
    features: tuple[str, ...]
    features_fingerprint: str
    entities: dict[str, Entity]
    allowed_lateness_ms: int
    typical: tuple[float | None, ...]
    center: float = 0.0
    width: float = 1.0
    level: float = 0.0
    frauds: int = 0
    probes: tuple[Probe, ...]
    parameters: dict[str, Any] = {}
    seed: int = 0
    figures: dict[str, Any] = {}
    data: dict[str, Any] = {}
    versions: dict[str, str] = {}


class Artifact(msgspec.Struct, frozen=True):
    """A model folder, read: `digest` is the SHA-256 of `model.json`, and so of all that the model decides by."""

    card: Card
    model: bytes
    digest: str


def write(folder: Path, card: Card, model: bytes) -> Artifact:
    """Save both files; returns what `read` will find."""
    encoded = json.dumps(msgspec.to_builtins(card), indent=2, ensure_ascii=False).encode() + b"\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / card.file).write_bytes(model)
    (folder / CARD).write_bytes(encoded)
    return Artifact(card, model, hashlib.sha256(encoded).hexdigest())


def read(folder: Path) -> Artifact:
    """The model in `folder`, whole and unchanged. Raises TrainedError."""
    encoded = _bytes(folder / CARD)
    try:
        card = msgspec.json.decode(encoded, type=Card)
    except (msgspec.DecodeError, RecursionError) as error:
        raise TrainedError(f"{folder / CARD}: expected what `detector lab train` writes, found: {error}") from None
    if card.format != FORMAT:
        raise TrainedError(f"{folder / CARD}: expected format {FORMAT}, found {card.format}; train it anew")
    if card.file not in MODULE:
        raise TrainedError(f"{folder / CARD}: expected a file {' or '.join(MODULE)}, found {card.file!r}")
    widths = {len(card.features), len(card.typical), *(len(probe.row) for probe in card.probes)}
    if widths != {len(card.features)} or not card.features or not card.probes:
        raise TrainedError(f"{folder / CARD}: expected typical values and probes for each feature; train it anew")
    if card.supervised != (card.read == PROBABILITY) or not 0.0 < card.width < math.inf:
        raise TrainedError(
            f"{folder / CARD}: expected supervised, read and width that go together, found {card.supervised}, "
            f"{card.read!r} and {card.width}: it was edited; copy the whole folder again, or train it anew"
        )
    if not re.fullmatch(NAME, card.name):
        raise TrainedError(
            f"{folder / CARD}: expected a name of up to 64 letters, digits, blanks, _ and -; train it anew"
        )
    model = _bytes(folder / card.file)
    found = hashlib.sha256(model).hexdigest()
    if found != card.sha256:
        raise TrainedError(
            f"{folder / card.file}: expected the file that was trained, SHA-256 {card.sha256}, found {found}: it was "
            "changed or damaged; copy the whole folder again, or train it anew"
        )
    return Artifact(card, model, hashlib.sha256(encoded).hexdigest())


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise TrainedError(f"{path}: expected at most {FILE_BYTES_MAX} bytes, found {path.stat().st_size}")
        return path.read_bytes()
    except OSError as error:
        raise TrainedError(f"{path}: expected a folder made by `detector lab train`, found: {error.strerror}") from None


def entities_of(spec: Spec, names: Iterable[str]) -> dict[str, Entity]:
    """The entities that these features of `spec` rest on."""
    used = {feature.entity for feature in spec.features if feature.name in set(names)}
    return {entity.name: Entity(entity.key, entity.scope) for entity in spec.entities if entity.name in used}


def features_fingerprint(names: Iterable[str], entities: dict[str, Entity], allowed_lateness_ms: int) -> str:
    """16 hex digits over what the values of these features rest on; the size of tables and the paths of fields are
    left out, for they change no meaning.
    """
    said = [FEATURES_VERSION, list(names), msgspec.to_builtins(entities), allowed_lateness_ms if entities else 0]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def misfit(card: Card, spec_features: Iterable[str], spec: Spec) -> str | None:
    """Why the model cannot be given the features of `spec`; None where it can."""
    known = list(spec_features)
    missing = [name for name in card.features if name not in known]
    if missing:
        labels = any(".fraud_" in name for name in missing) and spec.labels is None
        remedy = "set labels.enabled, or train it without a label delay" if labels else "add them to features.use"
        return (
            f"expected features {', '.join(missing)}, which it was trained on, found none such among "
            f"{', '.join(known)}; {remedy}"
        )
    entities = entities_of(spec, card.features)
    found = features_fingerprint(card.features, entities, spec.allowed_lateness_ms)
    if found == card.features_fingerprint:
        return None
    differing = [
        f"entities.{name} was {_entity(card.entities.get(name))} and is {_entity(entities.get(name))}"
        for name in sorted({*card.entities, *entities})
        if card.entities.get(name) != entities.get(name)
    ]
    if entities and card.allowed_lateness_ms != spec.allowed_lateness_ms:
        differing.append(
            f"features.allowed_lateness was {card.allowed_lateness_ms} ms and is {spec.allowed_lateness_ms} ms"
        )
    return (
        f"expected features of fingerprint {card.features_fingerprint}, found {found}: "
        f"{'; '.join(differing) or 'features mean something else in this version'}; undo the change, or train it anew"
    )


def _entity(entity: Entity | None) -> str:
    return "none" if entity is None else f"{entity.key} by {entity.scope}"
