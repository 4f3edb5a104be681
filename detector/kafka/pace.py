"""How many records a turn takes.

A turn cannot be left half-way: while it decides, the transaction is open, the group waits to be polled, and so does a
signal to stop. Our own models decide the most there may be in some hundredths of a second. A plug-in may take a tenth
of a second a row: then a backlog taken whole would outlive its transaction, be restored, and be taken whole again.
"""

from __future__ import annotations

# Rows of one turn: enough to spread a turn's fixed cost thin, few enough to stay in the processor's cache.
BATCH_ROWS_MAX = 4_096
BATCH_ROWS_MIN, BATCH_ROWS_FIRST = 2, 64
TURN_S = 0.5  # a transaction may stay open for some seconds, `session_timeout_ms` for most
GROWTH = 4  # by a quarter a turn at most: another task's rows may be the faster ones


class Pace:
    """`rows`: what may be taken now. Few at first; shrinks where they took too long, and grows step by step."""

    def __init__(self) -> None:
        self.rows = BATCH_ROWS_FIRST

    def took(self, rows: int, seconds: float) -> None:
        """So many rows, at least one, were decided in so long.

        A few rows that were decided in time say nothing against more: what they took is what any turn takes.
        """
        in_time = int(TURN_S * rows / seconds) if seconds > 0.0 else BATCH_ROWS_MAX
        if seconds > TURN_S:
            self.rows = max(BATCH_ROWS_MIN, min(in_time, self.rows))
        else:
            grown = self.rows + self.rows // GROWTH + 1
            self.rows = max(self.rows, min(in_time, grown, BATCH_ROWS_MAX))
