"""Sets that nobody looked at when choices were made: small ones, dense in anomalies, without an order of time.

`--further` adds them. What holds on the sets of the table and fails here was fitted to the table.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from tests.quality.bench.generated import Floats, Stream


def mixed(normal: Floats, odd: Floats, rows: int | None, seed: int) -> Stream:
    """Both in one, shuffled by the seed: there is no order to find."""
    random = np.random.RandomState(seed)
    values = np.concatenate([normal, odd])
    fraud = np.arange(len(values)) >= len(normal)
    order = random.permutation(len(values))[:rows]
    return values[order].astype(float), fraud[order]


@cache
def breast_cancer(rows: int | None = None) -> Stream:
    """Wisconsin's diagnoses as the anomaly literature takes them: 357 benign, the first 21 malignant; 30 columns."""
    from sklearn.datasets import load_breast_cancer

    values, benign = load_breast_cancer(return_X_y=True)
    return mixed(values[benign == 1], values[benign == 0][:21], rows, 1)


@cache
def digits(rows: int | None = None) -> Stream:
    """Handwritten digits, 8 × 8 pixels: 1 to 9, and 50 noughts among them."""
    from sklearn.datasets import load_digits

    values, digit = load_digits(return_X_y=True)
    return mixed(values[digit != 0], values[digit == 0][:50], rows, 2)


@cache
def scattered(rows: int | None = None) -> Stream:
    """Two blobs in six columns of very different units, one row in twelve from anywhere in their box."""
    random = np.random.RandomState(3)
    blob = random.normal(0.0, 1.0, (5_500, 6)) + np.where(random.random_sample((5_500, 1)) < 0.7, 0.0, 6.0)
    box = random.uniform(blob.min(axis=0), blob.max(axis=0), (500, 6))
    units = 10.0 ** np.array([-4, -1, 0, 2, 4, 6])
    return mixed(blob * units, box * units, rows, 4)


@cache
def ring(rows: int | None = None) -> Stream:
    """Two columns: a ring, and 1 % of the rows in its middle, where both columns alone look common."""
    random = np.random.RandomState(5)
    angle, radius = random.uniform(0.0, 2 * np.pi, 30_000), random.normal(10.0, 1.0, 30_000)
    around = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
    return mixed(around, random.normal(0.0, 1.5, (300, 2)), rows, 6)
