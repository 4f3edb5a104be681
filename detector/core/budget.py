"""The alert budget: at most N alerts an event-time day, spent as a running quantile, from the first hour on.

For each row: *p* = alerts left today ÷ rows still expected today; the row is an alert when fewer than *p* of the rows
before it scored higher. The rows to expect come from a profile by hour of the day, learned from the days before, and
until an hour has been seen from the mean rate so far. What the quantile spends too much or too little changes *p* for
the rest of the day, so a day ends close to N and never above. No more than a quarter of the day's alerts is spent ahead
of the day's schedule, so that one attack at dawn does not leave the evening without.

The stream is never quite like its past: each alert lowers a gain on the tail share that is asked for, each row without
one raises it, so that the share of alerts holds whatever the scores do (adaptive conformal inference: Gibbs, Candès,
2021).

Equal scores would make a quantile all or nothing; rows of the same bin are told apart by a number drawn from their
offset. With that the tail share is a conformal p-value (Vovk, Gammerman, Shafer, 2005): uniform on a stationary stream,
whatever the scores look like, so the first alerts need 1/p rows and no calibration.

Where money counts (`money_weight` > 0) the budget goes to rows by tail share *and* amount: −log₂ share + weight · log₂
(amount ÷ the usual amount), ranked among the rows before in the same way. With weight 1 that is the order of the loss
to expect if fraud is as likely as the row is rare. The risk score stays what it was, and so does the least risk.

Days are UTC days of the event time; late rows spend the budget of the day that the stream is in.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.core.chance import mixed
from detector.core.fusion import BINS, below_kernel, count_kernel, halve_kernel, rank_kernel, tail_share_kernel
from detector.core.jit import inlined, kernel

HOUR_MS = 3_600_000
DAY_MS = 86_400_000
PROFILE_MEMORY = 0.7  # of an hour's count is kept when the hour comes again
CHANCE_RISE_MAX = 3.0  # times the day's mean chance: the last minutes do not alert on anything to use up a budget
GAIN_STEP = 0.1  # of the logarithm, an alert
LOG_GAIN_MAX = 3.0  # a factor of twenty either way
AHEAD_SHARE = 0.25
ELAPSED_MS_MIN = 60_000
MEMORY_ALERTS = 32.0  # the ranks remember rows for about so many alerts: long enough for the quantile ...
MEMORY_ROWS_MIN, MEMORY_ROWS_MAX = 1 << 12, 1 << 20  # ... and as short as that allows, to follow the stream
MEMORY_ROWS = 1 << 18  # without a budget
STANDING_ROWS = 1 << 20  # what the risk is read from remembers longer than what the budget follows
YOUNG_ROWS_MIN = 1 << 12
LEVEL_MIN, LEVEL_MAX = 0.5, 2.0  # today's rate against the profile's

USUAL_ROWS_MAX = 1 << 16  # the usual amount is a mean of logarithms over about so many rows
OCTAVES_MAX = 10.0  # an amount counts as at most a thousand times the usual one, or a thousandth
VALUE_BINS_AN_OCTAVE = 32.0

# positions in `clock` int64
EVENT_MS, DAY, SPENT, ROWS_TODAY, FIRST_MS, ROWS, SCORED, HOUR_ROWS, LATE, PARTITION, VALUED, PRICED, STOOD = range(13)
CLOCK = 13
# positions in `meter` float64: the first 24 are the hour profile, -1 where never seen
CHANCE, ALLOWED, MEMORY, LOG_GAIN, LOG_AMOUNT = 24, 25, 26, 27, 28
METER = 29


def tie_breaks(offset: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """A number in (0, 1) for each offset (n,)."""
    state = offset.astype(np.uint64) + np.uint64((seed * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF)
    return (mixed(state) + 0.5) * 2.0**-53


@inlined
def share_kernel(alerts_per_day, partition, partitions, day):
    """This task's alerts of a day: the shares of all tasks add up to the budget, the remainder goes round by day."""
    share = alerts_per_day // partitions
    if (partition + day) % partitions < alerts_per_day % partitions:
        share += 1
    return share


@inlined
def today_kernel(clock, alerts_per_day, partitions):
    """This task's alerts of the day that the stream is in; of its first day, by what is left of it."""
    full = share_kernel(alerts_per_day, clock[PARTITION], partitions, clock[DAY])
    if clock[FIRST_MS] // DAY_MS != clock[DAY]:
        return float(full)
    return np.ceil(full * (DAY_MS - clock[FIRST_MS] % DAY_MS) / DAY_MS)


@inlined
def hour_rate_kernel(meter, clock, hour):
    """Rows to expect in an hour of the day."""
    if meter[hour] >= 0.0:
        return meter[hour]
    elapsed_ms = max(ELAPSED_MS_MIN, clock[EVENT_MS] - clock[FIRST_MS])
    return clock[ROWS] * HOUR_MS / elapsed_ms


