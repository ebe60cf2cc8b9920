"""Out-of-distribution detection by a density, or by its ratio to a background density.

The density alone can fail: one fitted to Fashion-MNIST assigns MNIST digits a higher probability
than its own test images (Nalisnick et al. 2019, "Do Deep Generative Models Know What They Don't
Know?"). The ratio cancels what all images have in common.
"""

import jax
import numpy as np


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    """Computes the area under the ROC curve, P(inside score > outside score), in [0, 1].

    Ties count half. Scores are `[N]` of in-distribution and `[M]` of out-of-distribution examples.

    Raises:
      ValueError: a score is NaN, or one side is empty.
    """
    from sklearn.metrics import roc_auc_score

    scores = np.concatenate([inside, outside]).astype(np.float64)
    if not len(inside) or not len(outside) or np.isnan(scores).any():
        raise ValueError("auroc needs scores on both sides, none of them NaN.")
    # Ranks, because an impossible image has score -inf.
    _, ranks = np.unique(scores, return_inverse=True)
    labels = np.concatenate([np.ones(len(inside)), np.zeros(len(outside))])
    return float(roc_auc_score(labels, ranks))


def mutate(x: jax.Array, key: jax.Array, rate: float) -> jax.Array:
    """Flips each pixel of binary images with probability `rate`, to train a background density.

    Source: Ren et al. 2019, "Likelihood Ratios for Out-of-Distribution Detection", section 3.

    Raises:
      ValueError: the rate is outside [0, 1].
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must be from 0 to 1, got {rate}.")
    flips = jax.random.bernoulli(key, rate, x.shape)
    return jax.numpy.where(flips, 1 - x, x)


def likelihood_ratio(log_prob: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Computes log p(x) - log p_background(x), `[N]` nats.

    Source: Ren et al. 2019, equation 5.
    """
    return np.asarray(log_prob, np.float64) - np.asarray(background, np.float64)
