"""FID, KID and the Inception score: definitions, and rejection of other networks."""

import functools
import math

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax
from support.inception_numbers import random_tensors

from genjax.evals import (
    PIXELS,
    Moments,
    fid,
    frechet,
    frechet_distance,
    inception_score,
    kid,
    mmd2,
)
from genjax.evals.inception import prepare, pretrained, scores
from genjax.evals.inception.scores import score_of

RNG = np.random.default_rng(0)
REAL, FAKE = (RNG.uniform(0, 1, (6, 20, 20, 3)).astype(np.float32) for _ in range(2))


@pytest.fixture(scope="module")
def network():
    """Random weights with the standard file's hash, so that all metrics can be computed."""
    shapes = {name: shape for name, (_, shape) in pretrained.table().items()}
    return pretrained.from_tensors(random_tensors(shapes), pretrained.STANDARD)


@pytest.fixture(scope="module", autouse=True)
def smaller():
    """Resizes to a quarter of the side, for speed."""
    patch = pytest.MonkeyPatch()
    patch.setattr(scores, "prepare", functools.partial(prepare, side=75))
    scores._run.clear_cache()
    yield
    patch.undo()
    scores._run.clear_cache()


@pytest.fixture(scope="module")
def activations(network):
    """Features and logits without bias of both sets, which test_inception_v3.py verifies."""
    result = [scores._run(network.variables, jnp.asarray(x)) for x in (REAL, FAKE)]
    bias = np.asarray(network.variables["params"]["fc"]["bias"])
    return [(np.float64(f), np.float64(np.asarray(s) - bias)) for f, s in result]


def test_rejects_other_extractors_and_weights(network):
    other = pretrained.Inception(network.variables, "a" * 64)
    same = scores.extractor(network)  # its features as a general extractor
    for metric, arguments in ((fid, (REAL, FAKE)), (kid, (REAL, FAKE)), (inception_score, (FAKE,))):
        for extractor in (PIXELS, same):
            with pytest.raises(ValueError, match=f"network only, not for {extractor.name}; use"):
                metric(*arguments, extractor)
        with pytest.raises(ValueError, match=r"weights are not the standard ones \(SHA-256 aaaa"):
            metric(*arguments, other)
    # Other metrics accept it under its own name.
    assert scores.extractor(other).name == "inception_aaaaaaaa"


def test_fid_and_kid_equal_the_distances_of_the_features(network, activations):
    (a, _), (b, _) = activations
    result = fid(REAL, FAKE, network, batch_size=6, seed=3)
    want = frechet_distance(Moments.of(a), Moments.of(b))
    assert result.distance == pytest.approx(want, rel=1e-4)
    assert want > 0
    assert (result.name, result.features, result.n_real, result.n_fake) == ("FID", 2048, 6, 6)
    assert result.extractor == "inception:6726825d"
    assert fid(REAL, REAL, network, batch_size=6).distance < 1e-6 * want
    near = kid(REAL, FAKE, network, subsets=2, batch_size=6)
    assert near.name == "KID"
    assert near.mean == pytest.approx(mmd2(a, b), rel=1e-3)


def test_the_same_features_under_another_name_are_not_fid(network):
    named = frechet(REAL, FAKE, scores.extractor(network), batch_size=6)
    assert named.name == "inception_frechet"


def test_the_score_omits_the_bias(network, activations):
    logits = activations[1][1]
    p = softmax(logits, axis=1)
    want = math.exp((p * np.log(p / p.mean(axis=0))).sum(axis=1).mean())
    result = inception_score(FAKE, network, splits=1, batch_size=6)
    assert result.mean - 1 == pytest.approx(want - 1, rel=2e-3)
    biased = softmax(logits + np.asarray(network.variables["params"]["fc"]["bias"]), axis=1)
    other = math.exp((biased * np.log(biased / biased.mean(axis=0))).sum(axis=1).mean())
    assert abs((other - 1) / (want - 1) - 1) > 0.01, "the bias would not be seen"
    assert (result.n_real, result.n_fake, result.splits, result.spread) == (0, 6, 1, 0.0)


def test_images_are_rounded_to_256_levels(network):
    levels = np.round(FAKE * 255)
    moved = ((levels + RNG.uniform(-0.45, 0.45, levels.shape)) / 255).clip(0, 1).astype(np.float32)
    a, b = (np.asarray(scores._run(network.variables, jnp.asarray(x))[0]) for x in (FAKE, moved))
    np.testing.assert_array_equal(a, b)


def test_grey_images_are_repeated_to_three_channels():
    grey = REAL[..., :1]
    np.testing.assert_array_equal(prepare(grey), prepare(np.repeat(grey, 3, axis=-1)))
    assert prepare(jnp.asarray(grey)).shape == (6, 299, 299, 3)


def test_splits_are_scored_separately():
    logits = RNG.normal(size=(23, 5)) * 3
    result = []
    for part in (logits[:7], logits[7:15], logits[15:]):  # 23 // 3, 46 // 3, 69 // 3
        p = softmax(part, axis=1)
        result.append(math.exp((p * np.log(p / p.mean(axis=0))).sum(axis=1).mean()))
    mean, spread = score_of(logits, 3)
    assert mean == pytest.approx(np.mean(result), rel=1e-5)
    assert spread == pytest.approx(np.std(result), rel=1e-4)
    # One class for all scores 1; extreme logits stay finite.
    assert score_of(np.tile([1e4, 0, -1e4], (8, 1)), 2) == pytest.approx((1.0, 0.0))
    with pytest.raises(ValueError, match="2 samples are too few for 3 splits"):
        score_of(logits[:2], 3)


def test_rejects_other_shapes(network):
    with pytest.raises(ValueError, match=r"FID: real must be images \[N, H, W, 1 or 3\]"):
        fid(REAL[..., :2], FAKE, network)
    with pytest.raises(ValueError, match=r"FID: real must be images .* got \[6, 1200\]"):
        fid(REAL.reshape(6, -1), FAKE, network)
    with pytest.raises(ValueError, match="the images differ in shape"):
        kid(REAL, FAKE[:, :10], network)
