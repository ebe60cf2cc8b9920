"""PuzzleGAN: a progressive GAN that composes images of parts, each with noise of its own.

    first maps[rectangle of part k] = W z_k,    z = (z_1, ..., z_K)

Abbasi et al. 2021, "Face Images as Jigsaw Puzzles: Compositional Perception of Human Faces for
Machines Using Generative Adversarial Networks" (arXiv:2103.06331). Only the first layer is made of
parts: dense layers map the noise of a part to its rectangles of the first maps. Bias, activation
and all later layers, as well as the discriminator and the losses, are those of
`genjax.families.progressive`, whose functions this family uses. With one part that has one
rectangle it is that family. Parts can be exchanged between samples (`exchange`).

The published modes, at 512 dimensions of noise:

| mode | first maps | parts and their noise |
|---|---|---|
| `digits` | 16x16 | four quadrants, 128 each |
| `bedrooms` | 8x8 | upper and lower half, 256 each |
| `faces` | 8x8 | surround 128, face (the central 4x4) 384 |
| `face_parts` | 8x8 | surround 288, upper 64, middle 64, nose 32, mouth 64 |

With other `smallest` and `latent`, a mode has the same proportions.

What the paper leaves open follows the authors' code:

* There are no labels, though `classes` works as in the progressive GAN: every part has them.
* Noise is pixel-normalised over all parts together, so exchanging one part also rescales the input
  of the others. `part_norm` normalises each part by itself; then the first maps of the other parts
  do not change.
"""

import dataclasses
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks
from genjax.checks import PositiveInt, PositiveInts
from genjax.families import progressive
from genjax.families.progressive import LOSSES as LOSSES
from genjax.families.progressive import batch_spec as batch_spec
from genjax.families.progressive import classify as classify
from genjax.families.progressive import discriminate as discriminate
from genjax.families.progressive import encode as encode
from genjax.families.progressive import generate as generate
from genjax.families.progressive import grow as grow
from genjax.families.progressive import init as init
from genjax.families.progressive import noise as noise
from genjax.families.progressive import sample as sample
from genjax.families.progressive import side as side
from genjax.families.progressive import stages as stages
from genjax.families.progressive import traits as traits
from genjax.families.progressive.image_parts import Part as Part
from genjax.families.progressive.image_parts import cells_of_parts, check_parts, split_noise

