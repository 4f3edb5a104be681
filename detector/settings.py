"""The one place that reads the environment and detector.toml, and builds frozen specs from them."""

from __future__ import annotations

import os
from collections.abc import Mapping as AbstractMapping
from pathlib import Path

from pydantic import BaseModel

from detector.core.spec import Spec
from schemas.mapping import Mapping


class ConfigError(Exception):
    """A configuration that cannot run; `faults` lists every fault with its place."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class Settings(BaseModel):
    """All settings; see common TOML shape."""

    @property
    def mapping(self) -> Mapping:
        """The input mapping."""
        raise NotImplementedError

    def spec(self, partitions: int = 1) -> Spec:
        """The frozen spec for an input of `partitions` partitions."""
        raise NotImplementedError


def load(path: Path | None, env: AbstractMapping[str, str] = os.environ) -> Settings:
    """Reads file and environment. Raises ConfigError with all faults."""
    raise NotImplementedError
