"""Averages of importance weights, and resampling by them."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from genjax import checks
from genjax.losses import resampled

ROWS = 1000  # evaluated at a time; affects speed and memory only


def log_mean_weight(
    draw: Callable[[jax.Array], jax.Array],
    key: jax.Array,
    num_samples: int,
    like: jax.Array,
) -> jax.Array:
    """Computes the log of the mean weight, a lower bound on log p(x) where E[w] = p(x).

    Weights are summed a few draws at a time, so memory does not grow with `num_samples`.

    Args:
      draw: function from a key to log weights `[...]`.
      key: of all draws.
      num_samples: number of draws, above 0.
      like: array `[...]` of the result's shape, and of its sharding within `shard_map`.

    Returns:
      `[...]` nats.

    Source: Burda et al. 2015, "Importance Weighted Autoencoders", eq. 8.
    """
    checks.integer(num_samples=num_samples)
    checks.positive(num_samples=num_samples)
    most = max(1, ROWS // max(like.size, 1))
    chunk = max(k for k in range(1, most + 1) if num_samples % k == 0)

    # The sum is kept relative to the largest weight: added to its log in float32, further weights
    # would be lost to rounding after about two thousand draws.
    def add(carry: tuple[jax.Array, jax.Array], keys: jax.Array) -> tuple[Any, None]:
        top, total = carry
        log_w = jax.vmap(draw)(keys)
        higher = jax.lax.stop_gradient(jnp.maximum(top, log_w.max(axis=0)))
        base = _finite(higher)
        total = total * jnp.exp(top - base) + jnp.exp(log_w - base[None]).sum(axis=0)
        return (higher, total), None

    # 0 * like: inside shard_map the carry must vary over the devices as x does.
    start = 0 * like - jnp.inf, 0 * like
    keys = jax.random.split(key, num_samples).reshape(-1, chunk)
    (top, total), _ = jax.lax.scan(add, start, keys)
    return _finite(top) + jnp.log(total) - math.log(num_samples)


def resample_noise(key: jax.Array, log_weights: jax.Array, noise: Any, count: int) -> Any:
    """Selects the noise of `count` samples, resampled in proportion to their weights.

    Args:
      key: may be the key that the noise was drawn with.
      log_weights: `[K, B]` nats, of all samples.
      noise: a tree of `[K, B, ...]` that determines the samples.
      count: number of samples; see `genjax.losses.resampled`.

    Returns:
      A tree of `[count, B, ...]`.
    """
    # Folding in n gives the n-th key of a split, so a large n gives a key that no split has.
    uniform = jax.random.uniform(jax.random.fold_in(key, 2**31 - 1), log_weights.shape[1:])
    chosen = resampled(log_weights, uniform, count)

    def take(a: jax.Array) -> jax.Array:
        index = chosen.reshape(chosen.shape + (1,) * (a.ndim - 2))
        return jnp.take_along_axis(a, index, axis=0)

    return jax.tree.map(take, noise)


def _finite(top: jax.Array) -> jax.Array:
    """Replaces infinite log weights by 0."""
    return jnp.where(jnp.isfinite(top), top, 0)
