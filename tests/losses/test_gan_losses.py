"""Losses of generator and discriminator: formulas, vanishing gradients, and the optimal value."""

import math

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest
import scipy.spatial.distance
import scipy.special

from genjax import losses

SHAPE = (3, 2, 2)  # logits of patches: several per example
GENERATORS = [losses.minimax_generator, losses.non_saturating_generator]


def draw(seed):
    return np.random.default_rng(seed).normal(size=(2, *SHAPE)) * 3


def test_losses_equal_the_papers_formulas():
    real, fake = draw(0)
    d_real, d_fake = scipy.special.expit(real), scipy.special.expit(fake)
    want = {
        "minimax_discriminator": -np.log(d_real) - np.log(1 - d_fake),
        "minimax_generator": np.log(1 - d_fake),
        "non_saturating_generator": -np.log(d_fake),
    }
    with jax.enable_x64(True):
        real, fake = jnp.asarray(real), jnp.asarray(fake)
        got = {
            "minimax_discriminator": losses.minimax_discriminator(real, fake),
            "minimax_generator": losses.minimax_generator(fake),
            "non_saturating_generator": losses.non_saturating_generator(fake),
        }
    for name, nats in got.items():
        assert nats.shape == SHAPE[:1], name
        np.testing.assert_allclose(nats, want[name].sum(axis=(1, 2)), rtol=1e-11, err_msg=name)


def test_golden_values():
    real, fake = jnp.array([2.0]), jnp.array([-1.0])  # softplus(-2) + softplus(-1)
    assert losses.minimax_discriminator(real, fake)[0] == pytest.approx(0.4401897, rel=1e-6)
    assert losses.minimax_generator(fake)[0] == pytest.approx(-0.3132617, rel=1e-6)
    assert losses.non_saturating_generator(fake)[0] == pytest.approx(1.3132617, rel=1e-6)


def gradient(loss, logit):
    value, grad = jax.value_and_grad(lambda x: loss(x).sum())(jnp.array([logit]))
    assert math.isfinite(value)
    return float(value), float(grad[0])


def test_the_non_saturating_gradient_does_not_vanish_at_extreme_logits():
    """-log(sigmoid(x) + 1e-8), the usual bug, has a gradient of 0."""
    assert gradient(losses.non_saturating_generator, -1e4) == (1e4, -1.0)
    assert gradient(losses.non_saturating_generator, 1e4) == (0.0, 0.0)


def test_the_minimax_gradient_vanishes_at_confident_discriminators_only():
    """The difference to the non-saturating loss, section 3 of the paper."""
    assert gradient(losses.minimax_generator, -1e4) == (0.0, 0.0)
    assert gradient(losses.minimax_generator, 1e4) == (-1e4, -1.0)


def test_both_generator_losses_have_gradients_of_the_same_sign():
    """Both losses increase D(G(z))."""
    for loss in GENERATORS:
        for logit in (-3.0, 0.0, 3.0):
            assert gradient(loss, logit)[1] < 0


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_the_discriminator_gradient_opposes_wrong_logits(logit):
    other = jnp.zeros(1)
    wrong_real = gradient(lambda x: losses.minimax_discriminator(x, other), logit)[1]
    wrong_fake = gradient(lambda x: losses.minimax_discriminator(other, x), logit)[1]
    assert (wrong_real, wrong_fake) == ((-1.0, 0.0) if logit < 0 else (0.0, 1.0))


TRIALS, OUTCOMES = 60, 5
sample = st.lists(st.integers(0, OUTCOMES - 1), min_size=TRIALS, max_size=TRIALS)


@hypothesis.settings(deadline=None, max_examples=40, database=None)
@hypothesis.given(real=sample, fake=sample, seed=st.integers(0, 1000))
def test_the_optimal_discriminator_loss_is_log_4_minus_twice_the_jsd(real, fake, seed):
    """Theorem 1, with the two batches as the two distributions; nearby D have a higher loss."""
    real, fake = np.array(real), np.array(fake)
    p = np.bincount(real, minlength=OUTCOMES) / TRIALS
    q = np.bincount(fake, minlength=OUTCOMES) / TRIALS
    jsd = scipy.spatial.distance.jensenshannon(p, q) ** 2  # SciPy returns its root, in nats
    with np.errstate(divide="ignore", invalid="ignore"):
        # D* = p / (p + q). Outcomes of one batch only have an infinite logit and loss 0.
        best = np.log(p) - np.log(q)
    nudge = np.random.default_rng(seed).normal(size=OUTCOMES)
    with jax.enable_x64(True):

        def loss(logits):
            nats = losses.minimax_discriminator(
                jnp.asarray(logits[real]), jnp.asarray(logits[fake])
            )
            return float(nats.mean())

        assert loss(best) == pytest.approx(math.log(4) - 2 * jsd, abs=1e-12)
        assert loss(best + nudge) >= loss(best)


@jax.jit
def all_losses(real, fake):
    """Returns the three losses `[B]`, compiled as one program for speed."""
    return {
        "discriminator": losses.minimax_discriminator(real, fake),
        **{g.__name__: g(fake) for g in GENERATORS},
    }


def test_gradients_to_second_order_and_no_mixing_of_examples():
    with jax.enable_x64(True):
        args = tuple(map(jnp.asarray, draw(1)))
        jax.test_util.check_grads(all_losses, args, order=2, modes=("fwd", "rev"))
        jacobians = jax.jit(jax.jacobian(all_losses, argnums=(0, 1)))(*args)
    for name, by_argument in jacobians.items():
        for i, jacobian in enumerate(by_argument):
            mixed = np.abs(jacobian).sum(axis=(2, 3)) > 0  # [B out, B in]
            used = i == 1 or name == "discriminator"  # generator losses do not use real logits
            assert np.all(mixed == (np.eye(SHAPE[0], dtype=bool) & used)), (name, i)


@pytest.mark.parametrize("name", ["minimax_discriminator", *(g.__name__ for g in GENERATORS)])
def test_computes_bfloat16_inputs_in_float32(name):
    fun = getattr(losses, name)
    args = draw(2)[: 2 if name == "minimax_discriminator" else 1]
    args = tuple(jnp.asarray(a, jnp.bfloat16) for a in args)
    got = fun(*args)
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, fun(*(a.astype(jnp.float32) for a in args)))


@pytest.mark.parametrize("loss", GENERATORS)
def test_rejects_scalars(loss):
    message = rf"{loss.__name__}: fake_logits needs a leading batch axis, got a scalar; use fake"
    with pytest.raises(ValueError, match=message):
        loss(jnp.zeros(()))


def test_rejects_pairs_that_would_broadcast():
    """[B] real and [B, 1] fake logits would silently broadcast to [B, B]."""
    with pytest.raises(ValueError, match=r"same shape, got real_logits float32\[4\], fake_logits"):
        losses.minimax_discriminator(jnp.zeros(4), jnp.zeros((4, 1)))
    with pytest.raises(ValueError, match="real_logits needs a leading batch axis"):
        losses.minimax_discriminator(jnp.zeros(()), jnp.zeros(()))
