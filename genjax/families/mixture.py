"""A mixture of K products of Bernoullis, fitted by expectation maximisation.

    p(x) = sum_k w_k prod_d m_kd^x_d (1 - m_kd)^(1 - x_d)

A step is one iteration of EM on its batch (Bishop 2006, "Pattern Recognition and Machine Learning",
section 9.3.3): responsibilities r_bk = p(k | x_b) (eq. 9.56), then

    m_kd = (sum_b r_bk x_bd + a) / (n_k + 2 a),   w_k = (n_k + b) / (B + K b),   n_k = sum_b r_bk

(eqs. 9.57 to 9.60; the pseudo-counts a and b are the maximum under Beta(a + 1, a + 1) and
Dirichlet(b + 1) priors, exercise 9.18). With the whole train set as batch no iteration lowers the
likelihood times the prior (Dempster, Laird and Rubin 1977, theorem 1). The mixture is the baseline
of Larochelle and Murray 2011, "The Neural Autoregressive Distribution Estimator", section 6.2.

Though fitted as one density, it has exact conditionals: p(x_d | x_<d) mixes the components by
their posterior given the pixels before.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks
from genjax.core import State, Traits, chunked_sum, conditional_nats, nan_unless_binary
from genjax.nn import draw_observation

FOLD = 2**21  # numbers of the E step held at once, 8 MB an array
HIGHEST = jax.lax.Precision.HIGHEST


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Size, priors and the start."""

    shape: tuple[int, ...] = (28, 28, 1)
    """Event shape: (D,) or (H, W, C)."""
    components: int = 500
    """Components K (2011, section 6.2)."""
    mean_prior: float = 1e-2
    """Pseudo-count a of each of the two values in every pixel of a component; 0 allows p = 0."""
    weight_prior: float = 1e-2
    """Pseudo-count b of every component; 0 lets components die."""
    noise: float = 0.1
    """Half-width of the uniform noise around the first means, within (0, 0.5). Of much noise more
    components die at once: 85 of 100 live on MNIST after 0.25, all after 0.1."""

    def __post_init__(self) -> None:
        checks.kinds(self)
        checks.positive(shape=self.shape, components=self.components, noise=self.noise)
        checks.not_negative(mean_prior=self.mean_prior, weight_prior=self.weight_prior)
        if not self.noise < 0.5:
            raise ValueError(f"noise must be below 0.5, got {self.noise}.")


def traits(config: Config) -> Traits:
    return Traits(data="binary", density="exact", fit="em", num_parameters=_num_parameters(config))


def tiny() -> Config:
    return Config(shape=(3, 3, 1), components=4)


def _num_parameters(config: Config) -> int:
    """Free parameters: K D means and K - 1 weights."""
    return config.components * (math.prod(config.shape) + 1) - 1


