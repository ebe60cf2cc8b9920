"""Normalisation per image and per pixel. Statistics are computed in float32, none is stored."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.sizes import check_maps


def instance_norm(
    x: jax.Array,
    scale: jax.Array | None = None,
    bias: jax.Array | None = None,
    *,
    epsilon: float = 1e-5,
) -> jax.Array:
    """Normalises every channel of every image to mean 0 and variance 1, `[B, H, W, C]`.

    Args:
      x: maps.
      scale: factors `[C]` of the result, if any.
      bias: `[C]`, added after them, if any.
      epsilon: added to the variance.

    Returns:
      `[B, H, W, C]` in the dtype of `x`.

    Raises:
      ValueError: `x` has another rank, or its maps have a single pixel.

    Source: Ulyanov et al. 2016, "Instance Normalization: The Missing Ingredient for Fast
    Stylization" (arXiv:1607.08022), eq. 3.
    """
    check_maps(x)
    if x.shape[1] * x.shape[2] == 1:
        raise ValueError(
            "instance normalisation of 1x1 maps is 0 whatever the input; leave it out after the"
            " layer that makes them, or use larger images."
        )
    # Two passes: E[x^2] - E[x]^2 loses the variance of maps whose mean is large.
    centred = x.astype(jnp.float32)
    centred -= centred.mean((1, 2), keepdims=True)
    y = centred * jax.lax.rsqrt(jnp.square(centred).mean((1, 2), keepdims=True) + epsilon)
    y = y if scale is None else y * scale[None, None, None]
    return (y if bias is None else y + bias[None, None, None]).astype(x.dtype)


class InstanceNorm(nn.Module):
    """`instance_norm`, with parameters `scale` and `bias` if it is affine.

    Attributes:
      affine: whether channels are scaled and shifted.
      epsilon: added to the variance.
    """

    affine: bool = False
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        options: dict[str, Any] = {}
        if self.affine:
            shape = (x.shape[-1],)
            options["scale"] = self.param("scale", nn.initializers.ones, shape)
            options["bias"] = self.param("bias", nn.initializers.zeros, shape)
        return instance_norm(x, **options, epsilon=self.epsilon)


def pixel_norm(x: jax.Array, *, epsilon: float = 1e-8) -> jax.Array:
    """Divides every vector of channels by its root mean square: `[..., C] -> [..., C]`.

    Source: Karras et al. 2018, "Progressive Growing of GANs for Improved Quality, Stability, and
    Variation" (arXiv:1710.10196), section 4.2.
    """
    y = x.astype(jnp.float32)
    return (y * jax.lax.rsqrt(jnp.square(y).mean(-1, keepdims=True) + epsilon)).astype(x.dtype)
