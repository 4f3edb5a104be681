"""A folder with `report.html` (one file, nothing outside of it is needed), the tables as CSV, and `figures.json`.

Law (all or nothing): everything is written into a hidden folder beside the final one and takes its place at `close`; a
command that fails leaves what was there. Law (no card number): every text is masked on its way in.
"""

from __future__ import annotations

import base64
import csv
import errno
import html
import json
import math
import shutil
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from detector.codec.masking import DIGITS_MIN, mask
from detector.lab import hidden
from detector.lab.errors import NotConfigured, WrongUsage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
FIGURES, PAGE = "figures.json", "report.html"
ROWS_SHOWN_MAX = 60  # of a table in the page; the CSV has all of them
DPI, CSS_DPI = 144, 96
CARD_NUMBER_MIN = 10 ** (DIGITS_MIN - 1)
LONG_CHARACTERS = 60  # of a cell, from which on it may take several lines
WIDE_COLUMNS = 10  # a table of more is set smaller
INK, QUIET, ACCENT, ALARM, GRID = "#1c2430", "#6b7686", "#2f6690", "#c8553d", "#e3e7ec"
PALETTE = (ACCENT, ALARM, "#5b8e7d", "#8a6fa8", "#d19a3d", "#4f9bb5", "#a05c7b", QUIET)


