"""What every section of the settings is: strict, frozen, without unknown keys."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Section(BaseModel):
    """Strict, frozen; unknown keys are refused."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a setting of that type holds, alone, in a list or as one of several types."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in models_in(argument)]


def all_settings(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Places of all settings of a section and those below it: `kafka.commit_interval_ms`."""
    places = []
    for key, field in model.model_fields.items():
        inner = models_in(field.annotation)
        places += all_settings(inner[0], f"{prefix}{key}.") if inner else [prefix + key]
    return places


def as_tuple(value: Any) -> Any:
    """TOML has lists, frozen settings hold tuples."""
    return tuple(value) if isinstance(value, list) else value


Names = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]
