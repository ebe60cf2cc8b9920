"""The Inception-v3 network in Flax that defines FID and the Inception score.

Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision", as Google released
it on 2015-12-05. That release has 1008 classes, average pooling that excludes padding, and maximum
pooling in the last block. Modules have the names of the PyTorch weights.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

CLASSES = 1008
FEATURES = 2048
SIDE = 299
EXACT = jax.lax.Precision.HIGHEST  # GPUs and TPUs round products to 10 or 7 bits by default


class Conv(nn.Module):
    """Convolution without bias, batch normalisation by running statistics, ReLU."""

    units: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str = "VALID"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        strides = (self.stride, self.stride)
        conv = nn.Conv(
            self.units,
            self.kernel,
            strides,
            self.padding,
            use_bias=False,
            precision=EXACT,
            name="conv",
        )
        # TensorFlow's epsilon, which differs from PyTorch's default.
        x = nn.BatchNorm(use_running_average=True, epsilon=1e-3, name="bn")(conv(x))
        return nn.relu(x)


def _same(units: int, kernel: tuple[int, int], name: str) -> Conv:
    """Returns a convolution of stride 1 with SAME padding."""
    return Conv(units, kernel, padding="SAME", name=name)


def _chain(x: jax.Array, *layers: Conv) -> jax.Array:
    for layer in layers:
        x = layer(x)
    return x


def _average(x: jax.Array) -> jax.Array:
    """3x3 average pooling that excludes padding."""
    return nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)


def _maximum(x: jax.Array) -> jax.Array:
    """3x3 maximum pooling of stride 1."""
    return nn.max_pool(x, (3, 3), (1, 1), "SAME")


def _halve(x: jax.Array) -> jax.Array:
    return nn.max_pool(x, (3, 3), (2, 2), "VALID")


class BlockA(nn.Module):
    """Branches 1x1, 5x5, two 3x3 and pooling: 224 + `pool_units` channels."""

    pool_units: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        one = Conv(64, name="branch1x1")(x)
        five = _chain(x, Conv(48, name="branch5x5_1"), _same(64, (5, 5), "branch5x5_2"))
        three = _chain(
            x,
            Conv(64, name="branch3x3dbl_1"),
            _same(96, (3, 3), "branch3x3dbl_2"),
            _same(96, (3, 3), "branch3x3dbl_3"),
        )
        pool = Conv(self.pool_units, name="branch_pool")(_average(x))
        return jnp.concatenate([one, five, three, pool], axis=-1)


class BlockB(nn.Module):
    """Halves the size; adds 480 channels to the input's."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        three = Conv(384, (3, 3), 2, name="branch3x3")(x)
        double = _chain(
            x,
            Conv(64, name="branch3x3dbl_1"),
            _same(96, (3, 3), "branch3x3dbl_2"),
            Conv(96, (3, 3), 2, name="branch3x3dbl_3"),
        )
        return jnp.concatenate([three, double, _halve(x)], axis=-1)


class BlockC(nn.Module):
    """Branches 1x1, 7x7 and two 7x7 (as 1x7 and 7x1) and pooling: 768 channels."""

    units: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        one = Conv(192, name="branch1x1")(x)
        seven = _chain(
            x,
            Conv(self.units, name="branch7x7_1"),
            _same(self.units, (1, 7), "branch7x7_2"),
            _same(192, (7, 1), "branch7x7_3"),
        )
        double = _chain(
            x,
            Conv(self.units, name="branch7x7dbl_1"),
            _same(self.units, (7, 1), "branch7x7dbl_2"),
            _same(self.units, (1, 7), "branch7x7dbl_3"),
            _same(self.units, (7, 1), "branch7x7dbl_4"),
            _same(192, (1, 7), "branch7x7dbl_5"),
        )
        pool = Conv(192, name="branch_pool")(_average(x))
        return jnp.concatenate([one, seven, double, pool], axis=-1)


