"""Averages of importance weights, however many: what bounds of several samples are made of."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from genjax import checks

ROWS = 1000  # for the networks at a time; how many changes nothing but speed and memory


def log_mean_weight(
    draw: Callable[[jax.Array], jax.Array],
    key: jax.Array,
    num_samples: int,
    like: jax.Array,
) -> jax.Array:
    """log of the mean of w over draws, `[...]` nats: a bound on log p(x) where E[w] = p(x).

    A few draws at a time in a running logsumexp: memory does not grow with `num_samples`. Burda et
    al. 2016, "Importance Weighted Autoencoders" (arXiv:1509.00519), equation 8.

    Args:
      draw: `key -> log w [...]`, one draw for every entry.
      key: of all draws.
      num_samples: above 0.
      like: `[...]`, what the result is shaped as, and varies over devices with.
    """
    checks.positive(num_samples=num_samples)
    most = max(1, ROWS // like.size)
    chunk = max(k for k in range(1, most + 1) if num_samples % k == 0)

    def add(total: jax.Array, keys: jax.Array) -> tuple[jax.Array, None]:
        return jnp.logaddexp(total, jax.nn.logsumexp(jax.vmap(draw)(keys), axis=0)), None

    # 0 * like: inside a user's shard_map the carry must vary over the devices as x does.
    start = 0 * like - jnp.inf
    total, _ = jax.lax.scan(add, start, jax.random.split(key, num_samples).reshape(-1, chunk))
    return total - math.log(num_samples)
