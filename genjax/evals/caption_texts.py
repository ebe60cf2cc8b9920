"""Captions of images, and their tokens."""

from typing import Any

import numpy as np

from genjax.core.protocols import family_name
from genjax.data import Dataset


def image_captions(dataset: Dataset, split: str, rows: np.ndarray) -> np.ndarray:
    """Returns the captions of images, `[N, K]`; empty ones where an image has fewer.

    Raises:
      ValueError: the data has no captions.
    """
    if "caption" not in dataset.entries(split):
        raise ValueError(f"{dataset.name} has no captions in {split}; use data with captions.")
    captions = np.asarray(dataset.read(split, rows, ("caption",))["caption"])
    return captions[:, None] if captions.ndim == 1 else captions


def first_captions(captions: np.ndarray) -> np.ndarray:
    """Returns the first caption of each image that is not empty, `[N]`, of captions `[N, K]`."""
    return captions[np.arange(len(captions)), (captions != "").argmax(axis=1)]


def encoded(family: Any, config: Any, tokenizer: Any, captions: np.ndarray) -> np.ndarray:
    """Returns captions `[N]` as texts of a family, int32 `[N, T]`.

    Raises:
      ValueError: there is no tokenizer, or it has more tokens than the family.
    """
    if tokenizer is None:
        raise ValueError(
            f"{family_name(family)} takes texts, and the data has no tokens of its captions; set"
            f" --tokenizer words, bpe or characters, and --text-length."
        )
    spec = family.text_spec(config)
    if tokenizer.size > spec.vocabulary:
        raise ValueError(
            f"the tokenizer has {tokenizer.size} tokens, and {family_name(family)} has"
            f" {spec.vocabulary}; use the tokenizer of its training."
        )
    return tokenizer.encode(np.asarray(captions).tolist(), spec.length)
