"""Roles → detector.toml → settings, and settings → roles: the two directions between a guess and a configuration."""

from __future__ import annotations

import json
import math
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from detector.lab.errors import NotConfigured, WrongUsage
from detector.lab.roles import Roles, guess, words_of
from detector.lab.tables import Table
from detector.settings import ConfigError, Settings, load
from detector.settings.faults import fault_lines
from schemas.base import AMOUNT_MAX
from schemas.mapping import Mapping, split_path

FIELDS = {
    "transaction_id": "transaction_id", "event_time": "event_time", "card": "card_id", "customer": "customer_id",
    "merchant": "merchant_id", "terminal": "terminal_id", "device": "device_id", "ip": "ip", "country": "country",
    "mcc": "mcc", "channel": "channel", "currency": "currency", "amount": "amount", "lat": "lat", "lon": "lon",
}  # fmt: skip
NO_ORDER_MS = 7 * 86_400_000  # a file further out of order than this is in none
ALERTS_SHARE = 0.01  # of the rows of a day
ALERTS_MAX = 100
DAY_MS = 86_400_000


def toml(roles: Roles) -> str:
    """The whole file, with a comment where a person should look twice."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", roles.stem).strip("-") or "transactions"
    lines = [
        "# Guessed from the names, types and values of a file's columns; look it over.",
        f'application_id = "{name}"',
        "",
        "[topics]",
        f'transactions = "{name}"',
        *(f'{role} = "{name}-{role.replace("_", "-")}"' for role in ("alerts", "decisions", "dead_letters", "labels")),
        "",
        "[input]",
    ]
    if roles.time_format is not None:
        lines.append(f"time_format = {json.dumps(roles.time_format)}" + _about_time(roles.time_format))
    if roles.time_origin:
        lines.append(f'time_origin = "{roles.time_origin}"  # the file does not name it')
    lines += ["", "[input.fields]"]
    lines += [f"{FIELDS[role]} = {_path(roles, column)}" for role, column in roles.by_role().items() if role in FIELDS]
    if left_out := [*roles.texts, *roles.categories]:
        lines.append(f"# left out, to be named above where you know what they hold: {', '.join(left_out)}")
    if roles.event_time is None:
        lines.append("# no event time was found: the record's own timestamp serves")
    if roles.numeric:
        lines += [
            "",
            "[input.numeric]",
            *(f"{key} = {_path(roles, name)}" for key, name in numeric_names(roles).items()),
        ]
    if roles.amount_min < 0:
        lines += ["", "[input.bounds]", f"amount_min = {-AMOUNT_MAX!r}  # some amounts are negative"]
    return "\n".join([*lines, *_order(roles), ""])


def numeric_names(roles: Roles) -> dict[str, str]:
    """Name in the features → column."""
    found: dict[str, str] = {}
    for column in roles.numeric:
        base = "_".join(words_of(column)) or "column"
        name, number = base, 2
        while name in found:
            name, number = f"{base}_{number}", number + 1
        found[name] = column
    return found


def settings_for(table: Table, config: Path | None, label: str | None) -> tuple[Settings, Roles, str]:
    """(settings, roles, what is told): from `config` where it is given, else from the guess.

    Raises WrongUsage: `label` is no column; NotConfigured: the configuration has faults, or names columns not there.
    """
    if label is not None and label not in table.columns:
        raise WrongUsage(f"--label {label}: expected one of the columns {', '.join(table.columns)}")
    roles = guess(table, label)
    if config is None:
        return as_settings(roles.toml()), roles, "no configuration: roles are guessed from names, types and values"
    settings = _loaded(config)
    return settings, from_mapping(settings.mapping, table, roles), f"roles as {config} says"


def _loaded(config: Path) -> Settings:
    """The settings of a file. Raises NotConfigured with every fault."""
    try:
        return load(config)
    except ConfigError as error:
        lines = "".join(f"\n  {fault}" for fault in error.faults)
        raise NotConfigured(f"{config}: {len(error.faults)} fault(s) in the configuration{lines}") from error


def as_settings(text: str) -> Settings:
    """The settings that this TOML says, the environment aside. Raises ConfigError."""
    from pydantic import ValidationError

    try:
        settings = Settings.model_validate(tomllib.loads(text))
    except ValidationError as error:
        raise ConfigError(fault_lines(error, Settings, {})) from None
    settings.spec()
    return settings


def from_mapping(mapping: Mapping, table: Table, guessed: Roles) -> Roles:
    """Roles as a configuration says; the label and the categories are the guess's."""
    columns = {split_path(table.path_of(name)): name for name in table.columns}
    missing = [
        f"{place}: expected a column at {path!r}"
        for place, path in [
            *((f"input.fields.{role}", path) for role, path in mapping.fields.items() if _needed(mapping, role)),
            *((f"input.numeric.{name}", path) for name, path in mapping.numeric.items()),
        ]
        if split_path(path) not in columns
    ]
    if missing:
        raise NotConfigured(f"{'; '.join(missing)}; found in {table.path} are {', '.join(table.columns)}")
    back = {role: name for name, role in FIELDS.items()}
    there = {role: split_path(path) for role, path in mapping.fields.items() if split_path(path) in columns}
    found = {back[role]: columns[path] for role, path in there.items()}
    numeric = tuple(columns[split_path(path)] for path in mapping.numeric.values())
    taken = {*found.values(), *numeric}
    told = {name: f"{role.replace('_', ' ')}, as configured" for role, name in found.items()}
    told |= dict.fromkeys(numeric, "a number that models look at, as configured")
    label = guessed.label if guessed.label not in taken else None
    told |= {label: guessed.told[label]} if label else {}
    everything: dict[str, Any] = {role: found.get(role) for role in FIELDS}
    return replace(
        guessed, **everything, label=label, numeric=numeric, time_origin=mapping.time_origin,
        time_format=mapping.time_format if "event_time" in mapping.fields else None,
        categories=tuple(name for name in guessed.categories if name not in taken),
        told={name: told.get(name, "not in the configuration") for name in table.columns},
    )  # fmt: skip


