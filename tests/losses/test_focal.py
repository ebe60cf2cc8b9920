"""Focal loss: formula, its limit gamma 0, and stability."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from genjax.losses import categorical_nll, focal_loss


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_formula_in_float64(gamma):
    rng = np.random.default_rng(0)
    logits, labels = 3 * rng.normal(size=(6, 5)), rng.integers(0, 5, 6)
    p = scipy.special.softmax(logits, 1)[np.arange(6), labels]
    with jax.enable_x64(True):
        got = focal_loss(jnp.asarray(logits), jnp.asarray(labels), gamma=gamma)
    np.testing.assert_allclose(got, -((1 - p) ** gamma) * np.log(p), rtol=1e-12)


def test_gamma_0_is_the_cross_entropy():
    logits, labels = jnp.asarray([[3.0, -1.0, 0.5], [90.0, 0.0, 1.0]]), jnp.asarray([1, 0])
    np.testing.assert_array_equal(
        focal_loss(logits, labels, gamma=0.0), categorical_nll(logits, labels)
    )


def test_value_and_gradient_are_finite_where_p_rounds_to_1_or_0():
    """(1 - p)^gamma of a rounded p would have an infinite derivative for gamma below 1."""
    logits, labels = jnp.asarray([[200.0, 0.0], [0.0, 200.0], [40.0, 0.0]]), jnp.zeros(3, int)
    for gamma in (0.5, 2.0):
        loss = lambda x, gamma=gamma: focal_loss(x, labels, gamma=gamma)  # noqa: E731
        value, gradient = loss(logits), jax.jacobian(loss)(logits)
        assert np.isfinite(value).all()
        assert np.isfinite(gradient).all()
        assert value[1] == pytest.approx(200)
        assert value[2] == pytest.approx(np.exp(-40 * (1 + gamma)), rel=1e-4)


def test_rejects_invalid_arguments():
    logits, labels = jnp.zeros((2, 3)), jnp.zeros(2, int)
    with pytest.raises(ValueError, match="at least two classes, got float32\\[2, 1\\]"):
        focal_loss(logits[:, :1], labels)
    with pytest.raises(ValueError, match="labels must be integers"):
        focal_loss(logits, labels.astype(float))
    with pytest.raises(ValueError, match="gamma"):
        focal_loss(logits, labels, gamma=-1.0)
    assert np.isnan(focal_loss(logits, labels + 3)).all()
