"""Gradient penalties against finite differences, and where the gradient is 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import losses

B, SHAPE = 4, (2, 3, 1)


def network(seed):
    """Returns a small smooth discriminator, and the same in float64 NumPy."""
    rng = np.random.default_rng(seed)
    w, v = rng.normal(size=(6, 5)), rng.normal(size=5)

    def in_jax(x):
        return jnp.tanh(x.reshape(x.shape[0], -1) @ jnp.asarray(w)) @ jnp.asarray(v)

    return in_jax, lambda x: np.tanh(x.reshape(len(x), -1) @ w) @ v


def images(seed):
    return np.random.default_rng(seed).normal(size=(2, B, *SHAPE))


def measured_slope(function, x):
    """Returns the 2-norm of each example's gradient by central differences."""
    total = np.zeros(len(x))
    for place in np.ndindex(*SHAPE):
        step = np.zeros(SHAPE)
        step[place] = 1e-5
        total += ((function(x + step) - function(x - step)) / 2e-5) ** 2
    return np.sqrt(total)


@pytest.mark.parametrize("target", [1.0, 1.3])
@pytest.mark.parametrize("one_sided", [False, True])
def test_gradient_penalty_against_finite_differences(target, one_sided):
    discriminator, twin = network(0)
    real, fake = images(1)
    mix = np.array([0.0, 0.3, 0.7, 1.0])
    between = mix[:, None, None, None] * real + (1 - mix)[:, None, None, None] * fake
    excess = measured_slope(twin, between) / target - 1
    assert len(set(excess > 0)) == 2  # both signs occur
    want = np.maximum(excess, 0) ** 2 if one_sided else excess**2
    with jax.enable_x64(True):
        got = losses.gradient_penalty(
            discriminator, *map(jnp.asarray, (real, fake, mix)), target=target, one_sided=one_sided
        )
    assert got.shape == (B,)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-9)


def test_r1_and_r2_are_half_the_squared_gradient_norm():
    discriminator, twin = network(2)
    real, fake = images(3)
    with jax.enable_x64(True):
        r1 = losses.r1_penalty(discriminator, jnp.asarray(real))
        r2 = losses.r2_penalty(discriminator, jnp.asarray(fake))
    np.testing.assert_allclose(r1, measured_slope(twin, real) ** 2 / 2, rtol=1e-6)
    np.testing.assert_allclose(r2, measured_slope(twin, fake) ** 2 / 2, rtol=1e-6)


def test_penalties_have_no_gradient_with_respect_to_samples():
    """Samples are constants of the discriminator loss, also in a gradient over both networks."""
    found = jax.grad(lambda z: jnp.sum(losses.r2_penalty(lambda x: x[:, 0] ** 2, 3 * z)))
    np.testing.assert_array_equal(found(jnp.ones((2, 4))), 0)


def test_patch_outputs_are_summed():
    """Two patches with gradient 1 at the same pixel have gradient 2."""
    patches = lambda x: jnp.stack([x[:, 0], x[:, 0]], axis=1)  # noqa: E731
    np.testing.assert_allclose(losses.r1_penalty(patches, jnp.ones((3, 2))), 2.0)


def test_penalties_of_examples_are_independent():
    discriminator, _ = network(4)
    real, fake = (jnp.asarray(a, jnp.float32) for a in images(5))
    mix = jnp.full(B, 0.5)
    whole = losses.gradient_penalty(discriminator, real, fake, mix)
    single = losses.gradient_penalty(discriminator, real[1:2], fake[1:2], mix[1:2])
    np.testing.assert_allclose(whole[1], single[0], rtol=1e-4)


@pytest.mark.parametrize("one_sided", [False, True])
def test_the_gradient_is_finite_where_the_norm_is_zero(one_sided):
    """The derivative of sqrt(0) is infinite; without a double where all weights become NaN."""
    x = jnp.ones((2, 3))

    def penalty(w):
        slope = lambda x: jnp.sum(w * x, axis=1)  # noqa: E731
        found = losses.gradient_penalty(slope, x, x, jnp.full(2, 0.5), one_sided=one_sided)
        return found.mean()

    value, grad = jax.value_and_grad(penalty)(jnp.zeros((1, 3)))
    assert float(value) == (0.0 if one_sided else 1.0)
    np.testing.assert_array_equal(grad, np.zeros((1, 3)))
    _, away = jax.value_and_grad(penalty)(jnp.full((1, 3), 1e-4))
    assert bool(jnp.isfinite(away).all())
    assert (
        bool((away != 0).all()) is not one_sided
    )  # the two-sided penalty increases the norm towards 1


def test_gradient_with_respect_to_the_weights():
    """Second order, against central differences."""
    real, fake = images(6)
    mix = jnp.full(B, 0.25)

    with jax.enable_x64(True):
        w = np.random.default_rng(7).normal(size=(6, 1))

        def penalty(w):
            function = lambda x: jnp.tanh(x.reshape(B, -1) @ w)[:, 0]  # noqa: E731
            return losses.gradient_penalty(function, jnp.asarray(real), fake, mix).mean()

        grad = jax.grad(penalty)(jnp.asarray(w))
        for i in range(6):
            step = np.eye(6)[:, i : i + 1] * 1e-5
            slope = float(penalty(w + step) - penalty(w - step)) / 2e-5
            assert float(grad[i, 0]) == pytest.approx(slope, rel=1e-5)


def test_float16_norms_are_squared_in_float32():
    """300^2 exceeds the largest float16, 65504."""
    steep = lambda x: jnp.float16(300) * x[:, 0]  # noqa: E731
    found = losses.r1_penalty(steep, jnp.ones((1, 1), jnp.float16))
    assert found.dtype == jnp.float32
    assert found.tolist() == [45000.0]


def test_drift_is_the_squared_output():
    np.testing.assert_array_equal(losses.drift_penalty(jnp.array([-3.0, 1e4])), [9.0, 1e8])


def test_rejects_invalid_arguments():
    x = jnp.ones((B, 2))
    first = lambda x: x[:, 0]  # noqa: E731
    with pytest.raises(ValueError, match=r"mix must be one number per example, \[4\], got float32"):
        losses.gradient_penalty(first, x, x, jnp.ones((B, 1)))
    with pytest.raises(ValueError, match="gradient_penalty: the arguments must have the same"):
        losses.gradient_penalty(first, x, x[:2], jnp.ones(B))
    with pytest.raises(ValueError, match="`target` must be positive"):
        losses.gradient_penalty(first, x, x, jnp.ones(B), target=0.0)
    with pytest.raises(ValueError, match="r1_penalty: real needs a leading batch axis"):
        losses.r1_penalty(first, jnp.zeros(()))
