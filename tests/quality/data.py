"""Data sets that are not part of the repository: in the folder `shared/data` beside it, where there is one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
FOLDER = ROOT.parent / "shared" / "data"
EXAMPLES = ROOT / "deploy" / "examples"


@dataclass(frozen=True)
class DataSet:
    """A file, its detector.toml, the column with the truth, how many rows to take (None: all), and what the README
    states: the least ROC AUC and average precision of `risk_score` over these rows with the defaults.
    """

    file: str
    config: str
    truth: str
    limit: int | None
    roc_auc_min: float
    average_precision_min: float

    @property
    def path(self) -> Path:
        return FOLDER / self.file

    @property
    def config_path(self) -> Path:
        return EXAMPLES / self.config

    def frauds(self) -> NDArray[np.bool_]:
        """The truth of each row."""
        import pyarrow.parquet as pq

        column = pq.read_table(self.path, columns=[self.truth])[self.truth]
        found: NDArray[np.bool_] = column.to_numpy()[: self.limit].astype(bool)
        return found


CREDITCARD = DataSet("creditcard.parquet", "creditcard.toml", "Class", None, 0.94, 0.36)
HANDBOOK = DataSet("fdh_raw.parquet", "fdh.toml", "TX_FRAUD", 100_000, 0.76, 0.12)
DATA_SETS = (HANDBOOK, CREDITCARD)


def needs(name: str) -> Path:
    """The file `name`, or a skip that says why."""
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"no {name} in {FOLDER.relative_to(ROOT.parent)} beside the repository")
    return path
