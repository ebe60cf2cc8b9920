"""Linear probes of unsupervised features, and PCA as a baseline."""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from genjax.evals.metric_result import binomial_error


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
) -> Probe:
    """Fits multinomial logistic regression with an L2 penalty on standardised features.

    Features are standardised by the training mean and deviation.

    Args:
      train: features `[N, F]` and labels `[N]`.
      validation: examples that the strength is chosen on.
      test: examples of the reported accuracy.
      strengths: candidate values of C.
    """
    from sklearn.linear_model import LogisticRegression

    models = {c: LogisticRegression(C=c, max_iter=300) for c in strengths}
    return _fitted(models, train, validation, test, train[0].std(axis=0))


def linear_svm(
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    *,
    strengths: Sequence[float] = (1e-4, 1e-3, 1e-2, 0.1),
    steps: int = 1000,
) -> Probe:
    """Fits a linear one-vs-rest SVM with squared hinge loss; arguments as of `linear_probe`.

    Features are centred and divided by one common scale, which does not amplify pixels that are
    almost constant.

    Source: Radford et al. 2016, "Unsupervised Representation Learning with Deep Convolutional
    Generative Adversarial Networks", section 5.1.
    """
    from sklearn.svm import LinearSVC

    models = {c: LinearSVC(C=c, max_iter=steps, dual="auto", random_state=0) for c in strengths}
    return _fitted(models, train, validation, test, (train[0] - train[0].mean(axis=0)).std())


def _fitted(
    models: dict[float, Any],
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    scale: Any,
) -> Probe:
    """Fits the model of every strength, and chooses one on the validation examples.

    Features are centred and divided by `scale`; constant features become 0.
    """
    from sklearn.exceptions import ConvergenceWarning

    mean = train[0].mean(axis=0)
    scale = np.where(scale > 0, scale, 1)

    def scaled(x: np.ndarray) -> np.ndarray:
        return ((x - mean) / scale).astype(np.float32)

    x, scores = scaled(train[0]), {}
    for strength, model in models.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # `max_iter` may stop it early
            model.fit(x, train[1])
        scores[strength] = float(model.score(scaled(validation[0]), validation[1]))
    best = max(scores, key=lambda s: scores[s])
    accuracy = float(models[best].score(scaled(test[0]), test[1]))
    return Probe(accuracy, binomial_error(accuracy, len(test[1])), best, scores)


def pca(train: np.ndarray, others: Sequence[np.ndarray], dims: int) -> list[np.ndarray]:
    """Projects train and the others on the principal components of train, `[N, dims]` each."""
    from sklearn.decomposition import PCA

    flat = [x.reshape(len(x), -1) for x in (train, *others)]
    model = PCA(min(dims, *flat[0].shape), random_state=0).fit(flat[0])
    return [model.transform(x) for x in flat]
