"""jigsaw_assignment: assigns the pieces of a jigsaw puzzle to positions.

    pieces -> CNN of each piece -> set transformer -> scores [N, N] -> Sinkhorn -> P
    loss = -mean over pieces k of log P[k, position of k]

P is doubly stochastic, so that all N! orders are possible; `genjax.evals` finds the best one by
exact assignment. Sinkhorn networks: Mena et al. 2018, "Learning Latent Permutations with
Gumbel-Sinkhorn Networks" (arXiv:1802.08665); a set of encoded pieces and exact assignment:
Talon et al. 2022, "GANzzle" (arXiv:2207.05634). The networks are genjax's own.

* Nothing but the pixels of the pieces tells their positions: the CNN sees one piece at a time and
  no statistics of others, and the transformer has no position codes.
* Training cuts and shuffles whole images. A gap between pieces and a number of missing pieces are
  drawn for each image, so that one network serves all of `gaps` and up to `missing` pieces.
* Missing pieces have constant scores, so that they take the positions that are left over.
"""

import dataclasses
import functools
import math
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax import checks
from genjax.checks import (
    Dtype,
    NonEmpty,
    NonNegativeInt,
    PositiveInt,
    PositiveInts,
    UnitInterval,
)
from genjax.core import Batch, LossOutput, Traits, Variables, check_batch, named_key, puzzles
from genjax.core.batches import batch_spec as batch_spec
from genjax.nn.attention import TransformerBlock
from genjax.nn.convolution import Conv
from genjax.nn.sinkhorn import log_sinkhorn


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Puzzles and network; the defaults are 3x3 pieces of 24x24."""

    shape: PositiveInts = (72, 72, 3)
    """Event shape (H, W, C) of whole images in [-1, 1]."""
    grid: tuple[PositiveInt, PositiveInt] = (3, 3)
    """Rows and columns of pieces."""
    gaps: Annotated[tuple[NonNegativeInt, ...], NonEmpty()] = (0,)
    """Pixels lost between neighbouring pieces; training draws one for each image."""
    missing: NonNegativeInt = 0
    """Largest number of missing pieces; training draws 0 .. missing for each image."""
    channels: PositiveInts = (32, 64, 128)
    """Channels of the CNN's maps; each has half the side of the one before, rounded up."""
    width: PositiveInt = 128
    """Features of a piece."""
    layers: NonNegativeInt = 4
    """Transformer blocks."""
    heads: PositiveInt = 4
    """Heads of their attention, a divisor of `width`."""
    iterations: NonNegativeInt = 20
    """Sinkhorn iterations."""
    dropout: UnitInterval = 0.0
    """Dropout rate of the pieces' features and of the transformer."""
    dtype: Dtype = "float32"
    """Computation of the hidden layers; scores and Sinkhorn iterations stay float32."""

    def __post_init__(self) -> None:
        checks.validate(self)
        if len(self.shape) != 3:
            raise ValueError(f"`shape` must be (H, W, C), got {self.shape}.")
        sides = [side / count for side, count in zip(self.shape[:2], self.grid, strict=True)]
        if any(side % 1 for side in sides):
            raise ValueError(
                f"the sides of `shape` must be multiples of `grid`, got"
                f" {self.shape[0]}x{self.shape[1]} for {self.grid[0]}x{self.grid[1]} pieces."
            )
        pieces = math.prod(self.grid)
        if pieces < 2:
            raise ValueError(f"a puzzle has at least 2 pieces, got `grid` {self.grid}.")
        if max(self.gaps) and max(self.gaps) >= min(sides) / 2:
            raise ValueError(
                f"`gaps` must be less than half of a piece's side, {min(sides):g}, got {self.gaps}."
            )
        if self.missing >= pieces:
            raise ValueError(f"`missing` must be below {pieces} pieces, got {self.missing}.")
        if self.width % self.heads:
            raise ValueError(
                f"`width` must be a multiple of `heads`, got {self.width} and {self.heads}."
            )


def tiny() -> Config:
    return Config(
        shape=(3, 3, 1),
        grid=(3, 1),
        missing=1,
        channels=(8, 8),
        width=8,
        layers=1,
        heads=2,
        iterations=5,
        dropout=0.1,
    )


def traits(config: Config) -> Traits:
    del config
    return Traits(data="images", density="none", sample_range=(-1.0, 1.0))


def grid(config: Config) -> tuple[int, int]:
    """Returns the rows and columns of pieces of an image."""
    return config.grid


class PieceEncoder(nn.Module):
    """Encodes each piece by itself, `[M, h, w, C] -> [M, width]` float32."""

    config: Config

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        c, dtype = self.config, jnp.dtype(self.config.dtype)
        for channels in c.channels:
            x = Conv(channels, (4, 4), strides=(2, 2), dtype=dtype)(x)
            x = nn.relu(nn.LayerNorm(dtype=dtype)(x))
        # Flattened: where a pattern lies within the piece, such as at a border, matters.
        x = nn.Dense(c.width, dtype=dtype, name="out")(x.reshape(x.shape[0], -1))
        return x.astype(jnp.float32)


