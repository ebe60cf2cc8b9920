"""Statistics of a batch as inputs of a discriminator, which then sees too little variation."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.equalized import EqualizedDense
from genjax.nn.sizes import check_maps

EPSILON = 1e-8  # added to the variance


def minibatch_stddev(x: jax.Array, group: int = 4) -> jax.Array:
    """Appends the standard deviation over groups of a batch: `[B, H, W, C] -> [B, H, W, C + 1]`.

    The new channel is one number per group: sqrt(variance + 1e-8) of every pixel and channel over
    the group, averaged. A group has min(group, B) examples at equal distances in the batch:
    i, i + M, i + 2 M and so on for M groups. Computed in float32.

    Args:
      x: maps.
      group: examples per group.

    Source: Karras et al. 2018 (arXiv:1710.10196), section 3; groups as in the authors' code.

    Raises:
      ValueError: `x` has another rank, or B is not a multiple of the group.
    """
    check_maps(x)
    size = min(group, len(x))
    if size < 1 or len(x) % size:
        raise ValueError(
            f"the batch of {len(x)} cannot be divided into groups of {group} for the minibatch"
            f" standard deviation; use a multiple of {max(group, 1)}, or another group size."
        )
    groups = x.astype(jnp.float32).reshape(size, -1, *x.shape[1:])  # [G, M, H, W, C]
    stddev = jnp.sqrt(groups.var(0) + EPSILON).mean((1, 2, 3))  # [M]
    return _append(x, jnp.tile(stddev, size)[:, None])


class MinibatchDiscrimination(nn.Module):
    """Appends similarities of an example to those of its batch: `[B, F] -> [B, F + kernels]`.

    With M the inputs times a `[F, kernels, dims]` tensor of parameters, feature k of example i is
    the sum over all examples j of exp(-||M_ik - M_jk||_1), from 1 to B. Maps `[B, H, W, C]` are
    flattened for M, and the features are appended as constant channels. Computed in float32.

    Source: Salimans et al. 2016, "Improved Techniques for Training GANs" (arXiv:1606.03498),
    section 3.2.

    Attributes:
      kernels: number of features.
      dims: of the space in which the distances of a feature are measured.
      equalized: whether the tensor is scaled at run time, as of `EqualizedDense` with gain 1.
    """

    kernels: int = 100
    dims: int = 5
    equalized: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        options: dict[str, Any] = {"gain": 1.0, "equalized": self.equalized, "use_bias": False}
        dense = EqualizedDense(self.kernels * self.dims, **options, name="tensor")
        rows = dense(x.reshape(len(x), -1)).reshape(len(x), self.kernels, self.dims)
        distances = jnp.abs(rows[:, None] - rows[None]).sum(-1)  # [B, B, kernels]
        return _append(x, jnp.exp(-distances).sum(1))


def _append(x: jax.Array, features: jax.Array) -> jax.Array:
    """Appends `[B, K]` to the last axis of `[B, ..., C]`, the same at every pixel."""
    features = features.astype(x.dtype).reshape(len(x), *(1,) * (x.ndim - 2), -1)
    return jnp.concatenate([x, jnp.broadcast_to(features, (*x.shape[:-1], features.shape[-1]))], -1)
