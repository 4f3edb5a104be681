"""The supervised head: logistic regression fitted to the labelled rows that are kept, and its blend with the anomaly.

Each input (a feature, a member's surprise, or the anomaly of all, in bits) enters twice: scaled and on an asinh axis,
which keeps order and far values apart; and as one of BINS quantile bins, or missing, so that the model may bend. Every
weight is drawn to nothing by a ridge, so a few dozen frauds are enough to begin with and a bin that is rare says
little; those of bins harder than the line's, for fewer rows speak for a bin than for a line. All frauds are
fitted, with a weight; of the genuine rows as many as a fit may take, chosen by their identity.

The fit is cyclic: an input's weights take a Newton step against all others (backfitting; Hastie, Tibshirani, 1986). The
bins of an input share no row, so their steps are exact beside one another. It is done anew whenever the labelled frauds
have grown by an eighth, from where the last one ended, before the first decision thereafter: what the labels since
then say enters whole, corrections too, in whatever portions they came. Scale and bins come from the pending rows at
doubling numbers of rows, then once a turn of the store.

Blend: the anomaly in bits, −log2 of its tail probability, and the head's log-odds on a line to the same scale, on which
the median and the highest percent of the newest rows have as many bits as the anomaly gives to its own; their mean is
weighted by the number of frauds seen. So the risk of rows that the anomaly ranked and of rows that the head ranks can
be compared. A quantile map of all of the head's scores would be at home in the same unit, but frauds are few, so its
upper tail trembles, and with it the order of the frauds of different days.

Fails where frauds differ from genuine rows only jointly: the model adds up what single inputs say.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core import boosted as trees
from detector.core.boosted import Boosted
from detector.core.jit import allocating, inlined, kernel
from detector.core.pending import FRAUD, GENUINE, UNKNOWN, Pending, drawn
from detector.core.spec import Labels

Arrays = dict[str, NDArray[Any]]

# Bin edges, as shares of a sample: a third of them in the tails, where frauds are.
SHARES = (*(0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999),)
BINS = len(SHARES) + 1
MISSING = BINS  # columns of `weight`: the bins, one for missing, one for the scaled value
LINEAR = BINS + 1
COLUMNS = BINS + 2
SCALED_MAX = 10.0
CALIBRATE_ROWS_MAX = 16_384  # of the newest, at even steps
REFIT_SHARE = 1.0 / 8.0  # of the frauds fitted last: so many more, and the head is fitted anew
FIT_GENUINE_MAX = 32_768
FIT_FRAUDS_MAX = 16_384  # newest
CYCLES_FIRST, CYCLES = 20, 4  # from nothing, and from the last fit
BEND_RIDGE = 2.0  # of a bin, where the line's is one: that a model bends needs more evidence than that it rises
STEP_MAX = 1.0  # of a weight in a cycle
LEVEL_ROWS = 16_384  # newest rows that say how the head's scores are spread
USUAL_ROWS = 2_048  # of these, at even steps, those that say what is usual: what credit is measured from
NATS_MIN, BITS_MIN = 1e-3, 0.1  # between median and highest percent: what tells nothing has no scale
BITS_MAX = 45.0  # 1 − 2⁻⁴⁵ still has room below 1 in float64

# positions in `counter` and `bias`
CALIBRATED_ROWS, FITTED, NEW_FRAUDS, LEVELED = range(4)


def new_arrays(inputs: int) -> Arrays:
    """The state before the first label."""
    return {
        "counter": np.zeros(4, np.int64),
        "center": np.zeros(inputs),
        "width": np.ones(inputs),
        "edges": np.zeros((inputs, BINS - 1), np.float32),
        "weight": np.zeros((inputs, COLUMNS)),
        "bias": np.zeros(1),
        "level": np.zeros(4),
        "usual": np.zeros(inputs),
    }


def bits_of(anomaly: NDArray[np.float64]) -> NDArray[np.float64]:
    """−log2(1 − anomaly), 0 to 53."""
    bits: NDArray[np.float64] = -np.log2(np.maximum(1.0 - anomaly, 2.0**-53))
    return bits


def calibrate(labels: Labels, arrays: Arrays, pending: Pending, rows: int) -> bool:
    """Scale and bins anew where the rows have doubled, or the store has turned; whether they were."""
    counter = arrays["counter"]
    last = int(counter[CALIBRATED_ROWS])
    if last and rows < min(2 * last, last + labels.pending_rows_max):
        return False
    counter[CALIBRATED_ROWS] = rows
    held = min(rows, len(pending.identity))
    sample = pending.inputs[_newest(pending, rows, held)[:: max(1, held // CALIBRATE_ROWS_MAX)]]
    for column in range(sample.shape[1]):
        scale(sample[:, column], arrays, column)
    return True


def scale(values: NDArray[np.float32], arrays: Arrays, column: int) -> None:
    """One input's center, width and bin edges from a sample; what the sample does not tell stays 0 and 1."""
    known = np.sort(values[~np.isnan(values)]).astype(np.float64)
    if not len(known):
        return
    low, middle, high = known[[len(known) // 4, len(known) // 2, 3 * len(known) // 4]]
    spread = high - low
    if spread <= 0.0:
        spread = known[int(0.99 * (len(known) - 1))] - known[int(0.01 * (len(known) - 1))]
    arrays["center"][column] = middle
    arrays["width"][column] = spread if spread > 0.0 else max(1e-6, abs(middle))
    arrays["edges"][column] = known[(np.array(SHARES) * (len(known) - 1)).astype(np.int64)]


def note(arrays: Arrays, counts: NDArray[np.bool_]) -> None:
    """Remember that labels came, of which those that `counts` (n,) marks are reason to fit anew."""
    arrays["counter"][NEW_FRAUDS] += np.count_nonzero(counts)


def fit(labels: Labels, arrays: Arrays, pending: Pending, rows: int) -> None:
    """Fit the head to the labelled rows of the store, where it is due."""
    counter = arrays["counter"]
    if not counter[NEW_FRAUDS] or counter[NEW_FRAUDS] < REFIT_SHARE * counter[FITTED]:
        return
    held = min(rows, len(pending.identity))
    slots = _newest(pending, rows, held)[::-1]
    frauds = slots[pending.label[slots] == FRAUD][-FIT_FRAUDS_MAX:]
    genuine = slots[pending.label[slots] == GENUINE]
    if not len(genuine):  # where frauds alone are told, what is not told is genuine for the most part
        genuine = slots[pending.label[slots] == UNKNOWN]
    genuine = genuine[drawn(pending, genuine, labels.genuine_share, FIT_GENUINE_MAX)]
    if not len(frauds) or not len(genuine):
        return
    afresh = calibrate(labels, arrays, pending, rows) or len(frauds) > 2 * counter[FITTED]
    if afresh:
        arrays["weight"][:] = 0.0
        arrays["bias"][:] = np.log(labels.fraud_weight * len(frauds) / len(genuine))
    counter[[FITTED, NEW_FRAUDS, LEVELED]] = len(frauds), 0, 0
    inputs = pending.inputs[np.concatenate((frauds, genuine))]
    bins, scaled = np.empty(inputs.T.shape, np.uint8), np.empty(inputs.T.shape, np.float32)
    encode_kernel(inputs, arrays["center"], arrays["width"], arrays["edges"], bins, scaled)
    cycles = CYCLES_FIRST if afresh else CYCLES
    fit_kernel(bins, scaled, len(frauds), labels.fraud_weight, labels.ridge, cycles, arrays["weight"], arrays["bias"])


def errors(
    labels: Labels, arrays: Arrays, pending: Pending, slot: NDArray[np.int64], is_fraud: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """How wrong the head is about rows that it was not fitted to, 0 to 1 (n,); none before its first fit.

    The weight that frauds are fitted with is taken out again.
    """
    if not arrays["counter"][FITTED]:
        return np.empty(0)
    logit = np.empty(len(slot))
    logit_kernel(pending.inputs[slot], _model(arrays), logit)
    logit = np.clip(logit - np.log(labels.fraud_weight), -40.0, 40.0)
    wrong: NDArray[np.float64] = np.abs(is_fraud - 1.0 / (1.0 + np.exp(-logit)))
    return wrong


def blend(
    labels: Labels,
    arrays: Arrays,
    pending: Pending,
    boosted: Boosted,
    rows: int,
    frauds: int,
    inputs: NDArray[np.float32],
    anomaly: NDArray[np.float64],
) -> NDArray[np.float64]:
    """`anomaly` (n,) and the head's score of `inputs` (n, m), by the frauds seen; `anomaly` itself before the first."""
    counter = arrays["counter"]
    if frauds <= 0:
        return anomaly
    fit(labels, arrays, pending, rows)
    if not counter[FITTED]:
        return anomaly
    if not counter[LEVELED]:
        find_level(arrays, pending, boosted, rows)
    logit = logits(arrays, boosted, inputs)
    share = share_of(labels, frauds)
    bits = (1.0 - share) * bits_of(anomaly) + share * head_bits(logit, arrays["level"])
    blended: NDArray[np.float64] = 1.0 - np.exp2(-np.minimum(bits, BITS_MAX))
    return blended


def share_of(labels: Labels, frauds: float) -> float:
    """The head's share in the blend, 0 to 1, once so many frauds are known."""
    return frauds / (frauds + labels.frauds_until_half)


def logits(arrays: Arrays, boosted: Boosted, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
    """The logit of each row (n, m): the online head's, or its weighted mean with the boosted head's."""
    logit = np.empty(len(inputs))
    logit_kernel(inputs, _model(arrays), logit)
    if boosted.weight > 0.0:
        logit += boosted.weight * (trees.margins(boosted, inputs) - logit)
    return logit


def credits(arrays: Arrays, boosted: Boosted, inputs: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
    """What each input of one row (1, m) adds to its logit (m,), and the base that they add to: a usual row's.

    An input of the online head adds what it says, less its mean over the newest rows when the level was found; for the
    trees see `boosted.credits`.
    """
    given = np.empty(inputs.shape[1])
    base = credit_kernel(inputs[0], _model(arrays), arrays["usual"], given)
    if boosted.weight > 0.0:
        of_trees, base_of_trees = trees.credits(boosted, inputs[0])
        given += boosted.weight * (of_trees - given)
        base += boosted.weight * (base_of_trees - base)
    return given, base


def find_level(arrays: Arrays, pending: Pending, boosted: Boosted, rows: int) -> None:
    """Median and 99 % quantile of what the head, and of what the anomaly says of the newest rows; and what is usual."""
    inputs = pending.inputs[_newest(pending, rows, min(rows, len(pending.identity), LEVEL_ROWS))]
    shares = (0.5, 0.99)
    arrays["level"][:2] = np.quantile(logits(arrays, boosted, inputs), shares)
    arrays["level"][2:] = np.quantile(inputs[:, -1], shares)
    arrays["counter"][LEVELED] = 1
    some = np.ascontiguousarray(inputs[:: max(1, len(inputs) // USUAL_ROWS)])
    usual_kernel(some, _model(arrays), arrays["usual"])
    trees.find_usual(boosted, some)


def bits_a_nat(level: NDArray[np.float64]) -> float:
    """How many bits a unit of the logit is on the line through the quantiles of `level`."""
    middle, high, middle_bits, high_bits = level.tolist()
    return float(max(high_bits - middle_bits, BITS_MIN) / max(high - middle, NATS_MIN))


def head_bits(logit: NDArray[np.float64], level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logits (n,) in bits, on the line through the quantiles of `level`; below the median they run out to 0."""
    base = max(float(level[2]), BITS_MIN)
    above = bits_a_nat(level) * (logit - level[0])
    bits: NDArray[np.float64] = np.where(above < 0.0, base * np.exp(np.minimum(above, 0.0) / base), base + above)
    return bits


def _model(arrays: Arrays) -> tuple[NDArray[Any], ...]:
    return arrays["center"], arrays["width"], arrays["edges"], arrays["weight"], arrays["bias"]


def _newest(pending: Pending, rows: int, count: int) -> NDArray[np.int64]:
    """Slots of the newest `count` rows, newest first."""
    return (rows - 1 - np.arange(count)) % len(pending.identity)


@inlined
def bin_kernel(value, edges):
    """How many edges are below the value: a value that many rows have, such as 0, is parted from what is above it."""
    low = 0
    high = len(edges)
    while low < high:
        middle = (low + high) // 2
        if edges[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@inlined
def scaled_kernel(value, center, width):
    """An input on its asinh axis."""
    return min(max(np.arcsinh((np.float64(value) - center) / width), -SCALED_MAX), SCALED_MAX)


@inlined
def said_kernel(value, m, model):
    """What one input adds to the logit."""
    center, width, edges, weight, _ = model
    if np.isnan(value):
        return weight[m, MISSING]
    return weight[m, bin_kernel(value, edges[m])] + weight[m, LINEAR] * scaled_kernel(value, center[m], width[m])


@inlined
def row_kernel(inputs, row, model):
    """The head's logit of one row."""
    z = model[4][0]
    for m in range(inputs.shape[1]):
        z += said_kernel(inputs[row, m], m, model)
    return z


@kernel
def usual_kernel(inputs, model, usual):
    """What each input adds on average over rows (n, m), into `usual` (m,)."""
    usual[:] = 0.0
    for i in range(len(inputs)):
        for m in range(inputs.shape[1]):
            usual[m] += said_kernel(inputs[i, m], m, model)
    for m in range(len(usual)):
        usual[m] /= len(inputs)


@kernel
def credit_kernel(row, model, usual, credit):
    """What each input of `row` (m,) adds beyond `usual` (m,), into `credit` (m,); returns a usual row's logit."""
    base = model[4][0]
    for m in range(len(row)):
        credit[m] = said_kernel(row[m], m, model) - usual[m]
        base += usual[m]
    return base


@kernel
def logit_kernel(inputs, model, logit):
    """The head's logit of each row."""
    for i in range(len(inputs)):
        logit[i] = row_kernel(inputs, i, model)


@kernel
def encode_kernel(inputs, center, width, edges, bins, scaled):
    """Rows (n, m) as bins (m, n) and as scaled values (m, n), 0 where missing."""
    for m in range(inputs.shape[1]):
        for i in range(len(inputs)):
            value = inputs[i, m]
            missing = np.isnan(value)
            bins[m, i] = MISSING if missing else bin_kernel(value, edges[m])
            scaled[m, i] = 0.0 if missing else scaled_kernel(value, center[m], width[m])


@allocating
def fit_kernel(bins, scaled, frauds, fraud_weight, ridge, cycles, weight, bias):
    """Cyclic Newton steps on the logistic loss; the first `frauds` rows are the frauds.

    A cycle looks at the loss as a parabola in each row's log-odds (iteratively reweighted least squares), so that an
    input's step changes `pull`, minus the slope, of the rows by products alone. Bins and scaled value of an input step
    together, each half as far as it would alone.
    """
    inputs, rows = bins.shape
    odds = np.full(rows, bias[0])
    for m in range(inputs):
        for i in range(rows):
            odds[i] += weight[m, bins[m, i]] + weight[m, LINEAR] * scaled[m, i]
    pull, curve = np.empty(rows), np.empty(rows)
    slope, bend, step = np.empty(COLUMNS), np.empty(COLUMNS), np.empty(COLUMNS)
    for _ in range(cycles):
        parabola_kernel(odds, frauds, fraud_weight, pull, curve)
        shift = min(max(pull.sum() / (curve.sum() + 1e-6), -STEP_MAX), STEP_MAX)
        bias[0] += shift
        for i in range(rows):
            odds[i] += shift
            pull[i] -= curve[i] * shift
        for m in range(inputs):
            for column in range(COLUMNS):
                slope[column] = -BEND_RIDGE * ridge * weight[m, column]
                bend[column] = BEND_RIDGE * ridge
            slope_linear, bend_linear = -ridge * weight[m, LINEAR], ridge
            for i in range(rows):
                place = bins[m, i]
                value = np.float64(scaled[m, i])
                slope[place] += pull[i]
                bend[place] += curve[i]
                slope_linear += pull[i] * value
                bend_linear += curve[i] * value * value
            slope[LINEAR], bend[LINEAR] = slope_linear, bend_linear
            for column in range(COLUMNS):
                step[column] = min(max(0.5 * slope[column] / bend[column], -STEP_MAX), STEP_MAX)
                weight[m, column] += step[column]
            for i in range(rows):
                change = step[bins[m, i]] + step[LINEAR] * scaled[m, i]
                odds[i] += change
                pull[i] -= curve[i] * change


@kernel
def parabola_kernel(odds, frauds, fraud_weight, pull, curve):
    """Minus the slope of each row's loss, and a curvature: of a row on the wrong side that of the parabola which lies
    above the loss everywhere (Jaakkola, Jordan, 2000), for there the loss is nearly straight, and steps would be long.
    """
    for i in range(len(odds)):
        p = 1.0 / (1.0 + np.exp(-odds[i]))
        wrong = 1.0 - p if i < frauds else p
        bent = p * (1.0 - p) if wrong < 0.5 else (wrong - 0.5) / max(abs(odds[i]), 1e-6)
        if wrong >= 0.5 and abs(odds[i]) < 1e-3:
            bent = 0.25
        pull[i] = fraud_weight * wrong if i < frauds else -wrong
        curve[i] = fraud_weight * bent if i < frauds else bent
