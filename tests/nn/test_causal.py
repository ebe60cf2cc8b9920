"""Causal convolutions."""

import jax
import jax.numpy as jnp
import numpy as np

from genjax.nn.causal import CausalConv


def test_scale_multiplies_the_initial_weights():
    whole, small = (
        CausalConv((0,) * 4, (0,) * 6, scale=scale).init(jax.random.key(0), jnp.zeros((1, 2, 2, 4)))
        for scale in (1.0, 0.25)
    )
    kernels = [v["params"]["kernel"] for v in (small, whole)]
    np.testing.assert_allclose(kernels[0], kernels[1] / 2, rtol=1e-6)