@inlined
def expected_kernel(meter, clock, now_ms):
    """(rows expected from now to midnight, rows expected since midnight or the stream's start).

    Of the hour now is as much behind as of its time, or of its rows: where event times are but dates or hours, a day
    stands at one of its moments.
    """
    day_start = now_ms - now_ms % DAY_MS
    start = max(day_start, clock[FIRST_MS])
    ahead = 0.0
    behind = 0.0
    now = (now_ms - day_start) // HOUR_MS
    for hour in range((start - day_start) // HOUR_MS, now):
        from_ms = day_start + hour * HOUR_MS
        seen_ms = from_ms + HOUR_MS - max(from_ms, start)
        behind += hour_rate_kernel(meter, clock, hour) * seen_ms / HOUR_MS
    rate = hour_rate_kernel(meter, clock, now)
    passed = (now_ms % HOUR_MS) / HOUR_MS
    skipped = max(0, start - day_start - now * HOUR_MS) / HOUR_MS
    if meter[now] > 0.0:
        passed = max(passed, min(clock[HOUR_ROWS] / meter[now], 1.0))
    behind += rate * (passed - skipped)
    ahead += rate * (1.0 - passed)
    for hour in range(now + 1, 24):
        ahead += hour_rate_kernel(meter, clock, hour)
    return ahead, behind


@kernel
def turn_kernel(clock, meter, now_ms, alerts_per_day, partitions):
    """Let event time move on to `now_ms`: close the hour, and the day, that ended."""
    day = now_ms // DAY_MS
    if clock[FIRST_MS] < 0:
        clock[FIRST_MS] = now_ms
        clock[EVENT_MS] = now_ms
        clock[DAY] = day
        meter[ALLOWED] = today_kernel(clock, alerts_per_day, partitions)
    if now_ms <= clock[EVENT_MS]:
        return
    hour_number = clock[EVENT_MS] // HOUR_MS
    if now_ms // HOUR_MS != hour_number:
        close_hour_kernel(clock, meter, hour_number)
        for empty in range(hour_number + 1, min(now_ms // HOUR_MS, hour_number + 25)):
            close_hour_kernel(clock, meter, empty)
    clock[EVENT_MS] = now_ms
    if day != clock[DAY]:
        clock[DAY] = day
        clock[SPENT] = 0
        clock[ROWS_TODAY] = 0
        meter[ALLOWED] = today_kernel(clock, alerts_per_day, partitions)


@kernel
def close_hour_kernel(clock, meter, hour_number):
    """Take an ended hour's rows into the profile; a first hour that was cut short is scaled up to a whole one."""
    hour = hour_number % 24
    rows = float(clock[HOUR_ROWS])
    if hour_number == clock[FIRST_MS] // HOUR_MS:
        seen_ms = HOUR_MS - clock[FIRST_MS] % HOUR_MS
        rows = rows * HOUR_MS / max(ELAPSED_MS_MIN, seen_ms)
    if meter[hour] < 0.0:
        meter[hour] = rows
    else:
        meter[hour] = PROFILE_MEMORY * meter[hour] + (1.0 - PROFILE_MEMORY) * rows
    clock[HOUR_ROWS] = 0


@inlined
def allowed_kernel(clock, meter, now_ms):
    """Set CHANCE, the share of the rows now to be alerts, and return how many alerts may be out by now."""
    allowed = meter[ALLOWED]
    ahead, behind = expected_kernel(meter, clock, now_ms)
    level = min(max((clock[ROWS_TODAY] + 100.0) / (behind + 100.0), LEVEL_MIN), LEVEL_MAX)
    ahead *= level
    behind *= level
    mean = allowed / max(1.0, ahead + behind)
    left = allowed - clock[SPENT]
    meter[MEMORY] = min(max(MEMORY_ALERTS / max(mean, 1e-9), MEMORY_ROWS_MIN), MEMORY_ROWS_MAX)
    meter[CHANCE] = min(left / max(1.0, ahead), CHANCE_RISE_MAX * mean, 1.0) if left > 0 else 0.0
    schedule = behind / max(1.0, ahead + behind)
    return min(allowed, allowed * (schedule + AHEAD_SHARE) + 1.0)


@inlined
def money_kernel(amount, money_weight, clock, meter, learn):
    """What the amount adds to a row's octaves of rarity; 0 where it has none. Then the usual amount learns it."""
    if not amount > 0.0:
        return 0.0
    octaves = np.log2(amount)
    over = octaves - meter[LOG_AMOUNT] if clock[PRICED] > 0 else 0.0
    if learn:
        clock[PRICED] = min(clock[PRICED] + 1, USUAL_ROWS_MAX)
        meter[LOG_AMOUNT] += (octaves - meter[LOG_AMOUNT]) / clock[PRICED]
    return money_weight * min(max(over, -OCTAVES_MAX), OCTAVES_MAX)


@inlined
def share_by_value_kernel(octaves, tie_break, clock, values, learn):
    """The tail share of a row by its value in `octaves`, among the rows before it; then it is counted."""
    position = np.int64(min(max((octaves + OCTAVES_MAX) * VALUE_BINS_AN_OCTAVE, 0.0), BINS - 1.0))
    total = clock[VALUED]
    lower = below_kernel(values, position)
    equal = below_kernel(values, position + 1) - lower
    if learn:
        count_kernel(values, position, 1)
        clock[VALUED] += 1
    return (total - lower - equal + tie_break * (equal + 1.0)) / (total + 1.0)


@inlined
def halvings_kernel(rows, stood, memory_rows):
    """How often the counts that the risk is read from halve now, after so many rows, of which so many are counted.

    When they are as many as they may be, `memory_rows` at most: those before a change say little of those after it.

    Twice where a young stream has doubled: its first rows were scored by models, and made of windows, that had seen
    little, and their scores would stand above all others for long.
    """
    if YOUNG_ROWS_MIN <= rows < STANDING_ROWS and rows & (rows - 1) == 0:
        return 2
    return 1 if stood >= min(STANDING_ROWS, memory_rows) else 0


@kernel
def count_row_kernel(position, burst, memory_rows, clock, meter, tree, standing, values):
    """Count a row among those that the next are ranked by; a row of a `burst` does not move the risk's scale."""
    count_kernel(tree, position, 1)
    clock[SCORED] += 1
    if not burst:
        count_kernel(standing, position, 1)
        clock[STOOD] += 1
    for _ in range(halvings_kernel(clock[ROWS], clock[STOOD], memory_rows)):
        clock[STOOD] = halve_kernel(standing, True)
    if clock[SCORED] >= meter[MEMORY]:
        clock[SCORED] = halve_kernel(tree, False)
        clock[VALUED] = halve_kernel(values, False)


@kernel
def decide_kernel(
    event_time_ms,
    amount,
    late,
    burst,
    memory_rows,
    scored,
    bins,
    tie_break,
    alerts_per_day,
    partitions,
    alert_risk_min,
    review_risk_min,
    money_weight,
    clock,
    meter,
    tree,
    standing,
    values,
    risk,
    verdict,
):
    """Rank, decide and count rows one after the other; fills `risk` (n,) and `verdict` (n,).

    `alerts_per_day` < 0: no budget, the threshold alone decides.
    """
    budgeted = alerts_per_day >= 0
    may_be_out = 0.0
    if budgeted and clock[FIRST_MS] >= 0:  # the budget may be another since the last batch
        meter[ALLOWED] = today_kernel(clock, alerts_per_day, partitions)
    for i in range(len(event_time_ms)):
        if not late[i]:
            turn_kernel(clock, meter, event_time_ms[i], max(0, alerts_per_day), partitions)
            clock[ROWS] += 1
            clock[ROWS_TODAY] += 1
            clock[HOUR_ROWS] += 1
        else:
            clock[LATE] += 1
        risk[i] = 0.0
        verdict[i] = 0
        if not scored:
            continue
        total = clock[SCORED]
        higher, equal = rank_kernel(tree, total, bins[i])
        risk[i] = 1000.0 * (1.0 - tail_share_kernel(standing, clock[STOOD], bins[i]))
        if budgeted:
            may_be_out = allowed_kernel(clock, meter, clock[EVENT_MS])
        if risk[i] >= review_risk_min:
            verdict[i] = 1
        tail = (higher + tie_break[i] * (equal + 1.0)) / (total + 1.0)
        if budgeted and money_weight > 0.0:
            octaves = money_kernel(amount[i], money_weight, clock, meter, not late[i]) - np.log2(tail)
            tail = share_by_value_kernel(octaves, tie_break[i], clock, values, not late[i])
        if risk[i] >= alert_risk_min:
            if budgeted:
                if tail < meter[CHANCE] * np.exp(meter[LOG_GAIN]) and clock[SPENT] + 1 <= may_be_out:
                    verdict[i] = 2
            else:
                verdict[i] = 2
            if verdict[i] == 2:
                clock[SPENT] += 1
        if budgeted:
            step = GAIN_STEP * (meter[CHANCE] - (verdict[i] == 2))
            meter[LOG_GAIN] = min(max(meter[LOG_GAIN] + step, -LOG_GAIN_MAX), LOG_GAIN_MAX)
        if not late[i]:
            count_row_kernel(bins[i], burst[i], memory_rows[i], clock, meter, tree, standing, values)