class BlockD(nn.Module):
    """Halves the size; adds 512 channels to the input's."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        three = _chain(x, Conv(192, name="branch3x3_1"), Conv(320, (3, 3), 2, name="branch3x3_2"))
        seven = _chain(
            x,
            Conv(192, name="branch7x7x3_1"),
            _same(192, (1, 7), "branch7x7x3_2"),
            _same(192, (7, 1), "branch7x7x3_3"),
            Conv(192, (3, 3), 2, name="branch7x7x3_4"),
        )
        return jnp.concatenate([three, seven, _halve(x)], axis=-1)


class BlockE(nn.Module):
    """Branches 1x1, 3x3 and two 3x3 (as 1x3 beside 3x1) and pooling: 2048 channels."""

    pool: Callable[[jax.Array], jax.Array]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        one = Conv(320, name="branch1x1")(x)
        three = Conv(384, name="branch3x3_1")(x)
        three_a = _same(384, (1, 3), "branch3x3_2a")(three)
        three_b = _same(384, (3, 1), "branch3x3_2b")(three)
        double = _chain(x, Conv(448, name="branch3x3dbl_1"), _same(384, (3, 3), "branch3x3dbl_2"))
        double_a = _same(384, (1, 3), "branch3x3dbl_3a")(double)
        double_b = _same(384, (3, 1), "branch3x3dbl_3b")(double)
        pool = Conv(192, name="branch_pool")(self.pool(x))
        return jnp.concatenate([one, three_a, three_b, double_a, double_b, pool], axis=-1)


class InceptionV3(nn.Module):
    """Maps `[B, H, W, 3]` in [-1, 1] to features `[B, 2048]` and logits `[B, 1008]`.

    The output of every block is sown as `intermediates/NAME_out`.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        stages: list[tuple[str, Callable[[jax.Array], jax.Array]]] = [
            ("Conv2d_1a_3x3", Conv(32, (3, 3), 2, name="Conv2d_1a_3x3")),
            ("Conv2d_2a_3x3", Conv(32, (3, 3), name="Conv2d_2a_3x3")),
            ("Conv2d_2b_3x3", _same(64, (3, 3), "Conv2d_2b_3x3")),
            ("maxpool1", _halve),
            ("Conv2d_3b_1x1", Conv(80, name="Conv2d_3b_1x1")),
            ("Conv2d_4a_3x3", Conv(192, (3, 3), name="Conv2d_4a_3x3")),
            ("maxpool2", _halve),
            ("Mixed_5b", BlockA(32, name="Mixed_5b")),
            ("Mixed_5c", BlockA(64, name="Mixed_5c")),
            ("Mixed_5d", BlockA(64, name="Mixed_5d")),
            ("Mixed_6a", BlockB(name="Mixed_6a")),
            ("Mixed_6b", BlockC(128, name="Mixed_6b")),
            ("Mixed_6c", BlockC(160, name="Mixed_6c")),
            ("Mixed_6d", BlockC(160, name="Mixed_6d")),
            ("Mixed_6e", BlockC(192, name="Mixed_6e")),
            ("Mixed_7a", BlockD(name="Mixed_7a")),
            ("Mixed_7b", BlockE(_average, name="Mixed_7b")),
            ("Mixed_7c", BlockE(_maximum, name="Mixed_7c")),
        ]
        for name, stage in stages:
            x = stage(x)
            self.sow("intermediates", f"{name}_out", x)
        pooled = x.mean(axis=(1, 2))
        return pooled, nn.Dense(CLASSES, precision=EXACT, name="fc")(pooled)


def prepare(x: jax.Array, side: int = SIDE) -> jax.Array:
    """Converts images `[B, H, W, C]` in [0, 1] to inputs `[B, 299, 299, 3]` in [-1, 1].

    Grey images are repeated to three channels. Resizing is bilinear with half-pixel centres and no
    antialiasing, as in pytorch-fid; TensorFlow's graph of 2015 aligns pixels differently, which
    changes FID slightly (Parmar et al. 2022, "On Aliased Resizing").
    """
    if x.shape[-1] == 1:
        x = jnp.repeat(x, 3, axis=-1)
    if x.shape[1:3] != (side, side):
        shape = (x.shape[0], side, side, x.shape[-1])
        x = jax.image.resize(x, shape, "bilinear", antialias=False)
    return 2 * x - 1
