"""Small tables with a truth, for the tests of the lab's models."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from detector.lab.matrix import Matrix, build
from detector.lab.roles import settings_for
from detector.lab.tables import open_table
from schemas.times import rfc3339_text

START_MS = 1_735_689_600_000
DAY_MS = 86_400_000
DAYS = 10


def rows(count: int = 1_200, fraud_share: float = 0.04, seed: int = 0) -> list[dict[str, Any]]:
    """Ten days of payments of 15 cards. Frauds have large amounts or an odd speed, and come more often by phone."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        fraud = bool(random.random() < fraud_share)
        amount = float(np.exp(random.normal(5.0 if fraud else 3.0, 0.5)))
        found.append({
            "transaction_id": f"t{number}",
            "time": rfc3339_text(START_MS + number * DAYS * DAY_MS // count),
            "card_id": f"c{random.integers(15)}",
            "amount": round(amount, 2),
            "speed": round(float(random.normal(4.0 if fraud else 0.0, 1.0)), 3),
            "noise": round(float(random.normal()), 3),
            "way": "phone" if random.random() < (0.7 if fraud else 0.2) else "shop",
            "is_fraud": int(fraud),
        })  # fmt: skip
    return found


def written(path: Path, some: list[dict[str, Any]]) -> Path:
    """The rows as a file of that ending."""
    if path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, some)))
        return path
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(some[0]))
        writer.writeheader()
        writer.writerows(some)
    return path


def matrix_of(path: Path, label: str | None = None, config: Path | None = None, **options: Any) -> Matrix:
    """As the commands make it, with guessed roles unless there is a configuration."""
    table = open_table(path)
    settings, roles, _ = settings_for(table, config, label)
    return build(table, settings, roles, **options)
