"""A recurrent network over a card's last transactions: an LSTM (Hochreiter, Schmidhuber, 1997) as autoencoder, in jax.

It reads a card's rows in order, the one asked about last, and tells that row again out of what it kept, fewer numbers
than the row has: how badly is the score. Habits of the card are cheap to keep, what breaks them is not. Where rows have
no card the rows before in the file take the place of the card's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.lab.models.piped import Floats, Labels, prepared

BATCH_ROWS = 256
SCORED_ROWS = 8_192
EPOCHS = 5
CLIP_SD = 5.0
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8  # Adam (Kingma, Ba, 2015)


@dataclass(frozen=True, slots=True)
class Windows:
    """n windows over rows: `rows` float64 (m, f + c), all rows there are; `index` int64 (n, k) into them, the row asked
    about last, -1 before a card's first.
    """

    rows: Floats
    index: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, some: Any) -> Windows:
        return Windows(self.rows, self.index[some])


class Lstm:
    """`fit` and `score` take `Windows`."""

    def __init__(self, seed: int, categories: int, hidden: int = 16, rate: float = 0.005) -> None:
        from sklearn.pipeline import Pipeline

        self.pipeline: Any = Pipeline(prepared(categories, clip=CLIP_SD))
        self._seed, self._hidden, self._rate = seed, hidden, rate
        self._weights: Any = None

    def fit(self, windows: Windows, y: Labels | None = None) -> Lstm:
        """Learn to tell the last row of each window."""
        import jax

        self.pipeline.fit(windows.rows[windows.index[:, -1]])
        given = self._given(windows)
        shape = (given.shape[1], min(self._hidden, max(2, given.shape[1] // 2)))
        self._weights = initial(jax.random.PRNGKey(self._seed), *shape)
        moments = (jax.tree.map(np.zeros_like, self._weights), jax.tree.map(np.zeros_like, self._weights))
        update = updater(self._rate)
        random = np.random.default_rng(self._seed)
        size, step = min(BATCH_ROWS, len(windows)), 0
        for _ in range(EPOCHS):
            order = random.permutation(len(windows))
            for at in range(0, len(order) - size + 1, size):  # whole batches: one shape is compiled once
                step += 1
                batch = gathered(given, windows.index[order[at : at + size]])
                self._weights, moments = update(self._weights, moments, step, *batch)
        return self

    def score(self, windows: Windows) -> Floats:
        """Mean squared error of each window's last row (n,)."""
        given, ask = self._given(windows), asker()
        score = np.empty(len(windows))
        for at in range(0, len(windows), SCORED_ROWS):
            index = windows.index[at : at + SCORED_ROWS]
            whole = np.concatenate([index, np.repeat(index[-1:], SCORED_ROWS - len(index), axis=0)])
            score[at : at + len(index)] = np.asarray(ask(self._weights, *gathered(given, whole)))[: len(index)]
        return score

    def _given(self, windows: Windows) -> NDArray[np.float32]:
        """All rows as the network sees them."""
        given: NDArray[np.float32] = np.asarray(self.pipeline.transform(windows.rows), np.float32)
        return given


def gathered(given: NDArray[np.float32], index: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(rows (n, k, f), which of them are there (n, k))."""
    there = index >= 0
    return given[np.maximum(index, 0)] * there[:, :, None], there.astype(np.float32)


def initial(key: Any, width: int, hidden: int) -> dict[str, Any]:
    """Weights, drawn after Glorot and Bengio (2010); the forget gate starts open."""
    import jax
    import jax.numpy as jnp

    gates, back = jax.random.split(key)
    draw = jax.nn.initializers.glorot_uniform()
    return {
        "gates": draw(gates, (width + hidden, 4 * hidden)),
        "gates_bias": jnp.zeros(4 * hidden).at[hidden : 2 * hidden].set(1.0),
        "back": draw(back, (hidden, width)),
        "back_bias": jnp.zeros(width),
    }


def errors(weights: dict[str, Any], rows: Any, there: Any) -> Any:
    """Mean squared error of each window's last row, told out of the state behind it."""
    import jax
    import jax.numpy as jnp

    hidden = weights["back"].shape[0]

    def read(state: tuple[Any, Any], given: tuple[Any, Any]) -> tuple[tuple[Any, Any], None]:
        kept, told = state
        row, present = given
        gates = jnp.concatenate([row, told], axis=1) @ weights["gates"] + weights["gates_bias"]
        let_in, keep, new, show = jnp.split(gates, 4, axis=1)
        following = jax.nn.sigmoid(keep) * kept + jax.nn.sigmoid(let_in) * jnp.tanh(new)
        seen = jax.nn.sigmoid(show) * jnp.tanh(following)
        mask = present[:, None]
        return (mask * following + (1 - mask) * kept, mask * seen + (1 - mask) * told), None

    nothing = jnp.zeros((rows.shape[0], hidden))
    (_, told), _ = jax.lax.scan(read, (nothing, nothing), (rows.swapaxes(0, 1), there.swapaxes(0, 1)))
    return jnp.square(told @ weights["back"] + weights["back_bias"] - rows[:, -1]).mean(axis=1)


@cache
def asker() -> Callable[..., Any]:
    """`errors`, compiled once for each shape."""
    import jax

    compiled: Callable[..., Any] = jax.jit(errors)
    return compiled


@cache
def updater(rate: float) -> Callable[..., Any]:
    """One step of Adam down the mean error of a batch, compiled."""
    import jax
    import jax.numpy as jnp

    down = jax.grad(lambda weights, rows, there: errors(weights, rows, there).mean())

    def update(weights: Any, moments: Any, step: Any, rows: Any, there: Any) -> Any:
        slope = down(weights, rows, there)
        first = jax.tree.map(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, moments[0], slope)
        second = jax.tree.map(lambda v, g: BETA_2 * v + (1 - BETA_2) * g * g, moments[1], slope)
        warm_1, warm_2 = 1 - BETA_1**step, 1 - BETA_2**step

        def moved(weight: Any, m: Any, v: Any) -> Any:
            return weight - rate * (m / warm_1) / (jnp.sqrt(v / warm_2) + EPSILON)

        return jax.tree.map(moved, weights, first, second), (first, second)

    compiled: Callable[..., Any] = jax.jit(update)
    return compiled
