"""Classification by Bayes' rule with a density per class, and its calibration.

log p(c | x) = log p(x | c) + log p(c) - log p(x), with log p(x) the logsumexp over classes.

A lower bound may replace log p(x | c). The posterior is then exact if the bounds of all classes
have the same gap; more samples reduce the gaps (Burda et al. 2015, theorem 1).
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy

from genjax.core import log_mean_weight
from genjax.core.protocols import Classifier
from genjax.evals.batching import map_split
from genjax.evals.metric_result import binomial_error
from genjax.evals.negative_log_likelihood import make_nll


def make_class_likelihood(family: Any, config: Any, *, num_samples: int = 1) -> Callable:
    """Returns `call(variables, x, key, batch_size) -> log p(x | c)`, `[N, C]` float64 nats.

    If `variables` is a sequence, entry c belongs to an unconditional model of class c; else one
    model is evaluated with `label` c for each c. It is compiled once and evaluates one batch and
    class at a time. Bounds use the same noise for every class, so that it partly cancels.

    A `Classifier` has its own log p(c): the values are bounds on log p(x, c) for all classes at
    once, and `log_posterior` needs no prior. `num_samples` is for bounds.

    Raises:
      ValueError: the family has no density, or the number of classes is not known.
    """
    measure = make_nll(family, config, num_samples=num_samples)
    classes = getattr(config, "classes", 0)

    @jax.jit
    def joint(variables: Any, x: jax.Array, key: jax.Array) -> jax.Array:
        draw = functools.partial(family.log_class_weights, config, variables, x)
        zeros = jnp.zeros((x.shape[0], classes))
        return log_mean_weight(draw, key, num_samples, zeros)

    def call(variables: Any, x: Any, key: jax.Array, batch_size: int) -> np.ndarray:
        several = isinstance(variables, (list, tuple))
        if isinstance(family, Classifier) and not several:
            log_p = map_split(functools.partial(joint, variables), {"x": x}, key, batch_size)
            return log_p.astype(np.float64)
        if not several and classes < 1:
            raise ValueError(
                "a single model classifies only if it is conditioned on a label; set classes, or"
                " pass a list with the variables of one model per class."
            )
        columns = []
        for c in range(len(variables) if several else classes):
            condition = None if several else {"label": np.full(len(x), c, np.int32)}
            one = variables[c] if several else variables
            columns.append(-measure(one, x, key, batch_size, condition))
        return np.stack(columns, axis=1).astype(np.float64)

    return call


def log_posterior(log_likelihood: np.ndarray, log_prior: np.ndarray | None = None) -> np.ndarray:
    """Computes log p(c | x), `[N, C]` nats; probabilities of a row sum to 1.

    Args:
      log_likelihood: log p(x | c), `[N, C]` nats; may be -inf.
      log_prior: log p(c), `[C]`; None is uniform.

    Raises:
      ValueError: the shapes do not match, or an example has probability 0 under all classes.
    """
    scores = np.asarray(log_likelihood, np.float64)
    if scores.ndim != 2:
        raise ValueError(f"log_likelihood must be [N, C], got {list(scores.shape)}.")
    if log_prior is not None:
        if np.shape(log_prior) != scores.shape[1:]:
            raise ValueError(
                f"log_prior must be [{scores.shape[1]}], one per class, got {np.shape(log_prior)}."
            )
        scores = scores + np.asarray(log_prior, np.float64)
    total = scipy.special.logsumexp(scores, axis=1, keepdims=True)
    if not np.isfinite(total).all():
        bad = int(np.flatnonzero(~np.isfinite(total[:, 0]))[0])
        raise ValueError(
            f"example {bad} has probability 0 under all classes; smooth the densities (alpha"
            f" above 0)."
        )
    return scores - total


def log_prior_of(labels: np.ndarray, classes: int) -> np.ndarray:
    """Computes log p(c) from the frequencies of `labels [N]`: `[classes]`."""
    with np.errstate(divide="ignore"):  # an absent class has log-probability -inf
        return np.log(np.bincount(labels, minlength=classes) / len(labels))


@dataclasses.dataclass(frozen=True)
class ClassificationResult:
    """Accuracy and calibration of a classifier.

    Attributes:
      accuracy: fraction of examples whose most probable class is the true one.
      std_error: standard error of the accuracy.
      nats: mean of -log p(true class | x).
      calibration_error: expected |confidence - accuracy| over bins of confidence (ECE).
      confusion: `[C, C]` counts; rows are true classes, columns predicted ones.
    """

    accuracy: float
    std_error: float
    nats: float
    calibration_error: float
    confusion: np.ndarray


def classify(posterior: np.ndarray, labels: np.ndarray, *, bins: int = 15) -> ClassificationResult:
    """Compares log p(c | x) `[N, C]` with labels `[N]`.

    The calibration error weights bins of equal width by their number of examples: Guo et al. 2017,
    "On Calibration of Modern Neural Networks", equation 3.

    Raises:
      ValueError: labels are out of range, or their number differs.
    """
    n, classes = posterior.shape
    if len(labels) != n or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels must be {n} integers from 0 to {classes - 1}.")
    predicted = posterior.argmax(axis=1)
    right = predicted == labels
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    accuracy = float(right.mean())
    diagram = reliability(posterior, labels, bins=bins)
    return ClassificationResult(
        accuracy=accuracy,
        std_error=binomial_error(accuracy, n),
        nats=float(-posterior[np.arange(n), labels].mean()),
        calibration_error=sum(b["share"] * abs(b["confidence"] - b["accuracy"]) for b in diagram),
        confusion=confusion,
    )


def reliability(
    posterior: np.ndarray, labels: np.ndarray, *, bins: int = 15
) -> Sequence[dict[str, float]]:
    """Computes confidence, accuracy and share of the examples of each non-empty bin."""
    confidence = np.exp(posterior.max(axis=1))
    right = posterior.argmax(axis=1) == labels
    # The last bin holds confidence 1.
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        {
            "confidence": float(confidence[inside].mean()),
            "accuracy": float(right[inside].mean()),
            "share": float(inside.mean()),
        }
        for inside in (place == b for b in np.unique(place))
    ]
