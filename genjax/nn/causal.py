"""Causal convolutions of whole images, and of one row or one pixel at a time.

Feature maps are divided into as many groups as an image has channels. At a pixel itself, group k
depends on channels before k (mask A), after the first layer also on channel k (mask B). Kernels
hold only the rows up to the pixel's own. The *buffer* of a convolution is its input with the zeros
around it.

Sources: van den Oord et al. 2016, "Pixel Recurrent Neural Networks" (arXiv:1601.06759), section
3.4, and "Conditional Image Generation with PixelCNN Decoders" (arXiv:1606.05328), section 2.2.
"""

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax.core import draw_values
from genjax.core.autoregressive import Draw, KnownValues
from genjax.nn.convolution import conv
from genjax.nn.masked import precision

Kind = Literal["A", "B", "all"]


def cached_kernel(
    module: nn.Module, make: Callable[[], tuple[jax.Array, jax.Array]]
) -> tuple[jax.Array, jax.Array]:
    """Returns `make()`, the kernel and bias of a layer, or its value in collection `kernels`.

    A call with that collection mutable stores it. Loops use it because XLA would compute the kernel
    in every iteration.
    """
    names = ("kernel", "bias")
    if module.has_variable("kernels", names[0]):
        kernel, bias = (module.get_variable("kernels", name) for name in names)
        return kernel, bias
    kernel, bias = make()
    if module.is_mutable_collection("kernels") and not module.is_initializing():
        for name, value in zip(names, (kernel, bias), strict=True):
            module.put_variable("kernels", name, value)
    return kernel, bias


def with_cached_kernels(network: nn.Module, variables: Any, *arguments: Any) -> dict[str, Any]:
    """Returns variables with the kernels of all layers, see `cached_kernel`."""
    # One example is enough; XLA removes the computation of its outputs, which are not used.
    one = jax.tree.map(lambda a: a[:1], arguments)
    return {**variables, **network.apply(variables, *one, mutable=["kernels"])[1]}


def channel_groups(features: int, channels: int) -> np.ndarray:
    """Returns the group of every feature, `[features]`: contiguous and of nearly equal sizes."""
    return np.arange(features) * channels // features


def kernel_mask(
    height: int, width: int, centre: int, inputs: np.ndarray, outputs: np.ndarray, kind: Kind
) -> np.ndarray:
    """Returns the mask of a kernel, `[height, width, I, O]` of 0 and 1.

    The pixel is in column `centre` of the last row. There, kind A connects groups `inputs` `[I]` to
    later groups in `outputs` `[O]`, B also to equal ones; `all` masks nothing.
    """
    mask = np.ones((height, width, len(inputs), len(outputs)), np.float32)
    if kind == "all":
        return mask
    mask[-1, centre + 1 :] = 0
    before = inputs[:, None] < outputs[None]
    mask[-1, centre] = before if kind == "A" else before | (inputs[:, None] == outputs[None])
    return mask


class CausalConv(nn.Module):
    """Convolution over a pixel's own row and the rows above: `[B, H, W, I] -> [B, H, W, O]`."""

    in_groups: tuple[int, ...]  # group of every feature
    out_groups: tuple[int, ...]
    height: int = 1  # size of the kernel
    width: int = 1
    # Rows of the kernel above the pixel's own: height - 1, or height to exclude the own row
    top: int = 0
    left: int = 0  # columns of the kernel left of the pixel
    kind: Kind = "B"  # mask of the own row, see `kernel_mask`
    dtype: Any = jnp.float32  # dtype of the computation; parameters are float32
    # precision of products; None is full float32 for float32
    precision: jax.lax.Precision | None = None
    scale: float = 1.0  # factor of the weights' initial variance

    def setup(self) -> None:
        shape = (self.height, self.width, len(self.in_groups), len(self.out_groups))
        normal = nn.initializers.variance_scaling(self.scale, "fan_in", "truncated_normal")
        self.kernel = self.param("kernel", normal, shape)
        self.bias = self.param("bias", nn.initializers.zeros, (shape[-1],))

    def product_precision(self) -> jax.lax.Precision:
        return self.precision or precision(self.dtype)

    def weights(self) -> tuple[jax.Array, jax.Array]:
        """Returns the masked kernel and the bias in the dtype of the computation."""

        def masked() -> tuple[jax.Array, jax.Array]:
            mask = kernel_mask(
                self.height,
                self.width,
                self.left,
                np.asarray(self.in_groups),
                np.asarray(self.out_groups),
                self.kind,
            )
            kernel = self.kernel if mask.all() else self.kernel * mask
            return kernel.astype(self.dtype), self.bias.astype(self.dtype)

        return cached_kernel(self, masked)

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel, bias = self.weights()
        rows = (self.top, self.height - 1 - self.top)
        columns = (self.left, self.width - 1 - self.left)
        x = x.astype(self.dtype)
        out = conv(x, kernel, padding=(rows, columns), precision=self.product_precision())
        return out + bias[None, None, None]

    def buffer(self, batch: int, rows: int, columns: int) -> jax.Array:
        """Returns an empty buffer, `[B, rows + top, columns + width - 1, I]`."""
        shape = (batch, rows + self.top, columns + self.width - 1, len(self.in_groups))
        return jnp.zeros(shape, self.dtype)

    def write(self, buffer: jax.Array, x: jax.Array, row: Any, column: Any) -> jax.Array:
        """Writes `x [B, h, w, I]` into a buffer, with its corner at a pixel."""
        place = (0, row + self.top, column + self.left, 0)
        return jax.lax.dynamic_update_slice(buffer, x.astype(buffer.dtype), place)

    def at_row(self, buffer: jax.Array, row: Any) -> jax.Array:
        """Computes the outputs of a row, `[B, W, O]`."""
        size = (buffer.shape[0], self.height, buffer.shape[2], buffer.shape[3])
        part = jax.lax.dynamic_slice(buffer, (0, row, 0, 0), size)
        kernel, bias = self.weights()
        out = conv(part, kernel, padding="VALID", precision=self.product_precision())
        return out[:, 0] + bias[None, None]

    def at_pixel(self, buffer: jax.Array, row: Any, column: Any) -> jax.Array:
        """Computes the outputs of a pixel, `[B, O]`."""
        size = (buffer.shape[0], self.height, self.width, buffer.shape[3])
        part = jax.lax.dynamic_slice(buffer, (0, row, column, 0), size)
        kernel, bias = self.weights()
        out = jnp.einsum("bhwi,hwio->bo", part, kernel, precision=self.product_precision())
        return out + bias[None]


