"""The metric `token_nats`: nats per token of texts, and of images given their texts."""

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import numpy as np

from genjax.core.protocols import TokenDensity
from genjax.evals.batching import map_split
from genjax.evals.caption_reading import caption_splits
from genjax.evals.caption_texts import first_captions, image_captions
from genjax.evals.context import EvalContext, random_rows
from genjax.evals.metric_result import Estimate, Table, TableResult
from genjax.evals.negative_log_likelihood import mean_and_error


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenNatsResult(TableResult):
    """Minus the log probabilities of tokens, one table per split.

    Rows are `model`, and `frequencies`: image tokens by their frequencies in training images, which
    a model of no use has. The text of an image is the first of its captions. Quantities:

    * `text`: nats per text token, padding left out, as the quotient of the sums;
    * `image`: nats per image token given the text;
    * `bits`: bits of all tokens of an image given the text, without the decoder's.

    Attributes:
      image: of `model` on the test split.
      std_error: its standard error, over images.
      text_tokens: mean number of tokens of a text on the test split.
      image_tokens: tokens of an image.
    """

    FIGURE: ClassVar = ("image", "std_error", "nats")

    image: float
    std_error: float
    text_tokens: float
    image_tokens: int


def token_nats(c: EvalContext, *, samples: int = 2000) -> TokenNatsResult:
    """Computes `TokenNatsResult` of up to `samples` images per split.

    Raises:
      ValueError: the family does not evaluate tokens.
    """
    if not isinstance(c.family, TokenDensity):
        raise ValueError(
            "token_nats applies to families that evaluate tokens of images and texts"
            " (`TokenDensity`); use another metric."
        )
    call = functools.partial(_nats(c), c.variables)

    def values(split: str) -> dict[str, np.ndarray]:
        rows = random_rows(c.dataset.length(split), samples)
        text = c.tokens(first_captions(image_captions(c.dataset, split, rows)))
        images = c.examples(split, samples)
        return map_split(call, {"x": images, "text": text}, c.key, c.batch_size)

    splits = {split: values(split) for split in caption_splits(c.dataset)}
    train = values("train")["tokens"].ravel()
    codes = 1 + max(int(v["tokens"].max()) for v in [{"tokens": train}, *splits.values()])
    seen = np.bincount(train, minlength=codes) + 1.0
    tables = {split: _table(v, -np.log(seen / seen.sum())) for split, v in splits.items()}
    test = splits["test"]
    image = tables["test"]["model"]["image"]
    return TokenNatsResult(
        image=image[0],
        std_error=image[1],
        text_tokens=float(test["length"].mean()),
        image_tokens=test["tokens"].shape[1],
        tables=tables,
        n_real=sum(len(v["length"]) for v in splits.values()),
        n_fake=0,
        extractor=c.name,
        seed=c.seed,
    )


def _nats(c: EvalContext) -> Any:
    """Returns the compiled `call(variables, x, text, key)` of sums over the tokens of examples."""

    @jax.jit
    def call(variables: Any, x: jax.Array, text: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
        tokens = c.family.image_tokens(c.config, variables, x)
        of_text = c.family.text_log_prob(c.config, variables, text)
        of_image = c.family.token_log_prob(c.config, variables, tokens, text)
        return {
            "tokens": tokens,
            "length": (text != 0).sum(axis=1),
            "text": -of_text.sum(axis=1),
            "image": -of_image.sum(axis=1),
        }

    return call


def _table(values: dict[str, np.ndarray], nats: np.ndarray) -> Table:
    """Returns both rows; `nats` are those of every code by its frequency in training images."""
    count = values["tokens"].shape[1]
    frequency = nats[values["tokens"]].sum(axis=1)
    return {
        "model": {
            "text": ratio_and_error(values["text"], values["length"]),
            "image": mean_and_error(values["image"] / count),
            "bits": mean_and_error(values["image"] / np.log(2)),
        },
        "frequencies": {
            "image": mean_and_error(frequency / count),
            "bits": mean_and_error(frequency / np.log(2)),
        },
    }


def ratio_and_error(sums: np.ndarray, counts: np.ndarray) -> Estimate:
    """Returns sum / count over examples, and its standard error to first order.

    >>> ratio_and_error(np.array([2.0, 6.0]), np.array([1, 3]))
    (2.0, 0.0)
    """
    sums, counts = np.asarray(sums, np.float64), np.asarray(counts, np.float64)
    ratio = float(sums.sum() / counts.sum())
    return ratio, mean_and_error((sums - ratio * counts) / counts.mean())[1]
