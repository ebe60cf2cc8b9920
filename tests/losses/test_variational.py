"""Bounds and their gradients against identities and closed forms, and equality in expectation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from genjax import losses


def draw(seed, shape=(5, 3)):
    return np.random.default_rng(seed).normal(size=shape) * 3


# --------------------------------------------------------------------------------------
# Values


@pytest.mark.parametrize("shift", [0.0, -1e4, 1e4])
def test_the_bound_equals_the_log_of_the_mean_weight(shift):
    """exp underflows at -1e4 nats, a usual value for images."""
    log_weights = draw(0) + shift
    want = scipy.special.logsumexp(log_weights, axis=0) - np.log(5)
    np.testing.assert_allclose(
        losses.importance_weighted_bound(jnp.asarray(log_weights)), want, rtol=1e-6, atol=1e-5
    )
    loss = losses.iwae_loss(jnp.asarray(log_weights))
    np.testing.assert_allclose(loss, -want, rtol=1e-6, atol=1e-5)
    shares = losses.normalized_weights(jnp.asarray(log_weights))
    # float32 holds 1e4 to 1e-3
    np.testing.assert_allclose(shares, scipy.special.softmax(log_weights, axis=0), atol=1e-3)


def test_the_bound_of_one_sample_is_its_log_weight():
    log_weights = draw(1, (1, 4))
    np.testing.assert_allclose(
        losses.importance_weighted_bound(jnp.asarray(log_weights)), log_weights[0], rtol=1e-6
    )


def test_the_gradient_is_softmax_weighted():
    """Burda et al. eq. 14: grad of the bound = sum_k normalized weight_k grad log weight_k."""
    a, b = jnp.asarray(draw(2)), jnp.asarray(draw(3))
    log_weights = lambda t: jnp.sin(t * a) + t**2 * b  # noqa: E731
    t = 0.7
    got = jax.jacfwd(lambda t: losses.iwae_loss(log_weights(t)))(t)  # [B]
    each = jax.jacfwd(log_weights)(t)  # [K, B]
    want = -(scipy.special.softmax(np.asarray(log_weights(t)), axis=0) * np.asarray(each)).sum(0)
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_samples_are_drawn_in_proportion_to_their_weights(count):
    """On a grid of the uniform number, to the grid's step; never below the integer part."""
    n, log_weights = 2000, draw(5, (6, 1))
    uniform = (jnp.arange(n) + 0.5) / n
    every = jnp.asarray(np.repeat(log_weights, n, axis=1))
    chosen = np.asarray(losses.resampled(every, uniform, count))  # [count, n]
    assert chosen.shape == (count, n)
    times = (chosen[:, None] == np.arange(6)[:, None]).sum(0)  # [6, n]
    want = count * scipy.special.softmax(log_weights[:, 0])
    np.testing.assert_allclose(times.mean(1), want, atol=2 / n)
    assert (times >= np.floor(want - 1e-5)[:, None]).all()
    assert (times <= np.ceil(want + 1e-5)[:, None]).all()


