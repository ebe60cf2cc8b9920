"""Convolutions that see earlier pixels alone, as a whole and one row or one pixel at a time.

Van den Oord et al. 2016, "Pixel Recurrent Neural Networks" (arXiv:1601.06759), section 3.4, and
"Conditional Image Generation with PixelCNN Decoders" (arXiv:1606.05328), section 2.2. Feature maps
are cut into as many groups as there are channels; group k may see channels before k of its own
pixel (mask A), and its own channel too once that is no longer the input (mask B).

A kernel holds only rows up to the pixel's own, so nothing is spent on rows that a mask would hide.
What a convolution reads lies in a *buffer*: its input, with the zeros around it that it needs.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax.core import draw_values
from genjax.nn.masked import precision

NHWC = ("NHWC", "HWIO", "NHWC")
PIXELS = 64  # that an image has to have for a product of its own
INPUTS = 16  # that a kernel of several taps has to have for a product a tap
PLACES = 20 * 20  # that it has to read for that, margin and all
Kind = Literal["A", "B", "all"]


def valid_conv(
    x: jax.Array,
    kernel: jax.Array,
    steps: tuple[int, int] = (1, 1),
    exact: jax.lax.Precision | None = None,
) -> jax.Array:
    """Without a margin; in full float32 where that is the dtype, on a GPU too, or `exact`.

    Where the kernel covers all of the image, as in drawing pixel by pixel, it is a matrix product:
    one kernel of a GPU, and none of cuDNN's calls.
    """
    exact = exact or precision(x.dtype)
    if x.shape[1:3] == kernel.shape[:2]:
        return jnp.einsum("bhwi,hwio->bo", x, kernel, precision=exact)[:, None, None]

    def whole(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(
            x, kernel, steps, "VALID", dimension_numbers=NHWC, precision=exact
        )

    if steps != (1, 1) or x.shape[1] * x.shape[2] < PIXELS:
        return whole(x, kernel)

    def by_tap(x: jax.Array, kernel: jax.Array) -> jax.Array:
        on_cpu = functools.partial(_by_tap, exact=exact)
        return jax.lax.platform_dependent(x, kernel, cpu=on_cpu, default=whole)

    if kernel.shape[:2] == (1, 1):
        return by_tap(x, kernel)
    # A gradient by the kernel is a convolution with a kernel as large as the map, which a CPU is
    # slow at where the map is large. Of few inputs a product is not worth its copy of the image.
    worth = kernel.shape[2] >= INPUTS and x.shape[1] * x.shape[2] >= PLACES
    return each_its_way(whole, by_tap if worth else whole, x, kernel)


def each_its_way(
    by_input: Callable[..., Any], by_kernel: Callable[..., Any], x: jax.Array, kernel: jax.Array
) -> jax.Array:
    """A function linear in both that is said in two ways: `by_input` gives its value and its slope
    by x, `by_kernel` the slope by the kernel. Differentiable in both modes, as often as they are.
    """
    if by_input is by_kernel:
        return by_input(x, kernel)

    @jax.custom_jvp
    def layer(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return by_input(x, kernel)

    @layer.defjvp
    def tangent(primals: Any, tangents: Any) -> Any:
        (x, kernel), (dx, dkernel) = primals, tangents
        # Through the rule itself, so that slopes of slopes are said the same way.
        return layer(x, kernel), layer(dx, kernel) + by_kernel(x, dkernel)

    return layer(x, kernel)


def kept_kernel(
    module: nn.Module, make: Callable[[], tuple[jax.Array, jax.Array]]
) -> tuple[jax.Array, jax.Array]:
    """`make()`, a layer's kernel and bias as it multiplies with them; or what was kept of that.

    A pass with collection `kernels` mutable keeps it, and whoever passes the collection on spares
    each of many passes the making. XLA does not take it out of a loop.
    """
    names = ("kernel", "bias")
    if module.has_variable("kernels", names[0]):
        kernel, bias = (module.get_variable("kernels", name) for name in names)
        return kernel, bias
    kernel, bias = make()
    if module.is_mutable_collection("kernels") and not module.is_initializing():
        for name, made in zip(names, (kernel, bias), strict=True):
            module.put_variable("kernels", name, made)
    return kernel, bias


def with_kernels(network: nn.Module, variables: Any, *arguments: Any) -> dict[str, Any]:
    """The variables with the kernels of all layers kept: see `kept_kernel`.

    By a pass over the first example, of which nothing else is used, so that nothing else is
    computed.
    """
    one = jax.tree.map(lambda a: a[:1], arguments)
    return {**variables, **network.apply(variables, *one, mutable=["kernels"])[1]}


def _by_tap(x: jax.Array, kernel: jax.Array, exact: jax.lax.Precision) -> jax.Array:
    """A convolution as a sum of 1x1 ones, a tap each.

    For the sake of the gradient by the kernel. On 28x28 pixels a CPU's convolution takes 4 to 8
    times as long for that as for the layer itself, and these products 2 to 4 times. They keep a
    copy of the map a tap until then; in bfloat16 each image's part is rounded before the sum.
    """
    height, width = kernel.shape[:2]
    rows, columns = x.shape[1] - height + 1, x.shape[2] - width + 1
    parts = [
        _by_image(x[:, i : i + rows, j : j + columns], kernel[i : i + 1, j : j + 1], exact)
        for i in range(height)
        for j in range(width)
    ]
    return functools.reduce(jnp.add, parts)


def _by_image(x: jax.Array, kernel: jax.Array, exact: jax.lax.Precision) -> jax.Array:
    """A 1x1 convolution as a product an image, each by a kernel of its own.

    So the gradient by the kernel is a sum of products of one image's pixels each, which stay in a
    CPU's caches; of all pixels at once it took four times as long.
    """
    b, h, w, inputs = x.shape
    each = jnp.broadcast_to(kernel[0, 0][None], (b, *kernel.shape[2:]))
    return jnp.matmul(x.reshape(b, h * w, inputs), each, precision=exact).reshape(b, h, w, -1)


def groups(features: int, channels: int) -> np.ndarray:
    """The group of every feature, `[features]`: contiguous, as even as can be."""
    return np.arange(features) * channels // features


def kernel_mask(
    height: int, width: int, centre: int, inputs: np.ndarray, outputs: np.ndarray, kind: Kind
) -> np.ndarray:
    """What a kernel may see, `[height, width, I, O]` of zeros and ones.

    Args:
      height: rows; the last is the pixel's own.
      width: columns.
      centre: the column of the pixel itself.
      inputs: groups of the input features, `[I]`.
      outputs: groups of the output features, `[O]`.
      kind: A sees groups before its own, B up to its own, all everything in the kernel.
    """
    mask = np.ones((height, width, len(inputs), len(outputs)), np.float32)
    if kind == "all":
        return mask
    mask[-1, centre + 1 :] = 0
    before = inputs[:, None] < outputs[None]
    mask[-1, centre] = before if kind == "A" else before | (inputs[:, None] == outputs[None])
    return mask


class CausalConv(nn.Module):
    """`[B, H, W, I] -> [B, H, W, O]`, of the rows above and a pixel's own.

    in_groups, out_groups: group of every feature, as tuples.
    height, width: of the kernel.
    top: rows of the kernel above the pixel's own: height - 1, or height where the own row is not
      looked at.
    left: columns left of the pixel.
    kind: of the mask on the own row.
    dtype: of the computation; parameters stay float32.
    precision: of the products; None is full float32 where that is the dtype.
    scale: of the weights' variance at first, beside that which keeps the features'.
    """

    in_groups: tuple[int, ...]
    out_groups: tuple[int, ...]
    height: int = 1
    width: int = 1
    top: int = 0
    left: int = 0
    kind: Kind = "B"
    dtype: Any = jnp.float32
    precision: jax.lax.Precision | None = None
    scale: float = 1.0

    def setup(self) -> None:
        shape = (self.height, self.width, len(self.in_groups), len(self.out_groups))
        normal = nn.initializers.variance_scaling(self.scale, "fan_in", "truncated_normal")
        self.kernel = self.param("kernel", normal, shape)
        self.bias = self.param("bias", nn.initializers.zeros, (shape[-1],))

    def exactness(self) -> jax.lax.Precision:
        """Of the products: float32 means float32, on a GPU too, where nothing else was asked."""
        return self.precision or precision(self.dtype)

    def weights(self) -> tuple[jax.Array, jax.Array]:
        """The masked kernel and the bias, in the dtype of the computation."""

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

        return kept_kernel(self, masked)

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel, bias = self.weights()
        # The margin is laid first, or where it is negative cut off: XLA on GPU has no fused kernel
        # for a convolution that does either on one side.
        rows = (self.top, self.height - 1 - self.top, 0)
        columns = (self.left, self.width - 1 - self.left, 0)
        x = x.astype(self.dtype)
        x = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), rows, columns, (0, 0, 0)])
        out = valid_conv(x, kernel, exact=self.exactness())
        return out + bias[None, None, None]

    def buffer(self, batch: int, rows: int, columns: int) -> jax.Array:
        """An empty input with its margin: `[B, rows + top, columns + width - 1, I]`."""
        shape = (batch, rows + self.top, columns + self.width - 1, len(self.in_groups))
        return jnp.zeros(shape, self.dtype)

    def put(self, buffer: jax.Array, x: jax.Array, row: Any, column: Any) -> jax.Array:
        """`x` `[B, h, w, I]` written into the buffer with its corner at that pixel."""
        place = (0, row + self.top, column + self.left, 0)
        return jax.lax.dynamic_update_slice(buffer, x.astype(buffer.dtype), place)

    def at_row(self, buffer: jax.Array, row: Any) -> jax.Array:
        """The outputs of a row, `[B, W, O]`."""
        size = (buffer.shape[0], self.height, buffer.shape[2], buffer.shape[3])
        part = jax.lax.dynamic_slice(buffer, (0, row, 0, 0), size)
        kernel, bias = self.weights()
        out = valid_conv(part, kernel, exact=self.exactness())
        return out[:, 0] + bias[None, None]

    def at_pixel(self, buffer: jax.Array, row: Any, column: Any) -> jax.Array:
        """The outputs of a pixel, `[B, O]`."""
        size = (buffer.shape[0], self.height, self.width, buffer.shape[3])
        part = jax.lax.dynamic_slice(buffer, (0, row, column, 0), size)
        kernel, bias = self.weights()
        out = jnp.einsum("bhwi,hwio->bo", part, kernel, precision=self.exactness())
        return out + bias[None]


def scaled(x: jax.Array, levels: int) -> jax.Array:
    """Levels 0 .. levels - 1 to [-1, 1]."""
    return 2 * x / (levels - 1) - 1


def one_pixel(x: jax.Array, levels: int) -> jax.Array:
    """Values of one pixel, `[B, C]`, as a network takes them: `[B, 1, 1, C]`."""
    return scaled(x, levels)[:, None, None]


class PixelHead(nn.Module):
    """ReLU and 1x1, twice, to logits: features `[..., F] -> [..., C]`, or `[..., C, L]`.

    channels: of a pixel.
    levels: of a value; two have one logit.
    hidden: features between.
    in_groups: of the features.
    """

    channels: int
    levels: int
    hidden: int
    in_groups: tuple[int, ...]
    dtype: Any = jnp.float32

    def setup(self) -> None:
        outputs = self.levels if self.levels > 2 else 1
        between = tuple(groups(self.hidden, self.channels))
        self.first = CausalConv(self.in_groups, between, dtype=self.dtype)
        last = tuple(np.repeat(np.arange(self.channels), outputs))
        # Logits are float32; how exact their products are is the network's choice.
        self.last = CausalConv(between, last, precision=precision(self.dtype))

    def __call__(self, x: jax.Array) -> jax.Array:
        # Of anything but maps, every pixel is an image of its own.
        pixels = x if x.ndim == 4 else x.reshape(-1, 1, 1, x.shape[-1])
        out = self.last(nn.relu(self.first(nn.relu(pixels))))
        each = (self.channels,) if self.levels == 2 else (self.channels, self.levels)
        return out.reshape(*x.shape[:-1], *each)


def drawn(
    levels: int,
    logits: jax.Array,
    noise: jax.Array,
    image: jax.Array,
    known: np.ndarray,
    place: jax.Array,
    k: int,
) -> jax.Array:
    """Channel k of the pixel at a place in raster order, `[B]`; what is known stays.

    Args:
      levels: of a value.
      logits: of that pixel, `[B, C]` or `[B, C, levels]`.
      noise: of the whole image, `[B, H, W, C]`.
      image: whose known values stay, `[B, H, W, C]`.
      known: which do, bool `[H, W, C]`.
      place: of the pixel, row * W + column.
      k: channel.
    """

    def at(a: jax.Array) -> jax.Array:
        flat = a.reshape(a.shape[0], -1, a.shape[-1])  # [B, H W, C]
        return jax.lax.dynamic_slice_in_dim(flat, place, 1, axis=1)[:, 0, k]

    value = draw_values(logits[:, k], at(noise), levels)
    stays = jnp.asarray(known).reshape(-1, known.shape[-1])[place, k]
    return jnp.where(stays, at(image), value)
