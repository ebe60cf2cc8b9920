"""A density classifies: Bayes' rule over one density a class, and how far to trust the answer.

log p(c | x) = log p(x | c) + log p(c) - log p(x), with log p(x) the logsumexp over classes.

Where log p(x | c) is only bounded, its bound takes its place: the answer is the class of the
highest bound, and the posterior is Bayes' as far as the classes' bounds are equally loose. More
samples make them tight (Burda et al. 2015, theorem 1).
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import logsumexp

from genjax.core import log_mean_weight
from genjax.core.protocols import Classifier
from genjax.evals.batching import map_split
from genjax.evals.negative_log_likelihood import make_nll


def make_class_likelihood(
    family: Any, config: Any, *, classes: int = 0, num_samples: int = 1
) -> Callable:
    """`call(variables, x, key, batch_size) -> log p(x | c)`, `[N, C]` nats, float64 on the host.

    With `variables` a sequence, entry c is the model of class c, and none is told a label; else
    one model is asked with `label` c for each c in turn. Compiled once for all classes, a batch
    and a class at a time, so that memory grows with neither. The value is exact where the family
    exports `log_prob`; else it is the bound from `num_samples` samples (of one, the ELBO), whose
    noise is the same for every class, so that less of it is left in their differences.

    A `Classifier` has a log p(c) of its own: the values are its bounds on log p(x, c), of all
    classes at once, and `log_posterior` needs no prior.

    Args:
      family: module that implements a density, conditioned on a label for `classes`.
      config: its Config.
      classes: of a model that is told a label; 0 takes the Config's `classes`.
      num_samples: of the bound.

    Raises:
      ValueError: the family has no density, or nothing says how many classes there are.
    """
    measure = make_nll(family, config, num_samples=num_samples)
    classes = classes or getattr(config, "classes", 0)

    @jax.jit
    def joint(variables: Any, x: jax.Array, key: jax.Array) -> jax.Array:
        draw = functools.partial(family.log_class_weights, config, variables, x)
        zeros = jnp.zeros((x.shape[0], classes))
        return log_mean_weight(draw, key, num_samples, zeros)

    def call(variables: Any, x: Any, key: jax.Array, batch_size: int) -> np.ndarray:
        several = isinstance(variables, (list, tuple))
        if isinstance(family, Classifier) and not several:
            found = map_split(functools.partial(joint, variables), {"x": x}, key, batch_size)
            return found.astype(np.float64)
        if not several and classes < 1:
            raise ValueError(
                "one model classifies only where it is told a label; set classes, or give a"
                " list of variables, those of one model a class."
            )
        columns = []
        for c in range(len(variables) if several else classes):
            told = None if several else {"label": np.full(len(x), c, np.int32)}
            one = variables[c] if several else variables
            columns.append(-measure(one, x, key, batch_size, told))
        return np.stack(columns, axis=1).astype(np.float64)

    return call


def log_posterior(log_likelihood: np.ndarray, log_prior: np.ndarray | None = None) -> np.ndarray:
    """log p(c | x), `[N, C]` nats, rows summing to one in probability.

    Args:
      log_likelihood: log p(x | c), `[N, C]` nats; -inf where a class gives x no probability.
      log_prior: log p(c), `[C]`; None is the same for all.

    Raises:
      ValueError: the shapes do not fit, or no class gives an example any probability.
    """
    scores = np.asarray(log_likelihood, np.float64)
    if scores.ndim != 2:
        raise ValueError(f"log_likelihood must be [N, C], got {list(scores.shape)}.")
    if log_prior is not None:
        if np.shape(log_prior) != scores.shape[1:]:
            raise ValueError(
                f"log_prior must be [{scores.shape[1]}], one a class, got {np.shape(log_prior)}."
            )
        scores = scores + np.asarray(log_prior, np.float64)
    total = logsumexp(scores, axis=1, keepdims=True)
    if not np.isfinite(total).all():
        bad = int(np.flatnonzero(~np.isfinite(total[:, 0]))[0])
        raise ValueError(
            f"no class gives example {bad} a probability; smooth the densities (alpha above 0)."
        )
    return scores - total


def log_prior_of(labels: np.ndarray, classes: int) -> np.ndarray:
    """log p(c) as the share of each class in `labels` `[N]`: `[classes]`."""
    with np.errstate(divide="ignore"):  # a class nobody has is never the answer
        return np.log(np.bincount(labels, minlength=classes) / len(labels))


@dataclasses.dataclass(frozen=True)
class ClassificationResult:
    """How well a posterior names the classes.

    accuracy: share of examples whose most probable class is their own.
    std_error: of the accuracy.
    nats: mean -log p(own class | x).
    calibration_error: expected |confidence - accuracy| over bins of confidence (ECE).
    confusion: `[C, C]` counts, true class by row, most probable class by column.
    """

    accuracy: float
    std_error: float
    nats: float
    calibration_error: float
    confusion: np.ndarray


def classify(posterior: np.ndarray, labels: np.ndarray, *, bins: int = 15) -> ClassificationResult:
    """Compare log p(c | x), `[N, C]`, with the labels, `[N]`.

    The calibration error weighs bins of equal width by their examples: Guo et al. 2017, "On
    Calibration of Modern Neural Networks", equation 3.

    Raises:
      ValueError: labels are out of range or of another number.
    """
    n, classes = posterior.shape
    if len(labels) != n or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels must be {n} integers from 0 to {classes - 1}.")
    said = posterior.argmax(axis=1)
    right = said == labels
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, said), 1)
    accuracy = float(right.mean())
    diagram = reliability(posterior, labels, bins=bins)
    return ClassificationResult(
        accuracy=accuracy,
        std_error=float(np.sqrt(accuracy * (1 - accuracy) / n)),
        nats=float(-posterior[np.arange(n), labels].mean()),
        calibration_error=sum(b["share"] * abs(b["confidence"] - b["accuracy"]) for b in diagram),
        confusion=confusion,
    )


def reliability(
    posterior: np.ndarray, labels: np.ndarray, *, bins: int = 15
) -> Sequence[dict[str, float]]:
    """The reliability diagram: confidence, accuracy and share of examples of each bin in use."""
    confidence = np.exp(posterior.max(axis=1))
    right = posterior.argmax(axis=1) == labels
    # The last bin holds confidence 1.
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    out = []
    for b in np.unique(place):
        mine = place == b
        out.append(
            {
                "confidence": float(confidence[mine].mean()),
                "accuracy": float(right[mine].mean()),
                "share": float(mine.mean()),
            }
        )
    return out
