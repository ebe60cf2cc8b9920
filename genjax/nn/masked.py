"""Masked dense layers for autoregressive networks, their degrees, and dropout masks.

Every unit has a degree: that of an input is its place in the order, 1 to D; that of a hidden unit
bounds the places it depends on. Two units are connected if their degrees allow it, so the mask of a
layer is one comparison and is not stored.

Source: Germain et al. 2015, "MADE: Masked Autoencoder for Distribution Estimation", section 3.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


def draw_degrees(dims: int, hidden: Sequence[int], seed: int, number: int = 0) -> list[np.ndarray]:
    """Samples degrees of all hidden layers, int32 `[units]` each, the `number`-th of a seed.

    Uniform from the lowest degree of the layer before to D - 1, so that every unit has an input
    (Germain et al. 2015, section 4, below eq. 13). For D = 1 all are 1, without an effect.
    """
    out, low, high = [], 1, max(dims - 1, 1)
    for layer, units in enumerate(hidden):
        # The last word of the counter separates layers from each other and from `draw_order`.
        bits = np.random.Philox(key=[seed, number], counter=[0, 0, 0, layer + 1])
        raw = bits.random_raw(units) % np.uint64(high - low + 1)
        out.append(low + raw.astype(np.int32))
        low = int(out[-1].min())
    return out


class MaskedDense(nn.Module):
    """Dense layer between units with degrees: `[B, in] -> [B, features]`."""

    features: int  # number of output units
    # connects lower degrees to higher ones only (output layers); else equal ones too
    strict: bool = False
    use_bias: bool = True
    dtype: Any = jnp.float32  # dtype of the computation; parameters are float32
    kernel_init: Callable = nn.initializers.he_normal()

    @nn.compact
    def __call__(self, x: jax.Array, inputs: jax.Array, outputs: jax.Array) -> jax.Array:
        """Applies the layer; `inputs [in]` and `outputs [features]` are degrees."""
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        # The barrier keeps XLA from embedding the whole mask in the program as a constant.
        low, high = jax.lax.optimization_barrier((jnp.asarray(inputs), jnp.asarray(outputs)))
        low, high = low[:, None], high[None, :]
        mask = high > low if self.strict else high >= low  # [in, features]
        kernel = jnp.where(mask, kernel, 0).astype(self.dtype)
        # Full float32 on GPU and TPU too: the result enters a likelihood.
        y = jnp.dot(x.astype(self.dtype), kernel, precision=precision(self.dtype))
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            y = y + bias.astype(self.dtype)[None]
        return y


def precision(dtype: Any) -> jax.lax.Precision:
    """Returns the precision of products in `dtype`: full float32 for float32."""
    exact = jnp.dtype(dtype) == jnp.float32
    return jax.lax.Precision.HIGHEST if exact else jax.lax.Precision.DEFAULT


def dropout_mask(key: jax.Array, rate: float, shape: tuple[int, ...]) -> jax.Array:
    """Samples a mask of 0 with probability `rate`, else 1 / (1 - rate)."""
    return jax.random.bernoulli(key, 1 - rate, shape) / jnp.float32(1 - rate)
