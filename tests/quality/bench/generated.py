"""Four made-up streams, each hard in one way; the seed fixes a set (numpy freezes RandomState's stream)."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Stream = tuple[Floats, Bools]
"""Columns float64 (n, f) in order of time, and the truth (n,)."""


@cache
def gradual_drift(rows: int = 100_000, seed: int = 7) -> Stream:
    """Three clusters in ten columns that wander by many widths, while the second half's noise grows threefold.

    0.5 % are anomalies, any time: half of them off all clusters, half where a cluster lay a third of the stream ago
    (a model that never forgets takes these for normal).
    """
    random = np.random.RandomState(seed)
    columns, clusters = 10, 3
    time = np.linspace(0.0, 1.0, rows)
    home = random.normal(0.0, 4.0, (clusters, columns))
    way = random.normal(0.0, 1.0, (clusters, columns))
    way *= 20.0 / np.linalg.norm(way, axis=1, keepdims=True)
    mix = random.normal(0.0, 0.5, (clusters, columns, columns)) + np.eye(columns)
    which = random.randint(clusters, size=rows)
    noise = random.normal(0.0, 1.0, (rows, columns))
    noise = np.einsum("nc,ncd->nd", noise, mix[which]) * (1.0 + 2.0 * np.maximum(0.0, time - 0.5))[:, None]
    fraud = random.random_sample(rows) < 0.005
    past = fraud & (random.random_sample(rows) < 0.5) & (time > 1 / 3)
    where = np.where(past, time - 1 / 3, time)
    values = home[which] + where[:, None] * way[which] + noise
    off = fraud & ~past
    direction = random.normal(0.0, 1.0, (int(off.sum()), columns))
    values[off] += 10.0 * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    return values, fraud


@cache
def burst_attacks(rows: int = 100_000, seed: int = 11) -> Stream:
    """Heavy-tailed traffic in eight columns; eight attacks of 150 to 1,500 rows, three in four rows of them alike.

    Each attack comes from one place of its own, a little off the traffic in three columns: a short memory learns it.
    """
    random = np.random.RandomState(seed)
    columns = 8
    common = random.normal(0.0, 1.0, (rows, 1))
    values = np.exp(0.6 * random.normal(0.0, 1.0, (rows, columns)) + 0.6 * common)
    values[:, 5:] = np.floor(3.0 * values[:, 5:])
    fraud = np.zeros(rows, np.bool_)
    for attack in range(8):
        length = max(4, int(rows * random.uniform(0.0015, 0.015)))
        start = int(rows * (attack + random.uniform(0.3, 0.7)) / 8.5)
        hit = np.arange(start, start + length)
        hit = hit[random.random_sample(length) < 0.75]
        fraud[hit] = True
        chosen = random.choice(columns, 3, replace=False)
        place = random.uniform(6.0, 15.0, 3)
        values[np.ix_(hit, chosen)] = place * np.exp(0.03 * random.normal(0.0, 1.0, (len(hit), 3)))
    return values, fraud


@cache
def sudden_change(rows: int = 100_000, seed: int = 17) -> Stream:
    """Heavy-tailed columns that go together; after two fifths of the stream they do so in another way, and elsewhere.

    0.4 % are anomalies, any time: wider in all columns than what is usual then.
    """
    random = np.random.RandomState(seed)
    columns = 12
    normal = random.normal(0.0, 1.0, (rows, columns))
    kinds = [normal @ random.normal(0.0, columns**-0.5, (columns, columns)) for _ in range(2)]
    before, after = (np.sign(kind) * np.abs(kind) ** 1.5 for kind in kinds)
    values = np.where(np.arange(rows)[:, None] < 0.4 * rows, before, after + 2.0)
    fraud = random.random_sample(rows) < 0.004
    values[fraud] += random.normal(0.0, 2.5, (int(fraud.sum()), columns)) * values.std(axis=0)
    return values, fraud


@cache
def sparse_high_dimensional(rows: int = 40_000, seed: int = 13) -> Stream:
    """200 columns, one in twenty non-zero: each row fills columns of one of twelve topics, as words in a text.

    1 % are anomalies: the same number of non-zeros, of the same sizes, but from columns that no topic joins.
    """
    random = np.random.RandomState(seed)
    columns, topics, filled = 200, 12, 10
    topic = [
        random.choice(columns // 2, 24, replace=False) for _ in range(topics)
    ]  # half of the columns are seldom used
    share = random.dirichlet(np.full(topics, 2.0))
    which = random.choice(topics, size=rows, p=share)
    fraud = random.random_sample(rows) < 0.01
    values = np.zeros((rows, columns))
    for row in range(rows):
        pool = np.arange(columns) if fraud[row] else topic[which[row]]
        values[row, random.choice(pool, filled, replace=False)] = random.gamma(2.0, 1.0, filled)
        if random.random_sample() < 0.2:  # a stray word is nothing odd
            values[row, random.randint(columns)] = random.gamma(2.0, 1.0)
    return values, fraud
