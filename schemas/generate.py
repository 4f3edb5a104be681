"""JSON Schema files of every message, generated from the models by `python -m schemas.generate`; drift fails a test."""

from __future__ import annotations

import json
from pathlib import Path

from schemas.alert import Alert
from schemas.base import Message
from schemas.dead_letter import DeadLetter
from schemas.decision import Decision
from schemas.label import Label
from schemas.transaction import Transaction

FOLDER = Path(__file__).parent / "json"
MODELS: tuple[type[Message], ...] = (Transaction, Alert, Decision, Label, DeadLetter)


def documents() -> dict[str, str]:
    """File name → text of each schema, draft 2020-12."""
    files = {}
    for model in MODELS:
        name = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in model.__name__).lstrip("-")
        schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}
        files[f"{name}.schema.json"] = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    return files


def main() -> None:
    """Writes all files."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in documents().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