MODES: dict[str, tuple[int, tuple[Part, ...]]] = {
    "digits": (
        2,
        (
            Part(name="upper_left", latent=128, rectangles=((0, 0, 1, 1),)),
            Part(name="upper_right", latent=128, rectangles=((0, 1, 1, 1),)),
            Part(name="lower_left", latent=128, rectangles=((1, 0, 1, 1),)),
            Part(name="lower_right", latent=128, rectangles=((1, 1, 1, 1),)),
        ),
    ),
    "bedrooms": (
        2,
        (
            Part(name="upper", latent=256, rectangles=((0, 0, 1, 2),)),
            Part(name="lower", latent=256, rectangles=((1, 0, 1, 2),)),
        ),
    ),
    "faces": (
        4,
        (
            Part(
                name="surround",
                latent=128,
                rectangles=((0, 0, 1, 4), (1, 0, 2, 1), (3, 0, 1, 4), (1, 3, 2, 1)),
            ),
            Part(name="face", latent=384, rectangles=((1, 1, 2, 2),)),
        ),
    ),
    "face_parts": (
        8,
        (
            Part(
                name="surround",
                latent=288,
                rectangles=((0, 0, 8, 2), (0, 2, 1, 4), (0, 6, 8, 2)),
            ),
            Part(name="upper", latent=64, rectangles=((1, 2, 2, 4),)),
            Part(name="middle", latent=64, rectangles=((3, 2, 2, 4),)),
            Part(name="nose", latent=32, rectangles=((5, 3, 2, 2),)),
            Part(
                name="mouth",
                latent=64,
                rectangles=((5, 2, 3, 1), (7, 3, 1, 2), (5, 5, 3, 1)),
            ),
        ),
    ),
}
"""Cells per side that the rectangles of a mode are given in, and its parts at `NOISE`."""
NOISE = 512  # dimensions of all parts of a mode


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(progressive.Config):
    """Parts, and the settings of the progressive GAN; the defaults are the paper's for digits."""

    FAMILY: ClassVar[str] = "puzzle_gan"

    shape: PositiveInts = (32, 32, 1)
    """Final event shape (H, W, C): square, the side a power of two from 4."""
    smallest: PositiveInt = 16
    """Side of the generator's first and the discriminator's last maps, a power of two from 4."""
    start: PositiveInt = 16
    """Side of the first stage, at least `smallest`. The final side trains without growing."""
    mode: Literal["digits", "bedrooms", "faces", "face_parts", "custom"] = "digits"
    """Parts: quadrants, halves, a face and its surround, five parts of a face, or `parts`."""
    parts: tuple[Part, ...] = ()
    """Parts of mode custom. Their rectangles divide the first maps, in cells of those."""
    part_norm: bool = False
    """Whether the noise of each part is pixel-normalised by itself, not that of all together."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.parts) != (self.mode == "custom"):
            wrong = "are of mode custom" if self.parts else "of mode custom are not given"
            raise ValueError(
                f"`parts` {wrong}, and `mode` is {self.mode}; set mode custom with parts, or one of"
                f" {', '.join(MODES)} without."
            )
        if self.mode != "custom":
            cells, parts = MODES[self.mode]
            if self.smallest % cells:
                raise ValueError(
                    f"the parts of mode {self.mode} are rectangles of {cells}x{cells} cells; set"
                    f" `smallest` to a multiple of {cells}, got {self.smallest}."
                )
            unit = NOISE // np.gcd.reduce([part.latent for part in parts])
            if self.latent % unit:
                raise ValueError(
                    f"mode {self.mode} divides the noise by {unit}; set `latent` to a multiple of"
                    f" {unit}, got {self.latent}."
                )
        check_parts(self.layout(), self.smallest, self.latent)
        single = [part.name for part in self.layout() if part.latent == 1]
        if self.part_norm and single:
            raise ValueError(
                f"part {single[0]} has one dimension of noise, of which `part_norm` keeps the sign"
                f" alone; set a larger `latent`, or part_norm to False."
            )

    def layout(self) -> tuple[Part, ...]:
        """Returns the parts of the first maps, in cells of those."""
        if self.mode == "custom":
            return self.parts
        cells, parts = MODES[self.mode]
        scale = self.smallest // cells
        return tuple(
            Part(
                name=part.name,
                latent=part.latent * self.latent // NOISE,
                rectangles=tuple(
                    (scale * top, scale * left, scale * rows, scale * columns)
                    for top, left, rows, columns in part.rectangles
                ),
            )
            for part in parts
        )


def tiny() -> Config:
    return Config(
        shape=(8, 8, 1),
        smallest=4,
        start=4,
        mode="faces",
        latent=8,
        base=8,
        max_width=6,
        classes=3,
        fade_images=48,
        stable_images=48,
        refresh=2,
    )


def image_parts(config: Config) -> tuple[Part, ...]:
    """Returns the parts, in the order of their noise; rectangles are in cells of the first maps."""
    return config.layout()


def part_masks(config: Config) -> np.ndarray:
    """Returns the pixels above the cells of each part, bool `[K, H, W]`.

    Later convolutions let a part change pixels near its own, too.
    """
    cells = cells_of_parts(image_parts(config), config.smallest)
    scale = config.shape[0] // config.smallest
    return cells.repeat(scale, axis=1).repeat(scale, axis=2)


def exchange(config: Config, z: jax.Array, other: jax.Array, part: int | str) -> jax.Array:
    """Replaces the noise of one part.

    Args:
      config: the Config.
      z: noise `[B, Z]`.
      other: noise `[B, Z]` that the part's is taken from.
      part: number of the part, from 0, or its name.

    Returns:
      Noise `[B, Z]`.

    Raises:
      ValueError: the shapes do not match, or there is no such part.
    """
    checks.same_shape("puzzle_gan.exchange", z=z, other=other)
    names = [own.name for own in image_parts(config)]
    known = part in names if isinstance(part, str) else 0 <= part < len(names)
    if z.shape[1:] != (config.latent,):
        raise ValueError(
            f"puzzle_gan.exchange: z must be [B, {config.latent}], got {checks.describe(z)}; draw"
            f" it by `noise`."
        )
    if not known:
        raise ValueError(
            f"there is no part {part!r}; pass a number below {len(names)}, or one of"
            f" {', '.join(names)}."
        )
    index = names.index(part) if isinstance(part, str) else part
    own, new = (split_noise(image_parts(config), values) for values in (z, other))
    return jnp.concatenate([*own[:index], new[index], *own[index + 1 :]], axis=1)
