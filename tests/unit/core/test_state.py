"""A task's state: its figures, its size, and the kernels compiled before the first record."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detector.core.batch import Verdict
from detector.core.compile import compile_kernels
from detector.core.defaults import default_features
from detector.core.operator import step
from detector.core.spec import Decision, HalfSpaceTrees, Spec
from detector.core.state import from_saved, gauges, new_state, saved_arrays
from tests.streams import ENTITIES, EVERYTHING, HOUR, KEYS, MINUTE, SPECS, features_of, seeded_codes, stream

DEFAULT = Spec(
    keys=KEYS,
    numeric=(),
    entities=tuple(replace(entity, slots_max=4_000_000) for entity in ENTITIES),
    features=features_of(*default_features(ENTITIES, KEYS, ())),
    members=(HalfSpaceTrees(),),
    decision=Decision(),
)


@pytest.mark.parametrize("name", sorted(SPECS))
def test_an_empty_batch_changes_nothing(name: str) -> None:
    spec = SPECS[name]
    state = new_state(spec)
    decided = step(spec, state, stream(spec, []))
    assert len(decided) == 0
    assert decided.features.shape == (0, len(spec.features))
    assert {key: array.tobytes() for key, array in saved_arrays(state).items()} == {
        key: array.tobytes() for key, array in saved_arrays(new_state(spec)).items()
    }


def test_gauges_say_what_was_decided() -> None:
    spec = replace(EVERYTHING, decision=Decision(1_000_000, 0.0, 700.0))
    state = new_state(spec)
    fresh = gauges(spec, state)
    assert fresh["alerts_spent"] == fresh["entities.card"] == fresh["model_version"] == fresh["evicted"] == 0.0
    batch = stream(spec, seeded_codes(5, 150, True))
    decided = step(spec, state, batch)
    found = gauges(spec, state)
    today = batch.event_time_ms // 86_400_000 == batch.event_time_ms.max() // 86_400_000
    assert found["event_time_ms_max"] == batch.event_time_ms.max()
    assert found["watermark_ms"] == batch.event_time_ms.max() - HOUR
    assert found["entities.card"] == 4
    assert found["entities.merchant"] == 1
    assert found["alerts_spent"] >= np.count_nonzero((decided.verdict == Verdict.ALERT) & today & ~decided.late)
    assert 0.0 < found["alerts_budget"] <= 1_000_000
    assert found["model_version"] >= decided.model_version[-1] > 3
    assert found["evicted"] > 10
    quantiles = [found[f"score_quantile.{share}"] for share in (0.5, 0.9, 0.99, 0.999)]
    assert quantiles == sorted(quantiles)
    assert quantiles[0] >= 0.0
    assert quantiles[-1] < 1.0
    assert gauges(spec, state) == found


def test_the_threshold_of_the_budget_is_what_an_alert_needs_now() -> None:
    free = replace(EVERYTHING, decision=Decision(None, 812.5, 900.0))
    assert gauges(free, new_state(free))["alert_threshold"] == 812.5
    spent = replace(EVERYTHING, decision=Decision(0, 0.0, 900.0))
    state = new_state(spent)
    step(spent, state, stream(spent, seeded_codes(5, 60, True)))
    assert gauges(spent, state)["alert_threshold"] == 1_000.0


def test_kernels_are_compiled_with_progress_and_without_a_trace() -> None:
    told: list[tuple[str, int, int]] = []
    compile_kernels(EVERYTHING, lambda what, done, total: told.append((what, done, total)))
    assert [done for _, done, _ in told] == list(range(len(told)))
    assert told[-1] == ("ready", len(told) - 1, len(told) - 1)
    assert all(what for what, _, _ in told)


@pytest.mark.parametrize("name", sorted(SPECS))
def test_any_spec_compiles(name: str) -> None:
    compile_kernels(SPECS[name])


def test_memory_follows_what_cards_do() -> None:
    """Default features, five rows a card: well under six hundred bytes a card, in tables that others share."""
    cards = 8_000
    random = np.random.RandomState(0)
    rows = 5 * cards
    batch = stream(DEFAULT, [0] * rows)
    batch.event_time_ms[:] = batch.event_time_ms[0] + np.arange(rows) * MINUTE
    batch.key[0] = random.randint(1, cards + 1, rows).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    batch.key[1] = random.randint(1, 200, rows).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    batch.key[2] = batch.key[1] + np.uint64(1)
    batch.key[3] = 0
    state = new_state(DEFAULT)
    constant = state.nbytes()
    for start in range(0, rows, 5_000):
        step(DEFAULT, state, batch.rows(start, start + 5_000))
    used = sum(array.nbytes for name, array in saved_arrays(state).items() if name.startswith("entity."))
    assert used / cards < 450
    assert (state.nbytes() - constant) / cards < 1_000  # small tables double when they grow, large ones do not


def test_arrays_of_another_shape_are_refused() -> None:
    spec = SPECS["two members"]
    saved = saved_arrays(new_state(spec))
    for name in ("ranks", "entity.card.whole", "entity.card.key", "member.1.latest"):
        for damaged in (saved[name][..., :-1] if saved[name].ndim > 1 else saved[name].astype(np.float32),):
            with pytest.raises(ValueError, match="expected"):
                from_saved(spec, saved | {name: damaged})
    with pytest.raises(KeyError):
        from_saved(spec, {name: array for name, array in saved.items() if name != "clock"})
