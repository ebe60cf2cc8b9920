"""Dense networks."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


def symmetric_uniform(scale: float) -> Callable:
    """Initializer: uniform on (-scale, scale), where Flax's `uniform` begins at 0."""

    def init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -scale, scale)

    return init


class MLP(nn.Module):
    """Dense hidden layers and a linear output: `[B, F] -> [B, out]`, output in float32.

    hidden: units of each hidden layer.
    out: units of the output.
    activation: after each hidden layer.
    dtype: of the computation; parameters stay float32.
    """

    hidden: Sequence[int]
    out: int
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    dtype: Any = jnp.float32
    kernel_init: Callable = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for i, units in enumerate(self.hidden):
            dense = nn.Dense(
                units, dtype=self.dtype, kernel_init=self.kernel_init, name=f"hidden_{i}"
            )
            x = self.activation(dense(x))  # [B, units]
        # The last product stays in float32: logits and means go into a likelihood.
        return nn.Dense(self.out, dtype=jnp.float32, kernel_init=self.kernel_init, name="out")(x)


class Maxout(nn.Module):
    """The largest of `pieces` linear maps: `[B, F] -> [B, units]`.

    Source: Goodfellow et al. 2013, "Maxout Networks", section 2.
    """

    units: int
    pieces: int
    dtype: Any = jnp.float32
    kernel_init: Callable = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        dense = nn.Dense(self.units * self.pieces, dtype=self.dtype, kernel_init=self.kernel_init)
        x = dense(x)  # [B, units * pieces]
        return jnp.max(x.reshape(*x.shape[:-1], self.units, self.pieces), axis=-1)
