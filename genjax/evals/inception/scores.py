"""FID, KID and the Inception score, of the standard network and of no other."""

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks
from genjax.evals.feature_extractor import Extractor, batches, check_images
from genjax.evals.frechet import FrechetResult, frechet
from genjax.evals.inception.inception_v3 import InceptionV3, prepare
from genjax.evals.inception.pretrained import STANDARD, Inception
from genjax.evals.metric_result import MetricResult
from genjax.evals.mmd import MmdResult, kernel_distance

BATCH = 50


@jax.jit
def _run(variables: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Features and logits of images in [0, 1], rounded to the 256 levels that files hold."""
    return InceptionV3().apply(variables, prepare(jnp.round(x * 255) / 255))


def _features(variables: Any, x: jax.Array) -> jax.Array:
    return _run(variables, x)[0]


def _scores(variables: Any, x: jax.Array) -> jax.Array:
    # The score's own code multiplies the features with the last layer and leaves its bias out.
    return _run(variables, x)[1] - variables["params"]["fc"]["bias"][None]


def extractor(network: Inception) -> Extractor:
    """The 2048 features after the last average; images may be grey or coloured."""
    return Extractor(network.name, _features, network.variables, network.sha256[:8])


def _standard(metric: str, network: Any) -> Inception:
    """The one door to the three names.

    Raises:
      ValueError: it is another extractor, or the network with other numbers.
    """
    if not isinstance(network, Inception):
        name = getattr(network, "name", type(network).__name__)
        raise ValueError(
            f"{metric} is measured with the standard Inception network alone, not with {name}; use"
            f" frechet or kernel_distance, whose results bear the extractor's own name."
        )
    if not network.standard:
        raise ValueError(
            f"these weights are not the standard ones (SHA-256 {network.sha256[:12]}..., not"
            f" {STANDARD[:12]}...), so this is no {metric}; take"
            f" pt_inception-2015-12-05-6726825d.pth."
        )
    return network


def _check_pictures(metric: str, **sets: np.ndarray) -> None:
    for name, x in sets.items():
        if np.ndim(x) != 4 or np.shape(x)[-1] not in (1, 3):
            raise ValueError(
                f"{metric}: {name} must be pictures [N, H, W, 1 or 3] in [0, 1], got"
                f" {list(np.shape(x))}."
            )
    check_images(metric, **sets)


def fid(
    real: np.ndarray,
    fake: np.ndarray,
    network: Inception,
    *,
    batch_size: int = BATCH,
    seed: int = 0,
) -> FrechetResult:
    """Frechet Inception distance; lower is better.

    Heusel et al. 2017. Its bias depends on the counts: compare figures of equal counts only
    (usually 50,000 samples).

    Args:
      real: pictures in [0, 1], `[N, H, W, 1 or 3]`.
      fake: samples, of the same shape.
      network: of `load_inception`, with the standard weights.
      batch_size: pictures at a time.
      seed: of the samples' draw; nothing is drawn here.

    Raises:
      ValueError: any other extractor or weights; pictures of other shapes.
    """
    network = _standard("FID", network)
    _check_pictures("FID", real=real, fake=fake)
    found = frechet(real, fake, extractor(network), batch_size=batch_size, seed=seed)
    return dataclasses.replace(found, name="FID")


def kid(
    real: np.ndarray,
    fake: np.ndarray,
    network: Inception,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    batch_size: int = BATCH,
    seed: int = 0,
) -> MmdResult:
    """Kernel Inception distance; lower is better. Arguments as of `fid` and `kernel_distance`.

    Raises:
      ValueError: any other extractor or weights; pictures of other shapes.
    """
    network = _standard("KID", network)
    _check_pictures("KID", real=real, fake=fake)
    found = kernel_distance(
        real,
        fake,
        extractor(network),
        subsets=subsets,
        subset_size=subset_size,
        batch_size=batch_size,
        seed=seed,
    )
    return dataclasses.replace(found, name="KID")


@dataclasses.dataclass(frozen=True, kw_only=True)
class InceptionScoreResult(MetricResult):
    """exp of the mean KL from each sample's classes to those of all samples; from 1 to 1008.

    mean: over splits; higher is better.
    spread: standard deviation over splits, printed after the sign in papers.
    splits: parts of the samples, each scored by itself.
    """

    FIGURE: ClassVar = ("mean", "", "")

    mean: float
    spread: float
    splits: int


def inception_score(
    fake: np.ndarray,
    network: Inception,
    *,
    splits: int = 10,
    batch_size: int = BATCH,
    seed: int = 0,
) -> InceptionScoreResult:
    """Inception score of samples in [0, 1], `[N, H, W, 1 or 3]`.

    Salimans et al. 2016, "Improved Techniques for Training GANs", section 4: 50,000 samples in 10
    splits.

    Raises:
      ValueError: any other extractor or weights; fewer samples than splits.
    """
    network = _standard("the Inception score", network)
    _check_pictures("the Inception score", fake=fake)
    found = batches(_scores, network.variables, fake, batch_size)
    mean, spread = score_of(np.concatenate(list(found)), splits)
    return InceptionScoreResult(
        mean=mean,
        spread=spread,
        splits=splits,
        n_real=0,
        n_fake=len(fake),
        extractor=extractor(network).label,
        seed=seed,
    )


def score_of(logits: np.ndarray, splits: int) -> tuple[float, float]:
    """exp E_x KL(p(y | x) || p(y)) of logits `[N, classes]`: mean and spread over splits.

    >>> one_each = np.eye(4) * 1000  # certain of each sample, and of another class each time
    >>> score_of(one_each, 1)
    (4.0, 0.0)
    """
    checks.positive(splits=splits)
    if len(logits) < splits:
        raise ValueError(f"{len(logits)} samples cannot be cut into {splits} splits.")
    log_p = np.asarray(jax.nn.log_softmax(jnp.asarray(logits, jnp.float32)), np.float64)
    found = []
    for i in range(splits):
        part = log_p[i * len(log_p) // splits : (i + 1) * len(log_p) // splits]
        p = np.exp(part)
        # Classes that nobody has add nothing: 0 log 0 is 0.
        log_mean = np.log(np.maximum(p.mean(axis=0), np.finfo(np.float64).tiny))
        found.append(math.exp((p * (part - log_mean)).sum(axis=1).mean()))
    return float(np.mean(found)), float(np.std(found))