class Report:
    """A context manager: what is left without an exception is there, else nothing is.

    `figures` becomes figures.json; put numbers, texts, lists and dicts in. `path(name)` is a place for a further file.
    Raises WrongUsage: the folder holds something else than a report of `command`, and `overwrite` was not asked for.
    """

    def __init__(self, folder: Path, title: str, command: str, overwrite: bool = False) -> None:
        self.folder, self.title, self.command = folder, mask(title), command
        self.figures: dict[str, Any] = {}
        self._parts: list[str] = []
        self._contents: list[tuple[str, str]] = []
        self._files: list[str] = []
        self._old = _files_of(folder, command, overwrite)
        self._hidden = hidden.beside(folder)
        try:
            self._hidden.mkdir(parents=True)
        except OSError as error:
            raise WrongUsage(
                f"--output {folder}: expected a place where it can be written: {error.strerror}"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.close()
        except OSError as unwritten:
            raise self._unwritten(unwritten) from unwritten
        finally:
            shutil.rmtree(self._hidden, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in FULL:
            raise self._unwritten(error) from error

    def _unwritten(self, error: OSError) -> WrongUsage:
        return WrongUsage(
            f"--output {self.folder}: expected a place where it can be written: {error.strerror}; nothing is there of "
            "this report: make room, or name another folder"
        )

    def path(self, name: str) -> Path:
        """Where a file of the report is to be written; it is in `folder` after `close`."""
        if name not in self._files:
            self._files.append(name)
        return self._hidden / name

    def section(self, heading: str, text: str = "") -> None:
        """A heading, and a sentence or two on what follows."""
        anchor = f"s{len(self._contents) + 1}"
        self._contents.append((anchor, mask(heading)))
        self._parts.append(f'<h2 id="{anchor}">{_escaped(heading)}</h2>')
        self.text(text)

    def text(self, *paragraphs: str) -> None:
        """Plain paragraphs."""
        self._parts += [f"<p>{_escaped(text)}</p>" for text in paragraphs if text]

    def points(self, points: Sequence[str]) -> None:
        """A list of short sentences."""
        if points:
            self._parts.append("<ul>" + "".join(f"<li>{_escaped(point)}</li>" for point in points) + "</ul>")

    def code(self, text: str) -> None:
        """A file as it is."""
        self._parts.append(f"<pre>{_escaped(text)}</pre>")

    def tiles(self, tiles: Mapping[str, str]) -> None:
        """A few figures in large type, by what they are."""
        inner = "".join(
            f"<div><b>{_escaped(value)}</b><span>{_escaped(name)}</span></div>" for name, value in tiles.items()
        )
        self._parts.append(f'<div class="tiles">{inner}</div>')

    def figure(self, name: str, figure: Figure, caption: str) -> None:
        """A picture: a PNG in the folder and within the page. The figure is closed."""
        import matplotlib.pyplot as plt

        path = self.path(f"{name}.png")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a box stands for such a letter
            figure.savefig(path, dpi=DPI, metadata={"Software": None})
        inches = figure.get_size_inches()
        width, height = (round(size * DPI) for size in inches)
        plt.close(figure)
        data = base64.b64encode(path.read_bytes()).decode()
        size = f'width="{width}" height="{height}" style="max-width:{round(CSS_DPI * inches[0])}px"'
        self._parts.append(
            f'<figure><img src="data:image/png;base64,{data}" {size} alt="{_escaped(caption)}">'
            f"<figcaption>{_escaped(caption)}</figcaption></figure>"
        )

    def csv(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Rows as NAME.csv, not in the page."""
        with self.path(f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([mask(column) for column in columns])
            writer.writerows([[_masked(cell) for cell in row] for row in rows])

    def table(
        self,
        name: str,
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        caption: str = "",
        shown: int = ROWS_SHOWN_MAX,
        percent: Sequence[str] = (),
        below: bool = False,
    ) -> None:
        """A CSV of all rows; in the page the first `shown`, with the columns `percent` as such.

        Numbers are to the right, and texts among them; None is empty. `below`: the last column, of long texts, stands
        beneath its row, as wide as the table.
        """
        self.csv(name, columns, rows)
        beside = list(columns[: len(columns) - below])
        sides = [_side(rows, place) for place in range(len(beside))]
        head = "".join(f"<th{side}>{_escaped(column)}</th>" for side, column in zip(sides, beside, strict=True))
        as_percent = [column in percent for column in beside]
        body = "".join(
            "<tr>"
            + "".join(map(_cell, row, as_percent, sides))
            + "</tr>"
            + (_beneath(row, len(beside)) if below else "")
            for row in rows[:shown]
        )
        kind = "table wide" if len(columns) > WIDE_COLUMNS else "table"
        more = len(rows) - shown
        rest = f" The first {shown} of {len(rows):,} rows; all of them are in {name}.csv." if more > 0 else ""
        self._parts.append(
            f'<div class="{kind}"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
            + (f'<p class="caption">{_escaped(caption + rest)}</p>' if caption or rest else "")
        )

    def close(self) -> None:
        """Writes page and figures and puts the folder in its place."""
        found = {"command": self.command, "title": self.title, **_clean(self.figures)}
        page, figures = self.path(PAGE), self.path(FIGURES)
        page.write_text(self._page(), encoding="utf-8")
        figures.write_text(
            json.dumps(found | {"files": self._files}, indent=1, allow_nan=False) + "\n", encoding="utf-8"
        )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in self._old:
                if name not in self._files:
                    (self.folder / name).unlink(missing_ok=True)
            for name in self._files:
                if (self._hidden / name).exists():
                    (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (self._hidden / name).replace(self.folder / name)
        finally:
            shutil.rmtree(self._hidden, ignore_errors=True)

    def _page(self) -> str:
        links = "".join(f'<a href="#{anchor}">{_escaped(heading)}</a>' for anchor, heading in self._contents)
        template = files("detector.lab").joinpath("report.html").read_text(encoding="utf-8")
        values = {"title": _escaped(self.title), "command": _escaped(self.command), "contents": links}
        for name, value in values.items():
            template = template.replace("{{" + name + "}}", value)
        return template.replace("{{body}}", "\n".join(self._parts))


def plots() -> AbstractContextManager[None]:
    """The one style of our pictures, for the block: `with plots(): figure, axes = plt.subplots(...)`.

    Raises NotConfigured where matplotlib is missing.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise NotConfigured(f"reports need pip install 'streaming-fraud-detector[lab]' ({error})") from error
    mpl.use("Agg")
    from cycler import cycler

    style: Any = {
        "figure.facecolor": "white", "figure.constrained_layout.use": True, "figure.constrained_layout.h_pad": 0.09,
        "font.size": 9.0, "text.color": INK,
        "axes.edgecolor": GRID, "axes.labelcolor": QUIET, "axes.titlecolor": INK, "axes.titlesize": 9.5,
        "axes.titlelocation": "left", "axes.titleweight": "bold", "axes.spines.top": False, "axes.spines.right": False,
        "axes.grid": True, "axes.axisbelow": True, "axes.labelsize": 8.5, "axes.prop_cycle": cycler(color=PALETTE),
        "grid.color": GRID, "grid.linewidth": 0.6, "xtick.color": QUIET, "ytick.color": QUIET, "xtick.labelsize": 8,
        "ytick.labelsize": 8, "xtick.major.size": 0, "ytick.major.size": 0, "xtick.minor.size": 0,
        "ytick.minor.size": 0, "legend.frameon": False, "legend.fontsize": 8.5, "lines.linewidth": 1.4,
        "axes.formatter.useoffset": False, "font.family": ["DejaVu Sans"],
    }  # fmt: skip
    return mpl.rc_context(style)


def told(value: float | None) -> str:
    """A number for people: 0.00172 as 0.00172, 284807 as 284,807, no more than four digits that matter."""
    if value is None or not math.isfinite(value):
        return ""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e9 else f"{value:.3e}"
    return f"{value:.4g}" if abs(value) >= 1e-4 else f"{value:.2e}"


def _files_of(folder: Path, command: str, overwrite: bool) -> list[str]:
    """Files of an earlier report of this command, which this one replaces. Raises WrongUsage."""
    if folder.exists() and not folder.is_dir():
        raise WrongUsage(f"--output {folder}: expected a folder, found a file; name another")
    if not folder.exists() or not any(folder.iterdir()):
        return []
    try:
        known = json.loads((folder / FIGURES).read_text(encoding="utf-8"))
        if known["command"] == command:
            return [name for name in known["files"] if not Path(name).is_absolute() and ".." not in Path(name).parts]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    if overwrite:
        return []
    raise WrongUsage(
        f"--output {folder}: expected an empty folder or an earlier report of `{command}`, found something else; "
        "name another folder, or say --overwrite to write beside what is there"
    )


def _escaped(text: str) -> str:
    return html.escape(mask(text))


def _side(rows: Sequence[Sequence[Any]], place: int) -> str:
    first = next((row[place] for row in rows if row[place] is not None), None)
    return ' class="n"' if isinstance(first, int | float) and not isinstance(first, bool) else ""


def _masked(cell: Any) -> Any:
    """A cell without a card number; a whole number may be one too."""
    if isinstance(cell, str):
        return mask(cell)
    if isinstance(cell, int | float) and abs(cell) >= CARD_NUMBER_MIN and cell == cell // 1:
        digits = str(int(cell))
        return cell if mask(digits) == digits else mask(digits)
    return cell


def _beneath(row: Sequence[Any], columns: int) -> str:
    text = "" if row[-1] is None else str(row[-1])
    return f'<tr class="below"><td colspan="{columns}">{_escaped(text)}</td></tr>' if text else ""


def _cell(cell: Any, percent: bool, side: str) -> str:
    cell = _masked(cell)
    if isinstance(cell, bool):
        return f"<td>{'yes' if cell else 'no'}</td>"
    if isinstance(cell, int | float):
        text = f"{cell:.3%}" if percent and math.isfinite(cell) else told(float(cell))
        return f'<td class="n">{text}</td>'
    text = "" if cell is None else str(cell)
    return f"<td{' class=long' if len(text) > LONG_CHARACTERS else side}>{_escaped(text)}</td>"


def _clean(value: Any) -> Any:
    """For JSON: no card number, no NaN, no numpy."""
    if isinstance(value, Mapping):
        return {mask(str(key)): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    if hasattr(value, "tolist"):
        return _clean(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return _masked(value) if isinstance(value, int | float) or value is None else mask(str(value))
