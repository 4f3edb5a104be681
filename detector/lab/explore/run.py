"""Opens the table, finds roles, surveys, writes the report."""

from __future__ import annotations

from pathlib import Path

from detector.lab.explore.pages import write
from detector.lab.explore.survey import survey
from detector.lab.progress import Display
from detector.lab.report import Report, plots
from detector.lab.roles import settings_for
from detector.lab.tables import open_table

COMMAND = "explore"


def run(
    source: Path,
    output: Path | None,
    *,
    config: Path | None = None,
    label: str | None = None,
    limit: int | None = None,
    k: float = 3.0,
    fence: float = 1.5,
    overwrite: bool = False,
) -> Path:
    """Writes the report of `source` and returns its folder. Raises LabError, ConfigError."""
    with plots():  # matplotlib is missed before an hour of reading, not after
        pass
    folder = output or Path(f"lab-{COMMAND}-{source.name.split('.')[0]}")
    with Report(folder, f"What {source.name} holds", COMMAND, overwrite) as report:
        table = open_table(source, limit)
        _, roles, told = settings_for(table, config, label)
        with Display(table.rows and 2 * table.rows, doing="looking", done="looked at, in two passes") as display:
            found = survey(table, roles, k, fence, display)
            display.tell("drawing")
        write(report, found, told, found.roles.toml() if config is None else None)
    return folder