def batch_spec(config: Config, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """`x`: float32 `[B, *shape]`, each entry 0 or 1."""
    return {"x": jax.ShapeDtypeStruct((batch_size, *config.shape), jnp.float32)}


def order(config: Config) -> np.ndarray:
    """`[D]`: raster order; any other would be as exact."""
    return np.arange(math.prod(config.shape))


def init(config: Config, key: jax.Array, batch: Any = None) -> dict[str, Any]:
    """Equal weights; means near 1/2, or with a batch near its means, moved by uniform noise.

    `params` are free of constraints, `weights [K]` under softmax and `logits [K, D]` under sigmoid:
    any average of two sets of them is a density too.
    """
    dims = math.prod(config.shape)
    moved = 1 + 2 * config.noise * jax.random.uniform(
        key, (config.components, dims), minval=-1, maxval=1
    )
    center: jax.Array | float = 0.5
    if batch is not None:
        x = batch["x"].reshape(-1, dims)
        center = ((jnp.sum(x, axis=0) + 0.5) / (x.shape[0] + 1))[None]  # never 0 or 1
    # Odds times (1 + e) / (1 - e): around 1/2 it is the mean that moves by noise, uniformly.
    start = jnp.log(center) - jnp.log1p(-center) + jnp.log(moved) - jnp.log(2 - moved)
    return {"params": {"weights": jnp.zeros((config.components,)), "logits": start}}


def loss(
    config: Config, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """-log p(x), `[B]` nats."""
    del key
    checks.batch("mixture", batch, functools.partial(batch_spec, config))
    return -log_prob(config, variables, batch["x"]), {}


def make_step(config: Config, optimizer: Any = None) -> Callable:
    """One iteration of EM on the batch; the metric is its loss before, `penalty` the priors'.

    `loss` plus `penalty`, both nats an example, is what full-batch EM never raises.
    """
    if optimizer is not None:
        raise ValueError("mixture: fitted by EM, without a learning rate; pass optimizer=None.")
    dims, components = math.prod(config.shape), config.components
    rows = max(1, FOLD // (components + 2 * dims))

    def step(state: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
        checks.batch("mixture", batch, functools.partial(batch_spec, config))
        old = state.variables["params"]

        def expect(total: Any, x: jax.Array, fresh: jax.Array) -> Any:
            nats, counts, ones = total
            x = x.reshape(x.shape[0], dims)
            joint = _log_joint(old, x)  # [R, K]
            log_p = jax.nn.logsumexp(joint, axis=1)
            share = jnp.where(fresh[:, None], jnp.exp(joint - log_p[:, None]), 0)
            return (
                nats - jnp.sum(jnp.where(fresh, nan_unless_binary(log_p, x), 0)),
                counts + jnp.sum(share, axis=0),
                ones + jnp.matmul(share.T, x, precision=HIGHEST),
            )

        x = batch["x"]
        zero = (jnp.zeros(()), jnp.zeros((components,)), jnp.zeros((components, dims)))
        nats, counts, ones = chunked_sum(expect, zero, x, rows)
        params = _maximise(config, old, counts, ones)
        metrics = {"loss": nats / x.shape[0], "penalty": _penalty(config, old) / x.shape[0]}
        variables = {**state.variables, "params": params}
        return state.replace(step=state.step + 1, variables=variables), metrics

    return step


def log_prob(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Exact log p(x): `[B]` nats."""
    checks.events("mixture", x, config.shape)
    joint = _log_joint(variables["params"], x.reshape(x.shape[0], -1))
    return nan_unless_binary(jax.nn.logsumexp(joint, axis=1), x)


def logits(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Logits of p(x_d = 1 | x_<d), the components mixed by their posterior: `[B, *shape]`."""
    checks.events("mixture", x, config.shape)
    params = variables["params"]
    flat = x.reshape(x.shape[0], -1)

    def pixel(joint: jax.Array, part: Any) -> tuple[jax.Array, jax.Array]:
        x_d, one, zero = part  # [B], [K], [K]
        with_one, with_zero = joint + one[None], joint + zero[None]  # [B, K]
        logit = jax.nn.logsumexp(with_one, axis=1) - jax.nn.logsumexp(with_zero, axis=1)
        joint = joint + jnp.where(x_d[:, None] > 0.5, one[None], zero[None])
        return joint, logit

    one, zero = _log_means(params)  # [K, D]
    # 0 * x: inside a user's shard_map the carry must vary over the devices as x does.
    start = jax.nn.log_softmax(params["weights"])[None] + 0 * flat[:, :1]
    _, out = jax.lax.scan(pixel, start, (flat.T, one.T, zero.T))
    return out.T.reshape(x.shape)


def log_conditionals(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """log p(x_d | x_<d): `[B, *shape]` nats, 0 or below."""
    return -conditional_nats(logits(config, variables, x), x, 2)


def sample(
    config: Config, variables: dict[str, Any], key: jax.Array, n: int | None = None
) -> jax.Array:
    """Exact samples, a component and then its pixels: float32 `[n, *shape]`; one without `n`."""
    params = variables["params"]
    which, pixels = jax.random.split(key)
    component = jax.random.categorical(which, params["weights"], shape=(checks.sample_count(n),))
    x = draw_observation("bernoulli", (params["logits"][component],), pixels, 2)
    x = x.reshape(-1, *config.shape)
    return x if n else x[0]


def encode(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Responsibilities p(k | x): `[B, K]`, each row sums to 1."""
    checks.events("mixture", x, config.shape)
    return jax.nn.softmax(_log_joint(variables["params"], x.reshape(x.shape[0], -1)), axis=1)


def _log_means(params: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """log m and log (1 - m): `[K, D]` each."""
    return jax.nn.log_sigmoid(params["logits"]), jax.nn.log_sigmoid(-params["logits"])


def _log_joint(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """log w_k + log p(x | k): `x [B, D]` -> `[B, K]`.

    Two products of terms that are all 0 or below: the one product x @ logits would cancel large
    numbers where a pixel is certain.
    """
    one, zero = _log_means(params)
    on = jnp.matmul(x, one.T, precision=HIGHEST)
    off = jnp.matmul(1 - x, zero.T, precision=HIGHEST)
    return jax.nn.log_softmax(params["weights"])[None] + on + off


def _maximise(
    config: Config, old: dict[str, jax.Array], counts: jax.Array, ones: jax.Array
) -> dict[str, jax.Array]:
    """The M step. A component nobody chose keeps its means where there is no prior for them."""
    one = ones + config.mean_prior
    # Rounding may leave more ones than images.
    zero = jnp.maximum(counts[:, None] - ones, 0) + config.mean_prior
    known = (one > 0) | (zero > 0)
    ratio = jnp.log(jnp.where(known, one, 1)) - jnp.log(jnp.where(known, zero, 1))
    # A certain pixel costs exactly 0 and an impossible one a finite, telling number.
    moved = jnp.where(known, jnp.clip(ratio, -1e4, 1e4), old["logits"])
    weights = jnp.log(counts + config.weight_prior) - jnp.log(
        jnp.sum(counts) + config.components * config.weight_prior
    )
    return {"weights": jnp.maximum(weights, -1e4), "logits": moved}


def _penalty(config: Config, params: dict[str, jax.Array]) -> jax.Array:
    """-log of the priors, up to a constant: `[]` nats."""
    one, zero = _log_means(params)
    means = config.mean_prior * (jnp.sum(one) + jnp.sum(zero))
    return -means - config.weight_prior * jnp.sum(jax.nn.log_softmax(params["weights"]))
