"""Likelihoods against float64 SciPy, at extreme logits, and with invalid arguments."""

import functools
import math

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest
import scipy.special
import scipy.stats

from genjax import losses

SHAPE = (3, 2, 4)
# Compiled as one program, which is faster than op by op.
categorical_nll = jax.jit(losses.categorical_nll)


def grey(rng, shape=SHAPE):
    """Returns logits, and targets inside (0, 1)."""
    return rng.normal(size=shape) * 3, rng.uniform(0.1, 0.9, size=shape)


def test_bernoulli_nats_equals_scipy():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=SHAPE) * 3
    targets = rng.integers(0, 2, size=SHAPE)
    want = -scipy.stats.bernoulli.logpmf(targets, scipy.special.expit(logits))
    got = losses.bernoulli_nats(jnp.asarray(logits), jnp.asarray(targets, jnp.float32))
    assert got.shape == SHAPE  # not summed
    np.testing.assert_allclose(got, want, rtol=2e-5)
    total = losses.bernoulli_nll(jnp.asarray(logits), jnp.asarray(targets, bool))
    np.testing.assert_allclose(total, want.sum(axis=(1, 2)), rtol=1e-5)


def test_bernoulli_of_a_grey_level_equals_the_cross_entropy():
    logits, targets = grey(np.random.default_rng(1))
    p = scipy.special.expit(logits)
    want = -scipy.special.xlogy(targets, p) - scipy.special.xlog1py(1 - targets, -p)
    with jax.enable_x64(True):
        got = losses.bernoulli_nll(jnp.asarray(logits), jnp.asarray(targets))
    np.testing.assert_allclose(got, want.sum(axis=(1, 2)), rtol=1e-12)


@pytest.mark.parametrize("logit", [-1e9, -1e4, 1e4, 1e9])
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_bernoulli_at_extreme_logits_is_finite_and_keeps_its_gradient(logit, target):
    """Clipped probabilities, or log(sigmoid + eps), give NaN values or zero gradients."""
    logits, targets = jnp.array([logit]), jnp.array([target])
    value, grad = jax.value_and_grad(lambda x: losses.bernoulli_nll(x, targets).sum())(logits)
    wrong_side = (logit > 0) != (target == 1)
    assert float(value) == (abs(logit) if wrong_side else 0.0)
    # d/dlogit = sigmoid(logit) - target, which is 1 where the model is certain and wrong.
    assert float(grad[0]) == (math.copysign(1.0, logit) if wrong_side else 0.0)


@pytest.mark.parametrize("middle", [(), (2, 3)])
def test_categorical_nll_equals_the_log_softmax(middle):
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(5, *middle, 7)) * 3
    labels = rng.integers(0, 7, size=(5, *middle))
    p = scipy.special.softmax(logits, axis=-1)
    want = -np.log((p * np.eye(7)[labels]).sum(axis=-1)).reshape(5, -1).sum(axis=1)
    got = categorical_nll(jnp.asarray(logits), jnp.asarray(labels))
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_categorical_nll_accepts_uint8_labels():
    """The number of classes, 256, does not fit in uint8."""
    logits = np.random.default_rng(3).normal(size=(3, 256))
    labels = np.array([0, 200, 255])
    want = scipy.special.logsumexp(logits, axis=1) - logits[range(3), labels]
    got = categorical_nll(jnp.asarray(logits), jnp.asarray(labels, jnp.uint8))
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize("label", [-8, -1, 3, 4, 1000])
def test_a_label_out_of_range_gives_nan_in_its_own_example_only(label):
    """Indexing would clamp or wrap, and return a plausible wrong value."""
    got = categorical_nll(jnp.zeros((2, 3)), jnp.array([label, 2]))
    assert math.isnan(got[0])
    assert float(got[1]) == pytest.approx(math.log(3), rel=1e-6)


@pytest.mark.parametrize("scale", [1e4, 1e9])
def test_categorical_at_extreme_logits_is_finite_and_keeps_its_gradient(scale):
    logits, labels = jnp.array([[scale, 0.0, -scale]]), jnp.array([2])
    value, grad = jax.value_and_grad(lambda x: categorical_nll(x, labels).sum())(logits)
    assert float(value) == 2 * scale
    assert grad.tolist() == [[1.0, 0.0, -1.0]]


def test_gaussian_nll_equals_scipy():
    rng = np.random.default_rng(4)
    x, mean, log_std = rng.normal(size=(3, *SHAPE))
    want = -scipy.stats.norm.logpdf(x, mean, np.exp(log_std)).sum(axis=(1, 2))
    with jax.enable_x64(True):
        got = losses.gaussian_nll(x, mean, log_std=log_std)
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_golden_values():
    one = jnp.ones((1, 1))
    assert float(losses.bernoulli_nll(2 * one, one)[0]) == pytest.approx(0.12692801, rel=1e-6)
    assert float(losses.bernoulli_nll(2 * one, 0 * one)[0]) == pytest.approx(2.12692801, rel=1e-6)
    nats = categorical_nll(jnp.array([[0.0, 1.0, 2.0]]), jnp.array([0]))
    assert float(nats[0]) == pytest.approx(2.40760596, rel=1e-6)
    # (1 - 0)^2 / (2 * 2^2) + log 2 + log(2 pi) / 2
    # At the mean, also where the standard deviation underflows float32.
    nats, slope = jax.value_and_grad(lambda s: losses.gaussian_nll(one, one, log_std=s)[0])(
        -100 * one
    )
    assert float(nats) == pytest.approx(one.size * (-100 + 0.5 * math.log(2 * math.pi)))
    np.testing.assert_allclose(slope, 1)
    nats = losses.gaussian_nll(one, 0 * one, log_std=math.log(2) * one)
    assert float(nats[0]) == pytest.approx(1.73708571, rel=1e-6)


