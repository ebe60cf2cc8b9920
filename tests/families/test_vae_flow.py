"""Autoregressive flows: determinant, structure, inverse, and dependence on the context."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import random_arrays

from genjax.families.vae.flow import Flow, FlowStep, invert_flow

SIZE, CONTEXT = 5, 3
FLOW = Flow(steps=2, hidden=(8, 7))


@pytest.fixture(scope="module")
def inputs():
    return jax.random.normal(jax.random.key(2), (4, SIZE)), jax.random.normal(
        jax.random.key(3), (4, CONTEXT)
    )


@pytest.mark.parametrize("with_context", [True, False])
def test_log_determinant_is_that_of_the_dense_jacobian(inputs, with_context):
    z, context = inputs
    context = context if with_context else None
    params = random_arrays(FLOW.init, z, context)["params"]

    def one(z, context):
        inputs_of_call = None if context is None else context[None]
        return FLOW.apply({"params": params}, z[None], inputs_of_call)[0][0]

    jacobian = jax.jit(jax.vmap(jax.jacfwd(one), (0, 0 if with_context else None)))(z, context)
    sign, want = np.linalg.slogdet(np.asarray(jacobian, np.float64))
    _, got = FLOW.apply({"params": params}, z, context)
    assert (sign == 1).all()
    assert np.abs(want).min() > 0.1
    np.testing.assert_allclose(got, want, rtol=1e-4)
    # With alternating orders every z depends on every other, except at the corners.
    assert (np.abs(np.asarray(jacobian)).max(0) > 0).sum() > SIZE * (SIZE + 1) // 2


@pytest.mark.parametrize("reverse", [False, True])
def test_a_step_is_triangular_with_the_gate_on_its_diagonal(inputs, reverse):
    z, context = inputs
    step = FlowStep((8, 7), reverse)
    params = random_arrays(step.init, z, context)["params"]
    apply = lambda z, c: step.apply({"params": params}, z[None], c[None])  # noqa: E731
    derivative = jax.jit(jax.vmap(jax.jacfwd(lambda z, c: apply(z, c)[0][0])))
    jacobian = np.asarray(derivative(z, context))
    _, log_s = jax.jit(step.apply)({"params": params}, z, context)
    diagonal = np.diagonal(jacobian, axis1=1, axis2=2)
    np.testing.assert_allclose(diagonal, np.exp(log_s), rtol=1e-5)
    assert (diagonal < 1).all()  # bounded scales
    order = np.arange(SIZE)[::-1] if reverse else np.arange(SIZE)
    ordered = np.abs(jacobian).max(0)[np.ix_(order, order)]
    assert (ordered[np.triu_indices(SIZE, 1)] == 0).all()
    assert (ordered[np.tril_indices(SIZE, -1)] > 0).all()


def test_every_unit_depends_on_the_context(inputs):
    """Units of degree 0 depend on the context only; without them the first z ignores x."""
    z, context = inputs
    step = FlowStep((8, 7))
    params = random_arrays(step.init, z, context)["params"]
    one = lambda c: step.apply({"params": params}, z[:1], c[None])[0][0]  # noqa: E731
    jacobian = np.abs(np.asarray(jax.jit(jax.jacfwd(one))(context[0])))  # [Z, C]
    assert (jacobian.max(axis=1) > 0).all()


def test_initial_flow_is_near_the_identity(inputs):
    """The initial logit of the gate is between 1 and 2."""
    z, context = inputs
    step = FlowStep((8, 7))
    _, log_s = step.apply(step.init(jax.random.key(0), z, 0 * context), z, 0 * context)
    gate = log_s - np.log(-np.expm1(log_s))
    assert 1 < float(gate.mean()) < 2
    first = np.asarray(step.apply(step.init(jax.random.key(0), z), 0 * z)[1])[0]
    np.testing.assert_allclose(first, first[0], rtol=1e-6)  # no other bias


def test_invert_flow_is_the_inverse(inputs):
    z, context = inputs
    params = random_arrays(FLOW.init, z, context)["params"]
    u, _ = jax.jit(FLOW.apply)({"params": params}, z, context)
    back = jax.jit(lambda u: invert_flow(FLOW, params, u, context))(u)
    np.testing.assert_allclose(back, z, rtol=1e-3, atol=1e-3)
    assert float(jnp.abs(u - z).max()) > 0.5


def test_units_without_inverse_do_not_affect_earlier_units(inputs):
    """A closed gate loses its unit; solving for all units at once would give NaN for all of z."""
    z, _ = inputs
    flow = Flow(1, (8, 7))
    params = random_arrays(flow.init, z, scale=8.0)["params"]
    open_first = params["step_0"]["out"]["bias"].at[SIZE].set(0.0)
    params["step_0"]["out"]["bias"] = open_first
    u, log_det = flow.apply({"params": params}, z)
    assert float(log_det.min()) < -90  # 1 / s overflows
    back = jax.jit(lambda u: invert_flow(flow, params, u))(u)
    np.testing.assert_allclose(back[:, 0], z[:, 0], rtol=1e-4)


def test_bfloat16_is_for_the_hidden_layers_only(inputs):
    z, context = inputs
    flow = Flow(2, (64,), jnp.bfloat16)
    params = random_arrays(flow.init, z, context, scale=0.1)["params"]
    assert {p.dtype for p in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    out, log_det = jax.jit(flow.apply)({"params": params}, z, context)
    assert (out.dtype, log_det.dtype) == (jnp.float32, jnp.float32)
    exact, _ = jax.jit(Flow(2, (64,)).apply)({"params": params}, z, context)
    assert 0 < float(jnp.abs(out - exact).max()) < 0.1


@pytest.mark.parametrize("context", [False, True])
@pytest.mark.parametrize("hidden", [(3,), (4, 5), (16, 16)])
def test_narrow_flow_depends_on_late_latents(hidden, context):
    """Fewer hidden units than latents are spread over all degrees."""
    module, z = FlowStep(hidden), jnp.ones((1, 8))
    inputs_of_call = (z, jnp.ones((1, 2))) if context else (z,)
    v = random_arrays(lambda key: module.init(key, *inputs_of_call), scale=0.5)
    dense = np.asarray(jax.jacfwd(lambda z: module.apply(v, z, *inputs_of_call[1:])[0])(z)[0, :, 0])
    connected = np.abs(dense) > 1e-9
    assert not np.triu(dense, 1).any()
    if context:  # which the first z depends on
        jacobian_c = jax.jacfwd(lambda c: module.apply(v, z, c)[0])(inputs_of_call[1])[0, :, 0]
        assert (np.abs(jacobian_c[0]) > 1e-9).all()
    assert connected[-1, :-1].all()
    assert context or connected[1, 0]
