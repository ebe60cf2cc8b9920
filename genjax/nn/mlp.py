"""Dense networks."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


def symmetric_uniform(scale: float) -> Callable:
    """Returns an initializer that is uniform on (-scale, scale); Flax's `uniform` starts at 0."""

    def init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -scale, scale)

    return init


@jax.custom_jvp
def _rounded_dot(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`[B, F], [F, out] -> [B, out]`: factors in bfloat16, sums in float32."""
    x, kernel = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
    return jnp.dot(x, kernel, preferred_element_type=jnp.float32)


@_rounded_dot.defjvp
def _rounded_dot_jvp(at: Any, along: Any) -> tuple[jax.Array, jax.Array]:
    """Tangents in bfloat16, so that the products of gradients are in bfloat16 too."""
    x, kernel, dx, dkernel = (a.astype(jnp.bfloat16) for a in (*at, *along))
    return _rounded_dot(*at), (jnp.dot(dx, kernel) + jnp.dot(x, dkernel)).astype(jnp.float32)


class OutputDense(nn.Module):
    """The linear output of a network: `[..., F] -> [..., out]`, summed and returned in float32.

    With `dtype` bfloat16 only the factors of the product and their gradients are rounded, because
    the output parameterises a likelihood.
    """

    out: int
    dtype: Any = jnp.float32
    kernel_init: Callable = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (x.shape[-1], self.out)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.out,), jnp.float32)
        rows = x.reshape(-1, x.shape[-1]).astype(jnp.float32)
        product = _rounded_dot if jnp.dtype(self.dtype) == jnp.bfloat16 else jnp.dot
        y = product(rows, kernel.astype(jnp.float32)) + bias.astype(jnp.float32)[None]
        return y.reshape(*x.shape[:-1], self.out)


class MLP(nn.Module):
    """Dense hidden layers and a linear output: `[..., F] -> [..., out]`, output in float32."""

    hidden: Sequence[int]  # units of each hidden layer
    out: int
    activation: Callable[[jax.Array], jax.Array] = nn.relu  # after each hidden layer
    dtype: Any = jnp.float32  # of the computation; parameters and the output's sums stay float32
    kernel_init: Callable = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for i, units in enumerate(self.hidden):
            dense = nn.Dense(
                units, dtype=self.dtype, kernel_init=self.kernel_init, name=f"hidden_{i}"
            )
            x = self.activation(dense(x))  # [B, units]
        return OutputDense(self.out, self.dtype, self.kernel_init, name="out")(x)


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
