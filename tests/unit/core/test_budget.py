"""The alert budget on streams of days: what it spends, when, and what it never does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from detector.core import budget, fusion
from detector.core.budget import DAY_MS, HOUR_MS
from tests.streams import WITHOUT_JIT

pytestmark = pytest.mark.skipif(WITHOUT_JIT, reason="days of rows take plain Python hours; the laws cover it there")

MIDNIGHT_MS = 1_700_006_400_000


@dataclass
class Spending:
    """What was decided on a stream, and the counters after it."""

    event_time_ms: np.ndarray
    risk: np.ndarray
    verdict: np.ndarray
    clock: np.ndarray
    meter: np.ndarray
    counted: tuple[np.ndarray, ...]

    @property
    def alerts(self) -> np.ndarray:
        return self.event_time_ms[self.verdict == 2]

    def by_day(self, days: int) -> np.ndarray:
        first = self.event_time_ms.min() // DAY_MS
        return np.bincount(self.alerts // DAY_MS - first, minlength=days)


def spend(
    event_time_ms: np.ndarray,
    score: np.ndarray,
    alerts_per_day: int = 100,
    *,
    partition: int = 0,
    partitions: int = 1,
    alert_risk_min: float = 0.0,
    late: np.ndarray | None = None,
    amount: np.ndarray | None = None,
    money_weight: float = 0.0,
    burst: np.ndarray | None = None,
    after: Spending | None = None,
) -> Spending:
    rows = len(event_time_ms)
    clock = np.zeros(budget.CLOCK, np.int64)
    clock[[budget.EVENT_MS, budget.FIRST_MS]] = -1
    clock[budget.PARTITION] = partition
    meter = np.full(budget.METER, -1.0)
    meter[[budget.CHANCE, budget.ALLOWED, budget.LOG_GAIN, budget.LOG_AMOUNT]] = 0.0
    meter[budget.MEMORY] = budget.MEMORY_ROWS
    counted = tuple(np.zeros(fusion.BINS + 1, np.int64) for _ in range(3))
    if after is not None:
        clock, meter, counted = after.clock, after.meter, after.counted
    risk, verdict = np.empty(rows), np.empty(rows, np.int8)
    budget.decide_kernel(
        event_time_ms,
        np.ones(rows) if amount is None else amount,
        np.zeros(rows, np.bool_) if late is None else late,
        np.zeros(rows, np.bool_) if burst is None else burst,
        np.full(rows, budget.STANDING_ROWS),
        True,
        fusion.score_bins(score),
        budget.tie_breaks(np.arange(rows), 42),
        alerts_per_day,
        partitions,
        alert_risk_min,
        990.0,
        money_weight,
        clock,
        meter,
        *counted,
        risk,
        verdict,
    )
    return Spending(event_time_ms, risk, verdict, clock, meter, counted)


def times(random: np.random.RandomState, rows_per_day: int, days: float, rhythm: bool = False) -> np.ndarray:
    """A Poisson stream from some time of the first day on; with `rhythm`, twenty times as dense at noon as at night."""
    moment = np.sort(random.random_sample(random.poisson(rows_per_day * days))) * days
    if rhythm:
        grid = np.linspace(0.0, 1.0, 2_001)
        noon = np.cumsum(1.0 - 0.9 * np.cos(2 * np.pi * grid))
        moment = np.floor(moment) + np.interp(moment % 1.0, (noon - noon[0]) / (noon[-1] - noon[0]), grid)
        moment.sort()
    return (MIDNIGHT_MS + moment * DAY_MS).astype(np.int64)


def uniform_scores(random: np.random.RandomState, rows: int) -> np.ndarray:
    return 1.0 - np.exp(-random.exponential(1.0, rows))


@pytest.mark.parametrize(("before", "then"), [(50, 80), (80, 50), (100, 20)])
def test_another_budget_holds_from_the_same_day_on(before: int, then: int) -> None:
    random = np.random.RandomState(3)
    stream = times(random, 20_000, 5.0)
    noon = int(np.searchsorted(stream, MIDNIGHT_MS + 3.5 * DAY_MS))
    score = uniform_scores(random, len(stream))
    first = spend(stream[:noon], score[:noon], before)
    spent = int(first.by_day(4)[3])
    second = spend(stream[noon:], score[noon:], then, after=first)
    assert 0.9 * then <= max(spent, spent + second.by_day(2)[0]) <= max(then, spent)
    assert 0.9 * then <= second.by_day(2)[1] <= then


@pytest.mark.parametrize("unit_ms", [DAY_MS, HOUR_MS, 15 * 60_000])
@pytest.mark.parametrize("alerts_per_day", [10, 100])
def test_times_that_are_dates_or_hours_spend_the_budget_too(unit_ms: int, alerts_per_day: int) -> None:
    """But for the first day of dates, of which nothing tells how many rows it has."""
    random = np.random.RandomState(8)
    stream = times(random, 20_000, 6.0, rhythm=True) // unit_ms * unit_ms
    days = spend(stream, uniform_scores(random, len(stream)), alerts_per_day).by_day(6)
    assert days.max() <= alerts_per_day
    assert days[2:6].min() >= 0.9 * alerts_per_day


@pytest.mark.parametrize("rhythm", [False, True])
@pytest.mark.parametrize("alerts_per_day", [10, 100, 1_000])
@pytest.mark.parametrize("rows_per_day", [5_000, 20_000, 200_000])
def test_a_stationary_stream_spends_its_budget_every_day(rows_per_day: int, alerts_per_day: int, rhythm: bool) -> None:
    """Within a tenth from the second day on, and never above."""
    for seed in range(1 if rows_per_day > 100_000 else 3):
        random = np.random.RandomState(seed)
        stream = times(random, rows_per_day, 6.0, rhythm) + random.randint(0, DAY_MS)
        days = spend(stream, uniform_scores(random, len(stream)), alerts_per_day).by_day(7)
        assert days.max() <= alerts_per_day
        assert days[1:6].min() >= 0.9 * alerts_per_day


@pytest.mark.parametrize("alerts_per_day", [1, 3])
def test_a_few_alerts_a_day_are_nearly_always_spent(alerts_per_day: int) -> None:
    random = np.random.RandomState(0)
    stream = times(random, 20_000, 30.0)
    days = spend(stream, uniform_scores(random, len(stream)), alerts_per_day).by_day(30)
    assert days.max() <= alerts_per_day
    assert days[1:].min() >= alerts_per_day - 1
    assert days[1:].mean() >= 0.7 * alerts_per_day


@pytest.mark.parametrize("rows_per_day", [5_000, 50_000])
@pytest.mark.parametrize("alerts_per_day", [100, 1_000])
def test_alerts_come_from_the_first_hour_on(rows_per_day: int, alerts_per_day: int) -> None:
    for seed in range(5):
        random = np.random.RandomState(seed)
        stream = times(random, rows_per_day, 1.0)
        spent = spend(stream, uniform_scores(random, len(stream)), alerts_per_day)
        first_hour = np.count_nonzero(spent.alerts < stream[0] + HOUR_MS)
        assert 1 <= first_hour <= 3 * alerts_per_day / 24 + 5
        assert spent.by_day(1)[0] >= 0.8 * alerts_per_day


@pytest.mark.parametrize("start_hour", [0, 9, 20, 23])
def test_a_first_day_cut_short_has_its_share(start_hour: int) -> None:
    random = np.random.RandomState(1)
    stream = times(random, 20_000, 1.0)
    stream = stream[stream >= MIDNIGHT_MS + start_hour * HOUR_MS]
    alerts = spend(stream, uniform_scores(random, len(stream))).by_day(1)[0]
    share = 100 * (24 - start_hour) / 24
    assert 0.6 * share <= alerts <= share + 1


@pytest.mark.parametrize("alerts_per_day", [0, 1, 2, 7, 10, 100, 101])
@pytest.mark.parametrize("partitions", [1, 3, 7])
def test_partitions_share_one_budget(alerts_per_day: int, partitions: int) -> None:
    """Never above in sum, even where there are more partitions than alerts; near it where each has some."""
    random = np.random.RandomState(2)
    days = np.zeros(6, np.int64)
    for partition in range(partitions):
        stream = times(random, 30_000 // partitions, 6.0)
        score = uniform_scores(random, len(stream))
        days += spend(stream, score, alerts_per_day, partition=partition, partitions=partitions).by_day(6)
    assert days.max() <= alerts_per_day
    if alerts_per_day >= 10 * partitions:
        assert days[1:].min() >= 0.9 * alerts_per_day


def test_shares_of_a_day_add_up_and_go_round() -> None:
    for alerts_per_day in (0, 1, 5, 100, 101):
        for partitions in (1, 3, 7, 64):
            shares = np.array(
                [
                    [budget.share_kernel(alerts_per_day, p, partitions, day) for p in range(partitions)]
                    for day in range(64)
                ]
            )
            assert (shares.sum(axis=1) == alerts_per_day).all()
            assert shares.max() - shares.min() <= 1
            if partitions == 64:
                assert (shares.sum(axis=0) == alerts_per_day).all()  # nobody goes without for ever


def test_the_highest_scores_are_alerted() -> None:
    random = np.random.RandomState(3)
    stream = times(random, 50_000, 5.0)
    score = uniform_scores(random, len(stream))
    spent = spend(stream, score)
    later = stream >= MIDNIGHT_MS + DAY_MS
    alerted = spent.verdict == 2
    assert np.quantile(score[alerted & later], 0.1) > np.quantile(score[later], 0.99)


@pytest.mark.parametrize("values", [1, 2, 20])
def test_equal_scores_are_told_apart(values: int) -> None:
    """A stream of few different scores, or of one, is neither all alerts nor none."""
    random = np.random.RandomState(4)
    stream = times(random, 20_000, 5.0)
    score = random.randint(0, values, len(stream)) / 20.0
    days = spend(stream, score).by_day(5)
    assert days.max() <= 100
    assert days[1:].min() >= 90


@pytest.mark.parametrize("octaves_a_day", [-0.5, 0.5, 2.0])
def test_drifting_scores_do_not_eat_the_budget(octaves_a_day: float) -> None:
    """Scores that rise all the time would all be records; the share that is asked for follows."""
    random = np.random.RandomState(5)
    stream = times(random, 20_000, 8.0)
    octaves = 4.0 + random.exponential(1.0, len(stream)) + octaves_a_day * (stream - MIDNIGHT_MS) / DAY_MS
    days = spend(stream, 1.0 - 2.0**-octaves).by_day(8)
    assert days.max() <= 100
    assert days[1:].min() >= 90


@pytest.mark.parametrize("rising", [False, True])
def test_an_attack_at_dawn_leaves_alerts_for_the_day(rising: bool) -> None:
    """Five thousand rows above all others in an hour, alike or each a record: a quarter ahead of schedule at most."""
    random = np.random.RandomState(6)
    stream = times(random, 50_000, 5.0)
    score = uniform_scores(random, len(stream))
    begin = MIDNIGHT_MS + 3 * DAY_MS + 2 * HOUR_MS
    attack = begin + np.sort(random.randint(0, HOUR_MS, 5_000))
    attack_score = 1.0 - 2.0 ** -np.linspace(20.0, 52.0 if rising else 20.0, 5_000)
    order = np.argsort(np.concatenate([stream, attack]), kind="stable")
    both = np.concatenate([stream, attack])[order]
    spent = spend(both, np.concatenate([score, attack_score])[order])
    alerts = spent.alerts
    during = np.count_nonzero((alerts >= begin) & (alerts < begin + HOUR_MS))
    after = np.count_nonzero((alerts >= begin + HOUR_MS) & (alerts < MIDNIGHT_MS + 4 * DAY_MS))
    assert 15 <= during <= 100 * (3 / 24 + budget.AHEAD_SHARE) + 2
    assert after >= 50
    assert spent.by_day(5).max() <= 100
    assert spent.by_day(5)[3] >= 90


@pytest.mark.parametrize("gap_days", [1, 3, 30, 20_000])
def test_days_without_rows_are_no_debt(gap_days: int) -> None:
    """The stream stops for days, or a time jumps by half a century: no catching up, and the next days are as before."""
    random = np.random.RandomState(7)
    before = times(random, 20_000, 4.0)
    stream = np.concatenate([before, before + (4 + gap_days) * DAY_MS])
    spent = spend(stream, uniform_scores(random, len(stream)))
    first = MIDNIGHT_MS // DAY_MS
    days = np.array([np.count_nonzero(spent.alerts // DAY_MS == first + day) for day in (1, 2, 3)])
    again = np.array([np.count_nonzero(spent.alerts // DAY_MS == first + 4 + gap_days + day) for day in range(4)])
    assert max(days.max(), again.max()) <= 100
    assert days.min() >= 90
    assert again[1:].min() >= 90
    assert again[0] >= 50


def test_rows_out_of_order_spend_the_day_that_the_stream_is_in() -> None:
    random = np.random.RandomState(8)
    stream = times(random, 20_000, 5.0)
    shuffled = stream - random.randint(0, HOUR_MS, len(stream))
    spent = spend(shuffled, uniform_scores(random, len(stream)))
    stream_day = np.maximum.accumulate(shuffled) // DAY_MS
    days = np.bincount((stream_day - stream_day.min())[spent.verdict == 2])
    assert days.max() <= 100
    assert days[-5:-1].min() >= 90


def test_late_rows_are_ranked_and_leave_no_trace_in_the_ranks() -> None:
    random = np.random.RandomState(9)
    stream = times(random, 10_000, 1.0)
    score = uniform_scores(random, len(stream))
    late = random.random_sample(len(stream)) < 0.3
    everything = spend(stream, score, -1, late=late, alert_risk_min=990.0)
    punctual = spend(stream[~late], score[~late], -1, alert_risk_min=990.0)
    np.testing.assert_array_equal(everything.risk[~late], punctual.risk)
    assert everything.risk[late].min() > 0.0
    assert everything.clock[budget.LATE] == late.sum()
    assert everything.clock[budget.ROWS] == (~late).sum()


@pytest.mark.parametrize("money_weight", [0.5, 1.0, 4.0])
def test_money_moves_the_budget_and_not_its_size(money_weight: float) -> None:
    """The same number of alerts a day, on rows with more to lose; with weight 1 in the order of amount ÷ tail share."""
    random = np.random.RandomState(5)
    stream = times(random, 20_000, 5.0, rhythm=True)
    score = uniform_scores(random, len(stream))
    amount = np.exp(random.normal(3.0, 1.5, len(stream)))
    amount[::50] = np.nan
    without = spend(stream, score, amount=amount)
    spent = spend(stream, score, amount=amount, money_weight=money_weight)
    days = spent.by_day(5)
    assert days.max() <= 100
    assert days[1:].min() >= 90
    np.testing.assert_array_equal(spent.risk, without.risk)
    alerted, alerted_without = (np.nanmedian(amount[one.verdict == 2]) for one in (spent, without))
    assert alerted > 2.0 * alerted_without
    settled = stream >= stream[0] + DAY_MS
    value = np.where(np.isnan(amount), 20.0, amount) ** money_weight / (1.0 - score)
    best = np.sort(value[settled])[-200:].min()
    assert np.mean(spent.verdict[settled & (value >= best)] == 2) > 0.8


def test_money_that_does_not_count_changes_nothing() -> None:
    random = np.random.RandomState(6)
    stream = times(random, 5_000, 2.0)
    score = uniform_scores(random, len(stream))
    one, other = (spend(stream, score, amount=np.full(len(stream), value)) for value in (1.0, np.inf))
    np.testing.assert_array_equal(one.verdict, other.verdict)


def test_threshold_only() -> None:
    random = np.random.RandomState(10)
    stream = times(random, 50_000, 2.0)
    spent = spend(stream, uniform_scores(random, len(stream)), -1, alert_risk_min=995.0)
    np.testing.assert_array_equal(spent.verdict == 2, spent.risk >= 995.0)
    np.testing.assert_array_equal(spent.verdict == 1, (spent.risk >= 990.0) & (spent.risk < 995.0))
    assert 0.003 < np.mean(spent.verdict == 2) < 0.007


def test_no_alert_below_the_least_risk() -> None:
    random = np.random.RandomState(11)
    stream = times(random, 1_000, 3.0)
    spent = spend(stream, uniform_scores(random, len(stream)), 500, alert_risk_min=900.0)
    assert spent.risk[spent.verdict == 2].min() >= 900.0
    assert 0.05 < np.mean(spent.verdict == 2) <= 0.15


def test_the_scale_of_the_risk_forgets_a_stream_s_youth() -> None:
    """Its first rows score high for the models knew little; soon one row in a hundred has a risk of 990 after all."""
    random = np.random.RandomState(12)
    stream = times(random, 5_000, 20.0)
    score = uniform_scores(random, len(stream))
    score[:3_000] = 1.0 - (1.0 - score[:3_000]) * 1e-3
    risk = spend(stream, score, -1).risk
    assert np.mean(risk[4_096:8_000] >= 990.0) < 0.001
    assert 0.007 < np.mean(risk[40_000:] >= 990.0) < 0.012


def test_a_burst_does_not_move_the_scale_of_the_risk() -> None:
    random = np.random.RandomState(13)
    stream = times(random, 5_000, 10.0)
    score = uniform_scores(random, len(stream))
    burst = np.zeros(len(stream), np.bool_)
    burst[20_000:22_000] = True
    score[burst] = 1.0 - 1e-4 * (1.0 - score[burst])
    risk = spend(stream, score, -1, burst=burst).risk
    assert risk[burst].min() > 995.0
    assert 0.008 < np.mean(risk[22_000:32_000] >= 990.0) < 0.012
    assert np.mean(spend(stream, score, -1).risk[22_000:32_000] >= 990.0) < 0.001


def test_nothing_is_decided_before_scores_mean_something() -> None:
    clock = np.zeros(budget.CLOCK, np.int64)
    clock[[budget.EVENT_MS, budget.FIRST_MS]] = -1
    meter = np.full(budget.METER, -1.0)
    risk, verdict = np.full(10, 7.0), np.full(10, 7, np.int8)
    budget.decide_kernel(
        MIDNIGHT_MS + np.arange(10) * 1_000,
        np.ones(10),
        *np.zeros((2, 10), np.bool_),
        np.full(10, budget.STANDING_ROWS),
        False,
        np.zeros(10, np.int64),
        np.full(10, 0.5),
        100,
        1,
        0.0,
        0.0,
        0.0,
        clock,
        meter,
        np.zeros(fusion.BINS + 1, np.int64),
        np.zeros(fusion.BINS + 1, np.int64),
        np.zeros(fusion.BINS + 1, np.int64),
        risk,
        verdict,
    )
    assert not risk.any()
    assert not verdict.any()
    assert clock[budget.ROWS] == 10
    assert clock[budget.SCORED] == 0


def test_tie_breaks_are_uniform_and_a_function_of_the_offset() -> None:
    drawn = budget.tie_breaks(np.arange(100_000), 42)
    assert ((drawn > 0.0) & (drawn < 1.0)).all()
    counts = np.histogram(drawn, 50, (0.0, 1.0))[0]
    assert counts.min() > 1_800
    assert counts.max() < 2_200
    np.testing.assert_array_equal(budget.tie_breaks(np.arange(5_000, 5_010), 42), drawn[5_000:5_010])
    assert np.abs(np.corrcoef(drawn, budget.tie_breaks(np.arange(100_000), 43))[0, 1]) < 0.02
    assert np.abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.02
