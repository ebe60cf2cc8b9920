"""Settings of the progressive GAN, and the sides of its maps."""

import dataclasses
from typing import Any, ClassVar, Literal

from genjax import checks
from genjax.checks import (
    Dtype,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    PositiveInts,
)
from genjax.core import GanObjective, check_gradient_penalties
from genjax.families.progressive.image_parts import Part

LEAST_SIDE = 4  # of maps and images


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Networks, schedule and objective; the defaults are the paper's at 1024x1024."""

    FAMILY: ClassVar[str] = "progressive"  # in messages

    shape: PositiveInts = (1024, 1024, 3)
    """Final event shape (H, W, C): square, the side a power of two from 4."""
    smallest: PositiveInt = 4
    """Side of the generator's first and the discriminator's last maps, a power of two from 4."""
    start: PositiveInt = 4
    """Side of the first stage, at least `smallest`. The final side trains without growing."""
    architecture: Literal["growing", "skip_residual"] = "growing"
    """skip_residual: skip generator and residual discriminator (StyleGAN2), which do not grow."""
    latent: PositiveInt = 512
    """Dimensions of the noise, N(0, I)."""
    latent_norm: bool = True
    """Whether noise and one-hot labels together are pixel-normalised."""
    base: PositiveInt = 8192
    """Maps of side 2^(k + 1) have base / 2^k channels, at least 1 and at most max_width."""
    max_width: PositiveInt = 512
    """Most channels of a map."""
    classes: NonNegativeInt = 0
    """Number of labels that images are generated for and classified into; 0 is unconditional."""
    class_weight: NonNegativeFloat = 1.0
    """Weight of the classification, in both losses."""
    equalized: bool = True
    """Equalised learning rate: N(0, 1) weights that He's constant multiplies at run time. Otherwise
    it is the standard deviation of the initial weights."""
    generator_norm: Literal["pixel", "batch", "none"] = "pixel"
    """Normalisation after every layer of the generator except RGB layers: of pixels after the
    activation, or of the batch before it."""
    discriminator_norm: Literal["none", "layer"] = "none"
    """Normalisation before every activation of the discriminator except after RGB layers."""
    activation: Literal["leaky_relu", "relu"] = "leaky_relu"
    """Of the generator. The discriminator has leaky_relu; its slope is 0.2."""
    output: Literal["linear", "tanh"] = "linear"
    """Of the generator."""
    minibatch: Literal["stddev", "discrimination", "none"] = "stddev"
    """What the discriminator sees of the batch: the standard deviation over groups, or similarities
    in 100 spaces (Salimans et al. 2016)."""
    group: PositiveInt = 4
    """stddev: most examples per group; it has the largest divisor of the batch size up to it."""
    fade_images: NonNegativeInt = 600_000
    """Images shown to the discriminator while a stage fades in."""
    stable_images: PositiveInt = 600_000
    """Images shown to it in the rest of a stage; the last one has no end."""
    batch_sizes: tuple[PositiveInt, ...] = ()
    """Batch size of each stage; the last entry is repeated. () is that of the run."""
    rates: tuple[PositiveFloat, ...] = ()
    """Factor of the learning rates in each stage; the last entry is repeated. () is 1."""
    stage_critic_steps: tuple[PositiveInt, ...] = ()
    """Discriminator updates per step in each stage; the last entry is repeated. () is that of the
    objective."""
    reset_optimizer: bool = True
    """Whether optimizers are reset at both ends of a fade."""
    refresh: PositiveInt = 4
    """Steps between changes of the weight of new layers in a fade."""
    remat: bool = False
    """Whether gradients recompute each block (gradient checkpointing)."""
    objective: GanObjective = dataclasses.field(
        default_factory=lambda: GanObjective(loss="wasserstein", gradient_penalty=10.0, drift=0.001)
    )
    """Loss, penalties and update schedule."""
    dtype: Dtype = "float32"
    """Computation of the hidden layers; images and logits stay float32."""

    def __post_init__(self) -> None:
        checks.validate(self)
        check_gradient_penalties(self.objective, self.discriminator_norm)
        if len(self.shape) != 3:
            raise ValueError(checks.no_image_shape(self.shape))
        height, width, _ = self.shape
        if height != width or not _is_side(height):
            raise ValueError(
                f"`shape` must be square with a power of two from {LEAST_SIDE} as its side, got"
                f" {height}x{width}; crop or pad the images (--fit crop or pad), for example to"
                f" {_next_side(max(height, width))}x{_next_side(max(height, width))}."
            )
        least = LEAST_SIDE
        for name in ("smallest", "start"):
            side = getattr(self, name)
            if not _is_side(side) or not least <= side <= height:
                raise ValueError(
                    f"`{name}` must be a power of two from {least} to {height}, got {side}."
                )
            least = side
        stages = len(sides(self))
        for name in ("batch_sizes", "rates", "stage_critic_steps"):
            entries = len(getattr(self, name))
            if entries > stages:
                raise ValueError(
                    f"`{name}` has {entries} entries for {stages} stages; use at most {stages}."
                )
        if self.objective.update == "simultaneous" and max(self.stage_critic_steps, default=1) > 1:
            raise ValueError(
                "simultaneous updates have one critic step; set stage_critic_steps to ()."
            )

    @property
    def part_norm(self) -> bool:
        """Whether the noise of each part is normalised by itself."""
        return False

    def layout(self) -> tuple[Part, ...]:
        """Returns the parts of the first maps: here a single one, made from all of the noise."""
        whole = (0, 0, self.smallest, self.smallest)
        return (Part(name="whole", latent=self.latent, rectangles=(whole,)),)


def sides(config: Config) -> tuple[int, ...]:
    """Returns the sides of the stages, first to last; a single one for networks without growing."""
    final = config.shape[0]
    if config.architecture != "growing":
        return (final,)
    return tuple(2**k for k in range(config.start.bit_length() - 1, final.bit_length()))


def blocks(config: Config, side: int) -> tuple[int, ...]:
    """Returns the sides of the blocks of networks for images of a side, smallest first."""
    return tuple(2**k for k in range(config.smallest.bit_length() - 1, side.bit_length()))


def width(config: Config, side: int) -> int:
    """Returns the channels of maps of a side; there is at least one."""
    return max(1, min(2 * config.base // side, config.max_width))


def entry(table: tuple[Any, ...], stage: int, default: Any) -> Any:
    """Returns the entry of a stage in a table whose last entry is repeated."""
    return table[min(stage, len(table) - 1)] if table else default


def _is_side(side: int) -> bool:
    return side >= LEAST_SIDE and side & (side - 1) == 0


def _next_side(side: int) -> int:
    return max(LEAST_SIDE, 1 << (side - 1).bit_length())
