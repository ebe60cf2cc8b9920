"""Mixture of K products of Bernoulli distributions, fitted by expectation maximisation.

    p(x) = sum_k w_k prod_d m_kd^x_d (1 - m_kd)^(1 - x_d)

A step is one iteration of EM on its batch (Bishop 2006, "Pattern Recognition and Machine Learning",
section 9.3.3): responsibilities r_bk = p(k | x_b) (eq. 9.56), then

    m_kd = (sum_b r_bk x_bd + a) / (n_k + 2 a),   w_k = (n_k + b) / (B + K b),   n_k = sum_b r_bk

(eqs. 9.57 to 9.60; with pseudo-counts a and b it is the maximum under Beta(a + 1, a + 1) and
Dirichlet(b + 1) priors, exercise 9.18). If the batch is the whole train set, no iteration lowers
the likelihood times the prior (Dempster, Laird and Rubin 1977, theorem 1). The mixture is the
baseline of Larochelle and Murray 2011, "The Neural Autoregressive Distribution Estimator", section
6.2. Its conditionals p(x_d | x_<d) mix the components by their posterior given the pixels before.
"""

import dataclasses
import math
from typing import Annotated, Any

import jax
import jax.numpy as jnp

from genjax import checks
from genjax.core import chunked_sum, compiled_init, log_odds, nan_unless_binary
from genjax.core.autoregressive import order as order
from genjax.core.batches import batch_spec as batch_spec
from genjax.core.batches import check_batch, check_density, flat_events
from genjax.core.protocols import Batch, Metrics, Traits, Variables
from genjax.nn import Bernoulli

