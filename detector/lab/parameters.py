"""Parameters of a model in a file, TOML or JSON: what `lab tune` writes and `lab train --parameters` takes."""

from __future__ import annotations

import inspect
import json
import tomllib
from pathlib import Path
from typing import Any

from detector.lab import catalog
from detector.lab.catalog import Model
from detector.lab.errors import WrongUsage


def read_parameters(path: Path | None, model: str) -> dict[str, Any]:
    """Those for `model`; none without a file. Raises WrongUsage: another model's, or a name it does not know."""
    if path is None:
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        said = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise WrongUsage(f"--parameters {path}: expected TOML, or JSON in a .json, found: {error}") from error
    given = said.get("parameters") if isinstance(said, dict) else None
    if not isinstance(given, dict):
        raise WrongUsage(f"--parameters {path}: expected a table `parameters`, as `detector lab tune` writes it")
    if said.get("model", model) != model:
        raise WrongUsage(f"--parameters {path}: expected those of {model}, found those of {said['model']}")
    known = defaults(catalog.model(model))
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise WrongUsage(
            f"--parameters {path}: expected names among {', '.join(known) or 'none'}, found {', '.join(unknown)}"
        )
    return given


def defaults(model: Model) -> dict[str, Any]:
    """Names of a model's parameters, and their values where none is given."""
    found = inspect.signature(model.make).parameters.values()
    return {one.name: one.default for one in found if one.default is not inspect.Parameter.empty}


def as_toml(model: str, parameters: dict[str, Any]) -> str:
    """The file that `read_parameters` reads."""
    lines = [f'model = "{model}"', "", "[parameters]"]
    return "\n".join([*lines, *(f"{name} = {json.dumps(value)}" for name, value in parameters.items())]) + "\n"
