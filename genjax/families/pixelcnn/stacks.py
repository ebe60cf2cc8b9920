"""Networks of PixelCNN: masked residual blocks, and the two stacks of the gated network.

Calls give logits of all conditionals; `sample` computes the features of a pixel once per channel,
and reads those of earlier pixels from the convolutions' buffers.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.core.autoregressive import KnownValues
from genjax.nn.causal import (
    CausalConv,
    PixelHead,
    around,
    channel_groups,
    channel_sampler,
    pixel_input,
    scale_levels,
)
from genjax.nn.masked import precision


def _conv(c: Any, inputs: Any, outputs: Any, **settings: Any) -> CausalConv:
    return CausalConv(tuple(inputs), tuple(outputs), dtype=jnp.dtype(c.dtype), **settings)


def _condition_layers(c: Any, features: int, count: int) -> list[nn.Dense]:
    """Layers that map one-hot labels to biases; none for an unconditional model."""
    dtype = jnp.dtype(c.dtype)
    options: dict[str, Any] = {"use_bias": False, "dtype": dtype, "precision": precision(dtype)}
    return [nn.Dense(features, **options) for _ in range(count if c.classes else 0)]


class Masked(nn.Module):
    """PixelCNN: `x [B, H, W, C]` and one-hot labels `[B, K]` or None to logits."""

    config: Any  # of `genjax.families.pixelcnn`

    def setup(self) -> None:
        c, channels = self.config, self.config.shape[2]
        wide = channel_groups(2 * c.features, channels)
        narrow = channel_groups(c.features, channels)
        self.first = _conv(c, range(channels), wide, kind="A", **around(c.first))
        self.down = [_conv(c, wide, narrow) for _ in range(c.layers)]
        self.middle = [_conv(c, narrow, narrow, **around(c.kernel)) for _ in range(c.layers)]
        self.up = [_conv(c, narrow, wide, scale=1 / c.layers) for _ in range(c.layers)]
        self.head = PixelHead(channels, c.levels, c.head, tuple(wide), jnp.dtype(c.dtype))
        self.drop = nn.Dropout(c.dropout)
        self.condition = _condition_layers(c, c.features, c.layers)

    def _condition(self, i: int, condition: jax.Array | None) -> Any:
        """Computes a layer's bias of the class, `[B, 1, 1, h]` or 0."""
        return 0.0 if condition is None else self.condition[i](condition)[:, None, None]

    def __call__(self, x: jax.Array, condition: Any = None, dropout: bool = False) -> jax.Array:
        h = self.first(scale_levels(x, self.config.levels))
        for i in range(self.config.layers):
            y = self.middle[i](nn.relu(self.down[i](nn.relu(h))))
            y = self.drop(nn.relu(y + self._condition(i, condition)), deterministic=not dropout)
            h = h + self.up[i](y)
        return self.head(h)

    def sample(self, noise: jax.Array, condition: Any, given: KnownValues | None) -> jax.Array:
        """Samples from noise `[B, H, W, C]`, with known values `given` or None."""
        c = self.config
        batch, rows, columns, channels = noise.shape
        draw = channel_sampler(c.levels, noise, given)
        biases = [self._condition(i, condition) for i in range(c.layers)]
        inputs = self.first.buffer(batch, rows, columns)
        between = tuple(m.buffer(batch, rows, columns) for m in self.middle)

        def pixel(carry: Any, place: jax.Array) -> tuple[Any, jax.Array]:
            inputs, between = carry
            row, column = place // columns, place % columns
            x = jnp.zeros((batch, channels))
            for k in range(channels):  # channels before k are in the buffer
                inputs = self.first.write(inputs, pixel_input(x, c.levels), row, column)
                h = self.first.at_pixel(inputs, row, column)[:, None, None]
                for i in range(c.layers):
                    y = nn.relu(self.down[i](nn.relu(h)))
                    filled = self.middle[i].write(between[i], y, row, column)
                    between = (*between[:i], filled, *between[i + 1 :])
                    y = self.middle[i].at_pixel(filled, row, column)[:, None, None]
                    h = h + self.up[i](nn.relu(y + biases[i]))
                x = x.at[:, k].set(draw(self.head(h)[:, 0, 0], place, k))
            # The last channel is written for later pixels.
            return (self.first.write(inputs, pixel_input(x, c.levels), row, column), between), x

        _, x = jax.lax.scan(pixel, (inputs, between), jnp.arange(rows * columns))
        return jnp.moveaxis(x, 0, 1).reshape(noise.shape)


