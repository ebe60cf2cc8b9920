"""p(x | z) of a decoder, by its kind: what a network must give, and density, mean and samples.

`bernoulli`: x in [0, 1], logits. `gaussian`: real x, means and log standard deviations.
`discretized_logistic`: whole numbers 0 .. levels - 1, means and log scales in units of [-1, 1].
"""

import math

import jax
import jax.numpy as jnp

from genjax.core import draw_values
from genjax.losses import bernoulli_nll, discretized_logistic_nll, gaussian_nll

HEADS = {"bernoulli": 1, "gaussian": 2, "discretized_logistic": 1}  # arrays a network gives
Parameters = tuple[jax.Array, ...]  # of one kind, `[B, *shape]` each


def observation_range(kind: str, levels: int) -> tuple[float, float]:
    """Lowest and highest x."""
    if kind == "gaussian":
        return -math.inf, math.inf
    return 0.0, levels - 1.0 if kind == "discretized_logistic" else 1.0


def observation_bias(kind: str, x: jax.Array, levels: int) -> jax.Array:
    """What a network's output must be to give each entry the mean (and deviation) it has in `x`.

    `[N, *shape] -> [HEADS, *shape]`; for a network's output biases to begin with.
    """
    mean = jnp.mean(x, axis=0)
    if kind == "bernoulli":  # no pixel is certain: a logit of infinity would never move
        mean = jnp.clip(mean, 0.001, 0.999)
        return (jnp.log(mean) - jnp.log1p(-mean))[None]
    if kind == "gaussian":
        return jnp.stack([mean, jnp.log(jnp.std(x, axis=0) + 1e-3)])
    return (2 * mean / (levels - 1) - 1)[None]


def observation_nll(kind: str, parameters: Parameters, x: jax.Array, levels: int) -> jax.Array:
    """-log p(x | z): `[B]` nats."""
    if kind == "bernoulli":
        return bernoulli_nll(parameters[0], x)
    if kind == "gaussian":
        return gaussian_nll(x, *parameters)
    return discretized_logistic_nll(x, *parameters, levels=levels)


def observation_mean(kind: str, parameters: Parameters, levels: int) -> jax.Array:
    """Mean of p(x | z), in the units of x: `[B, *shape]`."""
    if kind == "bernoulli":
        return jax.nn.sigmoid(parameters[0])
    mean = parameters[0]
    if kind == "gaussian":
        return mean
    inverse = jnp.exp(-parameters[1])

    def add(total: jax.Array, edge: jax.Array) -> tuple[jax.Array, None]:
        return total + jax.nn.sigmoid((mean - edge) * inverse), None

    # The mean of a count is the sum over v of P(x >= v); level v begins at (2 v - 1) half - 1.
    edges = (2 * jnp.arange(1, levels) - levels) / (levels - 1)
    return jax.lax.scan(add, 0 * mean, edges)[0]


def draw_observation(kind: str, parameters: Parameters, key: jax.Array, levels: int) -> jax.Array:
    """A sample of p(x | z): float32 `[B, *shape]`."""
    if kind == "bernoulli":
        logits = parameters[0]
        return draw_values(logits, jax.random.uniform(key, logits.shape), 2)
    mean, log_scale = parameters
    if kind == "gaussian":
        return mean + jnp.exp(log_scale) * jax.random.normal(key, mean.shape)
    value = mean + jnp.exp(log_scale) * jax.random.logistic(key, mean.shape)  # about [-1, 1]
    return jnp.clip(jnp.round((value + 1) * (0.5 * (levels - 1))), 0, levels - 1)
