"""A density classifies: Bayes' rule over one density a class, and how far to trust the answer.

log p(c | x) = log p(x | c) + log p(c) - log p(x), with log p(x) the logsumexp over classes.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.special import logsumexp


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
class Classified:
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


def classified(posterior: np.ndarray, labels: np.ndarray, *, bins: int = 15) -> Classified:
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
    return Classified(
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
