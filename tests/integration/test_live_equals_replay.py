"""Law (live ≡ replay): `detector run` on a topic and `detector replay` of its file decide alike, bit for bit.

100,000 simulated transactions with bad records, late ones and doubles among them: through the broker and the real
commands, in exactly-once mode, cut into batches in two ways, once with a detector killed on the way.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detector.codec.encode import member_names
from detector.settings import load
from tests.integration import live, support

pytestmark = pytest.mark.slow

ROWS = 100_000
MEMBERS = member_names(load(None, {}).spec())
# Bad in ways that leave the card readable, so that they have a key and hence a partition that can be foretold.
KEYED_FAULTS: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = (
    lambda row: {name: value for name, value in row.items() if name != "event_time"},
    lambda row: row | {"amount": "12.50"},
    lambda row: row | {"amount": -1},
    lambda row: row | {"amount": 1e300},
    lambda row: row | {"event_time": -62_135_596_800_000},
    lambda row: row | {"event_time": row["event_time"] // 1000},
    lambda row: row | {"transaction_id": "x" * 10_000},
    lambda row: row | {"merchant_id": None},
)
OTHER_FAULTS = (
    b'{"transaction_id": "cut of',
    b"[1, 2]",
    b"not json",
    b'{"card_id": "\xff\xfe"}',
    b'{"card_id": "c", "amount": NaN}',
    b'{"a":' * 200 + b"1" + b"}" * 200,
    b'"text"',
)


def command(*arguments: str) -> str:
    """Runs one of our commands; returns what it said."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=live.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Sequence[bytes]:
    """Transactions as the simulator writes them."""
    file = tmp_path_factory.mktemp("simulated") / "transactions.jsonl"
    command("producers", "simulate", "--count", str(ROWS), "--seed", "5", "--quiet", "--output", str(file))
    lines = file.read_bytes().splitlines()
    assert len(lines) == ROWS
    return lines


def mixed(lines: Sequence[bytes], unkeyed: bool) -> list[bytes]:
    """The stream with some rows twice, some late by hours, some bad; `unkeyed`: also bad ones that have no key."""
    chance = random.Random(11)
    out = []
    for number, line in enumerate(lines):
        out.append(line)
        draw = chance.random()
        if draw < 0.01:
            out.append(lines[max(0, number - chance.randrange(3))])
        elif draw < 0.02 and number > 5_000:
            out.append(lines[number - chance.randrange(50, 5_000)])
        elif draw < 0.025:
            out.append(json.dumps(chance.choice(KEYED_FAULTS)(json.loads(line))).encode())
        elif draw < 0.03 and unkeyed:
            out.append(chance.choice(OTHER_FAULTS))
    return out


def replayed(file: Path, partitions: int, topic: str) -> dict[live.Place, dict[str, Any]]:
    """Rows of `detector replay` by place."""
    output = file.with_suffix(".parquet")
    command(
        "detector", "replay", "--input", str(file), "--output", str(output), "--partitions", str(partitions),
        "--topic", topic,
    )  # fmt: skip
    table = pq.read_table(output)
    at = table.schema.get_field_index("event_time")
    rows = table.set_column(at, "event_time", table["event_time"].cast(pa.int64())).to_pylist()
    return {(row["partition"], row["offset"]): row for row in rows}


def scores_of(row: dict[str, Any]) -> dict[str, float]:
    """Each member's score of a replayed row, by name, as a decision has them."""
    return {name.removeprefix("score_"): value for name, value in row.items() if name.startswith("score_")}


