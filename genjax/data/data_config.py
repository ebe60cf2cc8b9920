"""Settings of a data set and of the transforms of its batches."""

import dataclasses
import os
from typing import Literal

from genjax import checks
from genjax.checks import NonNegativeInt, Seed, UnitInterval
from genjax.data.transforms import canonical


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """Settings of a data set.

    >>> Data(data="digits", transform="scale(-1,1)").transform
    'scale(-1, 1)'
    """

    data: str = "digits"
    """digits, digits_4x4, digits_pairs, digits_attributes, glyphs, glyphs_paired,
    glyphs_attributes, glyphs_masked, scenes, captioned_digits, captioned_digits_8x8, ring, grid, a
    TFDS name, a prepared folder, a folder of IDX or binary CIFAR files, a .npz file, or a .csv
    table; stacked_ before digits or a TFDS name stacks three of its images."""
    data_dir: str | None = None
    """Folder of TFDS data sets; None is TFDS_DATA_DIR, then TFDS's default."""
    transform: str = ""
    """Operations on each batch, joined by |: scale(low, high), binarize('threshold' | 'static' |
    'dynamic'), dequantize(), random_flip(), random_crop(size), center_crop(size), resize(size),
    pad(size), fit(size, mode='crop' | 'pad'). Empty: cast to float32. See genjax.data.operations
    and image_operations."""
    unpaired: bool = False
    """Train on x and y as two domains without pairs; of a .npz, train and train_y may have any
    lengths. Not needed for glyphs, and for prepared folders with splits trainA and trainB."""
    attributes: tuple[str, ...] = ()
    """Names of the attributes to use, in this order; empty uses all."""
    classes: tuple[str, ...] = ()
    """Names of the classes to keep, or numbers where there is no such name; empty keeps all. Labels
    become 0, 1, ... in this order. `validation` and `limit` count the examples kept."""
    tokenizer: Literal["", "words", "bpe", "characters"] = ""
    """Tokens of the captions, as entry `text`: words of the training captions, byte-pair encoding
    trained on them, or letters of a fixed alphabet. Empty: no text."""
    text_length: NonNegativeInt = 0
    """Tokens of a text; shorter ones are padded, longer ones cut. In a run it is the Config's."""
    vocabulary: NonNegativeInt = 0
    """Most tokens of the vocabulary, padding included; 0 is all words, and 16,384 tokens of bpe. In
    a run it is the Config's."""
    bpe_dropout: UnitInterval = 0.0
    """Share of the merges that byte-pair encoding of training captions leaves out at random
    (Provilkov et al. 2020, arXiv:1910.13267)."""
    caption: str = ""
    """Feature of a TFDS data set with the captions; empty is caption, captions, text or name."""
    binarize_seed: Seed = 0
    """Seed of static binarization, and of dynamic binarization in evaluation."""
    validation: NonNegativeInt = 0
    """Examples held out from the end of train if the data has no validation split."""
    limit: NonNegativeInt = 0
    """Keep the first examples of each split; 0 keeps all."""
    labels_per_class: NonNegativeInt = 0
    """Training labels kept per class, the others become -1 (unknown); 0 keeps all."""
    labels_seed: Seed | None = None
    """Seed of the choice of these labels; None is the run's seed."""
    folds: NonNegativeInt = 0
    """Folds of a .csv, or of a .npz table `data` [N, D]; one is test, a tenth of the rest
    validation."""
    fold: int | None = None
    """Index of the test fold, from 0; None is the run's seed modulo folds."""
    standardize: bool = False
    """Real numbers: scale each column to mean 0 and standard deviation 1 of the training rows."""
    drop_correlated: UnitInterval = 0.0
    """Tables: drop the second of two columns with a larger absolute correlation; 0 keeps all."""
    drop_discrete: NonNegativeInt = 0
    """Tables: drop columns with fewer distinct values; 0 keeps all."""
    stream: Literal["auto", "yes", "no"] = "auto"
    """Read training images from disk on demand; auto does so above 2 GiB. Batches are the same."""
    workers: NonNegativeInt = 2
    """Processes that read and decode streamed images; 0 uses threads of this process."""

    def __post_init__(self) -> None:
        checks.validate(self)
        object.__setattr__(self, "transform", canonical(self.transform))
        # A shell expands ~ at the beginning of a word only, and not in --data=~/images.
        object.__setattr__(self, "data", os.path.expanduser(self.data))
        if self.folds == 1:
            raise ValueError("`folds` must be at least 2, or 0 for data with splits, got 1.")
        if self.fold is not None and not 0 <= self.fold < max(self.folds, 1):
            raise ValueError(f"`fold` must be in 0 .. folds - 1, got {self.fold} of {self.folds}.")
        if not self.data:
            raise ValueError(
                "`data` is empty; set it to a TFDS name, a folder, a .npz or .csv file, or digits."
            )
        if self.data.endswith(".npy"):
            raise ValueError(
                f"{self.data} is one array, and the data are several splits; save them in one file:"
                f" np.savez('{self.data[:-4]}.npz', train=..., validation=..., test=...)."
            )
