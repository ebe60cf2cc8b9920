"""LSTMs over pixels: Row LSTM and Diagonal BiLSTM, and the network that PixelRNN stacks of them.

Van den Oord et al. 2016, "Pixel Recurrent Neural Networks" (arXiv:1601.06759), sections 3.1 to 3.5
and figure 4. A state-to-state convolution is shifts and one matrix product. As everywhere, group k
of a layer's features may see the channels before k of its own pixel.

Layers work on whole images (`__call__`), and on one pixel with what they keep of those before.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from genjax.families.pixelrnn.skewed import laid, shifted, skewed, unlaid, unskewed
from genjax.nn.causal import CausalConv, PixelHead, drawn, groups, one_pixel, scaled
from genjax.nn.masked import precision

State = tuple[jax.Array, jax.Array]  # hidden and cell
Kept = dict[str, jax.Array]  # what a layer knows of earlier pixels
Pixel = tuple[Kept, jax.Array, Kept]  # what it knows, states of the pixel, and what will be known
# What the gradient keeps of a step of a recurrence where no CPU runs it: each of the eight parts
# that it keeps otherwise is written by a kernel of its own.
KEEP_GATES = jax.checkpoint_policies.save_only_these_names("gates")
IN_CACHE = 4  # images whose diagonals a CPU's caches hold: fastest of 1 to 64, 28x28 and h = 32


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What the network is made of; see the family's Config."""

    shape: tuple[int, ...]
    levels: int
    network: str
    layers: int
    features: int
    first: int
    head: int
    residual: bool
    skip: bool
    dtype: str


