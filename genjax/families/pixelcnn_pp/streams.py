"""The network of PixelCNN++: two streams of gated residual blocks, down to a quarter and up again.

Salimans et al. 2017, "PixelCNN++" (arXiv:1701.05517), sections 2.3 to 2.5 and figure 2, with the
first layers, concatenated ELUs and scales of the authors' code. Stream u has seen all rows above a
pixel, stream ul those and what is on its left.

For sampling, `row` gives stream u of a row once the row above is drawn, and `pixel` stream ul of a
pixel once the one on its left is (Ramachandran et al. 2017, "Fast Generation for Convolutional
Autoregressive Models", arXiv:1704.06001). A halved map is computed at the first row, or pixel, of
those that it covers, and kept for the others: its inputs do not change any more.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.families.pixelcnn_pp.weight_norm import (
    NORMAL,
    Place,
    WeightNorm,
    WeightNormUp,
    down_right_shifted,
    down_shifted,
    shift_down,
    shift_right,
)

# The place in the map of a level, 0 the largest; None for whole maps.
At = Callable[[int], Place | None]


def concat_elu(x: jax.Array) -> jax.Array:
    """ELU of x and of -x side by side: `[..., F] -> [..., 2 F]`."""
    return nn.elu(jnp.concatenate([x, -x], axis=-1))


def with_ones(x: jax.Array) -> jax.Array:
    """A channel of ones, which tells the image from the zeros around it."""
    return jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)


class GatedBlock(nn.Module):
    """x + a sigmoid(b), where a and b come of x, of what is beside it, and of the class.

    right: convolutions of the ul stream; else of u.
    """

    features: int
    right: bool
    dropout: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, beside: Any, condition: Any, train: bool, at: Place | None
    ) -> jax.Array:
        conv = down_right_shifted if self.right else down_shifted
        y = conv(self.features, dtype=self.dtype)(concat_elu(x), at)
        if beside is not None:
            y = y + WeightNorm(self.features, dtype=self.dtype)(concat_elu(beside))
        y = nn.Dropout(self.dropout, deterministic=not train)(concat_elu(y))
        y = conv(2 * self.features, scale=0.1, dtype=self.dtype)(y, at)
        if condition is not None:
            exact = jax.lax.Precision.HIGHEST  # in float32, whatever the dtype
            hear = nn.Dense(2 * self.features, use_bias=False, kernel_init=NORMAL, precision=exact)
            y = y + hear(condition)[:, None, None].astype(y.dtype)
        a, b = jnp.split(y, 2, axis=-1)
        return x + a * jax.nn.sigmoid(b)


class PixelCNNPP(nn.Module):
    """`x [B, H, W, C]` in [-1, 1], one-hot `[B, K]` or None -> `[B, H, W, outputs]`, float32.

    outputs: numbers a pixel's distribution is made of.
    blocks: gated blocks at each of the resolutions, down and up.
    halvings: times the maps are halved.
    """

    outputs: int
    features: int
    blocks: int
    halvings: int
    dropout: float
    dtype: Any = jnp.float32

    def setup(self) -> None:
        f, levels = self.features, range(self.halvings + 1)
        options: dict[str, Any] = {"dtype": self.dtype}

        def blocks(level: int, right: bool, more: int = 0) -> list[GatedBlock]:
            count = self.blocks + more
            return [GatedBlock(f, right, self.dropout, self.dtype) for _ in range(count)]

        self.first_u = down_shifted(f, **options)
        self.first_above = WeightNorm(f, 1, 3, left=1, right=1, **options)
        self.first_left = WeightNorm(f, 2, 1, above=1, **options)
        self.down_u = [blocks(k, False) for k in levels]
        self.down_ul = [blocks(k, True) for k in levels]
        self.shrink_u = [down_shifted(f, stride=2, **options) for _ in levels[1:]]
        self.shrink_ul = [down_right_shifted(f, stride=2, **options) for _ in levels[1:]]
        # On the way up a level has one more, for the map that was halved.
        self.up_u = [blocks(k, False, k < self.halvings) for k in levels]
        self.up_ul = [blocks(k, True, k < self.halvings) for k in levels]
        self.grow_u = [WeightNormUp(f, 3, left=1, **options) for _ in levels[1:]]
        self.grow_ul = [WeightNormUp(f, 2, **options) for _ in levels[1:]]
        self.last = WeightNorm(self.outputs)

    def stream_u(
        self, u: jax.Array, condition: Any, train: bool, at: At, sides: Any = None, level: int = 0
    ) -> tuple[list[list[jax.Array]], list[list[jax.Array]]]:
        """All maps of stream u by level, from `level` on, on the way down and up.

        `sides` are those of the levels' maps: an odd one was rounded up on the way down.
        """
        maps = [u]
        for block in self.down_u[level]:
            maps.append(block(maps[-1], None, condition, train, at(level)))
        skips, down = list(maps), [maps]
        up: list[list[jax.Array]] = []
        if level < self.halvings:

            def deeper(module: Any, u: jax.Array) -> Any:
                below, above = module.stream_u(u, condition, train, at, sides, level + 1)
                return (below, above), above[0][-1]

            smaller = self.shrink_u[level](maps[-1], at(level))  # it is told of every place
            none = functools.partial(self._no_maps, u, sides, level + 1)
            name = f"kept_u_{level}"
            (below, up), u = self._where_new(name, deeper, smaller, at(level), none)
            down = down + below
            u = _crop(self.grow_u[level](u, at(level)), sides, level)
        else:
            u = skips.pop()
        grown = []
        for block in self.up_u[level]:
            u = block(u, skips.pop(), condition, train, at(level))
            grown.append(u)
        return down, [grown] + up

    def stream_ul(
        self,
        ul: jax.Array,
        us: Any,
        condition: Any,
        train: bool,
        at: At,
        sides: Any = None,
        level: int = 0,
    ) -> jax.Array:
        """The last map of stream ul at a level, from its first; `us` is what `stream_u` gave."""
        down_u, up_u = us
        maps = [ul]
        for block, u in zip(self.down_ul[level], down_u[level][1:], strict=True):
            maps.append(block(maps[-1], u, condition, train, at(level)))
        if level < self.halvings:

            def deeper(module: Any, ul: jax.Array) -> Any:
                return (), module.stream_ul(ul, us, condition, train, at, sides, level + 1)

            smaller = self.shrink_ul[level](maps[-1], at(level))
            _, ul = self._where_new(f"kept_ul_{level}", deeper, smaller, at(level), tuple)
            ul = _crop(self.grow_ul[level](ul, at(level)), sides, level)
        else:
            ul = maps.pop()
        for block, u in zip(self.up_ul[level], up_u[level], strict=True):
            ul = block(ul, jnp.concatenate([u, maps.pop()], axis=-1), condition, train, at(level))
        return ul

    def _where_new(
        self,
        name: str,
        deeper: Callable[..., Any],
        x: jax.Array,
        at: Place | None,
        none: Callable[[], Any],
    ) -> tuple[Any, jax.Array]:
        """What deeper levels make of a map, and the last of theirs: of a row or a pixel where it is
        the first that a place of theirs covers; else `none()`, and the last as it was kept."""
        if at is None:
            found, last = deeper(self, x)
            if self.is_mutable_collection("cache") and not self.is_initializing():
                self.put_variable("cache", name, jnp.zeros_like(last[:, :1]))
            return found, last
        row, column = at
        kept = self.get_variable("cache", name)
        new, place, width = row % 2 == 0, 0, kept.shape[2]
        if column is not None:
            new, place, width = new & (column % 2 == 0), column // 2, 1
        old = jax.lax.dynamic_slice_in_dim(kept, place, width, axis=2)

        # A loop of one turn or none: a choice would copy the buffers of all deeper levels.
        def turn(module: Any, carry: Any) -> Any:
            return jnp.zeros((), bool), *deeper(module, x)

        _, found, last = nn.while_loop(
            lambda _, carry: carry[0], turn, self, (new, none(), old), carry_variables="cache"
        )
        kept = jax.lax.dynamic_update_slice_in_dim(kept, last, place, axis=2)
        self.put_variable("cache", name, kept)
        return found, last

    def _no_maps(self, u: jax.Array, sides: Any, level: int) -> Any:
        """Zeros in the place of what `stream_u` gives of a row from a level on."""

        def zeros(k: int, count: int) -> list[jax.Array]:
            return [jnp.zeros((len(u), 1, sides[k][1], self.features), u.dtype)] * count

        levels = range(level, self.halvings + 1)
        down = [zeros(k, self.blocks + 1) for k in levels]
        return down, [zeros(k, self.blocks + (k < self.halvings)) for k in levels]

    def __call__(self, x: jax.Array, condition: Any = None, train: bool = False) -> jax.Array:
        x = with_ones(x)

        def nowhere(level: int) -> Place | None:
            return None

        sides = [tuple(-(-s // 2**k) for s in x.shape[1:3]) for k in range(self.halvings + 1)]
        us = self.stream_u(shift_down(self.first_u(x)), condition, train, nowhere, sides)
        ul = shift_down(self.first_above(x)) + shift_right(self.first_left(x))
        ul = self.stream_ul(ul, us, condition, train, nowhere, sides)
        return self._outputs(ul)

    def _outputs(self, ul: jax.Array) -> jax.Array:
        return self.last(nn.elu(ul.astype(jnp.float32)))

    def row(self, above: jax.Array, condition: Any, row: jax.Array) -> Any:
        """What a row's pixels need, from the row above `[B, 1, W, C]`: stream u, and ul's start."""
        inside = (row > 0).astype(self.dtype)  # nothing is above the first row
        seen = with_ones(above)
        place = (jnp.maximum(row - 1, 0), None)
        # Written for the first row too, where `seen` must be the zeros of the margin: see `pixel`.
        u = self.first_u(inside * seen, place) * inside
        start = self.first_above(inside * seen, place) * inside
        sides = [(1, -(-above.shape[2] // 2**k)) for k in range(self.halvings + 1)]
        us = self.stream_u(u, condition, False, lambda k: (row // 2**k, None), sides)
        return us, start

    def pixel(
        self, left: jax.Array, of_row: Any, condition: Any, row: jax.Array, column: jax.Array
    ) -> jax.Array:
        """Outputs of a pixel, `[B, outputs]`, from the one on its left `[B, 1, 1, C]`."""
        us, start = of_row
        inside = (column > 0).astype(self.dtype)

        def here(u: jax.Array, level: int) -> jax.Array:
            return jax.lax.dynamic_slice_in_dim(u, column // 2**level, 1, axis=2)

        place = (row, jnp.maximum(column - 1, 0))
        beside = self.first_left(inside * with_ones(left), place) * inside
        mine = [[[here(u, k) for u in maps] for k, maps in enumerate(way)] for way in us]
        ul = here(start, 0) + beside
        ul = self.stream_ul(ul, mine, condition, False, lambda k: (row // 2**k, column // 2**k))
        return self._outputs(ul)[:, 0, 0]


def _crop(x: jax.Array, sides: Any, level: int) -> jax.Array:
    return x if sides is None else x[:, : sides[level][0], : sides[level][1]]
