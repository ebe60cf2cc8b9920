"""Networks from events to vectors and back, chosen by name: `mlp` or `resnet`."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax import checks
from genjax.nn.mlp import MLP
from genjax.nn.resnet import ResNetDecoder, ResNetEncoder


class ToVector(nn.Module):
    """`x [B, *shape]`, condition `[B, K]` or None -> `[B, out]` in float32.

    kind: mlp, or resnet for images `(H, W, C)`.
    out: units of the output.
    hidden: units of the hidden layers; of a resnet, of the dense layers after the convolutions.
    activation: of an mlp; a resnet has elu.
    channels: feature maps of a resnet's levels.
    blocks: residual blocks of a resnet's level.
    dtype: of the hidden layers and, in an mlp, of the output's factors; parameters stay float32.
    kernel_init: of dense layers.
    """

    kind: str
    out: int
    hidden: Sequence[int]
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    channels: Sequence[int] = ()
    blocks: int = 0
    dtype: Any = jnp.float32
    kernel_init: Callable = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        last = (self.hidden, self.out)
        if self.kind == "resnet":
            return ResNetEncoder(self.channels, self.blocks, *last, self.dtype, self.kernel_init)(
                x, condition
            )
        x = concatenate_condition(x.reshape(x.shape[0], -1), condition)
        return MLP(*last, self.activation, self.dtype, self.kernel_init)(x)


class ToEvent(nn.Module):
    """`z [B, Z]`, condition `[B, K]` or None -> `heads` arrays `[B, *shape]` in float32.

    Fields as in `ToVector`, hidden layers and levels in its order: they are gone through backwards.
    """

    kind: str
    shape: tuple[int, ...]
    heads: int
    hidden: Sequence[int]
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    channels: Sequence[int] = ()
    blocks: int = 0
    dtype: Any = jnp.float32
    kernel_init: Callable = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, z: jax.Array, condition: jax.Array | None = None) -> tuple[jax.Array, ...]:
        z = concatenate_condition(z, condition)
        if self.kind == "resnet":
            height, width, channels = self.shape
            out = ResNetDecoder(
                (height, width),
                self.channels,
                self.blocks,
                self.hidden,
                self.heads * channels,
                self.dtype,
                self.kernel_init,
            )(z)
        else:
            out = MLP(
                self.hidden[::-1],
                self.heads * math.prod(self.shape),
                self.activation,
                self.dtype,
                self.kernel_init,
            )(z)
        parts = jnp.split(out, self.heads, axis=-1)
        return tuple(part.reshape(-1, *self.shape) for part in parts)


def concatenate_condition(x: jax.Array, condition: jax.Array | None) -> jax.Array:
    """`[B, F]` and a condition `[B, K]` side by side."""
    return x if condition is None else jnp.concatenate([x, condition], axis=-1)


def one_hot(label: jax.Array, classes: int) -> jax.Array:
    """Label `[B]` as `[B, classes]`; one outside 0 .. classes - 1 becomes NaN, not no class."""
    known = (label >= 0) & (label < classes)
    return jnp.where(known[:, None], jax.nn.one_hot(label, classes), jnp.nan)


def one_hot_condition(family: str, classes: int, label: Any, size: int) -> jax.Array | None:
    """The label of a batch as networks take it, one-hot `[B, classes]`; None without classes.

    Raises:
      ValueError: there are classes and no label fits them, or the reverse.
    """
    if not classes:
        if label is not None:
            raise ValueError(
                f"{family}: this Config has no classes; leave out label, or set classes."
            )
        return None
    fits = getattr(label, "shape", None) == (size,) and jnp.issubdtype(label.dtype, jnp.integer)
    if not fits:
        raise ValueError(
            f"{family}: p(x | label) of {classes} classes needs label int32[{size}], got"
            f" {checks.describe(label)}."
        )
    return one_hot(label, classes)


def random_label(family: str, classes: int, label: Any, key: jax.Array, size: int) -> Any:
    """The label, or `[size]` drawn uniformly where there are classes and none is given.

    Raises:
      ValueError: a label is no class.
    """
    if classes and label is None:
        return jax.random.randint(key, (size,), 0, classes)
    if classes:
        checks.labels(family, classes, label)
    return label


def random_condition(
    family: str, classes: int, label: Any, key: jax.Array, size: int
) -> jax.Array | None:
    """As `one_hot_condition`, of labels drawn where there are classes and none are given."""
    return one_hot_condition(family, classes, random_label(family, classes, label, key, size), size)
