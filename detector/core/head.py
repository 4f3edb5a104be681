"""The supervised head: logistic regression that learns from each label as it comes, and its blend with the anomaly.

Each input (a feature, or the members' anomaly in bits) enters twice: scaled and on an asinh axis, which keeps order and
far values apart; and as one of BINS quantile bins, or missing, so that the model may bend. AdaGrad (Duchi, Hazan,
Singer, 2011) gives every weight its own step, so a bin that is rare learns as fast as one that is not. All frauds are
learned, with a weight; of the genuine rows a share, chosen by their identity.

Scale and bins come from the pending rows at doubling numbers of rows, then once a turn of the store; the weights are
then learned anew from the labelled rows that the store holds. Between two batches nothing changes but by labels.

Blend: the anomaly in bits, −log2 of its tail probability, and the head's in bits of evidence over the median row; their
mean weighted by the number of frauds seen. A quantile map of the head's own scores would be at home in the same unit,
but frauds are few, so its upper tail trembles, and with it the order of the frauds of different days.

Fails where frauds differ from genuine rows only jointly: the model adds up what single inputs say.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detector.core import budget
from detector.core.boosted import Boosted, margins
from detector.core.pending import FRAUD, UNKNOWN, Pending
from detector.core.spec import Labels

Arrays = dict[str, NDArray[Any]]

# Bin edges, as shares of a sample: a third of them in the tails, where frauds are.
SHARES = (*(0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999),)
BINS = len(SHARES) + 1
MISSING = BINS  # columns of `weight`: the bins, one for missing, one for the scaled value
LINEAR = BINS + 1
COLUMNS = BINS + 2
SCALED_MAX = 10.0
CALIBRATE_ROWS_MIN = 256
CALIBRATE_ROWS_MAX = 16_384  # of the newest, at even steps
LEVEL_ROWS = 2_048  # newest rows that say how the head's scores are spread
LEVEL_STALE_SHARE = 1.0 / 64.0  # of the labels learned, before the spread is looked at again
LEVEL_STEP = 0.1  # of the way to the median just seen: a level that jumps would part scores of one day from the next
BITS_MAX = 45.0  # 1 − 2⁻⁴⁵ still has room below 1 in float64

# positions in `counter` and `bias`
CALIBRATED_ROWS, TAKEN, STALE, LEVELED = range(4)
BIAS, BIAS_MEMORY = range(2)


def new_arrays(inputs: int) -> Arrays:
    """The state before the first label."""
    return {
        "counter": np.zeros(4, np.int64),
        "center": np.zeros(inputs),
        "width": np.ones(inputs),
        "edges": np.zeros((inputs, BINS - 1), np.float32),
        "weight": np.zeros((inputs, COLUMNS)),
        "memory": np.zeros((inputs, COLUMNS)),
        "bias": np.zeros(2),
        "level": np.zeros(1),
    }


def bits_of(anomaly: NDArray[np.float64]) -> NDArray[np.float64]:
    """−log2(1 − anomaly), 0 to 53."""
    bits: NDArray[np.float64] = -np.log2(np.maximum(1.0 - anomaly, 2.0**-53))
    return bits


def calibrate(labels: Labels, arrays: Arrays, pending: Pending, rows: int) -> None:
    """Scale and bins anew where the rows have doubled, or the store has turned; then the weights anew."""
    counter = arrays["counter"]
    last = int(counter[CALIBRATED_ROWS])
    due = max(CALIBRATE_ROWS_MIN, min(2 * last, last + labels.pending_rows_max))
    if rows < due:
        return
    counter[CALIBRATED_ROWS] = rows
    held = min(rows, len(pending.identity))
    sample = pending.inputs[_newest(pending, rows, held)[:: max(1, held // CALIBRATE_ROWS_MAX)]]
    for column in range(sample.shape[1]):
        scale(sample[:, column], arrays, column)
    for name in ("weight", "memory", "bias"):
        arrays[name][:] = 0.0
    counter[[TAKEN, LEVELED]] = 0
    slots = _newest(pending, rows, held)[::-1]
    known = slots[pending.label[slots] != UNKNOWN]
    if len(known):
        learn(labels, arrays, pending, known, pending.label[known] == FRAUD)


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


def learn(
    labels: Labels, arrays: Arrays, pending: Pending, slot: NDArray[np.int64], is_fraud: NDArray[np.bool_]
) -> None:
    """Learn labelled rows, one after the other; of genuine ones those that their identity chooses."""
    taken = is_fraud | (budget.tie_breaks(pending.identity[slot].view(np.int64), 0) < labels.genuine_share)
    arrays["counter"][STALE] += len(slot)
    arrays["counter"][TAKEN] += np.count_nonzero(taken)
    learn_kernel(
        pending.inputs,
        slot[taken],
        is_fraud[taken],
        labels.fraud_weight,
        labels.learning_rate,
        _model(arrays),
        arrays["memory"],
    )


def errors(
    labels: Labels, arrays: Arrays, pending: Pending, slot: NDArray[np.int64], is_fraud: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """How wrong the head is about rows that it has not learned yet, 0 to 1 (n,); none before it has learned any.

    The weight that frauds were learned with is taken out again.
    """
    if arrays["counter"][TAKEN] == 0:
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
    if frauds <= 0 or counter[TAKEN] == 0:
        return anomaly
    if counter[STALE] > LEVEL_STALE_SHARE * counter[TAKEN] or not counter[LEVELED]:
        find_level(arrays, pending, boosted, rows)
    logit = logits(arrays, boosted, inputs)
    share = share_of(labels, frauds)
    bits = (1.0 - share) * bits_of(anomaly) + share * head_bits(logit, float(arrays["level"][0]))
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
        logit += boosted.weight * (margins(boosted, inputs) - logit)
    return logit


def find_level(arrays: Arrays, pending: Pending, boosted: Boosted, rows: int) -> None:
    """Let the level follow the median of what the head says of the newest rows."""
    newest = _newest(pending, rows, min(rows, len(pending.identity), LEVEL_ROWS))
    logit = logits(arrays, boosted, pending.inputs[newest])
    counter, level = arrays["counter"], arrays["level"]
    step = LEVEL_STEP if counter[LEVELED] else 1.0
    level[0] += step * (float(np.median(logit)) - level[0])
    counter[STALE] = 0
    counter[LEVELED] = 1


def head_bits(logit: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """The head's evidence in bits over that of the median row, which has 1; below the median it runs out to 0."""
    bits = (logit - level) / np.log(2.0)
    above: NDArray[np.float64] = np.where(bits < 0.0, np.exp2(np.minimum(bits, 0.0)), 1.0 + bits)
    return above


