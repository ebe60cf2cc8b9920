"""Losses of discriminators and critics: formulas, extreme logits, minima."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from genjax import losses

SHAPE = (3, 2, 2)
PAIRS = [
    losses.minimax_discriminator,
    losses.least_squares_discriminator,
    losses.wasserstein_critic,
    losses.hinge_discriminator,
    losses.relativistic_discriminator,
    losses.relativistic_generator,
]
SINGLES = [losses.least_squares_generator, losses.wasserstein_generator]


def draw(seed):
    return np.random.default_rng(seed).normal(size=(2, *SHAPE)) * 3


def test_losses_equal_the_papers_formulas():
    real, fake = draw(0)
    d_real, d_fake = scipy.special.expit(real), scipy.special.expit(fake)
    want = {
        "smoothed": -0.9 * np.log(d_real) - 0.1 * np.log(1 - d_real) - np.log(1 - d_fake),
        "least squares": ((real - 1) ** 2 + fake**2) / 2,
        "pearson": ((real - 1) ** 2 + (fake + 1) ** 2) / 2,
        "least squares generator": (fake - 1) ** 2 / 2,
        "pearson generator": fake**2 / 2,
        "wasserstein": fake - real,
        "wasserstein generator": -fake,
        "hinge": np.maximum(0, 1 - real) + np.maximum(0, 1 + fake),
        "relativistic": -np.log(scipy.special.expit(real - fake)),
        "relativistic generator": -np.log(scipy.special.expit(fake - real)),
    }
    with jax.enable_x64(True):
        real, fake = jnp.asarray(real), jnp.asarray(fake)
        pearson = dict(real_target=1.0, fake_target=-1.0)
        got = {
            "smoothed": losses.minimax_discriminator(real, fake, smoothing=0.1),
            "least squares": losses.least_squares_discriminator(real, fake),
            "pearson": losses.least_squares_discriminator(real, fake, **pearson),
            "least squares generator": losses.least_squares_generator(fake),
            "pearson generator": losses.least_squares_generator(fake, target=0.0),
            "wasserstein": losses.wasserstein_critic(real, fake),
            "wasserstein generator": losses.wasserstein_generator(fake),
            "hinge": losses.hinge_discriminator(real, fake),
            "relativistic": losses.relativistic_discriminator(real, fake),
            "relativistic generator": losses.relativistic_generator(real, fake),
        }
    assert got.keys() == want.keys()
    for name, value in got.items():
        assert value.shape == SHAPE[:1], name
        np.testing.assert_allclose(value, want[name].sum(axis=(1, 2)), rtol=1e-11, err_msg=name)


def slopes(loss, real, fake):
    """Returns the value and its gradients with respect to the real and the fake logit."""
    value, grads = jax.value_and_grad(lambda r, f: loss(r, f).sum(), argnums=(0, 1))(
        jnp.array([float(real)]), jnp.array([float(fake)])
    )
    return float(value), float(grads[0][0]), float(grads[1][0])


def alone(loss):
    """Converts a loss of samples to one of pairs."""
    return lambda real, fake: loss(fake)


def smoothed(real, fake):
    return losses.minimax_discriminator(real, fake, smoothing=0.1)


@pytest.mark.parametrize(
    ("loss", "logits", "want"),
    [
        # Where the network is far from its target, its gradient must not vanish.
        (alone(losses.wasserstein_generator), (0, -1e4), (1e4, 0, -1)),
        (alone(losses.least_squares_generator), (0, -1e4), (0.5 * 10001.0**2, 0, -10001)),
        (losses.relativistic_generator, (1e4, -1e4), (2e4, 1, -1)),
        (losses.relativistic_discriminator, (-1e4, 1e4), (2e4, -1, 1)),
        (losses.hinge_discriminator, (-1e4, 1e4), (20002.0, -1, 1)),
        (losses.wasserstein_critic, (-1e4, 1e4), (2e4, -1, 1)),
        (losses.least_squares_discriminator, (-1e4, 1e4), (0.5 * (10001.0**2 + 1e8), -10001, 1e4)),
        (smoothed, (-1e4, 1e4), (9e3 + 1e4, -0.9, 1)),
        # Past the target hinge and relativistic gradients are 0; smoothing reverses the sign.
        (losses.relativistic_generator, (-1e4, 1e4), (0, 0, 0)),
        (losses.hinge_discriminator, (1e4, -1e4), (0, 0, 0)),
        (smoothed, (1e4, -1e4), (1e3, 0.1, 0)),
    ],
)
def test_far_logits_keep_their_gradients(loss, logits, want):
    got = slopes(loss, *logits)
    assert all(map(math.isfinite, got))
    assert got == pytest.approx(want, rel=1e-6)


TRIALS, OUTCOMES = 600, 5


@pytest.fixture(scope="module")
def distributions():
    """Two batches over a few outcomes, and their distributions."""
    rng = np.random.default_rng(0)
    real = rng.choice(OUTCOMES, TRIALS, p=[0.4, 0.3, 0.2, 0.1, 0.0])
    fake = rng.choice(OUTCOMES, TRIALS, p=[0.1, 0.2, 0.2, 0.3, 0.2])
    return real, fake, *(np.bincount(a, minlength=OUTCOMES) / TRIALS for a in (real, fake))


def least(loss, best, distributions):
    """Returns the loss of a table of outputs, after checking that it is a local minimum."""
    real, fake, _, _ = distributions
    with jax.enable_x64(True):

        def mean(table):
            return float(loss(jnp.asarray(table[real]), jnp.asarray(table[fake])).mean())

        found = mean(best)
        for seed in range(20):
            nudge = np.random.default_rng(seed).normal(size=OUTCOMES) * 0.3
            assert mean(best + nudge) >= found - 1e-12
    return found


def test_the_optimal_smoothed_discriminator_is_the_usual_one_shrunk(distributions):
    _, _, p, q = distributions
    best = 0.9 * p / (p + q)
    least(smoothed, np.log(np.maximum(best, 1e-30)) - np.log1p(-best), distributions)


def test_least_squares_minimum_is_the_pearson_divergence(distributions):
    _, _, p, q = distributions
    chi_squared = ((2 * q - (p + q)) ** 2 / (p + q)).sum()
    found = least(losses.least_squares_discriminator, p / (p + q), distributions)
    assert found == pytest.approx((2 - chi_squared) / 8, abs=1e-12)


def test_hinge_minimum_is_the_total_variation(distributions):
    _, _, p, q = distributions
    found = least(losses.hinge_discriminator, np.sign(p - q), distributions)
    assert found == pytest.approx(2 - np.abs(p - q).sum(), abs=1e-12)


def test_wasserstein_minimum_is_the_earth_movers_distance(distributions):
    """In one dimension the optimal 1-Lipschitz critic increases where the data CDF is lower."""
    real, fake, p, q = distributions
    critic = np.concatenate([[0], np.cumsum(np.sign(np.cumsum(q - p)[:-1]))])
    found = float(losses.wasserstein_critic(jnp.asarray(critic[real]), critic[fake]).mean())
    assert found == pytest.approx(-scipy.stats.wasserstein_distance(real, fake), rel=1e-6)


def test_relativistic_losses_depend_on_differences_only():
    """Adding a constant to all outputs changes nothing."""
    real, fake = map(jnp.asarray, draw(3))
    for loss in (losses.relativistic_discriminator, losses.relativistic_generator):
        np.testing.assert_allclose(loss(real + 7, fake + 7), loss(real, fake), rtol=1e-4)


@pytest.mark.parametrize("loss", [*PAIRS, *SINGLES])
def test_computes_bfloat16_inputs_in_float32(loss):
    args = tuple(jnp.asarray(a, jnp.bfloat16) for a in draw(2)[: 2 if loss in PAIRS else 1])
    got = loss(*args)
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, loss(*(a.astype(jnp.float32) for a in args)))


@pytest.mark.parametrize("loss", PAIRS)
def test_rejects_pairs_that_would_broadcast(loss):
    """[B] real and [B, 1] fake logits would silently broadcast to [B, B]."""
    with pytest.raises(ValueError, match=rf"{loss.__name__}: the arguments must have the same"):
        loss(jnp.zeros(4), jnp.zeros((4, 1)))
    with pytest.raises(ValueError, match="real_logits needs a leading batch axis"):
        loss(jnp.zeros(()), jnp.zeros(()))


@pytest.mark.parametrize("loss", SINGLES)
def test_rejects_scalars(loss):
    with pytest.raises(ValueError, match=rf"{loss.__name__}: fake_logits needs a leading batch"):
        loss(jnp.zeros(()))


def test_rejects_smoothing_out_of_range():
    with pytest.raises(ValueError, match=r"`smoothing` must be in \[0, 1\), got 1"):
        losses.minimax_discriminator(jnp.zeros(1), jnp.zeros(1), smoothing=1.0)
