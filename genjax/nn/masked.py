"""Dense layers whose connections follow from integers: autoregressive networks by masking.

Every unit has a degree: an input's is its place in the order, 1 to D; a hidden unit's says up to
which place it may look. Two units are connected when their degrees allow it, so a layer's mask is
one comparison and is never stored. Germain et al. 2015, "MADE: Masked Autoencoder for Distribution
Estimation", section 3.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


def draw_order(dims: int, seed: int, number: int = 0) -> np.ndarray:
    """A random permutation of 0 .. dims - 1, the `number`-th of a seed.

    Ranks of raw generator output: numpy promises to keep this stream, not its shuffles.
    """
    raw = np.random.Philox(key=[seed, number]).random_raw(dims)
    return np.argsort(raw, kind="stable")


def draw_degrees(dims: int, hidden: Sequence[int], seed: int, number: int = 0) -> list[np.ndarray]:
    """Degrees of all hidden layers, int32 `[units]` each, the `number`-th of a seed.

    Uniform from the lowest degree of the layer before to D - 1, so that no unit is without inputs
    (Germain et al. 2015, section 4, below eq. 13). With D = 1 nothing may be seen: degree 1
    reaches no output.
    """
    out, low, high = [], 1, max(dims - 1, 1)
    for layer, units in enumerate(hidden):
        # The counter's last word keeps layers apart from each other and from the orders.
        bits = np.random.Philox(key=[seed, number], counter=[0, 0, 0, layer + 1])
        raw = bits.random_raw(units) % np.uint64(high - low + 1)
        out.append(low + raw.astype(np.int32))
        low = int(out[-1].min())
    return out


class MaskedDense(nn.Module):
    """Dense layer between units of known degrees: `[B, in] -> [B, features]`.

    features: units of the output.
    strict: connect lower degrees only (to outputs), not equal ones too (to hidden units).
    use_bias: add a bias.
    dtype: of the computation; parameters stay float32.
    """

    features: int
    strict: bool = False
    use_bias: bool = True
    dtype: Any = jnp.float32
    kernel_init: Callable = nn.initializers.he_normal()

    @nn.compact
    def __call__(self, x: jax.Array, inputs: jax.Array, outputs: jax.Array) -> jax.Array:
        """`x [B, in]`, `inputs [in]` and `outputs [features]` the degrees."""
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        # The barrier: a compiler that knows the degrees may write the whole mask into its program.
        low, high = jax.lax.optimization_barrier((jnp.asarray(inputs), jnp.asarray(outputs)))
        low, high = low[:, None], high[None, :]
        mask = high > low if self.strict else high >= low  # [in, features]
        kernel = jnp.where(mask, kernel, 0).astype(self.dtype)
        # float32 means float32, on a GPU and a TPU too: the logits make a likelihood.
        y = jnp.dot(x.astype(self.dtype), kernel, precision=precision(self.dtype))
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            y = y + bias.astype(self.dtype)[None]
        return y


def precision(dtype: Any) -> jax.lax.Precision:
    """Of a product in `dtype`."""
    exact = jnp.dtype(dtype) == jnp.float32
    return jax.lax.Precision.HIGHEST if exact else jax.lax.Precision.DEFAULT
