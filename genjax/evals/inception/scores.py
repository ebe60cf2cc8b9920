"""FID, KID and the Inception score, which are defined for the standard network only."""

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks
from genjax.evals.feature_extractor import Extractor, batches, check_images
from genjax.evals.frechet import FrechetResult, frechet
from genjax.evals.image_sets import ImageSet
from genjax.evals.inception.inception_v3 import InceptionV3, prepare
from genjax.evals.inception.pretrained import STANDARD, Inception
from genjax.evals.metric_result import MetricResult
from genjax.evals.mmd import MmdResult, kernel_distance

BATCH = 50


@jax.jit
def _run(variables: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Computes features and logits of images in [0, 1], rounded to 256 levels as in image files."""
    return InceptionV3().apply(variables, prepare(jnp.round(x * 255) / 255))


def _features(variables: Any, x: jax.Array) -> jax.Array:
    return _run(variables, x)[0]


def _scores(variables: Any, x: jax.Array) -> jax.Array:
    # The original code of the score omits the bias of the last layer.
    return _run(variables, x)[1] - variables["params"]["fc"]["bias"][None]


def extractor(network: Inception) -> Extractor:
    """Returns the extractor of the 2048 pooled features; images may be grey or RGB."""
    return Extractor(network.name, _features, network.variables, network.sha256[:8])


def _standard(metric: str, network: Any) -> Inception:
    """Returns the network, or raises ValueError if it is not the standard one."""
    if not isinstance(network, Inception):
        name = getattr(network, "name", type(network).__name__)
        raise ValueError(
            f"{metric} is defined for the standard Inception network only, not for {name}; use"
            f" frechet or kernel_distance, whose results have the extractor's name."
        )
    if not network.standard:
        raise ValueError(
            f"these weights are not the standard ones (SHA-256 {network.sha256[:12]}..., not"
            f" {STANDARD[:12]}...), so the result would not be {metric}; use"
            f" pt_inception-2015-12-05-6726825d.pth."
        )
    return network


def _check_shapes(metric: str, **sets: ImageSet) -> None:
    for name, x in sets.items():
        if len(np.shape(x)) != 4 or np.shape(x)[-1] not in (1, 3):
            raise ValueError(
                f"{metric}: {name} must be images [N, H, W, 1 or 3] in [0, 1], got"
                f" {list(np.shape(x))}."
            )
    check_images(metric, **sets)


def fid(
    real: ImageSet,
    fake: ImageSet,
    network: Inception,
    *,
    batch_size: int = BATCH,
    seed: int = 0,
) -> FrechetResult:
    """Computes the Frechet Inception distance (Heusel et al. 2017); lower is better.

    Its bias depends on the counts: compare values of equal counts only (usually 50,000 samples).

    Args:
      real: images in [0, 1], `[N, H, W, 1 or 3]`.
      fake: samples of the same shape.
      network: result of `load_inception`, with the standard weights.
      seed: seed of the samples, for the result.

    Raises:
      ValueError: the network is not the standard one, or the images have the wrong shape.
    """
    network = _standard("FID", network)
    _check_shapes("FID", real=real, fake=fake)
    result = frechet(real, fake, extractor(network), batch_size=batch_size, seed=seed)
    return dataclasses.replace(result, name="FID")


def kid(
    real: ImageSet,
    fake: ImageSet,
    network: Inception,
    *,
    subsets: int = 100,
    batch_size: int = BATCH,
    seed: int = 0,
) -> MmdResult:
    """Computes the kernel Inception distance over `subsets` of 1000 images; lower is better.

    All else is as in `fid`.

    Raises:
      ValueError: the network is not the standard one, or the images have the wrong shape.
    """
    network = _standard("KID", network)
    _check_shapes("KID", real=real, fake=fake)
    settings = {"subsets": subsets, "batch_size": batch_size, "seed": seed}
    result = kernel_distance(real, fake, extractor(network), **settings)
    return dataclasses.replace(result, name="KID")


@dataclasses.dataclass(frozen=True, kw_only=True)
class InceptionScoreResult(MetricResult):
    """Inception score, exp E_x KL(p(y | x) || p(y)), in [1, 1008].

    Attributes:
      mean: mean over splits; higher is better.
      spread: standard deviation over splits, the +- of papers.
      splits: number of parts that are scored separately.
    """

    FIGURE: ClassVar = ("mean", "", "")

    mean: float
    spread: float
    splits: int


def inception_score(
    fake: ImageSet,
    network: Inception,
    *,
    splits: int = 10,
    batch_size: int = BATCH,
    seed: int = 0,
) -> InceptionScoreResult:
    """Computes the Inception score of samples in [0, 1], `[N, H, W, 1 or 3]`.

    Raises:
      ValueError: the network is not the standard one, or there are fewer samples than splits.

    Source: Salimans et al. 2016, "Improved Techniques for Training GANs", section 4: 50,000 samples
    in 10 splits.
    """
    network = _standard("the Inception score", network)
    _check_shapes("the Inception score", fake=fake)
    parts = batches(_scores, network.variables, fake, batch_size)
    mean, spread = score_of(np.concatenate(list(parts)), splits)
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
    """Computes mean and deviation over splits of exp E_x KL(p(y | x) || p(y)), `[N, classes]`.

    >>> score_of(np.eye(4) * 1000, 1)  # certain, and a different class for each sample
    (4.0, 0.0)
    """
    checks.positive(splits=splits)
    if len(logits) < splits:
        raise ValueError(
            f"{len(logits)} samples are too few for {splits} splits; draw more samples."
        )
    log_p = np.asarray(jax.nn.log_softmax(jnp.asarray(logits, jnp.float32)), np.float64)
    scores = []
    for i in range(splits):
        part = log_p[i * len(log_p) // splits : (i + 1) * len(log_p) // splits]
        p = np.exp(part)
        # A class without samples contributes 0 log 0 = 0.
        log_mean = np.log(np.maximum(p.mean(axis=0), np.finfo(np.float64).tiny))
        scores.append(math.exp((p * (part - log_mean)).sum(axis=1).mean()))
    return float(np.mean(scores)), float(np.std(scores))
