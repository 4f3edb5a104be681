"""detector.toml and environment → `Settings`, or all faults at once."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping as AbstractMapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from detector.settings.environment import from_environment, merge
from detector.settings.faults import ConfigError, fault_lines
from detector.settings.sections import Settings

# Sections that a spec is built from: their clashes are told even where another section is at fault.
SPEC_SECTIONS = ("input", "entities", "features", "models", "decision")


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
        at_fault = {str(detail["loc"][0]) for detail in error.errors() if detail["loc"]}
        if at_fault.isdisjoint(SPEC_SECTIONS):
            faults += _clashes(Settings.model_validate({key: values[key] for key in SPEC_SECTIONS if key in values}))
        raise ConfigError(faults) from None
    faults = _clashes(settings)
    if faults:
        raise ConfigError(faults)
    return settings


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError([f"expected a file at {path}, found none"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"expected a file that can be read at {path}, found: {error}"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{path}: expected TOML, found: {error}"]) from None


def _clashes(settings: Settings) -> list[str]:
    try:
        settings.spec()
    except ConfigError as error:
        return error.faults
    return []
