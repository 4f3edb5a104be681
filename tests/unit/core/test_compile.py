"""What is compiled before the first record: everything, so that no kernel is compiled while a transaction waits."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import detector.core
from detector.cli import cli as command_line
from detector.codec.snapshot import restore, snapshot
from detector.core import boosted
from detector.core.batch import TransactionBatch
from detector.core.compile import compile_kernels, made_up, made_up_labels
from detector.core.defaults import default_label_features
from detector.core.labels import learn_labels
from detector.core.operator import step
from detector.core.spec import Labels, Spec, parse_feature
from detector.core.state import gauges, new_state
from detector.settings import Settings
from tests.streams import MINUTE, WITHOUT_JIT

ROOT = Path(__file__).parents[3]
ROWS, AT_ONCE = 5_000, 500
DEFAULT = Settings().spec()
LABELLED = replace(
    DEFAULT,
    features=(*DEFAULT.features, *map(parse_feature, default_label_features(DEFAULT.entities))),
    labels=Labels(pending_rows_max=4_000),
)
BOOSTED = replace(
    LABELLED,
    labels=Labels(pending_rows_max=4_000, boosted_trainer="tests.labelled.stumps", boosted_delay_rows=700),
)
SPECS = {"default": DEFAULT, "labelled": LABELLED, "boosted": BOOSTED}


@pytest.mark.skipif(WITHOUT_JIT, reason="nothing is compiled")
def test_nothing_is_left_to_compile_over_days_labels_swaps_and_a_restart() -> None:
    assert printed(by_compiling) == "default: []\nlabelled: []\nboosted: []\n"


@pytest.mark.skipif(WITHOUT_JIT, reason="nothing is compiled")
def test_the_command_compiles_for_labels_too_whatever_the_settings_say() -> None:
    """The image is built without a configuration, and may be run with one that has labels."""
    assert printed(by_command) == "kernels are compiled\ndefault: []\nlabelled: []\nboosted: []\n"


def by_compiling() -> None:
    tell_late(compile_kernels)


def by_command() -> None:
    command_line(["compile"], standalone_mode=False)
    tell_late(lambda spec: None)


def printed(function: Callable[[], None]) -> str:
    """What a function prints in a process of its own: in this one other tests have called what might be missing."""
    code = f"from {function.__module__} import {function.__name__} as run; run()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def tell_late(prepare: Callable[[Spec], None]) -> None:
    """Print, for each spec, the kernels that days of rows compile once it was prepared."""
    boosted.FIRST_FIT_ROWS = 2_000
    for name, spec in SPECS.items():
        prepare(spec)
        before = signatures()
        found = fold(spec)
        assert name != "boosted" or found["boosted_swaps"] > 1, found
        late = [kernel for kernel, count in signatures().items() if count != before[kernel]]
        print(f"{name}: {late}")


def fold(spec: Spec) -> dict[str, float]:
    """Days of rows, many at once and one alone, and their labels, with a restart in the middle; the gauges after it."""
    state, batch = new_state(spec), rows(spec)
    for start in range(0, ROWS, AT_ONCE):
        part = batch.rows(start, start + AT_ONCE)
        for some in (part.rows(0, 1), part.rows(1, AT_ONCE - 1), part.rows(AT_ONCE - 1, AT_ONCE)):
            step(spec, state, some)
        if spec.labels is not None:
            learn_labels(spec, state, made_up_labels(part))
        if start == ROWS // 2:
            state = restore(spec, snapshot(spec, state))
    assert np.isfinite(state.drift["index"]).any(), "no day has ended"
    return gauges(spec, state)


def rows(spec: Spec) -> TransactionBatch:
    """Rows a minute apart, of a few hundred entities, some of them late."""
    random = np.random.RandomState(1)
    batch = made_up(spec, ROWS)
    batch.amount[:] = np.exp(random.normal(3.0, 1.0, ROWS))
    batch.key[:] = random.randint(1, 900, batch.key.shape).astype(np.uint64) << np.uint64(44)
    batch.event_time_ms[random.random_sample(ROWS) < 0.01] -= 600 * MINUTE
    return batch


def signatures() -> dict[str, int]:
    """Module.kernel → for how many types of arguments it has been compiled or loaded, of every kernel of the core."""
    modules = [
        importlib.import_module(f"detector.core.{module.name}")
        for module in pkgutil.iter_modules(detector.core.__path__)
    ]
    return {
        f"{module.__name__}.{name}": len(found.signatures)
        for module in modules
        for name, found in vars(module).items()
        if hasattr(found, "signatures") and found.__module__ == module.__name__
    }