def _needed(mapping: Mapping, role: str) -> bool:
    """Whether a column must be there: the canonical transaction may lack some, what somebody has named may not."""
    return mapping.is_required(role) or not mapping.is_canonical


def _about_time(time_format: str) -> str:
    return "  # read as UTC" if "%" in time_format and "%z" not in time_format else ""


def _path(roles: Roles, column: str) -> str:
    return json.dumps(roles.paths.get(column, column), ensure_ascii=False)


def _order(roles: Roles) -> list[str]:
    """What the order of the file means for lateness and for the budget."""
    if roles.disorder_ms > NO_ORDER_MS:
        days = math.ceil(roles.disorder_ms / DAY_MS) + 1
        return [
            "",
            "[features]",
            f'allowed_lateness = "{days}d"  # the rows are in no order of time: none counts as late',
            "",
            "[decision]",
            "alerts_per_day = 0  # for the same reason a budget a day would mean nothing: by risk alone",
            "alert_risk_min = 980  # about two in a hundred",
        ]
    hours = math.ceil(roles.disorder_ms / 3_600_000)
    lateness = (
        ["", "[features]", f'allowed_lateness = "{hours}h"  # so far is the file out of order'] if hours > 1 else []
    )
    if not roles.rows_per_day:
        return [*lateness, "", "[decision]", f"alerts_per_day = {ALERTS_MAX}  # what people can check"]
    budget = max(1, min(ALERTS_MAX, round(ALERTS_SHARE * roles.rows_per_day)))
    about = f"  # what people can check; the file has about {roles.rows_per_day:,.0f} rows a day"
    return [*lateness, "", "[decision]", f"alerts_per_day = {budget}{about}"]