def test_uniform_levels_of_eight_bits_cost_eight_bits():
    nats = categorical_nll(jnp.zeros((2, 4, 4, 3, 256)), jnp.full((2, 4, 4, 3), 17))
    bits = losses.bits_per_dim(nats, 4 * 4 * 3)
    np.testing.assert_allclose(bits, [8.0, 8.0], rtol=1e-6)


CASES = {  # losses as functions of their real arguments
    "bernoulli_nats": (losses.bernoulli_nats, grey),
    "bernoulli_nll": (losses.bernoulli_nll, grey),
    "categorical_nll": (
        functools.partial(losses.categorical_nll, labels=np.array([[0, 3], [1, 1], [2, 0]])),
        lambda rng: (rng.normal(size=SHAPE),),
    ),
    "gaussian_nll": (
        lambda x, mean, log_std: losses.gaussian_nll(x, mean, log_std=log_std),
        lambda rng: tuple(rng.normal(size=(3, *SHAPE)) * 0.5),
    ),
    "bits_per_dim": (
        functools.partial(losses.bits_per_dim, num_dims=3),
        lambda rng: (rng.normal(size=5),),
    ),
}


@pytest.mark.parametrize("name", sorted(set(CASES) - {"bernoulli_nats"}))  # it is in the _nll
def test_gradients_to_second_order(name):
    fun, draw = CASES[name]
    with jax.enable_x64(True):
        args = tuple(map(jnp.asarray, draw(np.random.default_rng(5))))
        jax.test_util.check_grads(jax.jit(fun), args, order=2, modes=("fwd", "rev"))


@pytest.mark.parametrize("name", ["bernoulli_nll", "categorical_nll", "gaussian_nll"])
def test_one_value_per_example_independent_of_the_others(name):
    """A mean over the batch, or a sum over wrong axes, would mix examples."""
    fun, draw = CASES[name]
    args = tuple(jnp.asarray(a, jnp.float32) for a in draw(np.random.default_rng(6)))
    assert fun(*args).shape == SHAPE[:1]
    jacobian = np.abs(jax.jit(jax.jacobian(fun))(*args)).sum(axis=(2, 3))  # [B out, B in]
    assert np.all(np.diag(jacobian) > 0)
    assert np.all(jacobian[~np.eye(len(jacobian), dtype=bool)] == 0)


@pytest.mark.parametrize(
    "name",
    [
        "bernoulli_nats",
        "bernoulli_nll",
        "categorical_nll",
        "gaussian_nll",
        "bits_per_dim",
    ],
)
def test_computes_bfloat16_inputs_in_float32(name):
    """Equal to the float32 loss of the rounded inputs."""
    fun, draw = CASES[name]
    args = tuple(jnp.asarray(a, jnp.bfloat16) for a in draw(np.random.default_rng(7)))
    got = fun(*args)
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, fun(*(a.astype(jnp.float32) for a in args)))


def test_a_sum_over_many_pixels_is_precise_for_bfloat16():
    """Summed in bfloat16, 784 terms of log 2 would stop at about 256."""
    zeros = jnp.zeros((1, 784), jnp.bfloat16)
    nats = losses.bernoulli_nll(zeros, zeros)
    assert float(nats[0]) == pytest.approx(784 * math.log(2), rel=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda z: losses.bernoulli_nats(z(2, 3), z(2, 1)),
            r"same shape, got logits float32\[2, 3",
        ),
        (lambda z: losses.bernoulli_nats(z(2, 3), z(3)), "broadcast them first"),
        (lambda z: losses.bernoulli_nll(z(2, 3), z(2)), "same shape, got logits"),
        (lambda z: losses.bernoulli_nll(z(), z()), r"logits needs a leading batch axis.*logits\["),
        (lambda z: losses.gaussian_nll(z(), z(), log_std=z()), "x needs a leading batch axis"),
        (lambda z: losses.gaussian_nll(z(2, 3), z(2, 3), log_std=z(3)), "same shape, got x"),
        (lambda z: losses.gaussian_nll(z(2, 3), z(2, 1), log_std=z(2, 3)), r"mean float32\[2, 1\]"),
        (lambda z: losses.categorical_nll(z(2, 3), z(2)), r"integers, got float32\[2\]; cast"),
        (lambda z: losses.categorical_nll(z(2, 3), z(2) > 0), "integers, got bool"),
        (
            lambda z: losses.categorical_nll(z(2, 3), z(2, 3).astype(int)),
            "shape of labels and an axis",
        ),
        (
            lambda z: losses.categorical_nll(z(2, 3), z(2, 1).astype(int)),
            "shape of labels and an axis",
        ),
        (lambda z: losses.categorical_nll(z(3), z().astype(int)), "shape of labels and an axis"),
        (lambda z: losses.bits_per_dim(z(2), 0), "`num_dims` must be positive, got 0"),
    ],
)
def test_rejects_invalid_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call(lambda *shape: np.zeros(shape, np.float32))


def test_rejects_a_scalar_beside_an_array():
    with pytest.raises(ValueError, match="same shape"):
        losses.gaussian_nll(jnp.zeros((2, 3)), 0.0, log_std=0.0)


def test_arguments_are_checked_inside_jit():
    with pytest.raises(ValueError, match="same shape"):
        jax.eval_shape(jax.jit(losses.bernoulli_nll), jnp.zeros((2, 3)), jnp.zeros((2, 2)))
