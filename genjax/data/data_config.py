"""Settings of a data set and of what is done to its batches."""

import dataclasses
from typing import Literal

from genjax import checks
from genjax.data.transforms import canonical


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """Which data, and how integers become what a family takes."""

    data: str = "digits"
    """digits, digits_4x4, ring, grid, a TFDS name, a prepared TFDS folder, or a .npz file; stacked_
    before digits or a TFDS name stacks three of its images."""
    data_dir: str | None = None
    """Where TFDS names are looked for; None is TFDS_DATA_DIR, then TFDS's default."""
    transform: str = ""
    """Operations on each batch, joined by |: scale(low, high), binarize('threshold' | 'static' |
    'dynamic'), dequantize(), random_flip(), random_crop(size), center_crop(size), resize(size).
    Empty: cast to float32. See genjax.data.transforms."""
    unpaired: bool = False
    """x and y are two domains without pairs: train and train_y of a .npz, of any lengths. Prepared
    folders trainA and trainB always are."""
    binarize_seed: int = 0
    """Seed of the static draws, the test images of dynamic included."""
    validation: int = 0
    """Images held out from the end of train where the data has no validation split."""
    limit: int = 0
    """Keep the first so many images of each split; 0 keeps all."""
    labels_per_class: int = 0
    """Training labels kept of each class, the others become -1, unknown; 0 keeps all."""
    labels_seed: int | None = None
    """Seed that says which labels are kept; None is the run's seed."""
    folds: int = 0
    """Parts into which a .npz table `data` [N, D] is cut; one is test, a tenth of the rest
    validation."""
    fold: int | None = None
    """The part that is test, from 0; None is the run's seed, modulo folds."""
    standardize: bool = False
    """Real numbers: each column to mean 0 and standard deviation 1 of the training rows."""
    drop_correlated: float = 0.0
    """Tables: of two columns that correlate more than this, drop the second; 0 keeps all."""
    drop_discrete: int = 0
    """Tables: drop columns with fewer distinct values; 0 keeps all."""
    stream: Literal["auto", "yes", "no"] = "auto"
    """Read training images from disk as they are needed; auto does so above 2 GiB of them. The
    batches are the same."""
    workers: int = 2
    """Processes that read and decode streamed images; 0 does it in threads of this one."""

    def __post_init__(self) -> None:
        checks.kinds(self)
        object.__setattr__(self, "transform", canonical(self.transform))
        checks.choices(self)
        checks.not_negative(
            binarize_seed=self.binarize_seed,
            validation=self.validation,
            limit=self.limit,
            labels_per_class=self.labels_per_class,
            labels_seed=self.labels_seed or 0,
            folds=self.folds,
            drop_discrete=self.drop_discrete,
            workers=self.workers,
        )
        checks.fraction(drop_correlated=self.drop_correlated)
        if self.folds == 1:
            raise ValueError("folds must be 2 or above, or 0 for data that has its splits.")
        if self.fold is not None and not 0 <= self.fold < max(self.folds, 1):
            raise ValueError(f"fold must be in 0 .. folds - 1, got {self.fold} of {self.folds}.")
        for name in ("binarize_seed", "labels_seed"):
            if (getattr(self, name) or 0) >= 2**32:
                raise ValueError(f"{name} must be below 2^32, got {getattr(self, name)}.")
        if not self.data:
            raise ValueError(
                "data is empty; name a TFDS data set, a folder, a .npz file or digits."
            )