def _model(arrays: Arrays) -> tuple[NDArray[Any], ...]:
    return arrays["center"], arrays["width"], arrays["edges"], arrays["weight"], arrays["bias"]


def _newest(pending: Pending, rows: int, count: int) -> NDArray[np.int64]:
    """Slots of the newest `count` rows, newest first."""
    return (rows - 1 - np.arange(count)) % len(pending.identity)


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def scaled_kernel(value, center, width):
    """An input on its asinh axis."""
    return min(max(np.arcsinh((np.float64(value) - center) / width), -SCALED_MAX), SCALED_MAX)


@njit(cache=True, nogil=True)
def row_kernel(inputs, row, model):
    """The head's logit of one row."""
    center, width, edges, weight, bias = model
    z = bias[BIAS]
    for m in range(inputs.shape[1]):
        value = inputs[row, m]
        if np.isnan(value):
            z += weight[m, MISSING]
        else:
            z += weight[m, bin_kernel(value, edges[m])]
            z += weight[m, LINEAR] * scaled_kernel(value, center[m], width[m])
    return z


@njit(cache=True, nogil=True)
def logit_kernel(inputs, model, logit):
    """The head's logit of each row."""
    for i in range(len(inputs)):
        logit[i] = row_kernel(inputs, i, model)


@njit(cache=True, nogil=True)
def step_kernel(weight, memory, gradient, rate):
    """One AdaGrad step: the weight and the sum of squared gradients after it."""
    memory += gradient * gradient
    return weight - rate * gradient / np.sqrt(memory + 1e-8), memory


@njit(cache=True, nogil=True)
def learn_kernel(inputs, slot, is_fraud, fraud_weight, rate, model, memory):
    """Stochastic gradient descent on the logistic loss, a row a step."""
    center, width, edges, weight, bias = model
    for i in range(len(slot)):
        row = slot[i]
        z = row_kernel(inputs, row, model)
        p = 1.0 / (1.0 + np.exp(-z))
        gradient = (p - 1.0) * fraud_weight if is_fraud[i] else p
        bias[BIAS], bias[BIAS_MEMORY] = step_kernel(bias[BIAS], bias[BIAS_MEMORY], gradient, rate)
        for m in range(inputs.shape[1]):
            value = inputs[row, m]
            if np.isnan(value):
                column = MISSING
            else:
                column = bin_kernel(value, edges[m])
                scaled = scaled_kernel(value, center[m], width[m])
                weight[m, LINEAR], memory[m, LINEAR] = step_kernel(
                    weight[m, LINEAR], memory[m, LINEAR], gradient * scaled, rate
                )
            weight[m, column], memory[m, column] = step_kernel(weight[m, column], memory[m, column], gradient, rate)
