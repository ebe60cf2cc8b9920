"""Dropout of the autoregressive networks: in the loss only, and with the mean of no dropout."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import random_arrays

from genjax.families import fvsbn, made, nade, orderless_nade, rnade

# The configurations, and the parameters that the dropped units are multiplied by.
CASES = {
    fvsbn: ({}, "W"),
    made: ({"hidden": (70, 60)}, "out"),
    nade: ({"hidden": 60}, "V"),
    rnade: ({"hidden": 60, "components": 2}, "V"),
    orderless_nade: ({"hidden": (70, 60)}, "V"),
}


@pytest.mark.parametrize("family", CASES, ids=lambda family: family.__name__.split(".")[-1])
def test_dropout_keeps_the_mean_and_is_off_in_evaluation(family):
    """Small positive weights: the loss is close to linear in the units that are dropped."""
    settings, last = CASES[family]
    plain = family.Config(shape=(12,), **settings)
    config = dataclasses.replace(plain, dropout=0.4)
    variables = random_arrays(lambda key: family.init(config, key), scale=0.03)
    variables = jax.tree.map(jnp.abs, variables)
    params = variables["params"]
    without = {"params": {**params, last: jax.tree.map(jnp.zeros_like, params[last])}}
    x, key = jnp.ones((400, 12)), jax.random.key(1)
    none, thinned, exact = (
        np.asarray(family.loss(c, v, {"x": x}, key)[0], np.float64)
        for c, v in ((plain, without), (config, variables), (plain, variables))
    )
    effect = (thinned - none).mean() / (exact - none).mean()
    assert effect == pytest.approx(1, abs=0.1)  # 0.6 for each dropped layer if not divided
    assert (thinned - exact).std() > 0.1 * abs((exact - none).mean())
    evaluated = [family.log_prob(c, variables, x[:2]) for c in (config, plain)]
    np.testing.assert_array_equal(*evaluated)
    if family is not orderless_nade:  # its loss is an estimate
        np.testing.assert_allclose(exact[:2], -evaluated[1], rtol=1e-5)
