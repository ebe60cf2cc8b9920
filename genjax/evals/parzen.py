"""The Parzen window: the log-likelihood that papers on GANs once printed.

A Gaussian is put on every sample, and the average of all of them is the density under which test
images are scored. Breuleux et al. 2011, "Quickly Generating Representative Samples from an
RBM-Derived Process"; Goodfellow et al. 2014, "Generative Adversarial Nets", section 5, by the
protocol of the script that its authors released (parzen_ll.py).

The number has a large variance and says little in high dimensions, as the paper itself warns
(Theis et al. 2016, "A Note on the Evaluation of Generative Models", section 4.2, shows how much):
it is here to be compared with the paper's.
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

    nats: mean over test images.
    std_error: their standard deviation over sqrt(N), as the paper prints it.
    sigma: width of the window, chosen on validation.
    validation: mean nats there, by width.
    n_validation: images it was chosen on.
    """

    FIGURE: ClassVar = ("nats", "std_error", "nats")

    nats: float
    std_error: float
    sigma: float
    validation: dict[float, float]
    n_validation: int


@jax.jit
def log_density(x: jax.Array, centres: jax.Array, sigmas: jax.Array) -> jax.Array:
    """log mean_i N(x; s_i, sigma^2 I) for every width: `[B, D], [N, D], [S] -> [S, B]` nats.

    Holds `[B, N]` numbers, whatever D is.
    """
    n, d = centres.shape
    # Distances do not change when both are moved, and small numbers lose fewer digits.
    middle = centres.mean(axis=0, keepdims=True)
    x, c = x - middle, centres - middle
    dots = jnp.matmul(x, c.T, precision=jax.lax.Precision.HIGHEST)
    squares = (x**2).sum(-1)[:, None] + (c**2).sum(-1)[None] - 2 * dots  # [B, N]
    squares = jnp.maximum(squares, 0)

    def one(sigma: jax.Array) -> jax.Array:
        # Every kernel is below the smallest float32 for images: only their logarithms are summed.
        kernels = jax.nn.logsumexp(-squares / (2 * sigma**2), axis=1) - math.log(n)
        return kernels - d * (jnp.log(sigma) + 0.5 * math.log(2 * math.pi))

    return jax.lax.map(one, sigmas)


def log_densities(
    x: np.ndarray, samples: np.ndarray, sigmas: Sequence[float], *, batch_size: int = 100
) -> np.ndarray:
    """`log_density` of many images, `[S, N]` float64, in constant memory."""
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
    batch_size: int = 100,
    seed: int = 0,
) -> ParzenResult:
    """Fit the window on samples, choose its width on validation, score test.

    The paper's protocol is 10,000 samples, the first 1000 of MNIST's training images 50,000 to
    59,999 for the width, and all 10,000 test images, as real numbers in [0, 1].

    Args:
      samples: of the model, `[N, *event]`.
      validation: real images that the model was not trained on, `[V, *event]`.
      test: real images, `[T, *event]`.
      sigmas: widths that are tried.
      validation_limit: only so many of the first validation images are looked at.
      batch_size: test images scored together.
      seed: of the samples' draw; nothing is drawn here.

    Raises:
      ValueError: the shapes do not agree, a number is not finite, or a width is not above 0.
    """
    check_images("parzen", samples=samples, validation=validation, test=test)
    checks.positive(validation_limit=validation_limit)
    chosen_on = validation[:validation_limit]
    scores = log_densities(chosen_on, samples, sigmas, batch_size=batch_size).mean(axis=1)
    best = int(scores.argmax())
    nats = log_densities(test, samples, [sigmas[best]], batch_size=batch_size)[0]
    return ParzenResult(
        nats=float(nats.mean()),
        std_error=float(nats.std() / math.sqrt(len(nats))),
        sigma=float(sigmas[best]),
        validation={float(s): float(v) for s, v in zip(sigmas, scores, strict=True)},
        n_validation=len(chosen_on),
        n_real=len(test),
        n_fake=len(samples),
        extractor="pixels",
        seed=seed,
    )