def around(side: int) -> dict[str, int]:
    """Returns the size of a `CausalConv` whose last row has the pixel in its middle."""
    return {"height": side // 2 + 1, "width": side, "top": side // 2, "left": side // 2}


def scale_levels(x: jax.Array, levels: int) -> jax.Array:
    """Maps levels 0 .. levels - 1 to [-1, 1]."""
    return 2 * x / (levels - 1) - 1


def pixel_input(x: jax.Array, levels: int) -> jax.Array:
    """Maps the values of one pixel, `[B, C]`, to a network's input, `[B, 1, 1, C]`."""
    return scale_levels(x, levels)[:, None, None]


class PixelHead(nn.Module):
    """Twice ReLU and 1x1 convolution: features `[..., F]` to logits `[..., C]` or `[..., C, L]`."""

    channels: int
    levels: int  # two levels have one logit
    hidden: int  # number of features between the convolutions
    in_groups: tuple[int, ...]  # group of every input feature
    dtype: Any = jnp.float32  # dtype of the first convolution; logits are float32

    def setup(self) -> None:
        outputs = self.levels if self.levels > 2 else 1
        between = tuple(channel_groups(self.hidden, self.channels))
        self.first = CausalConv(self.in_groups, between, dtype=self.dtype)
        last = tuple(np.repeat(np.arange(self.channels), outputs))
        self.last = CausalConv(between, last, precision=precision(self.dtype))

    def __call__(self, x: jax.Array) -> jax.Array:
        # Outside of maps, every pixel is an image of its own.
        pixels = x if x.ndim == 4 else x.reshape(-1, 1, 1, x.shape[-1])
        out = self.last(nn.relu(self.first(nn.relu(pixels))))
        each = (self.channels,) if self.levels == 2 else (self.channels, self.levels)
        return out.reshape(*x.shape[:-1], *each)


def channel_sampler(
    levels: int, noise: jax.Array, given: KnownValues | None
) -> Callable[[jax.Array, jax.Array, int], jax.Array]:
    """Returns a function that samples one channel of a pixel, or returns its known value.

    Args:
      levels: number of levels.
      noise: uniform noise of the whole image, `[B, H, W, C]`.
      given: known values, or None.

    Returns:
      `draw(logits, place, k) -> [B]`, for logits `[B, C]` or `[B, C, levels]` of the pixel
      `place` = row * W + column, and channel k.
    """
    image, known = given or (jnp.zeros_like(noise), np.zeros(noise.shape[1:], bool))

    def draw(logits: jax.Array, place: jax.Array, k: int) -> jax.Array:
        def at(a: jax.Array) -> jax.Array:
            flat = a.reshape(a.shape[0], -1, a.shape[-1])  # [B, H W, C]
            return jax.lax.dynamic_slice_in_dim(flat, place, 1, axis=1)[:, 0, k]

        value = draw_values(logits[:, k], at(noise), levels)
        is_known = jnp.asarray(known).reshape(-1, known.shape[-1])[place, k]
        return jnp.where(is_known, at(image), value)

    return draw


def network_draws(
    network: Any,
    variables: Any,
    conditions: tuple[Any, ...],
    noise: jax.Array,
    given: KnownValues | None,
) -> tuple[Draw, Callable[[], jax.Array]]:
    """Returns the functions `draw` and `cached` of `draw_images` for a network of logits.

    `network(x, *conditions)` computes logits, `network.sample(noise, *conditions, given)` samples
    with cached features.
    """

    def draw(x: jax.Array) -> jax.Array:
        logits = network.apply(variables, x, *conditions)
        return draw_values(logits, noise, network.config.levels)

    def cached() -> jax.Array:
        fixed = with_cached_kernels(network, variables, noise, *conditions)
        return network.apply(fixed, noise, *conditions, given, method="sample")

    return draw, cached