def cell(gates: jax.Array, c: jax.Array) -> State:
    """One LSTM update, equation 3: gates `[..., 4 h]` in the order o, f, i, g."""
    o, f, i, g = jnp.split(gates, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def _again(step: Callable[..., Any], policy: Any) -> Callable[..., Any]:
    """A step of a scan whose gradient computes again what it does not keep by the policy."""
    return jax.checkpoint(step, policy=policy, prevent_cse=False)  # a scan keeps the two apart


class _Recurrence(nn.Module):
    """Input-to-state and state-to-state of one direction, and its learnt first state.

    in_groups: of the input.
    features: h.
    channels: of a pixel.
    taps: neighbours whose state is looked at.
    width: of the input-to-state kernel along the row; what lies right of the pixel is left out.
    """

    in_groups: tuple[int, ...]
    features: int
    channels: int
    taps: int
    width: int = 1
    dtype: Any = jnp.float32

    def setup(self) -> None:
        gates = tuple(np.tile(groups(self.features, self.channels), 4))
        seen = self.width // 2 + 1
        self.inputs = CausalConv(
            self.in_groups, gates, width=seen, left=seen - 1, kind="B", dtype=self.dtype
        )
        shape = (self.taps * self.features, 4 * self.features)
        self.kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        self.first = self.param("first", nn.initializers.zeros, (2, self.features))

    def state(self, *neighbours: jax.Array) -> jax.Array:
        """What the neighbours' states add to the gates: `[..., h]` each -> `[..., 4 h]`."""
        seen = jnp.concatenate(neighbours, axis=-1).astype(self.dtype)
        kernel = self.kernel.astype(self.dtype)
        return jnp.matmul(seen, kernel, precision=precision(self.dtype))

    def begin(self, like: jax.Array) -> State:
        """The first state, in the shape of a state."""
        # 0 * like: inside a user's shard_map a carry must vary over the devices as x does.
        wide = self.first.reshape(2, *(1,) * (like.ndim - 1), self.features) + 0 * like[None]
        return wide[0], wide[1]


class RowLSTM(nn.Module):
    """Row after row, `[B, H, W, F] -> [B, H, W, h]`: sees a triangle above each pixel.

    The 3-wide state-to-state kernel is what makes the field a triangle.
    """

    in_groups: tuple[int, ...]
    features: int
    channels: int
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.recurrence = _Recurrence(
            self.in_groups, self.features, self.channels, taps=3, width=3, dtype=self.dtype
        )

    def from_above(self, h: jax.Array) -> jax.Array:
        """The states of the row above, in the gates of the next: `[B, W, h] -> [B, W, 4 h]`."""
        return self.recurrence.state(shifted(h, 1, 1), h, shifted(h, -1, 1))

    def __call__(self, x: jax.Array, told: Any) -> jax.Array:
        gates = self.recurrence.inputs(x) + told  # [B, H, W, 4 h]

        def row(state: State, gates: jax.Array) -> tuple[State, jax.Array]:
            h, c = state
            state = cell(checkpoint_name(gates + self.from_above(h), "gates"), c)
            return state, state[0]

        def rows(gates: jax.Array, step: Callable[..., Any] = row) -> jax.Array:
            start = self.recurrence.begin(gates[:, 0, :, : self.features])
            _, h = jax.lax.scan(step, start, jnp.moveaxis(gates, 1, 0))
            return jnp.moveaxis(h, 0, 1)

        kept = functools.partial(rows, step=_again(row, KEEP_GATES))
        return jax.lax.platform_dependent(gates, cpu=rows, default=kept)

    # One pixel at a time. Kept: the inputs of this row, the states of the row above and of this.

    def kept(self, batch: int, columns: int) -> Kept:
        """What there is before the first row."""
        h, c = self.recurrence.begin(jnp.zeros((batch, columns, self.features)))
        inputs = self.recurrence.inputs.buffer(batch, 1, columns)
        return {"h": h, "c": c, "above": self.from_above(h), "inputs": inputs}

    def begin_row(self, kept: Kept, told_above: jax.Array) -> Kept:
        """The last row is done: its states are those above now."""
        del told_above
        empty = jnp.zeros_like(kept["inputs"])
        return {**kept, "above": self.from_above(kept["h"]), "inputs": empty}

    def pixel(self, kept: Kept, x: jax.Array, told: jax.Array, column: jax.Array) -> Pixel:
        """One pixel's input `[B, 1, 1, F]` and what it is told `[B, gates]` -> states `[B, h]`."""
        inputs = self.recurrence.inputs.put(kept["inputs"], x, 0, column)
        gates = self.recurrence.inputs.at_pixel(inputs, 0, column) + told
        h, c = cell(gates + _at(kept["above"], column), _at(kept["c"], column))
        return {**kept, "inputs": inputs}, h, {"h": h, "c": c}

    def end_pixel(self, kept: Kept, new: Kept, column: jax.Array) -> Kept:
        """All channels are drawn: what was above in this column is so no longer."""
        return {**kept, **{name: _put(kept[name], x, column) for name, x in new.items()}}


class DiagonalBiLSTM(nn.Module):
    """Two sweeps over diagonals, `[B, H, W, F] -> [B, H, W, h]`: sees every earlier pixel.

    A pixel's state comes from those of the pixel above and of the one beside it, on the left in one
    sweep and on the right in the other, whose result is moved down a row before it is added. On CPU
    a few images lie side by side: where the last rows of one are still at work, the first of the
    next begin; and gates are made, and made again for the gradient, where a diagonal needs them.
    """

    in_groups: tuple[int, ...]
    features: int
    channels: int
    dtype: Any = jnp.float32

    def setup(self) -> None:
        settings = (self.in_groups, self.features, self.channels, 2, 1, self.dtype)
        self.left, self.right = _Recurrence(*settings), _Recurrence(*settings)

    def _sweep(self, recurrence: _Recurrence, x: jax.Array, told: jax.Array) -> jax.Array:
        """From the left, all rows of a diagonal at once: `[B, H, W, F] -> [B, H, W, h]`."""
        width, exact = x.shape[2], recurrence.inputs.exactness()
        kernel, bias = recurrence.inputs.weights()  # of 1x1, and read before any loop

        def gates_first(x: jax.Array, told: jax.Array) -> jax.Array:
            parts = (recurrence.inputs(x) + told,)
            return self._diagonals(recurrence, lambda gates: gates, parts, width)

        def in_cache(x: jax.Array, told: jax.Array) -> jax.Array:
            # What a step of the loop touches should stay in a cache, and no row wait idle.
            most = max(len(x) // IN_CACHE, 1)
            many = next(n for n in range(most, 0, -1) if len(x) % n == 0)
            everywhere = told.size == 1  # the same, which costs nothing but to say so

            def gates(x: jax.Array, told: jax.Array = told[0]) -> jax.Array:
                here = jnp.matmul(x.astype(kernel.dtype), kernel[0, 0], precision=exact)
                return here + bias[None, None] + told

            parts = (laid(x, many),) if everywhere else (laid(x, many), laid(told, many))
            return unlaid(self._diagonals(recurrence, gates, parts, width, again=True), many)

        return jax.lax.platform_dependent(x, told, cpu=in_cache, default=gates_first)

    def _diagonals(
        self,
        recurrence: _Recurrence,
        gates_of: Callable[..., jax.Array],
        parts: tuple[jax.Array, ...],
        width: int,
        again: bool = False,
    ) -> jax.Array:
        """The same of images `width` columns wide that lie side by side.

        Args:
          recurrence: of this direction.
          gates_of: what pixels add to the gates, of the parts at a diagonal, `[B, H, ...]` each.
          parts: of every pixel, `[B, H, W, ...]` each.
          width: of one image.
          again: whether the gradient makes a diagonal's gates again, or they are kept.
        """
        batch, rows, columns = parts[0].shape[:3]
        place = np.arange(rows + columns - 1)[:, None] - np.arange(rows)[None]  # columns, skewed
        begins = jnp.asarray(place % width == 0)[:, None, :, None]  # [S, 1, H, 1]
        # Zeros that vary over devices as x does, also where x is NaN: the state is that of all
        # images in a row.
        edge = parts[0][:, :, 0, :1]
        zeros = jnp.broadcast_to((edge < edge).astype(jnp.float32), (batch, rows, self.features))
        start = recurrence.begin(zeros)  # [B, H, h]

        def diagonal(state: State, part: Any) -> tuple[State, jax.Array]:
            *here, begins = part
            # In skewed columns the pixel above lies beside too: one row up. Outside of the images
            # states are what they may be: nobody inside looks there.
            above = shifted(state[0], 1, 1, start[0][:, :1])
            h, c = (jnp.where(begins, s, left) for s, left in zip(start, state, strict=True))
            gates = checkpoint_name(gates_of(*here) + recurrence.state(h, above), "gates")
            state = cell(gates, c)
            return state, state[0]

        step = _again(diagonal, None if again else KEEP_GATES)
        each = [jnp.moveaxis(skewed(part), 2, 0) for part in parts]  # [S, B, H, ...]
        _, h = jax.lax.scan(step, start, (*each, begins))
        return unskewed(jnp.moveaxis(h, 0, 2), columns)

    def _biases(self, told: Any) -> Any:
        return jnp.split(told, 2, axis=-1) if told.shape[-1] > 1 else (told, told)

    def __call__(self, x: jax.Array, told: Any) -> jax.Array:
        left, right = self._biases(told)
        one = self._sweep(self.left, x, left)
        other = self._sweep(self.right, x[:, :, ::-1], right[:, :, ::-1])[:, :, ::-1]
        return one + shifted(other, 1, 1)

    # One pixel at a time. Kept: states of the left sweep in the row above and at the pixel on the
    # left; the inputs of the row above, and the right sweep's states in the row above that.

    def kept(self, batch: int, columns: int) -> Kept:
        """What there is before the first row."""
        like = jnp.zeros((batch, columns, self.features))
        h, _ = self.left.begin(like)
        right, _ = self.right.begin(like)
        beside = self.left.begin(like[:, 0])
        nothing = jnp.zeros_like(like)  # no row above: nothing comes down from it
        inputs = self.right.inputs.buffer(batch, 1, columns)
        state = {"h": h, "right": right, "from_right": nothing, "begun": jnp.zeros(())}
        return {**state, "left_h": beside[0], "left_c": beside[1], "inputs": inputs}

    def begin_row(self, kept: Kept, told_above: jax.Array) -> Kept:
        """The right sweep over the row that is done, and the left one's first state again."""
        _, right = self._biases(told_above)
        gates = self.right.inputs(kept["inputs"])[:, 0] + right  # [B, W, 4 h]

        def pixel(state: State, part: Any) -> tuple[State, jax.Array]:
            gates, above = part
            state = cell(gates + self.right.state(state[0], above), state[1])
            return state, state[0]

        parts = (jnp.moveaxis(gates, 1, 0), jnp.moveaxis(kept["right"], 1, 0))
        start = self.right.begin(kept["left_h"])
        _, h = jax.lax.scan(pixel, start, parts, reverse=True)
        h = jnp.moveaxis(h, 0, 1)
        begun = kept["begun"] > 0
        beside = self.left.begin(kept["left_h"] * 0)
        return {
            **kept,
            "right": jnp.where(begun, h, kept["right"]),
            "from_right": jnp.where(begun, h, kept["from_right"]),
            "begun": jnp.ones(()),
            "left_h": beside[0],
            "left_c": beside[1],
        }

    def pixel(self, kept: Kept, x: jax.Array, told: jax.Array, column: jax.Array) -> Pixel:
        """One pixel's input `[B, 1, 1, F]` and what it is told `[B, gates]` -> states `[B, h]`."""
        left, _ = self._biases(told)
        inputs = self.left.inputs.put(kept["inputs"], x, 0, column)
        gates = self.left.inputs.at_pixel(inputs, 0, column) + left
        above = _at(kept["h"], column)
        h, c = cell(gates + self.left.state(kept["left_h"], above), kept["left_c"])
        seen = h + _at(kept["from_right"], column)
        return {**kept, "inputs": inputs}, seen, {"h": h, "c": c}

    def end_pixel(self, kept: Kept, new: Kept, column: jax.Array) -> Kept:
        """All channels are drawn: the state is that on the left of the next pixel."""
        h = _put(kept["h"], new["h"], column)
        return {**kept, "h": h, "left_h": new["h"], "left_c": new["c"]}


def _at(row: jax.Array, column: jax.Array) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(row, column, 1, axis=1)[:, 0]


def _put(row: jax.Array, x: jax.Array, column: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(row, x[:, None].astype(row.dtype), column, axis=1)


class PixelRNN(nn.Module):
    """`x [B, H, W, C]`, a map `[B, H, W, K]` that it is told or None -> logits of all values."""

    sizes: Sizes
    condition_features: int = 0

    def setup(self) -> None:
        c, channels = self.sizes, self.sizes.shape[2]
        dtype = jnp.dtype(c.dtype)
        wide, narrow = tuple(groups(2 * c.features, channels)), tuple(groups(c.features, channels))
        around = {"height": c.first // 2 + 1, "width": c.first}
        around |= {"top": c.first // 2, "left": c.first // 2}
        self.first = CausalConv(tuple(range(channels)), wide, kind="A", dtype=dtype, **around)
        layer, sweeps = (RowLSTM, 1) if c.network == "row" else (DiagonalBiLSTM, 2)
        each = range(c.layers)
        self.lstm = [layer(wide, c.features, channels, dtype) for _ in each]
        self.up = [CausalConv(narrow, wide, dtype=dtype) for _ in each]
        if c.skip:
            self.out = [CausalConv(narrow, wide, dtype=dtype) for _ in each]
        if self.condition_features:
            gates = sweeps * 4 * c.features
            exact = precision(dtype)
            self.condition = [
                nn.Dense(gates, use_bias=False, dtype=dtype, precision=exact) for _ in each
            ]
        self.head = PixelHead(channels, c.levels, c.head, wide, dtype)

    def _biases(self, i: int, condition: jax.Array | None) -> jax.Array:
        """What layer i's gates are told, `[B, H, W, gates]`, or one 0."""
        if condition is None:
            return jnp.zeros((1, 1, 1, 1))
        return self._widened(self.condition[i](condition))

    def _joined(self, i: int, x: jax.Array, h: jax.Array, skips: Any) -> tuple[jax.Array, Any]:
        """After layer i: its input `[B, r, c, 2 h]` and states to the next one's, and the skips."""
        up = self.up[i](h)
        if self.sizes.skip:
            skips = skips + self.out[i](h)
        return (x + up if self.sizes.residual else up), skips

    @property
    def margin(self) -> int:
        """Columns right of the image that the network works on too.

        A sweep from the right begins there: the features of a row's last pixel do not hold that
        pixel itself, and no other on its right would.
        """
        return 1 if self.sizes.network == "diagonal" else 0

    def _widened(self, x: jax.Array) -> jax.Array:
        return jnp.pad(x, ((0, 0), (0, 0), (0, self.margin), (0, 0)))

    def __call__(self, x: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        columns = x.shape[2]
        x = self.first(self._widened(scaled(x, self.sizes.levels)))
        skips = jnp.zeros_like(x)
        for i, lstm in enumerate(self.lstm):
            x, skips = self._joined(i, x, lstm(x, self._biases(i, condition)), skips)
        return self.head((x + skips if self.sizes.skip else x)[:, :, :columns])

    def sample(self, noise: jax.Array, condition: Any, given: Any) -> jax.Array:
        """A pixel's states once a channel: `noise [B, H, W, C] -> x`."""
        c = self.sizes
        batch, rows, columns, channels = noise.shape
        image, known = given or (jnp.zeros_like(noise), np.zeros(c.shape, bool))
        wide = columns + self.margin
        told = [
            jnp.broadcast_to(t, (t.shape[0], rows, wide, t.shape[-1]))
            for t in (self._biases(i, condition) for i in range(c.layers))
        ]
        seen = self.first.buffer(batch, rows, wide)
        kept = tuple(lstm.kept(batch, wide) for lstm in self.lstm)

        def row(carry: Any, r: jax.Array) -> tuple[Any, jax.Array]:
            seen, kept = carry
            last = jnp.maximum(r - 1, 0)
            kept = tuple(
                lstm.begin_row(k, jax.lax.dynamic_index_in_dim(t, last, 1, keepdims=False))
                for lstm, k, t in zip(self.lstm, kept, told, strict=True)
            )
            here = [jax.lax.dynamic_index_in_dim(t, r, 1, keepdims=False) for t in told]

            def pixel(carry: Any, column: jax.Array) -> tuple[Any, jax.Array]:
                seen, kept = carry[0], list(carry[1])
                x, place = jnp.zeros((batch, channels)), r * columns + column
                inside = (column < columns).astype(x.dtype)
                new: list[Any] = [None] * c.layers
                for k in range(channels):
                    seen = self.first.put(seen, inside * one_pixel(x, c.levels), r, column)
                    h = self.first.at_pixel(seen, r, column)[:, None, None]
                    skips = jnp.zeros_like(h)
                    for i, lstm in enumerate(self.lstm):
                        kept[i], state, new[i] = lstm.pixel(
                            kept[i], h, _at(here[i], column), column
                        )
                        h, skips = self._joined(i, h, state[:, None, None], skips)
                    logits = self.head(h + skips if c.skip else h)[:, 0, 0]
                    x = x.at[:, k].set(drawn(c.levels, logits, noise, image, known, place, k))
                seen = self.first.put(seen, inside * one_pixel(x, c.levels), r, column)
                done = zip(self.lstm, kept, new, strict=True)
                return (seen, tuple(lstm.end_pixel(k, n, column) for lstm, k, n in done)), x

            carry, x = jax.lax.scan(pixel, (seen, kept), jnp.arange(wide))
            return carry, jnp.moveaxis(x[:columns], 0, 1)  # [B, W, C]

        _, x = jax.lax.scan(row, (seen, kept), jnp.arange(rows))
        return jnp.moveaxis(x, 0, 1)