CHUNK = 2**21  # numbers of the E step in memory at once, 8 MB per array
HIGHEST = jax.lax.Precision.HIGHEST


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Size, priors and initialisation."""

    shape: checks.PositiveInts = (28, 28, 1)
    """Event shape: (D,) or (H, W, C)."""
    components: checks.PositiveInt = 500
    """Number of components K (2011, section 6.2)."""
    mean_prior: checks.NonNegativeFloat = 1e-2
    """Pseudo-count a of each value in every pixel of a component; at 0 means can be 0 or 1."""
    weight_prior: checks.NonNegativeFloat = 1e-2
    """Pseudo-count b of every component; at 0 components can die."""
    noise: Annotated[float, checks.Bounds(0, 0.5, "()")] = 0.1
    """Half-width of the uniform noise around the initial means; components die if it is large."""

    def __post_init__(self) -> None:
        checks.validate(self)


def traits(config: Config) -> Traits:
    parameters = config.components * (math.prod(config.shape) + 1) - 1  # K D means, K - 1 weights
    return Traits(data="binary", density="exact", fit="em", num_parameters=parameters)


def tiny() -> Config:
    return Config(shape=(3, 3, 1), components=4)


@compiled_init
def init(config: Config, key: jax.Array, batch: Any = None) -> Variables:
    """Returns equal weights, and means near 1/2 or near those of a batch, with uniform noise.

    The parameters are unconstrained: `weights [K]` under softmax, `logits [K, D]` under sigmoid.
    """
    dims = math.prod(config.shape)
    odds = 1 + 2 * config.noise * jax.random.uniform(
        key, (config.components, dims), minval=-1, maxval=1
    )
    center: jax.Array | float = 0.5
    if batch is not None:
        x = batch["x"].reshape(-1, dims)
        center = ((jnp.sum(x, axis=0) + 0.5) / (x.shape[0] + 1))[None]  # never 0 or 1
    # Odds times (1 + e) / (1 - e): near 1/2 this adds uniform noise e / 2 to the mean.
    start = jnp.log(center) - jnp.log1p(-center) + jnp.log(odds) - jnp.log(2 - odds)
    return {"params": {"weights": jnp.zeros((config.components,)), "logits": start}}


def update(config: Config, variables: Variables, batch: Batch) -> tuple[Variables, Metrics]:
    """Performs one iteration of EM on a batch.

    Returns:
      variables, and metrics before the iteration: `loss`, the mean of -log p(x), and `penalty`, the
      priors' share per example, both in nats. Full-batch EM never raises their sum.
    """
    check_batch("mixture", config, batch)
    dims, components = math.prod(config.shape), config.components
    rows = max(1, CHUNK // (components + 2 * dims))
    old, x = variables["params"], batch["x"]

    def expect(total: Any, x: jax.Array, new: jax.Array) -> Any:
        nats, counts, ones = total
        x = x.reshape(x.shape[0], dims)
        joint = _log_joint(old, x)  # [R, K]
        log_p = jax.nn.logsumexp(joint, axis=1)
        share = jnp.where(new[:, None], jnp.exp(joint - log_p[:, None]), 0)
        return (
            nats - jnp.sum(jnp.where(new, nan_unless_binary(log_p, x), 0)),
            counts + jnp.sum(share, axis=0),
            ones + jnp.matmul(share.T, x, precision=HIGHEST),
        )

    zero = (jnp.zeros(()), jnp.zeros((components,)), jnp.zeros((components, dims)))
    nats, counts, ones = chunked_sum(expect, zero, x, rows)
    metrics = {"loss": nats / x.shape[0], "penalty": _penalty(config, old) / x.shape[0]}
    return {**variables, "params": _maximise(config, old, counts, ones)}, metrics


def log_prob(config: Config, variables: Variables, x: jax.Array) -> jax.Array:
    """Computes log p(x), `[B]` nats."""
    check_density(Config, config, variables, x, 2)
    joint = _log_joint(variables["params"], flat_events("mixture", config, x))
    return nan_unless_binary(jax.nn.logsumexp(joint, axis=1), x)


def logits(config: Config, variables: Variables, x: jax.Array) -> jax.Array:
    """Computes logits of p(x_d = 1 | x_<d), `[B, *shape]`."""
    params, flat = variables["params"], flat_events("mixture", config, x)

    def pixel(joint: jax.Array, part: Any) -> tuple[jax.Array, jax.Array]:
        x_d, one, zero = part  # [B], [K], [K]
        with_one, with_zero = joint + one[None], joint + zero[None]  # [B, K]
        logit = jax.nn.logsumexp(with_one, axis=1) - jax.nn.logsumexp(with_zero, axis=1)
        joint = joint + jnp.where(x_d[:, None] > 0.5, one[None], zero[None])
        return joint, logit

    one, zero = _log_means(params)  # [K, D]
    # 0 * x: inside shard_map the carry must vary over devices as x does.
    start = jax.nn.log_softmax(params["weights"])[None] + 0 * flat[:, :1]
    _, out = jax.lax.scan(pixel, start, (flat.T, one.T, zero.T))
    return out.T.reshape(x.shape)


def sample(config: Config, variables: Variables, key: jax.Array, n: int | None = None) -> jax.Array:
    """Samples a component, then its pixels: float32 `[n, *shape]`; one image without `n`."""
    checks.sampling(Config, config, variables, key)
    params = variables["params"]
    which, pixels = jax.random.split(key)
    component = jax.random.categorical(which, params["weights"], shape=(checks.sample_count(n),))
    x = Bernoulli(params["logits"][component]).sample(pixels)
    x = x.reshape(-1, *config.shape)
    return x if n else x[0]


def encode(config: Config, variables: Variables, x: jax.Array) -> jax.Array:
    """Computes responsibilities p(k | x), `[B, K]`; each row sums to 1."""
    return jax.nn.softmax(
        _log_joint(variables["params"], flat_events("mixture", config, x)), axis=1
    )


def _log_means(params: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """log m and log (1 - m): `[K, D]` each."""
    return jax.nn.log_sigmoid(params["logits"]), jax.nn.log_sigmoid(-params["logits"])


def _log_joint(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """log w_k + log p(x | k): `x [B, D]` -> `[B, K]`.

    Two products of terms that are at most 0: the single product x @ logits would cancel large
    numbers where a pixel is nearly certain.
    """
    one, zero = _log_means(params)
    on = jnp.matmul(x, one.T, precision=HIGHEST)
    off = jnp.matmul(1 - x, zero.T, precision=HIGHEST)
    return jax.nn.log_softmax(params["weights"])[None] + on + off


def _maximise(
    config: Config, old: dict[str, jax.Array], counts: jax.Array, ones: jax.Array
) -> dict[str, jax.Array]:
    """The M step; a component without responsibility and prior keeps its means."""
    one = ones + config.mean_prior
    # Rounding may make the ones exceed the counts.
    zero = jnp.maximum(counts[:, None] - ones, 0) + config.mean_prior
    means = jnp.where(one + zero > 0, log_odds(one, zero), old["logits"])
    weights = jnp.log(counts + config.weight_prior) - jnp.log(
        jnp.sum(counts) + config.components * config.weight_prior
    )
    return {"weights": jnp.maximum(weights, -1e4), "logits": means}


def _penalty(config: Config, params: dict[str, jax.Array]) -> jax.Array:
    """-log of the priors, up to a constant: `[]` nats."""
    one, zero = _log_means(params)
    means = config.mean_prior * (jnp.sum(one) + jnp.sum(zero))
    return -means - config.weight_prior * jnp.sum(jax.nn.log_softmax(params["weights"]))
