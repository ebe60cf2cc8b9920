"""LSTM layers over the pixels of an image: Row LSTM and Diagonal BiLSTM.

A state-to-state convolution is shifts and one matrix product. Group k of a layer's features depends
on the channels before k of its own pixel. `__call__` computes whole images; sampling computes one
pixel at a time, and a carry holds the states and inputs of earlier pixels.

Source: van den Oord et al. 2016, "Pixel Recurrent Neural Networks" (arXiv:1601.06759), sections 3.1
to 3.5 and figure 4.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from genjax.families.pixelrnn.skewed import join_images, shift, skew, split_images, unskew
from genjax.nn.causal import CausalConv, channel_groups
from genjax.nn.masked import precision

State = tuple[jax.Array, jax.Array]  # hidden and cell
Carry = dict[str, jax.Array]  # of a layer, in sampling
Pixel = tuple[Carry, jax.Array, Carry]  # carry, output of the pixel, its LSTM state
# The gradient of a step stores its gates and recomputes the rest: on a GPU every stored value costs
# a kernel launch.
SAVE_GATES = jax.checkpoint_policies.save_only_these_names("gates")
IMAGES_IN_CACHE = 4  # images whose diagonals fit a CPU's caches: the fastest of 1 to 64


def lstm_update(gates: jax.Array, c: jax.Array) -> State:
    """Computes one LSTM update (eq. 3) from gates `[..., 4 h]` in the order o, f, i, g."""
    o, f, i, g = jnp.split(gates, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def _recompute(step: Callable[..., Any], policy: Any) -> Callable[..., Any]:
    """Applies `jax.checkpoint` to a step of a scan, where `prevent_cse` is not needed."""
    return jax.checkpoint(step, policy=policy, prevent_cse=False)


class _Recurrence(nn.Module):
    """Input-to-state and state-to-state layers of one direction, and its learned first state."""

    in_groups: tuple[int, ...]  # group of every input feature
    features: int  # number of units h
    channels: int  # number of channels of a pixel
    taps: int  # number of neighbors whose states are inputs
    width: int = 1  # width of the input-to-state kernel; its part right of the pixel is left out
    dtype: Any = jnp.float32

    def setup(self) -> None:
        gates = tuple(np.tile(channel_groups(self.features, self.channels), 4))
        width = self.width // 2 + 1
        self.inputs = CausalConv(
            self.in_groups, gates, width=width, left=width - 1, kind="B", dtype=self.dtype
        )
        shape = (self.taps * self.features, 4 * self.features)
        self.kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        self.first = self.param("first", nn.initializers.zeros, (2, self.features))

    def state(self, *neighbors: jax.Array) -> jax.Array:
        """Computes the neighbors' part of the gates: `[..., h]` each to `[..., 4 h]`."""
        states = jnp.concatenate(neighbors, axis=-1).astype(self.dtype)
        kernel = self.kernel.astype(self.dtype)
        return jnp.matmul(states, kernel, precision=precision(self.dtype))

    def first_state(self, like: jax.Array) -> State:
        """Returns the first state, broadcast to the shape of `like`."""
        # 0 * like: inside shard_map a carry must vary over devices as x does.
        wide = self.first.reshape(2, *(1,) * (like.ndim - 1), self.features) + 0 * like[None]
        return wide[0], wide[1]


class _Layer(nn.Module):
    """An LSTM layer, `[B, H, W, F] -> [B, H, W, h]`. Sampling uses the methods after `__call__`:

    * `initial_carry(batch, columns)` returns the carry before the first row;
    * `begin_row(carry, biases_above)` updates it after the last pixel of the row above;
    * `pixel(carry, x, biases, column)` computes the output `[B, h]` of a pixel `[B, 1, 1, F]`;
    * `end_pixel(carry, new, column)` updates it after all channels of a pixel are drawn.
    """

    in_groups: tuple[int, ...]  # group of every input feature
    features: int  # units h
    channels: int  # of a pixel
    dtype: Any = jnp.float32


