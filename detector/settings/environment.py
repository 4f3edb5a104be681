"""Environment variables → the same nested tables that the TOML file gives.

`DETECTOR_SECTION__KEY` sets `[section] key`; a value is read as TOML where the setting is no text (`9464`, `true`,
`["card.count.1h"]`). Under `DETECTOR_KAFKA__CLIENT__` single underscores stand for dots: `…__SASL_PASSWORD` sets
`sasl.password`. `KAFKA_BOOTSTRAP_SERVERS` sets `[kafka] bootstrap_servers`; the longer name wins over it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping as AbstractMapping
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

PREFIX = "DETECTOR_"
NOT_SETTINGS = ("DETECTOR_CONFIG", "DETECTOR_CACHE_DIR")  # the file itself, and where compiled kernels lie


def from_environment(model: type[BaseModel], env: AbstractMapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Nested values, and which variable set each place (`kafka.client.sasl.password` → its name)."""
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    found = {}
    if env.get("KAFKA_BOOTSTRAP_SERVERS"):
        found["DETECTOR_KAFKA__BOOTSTRAP_SERVERS"] = "KAFKA_BOOTSTRAP_SERVERS"
    found |= {name: name for name in sorted(env) if name.startswith(PREFIX) and name not in NOT_SETTINGS}
    for name, variable in found.items():
        path = name.removeprefix(PREFIX).lower().split("__")
        if path[:2] == ["kafka", "client"] and len(path) > 2:
            path = ["kafka", "client", ".".join(path[2:]).replace("_", ".")]
        table = values
        for depth, part in enumerate(path[:-1]):
            inner = table.setdefault(part, {})
            if not isinstance(inner, dict):  # a section given as text and by key: the text shows up as a fault
                path = [*path[:depth], path[-1]]
                break
            table = inner
        table[path[-1]] = _value(model, path, env[variable])
        origin[".".join(path)] = variable
    return values, origin


def variable_of(place: str) -> str:
    """The environment variable that sets `place`."""
    return PREFIX + place.upper().replace(".", "__")


def merge(below: AbstractMapping[str, Any], above: AbstractMapping[str, Any]) -> dict[str, Any]:
    """Tables merge key by key; of two other values the one of `above` counts."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def _value(model: type[BaseModel], path: list[str], text: str) -> Any:
    """Text stays text where the setting takes it; else it is read as TOML, or left for the validation to refuse."""
    annotation: Any = model
    for part in path:
        fields = getattr(annotation, "model_fields", {})
        annotation = fields[part].annotation if part in fields else None
    if annotation is not None:
        try:
            return TypeAdapter(annotation).validate_python(text, strict=True)
        except ValidationError:
            pass
    elif path[:2] == ["kafka", "client"] or path[:2] in (["input", "fields"], ["input", "numeric"]):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
