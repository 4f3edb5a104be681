"""The files of the deployment as data, for the tests that read them."""

from __future__ import annotations

import importlib
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import click
import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


class StrictLoader(yaml.SafeLoader):
    """Refuses a key that is given twice; YAML's own loader lets the last one win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As SafeLoader, after the check."""
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        repeated = {key for key in keys if keys.count(key) > 1}
        if repeated and not getattr(node, "merged", False):
            raise yaml.YAMLError(f"repeated keys {sorted(repeated)} at {node.start_mark}")
        node.merged = True  # type: ignore[attr-defined]  # SafeLoader writes the merged keys back into the node
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """The one document in `path`."""
    return yaml.load(path.read_text(encoding="utf-8"), StrictLoader)


COMPOSE = read_yaml(ROOT / "docker-compose.yml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def defaults(text: str) -> str:
    """`text` with each `${NAME:-default}` as compose fills it in where NAME is not set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def mounts(service: dict[str, Any]) -> list[tuple[str, str]]:
    """Source and target of each volume of `service`."""
    return [(parts[0], parts[1]) for parts in (defaults(text).split(":") for text in service.get("volumes", []))]


def instructions(path: Path) -> list[tuple[str, str]]:
    """A Dockerfile's instructions as (keyword, rest), continuation lines joined."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [
        (word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.split("\n")) if word
    ]


IMAGE = instructions(DOCKERFILE)
FINAL_STAGE = IMAGE[max(i for i, (word, _) in enumerate(IMAGE) if word == "FROM") :]


def image_environment() -> dict[str, str]:
    """ENV of the final stage."""
    return {
        name: value
        for word, rest in FINAL_STAGE
        if word == "ENV"
        for name, _, value in (pair.partition("=") for pair in shlex.split(rest))
    }


def command_line(program: str) -> click.Group:
    """The click group behind a console script of the project."""
    module = importlib.import_module(PROJECT["scripts"][program].partition(":")[0])
    (group,) = {
        item for item in (getattr(module, "cli", None), getattr(module, "main", None)) if isinstance(item, click.Group)
    }
    return group
