"""Gaussians of full covariance against SciPy and numerical integration."""

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest
import scipy.stats

from genjax import losses


def draw(seed, batch=4, size=3):
    """Returns x, mean and a factor whose upper triangle must be ignored."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(batch, size, size)) * 0.5
    lower = np.tril(factor, -1) + np.exp(rng.normal(size=(batch, size)) * 0.5)[:, None] * np.eye(
        size
    )
    return (*rng.normal(size=(2, batch, size)), lower, lower + np.triu(factor, 1))


def test_nll_equals_scipy():
    x, mean, lower, given = draw(0)
    want = [
        -scipy.stats.multivariate_normal(m, f @ f.T).logpdf(v)
        for v, m, f in zip(x, mean, lower, strict=True)
    ]
    got = losses.gaussian_cholesky_nll(*map(jnp.asarray, (x, mean, given)))
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_kl_equals_the_integral():
    """Integrates p log(p / q) over a plane by the trapezoidal rule."""
    _, mean, lower, given = draw(1, size=2)
    line = np.linspace(-14, 14, 561)
    points = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1)
    prior = scipy.stats.multivariate_normal(np.zeros(2)).logpdf(points)
    want = []
    for m, f in zip(mean, lower, strict=True):
        log_p = scipy.stats.multivariate_normal(m, f @ f.T).logpdf(points)
        inner = np.trapezoid(np.exp(log_p) * (log_p - prior), line, axis=1)
        want.append(np.trapezoid(inner, line))
    got = losses.gaussian_cholesky_kl(jnp.asarray(mean), jnp.asarray(given))
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_diagonal_factor_equals_the_diagonal_gaussian():
    x, mean, log_std = np.random.default_rng(2).normal(size=(3, 4, 3)).astype(np.float32)
    factor = jax.vmap(jnp.diag)(jnp.exp(log_std))
    np.testing.assert_allclose(
        losses.gaussian_cholesky_nll(x, mean, factor),
        losses.gaussian_nll(x, mean, log_std=log_std),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        losses.gaussian_cholesky_kl(mean, factor),
        losses.gaussian_kl(mean, log_std=log_std),
        rtol=1e-5,
    )


def test_gradients_to_second_order():
    x, mean, _, given = draw(3, batch=2)
    with jax.enable_x64(True):
        args = tuple(map(jnp.asarray, (x, mean, given)))
        jax.test_util.check_grads(jax.jit(losses.gaussian_cholesky_nll), args, 1, ("rev",))
        jax.test_util.check_grads(jax.jit(losses.gaussian_cholesky_kl), args[1:], 1, ("rev",))


def test_bits_of_dequantised_data_count_the_levels():
    """A uniform density on [0, 1) has log2(256) bits per dimension."""
    assert float(losses.bits_per_dim(0.0, 12, levels=256)) == 8.0
    density = losses.bits_per_dim(-12 * np.log(4), 12, levels=256)  # four times as dense
    assert float(density) == pytest.approx(6.0, rel=1e-6)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (
            ((2, 3), (2, 3), (2, 3)),
            r"cholesky \[B, Z, Z\], got float32\[2, 3\] and float32\[2, 3\]",
        ),
        (((2, 3), (2, 3), (3, 3)), r"cholesky \[B, Z, Z\]"),
        (((2, 1), (2, 3), (2, 3, 3)), "same shape, got x"),
    ],
)
def test_rejects_invalid_arguments(shapes, message):
    x, mean, cholesky = (np.zeros(s, np.float32) for s in shapes)
    with pytest.raises(ValueError, match=message):
        losses.gaussian_cholesky_nll(x, mean, cholesky)
