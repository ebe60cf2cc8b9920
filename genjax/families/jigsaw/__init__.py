"""JigsawGAN: solves jigsaw puzzles by classifying permutations and decoding the whole image.

Li et al. 2021, "JigsawGAN: Auxiliary Learning for Solving Jigsaw Puzzles with Generative
Adversarial Networks" (arXiv:2101.07555). Every piece is encoded by itself; the maps, in the order
of the pieces, are classified among P permutations of large Hamming distance, moved to the expected
positions (`warp`), and decoded to an image. The generator descends

    focal loss + adversarial log(1 - D(image)) + boundary (2 - SSIM_tb - SSIM_lr)

eqs. 4 to 8. SSIM_tb compares the two lines of pixels at every horizontal border between pieces of
the decoded image, SSIM_lr those at every vertical one, by Gaussian windows along the lines of 11
pixels or, of smaller pieces, their side.

The labels are the listed permutation nearest to the assembly of the pieces by border costs
(`labels="reference"`), or the true one. The authors' code takes the true one and a cross-entropy,
P + 1 classes of which the first is the identity, a least-squares objective that never updates the
discriminator, and instance normalisation. What paper and code leave open:

* The discriminator's real images are the whole images whose pieces the generator received, in the
  batch of the update; the paper has a separate set of images.
* Updates are simultaneous: pieces are shuffled and decoded once; the generator's gradient uses the
  old discriminator, and that of the discriminator the images of the old generator.
* Training puzzles are shuffled by permutations of the list, drawn uniformly.
* In training, batch normalisation uses the statistics of the batch: in the encoder over all pieces
  of all puzzles, in the discriminator over real and generated images separately. Evaluation uses
  running ones; with an EMA of the weights they are those of the newest weights.
* Classifications and images are those of the given weights; the EMA averages the generator.
* The classifier's halvings round up, since rounded down 18x18 maps would become empty. It has no
  normalisation, and no dropout unless `dropout` is set.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks, losses
from genjax.checks import (
    Dtype,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    PositiveInts,
    UnitInterval,
)
from genjax.core import (
    Batch,
    GanObjective,
    LossOutput,
    Traits,
    Variables,
    apply_network,
    batch_spec,
    check_batch,
    check_gradient_penalties,
    compiled_init,
    discriminator_objective,
    generator_objective,
    merge_networks,
    train_network,
)
from genjax.core.adversarial import DiscriminatorFn
from genjax.core.protocols import LossFn
from genjax.core.puzzles import Grid, check_pieces, cut, erode_at_random, shuffle
from genjax.families.jigsaw.jigsaw_networks import (
    MULTIPLE,
    Discriminator,
    Generator,
    Layers,
    Norm,
    assignment,
    warp,
)
from genjax.families.jigsaw.permutations import maximal_hamming
from genjax.families.jigsaw.reference import assemble, nearest, reference_labels

__all__ = [
    "LOSSES",
    "Config",
    "assemble",
    "assignment",
    "batch_spec",
    "boundary_loss",
    "grid",
    "init",
    "maximal_hamming",
    "nearest",
    "permutation_logits",
    "permutations",
    "reassemble",
    "reference_labels",
    "tiny",
    "traits",
    "warp",
]

WINDOW = 11  # of the boundary loss, at most; pixels


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Puzzles, networks and weights of the losses; the defaults are the paper's 3x3 puzzles."""

    shape: PositiveInts = (72, 72, 3)
    """Shape (H, W, C) of whole images."""
    grid: tuple[PositiveInt, PositiveInt] = (3, 3)
    """Rows and columns of pieces."""
    num_permutations: PositiveInt = 1000
    """Length of the list of permutations, from 2 to the factorial of the number of pieces."""
    permutation_seed: checks.Seed = 0
    """Seed of the list; with `grid` and `num_permutations` it determines the list."""
    labels: Literal["reference", "true"] = "reference"
    """Labels of the classifier: by border costs and a spanning tree, or the true permutations."""
    width: PositiveInt = 64
    """Channels of the generator's first map."""
    blocks: NonNegativeInt = 8
    """Residual blocks of the decoder."""
    dense: PositiveInt = 4096
    """Units of the classifier's dense layers."""
    dropout: UnitInterval = 0.0
    """Rate of dropout after the classifier's dense layers; 0.5 in the authors' code."""
    norm: Norm = "batch"
    """Normalisation of both networks."""
    layers: Layers = "paper"
    """Those of the classifier and the discriminator, as in the paper or in the authors' code."""
    discriminator_width: PositiveInt = 32
    """Channels of the discriminator's first map."""
    focal: NonNegativeFloat = 2.0
    """Exponent gamma of the focal loss; 0 is the cross-entropy."""
    adversarial: NonNegativeFloat = 1.0
    """Weight of the adversarial loss; with 0 the generator does not see the discriminator."""
    boundary: NonNegativeFloat = 1.0
    """Weight of the boundary loss."""
    gaps: tuple[NonNegativeInt, ...] = (0,)
    """Pixels lost between neighbours in training; one of them is drawn per puzzle."""
    objective: GanObjective = dataclasses.field(
        default_factory=lambda: GanObjective(loss="minimax", update="simultaneous")
    )
    """Adversarial loss and penalties; updates are simultaneous."""
    dtype: Dtype = "float32"
    """Computation of the hidden layers and the warp; images and logits stay float32."""

    def __post_init__(self) -> None:
        checks.validate(self)
        if len(self.shape) != 3:
            raise ValueError(checks.no_image_shape(self.shape))
        sides = [side / pieces for side, pieces in zip(self.shape[:2], self.grid, strict=True)]
        if any(side % MULTIPLE for side in sides):
            multiples = " x ".join(str(MULTIPLE * pieces) for pieces in self.grid)
            raise ValueError(
                f"pieces must have sides that are multiples of {MULTIPLE}, and {self.grid[0]}x"
                f"{self.grid[1]} pieces of {self.shape[0]}x{self.shape[1]} images have"
                f" {sides[0]:g}x{sides[1]:g}; use images with sides that are multiples of"
                f" {multiples}."
            )
        if min(self.shape[:2]) < 2 * MULTIPLE:
            raise ValueError(
                f"images must have at least {2 * MULTIPLE} pixels per side, got"
                f" {self.shape[0]}x{self.shape[1]}; resize them."
            )
        if self.norm == "instance" and max(sides) <= MULTIPLE:
            raise ValueError(
                f"instance normalisation needs pieces larger than {MULTIPLE}x{MULTIPLE}, whose maps"
                " have one pixel; use larger images, fewer pieces, or norm batch."
            )
        if self.num_permutations < 2:
            raise ValueError("a list needs at least 2 permutations; raise num_permutations.")
        if not self.gaps or max(self.gaps) >= min(sides) / 2:
            raise ValueError(
                f"`gaps` must be one or more numbers of pixels below half of the pieces' sides"
                f" {sides[0]:g}x{sides[1]:g}, got {self.gaps}."
            )
        if self.objective.update != "simultaneous":
            raise ValueError("jigsaw has simultaneous updates; set update to simultaneous.")
        check_gradient_penalties(self.objective, self.norm)
        permutations(self)  # raises ValueError if there are too few