class RowLSTM(_Layer):
    """Row LSTM: its 3 wide state-to-state kernel sees a triangle above each pixel."""

    def setup(self) -> None:
        self.recurrence = _Recurrence(
            self.in_groups, self.features, self.channels, taps=3, width=3, dtype=self.dtype
        )

    def from_above(self, h: jax.Array) -> jax.Array:
        """Computes the part of the gates from the row above: `[B, W, h] -> [B, W, 4 h]`."""
        return self.recurrence.state(shift(h, 1, 1), h, shift(h, -1, 1))

    def __call__(self, x: jax.Array, biases: Any) -> jax.Array:
        gates = self.recurrence.inputs(x) + biases  # [B, H, W, 4 h]

        def row(state: State, gates: jax.Array) -> tuple[State, jax.Array]:
            h, c = state
            state = lstm_update(checkpoint_name(gates + self.from_above(h), "gates"), c)
            return state, state[0]

        def rows(gates: jax.Array, step: Callable[..., Any] = row) -> jax.Array:
            start = self.recurrence.first_state(gates[:, 0, :, : self.features])
            _, h = jax.lax.scan(step, start, jnp.moveaxis(gates, 1, 0))
            return jnp.moveaxis(h, 0, 1)

        save_gates = functools.partial(rows, step=_recompute(row, SAVE_GATES))
        return jax.lax.platform_dependent(gates, cpu=rows, default=save_gates)

    # Sampling. The carry has the inputs of this row, and the states of the row above and of this.

    def initial_carry(self, batch: int, columns: int) -> Carry:
        h, c = self.recurrence.first_state(jnp.zeros((batch, columns, self.features)))
        inputs = self.recurrence.inputs.buffer(batch, 1, columns)
        return {"h": h, "c": c, "above": self.from_above(h), "inputs": inputs}

    def begin_row(self, carry: Carry, biases_above: jax.Array) -> Carry:
        del biases_above
        empty = jnp.zeros_like(carry["inputs"])
        return {**carry, "above": self.from_above(carry["h"]), "inputs": empty}

    def pixel(self, carry: Carry, x: jax.Array, biases: jax.Array, column: jax.Array) -> Pixel:
        inputs = self.recurrence.inputs.write(carry["inputs"], x, 0, column)
        gates = self.recurrence.inputs.at_pixel(inputs, 0, column) + biases
        h, c = lstm_update(gates + _column(carry["above"], column), _column(carry["c"], column))
        return {**carry, "inputs": inputs}, h, {"h": h, "c": c}

    def end_pixel(self, carry: Carry, new: Carry, column: jax.Array) -> Carry:
        return {**carry, **{name: _set_column(carry[name], x, column) for name, x in new.items()}}


