"""What the codes of a generator hold: how much its samples tell of them, and what they mean.

Chen et al. 2016, "InfoGAN" (arXiv:1606.03657), section 7: the bound of figure 1, and section 7.2,
where a categorical code that nobody named is read as a class.
"""

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linear_sum_assignment

from genjax import checks
from genjax.core import named_key
from genjax.evals.batching import map_split
from genjax.evals.metric_result import MetricResult


@dataclasses.dataclass(frozen=True, kw_only=True)
class InformationResult(MetricResult):
    """Lower bound on the information that samples hold of their codes, in nats; higher is better.

    nats: log q(c | x) + H(c) of the first part of the code, mean over samples.
    std_error: of that mean.
    each: the same of every part, by its kind and place.
    entropy: H(c) of the first part, which the bound cannot exceed; None of numbers.
    """

    FIGURE: ClassVar = ("nats", "std_error", "nats")

    nats: float
    std_error: float
    each: dict[str, float]
    entropy: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class CodesResult(MetricResult):
    """A categorical code as a classifier: every category is named after the class it holds most of.

    error: share of test images whose category has another's name; lower is better.
    std_error: of the error.
    one_to_one: the same where no two categories may have one name; None where classes and
      categories are not as many.
    names: class of each category, by the training images in it; -1 of an empty one.
    information: of that code, in nats, see `InformationResult`: what a run may be chosen by, since
      it asks no label.
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
    """The bound at fresh codes and samples, under running statistics.

    Args:
      family: module with `parts` and `code_information`.
      config: its Config.
      variables: its variables.
      key: of noise and codes.
      samples: how many.
      seed: that the key was made of, for the result.

    Raises:
      ValueError: the family has no codes.
    """
    _check(family)
    checks.positive(samples=samples)
    size = min(500, samples)
    draw = jax.jit(lambda v, key: family.code_information(config, v, key, size))
    parts = [
        [np.asarray(b, np.float64) for b in draw(variables, named_key(key, i, "codes"))]
        for i in range(-(-samples // size))
    ]
    each = [np.concatenate(found)[:samples] for found in zip(*parts, strict=True)]
    kinds = family.parts(config)
    first = kinds[0]
    return InformationResult(
        nats=float(each[0].mean()),
        std_error=float(each[0].std(ddof=1) / math.sqrt(samples)) if samples > 1 else math.nan,
        each={f"{kinds[i].kind}_{i}": float(b.mean()) for i, b in enumerate(each)},
        entropy=math.log(first.size) if first.kind == "categorical" else None,
        n_real=0,
        n_fake=samples,
        extractor=family.__name__.rsplit(".", 1)[-1],
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
    batch_size: int = 500,
    seed: int = 0,
) -> CodesResult:
    """Name the first categorical part's categories by training labels, and score test images.

    Args:
      family: module with `parts`, `infer` and `code_information`.
      config: its Config.
      variables: its variables.
      train: images as the family takes them, `[N, *shape]`, and their labels `[N]`.
      test: the same.
      key: of the samples that the information is measured on.
      samples: how many of those.
      batch_size: images looked at together.
      seed: that the key was made of, for the result.

    Raises:
      ValueError: the family has no codes, or no categorical one; or a label is unknown, or what q
        says is not finite.
    """
    _check(family)
    if min(train[1].min(), test[1].min()) < 0:
        raise ValueError("codes are named by labels from 0; leave out images whose label is -1.")
    place, kinds = categorical_slice(family, config), family.parts(config)

    @jax.jit
    def category(x: jax.Array, key: jax.Array) -> jax.Array:
        del key  # nothing is drawn
        scores = family.infer(config, variables, x)[place]
        # A score that is no number names no class; argmax would take the first.
        return jnp.where(jnp.isfinite(scores).all(axis=-1), scores.argmax(axis=-1), -1)

    guessed = [map_split(category, {"x": x}, key, batch_size) for x, _ in (train, test)]
    if min(guess.min() for guess in guessed) < 0:
        raise ValueError("codes: what q says of an image is not finite; the run has diverged.")
    classes = int(max(train[1].max(), test[1].max())) + 1
    table = np.zeros((kinds[place].size, classes), np.int64)  # training images, by both
    np.add.at(table, (guessed[0], train[1]), 1)
    names = np.where(table.sum(axis=1) > 0, table.argmax(axis=1), -1)
    error = float((names[guessed[1]] != test[1]).mean())
    one_to_one = None
    if classes == len(table):
        rows, columns = linear_sum_assignment(table, maximize=True)
        alone = np.empty(classes, np.int64)
        alone[rows] = columns
        one_to_one = float((alone[guessed[1]] != test[1]).mean())
    told = information(family, config, variables, key, samples=samples, seed=seed)
    return CodesResult(
        error=error,
        std_error=math.sqrt(error * (1 - error) / len(test[1])),
        one_to_one=one_to_one,
        names=names.tolist(),
        information=told.each[f"categorical_{place}"],
        n_real=len(test[1]),
        n_fake=samples,
        extractor=told.extractor,
        seed=seed,
    )


def categorical_slice(family: Any, config: Any) -> int:
    """The place of the first categorical part of the code.

    Raises:
      ValueError: there is none.
    """
    for place, part in enumerate(family.parts(config)):
        if part.kind == "categorical":
            return place
    raise ValueError("no part of the code is categorical, and only such a one names classes.")


def _check(family: Any) -> None:
    if not hasattr(family, "code_information"):
        name = family.__name__.rsplit(".", 1)[-1]
        raise ValueError(f"{name} has no codes: it exports no code_information.")