class Solver(nn.Module):
    """Scores pieces at positions, `[B, N, h, w, C] -> [B, N, N]` float32."""

    config: Config

    def setup(self) -> None:
        c = self.config
        self.encoder = PieceEncoder(c)
        self.drop = nn.Dropout(c.dropout)
        self.blocks = [
            TransformerBlock(c.heads, dropout=c.dropout, dtype=jnp.dtype(c.dtype))
            for _ in range(c.layers)
        ]
        self.norm = nn.LayerNorm()
        self.head = nn.Dense(math.prod(c.grid))

    def encode(self, pieces: jax.Array) -> jax.Array:
        """Encodes pieces one by one, `[B, N, h, w, C] -> [B, N, width]`."""
        flat = pieces.reshape(-1, *pieces.shape[2:])
        return self.encoder(flat).reshape(*pieces.shape[:2], -1)

    def __call__(self, pieces: jax.Array, present: jax.Array, train: bool = False) -> jax.Array:
        x = self.drop(self.encode(pieces), deterministic=not train)
        for block in self.blocks:
            x = block(x, present[:, None, None], train)
        return self.head(self.norm(x))


def init(config: Config, key: jax.Array, batch: Any = None) -> dict[str, Any]:
    del batch
    pieces = puzzles.cut(jnp.zeros((1, *config.shape)), config.grid)
    return dict(Solver(config).init(key, pieces, jnp.ones(pieces.shape[:2], bool)))


def encode_pieces(config: Config, variables: Variables, pieces: jax.Array) -> jax.Array:
    """Encodes every piece by itself, `[B, N, h, w, C] -> [B, N, width]` float32."""
    return Solver(config).apply(variables, pieces, method="encode")


def position_scores(
    config: Config,
    variables: Variables,
    pieces: jax.Array,
    present: jax.Array | None = None,
    *,
    dropout_key: jax.Array | None = None,
) -> jax.Array:
    """Computes log probabilities of the positions of each piece, `[B, N, N]` nats.

    Rows are pieces, columns positions; exp of the result sums to one over rows, and nearly over
    columns. The rows of missing pieces are those of pieces of which nothing is known.

    Args:
      config: of the network.
      variables: of `init`, a train state or its average.
      pieces: float32 `[B, N, h, w, C]` in [-1, 1], in any order.
      present: bool `[B, N]`, False for missing pieces, whose pixels have no effect; None is all
        True.
      dropout_key: key of the dropout in training; None drops nothing.

    Raises:
      ValueError: pieces or `present` have the wrong shape or dtype.
    """
    puzzles.check_pieces("jigsaw_assignment", config.shape, config.grid, pieces, present)
    if present is None:
        present = jnp.ones(pieces.shape[:2], bool)
    rngs = {} if dropout_key is None else {"dropout": dropout_key}
    scores = Solver(config).apply(variables, pieces, present, train=bool(rngs), rngs=rngs)
    scores = jnp.where(present[..., None], scores, 0.0)
    return log_sinkhorn(scores, config.iterations)


def loss(config: Config, variables: Variables, batch: Batch, key: jax.Array) -> LossOutput:
    """Computes the mean over present pieces of -log P[k, position of k], `[B]` nats.

    aux has `pieces_right`, the share of present pieces whose most probable position is right, and
    `solved`, whether all are.
    """
    check_batch("jigsaw_assignment", config, batch)
    pieces = puzzles.cut(batch["x"], config.grid)
    size, number = pieces.shape[:2]
    draw = functools.partial(named_key, key, 0)
    gaps = jnp.asarray(config.gaps)
    if max(config.gaps):
        drawn = jax.random.randint(draw("gap"), (size,), 0, len(config.gaps))
        pieces = puzzles.erode(pieces, gaps[drawn])
    order = puzzles.random_orders(draw("order"), size, number)
    pieces = puzzles.shuffle(pieces, order)
    # The order is random, so that the first pieces are any.
    missing = jax.random.randint(draw("missing"), (size, 1), 0, config.missing + 1)
    present = jnp.arange(number)[None] >= missing
    scores = position_scores(config, variables, pieces, present, dropout_key=draw("dropout"))
    nats = -jnp.take_along_axis(scores, order[..., None], axis=-1)[..., 0]  # [B, N]
    right = scores.argmax(-1) == order

    def mean(x: jax.Array) -> jax.Array:
        return jnp.where(present, x, 0.0).sum(-1) / present.sum(-1)

    solved = (right | ~present).all(-1).astype(jnp.float32)
    return mean(nats), {"pieces_right": mean(right.astype(jnp.float32)), "solved": solved}
