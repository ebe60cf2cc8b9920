"""The network of PixelCNN++: two streams of gated residual blocks, down to a quarter and up again.

Salimans et al. 2017, "PixelCNN++" (arXiv:1701.05517), sections 2.3 to 2.5 and figure 2, with the
first layers, concatenated ELUs and scales of the authors' code. Stream u has seen all rows above a
pixel, stream ul those and what is on its left.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.weight_norm import (
    NORMAL,
    WeightNorm,
    down_right_shifted,
    down_shifted,
    shift_down,
    shift_right,
)


def concat_elu(x: jax.Array) -> jax.Array:
    """ELU of x and of -x side by side: `[..., F] -> [..., 2 F]`."""
    return nn.elu(jnp.concatenate([x, -x], axis=-1))


class GatedBlock(nn.Module):
    """x + a sigmoid(b), where a and b come of x, of what is beside it, and of the class.

    right: convolutions of the ul stream; else of u.
    """

    features: int
    right: bool
    dropout: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, beside: Any, condition: Any, train: bool) -> jax.Array:
        conv = down_right_shifted if self.right else down_shifted
        y = conv(self.features, dtype=self.dtype)(concat_elu(x))
        if beside is not None:
            y = y + WeightNorm(self.features, dtype=self.dtype)(concat_elu(beside))
        y = nn.Dropout(self.dropout, deterministic=not train)(concat_elu(y))
        y = conv(2 * self.features, scale=0.1, dtype=self.dtype)(y)
        if condition is not None:
            hear = nn.Dense(2 * self.features, use_bias=False, kernel_init=NORMAL)
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

    @nn.compact
    def __call__(self, x: jax.Array, condition: Any = None, train: bool = False) -> jax.Array:
        f, dtype = self.features, self.dtype

        def block(x: jax.Array, beside: Any, right: bool) -> jax.Array:
            return GatedBlock(f, right, self.dropout, dtype)(x, beside, condition, train)

        # The channel of ones tells the image from the zeros around it.
        x = jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)
        u = shift_down(down_shifted(f, dtype=dtype)(x))
        above = WeightNorm(f, 1, 3, left=1, right=1, dtype=dtype)(x)
        beside = WeightNorm(f, 2, 1, above=1, dtype=dtype)(x)
        ul = shift_down(above) + shift_right(beside)
        us, uls = [u], [ul]
        for level in range(self.halvings + 1):
            for _ in range(self.blocks):
                us.append(block(us[-1], None, right=False))
                uls.append(block(uls[-1], us[-1], right=True))
            if level < self.halvings:
                us.append(down_shifted(f, stride=2, dtype=dtype)(us[-1]))
                uls.append(down_right_shifted(f, stride=2, dtype=dtype)(uls[-1]))
        u, ul = us.pop(), uls.pop()
        for level in range(self.halvings + 1):
            for _ in range(self.blocks + (level > 0)):
                u = block(u, us.pop(), right=False)
                ul = block(ul, jnp.concatenate([u, uls.pop()], axis=-1), right=True)
            if level < self.halvings:
                rows, columns = us[-1].shape[1:3]  # an odd side was rounded up on the way down
                twice: dict[str, Any] = {"stride": 2, "transpose": True, "dtype": dtype}
                u = WeightNorm(f, 2, 3, left=1, **twice)(u)[:, :rows, :columns]
                ul = WeightNorm(f, 2, 2, **twice)(ul)[:, :rows, :columns]
        assert not us
        assert not uls
        return WeightNorm(self.outputs)(nn.elu(ul.astype(jnp.float32)))
