"""Network of PixelRNN at one scale: a masked convolution, LSTM layers, two 1x1 convolutions."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.families.pixelrnn.lstm import DiagonalBiLSTM, RowLSTM
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


class PixelRNN(nn.Module):
    """`x [B, H, W, C]` and a condition `[B, H, W, K]` or None to logits."""

    config: Any  # that of `genjax.families.pixelrnn`
    condition_features: int = 0  # K; 0 without a condition

    def setup(self) -> None:
        c, channels = self.config, self.config.shape[2]
        dtype, layers = jnp.dtype(c.dtype), range(c.layers)
        wide = tuple(channel_groups(2 * c.features, channels))
        narrow = tuple(channel_groups(c.features, channels))
        self.first = CausalConv(
            tuple(range(channels)), wide, kind="A", dtype=dtype, **around(c.first)
        )
        layer, sweeps = (RowLSTM, 1) if c.network == "row" else (DiagonalBiLSTM, 2)
        self.lstm = [layer(wide, c.features, channels, dtype) for _ in layers]
        self.up = [CausalConv(narrow, wide, dtype=dtype) for _ in layers]
        if c.skip:
            self.out = [CausalConv(narrow, wide, dtype=dtype) for _ in layers]
        if self.condition_features:
            gates, exact = sweeps * 4 * c.features, precision(dtype)
            self.condition = [
                nn.Dense(gates, use_bias=False, dtype=dtype, precision=exact) for _ in layers
            ]
        self.head = PixelHead(channels, c.levels, c.head, wide, dtype)

    def _biases(self, i: int, condition: jax.Array | None) -> jax.Array:
        """Computes biases of layer i's gates, `[B, H, W, gates]`, or a single 0."""
        if condition is None:
            return jnp.zeros((1, 1, 1, 1))
        return self._pad(self.condition[i](condition))

    def _join(self, i: int, x: jax.Array, h: jax.Array, skips: Any) -> tuple[jax.Array, Any]:
        """Computes the input of the next layer, and the sum of the skip connections."""
        up = self.up[i](h)
        if self.config.skip:
            skips = skips + self.out[i](h)
        return (x + up if self.config.residual else up), skips

    @property
    def margin(self) -> int:
        """Number of columns right of the image that the network works on too.

        The sweep from the right starts there, because the features of a row's last pixel must not
        depend on that pixel itself.
        """
        return 1 if self.config.network == "diagonal" else 0

    def _pad(self, x: jax.Array) -> jax.Array:
        return jnp.pad(x, ((0, 0), (0, 0), (0, self.margin), (0, 0)))

    def __call__(self, x: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        columns = x.shape[2]
        x = self.first(self._pad(scale_levels(x, self.config.levels)))
        skips = jnp.zeros_like(x)
        for i, lstm in enumerate(self.lstm):
            x, skips = self._join(i, x, lstm(x, self._biases(i, condition)), skips)
        return self.head((x + skips if self.config.skip else x)[:, :, :columns])

    def sample(self, noise: jax.Array, condition: Any, given: Any) -> jax.Array:
        """Samples from noise `[B, H, W, C]`, with known values `given` or None.

        The states of a pixel are computed once per channel.
        """
        c = self.config
        batch, rows, columns, channels = noise.shape
        draw = channel_sampler(c.levels, noise, given)
        wide = columns + self.margin
        biases = [
            jnp.broadcast_to(b, (b.shape[0], rows, wide, b.shape[-1]))
            for b in (self._biases(i, condition) for i in range(c.layers))
        ]
        buffer = self.first.buffer(batch, rows, wide)
        states = tuple(lstm.initial_carry(batch, wide) for lstm in self.lstm)

        def row(carry: Any, r: jax.Array) -> tuple[Any, jax.Array]:
            buffer, states = carry
            last = jnp.maximum(r - 1, 0)
            states = tuple(
                lstm.begin_row(s, jax.lax.dynamic_index_in_dim(b, last, 1, keepdims=False))
                for lstm, s, b in zip(self.lstm, states, biases, strict=True)
            )
            here = [jax.lax.dynamic_index_in_dim(b, r, 1, keepdims=False) for b in biases]

            def pixel(carry: Any, column: jax.Array) -> tuple[Any, jax.Array]:
                buffer, states = carry[0], list(carry[1])
                x, place = jnp.zeros((batch, channels)), r * columns + column
                inside = (column < columns).astype(x.dtype)
                new: list[Any] = [None] * c.layers
                for k in range(channels):
                    buffer = self.first.write(buffer, inside * pixel_input(x, c.levels), r, column)
                    h = self.first.at_pixel(buffer, r, column)[:, None, None]
                    skips = jnp.zeros_like(h)
                    for i, lstm in enumerate(self.lstm):
                        bias = jax.lax.dynamic_slice_in_dim(here[i], column, 1, axis=1)[:, 0]
                        states[i], state, new[i] = lstm.pixel(states[i], h, bias, column)
                        h, skips = self._join(i, h, state[:, None, None], skips)
                    logits = self.head(h + skips if c.skip else h)[:, 0, 0]
                    x = x.at[:, k].set(draw(logits, place, k))
                buffer = self.first.write(buffer, inside * pixel_input(x, c.levels), r, column)
                done = zip(self.lstm, states, new, strict=True)
                return (buffer, tuple(lstm.end_pixel(s, n, column) for lstm, s, n in done)), x

            carry, x = jax.lax.scan(pixel, (buffer, states), jnp.arange(wide))
            return carry, jnp.moveaxis(x[:columns], 0, 1)  # [B, W, C]

        _, x = jax.lax.scan(row, (buffer, states), jnp.arange(rows))
        return jnp.moveaxis(x, 0, 1)
