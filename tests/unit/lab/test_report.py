"""A report is whole or not there, hides card numbers, needs nothing outside of itself, and replaces only its like."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from detector.lab.errors import WrongUsage
from detector.lab.output import opened
from detector.lab.report import FIGURES, PAGE, ROWS_SHOWN_MAX, Report, plots, told

CARD = "4111111111111111"


def made(folder: Path, command: str = "explore", text: str = "seen", overwrite: bool = False) -> None:
    with Report(folder, "A title", command, overwrite) as report:
        report.section("First", text)
        report.table(f"t_{text}", ["a"], [[1]])


def test_everything_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with Report(folder, "A <title>", "explore") as report, plots():
        import matplotlib.pyplot as plt

        report.tiles({"rows": "3"})
        report.section("First", "What <follows>.")
        report.points(["one", "two"])
        figure, panel = plt.subplots()
        panel.plot([1, 2])
        report.figure("line", figure, "a line")
        report.table("t", ["name", "x", "share"], [["a", 1, 0.25], ["b", None, 0.5]], "a table", percent=["share"])
        report.code("a = 1")
        report.figures["x"] = {"mean": np.float64(1.5), "nan": float("nan"), "counts": np.array([1, 2])}
        assert not folder.exists()
    page = (folder / PAGE).read_text()
    assert "A &lt;title&gt;" in page
    assert "What &lt;follows&gt;." in page
    assert "25.000%" in page
    assert (folder / "line.png").read_bytes().startswith(b"\x89PNG")
    cells = list(csv.reader((folder / "t.csv").read_text().splitlines()))
    assert cells == [["name", "x", "share"], ["a", "1", "0.25"], ["b", "", "0.5"]]
    figures = json.loads((folder / FIGURES).read_text())
    assert figures["x"] == {"mean": 1.5, "nan": None, "counts": [1, 2]}
    assert figures["command"] == "explore"
    assert sorted(figures["files"]) == ["figures.json", "line.png", "report.html", "t.csv"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_page_needs_nothing_from_outside(tmp_path: Path) -> None:
    made(tmp_path / "out")
    page = (tmp_path / "out" / PAGE).read_text()
    assert re.findall(r"""(?:src|href)=["'](?!#|data:)""", page) == []
    assert "http" not in page
    assert "<script" not in page


def test_no_card_number_leaves(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with Report(folder, CARD, "explore") as report:
        report.section(CARD, CARD)
        report.points([CARD])
        report.tiles({"x": CARD})
        report.table("t", ["a"], [[CARD]], CARD)
        report.csv("u", [CARD], [[CARD], [int(CARD)], [float(CARD)]])
        report.table("v", ["a"], [[int(CARD)]])
        report.code(CARD)
        report.figures = {"x": [CARD, int(CARD), float(CARD)], CARD: 1}
    for path in folder.iterdir():
        assert CARD not in path.read_text(), path.name


def test_a_long_table_is_cut_in_the_page_only(tmp_path: Path) -> None:
    with Report(tmp_path / "out", "title", "explore") as report:
        report.table("t", ["a"], [[row] for row in range(1000)])
    page = (tmp_path / "out" / PAGE).read_text()
    assert page.count("<tr>") == ROWS_SHOWN_MAX + 1
    assert "all of them are in t.csv" in page
    assert len((tmp_path / "out" / "t.csv").read_text().splitlines()) == 1001


def test_law_all_or_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    made(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail() -> None:
        with Report(folder, "title", "explore") as report:
            report.table("other", ["a"], [[1]])
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fail()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_report_of_its_kind_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    made(folder)
    (folder / "notes.txt").write_text("mine")
    made(folder, text="again")
    assert sorted(path.name for path in folder.iterdir()) == [
        "figures.json", "notes.txt", "report.html", "t_again.csv",
    ]  # fmt: skip


@pytest.mark.parametrize("held", ["notes.txt", FIGURES])
def test_something_else_is_left_alone(tmp_path: Path, held: str) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / held).write_text("[]")
    with pytest.raises(WrongUsage, match="--overwrite"):
        made(folder)
    made(folder, overwrite=True)
    assert (folder / PAGE).exists()
    with pytest.raises(WrongUsage, match="--overwrite"):
        made(folder, command="evaluate")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(WrongUsage, match="found a file"):
        made(tmp_path / "out")


@pytest.mark.parametrize(
    ("value", "text"),
    [(284807, "284,807"), (0.001727, "0.001727"), (1234.56, "1,235"), (float("nan"), ""), (None, ""),
     (1e-9, "1.00e-09"), (2.5e12 + 0.5, "2.500e+12"), (-3.25, "-3.25")],
)  # fmt: skip
def test_numbers_for_people(value: float | None, text: str) -> None:
    assert told(value) == text


def test_what_killed_processes_left_is_removed_and_what_others_are_at_is_not(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    kept = [f".out.{os.getppid()}.part", ".out.part", ".out.12x.part", f".other.{ended.pid}.part"]
    for name in [*kept, f".out.{ended.pid}.part", f".out.{os.getpid()}.part"]:
        (tmp_path / name / "inside").mkdir(parents=True)
    made(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "out"])


def test_a_file_that_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / f".rows.csv.{ended.pid}.part").write_text("half a row")
    with opened(tmp_path / "rows.csv", ()):
        assert [path.name for path in tmp_path.iterdir()] == [f".rows.csv.{os.getpid()}.part"]
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("file", ["t_seen.csv", PAGE])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    def path(report: Report, name: str) -> Path:
        return Path("/dev/full") if name == file else real(report, name)

    real = Report.path
    monkeypatch.setattr(Report, "path", path)
    with pytest.raises(WrongUsage, match="No space left on device; nothing is there of this report: make room"):
        made(tmp_path / "out")
    assert not list(tmp_path.iterdir())
