"""Faults of a configuration, each as one line: its place, what was expected, what was found. Secrets never show."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from collections.abc import Mapping as AbstractMapping
from typing import Any

from pydantic import BaseModel, ValidationError

from detector.codec.masking import mask
from detector.settings.environment import NOT_SETTINGS, variable_of
from detector.settings.section import all_settings, models_in

FOUND_CHARACTERS_MAX = 60
CLOSE_VARIABLE = 0.9  # how much alike two variables are, of which one is meant: all have the same beginning
_SECRET = re.compile(r"password|secret|token|credential|jaas|oauthbearer\.config|\.key$|\.pem$|userinfo", re.IGNORECASE)


_UNION_MEMBER = re.compile(r"\[key\]|str|int|float|bool|(tuple|function|constrained|literal).*")


class ConfigError(Exception):
    """A configuration that cannot run; `faults` lists every fault with its place."""

    exit_code = 78

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def is_secret(name: str) -> bool:
    """Whether a setting of this name must not be shown."""
    return _SECRET.search(name) is not None


def fault_lines(error: ValidationError, model: type[BaseModel], origin: AbstractMapping[str, str]) -> list[str]:
    """One line a fault. `origin` maps a setting's place to the environment variable that set it."""
    lines: dict[str, list[str]] = {}
    seen: set[str] = set()
    for detail in error.errors(include_url=False):
        place = ".".join(str(part) for part in detail["loc"] if _is_place(part))
        if detail["type"].endswith("_type"):  # a union's members each complain of the type; the first speaks for all
            if place in seen:
                continue
            seen.add(place)
        variables = _variables(detail, place, origin)
        for text in _explain(detail, model, variables).split("\n"):
            key, _, said = text.partition(": ")
            if key.partition(".")[0] in _fields_at(model, detail["loc"]):  # a section's fault that one of its keys has
                at = f"{place}.{key}" if place else key
                line = _line(at, _variables(detail, at, origin), said)
            else:
                line = _line(place, variables, text)
            if line not in lines.setdefault(place, []):
                lines[place].append(line)
    return [line for group in lines.values() for line in group]


def _line(place: str, variables: list[str], text: str) -> str:
    shown = place + (f" (from {', '.join(variables)})" if variables else "")
    return f"{shown}: {text}" if shown else text


def _variables(detail: Any, place: str, origin: AbstractMapping[str, str]) -> list[str]:
    """Those that set what is at fault: of a section that there is not, all that speak of it."""
    unknown = detail["type"] == "extra_forbidden"
    return [variable for at, variable in origin.items() if at == place or (unknown and at.startswith(f"{place}."))]


def _is_place(part: int | str) -> bool:
    """Leaves out pydantic's own words: the member of a union, the key of a dict."""
    return isinstance(part, int) or not _UNION_MEMBER.fullmatch(part)


def _explain(detail: Any, model: type[BaseModel], variables: list[str]) -> str:
    code, context, loc = detail["type"], detail.get("ctx", {}), detail["loc"]
    if code == "extra_forbidden":
        known = sorted(_fields_at(model, loc[:-1]))
        names = [*map(variable_of, all_settings(model)), *NOT_SETTINGS]
        hints = [_hint(name, names, CLOSE_VARIABLE) for name in variables]
        hint = "".join(hints) or _hint(str(loc[-1]), known)
        return f"expected one of {', '.join(known)}, found an unknown key{hint}"
    if code == "missing":
        return "expected a value, found none"
    if code == "value_error":
        return str(context["error"])
    found = _found(detail["input"], loc)
    if code == "literal_error":
        expected = context["expected"]
        hint = _hint(str(detail["input"]), re.findall("'([^']*)'", expected))
        return f"expected {expected.replace(' or ', ', or ')}, found {found}{hint}"
    message = str(detail["msg"]).removeprefix("Input should be ").replace("String should match", "text of")
    return f"expected {message[0].lower() + message[1:]}, found {found}"


def _hint(found: str, known: Iterable[str], close_min: float = 0.6) -> str:
    close = difflib.get_close_matches(found, list(known), n=1, cutoff=close_min)
    return f"; did you mean {close[0]}?" if close else ""


def _found(value: Any, loc: tuple[int | str, ...]) -> str:
    if any(is_secret(str(part)) for part in loc):
        return "a value that is not shown"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    text = mask(repr(value))
    return text if len(text) <= FOUND_CHARACTERS_MAX else text[:FOUND_CHARACTERS_MAX] + "…"


def _fields_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> set[str]:
    for part in loc:
        field = model.model_fields.get(str(part))
        if field is not None:
            inner = models_in(field.annotation)
            if inner:
                model = inner[0]
    return set(model.model_fields)