class DiagonalBiLSTM(_Layer):
    """Diagonal BiLSTM; its receptive field is all earlier pixels.

    A pixel's state depends on the states of the pixel above and of the left neighbor in the first
    sweep, of the right neighbor in the second; the second is shifted down by a row and added. On a
    CPU some images are joined side by side, so that their diagonals overlap in time, and gates are
    computed per diagonal and recomputed for the gradient.
    """

    def setup(self) -> None:
        settings = (self.in_groups, self.features, self.channels, 2, 1, self.dtype)
        self.left, self.right = _Recurrence(*settings), _Recurrence(*settings)

    def _sweep(self, recurrence: _Recurrence, x: jax.Array, biases: jax.Array) -> jax.Array:
        """Computes a sweep from the left, diagonal by diagonal: `[B, H, W, F] -> [B, H, W, h]`."""
        width, exact = x.shape[2], recurrence.inputs.product_precision()
        kernel, bias = recurrence.inputs.weights()  # 1x1, read outside of loops

        def gates_first(x: jax.Array, biases: jax.Array) -> jax.Array:
            parts = (recurrence.inputs(x) + biases,)
            return self._diagonals(recurrence, lambda gates: gates, parts, width)

        def in_cache(x: jax.Array, biases: jax.Array) -> jax.Array:
            # The data of a step should fit a cache, with all rows in use.
            most = max(len(x) // IMAGES_IN_CACHE, 1)
            count = next(n for n in range(most, 0, -1) if len(x) % n == 0)

            def gates(x: jax.Array, biases: jax.Array = biases[0]) -> jax.Array:
                here = jnp.matmul(x.astype(kernel.dtype), kernel[0, 0], precision=exact)
                return here + bias[None, None] + biases

            inputs = [x] if biases.size == 1 else [x, biases]
            parts = tuple(join_images(part, count) for part in inputs)
            out = self._diagonals(recurrence, gates, parts, width, recompute=True)
            return split_images(out, count)

        return jax.lax.platform_dependent(x, biases, cpu=in_cache, default=gates_first)

    def _diagonals(
        self,
        recurrence: _Recurrence,
        gates_of: Callable[..., jax.Array],
        parts: tuple[jax.Array, ...],
        width: int,
        recompute: bool = False,
    ) -> jax.Array:
        """Computes a sweep over images of `width`, which are joined side by side.

        `gates_of` computes the pixels' part of the gates from `parts [B, H, W, ...]` at a diagonal.
        With `recompute` the gradient recomputes the gates, else it stores them.
        """
        batch, rows, columns = parts[0].shape[:3]
        place = np.arange(rows + columns - 1)[:, None] - np.arange(rows)[None]  # columns, skewed
        begins = jnp.asarray(place % width == 0)[:, None, :, None]  # [S, 1, H, 1]
        # Zeros that vary over devices as x does. 0 * x would not do: one NaN would reach all joined
        # images.
        edge = parts[0][:, :, 0, :1]
        zeros = jnp.broadcast_to((edge < edge).astype(jnp.float32), (batch, rows, self.features))
        start = recurrence.first_state(zeros)  # [B, H, h]

        def diagonal(state: State, part: Any) -> tuple[State, jax.Array]:
            *here, begins = part
            # Both neighbors are in the diagonal before: the left one in the same row, the other one
            # row up. States outside of the images do not reach a pixel inside.
            above = shift(state[0], 1, 1, start[0][:, :1])
            h, c = (jnp.where(begins, s, left) for s, left in zip(start, state, strict=True))
            gates = checkpoint_name(gates_of(*here) + recurrence.state(h, above), "gates")
            state = lstm_update(gates, c)
            return state, state[0]

        step = _recompute(diagonal, None if recompute else SAVE_GATES)
        each = [jnp.moveaxis(skew(part), 2, 0) for part in parts]  # [S, B, H, ...]
        _, h = jax.lax.scan(step, start, (*each, begins))
        return unskew(jnp.moveaxis(h, 0, 2), columns)

    def _by_sweep(self, biases: Any) -> Any:
        return jnp.split(biases, 2, axis=-1) if biases.shape[-1] > 1 else (biases, biases)

    def __call__(self, x: jax.Array, biases: Any) -> jax.Array:
        left, right = self._by_sweep(biases)
        one = self._sweep(self.left, x, left)
        other = self._sweep(self.right, x[:, :, ::-1], right[:, :, ::-1])[:, :, ::-1]
        return one + shift(other, 1, 1)

    # Sampling. The carry has states of the left sweep in the row above and at the left neighbor,
    # the inputs of the row above, and states of the right sweep in the row above that.

    def initial_carry(self, batch: int, columns: int) -> Carry:
        like = jnp.zeros((batch, columns, self.features))
        h, _ = self.left.first_state(like)
        right, _ = self.right.first_state(like)
        left_h, left_c = self.left.first_state(like[:, 0])
        inputs = self.right.inputs.buffer(batch, 1, columns)
        state = {"h": h, "right": right, "from_right": jnp.zeros_like(like), "begun": jnp.zeros(())}
        return {**state, "left_h": left_h, "left_c": left_c, "inputs": inputs}

    def begin_row(self, carry: Carry, biases_above: jax.Array) -> Carry:
        """Computes the right sweep over the row above, and resets the left neighbor's state."""
        _, right = self._by_sweep(biases_above)
        gates = self.right.inputs(carry["inputs"])[:, 0] + right  # [B, W, 4 h]

        def pixel(state: State, part: Any) -> tuple[State, jax.Array]:
            gates, above = part
            state = lstm_update(gates + self.right.state(state[0], above), state[1])
            return state, state[0]

        parts = (jnp.moveaxis(gates, 1, 0), jnp.moveaxis(carry["right"], 1, 0))
        start = self.right.first_state(carry["left_h"])
        _, h = jax.lax.scan(pixel, start, parts, reverse=True)
        h = jnp.moveaxis(h, 0, 1)
        begun = carry["begun"] > 0
        left_h, left_c = self.left.first_state(carry["left_h"] * 0)
        return {
            **carry,
            "right": jnp.where(begun, h, carry["right"]),
            "from_right": jnp.where(begun, h, carry["from_right"]),
            "begun": jnp.ones(()),
            "left_h": left_h,
            "left_c": left_c,
        }

    def pixel(self, carry: Carry, x: jax.Array, biases: jax.Array, column: jax.Array) -> Pixel:
        left, _ = self._by_sweep(biases)
        inputs = self.left.inputs.write(carry["inputs"], x, 0, column)
        gates = self.left.inputs.at_pixel(inputs, 0, column) + left
        above = _column(carry["h"], column)
        h, c = lstm_update(gates + self.left.state(carry["left_h"], above), carry["left_c"])
        out = h + _column(carry["from_right"], column)
        return {**carry, "inputs": inputs}, out, {"h": h, "c": c}

    def end_pixel(self, carry: Carry, new: Carry, column: jax.Array) -> Carry:
        h = _set_column(carry["h"], new["h"], column)
        return {**carry, "h": h, "left_h": new["h"], "left_c": new["c"]}


def _column(row: jax.Array, column: jax.Array) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(row, column, 1, axis=1)[:, 0]


def _set_column(row: jax.Array, x: jax.Array, column: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(row, x[:, None].astype(row.dtype), column, axis=1)
