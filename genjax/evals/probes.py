"""Linear probes of unsupervised features, and PCA as a baseline."""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Probe:
    """Result of a linear classifier on features.

    Attributes:
      accuracy: test accuracy with the chosen strength, in [0, 1].
      std_error: standard error of the accuracy.
      strength: inverse penalty C, chosen on validation examples.
      validation: validation accuracy by strength.
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
    """Fits multinomial logistic regression with an L2 penalty on standardised features.

    Features are standardised by the training mean and deviation; constant features become 0.

    Args:
      train: features `[N, F]` and labels `[N]`.
      validation: examples that the strength is chosen on.
      test: examples of the reported accuracy.
      strengths: candidate values of C.
      steps: maximal number of iterations of L-BFGS.
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
    """Fits a linear one-vs-rest SVM with squared hinge loss; arguments as of `linear_probe`.

    Features are centred and divided by one common scale, so that pixels that are almost constant
    are not amplified, and liblinear converges ten times as fast.

    Source: Radford et al. 2016, "Unsupervised Representation Learning with Deep Convolutional
    Generative Adversarial Networks", section 5.1.
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
    """Fits a linear model of every strength, and chooses one on the validation examples.

    Features are centred and divided by `scale`; None is each feature's standard deviation.
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
            warnings.simplefilter("ignore", ConvergenceWarning)  # `steps` may stop it early
            fitted[strength] = make(strength).fit(x, train[1])
        scores[strength] = float(fitted[strength].score(scaled(validation[0]), validation[1]))
    best = max(strengths, key=lambda s: scores[s])
    accuracy = float(fitted[best].score(scaled(test[0]), test[1]))
    error = float(np.sqrt(accuracy * (1 - accuracy) / len(test[1])))
    return Probe(accuracy, error, best, scores)


def pca(train: np.ndarray, others: Sequence[np.ndarray], dims: int) -> list[np.ndarray]:
    """Projects train and the others on the principal components of train, `[N, dims]` each."""
    from sklearn.decomposition import PCA

    flat = [x.reshape(len(x), -1) for x in (train, *others)]
    model = PCA(min(dims, *flat[0].shape), random_state=0).fit(flat[0])
    return [model.transform(x) for x in flat]