def assert_alike(kafka: str, names: dict[str, str], rows: dict[live.Place, dict[str, Any]]) -> None:
    """What the live run wrote is what the replay says, of every input, in every figure."""
    expected = {
        place: (row["transaction_id"], row["event_time"], row["verdict"], row["risk_score"], row["late"],
                scores_of(row))
        for place, row in rows.items() if row["verdict"] != "rejected"
    }  # fmt: skip
    decisions = live.told(kafka, names["decisions"])
    found = {
        place: (one.transaction_id, one.event_time, one.verdict, one.risk_score, one.late, one.scores)
        for place, one in decisions.items()
    }  # fmt: skip
    differing = [place for place in expected.keys() | found.keys() if expected.get(place) != found.get(place)]
    assert not differing, [(place, expected.get(place), found.get(place)) for place in sorted(differing)[:5]]

    alerts = live.told(kafka, names["alerts"])
    reasons = {place: [reason.text for reason in alert.reasons] for place, alert in alerts.items()}
    assert reasons == {place: row["reasons"] for place, row in rows.items() if row["verdict"] == "alert"}
    assert {place: alert.risk_score for place, alert in alerts.items()} == {p: found[p][3] for p in alerts}

    rejects = {place: row["reject_reason"] for place, row in rows.items() if row["verdict"] == "rejected"}
    assert live.dead_letters(kafka, names["dead_letters"]) == rejects

    columns = {name: {row[5][name] for row in expected.values()} for name in MEMBERS}
    assert all(len(values) > ROWS / 100 for values in columns.values()), "each member tells rows apart"
    assert all(row[5].keys() == columns.keys() for row in expected.values())
    assert len(expected) > ROWS
    assert len(alerts) > 500
    assert all(reasons.values())
    assert sum(row[4] for row in expected.values()) > 500, "late rows are among them"
    assert len(set(rejects.values())) >= 5


def test_law_live_equals_replay_with_one_partition(
    kafka: str, topic_names: dict[str, str], simulated: Sequence[bytes], tmp_path: Path
) -> None:
    """A backlog, read in whole batches, cut by commits of 1,500 rows or 5 ms."""
    file, log = tmp_path / "mixed.jsonl", tmp_path / "log"
    file.write_bytes(b"\n".join(mixed(simulated, unkeyed=True)))
    target = ["--bootstrap-servers", kafka, "--topic", topic_names["transactions"], "--quiet"]
    command("producers", "replay", str(file), *target, "--partitions", "1")
    env = live.environment(kafka, topic_names, kafka__commit_interval_ms=5, kafka__commit_rows_max=1_500)
    with live.running(env, log) as process:
        live.wait_settled(process, kafka, topic_names, log)
    assert_alike(kafka, topic_names, replayed(file, 1, topic_names["transactions"]))


def test_law_live_equals_replay_with_three_partitions_and_a_kill(
    kafka: str, topic_names: dict[str, str], simulated: Sequence[bytes], tmp_path: Path
) -> None:
    """Records as they come, in small batches; the detector is killed with -9 in mid-stream and started again."""
    file, log = tmp_path / "mixed.jsonl", tmp_path / "log"
    file.write_bytes(b"\n".join(mixed(simulated, unkeyed=False)))
    support.create_topics(kafka, [topic_names["transactions"]], 3)
    env = live.environment(
        kafka, topic_names, kafka__commit_interval_ms=20, kafka__session_timeout_ms=6_000, snapshots__interval_s=1
    )
    target = ["--bootstrap-servers", kafka, "--topic", topic_names["transactions"], "--quiet"]
    publish = [sys.executable, "-m", "producers", "replay", str(file), *target, "--rate", "15000"]
    with live.running(env, log) as process, subprocess.Popen(publish, cwd=live.ROOT) as publisher:
        support.wait_for(lambda: live.settled_rows(kafka, topic_names) > ROWS // 3, 60, "a third decided")
        process.kill()
        assert live.settled_rows(kafka, topic_names) < ROWS, "killed in mid-stream"
        assert publisher.wait(60) == 0
    with live.running(env, log) as process:
        live.wait_settled(process, kafka, topic_names, log)
    assert_alike(kafka, topic_names, replayed(file, 3, topic_names["transactions"]))
