"""The closed-form KL against numerical integration."""

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from genjax.losses import gaussian_kl

SHAPE = (3, 2, 2)


def integrated_kl(mean, std, prior_mean, prior_std):
    """Integrates p log(p / q) numerically."""
    p, q = scipy.stats.norm(mean, std), scipy.stats.norm(prior_mean, prior_std)
    value, _ = scipy.integrate.quad(
        lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)),
        mean - 12 * std,
        mean + 12 * std,
        epsabs=1e-12,
    )
    return value


def draw(seed):
    """Returns means and log standard deviations of the posterior and of the prior."""
    return np.random.default_rng(seed).normal(size=(4, *SHAPE)) * 0.7


def test_gaussian_kl_equals_the_integral():
    mean, log_std, prior_mean, prior_log_std = draw(0)
    want = np.vectorize(integrated_kl)(mean, np.exp(log_std), prior_mean, np.exp(prior_log_std))
    with jax.enable_x64(True):
        got = gaussian_kl(
            jnp.asarray(mean),
            log_std=jnp.asarray(log_std),
            prior_mean=jnp.asarray(prior_mean),
            prior_log_std=jnp.asarray(prior_log_std),
        )
    assert got.shape == SHAPE[:1]
    np.testing.assert_allclose(got, want.sum(axis=(1, 2)), rtol=1e-8)


@pytest.mark.parametrize(("prior_mean", "prior_log_std"), [(0.0, 0.0), (0.5, -0.7), (-1, 1)])
def test_prior_parameters_may_be_scalars(prior_mean, prior_log_std):
    mean, log_std = draw(1)[:2]
    want = np.vectorize(integrated_kl)(mean, np.exp(log_std), prior_mean, np.exp(prior_log_std))
    prior = {"prior_mean": prior_mean, "prior_log_std": prior_log_std}
    got = gaussian_kl(jnp.asarray(mean), log_std=jnp.asarray(log_std), **prior)
    np.testing.assert_allclose(got, want.sum(axis=(1, 2)), rtol=1e-5)
    if (prior_mean, prior_log_std) == (0.0, 0.0):  # the default is the standard normal
        chosen = gaussian_kl(jnp.asarray(mean), log_std=jnp.asarray(log_std))
        np.testing.assert_array_equal(chosen, got)


def test_golden_values():
    # (4 + 1 - 1) / 2 - log 2, posterior N(1, 2^2) and standard normal prior
    nats = gaussian_kl(jnp.ones((1, 1)), log_std=jnp.full((1, 1), np.log(2)))
    assert float(nats[0]) == pytest.approx(1.3068528, rel=1e-6)
    # Reversed: (1/4 + 1/4 - 1) / 2 + log 2; the KL is not symmetric.
    nats = gaussian_kl(jnp.zeros(1), log_std=jnp.zeros(1), prior_mean=1.0, prior_log_std=np.log(2))
    assert float(nats[0]) == pytest.approx(0.4431472, rel=1e-6)


def test_precision_where_posterior_and_prior_nearly_agree():
    """The KL is log_ratio^2 = 1e-8; exp() instead of expm1() gives 0 or 6e-8 in float32."""
    nats = gaussian_kl(jnp.zeros(1), log_std=jnp.full(1, 1e-4))
    assert float(nats[0]) == pytest.approx(1e-8, rel=1e-2)
    same = gaussian_kl(jnp.ones(1), log_std=jnp.full(1, -3.0), prior_mean=1.0, prior_log_std=-3.0)
    assert float(same[0]) == 0.0


def test_a_collapsed_posterior_has_a_finite_loss_and_gradient():
    """std = exp(-1e4) underflows; the loss is 1e4 and its gradient -1."""
    value, grad = jax.value_and_grad(lambda s: gaussian_kl(jnp.zeros(1), log_std=s).sum())(
        jnp.full(1, -1e4)
    )
    assert float(value) == pytest.approx(1e4 - 0.5)
    assert grad.tolist() == [-1.0]


def test_gradients_to_second_order_in_all_four_arguments():
    with jax.enable_x64(True):
        args = tuple(map(jnp.asarray, draw(2)))
        jax.test_util.check_grads(
            jax.jit(
                lambda m, s, pm, ps: gaussian_kl(m, log_std=s, prior_mean=pm, prior_log_std=ps)
            ),
            args,
            order=2,
            modes=("fwd", "rev"),
        )


def test_one_value_per_example_independent_of_the_others():
    mean, log_std = (jnp.asarray(a, jnp.float32) for a in draw(3)[:2])
    jacobian = jax.jit(jax.jacobian(lambda m, s: gaussian_kl(m, log_std=s)))(mean, log_std)
    jacobian = np.abs(jacobian).sum(axis=(2, 3))  # [B, B]
    assert np.all((jacobian > 0) == np.eye(len(jacobian), dtype=bool))


def test_computes_bfloat16_inputs_in_float32():
    mean, log_std = (jnp.asarray(a, jnp.bfloat16) for a in draw(4)[:2])
    got = gaussian_kl(mean, log_std=log_std)
    assert got.dtype == jnp.float32
    same = gaussian_kl(mean.astype(jnp.float32), log_std=log_std.astype(jnp.float32))
    np.testing.assert_array_equal(got, same)


def test_computes_a_bfloat16_prior_in_float32():
    mean, log_std, prior_mean, prior_log_std = (jnp.asarray(a, jnp.bfloat16) for a in draw(4))
    low = gaussian_kl(mean, log_std=log_std, prior_mean=prior_mean, prior_log_std=prior_log_std)
    high = gaussian_kl(
        mean,
        log_std=log_std,
        prior_mean=prior_mean.astype(jnp.float32),
        prior_log_std=prior_log_std.astype(jnp.float32),
    )
    assert low.dtype == jnp.float32
    np.testing.assert_allclose(low, high, rtol=1e-6)


@pytest.mark.parametrize(
    ("shapes", "prior", "message"),
    [
        (((), ()), {}, r"mean needs a leading batch axis, got a scalar; use mean\[None\]"),
        (((2, 3), (2, 1)), {}, r"same shape, got mean float32\[2, 3\], log_std float32\[2, 1\]"),
        (((2, 3), (2, 3)), {"prior_mean": (3,)}, r"prior_mean float32\[3\]; broadcast them"),
        (((2, 3), (2, 3)), {"prior_log_std": (2, 1)}, r"prior_log_std float32\[2, 1\]"),
    ],
)
def test_rejects_invalid_arguments(shapes, prior, message):
    mean, log_std = (np.zeros(shape, np.float32) for shape in shapes)
    with pytest.raises(ValueError, match=message):
        gaussian_kl(mean, log_std=log_std, **{k: np.zeros(v, np.float32) for k, v in prior.items()})
