"""Distinct captions of a split, and whether images show what captions say."""

import dataclasses
import functools
from typing import Any

import numpy as np

from genjax.data import Dataset
from genjax.data.dataset import CaptionCheck
from genjax.data.order import Order
from genjax.evals.caption_texts import image_captions
from genjax.evals.classifier import Classifier, accuracy, logits
from genjax.evals.context import EvalContext, random_rows
from genjax.evals.feature_extractor import to_unit

SPLITS = ("test", "unseen", "bindings")
"""Captions of training, held-out captions, and captions with a held-out combination of words."""


def caption_splits(dataset: Dataset) -> tuple[str, ...]:
    """Returns those of `SPLITS` that the data has."""
    return tuple(split for split in SPLITS if split in dataset.counts())


def distinct_captions(dataset: Dataset, split: str, n: int | None = None) -> np.ndarray:
    """Returns n distinct captions of a split, the same ones on every call; None returns all."""
    captions = np.unique(image_captions(dataset, split, np.arange(dataset.length(split))))
    captions = captions[captions != ""]
    return captions[random_rows(len(captions), n)]


def rows_without_common_captions(captions: np.ndarray, n: int) -> np.ndarray:
    """Returns the first n rows of captions `[N, K]`, in a fixed random order, of which no two have
    a caption in common; fewer if there are not as many."""
    used: set[str] = set()
    rows: list[int] = []
    for row in Order(len(captions), 0).epoch(0):
        own = set(captions[row].tolist()) - {""}
        if own and not own & used:
            rows.append(int(row))
            used |= own
        if len(rows) == n:
            break
    return np.array(rows, int)


@dataclasses.dataclass(frozen=True)
class CaptionReader:
    """Tells whether images show what captions say.

    Attributes:
      check: of the data.
      levels: of the data.
      classifier: of the parts of images, where a rule does not read them.
      classifier_error: share of the parts of test images that it does not recognise; None if that
        is not known, or without a classifier.
    """

    check: CaptionCheck
    levels: int
    classifier: Classifier | None = None
    classifier_error: float | None = None

    @classmethod
    def of(cls, c: EvalContext) -> "CaptionReader":
        """Returns the reader of a context's data; trains the classifier, if one is needed.

        Raises:
          ValueError: the data has no `caption_check`, or the model's images have another shape.
        """
        dataset = c.dataset
        check = dataset.caption_check
        if check is None:
            raise ValueError(
                f"{dataset.name} cannot tell whether an image shows its caption; use data made by"
                f" rule, such as scenes, or another metric."
            )
        if tuple(c.config.shape) != tuple(dataset.shape):
            raise ValueError(
                f"captions are checked in images of {dataset.shape}, and {c.name} makes"
                f" {tuple(c.config.shape)}; leave out what resizes the images."
            )
        if check.parts is None:
            return cls(check, dataset.levels)
        unit, labels = to_unit(check.parts[0], 0, dataset.levels - 1), check.parts[1]
        classifier = c.classifier_of("parts", tuple(unit.shape[1:]), lambda: (unit, labels))
        error = None
        if check.test_parts is not None:
            test, wanted = check.test_parts
            error = 1 - accuracy(classifier, to_unit(test, 0, dataset.levels - 1), wanted)
        return cls(check, dataset.levels, classifier, error)

    def matches(self, images: np.ndarray, captions: np.ndarray) -> np.ndarray:
        """Returns whether images in [0, 1] `[N, *shape]` show captions `[N]`, bool `[N]`.

        Images with a pixel that is not finite do not.
        """
        finite = np.isfinite(images).reshape(len(images), -1).all(axis=1)
        pixels = np.nan_to_num(images) * (self.levels - 1)
        classify = None
        if self.classifier is not None:
            classify = functools.partial(_labels, self.classifier, self.levels)
        return self.check.matches(pixels, captions, classify=classify) & finite

    def canonical(self, captions: np.ndarray) -> np.ndarray:
        """Returns for each caption one that says the same, `[...]`; "" of empty ones."""
        distinct, index = np.unique(captions.ravel(), return_inverse=True)
        found = np.array([c and self.check.canonical(c) for c in distinct.tolist()], np.str_)
        return found[index].reshape(captions.shape)

    def share_of_captions(self, images: np.ndarray, captions: np.ndarray) -> np.ndarray:
        """Returns for images in [0, 1] the share of their captions `[N, K]` that they show."""
        row, column = np.nonzero(captions != "")
        right = self.matches(images[row], captions[row, column])
        counts = np.bincount(row, minlength=len(images))
        return np.bincount(row, right, len(images))[counts > 0] / counts[counts > 0]


def _labels(classifier: Classifier, levels: int, parts: Any) -> np.ndarray:
    """Returns the labels of parts of images in the levels of `x`, `[M, *part]` -> `[M]`."""
    return logits(classifier, to_unit(parts, 0, levels - 1)).argmax(axis=1)
