"""The two players' losses: formulas, the vanishing gradient, and the value of the game."""

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

SHAPE = (3, 2, 2)  # logits of patches: several numbers an example
GENERATORS = [losses.minimax_generator, losses.non_saturating_generator]


def draw(seed):
    return np.random.default_rng(seed).normal(size=(2, *SHAPE)) * 3


def test_losses_are_the_logarithms_of_the_paper():
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


def test_the_non_saturating_gradient_does_not_vanish_where_the_discriminator_wins():
    """-log(sigmoid(x) + 1e-8) is the usual bug: finite, and with a gradient of 0."""
    assert gradient(losses.non_saturating_generator, -1e4) == (1e4, -1.0)
    assert gradient(losses.non_saturating_generator, 1e4) == (0.0, 0.0)


def test_the_minimax_gradient_vanishes_there_and_only_there():
    """This is what makes it another loss than the non-saturating one, section 3 of the paper."""
    assert gradient(losses.minimax_generator, -1e4) == (0.0, 0.0)
    assert gradient(losses.minimax_generator, 1e4) == (-1e4, -1.0)


def test_both_generators_descend_the_same_way():
    """Both losses push D(G(z)) up; a wrong sign sends one of them down."""
    for loss in GENERATORS:
        for logit in (-3.0, 0.0, 3.0):
            assert gradient(loss, logit)[1] < 0


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_the_discriminator_is_pulled_back_from_either_wrong_side(logit):
    other = jnp.zeros(1)
    wrong_real = gradient(lambda x: losses.minimax_discriminator(x, other), logit)[1]
    wrong_fake = gradient(lambda x: losses.minimax_discriminator(other, x), logit)[1]
    assert (wrong_real, wrong_fake) == ((-1.0, 0.0) if logit < 0 else (0.0, 1.0))


TRIALS, OUTCOMES = 60, 5
sample = st.lists(st.integers(0, OUTCOMES - 1), min_size=TRIALS, max_size=TRIALS)


@hypothesis.settings(deadline=None, max_examples=40, database=None)
@hypothesis.given(real=sample, fake=sample, seed=st.integers(0, 1000))
def test_at_the_optimal_discriminator_the_loss_is_log_4_less_twice_the_jsd(real, fake, seed):
    """Theorem 1, with the two batches as the two distributions; no other D does better."""
    real, fake = np.array(real), np.array(fake)
    p = np.bincount(real, minlength=OUTCOMES) / TRIALS
    q = np.bincount(fake, minlength=OUTCOMES) / TRIALS
    jsd = scipy.spatial.distance.jensenshannon(p, q) ** 2  # SciPy gives its root, in nats
    with np.errstate(divide="ignore", invalid="ignore"):
        # D* = p / (p + q). Outcomes of one side alone have an infinite logit: a loss of 0.
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
    """`[B]` of each; one program for the three keeps the test below quick."""
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
            used = i == 1 or name == "discriminator"  # generators see no real logits
            assert np.all(mixed == (np.eye(SHAPE[0], dtype=bool) & used)), (name, i)


@pytest.mark.parametrize("name", ["minimax_discriminator", *(g.__name__ for g in GENERATORS)])
def test_bfloat16_in_float32_out(name):
    fun = getattr(losses, name)
    args = draw(2)[: 2 if name == "minimax_discriminator" else 1]
    args = tuple(jnp.asarray(a, jnp.bfloat16) for a in args)
    got = fun(*args)
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, fun(*(a.astype(jnp.float32) for a in args)))


@pytest.mark.parametrize("loss", GENERATORS)
def test_a_scalar_is_refused_in_a_sentence(loss):
    sentence = rf"{loss.__name__}: fake_logits needs a leading batch axis, got a scalar; use fake"
    with pytest.raises(ValueError, match=sentence):
        loss(jnp.zeros(()))


def test_a_pair_that_would_broadcast_is_refused_in_a_sentence():
    """[B] real and [B, 1] fake logits would silently make a [B, B] loss."""
    with pytest.raises(ValueError, match=r"same shape, got real_logits float32\[4\], fake_logits"):
        losses.minimax_discriminator(jnp.zeros(4), jnp.zeros((4, 1)))
    with pytest.raises(ValueError, match="real_logits needs a leading batch axis"):
        losses.minimax_discriminator(jnp.zeros(()), jnp.zeros(()))
