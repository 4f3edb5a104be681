"""A storm: processes killed, frozen, stopped and added, the broker killed and brought back, while transactions flow.

Law (exactly once): when it is over, the alerts topic read as `read_committed` equals that of an undisturbed run on a
broker of its own, record for record, scores included. What happens follows from the seed alone (how fast it happens
does not), so a storm that failed can be called up again.

`python -m tests.chaos.storm --seconds 300 --seed 7`; exit code 1 where the topics differ.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from detector.kafka.embedded import EmbeddedBroker
from detector.kafka.embedded_jars import KAFKA_VERSION_TO_KILL
from tests.integration import support
from tests.integration.payments import KEPT, alerts, transactions, write
from tests.integration.process import Detector
from tests.integration.truth import wait_settled

PARTITIONS = 4
PROCESSES_MAX = 3
ROWS_A_FAULT = 4_000
FREEZE_S = 8.0  # past the session timeout of 6 s: partitions are lost, and the frozen one wakes up fenced
PAUSE_S_MAX = 4.0
SETTLE_S = 180.0
FAULTS = ("kill", "kill", "kill", "stop", "freeze", "join", "join", "broker")
NAMES = {
    "application_id": "storm",
    "transactions": "storm-transactions",
    "alerts": "storm-alerts",
    "decisions": "storm-decisions",
    "dead_letters": "storm-dead-letters",
    "labels": "storm-labels",
}


class Storm:
    """The processes, and what befalls them."""

    def __init__(self, broker: EmbeddedBroker, seed: int) -> None:
        self.broker, self.chance = broker, random.Random(seed)
        self.alive: list[Detector] = []
        self.all: list[Detector] = []
        self.told: dict[str, int] = {}
        self.began_s = time.monotonic()

    def join(self) -> None:
        """One process more, up to a bound; not waited for."""
        if len(self.alive) >= PROCESSES_MAX:
            return
        often = {"interval_s": 2, "interval_rows": 5_000}
        rows = self.chance.choice([50, 500, 20_000])
        detector = Detector(
            self.broker.bootstrap_servers, NAMES, core=True, snapshots=often, kafka={"commit_rows_max": rows}
        )
        self.alive.append(detector.start())
        self.all.append(detector)

    def strike(self) -> None:
        """One fault, drawn from the seed."""
        fault = self.chance.choice(FAULTS)
        victim = self.chance.randrange(PROCESSES_MAX)
        pause_s = self.chance.uniform(0.0, PAUSE_S_MAX)
        self.told[fault] = self.told.get(fault, 0) + 1
        print(
            f"{time.monotonic() - self.began_s:7.1f} s  {fault}, {len(self.alive)} alive", file=sys.stderr, flush=True
        )
        if fault == "broker":
            self.broker.kill()
            time.sleep(pause_s / 2)
            self.broker.start()
        elif fault == "join":
            self.join()
        else:
            detector = self.alive[victim % len(self.alive)]
            if fault == "freeze":
                detector.freeze()
                time.sleep(FREEZE_S)
                detector.thaw()
            else:
                self.alive.remove(detector)
                detector.kill() if fault == "kill" else detector.stop(60)
        time.sleep(pause_s)

    def end(self) -> None:
        """Nothing runs any more."""
        for detector in self.all:
            detector.__exit__(None, None, None)


def storm(folder: Path, seconds: float, seed: int) -> tuple[bool, dict[str, int]]:
    """Whether both topics are equal, and how many faults of each kind there were (alerts compared under `alerts`)."""
    with EmbeddedBroker() as calm, EmbeddedBroker(version=KAFKA_VERSION_TO_KILL) as rough:
        for broker in (calm, rough):
            support.create_topics(broker.bootstrap_servers, [NAMES["transactions"]], PARTITIONS, KEPT)
        raging = Storm(rough, seed)
        rows_max = int(seconds * 6_000) + 20_000
        payloads = transactions(folder, rows_max)
        written = 0
        try:
            raging.join()
            while (time.monotonic() - raging.began_s < seconds and written < rows_max) or written == 0:
                write(rough.bootstrap_servers, NAMES, payloads, written, written + ROWS_A_FAULT)
                written = min(rows_max, written + ROWS_A_FAULT)
                if not raging.alive:
                    raging.join()
                raging.strike()
            if not raging.alive:
                raging.join()
            wait_settled(rough.bootstrap_servers, NAMES, SETTLE_S)
            for detector in raging.alive:
                detector.stop(60)
        finally:
            raging.end()
        write(calm.bootstrap_servers, NAMES, payloads, 0, written)
        with Detector(calm.bootstrap_servers, NAMES, core=True) as undisturbed:
            wait_settled(calm.bootstrap_servers, NAMES, SETTLE_S)
            undisturbed.stop(60)
        expected, found = alerts(calm.bootstrap_servers, NAMES), alerts(rough.bootstrap_servers, NAMES)
    count = sum(map(len, expected.values()))
    return expected == found and count > 0, {**raging.told, "transactions": written, "alerts": count}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="storm-") as folder:
        equal, told = storm(Path(folder), args.seconds, args.seed)
    print(f"seed {args.seed}: " + ", ".join(f"{name} {count}" for name, count in sorted(told.items())))
    print("alerts equal those of the undisturbed run" if equal else "ALERTS DIFFER from the undisturbed run")
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