def tiny() -> Config:
    return Config(
        shape=(8, 8, 1),
        grid=(2, 2),
        num_permutations=5,
        width=4,
        blocks=1,
        dense=8,
        discriminator_width=4,
    )


def traits(config: Config) -> Traits:
    del config
    return Traits(data="images", density="none", sample_range=(-1.0, 1.0), ema=("generator",))


def grid(config: Config) -> Grid:
    """Returns the rows and columns of pieces of an image."""
    return config.grid


def permutations(config: Config) -> np.ndarray:
    """Returns the orders that can be found, int32 `[P, N]`; see `maximal_hamming`."""
    pieces = config.grid[0] * config.grid[1]
    return maximal_hamming(pieces, config.num_permutations, config.permutation_seed)


def generator(config: Config) -> Generator:
    """Returns the module of pieces `[B, N, h, w, C]` -> (logits `[B, P]`, images `[B, *shape]`)."""
    return Generator(
        tuple(map(tuple, permutations(config).tolist())),
        config.grid,
        config.shape[-1],
        config.width,
        config.blocks,
        config.dense,
        config.dropout,
        config.norm,
        config.layers,
        jnp.dtype(config.dtype),
    )


def discriminator(config: Config) -> Discriminator:
    """Returns the module of images `[B, *shape]` -> logits of patches `[B, H / 4, W / 4]`."""
    dtype = jnp.dtype(config.dtype)
    return Discriminator(config.discriminator_width, config.norm, config.layers, dtype)


@compiled_init
def init(config: Config, key: jax.Array, batch: Any = None) -> Variables:
    del batch
    generator_key, discriminator_key = jax.random.split(key)
    x = jnp.zeros((1, *config.shape))
    networks = {
        "generator": generator(config).init(generator_key, cut(x, config.grid)),
        "discriminator": discriminator(config).init(discriminator_key, x),
    }
    return merge_networks(networks, config.objective)


def boundary_loss(images: jax.Array, grid: Grid) -> jax.Array:
    """Computes 2 - SSIM_tb - SSIM_lr of the borders between the pieces of images.

    Args:
      images: `[B, H, W, C]` in [-1, 1].
      grid: rows and columns of pieces.

    Returns:
      `[B]`, in [0, 4]; a grid of one row or column has one term.

    Source: Li et al. 2021, eq. 8.
    """
    total = jnp.zeros(len(images))
    images = (images + 1) / 2  # SSIM compares intensities, which are not negative
    for axis, number in enumerate(grid):
        x = images.swapaxes(1, 2) if axis else images  # borders are rows
        if number == 1:
            continue
        across = grid[1 - axis]
        height, line = x.shape[1] // number, x.shape[2] // across
        last = x[:, height - 1 : -1 : height]  # [B, number - 1, W, C], above each border
        first = x[:, height::height]
        # Windows stay within the border of one pair of pieces.
        pairs = [a.reshape(-1, 1, line, a.shape[-1]) for a in (last, first)]
        similarity = losses.ssim(*pairs, window=(1, min(WINDOW, line)))
        total = total + 1 - similarity.reshape(len(images), -1).mean(1)
    return total


