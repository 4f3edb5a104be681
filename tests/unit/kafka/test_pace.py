"""Law: a turn stays short, however slow a model is; and is as large as it may be where none is."""

from __future__ import annotations

from detector.kafka.pace import BATCH_ROWS_MAX, BATCH_ROWS_MIN, TURN_S, Pace


def test_a_slow_model_is_given_what_it_decides_in_a_turn() -> None:
    pace = Pace()
    pace.rows = BATCH_ROWS_MAX
    pace.took(pace.rows, 0.003 * pace.rows)
    assert pace.rows == int(TURN_S / 0.003)
    for _ in range(20):
        pace.took(pace.rows, 0.003 * pace.rows)
    assert int(TURN_S / 0.003) - 1 <= pace.rows <= TURN_S / 0.003
    pace.took(1, 60.0)
    assert pace.rows == BATCH_ROWS_MIN


def test_it_grows_back_step_by_step() -> None:
    """And not past the most: one turn of a faster task says little of the next turn."""
    pace = Pace()
    pace.took(100, 10.0)
    slow = pace.rows
    pace.took(slow, 1e-6)
    assert slow < pace.rows < 2 * slow
    for _ in range(40):
        pace.took(pace.rows, 25e-6 * pace.rows)
    assert pace.rows == BATCH_ROWS_MAX
    pace.took(1, 0.0)
    assert pace.rows == BATCH_ROWS_MAX


def test_a_few_rows_decided_in_time_hold_nothing_up() -> None:
    """A turn of one row costs as much as one of a hundred: taken for its rows' price, the next turns would be small."""
    pace = Pace()
    pace.rows = BATCH_ROWS_MAX
    pace.took(1, 0.03)
    assert pace.rows == BATCH_ROWS_MAX
