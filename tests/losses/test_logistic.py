"""The discretised logistic: probabilities of levels, in the centre and in both tails."""

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest
import scipy.stats

from genjax.losses import discretized_logistic_nats, discretized_logistic_nll


def nats(x, mean, log_scale, levels=256):
    return discretized_logistic_nats(x, mean, log_scale=log_scale, levels=levels)


nats_of = jax.jit(nats, static_argnames="levels")


def edges(levels):
    """Returns lower and upper edges of the levels in [-1, 1], float64; the outer are infinite."""
    centres = np.linspace(-1, 1, levels)
    half = 1 / (levels - 1)
    low, high = centres - half, centres + half
    low[0], high[-1] = -np.inf, np.inf
    return low, high


@pytest.mark.parametrize("levels", [2, 5, 256])
def test_equals_the_mass_of_the_logistic_in_each_bin(levels):
    low, high = edges(levels)
    x = np.arange(levels)
    for mean, log_scale in [(0.1, -1.0), (-0.7, -3.0), (1.4, 0.5)]:
        law = scipy.stats.logistic(mean, np.exp(log_scale))
        # From the smaller of cdf and survival function, for precision.
        want = np.where(low > mean, law.sf(low) - law.sf(high), law.cdf(high) - law.cdf(low))
        seen = want > 1e-30
        full = jnp.full((levels,), 1.0)
        got = nats_of(jnp.asarray(x, jnp.float32), mean * full, log_scale * full, levels=levels)
        np.testing.assert_allclose(np.asarray(got)[seen], -np.log(want[seen]), rtol=2e-5, atol=1e-6)
        assert seen.sum() >= levels // 2


@pytest.mark.parametrize("levels", [2, 5, 256])
def test_probabilities_of_all_levels_sum_to_one(levels):
    means, scales = np.meshgrid([-3.0, -1.0, -0.31, 0.0, 0.5, 1.0, 40.0], [-9, -5, -1, 0, 4, 30.0])
    shape = (levels, means.size)
    x = np.broadcast_to(np.arange(levels)[:, None], shape)
    mean = jnp.asarray(np.broadcast_to(means.reshape(1, -1), shape), jnp.float32)
    log_scale = jnp.asarray(np.broadcast_to(scales.reshape(1, -1), shape), jnp.float32)
    each = nats_of(jnp.asarray(x, jnp.float32), mean, log_scale, levels=levels)
    assert float(each.min()) >= 0
    np.testing.assert_allclose(np.exp(-np.asarray(each, np.float64)).sum(axis=0), 1, rtol=1e-4)


@pytest.mark.parametrize("side", [1, -1])
def test_is_linear_with_a_gradient_in_the_tails(side):
    """A difference of two sigmoids would underflow, and log(0 + eps) has no gradient."""
    scale, distance = np.exp(-4.0), 30.0
    x = jnp.array([100.0])
    centre = 200 / 255 - 1
    mean = jnp.array([centre + side * distance], jnp.float32)

    def total(mean, log_scale):
        return nats(x, mean, log_scale).sum()

    value, (d_mean, d_scale) = jax.value_and_grad(total, (0, 1))(mean, jnp.full((1,), -4.0))
    width = 2 / 255 / scale
    # exp(-near) - exp(-far) of the two edges: near - log(1 - exp(-width)).
    want = (distance - 1 / 255) / scale - np.log(-np.expm1(-width))
    assert float(value) == pytest.approx(want, rel=1e-5)
    assert float(d_mean[0]) == pytest.approx(side / scale, rel=1e-4)  # towards x
    assert float(d_scale[0]) == pytest.approx(
        -distance / scale, rel=1e-2
    )  # and increases the scale


@pytest.mark.parametrize("log_scale", [-80.0, -30.0, -4.0, 20.0, 60.0, 85.0])
@pytest.mark.parametrize("level", [0, 1, 128, 254, 255])
@pytest.mark.parametrize("mean", [-1e3, -1.0, 0.0, 1e3])
def test_values_and_gradients_are_finite_at_the_extremes(level, mean, log_scale):
    x = jnp.array([float(level)])
    value, grads = jax.value_and_grad(lambda m, s: nats(x, m, s).sum(), (0, 1))(
        jnp.array([mean]), jnp.array([log_scale])
    )
    assert np.isfinite(value)
    assert value >= 0
    assert all(np.isfinite(g).all() for g in grads)


def test_a_large_scale_is_uniform_in_the_centre():
    """1 - exp(-width) would be 0 for a width of 1e-30."""
    value, slope = jax.value_and_grad(lambda s: nats(jnp.array([100.0]), jnp.zeros(1), s).sum())(
        jnp.full((1,), 60.0)
    )
    assert float(value) == pytest.approx(60 + np.log(4) - np.log(2 / 255), rel=1e-6)
    assert float(slope[0]) == pytest.approx(1.0, rel=1e-5)


def test_series_and_closed_form_agree_at_their_boundary():
    """Continuous in value and gradient near width 0.01."""
    at = -np.log(1e-2 * 255 / 2)
    log_scale = jnp.asarray(at + np.linspace(-0.01, 0.01, 101), jnp.float32)
    x, mean = jnp.full((101,), 100.0), jnp.full((101,), -0.2)
    law = scipy.stats.logistic(-0.2, np.exp(np.asarray(log_scale, np.float64)))
    low, high = (e[100] for e in edges(256))
    got = nats_of(x, mean, log_scale)
    np.testing.assert_allclose(got, -np.log(law.cdf(high) - law.cdf(low)), rtol=3e-6)
    slope = jax.grad(lambda s: nats(x, mean, s).sum())(log_scale)
    assert np.abs(np.diff(np.asarray(slope))).max() < 1e-3


def test_gradients_to_second_order():
    rng = np.random.default_rng(0)
    x = jnp.asarray([0.0, 3.0, 128.0, 254.0, 255.0])
    with jax.enable_x64(True):
        args = (jnp.asarray(rng.normal(size=5)), jnp.asarray(rng.normal(size=5) - 2))
        jax.test_util.check_grads(jax.jit(lambda m, s: nats(x, m, s)), args, 2, ("fwd", "rev"))


def test_uint8_and_float_levels_are_equal_and_pixels_are_summed():
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, size=(4, 2, 3)).astype(np.uint8)
    mean, log_scale = jnp.asarray(rng.normal(size=(2, 4, 2, 3)), jnp.float32)
    each = nats_of(jnp.asarray(x, jnp.float32), mean, log_scale)
    np.testing.assert_array_equal(nats_of(x, mean, log_scale), each)
    total = discretized_logistic_nll(x, mean, log_scale=log_scale)
    np.testing.assert_allclose(total, np.asarray(each).sum(axis=(1, 2)), rtol=1e-6)


@pytest.mark.parametrize(
    ("shapes", "levels", "message"),
    [
        (((2, 3), (2, 3), (2, 1)), 256, "same shape"),
        (((2,), (2,), (2,)), 1, "`levels_minus_1` must be positive"),
        (((), (), ()), 256, "x needs a leading batch axis"),
    ],
)
def test_rejects_invalid_arguments(shapes, levels, message):
    x, mean, scale = (np.zeros(s, np.float32) for s in shapes)
    with pytest.raises(ValueError, match=message):
        discretized_logistic_nll(x, mean, log_scale=scale, levels=levels)
