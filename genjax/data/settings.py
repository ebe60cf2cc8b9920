"""Settings of a data set and of what is done to its batches."""

import dataclasses
from typing import Literal

from genjax import checks

TRANSFORMS = ("none", "unit", "symmetric", "threshold", "static", "dynamic", "dequantize")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """Which data, and how integers become what a family takes."""

    data: str = "digits"
    """digits, digits_4x4, a TFDS name, a prepared TFDS folder, or a .npz file."""
    data_dir: str | None = None
    """Where TFDS names are looked for; None is TFDS_DATA_DIR, then TFDS's default."""
    transform: Literal[
        "none", "unit", "symmetric", "threshold", "static", "dynamic", "dequantize"
    ] = "none"
    """none: as float32; unit: to [0, 1]; symmetric: to [-1, 1]; threshold: 1 above the middle
    level; static: Bernoulli, drawn once; dynamic: Bernoulli, drawn for every batch (test drawn
    once); dequantize: uniform noise added, to [0, 1)."""
    binarize_seed: int = 0
    """Seed of the static draws, the test images of dynamic included."""
    validation: int = 0
    """Images held out from the end of train where the data has no validation split."""
    limit: int = 0
    """Keep the first so many images of each split; 0 keeps all."""
    stream: Literal["auto", "yes", "no"] = "auto"
    """Read training images from disk as they are needed; auto does so above 2 GiB of them. The
    batches are the same."""
    workers: int = 2
    """Processes that read and decode streamed images; 0 does it in threads of this one."""

    def __post_init__(self) -> None:
        checks.one_of(TRANSFORMS, transform=self.transform)
        checks.one_of(("auto", "yes", "no"), stream=self.stream)
        checks.not_negative(
            binarize_seed=self.binarize_seed,
            validation=self.validation,
            limit=self.limit,
            workers=self.workers,
        )
        if self.binarize_seed >= 2**32:
            raise ValueError(f"binarize_seed must be below 2^32, got {self.binarize_seed}.")
        if not self.data:
            raise ValueError(
                "data is empty; name a TFDS data set, a folder, a .npz file or digits."
            )
