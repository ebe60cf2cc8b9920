"""From stored integers to what a family takes: pure functions on the device."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks


def scale_unit(x: jax.Array, levels: int) -> jax.Array:
    """Integers 0 .. levels - 1 to float32 in [0, 1]."""
    checks.positive(levels_minus_1=levels - 1)
    return x.astype(jnp.float32) / (levels - 1)


def scale_symmetric(x: jax.Array, levels: int) -> jax.Array:
    """Integers 0 .. levels - 1 to float32 in [-1, 1]."""
    return 2 * scale_unit(x, levels) - 1


def binarize_threshold(x: jax.Array, levels: int) -> jax.Array:
    """Integers 0 .. levels - 1 to float32 in {0, 1}: 1 above the middle level."""
    return (scale_unit(x, levels) > 0.5).astype(jnp.float32)


def binarize_stochastic(x: jax.Array, key: jax.Array, levels: int) -> jax.Array:
    """Integers 0 .. levels - 1 to float32 in {0, 1}: 1 with probability x / (levels - 1).

    Source: Salakhutdinov and Murray 2008, "On the Quantitative Analysis of Deep Belief Networks",
    section 4.
    """
    return jax.random.bernoulli(key, scale_unit(x, levels)).astype(jnp.float32)


def dequantize(x: jax.Array, key: jax.Array, levels: int) -> jax.Array:
    """Integers 0 .. levels - 1 to float32 in [0, 1): (x + u) / levels with uniform u.

    A density p of the result bounds the integers' probability: E_u[log p] - D log(levels) is at
    most log P.

    Source: Theis et al. 2016, "A Note on the Evaluation of Generative Models", section 3.1.
    """
    checks.positive(levels=levels)
    # The largest float32 below 1: adding a u near 1 to the top level may round up to 1.
    below_one = jnp.float32(1 - 2**-24)
    noisy = x.astype(jnp.float32) + jax.random.uniform(key, x.shape)
    return jnp.minimum(noisy / levels, below_one)


def make_transform(
    name: str, levels: int
) -> Callable[[dict[str, Any], jax.Array], dict[str, jax.Array]]:
    """`transform(batch, key) -> batch` for one of `TRANSFORMS`; acts on the entry `x` only.

    `static` draws once, when the data is loaded, so here it only casts.
    """
    functions: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
        "none": lambda x, key: x.astype(jnp.float32),
        "static": lambda x, key: x.astype(jnp.float32),
        "unit": lambda x, key: scale_unit(x, levels),
        "symmetric": lambda x, key: scale_symmetric(x, levels),
        "threshold": lambda x, key: binarize_threshold(x, levels),
        "dynamic": lambda x, key: binarize_stochastic(x, key, levels),
        "dequantize": lambda x, key: dequantize(x, key, levels),
    }
    checks.one_of(tuple(functions), transform=name)
    function = functions[name]
    return lambda batch, key: {**batch, "x": function(batch["x"], key)}


def draw_static(
    x: np.ndarray, rows: np.ndarray, *, levels: int, seed: int, stream: int
) -> np.ndarray:
    """Bernoulli draws that belong to the rows: `[N, ...]` integers to uint8 in {0, 1}.

    The same for a row whichever others are drawn with it, so that a split binarised at once and
    one read row by row agree.

    Args:
      x: integers 0 .. levels - 1, `[N, ...]`.
      rows: the number of each row in its split, `[N]`.
      levels: of x.
      seed: of the draws.
      stream: another number gives other draws, one a split.
    """
    n = int(np.prod(x.shape[1:]))
    out = np.empty((len(x), n), np.uint8)
    runs = np.flatnonzero(np.diff(rows, prepend=rows[:1] - 2) != 1)  # rows that follow each other
    for a, b in zip(runs, [*runs[1:], len(rows)], strict=True):
        first = int(rows[a]) * n
        # A counter of Philox gives four words, so the words of any row can be had at once.
        raw = np.random.Philox(key=[seed, stream], counter=[first // 4, 0, 0, 0])
        words = raw.random_raw((b - a) * n + first % 4)[first % 4 :]
        u = (words >> np.uint64(11)) * 2.0**-53  # uniform in [0, 1)
        out[a:b] = (u * (levels - 1) < x[a:b].reshape(-1)).reshape(b - a, n)
    return out.reshape(x.shape)
