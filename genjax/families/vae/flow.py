"""Autoregressive flows: invertible maps of z whose Jacobian is triangular.

One step, with m and s from a masked network in which unit i sees the units before i only:

    z_i <- s_i z_i + (1 - s_i) m_i,     log |det dz'/dz| = sum_i log s_i

This direction computes all units at once, the inverse one after the other. So a posterior flow
samples and evaluates its samples in one pass (inverse autoregressive flow), and a prior flow, which
maps z to noise, evaluates any z in one pass and samples unit by unit.

Kingma et al. 2016, "Improved Variational Inference with Inverse Autoregressive Flow", section 4 and
algorithm 1; the masks are MADE's. A prior of this kind: Chen et al. 2017, "Variational Lossy
Autoencoder", section 3.2.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax.nn.masked import MaskedDense

GATE = 1.5  # initial logit of the gate s; "+1 or +2" in section 4


class FlowStep(nn.Module):
    """One step: `z [B, Z]`, context `[B, C]` or None -> new z and log s, `[B, Z]` each."""

    hidden: Sequence[int]  # units of each hidden layer
    reverse: bool = False  # order the units from the last to the first
    # of the hidden layers' computation; parameters and outputs stay float32
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, z: jax.Array, context: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        size = z.shape[-1]
        degrees_in = np.arange(1, size + 1)
        degrees_in = degrees_in[::-1] if self.reverse else degrees_in
        # Degree 0 connects to the context only, so that the first z depends on x too.
        low = 0 if context is not None else 1
        h, before = z, degrees_in
        for i, units in enumerate(self.hidden):
            degrees = low + _spread(units, size - low)
            a = MaskedDense(units, dtype=self.dtype, name=f"hidden_{i}")(h, before, degrees)
            if i == 0 and context is not None:
                a = a + nn.Dense(units, use_bias=False, dtype=self.dtype, name="context")(context)
            h, before = nn.elu(a), degrees
        lecun = nn.initializers.lecun_normal()
        out = MaskedDense(2 * size, strict=True, kernel_init=lecun, name="out")
        both = out(h.astype(jnp.float32), before, np.tile(degrees_in, 2))
        m, logit = both[..., :size], both[..., size:] + GATE
        return jax.nn.sigmoid(logit) * z + jax.nn.sigmoid(-logit) * m, jax.nn.log_sigmoid(logit)


def _spread(units: int, degrees: int) -> np.ndarray:
    """Spreads degrees 0 .. degrees - 1 evenly over units, including the first and the last."""
    if units >= degrees or units == 1:
        return np.arange(units) * degrees // units
    return np.arange(units) * (degrees - 1) // (units - 1)


class Flow(nn.Module):
    """Steps with the order reversed between them: `z [B, Z] -> new z [B, Z], log |det| [B]`."""

    steps: int
    hidden: Sequence[int]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, z: jax.Array, context: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        log_det = 0 * z[..., 0]
        for i in range(self.steps):
            step = FlowStep(self.hidden, bool(i % 2), self.dtype, name=f"step_{i}")
            z, log_s = step(z, context)
            log_det = log_det + jnp.sum(log_s, axis=-1)
        return z, log_det


def invert_flow(
    flow: Flow, params: Any, u: jax.Array, context: jax.Array | None = None
) -> jax.Array:
    """Returns the z that `flow` maps to `u`, `[B, Z]`, in Z passes per step.

    Pass i solves for the i-th unit in the step's order, whose m and s depend on those before it.
    """
    size = u.shape[-1]
    for i in reversed(range(flow.steps)):
        step = FlowStep(flow.hidden, bool(i % 2), flow.dtype)
        step_params = {"params": params[f"step_{i}"]}

        def solve(
            z: jax.Array, at: Any, step: FlowStep = step, params: Any = step_params, u: Any = u
        ) -> Any:
            new, log_s = step.apply(params, z, context)
            # new = s z + (1 - s) m, so this is (u - (1 - s) m) / s.
            solved = z + (u - new) * jnp.exp(-log_s)
            # Units not solved yet stay 0: other values could overflow, and masks do not stop NaN.
            return jnp.where(jnp.arange(size)[None] == at, solved, z), None

        order = jnp.arange(size)[::-1] if step.reverse else jnp.arange(size)
        u, _ = jax.lax.scan(solve, 0 * u, order)
    return u
