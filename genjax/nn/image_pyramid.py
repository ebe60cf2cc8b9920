"""Images at smaller sides by an exact box filter, and blends of two sides."""

import jax
import jax.numpy as jnp

from genjax.nn.resampling import average_pool, upsample_nearest


def box_downsample(x: jax.Array, side: int) -> jax.Array:
    """Averages squares of pixels: `[..., H, H, C] -> [..., side, side, C]`, float32.

    The mean of 2x2 pixels is taken repeatedly, so that levels nest to the bit. Sums of integers
    are exact.

    Args:
      x: images with any leading axes; H is `side` times a power of two.
      side: of the output; H returns the images unchanged.

    Raises:
      ValueError: the images are not square, or H is not `side` times a power of two.
    """
    shape = x.shape[-3:]
    factor = shape[0] // side if len(shape) == 3 and side > 0 else 0
    if not factor or factor & (factor - 1) or shape[:2] != (factor * side,) * 2:
        raise ValueError(
            f"images must be [..., H, H, C] with H = {side} times a power of two, got"
            f" {list(x.shape)}; crop, pad or resize them first."
        )
    out = x.astype(jnp.float32).reshape(-1, *shape)
    while out.shape[1] > side:
        out = average_pool(out)
    return out.reshape(*x.shape[:-3], side, side, shape[2])


def lerp(start: jax.Array, end: jax.Array, weight: jax.Array | float) -> jax.Array:
    """Interpolates linearly, exactly `start` at weight 0 and `end` at 1, in the dtype of `end`.

    A finite array has no influence on value or gradients where its weight is 0.
    """
    weight = jnp.asarray(weight, jnp.float32)
    return ((1 - weight) * start + weight * end).astype(end.dtype)


def blend(x: jax.Array, alpha: jax.Array | float) -> jax.Array:
    """Blends images with themselves at half the side: `[..., H, H, C]`, float32.

    Alpha 1 gives exactly `x`, and 0 exactly its 2x2 means, each repeated 2x2.

    Source: Karras et al. 2018, "Progressive Growing of GANs for Improved Quality, Stability, and
    Variation" (arXiv:1710.10196), figure 2.

    Args:
      x: images with any leading axes and an even side.
      alpha: float32 `[]` in [0, 1].

    Raises:
      ValueError: the images are not square, or their side is odd.
    """
    half = box_downsample(x, x.shape[-2] // 2)
    low = upsample_nearest(half.reshape(-1, *half.shape[-3:])).reshape(x.shape)
    return lerp(low, x.astype(jnp.float32), alpha)
