"""The metric `token_usage`: codes that an image tokenizer uses, and images that it restores."""

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import numpy as np

from genjax.core.protocols import ImageTokenizer
from genjax.evals.batching import map_batches
from genjax.evals.caption_reading import CaptionReader, caption_splits
from genjax.evals.caption_texts import image_captions
from genjax.evals.context import EvalContext, random_rows
from genjax.evals.feature_extractor import to_unit
from genjax.evals.metric_result import Table, TableResult
from genjax.evals.negative_log_likelihood import mean_and_error


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenUsageResult(TableResult):
    """Images encoded as tokens and decoded again; one table per split.

    The figure is the squared error: every data set has it, and it tells tokenizers apart whose
    reconstructions all show their captions.

    Rows are `model`, and `real`, the images themselves. Quantities, as means over images:

    * `squared_error`: mean over pixels in [0, 1];
    * `right`: share of the captions of an image that its reconstruction shows, where the data
      checks captions: the most that a model of these tokens can reach.

    Attributes:
      squared_error: on the test split.
      std_error: its standard error.
      codebook: number of codes.
      perplexity: exp of the entropy of the codes, on the test split; at most `codebook`.
      used: codes that occur in the test split.
      dead: share of the codes that do not.
      tokens: number of tokens that these are computed of; a number that is not far above
        `codebook` leaves codes unseen.
      tokens_per_image: their number.
    """

    FIGURE: ClassVar = ("squared_error", "std_error", "")
    FRACTIONS: ClassVar = frozenset(("right",))

    squared_error: float
    std_error: float
    codebook: int
    perplexity: float
    used: int
    dead: float
    tokens: int
    tokens_per_image: int


def token_usage(c: EvalContext, *, samples: int = 2000) -> TokenUsageResult:
    """Computes `TokenUsageResult` of up to `samples` images per split.

    Raises:
      ValueError: the family is no image tokenizer.
    """
    if not isinstance(c.family, ImageTokenizer):
        raise ValueError(
            "token_usage applies to families that encode images as tokens (`ImageTokenizer`); use"
            " another metric."
        )
    restore = functools.partial(_restorer(c), c.variables)
    codes = c.family.codebook_size(c.config)
    counts = {split: np.zeros(codes, np.int64) for split in caption_splits(c.dataset)}
    readable = tuple(c.config.shape) == tuple(c.dataset.shape)
    reader = CaptionReader.of(c) if readable and c.dataset.caption_check is not None else None
    tables: dict[str, Table] = {}
    n_real = 0
    for split, count in counts.items():
        images, errors, restored = c.examples(split, samples), [], []
        n_real += len(images)
        done = 0
        for batch in map_batches(restore, {"x": images}, c.key, c.batch_size):
            count += np.bincount(batch["tokens"].ravel(), minlength=codes)
            unit = to_unit(batch["images"], *c.sample_range)
            real = to_unit(images[done : done + len(unit)], *c.sample_range)
            done += len(unit)
            errors.append(((unit - real) ** 2).reshape(len(unit), -1).mean(axis=1))
            if reader is not None:
                restored.append(unit)
        table: Table = {"model": {"squared_error": mean_and_error(np.concatenate(errors))}}
        if reader is not None:
            rows = random_rows(c.dataset.length(split), samples)
            captions = image_captions(c.dataset, split, rows)
            for row, x in {
                "model": np.concatenate(restored),
                "real": c.real(split, samples),
            }.items():
                share = reader.share_of_captions(x, captions)
                table.setdefault(row, {})["right"] = mean_and_error(share)
        tables[split] = table
    total = int(counts["test"].sum())
    share = counts["test"][counts["test"] > 0] / total
    error = tables["test"]["model"]["squared_error"]
    return TokenUsageResult(
        squared_error=error[0],
        std_error=error[1],
        codebook=codes,
        perplexity=float(np.exp(-(share * np.log(share)).sum())),
        used=len(share),
        dead=1 - len(share) / codes,
        tokens=total,
        tokens_per_image=int(np.prod(c.family.token_grid(c.config))),
        tables=tables,
        n_real=n_real,
        n_fake=n_real,
        extractor="pixels",
        seed=c.seed,
    )


def _restorer(c: EvalContext) -> Any:
    """Returns the compiled `call(variables, x, key)` that encodes and decodes images."""

    @jax.jit
    def call(variables: Any, x: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
        tokens = c.family.encode_tokens(c.config, variables, x)
        return {"tokens": tokens, "images": c.family.decode_tokens(c.config, variables, tokens)}

    return call