class Gated(nn.Module):
    """Gated PixelCNN: `x [B, H, W, C]` and one-hot labels `[B, K]` or None to logits."""

    config: Any  # of `genjax.families.pixelcnn`

    def setup(self) -> None:
        c, channels = self.config, self.config.shape[2]
        own = channel_groups(c.features, channels)
        gates = (*own, *own)  # inputs of tanh and of sigmoid
        vertical, horizontal = [], []
        for i in range(c.layers + 1):
            side = c.kernel if i else c.first
            inputs = tuple(own) if i else tuple(range(channels))
            above: dict[str, Any] = {"width": side, "left": side // 2, "kind": "all"}
            # The first depends on the rows above only, so later layers may include their own row.
            above |= {"height": side // 2 + (i > 0), "top": side // 2}
            vertical.append(_conv(c, inputs, gates, **above))
            along: dict[str, Any] = {"width": side // 2 + 1, "left": side // 2}
            horizontal.append(_conv(c, inputs, gates, kind="B" if i else "A", **along))
        self.vertical, self.horizontal = vertical, horizontal
        self.across = [_conv(c, gates, gates, kind="all") for _ in vertical]
        self.out = [_conv(c, own, own) for _ in vertical]
        self.head = PixelHead(channels, c.levels, c.head, tuple(own), jnp.dtype(c.dtype))
        self.drop = nn.Dropout(c.dropout)
        self.condition = _condition_layers(c, 4 * c.features, c.layers + 1)

    def _condition(self, i: int, condition: jax.Array | None) -> Any:
        """Computes a layer's biases of the class for both stacks, `[B, 1, 2h]` each."""
        if condition is None:
            return (jnp.zeros((1, 1, 1), self.config.dtype),) * 2
        return jnp.split(self.condition[i](condition)[:, None], 2, axis=-1)

    def __call__(self, x: jax.Array, condition: Any = None, dropout: bool = False) -> jax.Array:
        v = h = scale_levels(x, self.config.levels)
        for i in range(self.config.layers + 1):
            bias_v, bias_h = self._condition(i, condition)
            a = self.vertical[i](v) + bias_v[:, None]
            y = _gate(self.horizontal[i](h) + self.across[i](a) + bias_h[:, None])
            v = _gate(a)
            y = self.out[i](self.drop(y, deterministic=not dropout))
            h = h + y if i else y
        return self.head(h)

    def sample(self, noise: jax.Array, condition: Any, given: KnownValues | None) -> jax.Array:
        """Samples from noise `[B, H, W, C]`, with known values `given` or None.

        The vertical stack is computed once per row, the horizontal one per pixel and channel.
        """
        c = self.config
        batch, rows, columns, channels = noise.shape
        draw = channel_sampler(c.levels, noise, given)
        biases = [self._condition(i, condition) for i in range(c.layers + 1)]
        above = tuple(layer.buffer(batch, rows, columns) for layer in self.vertical)

        def row(above: Any, r: jax.Array) -> tuple[Any, jax.Array]:
            filled, from_above = list(above), []
            for i in range(c.layers + 1):
                a = self.vertical[i].at_row(filled[i], r) + biases[i][0]  # [B, W, 2h]
                from_above.append(self.across[i](a[:, None])[:, 0] + biases[i][1])
                if i < c.layers:
                    filled[i + 1] = self.vertical[i + 1].write(
                        filled[i + 1], _gate(a)[:, None], r, 0
                    )

            def pixel(beside: Any, column: jax.Array) -> tuple[Any, jax.Array]:
                x = jnp.zeros((batch, channels))
                place = r * columns + column
                here = [
                    jax.lax.dynamic_slice_in_dim(a, column, 1, axis=1)[:, 0] for a in from_above
                ]
                for k in range(channels):
                    h = pixel_input(x, c.levels)
                    for i in range(c.layers + 1):
                        seen = self.horizontal[i].write(beside[i], h, 0, column)
                        beside = (*beside[:i], seen, *beside[i + 1 :])
                        y = _gate(self.horizontal[i].at_pixel(seen, 0, column) + here[i])
                        y = self.out[i](y[:, None, None])
                        h = h + y if i else y
                    x = x.at[:, k].set(draw(self.head(h)[:, 0, 0], place, k))
                last = self.horizontal[0].write(beside[0], pixel_input(x, c.levels), 0, column)
                return (last, *beside[1:]), x

            beside = tuple(layer.buffer(batch, 1, columns) for layer in self.horizontal)
            _, x = jax.lax.scan(pixel, beside, jnp.arange(columns))
            x = jnp.moveaxis(x, 0, 1)  # [B, W, C]
            filled[0] = self.vertical[0].write(filled[0], scale_levels(x[:, None], c.levels), r, 0)
            return tuple(filled), x

        _, x = jax.lax.scan(row, above, jnp.arange(rows))
        return jnp.moveaxis(x, 0, 1)


def _gate(a: jax.Array) -> jax.Array:
    f, g = jnp.split(a, 2, axis=-1)
    return jnp.tanh(f) * jax.nn.sigmoid(g)
