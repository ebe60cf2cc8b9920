"""jigsaw_assignment: assigns the pieces of a jigsaw puzzle to positions.

    pieces -> CNN of each piece -> set transformer -> scores S [N, N];  P = sinkhorn(S)
    `rounds` times:  P = sinkhorn(S + sum over directions of C P A^T + C^T P A)
    loss = -mean over pieces k of log P[k, position of k]

C_ij is the score of piece j being the neighbour of piece i in a direction (right, below), a product
of features of their borders; A_pq is 1 where position q is that neighbour of p. So each round adds
to the score of a piece at a position those of its borders with the pieces expected around it:
mean-field inference, or relaxation labelling with learned border costs. P is doubly stochastic, so
that all N! orders are possible; `genjax.evals` finds the best one by exact assignment.

Sinkhorn networks: Mena et al. 2018, "Learning Latent Permutations with Gumbel-Sinkhorn Networks"
(arXiv:1802.08665). A set of encoded pieces and exact assignment: Talon et al. 2022, "GANzzle"
(arXiv:2207.05634). Relaxation labelling of eroded pieces: Khoroshiltseva et al. 2022 (arXiv:
2203.14428). The networks are genjax's own.

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
import numpy as np

from genjax import checks
from genjax.checks import (
    Dtype,
    NonEmpty,
    NonNegativeInt,
    PositiveInt,
    PositiveInts,
    UnitInterval,
)
from genjax.core import (
    Batch,
    LossOutput,
    Traits,
    Variables,
    check_batch,
    compiled_init,
    named_key,
    puzzles,
)
from genjax.core.batches import batch_spec as batch_spec
from genjax.nn.attention import TransformerBlock
from genjax.nn.convolution import Conv
from genjax.nn.sinkhorn import log_sinkhorn

BORDER_MAPS = 2  # the CNN's first maps, whose edges give the features of the borders


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
    iterations: NonNegativeInt = 10
    """Sinkhorn iterations of each P."""
    rounds: NonNegativeInt = 4
    """Rounds of refinement by border scores; 0 has only the scores of the transformer."""
    border: PositiveInt = 64
    """Features of each border of a piece."""
    dropout: UnitInterval = 0.0
    """Dropout rate of the pieces' features and of the transformer."""
    dtype: Dtype = "float32"
    """Computation of the hidden layers; scores and Sinkhorn iterations stay float32."""

    def __post_init__(self) -> None:
        checks.validate(self)
        if len(self.shape) != 3:
            raise ValueError(checks.no_image_shape(self.shape))
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
        rounds=2,
        border=4,
        dropout=0.1,
    )


def traits(config: Config) -> Traits:
    del config
    return Traits(data="images", density="none", sample_range=(-1.0, 1.0))


def grid(config: Config) -> tuple[int, int]:
    """Returns the rows and columns of pieces of an image."""
    return config.grid


def directions(config: Config) -> list[tuple[str, str]]:
    """Returns the borders that touch in each direction: of a piece, and of its neighbour."""
    rows, columns = config.grid
    both = [("right", "left")] * (columns > 1) + [("bottom", "top")] * (rows > 1)
    return both if config.rounds else []


def neighbours(config: Config) -> np.ndarray:
    """Returns whether position q is the neighbour of p, `[directions, p, q]` in {0, 1}."""
    row, column = np.divmod(np.arange(math.prod(config.grid)), config.grid[1])
    down, right = row[None] - row[:, None], column[None] - column[:, None]
    found = {"right": (down == 0) & (right == 1), "bottom": (down == 1) & (right == 0)}
    return np.stack([found[first] for first, _ in directions(config)]).astype(np.float32)