def generator_loss(
    config: Config, variables: Variables, batch: Batch, key: jax.Array
) -> LossOutput:
    """Computes the generator's loss, `[B]`: classification, adversarial and boundary loss.

    aux has `classification`, `adversarial` and `boundary` without their weights; `accuracy`, of
    the most probable permutation; `label_accuracy`, of the labels; and `outputs`, the decoded
    images. Terms of weight 0 are absent.
    """
    check_batch("jigsaw", config, batch)
    order_key, gap_key, dropout_key, objective_key = jax.random.split(key, 4)
    pieces, true = _puzzles(config, batch["x"], order_key, gap_key)
    orders = jnp.asarray(permutations(config))
    labels = true if config.labels == "true" else reference_labels(pieces, orders, config.grid)
    module = generator(config)
    (logits, images), statistics = train_network(
        module, variables, "generator", pieces, key=dropout_key
    )
    total = losses.focal_loss(logits, labels, gamma=config.focal)
    aux: dict[str, Any] = {
        "classification": total,
        "accuracy": (jnp.argmax(logits, axis=1) == true).astype(jnp.float32),
        "label_accuracy": (labels == true).astype(jnp.float32),
        "outputs": {"images": images},
    }
    if config.boundary:
        aux["boundary"] = boundary_loss(images, config.grid)
        total = total + config.boundary * aux["boundary"]
    if config.adversarial:
        inputs = variables, batch["x"], images, objective_key
        adversarial, more, _ = generator_objective(
            config.objective, _discriminate(config, variables), *inputs
        )
        aux |= {**more, "adversarial": adversarial}
        total = total + config.adversarial * adversarial
    if statistics:
        aux["updates"] = {"batch_stats": {"generator": statistics}}
    return total, aux


def discriminator_loss(
    config: Config, variables: Variables, batch: Batch, key: jax.Array
) -> LossOutput:
    """Computes the discriminator's loss and penalties, `[B]`.

    Generated images are those in `batch["outputs"]`, if any. Logits are in aux.
    """
    check_batch("jigsaw", config, batch)
    order_key, gap_key, dropout_key, objective_key = jax.random.split(key, 4)
    outputs: Any = batch.get("outputs")
    if outputs is None:
        pieces, _ = _puzzles(config, batch["x"], order_key, gap_key)
        found, _ = train_network(generator(config), variables, "generator", pieces, key=dropout_key)
        outputs = {"images": found[1]}
    inputs = variables, batch["x"], outputs["images"], objective_key
    loss, aux, _ = discriminator_objective(
        config.objective, _discriminate(config, variables), *inputs
    )
    return loss, aux


LOSSES: Mapping[str, LossFn] = {"generator": generator_loss, "discriminator": discriminator_loss}


def permutation_logits(config: Config, variables: Variables, pieces: jax.Array) -> jax.Array:
    """Computes the logits `[B, P]` of the orders in `permutations(config)`.

    Args:
      config: of the networks.
      variables: of `init`, a train state or its average.
      pieces: in any order, float32 `[B, N, h, w, C]` in [-1, 1].

    Raises:
      ValueError: the pieces have the wrong shape or dtype.
    """
    return _apply(config, variables, pieces, "classify")


def reassemble(config: Config, variables: Variables, pieces: jax.Array) -> jax.Array:
    """Decodes whole images from shuffled pieces, `[B, N, h, w, C] -> [B, *shape]` in [-1, 1].

    The arguments are those of `permutation_logits`. The images are the generator's, not the pieces
    themselves in another order.
    """
    return _apply(config, variables, pieces, "__call__")[1]


def _apply(config: Config, variables: Variables, pieces: jax.Array, method: str) -> Any:
    """Applies the generator with running statistics."""
    check_pieces("jigsaw", config.shape, config.grid, pieces)
    return apply_network(generator(config), variables, "generator", pieces, method=method)


def _puzzles(
    config: Config, x: jax.Array, order_key: jax.Array, gap_key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Cuts and shuffles images: pieces `[B, N, h, w, C]`, and indices of their orders `[B]`."""
    orders = jnp.asarray(permutations(config))
    labels = jax.random.randint(order_key, (len(x),), 0, len(orders))
    pieces = erode_at_random(gap_key, cut(x, config.grid), config.gaps)
    return shuffle(pieces, orders[labels]), labels


def _discriminate(config: Config, variables: Variables) -> DiscriminatorFn:
    def discriminate(x: jax.Array, key: jax.Array, stats: Any) -> tuple[jax.Array, Any, Any]:
        del key
        module = discriminator(config)
        logits, new = train_network(module, variables, "discriminator", x, statistics=stats)
        return logits, new, []

    return discriminate
