"""Networks of JigsawGAN: a generator that classifies the order of pieces, and a discriminator.

Li et al. 2021, "JigsawGAN" (arXiv:2101.07555), table I; layers "released" are those of the authors'
code. Biases are left out before batch normalisation.
"""

import dataclasses
import functools
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.core.puzzles import Grid, join
from genjax.nn.convolution import Conv, ConvTranspose
from genjax.nn.norms import InstanceNorm
from genjax.nn.padding import pad

Norm = Literal["batch", "instance"]
Layers = Literal["paper", "released"]

ONE = ((1, 1), (1, 1))  # zeros around maps
SLOPE = 0.2  # of LeakyReLU below 0
MULTIPLE = 4  # of the sides of pieces: the encoder halves them twice


@dataclasses.dataclass(frozen=True)
class Layer:
    """Makes the layers of a network; a method is called within its compact module.

    Attributes:
      norm: normalisation.
      affine: whether instance normalisation is followed by scales and shifts.
      train: whether batch normalisation uses the statistics of the batch.
      dtype: of the computation.
    """

    norm: Norm
    affine: bool
    train: bool
    dtype: Any

    def conv(self, x: jax.Array, features: int, side: int = 3, **options: Any) -> jax.Array:
        """Applies a convolution, padded by zeros so that stride 1 keeps the sides."""
        options = {"padding": ((side // 2,) * 2,) * 2, "dtype": self.dtype, **options}
        return Conv(features, (side, side), **options)(x)

    def normal(self, x: jax.Array, features: int, side: int = 3, **options: Any) -> jax.Array:
        """Applies a convolution and normalises."""
        x = self.conv(x, features, side, use_bias=self.norm == "instance", **options)
        if self.norm == "instance":
            return InstanceNorm(self.affine)(x)
        return nn.BatchNorm(use_running_average=not self.train, momentum=0.9, dtype=self.dtype)(x)


class Encoder(nn.Module):
    """Encoder of single pieces: `[M, h, w, C] -> [M, h / 4, w / 4, 4 width]`.

    Zeros pad every piece by itself, so its features do not depend on its neighbours.
    """

    width: int
    norm: Norm
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        layer = Layer(self.norm, True, train, self.dtype)
        x = nn.relu(layer.normal(x, self.width, 7))
        for features in (2 * self.width, 4 * self.width):
            x = layer.conv(x, features, strides=(2, 2))
            x = nn.relu(layer.normal(x, features))
        return x


class PermutationClassifier(nn.Module):
    """Classifier of maps of pieces in shuffled order: `[B, H, W, F] -> logits [B, P]`, float32.

    Every halving rounds up. `paper`: three convolutions of stride 2 with a max-pooling of 2 each,
    and one dense layer. `released`: of stride 1, two of them in two groups, with a max-pooling of 3
    and stride 2 each, and two dense layers.
    """

    permutations: int
    width: int
    dense: int
    dropout: float
    layers: Layers
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        released = self.layers == "released"
        for i, multiple in enumerate((6, 6, 4) if released else (4, 6, 6)):
            stride, groups = (1, 1 + (i > 0)) if released else (2, 1)
            options: dict[str, Any] = {"strides": (stride, stride), "feature_group_count": groups}
            x = Conv(multiple * self.width, (3, 3), dtype=self.dtype, **options)(x)
            x = nn.max_pool(nn.relu(x), (3, 3) if released else (2, 2), (2, 2), "SAME")
        x = x.reshape(len(x), -1)
        for _ in range(1 + released):
            x = nn.relu(nn.Dense(self.dense, dtype=self.dtype)(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.permutations, dtype=jnp.float32)(x)


class Decoder(nn.Module):
    """Decoder of maps: `[B, H, W, 4 width] -> [B, 4 H, 4 W, channels]` in [-1, 1], float32.

    Residual blocks, two doublings by a transposed and a plain convolution each, and a 7x7
    convolution. Reflection pads the blocks and the last layer.
    """

    channels: int
    width: int
    blocks: int
    norm: Norm
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        layer = Layer(self.norm, True, train, self.dtype)
        features = 4 * self.width
        for _ in range(self.blocks):
            y = layer.normal(pad(x, 1, "reflect"), features, padding="VALID")
            y = layer.normal(pad(nn.relu(y), 1, "reflect"), features, padding="VALID")
            x = x + y
        for features in (2 * self.width, self.width):
            # Padding (1, 2) of the dilated maps is padding 1 with output padding 1.
            x = ConvTranspose(features, (3, 3), (2, 2), (1, 2), dtype=self.dtype)(x)
            x = nn.relu(layer.normal(x, features))
        x = pad(x, 3, "reflect").astype(jnp.float32)
        return jnp.tanh(layer.conv(x, self.channels, 7, padding="VALID", dtype=jnp.float32))


def assignment(logits: jax.Array, permutations: jax.Array) -> jax.Array:
    """Computes the expected assignment of pieces to positions.

        A = sum over p of softmax(logits)_p M_p,   M_p[i, k] = 1 where permutation p puts piece k at
        position i

    Args:
      logits: `[B, P]`.
      permutations: orders, int `[P, N]`.

    Returns:
      float32 `[B, N, N]`, positions by pieces; rows and columns sum to 1.
    """
    n = permutations.shape[1]
    matrices = jax.nn.one_hot(permutations, n, axis=1, dtype=jnp.float32)  # [P, position, piece]
    weights = jax.nn.softmax(logits.astype(jnp.float32), axis=1)
    exact = jax.lax.Precision.HIGHEST
    flat = jnp.matmul(weights, matrices.reshape(len(matrices), -1), precision=exact)
    return flat.reshape(-1, n, n)


def warp(features: jax.Array, logits: jax.Array, permutations: jax.Array) -> jax.Array:
    """Moves the features of shuffled pieces to their expected positions, `[B, N, ...]` -> the same.

    Position i receives the mean over permutations p, weighted by softmax(logits)_p, of the features
    of the piece that p puts there. So it is exact where one probability is 1, linear in the
    features, and differentiable in the logits. The paper's layer computes a field of displacements
    from the permutation and samples the map bilinearly at the displaced pixels; the authors' code
    takes the field of the most probable permutation, through which no gradient reaches the logits.

    Args:
      features: of the pieces.
      logits: `[B, P]`.
      permutations: orders, int `[P, N]`.
    """
    matrix = assignment(logits, permutations).astype(features.dtype)
    exact = jax.lax.Precision.HIGHEST
    flat = features.reshape(*features.shape[:2], -1)
    return jnp.matmul(matrix, flat, precision=exact).reshape(features.shape)


class Generator(nn.Module):
    """Generator: shuffled pieces `[B, N, h, w, C]` -> logits `[B, P]` and an image `[B, H, W, C]`.

    Attributes:
      permutations: orders, int `[P, N]`.
      grid: rows and columns of pieces.
      width: channels of the encoder's first map.
      blocks: residual blocks.
      dense: units of the classifier's dense layers.
      dropout: rate after them.
      norm: of encoder and decoder; instance normalisation is affine.
      layers: of the classifier.
      dtype: of the hidden layers.
    """

    permutations: Any
    grid: Grid
    channels: int
    width: int
    blocks: int
    dense: int
    dropout: float
    norm: Norm
    layers: Layers
    dtype: Any

    def setup(self) -> None:
        self.encoder = Encoder(self.width, self.norm, self.dtype)
        self.classifier = PermutationClassifier(
            len(self.permutations), self.width, self.dense, self.dropout, self.layers, self.dtype
        )
        self.decoder = Decoder(self.channels, self.width, self.blocks, self.norm, self.dtype)

    def __call__(self, pieces: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        features, logits = self._classify(pieces, train)
        moved = warp(features, logits, jnp.asarray(self.permutations))
        return logits, self.decoder(join(moved, self.grid), train)

    def classify(self, pieces: jax.Array) -> jax.Array:
        """Computes the logits alone."""
        return self._classify(pieces, False)[1]

    def _classify(self, pieces: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        flat = self.encoder(pieces.reshape(-1, *pieces.shape[2:]), train)
        features = flat.reshape(*pieces.shape[:2], *flat.shape[1:])
        return features, self.classifier(join(features, self.grid), train)


class Discriminator(nn.Module):
    """Discriminator of patches: `[B, H, W, C] -> logits [B, H / 4, W / 4]`, float32.

    Seven 3x3 convolutions, the second and fourth of stride 2. The third, fifth and sixth are
    normalised, without affine parameters in instance normalisation.
    """

    width: int
    norm: Norm
    layers: Layers
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        layer = Layer(self.norm, False, train, self.dtype)
        active = functools.partial(nn.leaky_relu, negative_slope=SLOPE)
        double = 1 + (self.layers == "released")
        x = active(layer.conv(x, self.width))
        x = active(layer.conv(x, 2 * self.width, strides=(2, 2)))
        x = active(layer.normal(x, 2 * double * self.width))
        x = active(layer.conv(x, 4 * self.width, strides=(2, 2)))
        x = active(layer.normal(x, 4 * double * self.width))
        x = active(layer.normal(x, 8 * self.width))
        return layer.conv(x, 1, dtype=jnp.float32)[..., 0]
