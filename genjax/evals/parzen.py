"""Parzen window estimate of the log-likelihood: the density is a mixture of Gaussians on samples.

Breuleux et al. 2011, "Quickly Generating Representative Samples from an RBM-Derived Process";
Goodfellow et al. 2014, "Generative Adversarial Nets", section 5, with the protocol of its authors'
script (parzen_ll.py).

The estimate has a large variance and is unreliable in high dimensions (Theis et al. 2016, "A Note
on the Evaluation of Generative Models", section 4.2); it serves to compare with published figures.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks
from genjax.evals.batching import padded
from genjax.evals.feature_extractor import check_images
from genjax.evals.metric_result import MetricResult

SIGMAS = tuple(float(s) for s in np.logspace(-1, 0, 10))  # the script's grid


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParzenResult(MetricResult):
    """Log-likelihood of test images; higher is better.

    Attributes:
      nats: mean over test images.
      std_error: standard deviation over test images divided by sqrt(N), as in the paper.
      sigma: width of the window, chosen on validation images.
      validation: mean nats of validation images by width.
      n_validation: number of validation images used.
    """

    FIGURE: ClassVar = ("nats", "std_error", "nats")

    nats: float
    std_error: float
    sigma: float
    validation: dict[float, float]
    n_validation: int


@jax.jit
def log_density(x: jax.Array, centres: jax.Array, sigmas: jax.Array) -> jax.Array:
    """Computes log mean_i N(x; s_i, sigma^2 I) by width: `[B, D], [N, D], [S] -> [S, B]` nats.

    Memory is `[B, N]`, independent of D.
    """
    n, d = centres.shape
    # Centred first: distances are the same, and float32 loses fewer digits.
    centre = centres.mean(axis=0, keepdims=True)
    x, c = x - centre, centres - centre
    dots = jnp.matmul(x, c.T, precision=jax.lax.Precision.HIGHEST)
    squares = (x**2).sum(-1)[:, None] + (c**2).sum(-1)[None] - 2 * dots  # [B, N]
    squares = jnp.maximum(squares, 0)

    def one(sigma: jax.Array) -> jax.Array:
        # Kernels of images underflow float32, so their logarithms are summed.
        kernels = jax.nn.logsumexp(-squares / (2 * sigma**2), axis=1) - math.log(n)
        return kernels - d * (jnp.log(sigma) + 0.5 * math.log(2 * math.pi))

    return jax.lax.map(one, sigmas)


def log_densities(
    x: np.ndarray, samples: np.ndarray, sigmas: Sequence[float], *, batch_size: int = 100
) -> np.ndarray:
    """Computes `log_density` of many images in batches, `[S, N]` float64."""
    checks.positive(sigmas=tuple(sigmas))
    flat, centres = (np.asarray(a, np.float32).reshape(len(a), -1) for a in (x, samples))
    fixed = jnp.asarray(centres), jnp.asarray(sigmas, jnp.float32)
    out = [
        np.asarray(log_density(jnp.asarray(parts["x"]), *fixed))[:, :n]
        for parts, n in padded({"x": flat}, batch_size)
    ]
    return np.concatenate(out, axis=1).astype(np.float64)


def parzen(
    samples: np.ndarray,
    validation: np.ndarray,
    test: np.ndarray,
    *,
    sigmas: Sequence[float] = SIGMAS,
    validation_limit: int = 1000,
    seed: int = 0,
) -> ParzenResult:
    """Computes the log-likelihood of test images, with the width chosen on validation images.

    The paper's protocol is 10,000 samples, MNIST's training images 50,000 to 50,999 for the width,
    and all 10,000 test images, as real numbers in [0, 1].

    Args:
      samples: samples of the model, `[N, *event]`.
      validation: real images not in the training set, `[V, *event]`.
      test: real images, `[T, *event]`.
      sigmas: candidate widths.
      validation_limit: number of validation images used, the first ones.
      seed: seed of the samples, for the result.

    Raises:
      ValueError: the shapes differ, a value is not finite, or a width is not positive.
    """
    check_images("parzen", samples=samples, validation=validation, test=test)
    checks.positive(validation_limit=validation_limit)
    selection = validation[:validation_limit]
    scores = log_densities(selection, samples, sigmas).mean(axis=1)
    best = int(scores.argmax())
    nats = log_densities(test, samples, [sigmas[best]])[0]
    return ParzenResult(
        nats=float(nats.mean()),
        std_error=float(nats.std() / math.sqrt(len(nats))),
        sigma=float(sigmas[best]),
        validation={float(s): float(v) for s, v in zip(sigmas, scores, strict=True)},
        n_validation=len(selection),
        n_real=len(test),
        n_fake=len(samples),
        extractor="pixels",
        seed=seed,
    )
