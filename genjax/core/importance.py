"""Averages of importance weights, however many: what bounds of several samples are made of."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from genjax import checks
from genjax.losses import resampled

ROWS = 1000  # for the networks at a time; how many changes nothing but speed and memory


def log_mean_weight(
    draw: Callable[[jax.Array], jax.Array],
    key: jax.Array,
    num_samples: int,
    like: jax.Array,
) -> jax.Array:
    """log of the mean of w over draws, `[...]` nats: a bound on log p(x) where E[w] = p(x).

    A few draws at a time in a running sum: memory does not grow with `num_samples`. Burda et
    al. 2016, "Importance Weighted Autoencoders" (arXiv:1509.00519), equation 8.

    Args:
      draw: `key -> log w [...]`, one draw for every entry.
      key: of all draws.
      num_samples: above 0.
      like: `[...]`, what the result is shaped as, and varies over devices with.
    """
    checks.integer(num_samples=num_samples)
    checks.positive(num_samples=num_samples)
    most = max(1, ROWS // max(like.size, 1))
    chunk = max(k for k in range(1, most + 1) if num_samples % k == 0)

    # The sum stays a sum until the end: to its log, -7000 say, whose float32 neighbours lie 5e-4
    # apart, nothing can be added after two thousand draws.
    def add(carry: tuple[jax.Array, jax.Array], keys: jax.Array) -> tuple[Any, None]:
        top, total = carry
        log_w = jax.vmap(draw)(keys)
        higher = jax.lax.stop_gradient(jnp.maximum(top, log_w.max(axis=0)))
        base = _finite(higher)
        total = total * jnp.exp(top - base) + jnp.exp(log_w - base[None]).sum(axis=0)
        return (higher, total), None

    # 0 * like: inside a user's shard_map the carry must vary over the devices as x does.
    start = 0 * like - jnp.inf, 0 * like
    keys = jax.random.split(key, num_samples).reshape(-1, chunk)
    (top, total), _ = jax.lax.scan(add, start, keys)
    return _finite(top) + jnp.log(total) - math.log(num_samples)


def resample_noise(key: jax.Array, log_weights: jax.Array, noise: Any, count: int) -> Any:
    """The noise of `count` of the samples, drawn as often as their weights have it.

    Args:
      key: the one that the noise came from, itself or split, or any other.
      log_weights: `[K, B]` nats, of all samples.
      noise: a tree of `[K, B, ...]` that the samples are made of.
      count: how many, for `genjax.losses.resampled`.

    Returns:
      A tree of `[count, B, ...]`.
    """
    # Folding in n gives the n-th of a split: no split gets this far.
    uniform = jax.random.uniform(jax.random.fold_in(key, 2**31 - 1), log_weights.shape[1:])
    chosen = resampled(log_weights, uniform, count)

    def take(a: jax.Array) -> jax.Array:
        index = chosen.reshape(chosen.shape + (1,) * (a.ndim - 2))
        return jnp.take_along_axis(a, index, axis=0)

    return jax.tree.map(take, noise)


def _finite(top: jax.Array) -> jax.Array:
    """0 where all weights are 0, or one is infinite: there is nothing to bring near 1."""
    return jnp.where(jnp.isfinite(top), top, 0)
