"""Separable filters of images."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def separable(x: jax.Array, weights: Sequence[float]) -> jax.Array:
    """Convolves every channel, without padding: `[B, H, W, C] -> [B, H-k+1, W-k+1, C]`.

    The kernel is the outer product of the k `weights` with themselves.
    """
    b, h, w, c = x.shape
    x = x.transpose(0, 3, 1, 2).reshape(b * c, h, w, 1)  # channels are filtered separately
    line = jnp.asarray(weights, x.dtype)
    for kernel in (line.reshape(-1, 1, 1, 1), line.reshape(1, -1, 1, 1)):
        x = jax.lax.conv_general_dilated(
            x,
            kernel,
            (1, 1),
            "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=jax.lax.Precision.HIGHEST,
        )
    return x.reshape(b, c, *x.shape[1:3]).transpose(0, 2, 3, 1)
