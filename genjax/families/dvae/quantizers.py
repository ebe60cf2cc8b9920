"""Quantisers: Gumbel-softmax, straight-through gradients, and finite scalar quantisation.

Gumbel-softmax: Jang et al. 2017, "Categorical Reparameterization with Gumbel-Softmax"
(arXiv:1611.01144). Finite scalar quantisation: Mentzer et al. 2024, "Finite Scalar Quantization:
VQ-VAE Made Simple" (arXiv:2309.15505), section 3.1 and appendix A.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

FSQ_MARGIN = 1e-3  # keeps the bound below the outermost rounding thresholds


def cosine_schedule(step: jax.Array, first: float, last: float, steps: int) -> jax.Array:
    """Returns the value of half a cosine wave from `first` to `last`, float32 `[]`.

    Args:
      step: number of updates.
      first: value at step 0.
      last: value after `steps`.
      steps: length of the schedule; 0 returns `last`.
    """
    share = jnp.minimum(jnp.asarray(step, jnp.float32) / max(steps, 1), 1) if steps else 1.0
    return first + (last - first) * 0.5 * (1 - jnp.cos(math.pi * jnp.asarray(share)))


def gumbel_softmax(
    key: jax.Array, logits: jax.Array, temperature: jax.typing.ArrayLike
) -> jax.Array:
    """Draws a relaxed one-hot vector: softmax((logits + Gumbel noise) / temperature), `[..., K]`.

    As the temperature tends to 0 it tends to a one-hot draw from softmax(logits).
    """
    noise = jax.random.gumbel(key, logits.shape, logits.dtype)
    return jax.nn.softmax((logits + noise) / temperature, axis=-1)


def uniform_kl(logits: jax.Array) -> jax.Array:
    """Computes KL(softmax(logits) || uniform) = log K - entropy: `[..., K] -> [...]` nats."""
    log_q = jax.nn.log_softmax(logits, axis=-1)
    return math.log(logits.shape[-1]) + jnp.sum(jnp.exp(log_q) * log_q, axis=-1)


def straight_through(value: jax.Array, gradient: jax.Array) -> jax.Array:
    """Returns `value`, whose derivative is that of `gradient`, an array of the same shape."""
    return gradient + jax.lax.stop_gradient(value - gradient)


def perplexity(tokens: jax.Array, codes: int) -> jax.Array:
    """Computes exp of the entropy of the tokens' frequencies, `[]` in [1, codes]."""
    share = jnp.bincount(tokens.ravel(), length=codes) / tokens.size
    return jnp.exp(-jnp.sum(share * jnp.log(jnp.where(share > 0, share, 1))))


def fsq_code(z: jax.Array, levels: Sequence[int]) -> jax.Array:
    """Rounds every dimension to one of its levels, with a straight-through gradient.

    A dimension of L levels is bounded by tanh to an interval of length just below L - 1, and
    rounded; the gradient is that of the bounded value. An even L has an offset of half a level, so
    that the rounded values are -L/2 .. L/2 - 1.

    Args:
      z: `[..., len(levels)]`, any real numbers.
      levels: number of levels of each dimension, 2 or more.

    Returns:
      `[..., len(levels)]` in [-1, 1], multiples of 1 / (L // 2).

    Source: Mentzer et al. 2024, appendix A.
    """
    number = _along_last(levels, z.ndim)
    half = ((number - 1) * (1 - FSQ_MARGIN) / 2).astype(np.float32)
    offset = np.where(number % 2, 0.0, 0.5).astype(np.float32)
    bounded = jnp.tanh(z + np.tan(offset / half)) * half - offset
    return straight_through(jnp.round(bounded), bounded) / (number // 2).astype(np.float32)


def fsq_tokens(code: jax.Array, levels: Sequence[int]) -> jax.Array:
    """Returns the indices of codes: `[..., len(levels)]` -> int32 `[...]`, 0 .. prod(levels) - 1.

    An index is a number in mixed radix, whose digits are the levels of the dimensions, the least
    significant one first.
    """
    half = _along_last(levels, code.ndim) // 2
    digits = jnp.round(code * half + half).astype(jnp.int32)
    return jnp.sum(digits * _place_values(levels, code.ndim), axis=-1)


def fsq_from_tokens(tokens: jax.Array, levels: Sequence[int]) -> jax.Array:
    """Inverts `fsq_tokens`: integers `[...]` -> float32 `[..., len(levels)]`."""
    number = _along_last(levels, tokens.ndim + 1)
    digits = tokens[..., None] // _place_values(levels, tokens.ndim + 1) % number
    code = (digits - number // 2) / (number // 2).astype(np.float32)
    known = (tokens >= 0) & (tokens < math.prod(levels))
    return jnp.where(known[..., None], code, jnp.nan).astype(jnp.float32)


def _along_last(numbers: Sequence[int], rank: int) -> np.ndarray:
    return np.asarray(numbers, np.int32).reshape((1,) * (rank - 1) + (-1,))


def _place_values(levels: Sequence[int], rank: int) -> np.ndarray:
    return _along_last([math.prod(levels[:i]) for i in range(len(levels))], rank)
