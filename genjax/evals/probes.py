"""A density gives features nobody labelled: a linear probe on them, beside pixels and PCA."""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Probe:
    """A linear model on features.

    accuracy: on test, evaluated once with the chosen strength.
    std_error: of the accuracy.
    strength: inverse penalty C, chosen on validation.
    validation: accuracy there, by strength.
    """

    accuracy: float
    std_error: float
    strength: float
    validation: dict[float, float]


def linear_probe(
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    *,
    strengths: Sequence[float] = (0.001, 0.01, 0.1, 1.0),
    steps: int = 300,
) -> Probe:
    """Multinomial logistic regression with an L2 penalty on standardised features.

    Columns are centred and scaled by train's mean and standard deviation; a column that never
    varies is left at 0.

    Args:
      train: features `[N, F]` and labels `[N]`.
      validation: chooses the strength.
      test: evaluated once.
      strengths: values of C tried.
      steps: iterations of L-BFGS at most.
    """
    from sklearn.linear_model import LogisticRegression

    return _fitted(
        lambda strength: LogisticRegression(C=strength, max_iter=steps),
        train,
        validation,
        test,
        strengths,
    )


def linear_svm(
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    *,
    strengths: Sequence[float] = (1e-4, 1e-3, 1e-2, 0.1),
    steps: int = 1000,
) -> Probe:
    """Linear L2-SVM, one class against the rest, on features; arguments as of `linear_probe`.

    The squared hinge loss of Radford et al. 2016, "Unsupervised Representation Learning with Deep
    Convolutional Generative Adversarial Networks", section 5.1. Columns are centred and have one
    scale in common: a pixel that is hardly ever on would else be worth as much as any other, and
    liblinear would take ten times as long.
    """
    from sklearn.svm import LinearSVC

    return _fitted(
        lambda strength: LinearSVC(C=strength, max_iter=steps, dual="auto", random_state=0),
        train,
        validation,
        test,
        strengths,
        scale=(train[0] - train[0].mean(axis=0)).std(),
    )


def _fitted(
    make: Any,
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    strengths: Sequence[float],
    scale: Any = None,
) -> Probe:
    """Fit a linear model of every strength, choose on validation, look at test once.

    Columns are centred by train's mean and divided by `scale`; None is each one's deviation.
    """
    from sklearn.exceptions import ConvergenceWarning

    mean = train[0].mean(axis=0)
    scale = train[0].std(axis=0) if scale is None else scale
    scale = np.where(scale > 0, scale, 1)

    def scaled(x: np.ndarray) -> np.ndarray:
        return ((x - mean) / scale).astype(np.float32)

    fitted, scores = {}, {}
    x = scaled(train[0])
    for strength in strengths:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a probe stopped early is a probe
            fitted[strength] = make(strength).fit(x, train[1])
        scores[strength] = float(fitted[strength].score(scaled(validation[0]), validation[1]))
    best = max(strengths, key=lambda s: scores[s])
    accuracy = float(fitted[best].score(scaled(test[0]), test[1]))
    error = float(np.sqrt(accuracy * (1 - accuracy) / len(test[1])))
    return Probe(accuracy, error, best, scores)


def pca(train: np.ndarray, others: Sequence[np.ndarray], dims: int) -> list[np.ndarray]:
    """Principal components of train, `[N, F]`, as features of train and of the others."""
    from sklearn.decomposition import PCA

    flat = [x.reshape(len(x), -1) for x in (train, *others)]
    model = PCA(min(dims, *flat[0].shape), random_state=0).fit(flat[0])
    return [model.transform(x) for x in flat]
