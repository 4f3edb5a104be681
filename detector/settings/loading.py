"""detector.toml and environment → `Settings`, or all faults at once."""

from __future__ import annotations

import copy
import os
import tomllib
from collections.abc import Mapping as AbstractMapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from detector.settings.environment import from_environment, merge
from detector.settings.faults import ConfigError, fault_lines
from detector.settings.sections import Settings

# Sections that a spec is built from.
SPEC_SECTIONS = ("input", "entities", "features", "models", "decision", "labels")
COLUMNS = (("input", "fields"), ("input", "numeric"))


def load(path: Path | None, env: AbstractMapping[str, str] = os.environ) -> Settings:
    """Settings from the file, where one is given, with the environment above it, and defaults below.

    Touches nothing but the file. Raises ConfigError with every fault and its place.
    """
    above, origin = from_environment(Settings, env)
    values = merge(_read(path) if path is not None else {}, above)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        faults = fault_lines(error, Settings, origin)
        raise ConfigError(faults + _clashes_of_the_rest(values, error)) from None
    faults = _clashes(settings)
    if faults:
        raise ConfigError(faults)
    return settings


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors write a byte order mark
    except FileNotFoundError:
        raise ConfigError([f"expected a file at {path}, found none"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"expected a file that can be read at {path}, found: {error}"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{path}: expected TOML, found: {error}"]) from None


def _clashes_of_the_rest(values: dict[str, Any], error: ValidationError) -> list[str]:
    """Clashes between declarations, told in the same round: what is at fault by itself is left out for it.

    None where that is a role or a column: what rests on it would be told as a fault of its own.
    """
    if any(detail["loc"] == ("input",) or detail["loc"][:2] in COLUMNS for detail in error.errors()):
        return []
    rest = copy.deepcopy({key: values[key] for key in SPEC_SECTIONS if key in values})
    for detail in error.errors():
        _remove(rest, detail["loc"])
    try:
        return _clashes(Settings.model_validate(rest))
    except ValidationError:
        return []


def _remove(values: dict[str, Any], place: tuple[int | str, ...]) -> None:
    """Delete the deepest key of `place` that there is in nested tables; a fault inside a list takes the whole list."""
    table = values
    for depth, part in enumerate(place):
        if not isinstance(part, str) or part not in table:
            return
        inner = table[part]
        if not isinstance(inner, dict) or depth == len(place) - 1 or place[depth + 1] not in inner:
            del table[part]
            return
        table = inner


def _clashes(settings: Settings) -> list[str]:
    try:
        settings.spec()
    except ConfigError as error:
        return error.faults
    return []
