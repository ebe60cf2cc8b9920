"""A density detects what does not belong: by its value, and by its ratio to a background density.

Value alone fails in a well-known way: a density fitted to Fashion-MNIST gives MNIST's digits more
probability than its own test images (Nalisnick et al. 2019, "Do Deep Generative Models Know What
They Don't Know?"). The ratio to a density of the background takes away what any image shares.
"""

import jax
import numpy as np


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    """Area under the ROC curve: the chance that an inside score is above an outside one.

    Ties count half, so that equal scores give 0.5.

    Args:
      inside: scores of what belongs, `[N]`; higher means more at home.
      outside: scores of what does not, `[M]`.

    Raises:
      ValueError: a score is NaN, or one side is empty.
    """
    from sklearn.metrics import roc_auc_score

    scores = np.concatenate([inside, outside]).astype(np.float64)
    if not len(inside) or not len(outside) or np.isnan(scores).any():
        raise ValueError("auroc needs scores on both sides, none of them NaN.")
    # The ranks are what counts: an impossible image may have -inf.
    _, ranks = np.unique(scores, return_inverse=True)
    belongs = np.concatenate([np.ones(len(inside)), np.zeros(len(outside))])
    return float(roc_auc_score(belongs, ranks))


def mutate(x: jax.Array, key: jax.Array, rate: float) -> jax.Array:
    """Flip each pixel of binary images with probability `rate`: what a background model is fed.

    Source: Ren et al. 2019, "Likelihood Ratios for Out-of-Distribution Detection", section 3,
    with the mutation of a binary alphabet.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must be from 0 to 1, got {rate}.")
    flips = jax.random.bernoulli(key, rate, x.shape)
    return jax.numpy.where(flips, 1 - x, x)


def likelihood_ratio(log_prob: np.ndarray, background: np.ndarray) -> np.ndarray:
    """log p(x) - log p_background(x), `[N]` nats: what is probable beyond being an image.

    Source: Ren et al. 2019, equation 5.
    """
    return np.asarray(log_prob, np.float64) - np.asarray(background, np.float64)
