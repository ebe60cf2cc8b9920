"""Mixtures against float64 SciPy, at extreme inputs, and with invalid arguments."""

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest
import scipy.special
import scipy.stats

from genjax import losses

SHAPE = (3, 2, 4)
KINDS = ["gaussian", "laplace"]


def positional(function):
    return lambda x, a, b, c: function(x, logits=a, means=b, log_scales=c)


def nats(kind):
    return positional(getattr(losses, f"{kind}_mixture_nats"))


def nll(kind):
    return jax.jit(positional(getattr(losses, f"{kind}_mixture_nll")))


def draw(seed, k=5):
    rng = np.random.default_rng(seed)
    return rng.normal(size=SHAPE), *rng.normal(size=(3, *SHAPE, k))


@pytest.mark.parametrize("kind", KINDS)
def test_equals_scipy(kind):
    x, logits, means, log_scales = draw(0)
    component = {"gaussian": scipy.stats.norm, "laplace": scipy.stats.laplace}[kind]
    density = component.pdf(x[..., None], means, np.exp(log_scales))
    want = -np.log((scipy.special.softmax(logits, axis=-1) * density).sum(axis=-1))
    with jax.enable_x64(True):
        args = tuple(map(jnp.asarray, (x, logits, means, log_scales)))
        np.testing.assert_allclose(nats(kind)(*args), want, rtol=1e-11)
        np.testing.assert_allclose(nll(kind)(*args), want.sum(axis=(1, 2)), rtol=1e-11)


def test_one_component_equals_the_gaussian():
    x, _, means, log_scales = draw(1, k=1)
    args = (jnp.asarray(a, jnp.float32) for a in (x, 7 + 0 * means, means, log_scales))
    x, mean, log_std = (jnp.asarray(a, jnp.float32) for a in (x, *_last(means, log_scales)))
    want = losses.gaussian_nll(x, mean, log_std=log_std)
    np.testing.assert_allclose(nll("gaussian")(*args), want, rtol=1e-5)


def _last(*arrays):
    return [a[..., 0] for a in arrays]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("far", [1e4, 1e9])
def test_is_finite_with_a_gradient_far_from_all_components(kind, far):
    """log(sum of exp) without a shift would be -log 0, with gradient 0 / 0."""
    means = jnp.array([[0.0, 1.0]])
    value, grad = jax.value_and_grad(lambda m: nats(kind)(jnp.array([far]), 0 * m, m, 0 * m).sum())(
        means
    )
    assert np.isfinite(float(value))
    assert float(value) == pytest.approx(far**2 / 2 if kind == "gaussian" else far, rel=1e-3)
    assert np.isfinite(grad).all()
    assert float(grad.sum()) == pytest.approx(-far if kind == "gaussian" else -1.0, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_extreme_weights_and_scales(kind):
    """A component of weight 0, or a narrow distant one, does not contribute."""
    x = jnp.array([0.5])
    alone = float(nats(kind)(x, jnp.zeros((1, 1)), jnp.zeros((1, 1)), jnp.zeros((1, 1)))[0])
    logits = jnp.array([[1e9, -1e9]])
    got = nats(kind)(x, logits, jnp.array([[0.0, 0.5]]), jnp.zeros((1, 2)))
    assert float(got[0]) == pytest.approx(alone, rel=1e-6)
    log_scales = jnp.array([[0.0, -20.0]])
    value, grad = jax.value_and_grad(
        lambda s: nats(kind)(x, jnp.zeros((1, 2)), jnp.array([[0.0, 3.0]]), s).sum()
    )(log_scales)
    assert float(value) == pytest.approx(alone + np.log(2), rel=1e-6)
    assert np.isfinite(grad).all()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_to_second_order(kind):
    with jax.enable_x64(True):
        # Moderate values, for which the finite differences are accurate.
        args = tuple(0.3 * jnp.asarray(a) for a in draw(2, k=3))
        jax.test_util.check_grads(nll(kind), args, order=2, modes=("fwd", "rev"))


@pytest.mark.parametrize("kind", KINDS)
def test_one_value_per_example_in_float32_for_bfloat16(kind):
    args = tuple(jnp.asarray(a, jnp.bfloat16) for a in draw(3))
    got = nll(kind)(*args)
    assert got.shape == SHAPE[:1]
    assert got.dtype == jnp.float32
    whole = nll(kind)(*(a.astype(jnp.float32) for a in args))
    np.testing.assert_allclose(got, whole, rtol=1e-6)
    other = nll(kind)(args[0].at[1].add(1), *args[1:])
    assert [bool(b) for b in got != other] == [False, True, False]


def test_golden_values():
    zero, pair = jnp.zeros((1, 1)), jnp.array([[[-1.0, 1.0]]])
    same = jnp.zeros((1, 1, 2))
    assert float(nll("gaussian")(zero, same, pair, same)[0]) == pytest.approx(1.41893853, rel=1e-6)
    assert float(nll("laplace")(zero, same, pair, same)[0]) == pytest.approx(1.69314718, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_rejects_invalid_arguments(kind):
    def z(*shape):
        return np.zeros(shape, np.float32)

    for bad in ((z(2, 3), z(2, 3), z(2, 3), z(2, 3)), (z(2, 3), *[z(2, 1, 4)] * 3)):
        with pytest.raises(
            ValueError, match=f"{kind}_mixture: the parameters must have the shape of x"
        ):
            nats(kind)(*bad)
    with pytest.raises(ValueError, match="same shape, got logits"):
        nats(kind)(z(2), z(2, 3), z(2, 1), z(2, 3))
    with pytest.raises(ValueError, match="x needs a leading batch axis"):
        nll(kind)(z(), *[z(3)] * 3)
