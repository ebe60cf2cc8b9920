"""Networks of strided convolutions: generators, and discriminators without their head.

Radford et al. 2016, "Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks" (arXiv:1511.06434), section 3. With dense layers these are the networks of
Chen et al. 2016, "InfoGAN" (arXiv:1606.03657), appendix C.1.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.convolution import Conv, ConvTranspose
from genjax.nn.sizes import sides_of


def join(x: jax.Array, condition: jax.Array | None) -> jax.Array:
    """Appends a condition `[B, K]` to `[B, F]`, or to every pixel of `[B, H, W, C]`."""
    if condition is None:
        return x
    lead = (1,) * (x.ndim - 2)
    spread = jnp.broadcast_to(
        condition.reshape(x.shape[0], *lead, condition.shape[-1]),
        (*x.shape[:-1], condition.shape[-1]),
    )
    return jnp.concatenate([x, spread.astype(x.dtype)], axis=-1)


def normalize(norm: str, x: jax.Array, train: bool, dtype: Any) -> jax.Array:
    """Applies batch or layer normalisation within a compact module; other norms are the identity.

    Batch normalisation uses batch statistics in training and running ones otherwise; layer
    normalisation is over all axes of an example. For spectral normalisation see `apply_layer`.
    """
    if norm == "batch":
        return nn.BatchNorm(use_running_average=not train, momentum=0.9, dtype=dtype)(x)
    if norm == "layer":
        every = tuple(range(1, x.ndim))
        return nn.LayerNorm(reduction_axes=every, feature_axes=-1, dtype=dtype)(x)
    return x


def apply_layer(norm: str, layer: nn.Module, x: jax.Array, train: bool) -> jax.Array:
    """Applies a dense or convolutional layer within a compact module.

    With norm `spectral` its weights are divided by their largest singular value, which power
    iteration estimates.

    Source: Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks"
    (arXiv:1802.05957), algorithm 1.
    """
    if norm == "spectral":
        return nn.SpectralNorm(layer)(x, update_stats=train)
    return layer(x)


class UpStack(nn.Module):
    """Generator: `[B, Z] -> [B, H, W, C]`, linear output, float32."""

    shape: Sequence[int]  # of the image
    # channels of the maps, smallest map first; each has twice the side of the one before
    widths: Sequence[int]
    dense: Sequence[int] = ()  # units of layers before the first map
    kernel: int = 5  # side of the convolutions
    norm: str = "batch"  # after every layer except the last; `batch` or `none`
    kernel_init: Callable = nn.initializers.normal(0.02)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, z: jax.Array, condition: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        heights, columns = (sides_of(s, len(self.widths) + 1)[::-1] for s in self.shape[:2])
        bias = self.norm != "batch"  # batch normalisation has its own

        def active(x: jax.Array) -> jax.Array:
            return nn.relu(normalize(self.norm, x, train, self.dtype))

        def dense(units: int, x: jax.Array) -> jax.Array:
            options = {"kernel_init": self.kernel_init, "dtype": self.dtype, "use_bias": bias}
            return nn.Dense(units, **options)(join(x, condition))

        x = z
        for units in self.dense:
            x = active(dense(units, x))
        # Normalised per unit, as in the authors' code, not per channel.
        x = active(dense(heights[0] * columns[0] * self.widths[0], x))
        x = x.reshape(-1, heights[0], columns[0], self.widths[0])
        outputs = [*self.widths[1:], self.shape[-1]]
        for i, channels in enumerate(outputs):
            last = i + 1 == len(outputs)
            x = ConvTranspose(
                channels,
                (self.kernel, self.kernel),
                strides=(2, 2),
                use_bias=bias or last,
                kernel_init=self.kernel_init,
                dtype=jnp.float32 if last else self.dtype,
            )(join(x, condition))
            x = x[:, : heights[i + 1], : columns[i + 1]]  # an odd side is cropped by one
            x = x if last else active(x)
        return x


class DownStack(nn.Module):
    """Discriminator without its head: `[B, H, W, C] -> maps`, largest first, then dense layers."""

    widths: Sequence[int]  # channels of the maps; each has half the side of the one before
    dense: Sequence[int] = ()  # units of layers after the last map
    kernel: int = 5  # side of the convolutions
    # `batch` or `layer`, after every layer except the first; `spectral`, of all weights
    norm: str = "batch"
    slope: float = 0.2  # of LeakyReLU below 0
    kernel_init: Callable = nn.initializers.normal(0.02)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, condition: jax.Array | None = None, train: bool = False
    ) -> list[jax.Array]:
        """Returns the maps `[B, h, w, width]`, then the hidden layers `[B, units]`."""
        out: list[jax.Array] = []
        for i, units in enumerate((*self.widths, *self.dense)):
            options: dict[str, Any] = {"kernel_init": self.kernel_init, "dtype": self.dtype}
            options["use_bias"] = i == 0 or self.norm != "batch"
            if i < len(self.widths):
                layer: nn.Module = Conv(units, (self.kernel,) * 2, strides=(2, 2), **options)
            else:
                layer = nn.Dense(units, **options)
                x = x.reshape(x.shape[0], -1)
            x = apply_layer(self.norm, layer, join(x, condition), train)
            x = normalize(self.norm, x, train, self.dtype) if i else x
            x = nn.leaky_relu(x, self.slope)
            out.append(x)
        return out
