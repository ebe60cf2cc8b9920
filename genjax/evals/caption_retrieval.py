"""The metric `caption_retrieval`: captions found by images, and images found by captions."""

import dataclasses
import math
from typing import ClassVar

import numpy as np
import scipy

from genjax import checks
from genjax.core.protocols import ScoreTable
from genjax.evals.caption_reading import (
    caption_splits,
    distinct_captions,
    rows_without_common_captions,
)
from genjax.evals.caption_scoring import own_is_highest, own_scorer, pair_scores
from genjax.evals.caption_texts import first_captions, image_captions
from genjax.evals.context import EvalContext, random_rows
from genjax.evals.metric_result import Table, TableResult
from genjax.evals.negative_log_likelihood import mean_and_error

POOL = 2000  # images that those without common captions are chosen of
CLASSIFIED = 5  # times the pairs of retrieval, at most, for classification
FEWEST = 20  # images that are classified, or none


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaptionRetrievalResult(TableResult):
    """Images and captions of a split paired by their scores; one table per split.

    The images have no caption in common, and one candidate caption each. Rows are `model` and
    `chance`. Quantities, as means over images or captions:

    * `image_to_text`: share of images that have the highest score with their own caption, among all
      candidates; an equal score is wrong;
    * `text_to_image`: share of captions that have the highest score with their own image. A density
      log p(image | text) is compared after subtraction of log p(image), the mean of p(image | text)
      over the candidates: images differ more in their probability than texts do in what they say;
    * `classification`: share of images with the highest score of one of their captions, among all
      distinct captions of the split.

    Attributes:
      image_to_text: of `model` on the test split.
      std_error: its standard error.
      candidates: number of images and captions of the test split.
      captions: distinct captions, by split, of `classification`.
      classified: number of images, by split, of `classification`.
    """

    FIGURE: ClassVar = ("image_to_text", "std_error", "%")
    FRACTIONS: ClassVar = frozenset(("image_to_text", "text_to_image", "classification"))

    image_to_text: float
    std_error: float
    candidates: int
    captions: dict[str, int]
    classified: dict[str, int]


def caption_retrieval(c: EvalContext, *, samples: int = 10_000) -> CaptionRetrievalResult:
    """Computes `CaptionRetrievalResult`.

    Args:
      c: the model and its data.
      samples: pairs of an image and a caption that are scored per split, so its square root is the
        number of images and of candidate captions. `classification` scores up to five times as
        many, of fewer images where there are many captions, and is left out below 20 images. It has
        all images with a family that has a `score_table`.

    Raises:
      ValueError: the family does not score captions, or the data has none.
    """
    scorer = own_scorer(c)
    if scorer is None:
        raise ValueError(
            "caption_retrieval applies to families that score captions (`CaptionScores`); use"
            " another metric."
        )
    checks.positive(samples=samples)
    candidates = math.isqrt(samples)
    scores = pair_scores(scorer, c.key, c.batch_size)
    limited = not isinstance(c.family, ScoreTable)
    tables: dict[str, Table] = {}
    distinct, classified, n_real = {}, {}, 0
    for split in caption_splits(c.dataset):
        pool = max(POOL, candidates)
        captions = image_captions(c.dataset, split, random_rows(c.dataset.length(split), pool))
        rows = rows_without_common_captions(captions, candidates)
        own, images = captions[rows], c.examples(split, pool)[rows]
        first = first_captions(own)
        table = retrieval(scores(images, first), c.family.traits(c.config).density != "none")
        every = distinct_captions(c.dataset, split)
        distinct[split] = len(every)
        most = CLASSIFIED * samples // len(every) if limited else len(images)
        classified[split] = min(len(images), most)
        if classified[split] >= min(FEWEST, len(images)):
            few = slice(classified[split])
            true = (own[few, :, None] == every).any(axis=1)  # [I, D]
            right = own_is_highest(scores(images[few], every), true)
            table["model"]["classification"] = mean_and_error(right)
            table["chance"]["classification"] = (float(true.mean()), 0.0)
        else:
            classified[split] = 0
        tables[split] = table
        n_real += len(images)
    figure = tables["test"]["model"]["image_to_text"]
    return CaptionRetrievalResult(
        image_to_text=figure[0],
        std_error=figure[1],
        candidates=round(1 / tables["test"]["chance"]["image_to_text"][0]),
        captions=distinct,
        classified=classified,
        tables=tables,
        n_real=n_real,
        n_fake=0,
        extractor=c.name,
        seed=c.seed,
    )


def retrieval(scores: np.ndarray, density: bool) -> Table:
    """Returns both directions of scores `[I, I]` of images (rows) and captions."""
    own = np.eye(len(scores), dtype=bool)
    of_images = scores
    if density:
        total = scipy.special.logsumexp(scores, axis=1, keepdims=True)
        of_images = scores - np.where(np.isfinite(total), total, 0)
    chance = (1 / len(scores), 0.0)
    return {
        "model": {
            "image_to_text": mean_and_error(own_is_highest(scores, own)),
            "text_to_image": mean_and_error(own_is_highest(of_images.T, own)),
        },
        "chance": {"image_to_text": chance, "text_to_image": chance},
    }
