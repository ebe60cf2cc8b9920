"""Metrics of latent codes: the information that samples carry about them, and codes as classes.

Chen et al. 2016, "InfoGAN" (arXiv:1606.03657), section 7: the bound of figure 1, and section 7.2,
where a categorical code is used as an unsupervised classifier.
"""

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import scipy

from genjax import checks
from genjax.core import named_key
from genjax.core.protocols import LatentCodes, family_name
from genjax.evals.batching import map_split
from genjax.evals.metric_result import MetricResult, binomial_error
from genjax.losses import code_information


@dataclasses.dataclass(frozen=True, kw_only=True)
class InformationResult(MetricResult):
    """Lower bound on the mutual information of codes and samples, in nats; higher is better.

    Attributes:
      nats: mean over samples of log q(c | x) + H(c) for the first code.
      std_error: of that mean.
      each: the same for every code, by kind and position.
      entropy: H(c) of the first code, an upper bound on `nats`; None for a continuous code.
    """

    FIGURE: ClassVar = ("nats", "std_error", "nats")

    nats: float
    std_error: float
    each: dict[str, float]
    entropy: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class CodesResult(MetricResult):
    """Error of a categorical code as a classifier: each category predicts its most frequent class.

    Attributes:
      error: error rate on test images; lower is better.
      std_error: of the error.
      one_to_one: error rate under the best one-to-one assignment of categories to classes; None if
        their numbers differ.
      names: class of each category, by the training images in it; -1 for an empty category.
      information: bound of `InformationResult` for this code, in nats; needs no labels, so a run
        may be selected by it.
    """

    FIGURE: ClassVar = ("error", "std_error", "%")

    error: float
    std_error: float
    one_to_one: float | None
    names: list[int]
    information: float


def information(
    family: Any,
    config: Any,
    variables: Any,
    key: jax.Array,
    *,
    samples: int = 10_000,
    seed: int = 0,
) -> InformationResult:
    """Computes the bound on the information for `samples` new codes; `seed` is for the result.

    Raises:
      ValueError: the family has no codes.
    """
    _check(family)
    checks.positive(samples=samples)
    size, codes = min(500, samples), family.codes(config)

    @jax.jit
    def bounds(variables: Any, key: jax.Array) -> list[jax.Array]:
        z = family.noise(config, key, size)
        posteriors = family.code_posterior(config, variables, family.generate(config, variables, z))
        out, start = [], z.shape[1] - sum(code.size for code in codes)
        for code, posterior in zip(codes, posteriors, strict=True):
            out.append(code_information(code.kind, posterior, z[:, start : start + code.size]))
            start += code.size
        return out

    batches = [
        [np.asarray(b, np.float64) for b in bounds(variables, named_key(key, i, "codes"))]
        for i in range(-(-samples // size))
    ]
    each = [np.concatenate(parts)[:samples] for parts in zip(*batches, strict=True)]
    first = codes[0]
    return InformationResult(
        nats=float(each[0].mean()),
        std_error=float(each[0].std(ddof=1) / math.sqrt(samples)) if samples > 1 else math.nan,
        each={f"{codes[i].kind}_{i}": float(b.mean()) for i, b in enumerate(each)},
        entropy=math.log(first.size) if first.kind == "categorical" else None,
        n_real=0,
        n_fake=samples,
        extractor=family_name(family),
        seed=seed,
    )


def codes(
    family: Any,
    config: Any,
    variables: Any,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    key: jax.Array,
    *,
    samples: int = 10_000,
    seed: int = 0,
) -> CodesResult:
    """Assigns classes to the first categorical code's categories, and classifies test images.

    Args:
      family, config, variables: a model that implements `LatentCodes`.
      train: images in the family's format, `[N, *shape]`, and their labels `[N]`.
      test: the same.
      key: of the samples for the information.
      samples: number of samples for the information.
      seed: of the key, for the result.

    Raises:
      ValueError: the family has no codes, or no categorical one; a label is unknown; or an output
        of q is not finite.
    """
    _check(family)
    if min(train[1].min(), test[1].min()) < 0:
        raise ValueError("codes needs labels from 0; leave out images with label -1.")
    position = categorical_code(family, config)

    @jax.jit
    def category(x: jax.Array, key: jax.Array) -> jax.Array:
        del key  # deterministic
        scores = family.code_posterior(config, variables, x)[position]
        # argmax of NaN would be the first category.
        return jnp.where(jnp.isfinite(scores).all(axis=-1), scores.argmax(axis=-1), -1)

    predicted = [map_split(category, {"x": x}, key, 500) for x, _ in (train, test)]
    if min(p.min() for p in predicted) < 0:
        raise ValueError("codes: an output of q is not finite; the run has diverged.")
    classes = int(max(train[1].max(), test[1].max())) + 1
    table = np.zeros((family.codes(config)[position].size, classes), np.int64)
    np.add.at(table, (predicted[0], train[1]), 1)  # training images by category and class
    names = np.where(table.sum(axis=1) > 0, table.argmax(axis=1), -1)
    error = float((names[predicted[1]] != test[1]).mean())
    one_to_one = None
    if classes == len(table):
        rows, columns = scipy.optimize.linear_sum_assignment(table, maximize=True)
        assigned = np.empty(classes, np.int64)
        assigned[rows] = columns
        one_to_one = float((assigned[predicted[1]] != test[1]).mean())
    result = information(family, config, variables, key, samples=samples, seed=seed)
    return CodesResult(
        error=error,
        std_error=binomial_error(error, len(test[1])),
        one_to_one=one_to_one,
        names=names.tolist(),
        information=result.each[f"categorical_{position}"],
        n_real=len(test[1]),
        n_fake=samples,
        extractor=result.extractor,
        seed=seed,
    )


def categorical_code(family: Any, config: Any) -> int:
    """Returns the position of the first categorical code.

    Raises:
      ValueError: there is none.
    """
    for position, code in enumerate(family.codes(config)):
        if code.kind == "categorical":
            return position
    raise ValueError("no code is categorical; codes applies to a Config with a categorical code.")


def _check(family: Any) -> None:
    if not isinstance(family, LatentCodes):
        raise ValueError(f"{family_name(family)} has no latent codes; use infogan, for instance.")