class PieceEncoder(nn.Module):
    """Encodes each piece by itself, `[M, h, w, C] -> [M, width]` float32.

    The second result has the features of its borders, `[M, border]` by name.
    """

    config: Config

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        c, dtype = self.config, jnp.dtype(self.config.dtype)
        maps = []
        for channels in c.channels:
            x = Conv(channels, (4, 4), strides=(2, 2), dtype=dtype)(x)
            x = nn.relu(nn.LayerNorm(dtype=dtype)(x))
            maps.append(x)

        def dense(units: int, name: str, *parts: jax.Array) -> jax.Array:
            flat = jnp.concatenate([p.reshape(p.shape[0], -1) for p in parts], -1)
            return nn.Dense(units, dtype=dtype, name=name)(flat).astype(jnp.float32)

        edges = {
            "right": [m[:, :, -1] for m in maps[:BORDER_MAPS]],
            "left": [m[:, :, 0] for m in maps[:BORDER_MAPS]],
            "bottom": [m[:, -1] for m in maps[:BORDER_MAPS]],
            "top": [m[:, 0] for m in maps[:BORDER_MAPS]],
        }
        names = [name for pair in directions(c) for name in pair]
        borders = {name: dense(c.border, name, *edges[name]) for name in names}
        # Flattened, not averaged: where a pattern lies within the piece matters.
        return dense(c.width, "out", x), borders


class Solver(nn.Module):
    """Scores pieces `[B, N, h, w, C]` at positions `[B, N, N]`, and as neighbours, float32.

    The second result is `[B, directions, N, N]`: the score of piece j being the neighbour of i.
    """

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

    def encode(self, pieces: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Encodes pieces `[B, N, h, w, C]` and their borders one by one, `[B, N, features]`."""
        found = self.encoder(pieces.reshape(-1, *pieces.shape[2:]))
        return jax.tree.map(lambda a: a.reshape(*pieces.shape[:2], -1), found)

    def __call__(
        self, pieces: jax.Array, present: jax.Array, train: bool = False
    ) -> tuple[jax.Array, jax.Array]:
        features, borders = self.encode(pieces)
        x = self.drop(features, deterministic=not train)
        for block in self.blocks:
            x = block(x, present[:, None, None], train)
        scores = jnp.where(present[..., None], self.head(self.norm(x)), 0.0)
        if not borders:
            return scores, jnp.zeros((x.shape[0], 0, *scores.shape[1:]))
        pairs = [
            jnp.einsum("bid,bjd->bij", borders[first], borders[second])
            for first, second in directions(self.config)
        ]
        different = ~jnp.eye(pieces.shape[1], dtype=bool)[None]
        possible = present[:, :, None] & present[:, None] & different
        scaled = jnp.stack(pairs, 1) / math.sqrt(self.config.border)
        return scores, jnp.where(possible[:, None], scaled, 0.0)


def refine(config: Config, scores: jax.Array, pairs: jax.Array) -> jax.Array:
    """Computes log P from the scores of `Solver`, `[B, N, N]` nats."""
    log_p = log_sinkhorn(scores, config.iterations)
    for _ in range(config.rounds):
        p, near = jnp.exp(log_p), jnp.asarray(neighbours(config))
        following = jnp.einsum("bdij,bjq,dpq->bip", pairs, p, near)
        preceding = jnp.einsum("bdji,bjq,dqp->bip", pairs, p, near)
        log_p = log_sinkhorn(scores + following + preceding, config.iterations)
    return log_p


@compiled_init
def init(config: Config, key: jax.Array, batch: Any = None) -> dict[str, Any]:
    del batch
    pieces = puzzles.cut(jnp.zeros((1, *config.shape)), config.grid)
    return dict(Solver(config).init(key, pieces, jnp.ones(pieces.shape[:2], bool)))


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
    scores, pairs = Solver(config).apply(variables, pieces, present, train=bool(rngs), rngs=rngs)
    return refine(config, scores, pairs)


def loss(config: Config, variables: Variables, batch: Batch, key: jax.Array) -> LossOutput:
    """Computes the mean over present pieces of -log P[k, position of k], `[B]` nats.

    aux has `pieces_right`, the share of present pieces whose most probable position is right, and
    `solved`, whether all are.
    """
    check_batch("jigsaw_assignment", config, batch)
    pieces = puzzles.cut(batch["x"], config.grid)
    size, number = pieces.shape[:2]
    draw = functools.partial(named_key, key, 0)
    pieces = puzzles.erode_at_random(draw("gap"), pieces, config.gaps)
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
