"""The Parzen window against quadrature and a loop in float64; the protocol."""

import math

import numpy as np
import pytest
from scipy.special import logsumexp

from genjax.evals import parzen
from genjax.evals.parzen import SIGMAS, log_densities

RNG = np.random.default_rng(0)


def loop(x, samples, sigma):
    """Computes log mean_i N(x; s_i, sigma^2 I), one test image and one centre at a time."""
    out = []
    for a in np.float64(x).reshape(len(x), -1):
        kernels = [
            -((a - s) ** 2).sum() / (2 * sigma**2)
            - len(a) * (math.log(sigma) + 0.5 * math.log(2 * math.pi))
            for s in np.float64(samples).reshape(len(samples), -1)
        ]
        out.append(logsumexp(kernels) - math.log(len(kernels)))
    return np.array(out)


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("sigma", [0.1, 0.4, 1.0])
def test_the_density_integrates_to_one(dims, sigma):
    centres = RNG.uniform(0, 1, (7, dims))
    line = np.linspace(-6, 7, 1301 if dims == 1 else 261)
    points = np.stack(np.meshgrid(*[line] * dims, indexing="ij"), -1).reshape(-1, dims)
    density = np.exp(log_densities(points, centres, [sigma], batch_size=20_000)[0])
    assert density.sum() * (line[1] - line[0]) ** dims == pytest.approx(1, abs=2e-5)


@pytest.mark.parametrize("batch_size", [1, 4, 7, 500])
def test_images_against_a_loop_in_float64(batch_size):
    # 784 pixels at the smallest width: all kernels underflow float32.
    samples = RNG.uniform(0, 1, (40, 28, 28, 1)).astype(np.float32)
    x = np.clip(samples[:7] + RNG.normal(0, 0.2, (7, 28, 28, 1)), 0, 1).astype(np.float32)
    got = log_densities(x, samples, [0.1, 0.5], batch_size=batch_size)
    assert got.shape == (2, 7)
    for row, sigma in zip(got, [0.1, 0.5], strict=True):
        want = loop(x, samples, sigma)
        np.testing.assert_allclose(row, want, atol=5e-3, rtol=1e-6)
    assert loop(x, samples, 0.1).max() - 784 * math.log(10) < -700  # exp() of it is 0


def test_precision_far_from_zero():
    samples, x = RNG.normal(300, 1, (30, 5)), RNG.normal(300, 1, (6, 5))
    got = log_densities(x, samples, [0.3])[0]
    np.testing.assert_allclose(got, loop(np.float32(x), np.float32(samples), 0.3), atol=2e-3)


def test_default_widths_are_the_papers():
    np.testing.assert_allclose(SIGMAS, 10.0 ** np.linspace(-1, 0, 10), rtol=1e-12)


def test_the_width_is_chosen_on_the_first_validation_images_only():
    samples = RNG.uniform(0, 1, (50, 6))
    near = samples[:20] + RNG.normal(0, 0.1, (20, 6))
    far = RNG.uniform(0, 1, (60, 6)) + 0.5
    scores = [loop(near, samples, s).mean() for s in SIGMAS]
    # The other validation images, and test, would select a larger width.
    assert np.argmax(scores) < np.argmax([loop(far, samples, s).mean() for s in SIGMAS])
    result = parzen(samples, np.concatenate([near, far]), far, validation_limit=20, seed=4)
    assert result.sigma == SIGMAS[int(np.argmax(scores))]
    np.testing.assert_allclose(list(result.validation.values()), scores, rtol=1e-3)
    assert list(result.validation) == list(SIGMAS)
    want = loop(far, samples, result.sigma)
    assert result.nats == pytest.approx(want.mean(), rel=1e-4)
    assert result.std_error == pytest.approx(want.std() / math.sqrt(60), rel=1e-4)
    assert (result.n_real, result.n_fake, result.n_validation) == (60, 50, 20)
    assert (result.extractor, result.seed) == ("pixels", 4)


def test_rejects_invalid_images_and_widths():
    x = RNG.uniform(0, 1, (5, 4))
    with pytest.raises(ValueError, match=r"differ in shape, samples \[3\], validation \[4\]"):
        parzen(x[:, :3], x, x)
    with pytest.raises(ValueError, match="test has values that are not finite"):
        parzen(x, x, np.where(x > x.mean(), np.nan, x))
    with pytest.raises(ValueError, match="`sigmas` must be positive"):
        parzen(x, x, x, sigmas=[0.0, 1.0])
