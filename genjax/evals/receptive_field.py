"""Receptive field of a pixel's conditional, by gradients.

Van den Oord et al. 2016, "Conditional Image Generation with PixelCNN Decoders" (arXiv:1606.05328),
figure 1: earlier pixels outside the receptive field are the blind spot.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def receptive_field(
    family: Any,
    config: Any,
    variables: Any,
    row: int,
    column: int,
    **conditions: jax.Array,
) -> np.ndarray:
    """Computes the largest gradient of a pixel's logits with respect to every pixel.

    The largest of eight random inputs is used, since a unit may be inactive at one of them.

    Args:
      family, config: a model of images that implements `Autoregressive`.
      variables: its Flax collections; random ones show what the architecture can depend on.
      row, column: position of the pixel.
      **conditions: further arguments of `logits` for one image, such as a label `[1]`. A
        multi-scale PixelRNN needs its small image `[1, h, w, C]`, which else comes from all of x.

    Returns:
      `[H, W]`, 0 outside the receptive field.

    Raises:
      ValueError: the pixel is outside the image.
    """
    h, w = config.shape[:2]
    if not (0 <= row < h and 0 <= column < w):
        raise ValueError(f"pixel ({row}, {column}) is outside the image of {h} x {w} pixels.")
    x = jax.random.uniform(jax.random.key(0), (8, *config.shape))

    @jax.jit
    def gradients(x: jax.Array) -> jax.Array:
        def pixel_logits(x: jax.Array) -> jax.Array:
            logits = family.logits(config, variables, x[None], **conditions)
            return logits[0, row, column].reshape(-1)

        # A gradient per logit: those of a sum could cancel.
        return jnp.max(jnp.abs(jax.jacrev(pixel_logits)(x)), axis=(0, 3))  # [H, W]

    return np.max([np.asarray(gradients(one)) for one in x], axis=0)


def unseen_pixels(field: np.ndarray, row: int, column: int, *, channels: int = 1) -> np.ndarray:
    """Returns the earlier pixels outside a receptive field, bool `[H, W]`.

    Args:
      field: `[H, W]`, see `receptive_field`.
      row, column: position of the pixel.
      channels: with several, the field may contain the pixel itself: later channels depend on
        earlier ones.

    Raises:
      ValueError: the field contains later pixels.
    """
    place = np.arange(field.size).reshape(field.shape)
    earlier = place < place[row, column]
    later = place > place[row, column] if channels > 1 else place >= place[row, column]
    if (field[later] != 0).any():
        raise ValueError("the conditional depends on later pixels; check the masks of the model.")
    return earlier & (field == 0)
