"""The sets of the bench, read once into the columns that `step` takes, and what is known of each row.

Files go the way of `detector replay`: payloads, decoded by the mapping of their detector.toml. One default spec serves
all; a configuration says only what the columns are. Sets without a time get a row every 8.64 s, ten thousand a day.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from detector.codec.decode import Decoder
from detector.core.batch import TransactionBatch
from detector.core.budget import DAY_MS
from detector.core.spec import Spec
from detector.lab.replay import BATCH_ROWS
from detector.settings import Settings, load
from schemas.files import payloads, text_columns
from tests.quality.bench import further, generated
from tests.quality.data import EXAMPLES, FOLDER

ROW_EVERY_MS = 8_640
BEGIN_MS = 1_735_689_600_000  # of sets without a time: 2025-01-01
BOOK_WEEK_MS = (1_533_686_400_000, 1_534_291_200_000)  # 2018-08-08 to 08-14, the Handbook's test week
COLUMNS_ALONE = "[input]\nnumeric = [{columns}]\nfields = {{}}\n"
LABELS = "\n[labels]\nenabled = true\nboosted = true\n"

Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class BenchSet:
    """Where a set comes from. `truth` names columns of the file; `labels`, the delay after which labels come."""

    name: str
    file: str = ""
    config: str = ""
    numeric: tuple[str, ...] = ()
    truth: str = ""
    make: Callable[..., generated.Stream] | None = None  # takes the number of rows; as many as suit it by default
    label_delay: str = ""
    extra: dict[str, str] = field(default_factory=dict)  # column of the file by what we call it

    @property
    def path(self) -> Path:
        return FOLDER / self.file

    @property
    def absent(self) -> bool:
        return self.make is None and not self.path.is_file()


SETS = (
    BenchSet("creditcard", "creditcard.parquet", "creditcard.toml", truth="Class", label_delay="6h"),
    BenchSet("http", "kdd99_http.parquet", numeric=("duration", "src_bytes", "dst_bytes"), truth="is_anomaly"),
    BenchSet(
        "fdh", "fdh_raw.parquet", "fdh.toml", truth="TX_FRAUD", label_delay="7d",
        extra={"card": "CUSTOMER_ID", "terminal": "TERMINAL_ID", "scenario": "TX_FRAUD_SCENARIO"},
    ),
    BenchSet("gradual drift", make=generated.gradual_drift),
    BenchSet("burst attacks", make=generated.burst_attacks),
    BenchSet("sudden change", make=generated.sudden_change),
    BenchSet("sparse", make=generated.sparse_high_dimensional),
)  # fmt: skip
FURTHER = (
    BenchSet("breast cancer", make=further.breast_cancer),
    BenchSet("digits", make=further.digits),
    BenchSet("scattered", make=further.scattered),
    BenchSet("ring", make=further.ring),
)


@dataclass
class Loaded:
    """n rows. `batches` hold them all, in order; `fraud` bool (n,); `day` int64 (n,), of the event time.

    `spec` is the default one without labels, `labelled` the same with both heads that learn from them. In `extra` lie
    `card`, `terminal` and `scenario`, int64 (n,), where the set knows them.
    """

    source: BenchSet
    spec: Spec
    labelled: Spec
    batches: list[TransactionBatch]
    fraud: Bools
    event_time_ms: Integers
    extra: dict[str, Integers]

    def __len__(self) -> int:
        return len(self.fraud)

    @property
    def day(self) -> Integers:
        days: Integers = self.event_time_ms // DAY_MS
        return days

    @property
    def alerts_per_day(self) -> int:
        return self.spec.decision.alerts_per_day or 100


def load_set(source: BenchSet, limit: int | None = None) -> Loaded:
    """The first `limit` rows of a file, a stream of `limit` rows where it is made up; all by default."""
    settings, labelled = load_text(config_of(source)), load_text(config_of(source) + LABELS).spec(1)
    decoder = Decoder(settings.mapping, labelled, source.name)
    if source.make is None:
        given = payloads(source.path, None, limit, text_columns(settings.mapping), BATCH_ROWS)
        known = truth_of_file(source)
    else:
        values, fraud = source.make(limit) if limit else source.make()
        given, known = written(values), {"fraud": fraud}
    batches, rows = [], 0
    for some in given:
        offset = np.arange(rows, rows + len(some))
        decoded = decoder.decode(some, offset, BEGIN_MS + ROW_EVERY_MS * offset)
        assert not decoded.rejects, decoded.rejects[0]
        batches.append(decoded.batch)
        rows += len(some)
    event_time_ms = np.concatenate([batch.event_time_ms for batch in batches])
    extra = {name: known[name][:rows].astype(np.int64) for name in source.extra}
    return Loaded(source, settings.spec(1), labelled, batches, known["fraud"][:rows].astype(bool), event_time_ms, extra)


def config_of(source: BenchSet) -> str:
    """The text of its detector.toml."""
    if source.config:
        return (EXAMPLES / source.config).read_text()
    columns = names(source.make(1_000)[0]) if source.make else source.numeric
    return COLUMNS_ALONE.format(columns=", ".join(f'"{column}"' for column in columns))


def load_text(text: str) -> Settings:
    """Settings out of a text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "detector.toml"
        path.write_text(text)
        return load(path, {})


def truth_of_file(source: BenchSet) -> dict[str, NDArray[np.generic]]:
    """`fraud`, and what else the set knows, from the file's own columns."""
    import pyarrow.parquet as pq

    wanted = {"fraud": source.truth, **source.extra}
    table = pq.read_table(source.path, columns=list(wanted.values()))
    return {name: table[column].to_numpy() for name, column in wanted.items()}


def names(values: NDArray[np.float64]) -> tuple[str, ...]:
    """What the columns of a made-up set are called."""
    return tuple(f"x{column}" for column in range(values.shape[1]))


def written(values: NDArray[np.float64]) -> Iterator[list[bytes]]:
    """Made-up rows as payloads."""
    encode, keys = msgspec.json.Encoder().encode, names(values)
    for start in range(0, len(values), BATCH_ROWS):
        yield [encode(dict(zip(keys, row, strict=True))) for row in values[start : start + BATCH_ROWS].tolist()]
