"""What a conditional really looks at: the receptive field of one pixel, by its gradient.

A pixel of an autoregressive model may depend on all before it. Van den Oord et al. 2016,
"Conditional Image Generation with PixelCNN Decoders" (arXiv:1606.05328), figure 1, show which of
them a stack of masked convolutions never sees: its blind spot.
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
    *,
    draws: int = 8,
    seed: int = 0,
    **told: jax.Array,
) -> np.ndarray:
    """Largest gradient of a pixel's logits with respect to every pixel: `[H, W]`, 0 where unseen.

    Args:
      family: module with `logits`.
      config: its Config, of shape (H, W, C).
      variables: of the network; random ones show what the architecture can see.
      row, column: of the pixel whose conditional it is.
      draws: random real inputs that are tried, since one may lie where a unit is off.
      seed: of the inputs.
      told: what else `logits` takes, of one image: a label `[1]`, the small image `[1, h, w, C]` of
        a PixelRNN of two scales (it is made of x where it is left out, and looks ahead).

    Raises:
      ValueError: the pixel is not in the image.
    """
    h, w = config.shape[:2]
    if not (0 <= row < h and 0 <= column < w):
        raise ValueError(f"pixel ({row}, {column}) is not in an image of {h} x {w}.")
    x = jax.random.uniform(jax.random.key(seed), (draws, *config.shape))

    @jax.jit
    def gradients(x: jax.Array) -> jax.Array:
        def here(x: jax.Array) -> jax.Array:
            return family.logits(config, variables, x[None], **told)[0, row, column].reshape(-1)

        # Every logit by itself: in a sum two could cancel.
        return jnp.max(jnp.abs(jax.jacrev(here)(x)), axis=(0, 3))  # [H, W]

    return np.max([np.asarray(gradients(one)) for one in x], axis=0)


def unseen_pixels(field: np.ndarray, row: int, column: int, *, channels: int = 1) -> np.ndarray:
    """The earlier pixels that a field leaves out, bool `[H, W]`; a later one seen is an error.

    With several channels the pixel itself may be seen: its later channels look at the earlier ones.

    Raises:
      ValueError: the field has a gradient where none may be.
    """
    place = np.arange(field.size).reshape(field.shape)
    earlier = place < place[row, column]
    hidden = place > place[row, column] if channels > 1 else place >= place[row, column]
    if (field[hidden] != 0).any():
        raise ValueError("the conditional looks at later pixels: this is no autoregressive model.")
    return earlier & (field == 0)
