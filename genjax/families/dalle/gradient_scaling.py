"""Scaling of the gradients of one residual block at a time, for computation in float16."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

TARGET = 2.0**8  # largest sum of a feature's gradients over all tokens; float16 ends at 2^16


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def scale_gradients(
    block: Callable[..., jax.Array], params: Any, x: jax.Array, *inputs: Any
) -> jax.Array:
    """Computes block(params, x, *inputs), whose backward pass works on scaled gradients.

    The size of gradients falls from block to block. With one loss scale for all blocks, those of
    the first blocks underflow in float16. Here the incoming gradient is multiplied by a power of
    two, and the outgoing ones are divided by it in float32, which rounds nothing.

    The power brings the largest sum of absolute values over tokens, of any feature, near 2^8.
    Gradients of weights and biases are sums over tokens, so the power is lower with more tokens.
    The gradient of a weight overflows if the block multiplies such a sum by more than 2^8; entries
    below 2^-32 of the largest sum underflow. The paper has an adaptive scale for every block
    instead, which is lowered after an overflow.

    Ramesh et al. 2021, "Zero-Shot Text-to-Image Generation" (arXiv:2102.12092), appendix D.

    Args:
      block: function of float32 parameters and values that may compute in float16.
      params: tree of float32 parameters.
      x: float32 `[..., D]`.
      inputs: other arrays, without gradients.

    Returns:
      The block's result, float32 `[..., D]`.
    """
    return block(params, x, *inputs)


def _forward(block: Any, params: Any, x: jax.Array, *inputs: Any) -> tuple[jax.Array, Any]:
    y, pullback = jax.vjp(lambda p, x: block(p, x, *inputs), params, x)
    return y, (pullback, len(inputs))


def _backward(block: Any, residuals: Any, gradient: jax.Array) -> tuple[Any, ...]:
    del block
    pullback, count = residuals
    largest = jnp.abs(gradient).sum(range(gradient.ndim - 1)).max()
    usable = (largest > 0) & jnp.isfinite(largest)
    exponent = jnp.floor(jnp.log2(TARGET / jnp.where(usable, largest, TARGET)))
    # Two factors: 2^exponent itself may be above the largest float32.
    low = jnp.floor(exponent / 2).astype(jnp.int32)
    one, other = (jnp.ldexp(jnp.float32(1), e) for e in (low, exponent.astype(jnp.int32) - low))
    grads = pullback(gradient * one * other)
    return *jax.tree.map(lambda g: g / one / other, grads), *(None,) * count


scale_gradients.defvjp(_forward, _backward)