def test_drawn_indices_are_in_range():
    """At the ends of the uniform number, and with all weight on the first or the last."""
    uniform = jnp.array([0.0, 1 - 2**-24])
    for k in (0, 2):
        log_weights = jnp.full((3, 2), -1e4).at[k].set(0.0)
        np.testing.assert_array_equal(losses.resampled(log_weights, uniform, 4), k)
    even = np.asarray(losses.resampled(jnp.zeros((3, 2)), jnp.array([0.25, 0.75]), 3))
    np.testing.assert_array_equal(even, np.repeat([[0], [1], [2]], 2, axis=1))
    for wrong, message in (
        (
            lambda: losses.resampled(jnp.zeros((3, 2)), jnp.zeros(3), 1),
            r"must be \[2\], one number per example",
        ),
        (lambda: losses.resampled(jnp.zeros((3, 2)), jnp.zeros(2), 0), "`count` must be positive"),
        (lambda: losses.resampled_loss(jnp.zeros((3, 2)), jnp.zeros(2)), "needs two axes"),
        (
            lambda: losses.resampled_loss(jnp.zeros((3, 2)), jnp.zeros((2, 1))),
            r"must be \[count, 2\], from the same batch",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()


def test_the_resampled_gradient_is_unbiased():
    """Averaged over the uniform number; the value equals the bound for every draw."""
    n, a, b = 4000, jnp.asarray(draw(2, (5, 1)) / 3), jnp.asarray(draw(3, (5, 1)) / 3)
    log_weights = lambda t: jnp.sin(t * a) + t**2 * b  # noqa: E731
    uniform, t = (jnp.arange(n) + 0.5) / n, 0.7

    def drawn(t):
        every = jnp.broadcast_to(log_weights(t), (5, n))
        chosen = losses.resampled(jax.lax.stop_gradient(every), uniform, 2)
        return losses.resampled_loss(every, jnp.take_along_axis(every, chosen, axis=0))

    whole = lambda t: losses.iwae_loss(log_weights(t))[0]  # noqa: E731
    np.testing.assert_allclose(drawn(t), whole(t), rtol=1e-6)
    slopes = np.asarray(jax.jacfwd(drawn)(t))
    np.testing.assert_allclose(slopes.mean(), jax.grad(whole)(t), atol=5e-3)
    assert slopes.std() > 0.1  # gradients of single draws differ


def test_bfloat16_weights_are_summed_in_float32():
    log_weights = jnp.full((300, 2), -90.0, jnp.bfloat16)
    got = losses.importance_weighted_bound(log_weights)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, -90.0, rtol=1e-6)


# --------------------------------------------------------------------------------------
# Expected gradients. p(z) = N(0, 1), p(x | z) = N(x; a z, 1), q(z) = N(m, exp(s)^2).

X, POINT = 1.3, {"a": 0.8, "m": -0.4, "s": -0.2}


def log_normal(x, mean, log_std):
    return -0.5 * ((x - mean) * jnp.exp(-log_std)) ** 2 - log_std - 0.5 * jnp.log(2 * jnp.pi)


def joint(p, z):
    return log_normal(z, 0.0, 0.0) + log_normal(X, p["a"] * z, 0.0)


def elbo_gradient():
    """Gradient of E_q[log p(x, z) - log q(z)] in closed form; the ELBO is
    -((x - a m)^2 + a^2 v) / 2 - (m^2 + v) / 2 + s, and constants, with v = exp(2 s)."""
    a, m, v = POINT["a"], POINT["m"], np.exp(2 * POINT["s"])
    return {"a": (X - a * m) * m - a * v, "m": (X - a * m) * a - m, "s": 1 - (a**2 + 1) * v}


def reparameterised(p, noise):
    z = p["m"] + jnp.exp(p["s"]) * noise  # [K]
    return losses.iwae_loss((joint(p, z) - log_normal(z, p["m"], p["s"]))[:, None])[0]


def doubly(p, noise):
    z = p["m"] + jnp.exp(p["s"]) * noise
    fixed, frozen = jax.lax.stop_gradient(z), jax.lax.stop_gradient(p)
    log_weight = lambda z: joint(p, z) - log_normal(z, frozen["m"], frozen["s"])  # noqa: E731
    slopes = jax.grad(lambda z: log_weight(z).sum())(fixed)
    return losses.dreg_loss(log_weight(fixed)[:, None], z[:, None, None], slopes[:, None, None])[0]


def scored(p, noise, baseline=0.0):
    z = jax.lax.stop_gradient(p["m"] + jnp.exp(p["s"]) * noise)  # one sample: [1]
    log_q = log_normal(z, p["m"], p["s"])
    return losses.score_function_loss(
        joint(p, z) - jax.lax.stop_gradient(log_q), log_q, baseline=baseline
    )[0]


def sampled(loss, samples, count=20_000):
    """Returns values `[count]` and gradients `{name: [count]}` with independent noise."""
    noise = jax.random.normal(jax.random.key(0), (count, samples))
    point = {k: jnp.float32(v) for k, v in POINT.items()}
    values, grads = jax.jit(jax.vmap(jax.value_and_grad(loss), (None, 0)))(point, noise)
    return np.asarray(values, np.float64), {k: np.asarray(g, np.float64) for k, g in grads.items()}


@pytest.fixture(scope="module")
def ten():
    return sampled(reparameterised, 10), sampled(doubly, 10)


def test_dreg_has_the_value_of_the_bound(ten):
    (plain, _), (double, _) = ten
    np.testing.assert_allclose(double, plain, rtol=1e-4, atol=1e-5)


def test_dreg_does_not_change_the_gradient_of_p(ten):
    (_, plain), (_, double) = ten
    np.testing.assert_allclose(double["a"], plain["a"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["m", "s"])
def test_dreg_has_the_same_expected_gradient_and_less_variance(ten, name):
    (_, plain), (_, double) = ten
    difference = plain[name] - double[name]  # with common noise
    assert abs(difference.mean()) < 5 * difference.std() / np.sqrt(len(difference))
    assert abs(plain[name].mean()) > 20 * plain[name].std() / np.sqrt(len(difference))  # not both 0
    assert double[name].var() < 0.5 * plain[name].var()


@pytest.fixture(scope="module")
def one():
    return sampled(reparameterised, 1), sampled(doubly, 1), sampled(scored, 1)


@pytest.mark.parametrize("which", [0, 1, 2], ids=["reparameterised", "doubly", "score"])
def test_with_one_sample_every_gradient_equals_that_of_the_elbo(one, which):
    _, grads = one[which]
    for name, want in elbo_gradient().items():
        error = grads[name].std() / np.sqrt(len(grads[name]))
        assert abs(-grads[name].mean() - want) < 5 * error + 1e-6, name


def test_the_score_function_has_the_value_of_the_elbo_and_more_variance(one):
    (plain, direct), _, (score, grads) = one
    np.testing.assert_allclose(score, plain, rtol=1e-4, atol=1e-5)
    for name in ("m", "s"):
        assert grads[name].var() > 2 * direct[name].var()


def test_a_baseline_reduces_variance_without_bias(one):
    _, _, (values, grads) = one
    mean = -values.mean()
    _, less = sampled(lambda p, noise: scored(p, noise, baseline=mean), 1)
    for name in ("m", "s"):
        difference = grads[name] - less[name]
        assert abs(difference.mean()) < 5 * difference.std() / np.sqrt(len(difference))
        assert less[name].var() < grads[name].var()


# --------------------------------------------------------------------------------------
# Weights of the KL


def test_free_bits_apply_to_the_batch_mean():
    """Eq. 15: a group with a mean above is unchanged, including its examples below."""
    kl = jnp.array([[0.1, 0.9, 0.2], [0.9, 0.3, 0.4]])
    got = losses.free_bits(kl, 0.45)
    # groups with means 0.5, 0.6 and 0.3
    np.testing.assert_allclose(got, [0.1 + 0.9 + 0.45, 0.9 + 0.3 + 0.45], rtol=1e-6)
    want = np.maximum(np.asarray(kl).mean(0), 0.45).sum()
    assert float(got.mean()) == pytest.approx(want, rel=1e-6)
    grad = jax.grad(lambda kl: losses.free_bits(kl, 0.45).sum())(kl)
    np.testing.assert_array_equal(grad, [[1, 1, 0], [1, 1, 0]])
    np.testing.assert_allclose(losses.free_bits(kl, 0.0), kl.sum(axis=1), rtol=1e-6)


def test_kl_warmup_rises_linearly_to_one():
    rise = jax.jit(lambda step: losses.kl_warmup(step, 8))(jnp.arange(20))
    np.testing.assert_allclose(rise, np.minimum(np.arange(20) / 8, 1), rtol=1e-6)
    assert rise.dtype == jnp.float32
    assert float(losses.kl_warmup(0, 0)) == 1.0  # no warm-up


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda z: losses.importance_weighted_bound(z(3)),
            r"needs two axes, got float32\[3\]",
        ),
        (lambda z: losses.normalized_weights(z(2, 3, 4)), "needs two axes"),
        (lambda z: losses.free_bits(z(3), 0.1), r"one group is \[B, 1\]"),
        (lambda z: losses.free_bits(z(3, 2), -0.1), "`nats` must be non-negative"),
        (lambda z: losses.kl_warmup(0, -1), "`steps` must be non-negative"),
        (lambda z: losses.dreg_loss(z(2, 3), z(2, 3, 1), z(2, 3, 2)), "same shape, got z"),
        (lambda z: losses.dreg_loss(z(2, 3), z(2, 4, 1), z(2, 4, 1)), "the K and B of log_weights"),
        (lambda z: losses.dreg_loss(z(2, 3), z(2, 3), z(2, 3)), r"z must be \[K, B, ...\]"),
        (lambda z: losses.score_function_loss(z(2), z(3)), "same shape"),
        (lambda z: losses.score_function_loss(z(), z()), "needs a leading batch axis"),
        (lambda z: losses.score_function_loss(z(2), z(2), baseline=z(1)), "same shape"),
    ],
)
def test_rejects_invalid_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call(lambda *shape: np.zeros(shape, np.float32))
