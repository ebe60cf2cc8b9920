"""Network of PixelCNN++: two streams of gated residual blocks, downsampled and upsampled again.

Salimans et al. 2017, "PixelCNN++" (arXiv:1701.05517), sections 2.3 to 2.5 and figure 2, with the
first layers, concatenated ELUs and scales of the authors' code. Stream u depends on all rows above
a pixel, stream ul also on the pixels to its left.

For sampling, `row` computes stream u of a row once the row above is drawn, and `pixel` stream ul of
a pixel once its left neighbor is (Ramachandran et al. 2017, "Fast Generation for Convolutional
Autoregressive Models", arXiv:1704.06001). An entry of a downsampled map is computed at the first
row or pixel that it covers, and cached for the others, because its inputs no longer change.
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

# The place in the map of a level (0 is the largest); None for whole maps.
At = Callable[[int], Place | None]


def concat_elu(x: jax.Array) -> jax.Array:
    """Concatenates the ELUs of x and -x: `[..., F] -> [..., 2 F]`."""
    return nn.elu(jnp.concatenate([x, -x], axis=-1))


def with_ones(x: jax.Array) -> jax.Array:
    """Appends a channel of ones, which distinguishes the image from its zero padding."""
    return jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)


class GatedBlock(nn.Module):
    """Computes x + a sigmoid(b), with a and b functions of x, of `beside` and of the class."""

    features: int
    right: bool  # whether the convolutions are those of stream ul; else those of u
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
            exact = jax.lax.Precision.HIGHEST  # float32 whatever the dtype
            bias = nn.Dense(2 * self.features, use_bias=False, kernel_init=NORMAL, precision=exact)
            y = y + bias(condition)[:, None, None].astype(y.dtype)
        a, b = jnp.split(y, 2, axis=-1)
        return x + a * jax.nn.sigmoid(b)


class PixelCNNPP(nn.Module):
    """`x [B, H, W, C]` in [-1, 1], one-hot `[B, K]` or None to float32 `[B, H, W, outputs]`."""

    config: Any  # of `genjax.families.pixelcnn_pp`
    outputs: int  # number of parameters of a pixel's distribution

    def setup(self) -> None:
        c, f, dtype = self.config, self.config.features, jnp.dtype(self.config.dtype)
        levels, options = range(c.halvings + 1), dict[str, Any](dtype=dtype)

        def blocks(level: int, right: bool, more: int = 0) -> list[GatedBlock]:
            return [GatedBlock(f, right, c.dropout, dtype) for _ in range(c.blocks + more)]

        self.first_u = down_shifted(f, **options)
        self.first_above = WeightNorm(f, 1, 3, left=1, right=1, **options)
        self.first_left = WeightNorm(f, 2, 1, above=1, **options)
        self.down_u = [blocks(k, False) for k in levels]
        self.down_ul = [blocks(k, True) for k in levels]
        self.shrink_u = [down_shifted(f, stride=2, **options) for _ in levels[1:]]
        self.shrink_ul = [down_right_shifted(f, stride=2, **options) for _ in levels[1:]]
        # On the way up a level has one more block, for the map that was downsampled.
        self.up_u = [blocks(k, False, k < c.halvings) for k in levels]
        self.up_ul = [blocks(k, True, k < c.halvings) for k in levels]
        self.grow_u = [WeightNormUp(f, 3, left=1, **options) for _ in levels[1:]]
        self.grow_ul = [WeightNormUp(f, 2, **options) for _ in levels[1:]]
        self.last = WeightNorm(self.outputs)

    def stream_u(
        self, u: jax.Array, condition: Any, train: bool, at: At, sides: Any = None, level: int = 0
    ) -> tuple[list[list[jax.Array]], list[list[jax.Array]]]:
        """Computes all maps of stream u by level, from `level` on, on the way down and up.

        `sides` are the sizes of the levels' maps; odd ones are rounded up on the way down.
        """
        maps = [u]
        for block in self.down_u[level]:
            maps.append(block(maps[-1], None, condition, train, at(level)))
        skips, down = list(maps), [maps]
        up: list[list[jax.Array]] = []
        if level < self.config.halvings:

            def deeper(module: Any, u: jax.Array) -> Any:
                below, above = module.stream_u(u, condition, train, at, sides, level + 1)
                return (below, above), above[0][-1]

            smaller = self.shrink_u[level](maps[-1], at(level))
            none = functools.partial(self._no_maps, u, sides, level + 1)
            name = f"cached_u_{level}"
            (below, up), u = self._deeper_levels(name, deeper, smaller, at(level), none)
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
        """Computes the last map of stream ul at a level from its first; `us` is from `stream_u`."""
        down_u, up_u = us
        maps = [ul]
        for block, u in zip(self.down_ul[level], down_u[level][1:], strict=True):
            maps.append(block(maps[-1], u, condition, train, at(level)))
        if level < self.config.halvings:

            def deeper(module: Any, ul: jax.Array) -> Any:
                return (), module.stream_ul(ul, us, condition, train, at, sides, level + 1)

            smaller = self.shrink_ul[level](maps[-1], at(level))
            _, ul = self._deeper_levels(f"cached_ul_{level}", deeper, smaller, at(level), tuple)
            ul = _crop(self.grow_ul[level](ul, at(level)), sides, level)
        else:
            ul = maps.pop()
        for block, u in zip(self.up_ul[level], up_u[level], strict=True):
            ul = block(ul, jnp.concatenate([u, maps.pop()], axis=-1), condition, train, at(level))
        return ul

    def _deeper_levels(
        self,
        name: str,
        deeper: Callable[..., Any],
        x: jax.Array,
        at: Place | None,
        none: Callable[[], Any],
    ) -> tuple[Any, jax.Array]:
        """Returns the maps of the deeper levels, and the last of them.

        An entry of a deeper map covers two rows or pixels. It is computed at the first; at the
        second the maps are `none()`, and the last map is read from the cache.
        """
        if at is None:
            maps, last = deeper(self, x)
            if self.is_mutable_collection("cache") and not self.is_initializing():
                self.put_variable("cache", name, jnp.zeros_like(last[:, :1]))
            return maps, last
        row, column = at
        cached = self.get_variable("cache", name)
        new, place, width = row % 2 == 0, 0, cached.shape[2]
        if column is not None:
            new, place, width = new & (column % 2 == 0), column // 2, 1
        old = jax.lax.dynamic_slice_in_dim(cached, place, width, axis=2)

        # A loop of at most one iteration: `cond` would copy the buffers of all deeper levels.
        def body(module: Any, carry: Any) -> Any:
            return jnp.zeros((), bool), *deeper(module, x)

        _, maps, last = nn.while_loop(
            lambda _, carry: carry[0], body, self, (new, none(), old), carry_variables="cache"
        )
        cached = jax.lax.dynamic_update_slice_in_dim(cached, last, place, axis=2)
        self.put_variable("cache", name, cached)
        return maps, last

    def _no_maps(self, u: jax.Array, sides: Any, level: int) -> Any:
        """Returns zeros of the shapes of `stream_u`'s result for a row, from a level on."""

        def zeros(k: int, count: int) -> list[jax.Array]:
            return [jnp.zeros((len(u), 1, sides[k][1], self.config.features), u.dtype)] * count

        levels = range(level, self.config.halvings + 1)
        down = [zeros(k, self.config.blocks + 1) for k in levels]
        return down, [zeros(k, self.config.blocks + (k < self.config.halvings)) for k in levels]

    def __call__(self, x: jax.Array, condition: Any = None, train: bool = False) -> jax.Array:
        x = with_ones(x)

        def nowhere(level: int) -> Place | None:
            return None

        sides = [
            tuple(-(-s // 2**k) for s in x.shape[1:3]) for k in range(self.config.halvings + 1)
        ]
        us = self.stream_u(shift_down(self.first_u(x)), condition, train, nowhere, sides)
        ul = shift_down(self.first_above(x)) + shift_right(self.first_left(x))
        ul = self.stream_ul(ul, us, condition, train, nowhere, sides)
        return self._outputs(ul)

    def _outputs(self, ul: jax.Array) -> jax.Array:
        return self.last(nn.elu(ul.astype(jnp.float32)))

    def row(self, above: jax.Array, condition: Any, row: jax.Array) -> Any:
        """Computes stream u of a row, and the start of ul, from the row above `[B, 1, W, C]`."""
        inside = (row > 0).astype(self.config.dtype)  # there is no row above the first
        padded = with_ones(above)
        place = (jnp.maximum(row - 1, 0), None)
        # Written for the first row too, where it must be the zeros of the padding.
        u = self.first_u(inside * padded, place) * inside
        start = self.first_above(inside * padded, place) * inside
        sides = [(1, -(-above.shape[2] // 2**k)) for k in range(self.config.halvings + 1)]
        us = self.stream_u(u, condition, False, lambda k: (row // 2**k, None), sides)
        return us, start

    def pixel(
        self, left: jax.Array, row_features: Any, condition: Any, row: jax.Array, column: jax.Array
    ) -> jax.Array:
        """Computes a pixel's outputs, `[B, outputs]`, from its left neighbor `[B, 1, 1, C]`."""
        us, start = row_features
        inside = (column > 0).astype(self.config.dtype)

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
