"""The joint table: one probability for every binary image, counted.

The most general model of D binary variables needs 2^D - 1 parameters; that number is the reason
for every other explicit family. It is counted, not descended,

    p(x) = (n_x + alpha) / (N + alpha 2^D),

with n_x the times x was seen among N examples. The chain rule is read off the same counts.

Uria et al. 2016, "Neural Autoregressive Distribution Estimation", section 1 states the count of
parameters; the smoothing is Laplace's (Manning, Raghavan and Schuetze 2008, section 13.2, eq. 119).
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
from genjax.core import State, Traits, conditional_nats, nan_unless_binary

MAX_DIMS = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The table's size and its smoothing."""

    shape: tuple[int, ...] = (4, 4, 1)
    """Event shape: (D,) or (H, W, C), with D at most 20."""
    alpha: float = 1.0
    """Pseudo-count of every image; 0 gives unseen images no probability."""

    def __post_init__(self) -> None:
        checks.kinds(self)
        checks.positive(shape=self.shape)
        checks.not_negative(alpha=self.alpha)
        dims = math.prod(self.shape)
        if dims > MAX_DIMS:
            # Beyond a few dozen bits a power of ten: the number itself would fill a page.
            count = f"{2**dims - 1:,}" if dims < 64 else f"about 10^{dims * math.log10(2):.0f}"
            raise ValueError(
                f"joint: {dims} binary variables need 2^{dims} - 1 = {count} parameters; at most"
                f" {MAX_DIMS} variables fit, so shrink the images or take another family."
            )


def traits(config: Config) -> Traits:
    return Traits(
        data="binary", density="exact", fit="counting", num_parameters=_num_parameters(config)
    )


def tiny() -> Config:
    return Config(shape=(3, 3, 1))


def _num_parameters(config: Config) -> int:
    """Free parameters of the table: 2^D - 1."""
    return 2 ** math.prod(config.shape) - 1


def batch_spec(config: Config, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """`x`: float32 `[B, *shape]`, each entry 0 or 1."""
    return {"x": jax.ShapeDtypeStruct((batch_size, *config.shape), jnp.float32)}


def order(config: Config) -> np.ndarray:
    """`[D]`: raster order, the first pixel is the highest bit of the table's index."""
    return np.arange(math.prod(config.shape))


def init(config: Config, key: jax.Array, batch: Any = None) -> dict[str, Any]:
    del key, batch
    counts = jnp.zeros((2 ** math.prod(config.shape),), jnp.int32)
    return {"params": {}, "buffers": {"counts": counts}}


def loss(
    config: Config, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """-log p(x) under the counts so far: `[B]` nats."""
    del key
    checks.batch("joint", batch, functools.partial(batch_spec, config))
    return -log_prob(config, variables, batch["x"]), {}


def make_step(config: Config, optimizer: Any = None) -> Callable:
    """Adds a batch to the counts; the metric is its loss under the new counts."""
    if optimizer is not None:
        raise ValueError("joint: the table is counted, not descended; pass optimizer=None.")

    def step(state: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
        checks.batch("joint", batch, functools.partial(batch_spec, config))
        counts = state.variables["buffers"]["counts"].at[_index(config, batch["x"])].add(1)
        variables = {**state.variables, "buffers": {"counts": counts}}
        nats, _ = loss(config, variables, batch, state.key)
        return state.replace(step=state.step + 1, variables=variables), {"loss": jnp.mean(nats)}

    return step


def log_prob(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Exact log p(x): `[B]` nats; -inf for an image never seen when alpha is 0."""
    checks.events("joint", x, config.shape)
    counts = variables["buffers"]["counts"]
    total = jnp.sum(counts) + config.alpha * counts.size
    seen = counts[_index(config, x)] + config.alpha
    # An empty table without pseudo-counts knows nothing: uniform, rather than 0 / 0.
    empty = total == 0
    log_p = jnp.log(jnp.where(empty, 1.0, seen)) - jnp.log(jnp.where(empty, counts.size, total))
    return nan_unless_binary(log_p, x)


def logits(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Logits of p(x_d = 1 | x_<d), ratios of the table's marginals: `[B, *shape]`.

    A context never seen has logit 0 when alpha is 0; infinite logits are cut at +-1e4 nats, so
    that a certain pixel costs exactly 0 and an impossible one a finite, telling number.
    """
    checks.events("joint", x, config.shape)
    index = _index(config, x)
    out = []
    for d, mass in enumerate(_marginals(config, variables)):
        prefix = index >> (math.prod(config.shape) - d)  # the d bits before pixel d
        out.append(_logit(mass[2 * prefix + 1], mass[2 * prefix]))
    return jnp.stack(out, axis=1).reshape(x.shape)


def log_conditionals(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """log p(x_d | x_<d): `[B, *shape]` nats, 0 or below."""
    return -conditional_nats(logits(config, variables, x), x, 2)


def sample(
    config: Config, variables: dict[str, Any], key: jax.Array, n: int | None = None
) -> jax.Array:
    """Exact samples, pixel by pixel: float32 `[n, *shape]` in {0, 1}; one image without `n`."""
    many = checks.sample_count(n)
    prefix = jnp.zeros((many,), jnp.int32)
    noise = jax.random.uniform(key, (math.prod(config.shape), many))
    for d, mass in enumerate(_marginals(config, variables)):
        p = jax.nn.sigmoid(_logit(mass[2 * prefix + 1], mass[2 * prefix]))
        prefix = 2 * prefix + (noise[d] < p)
    shifts = math.prod(config.shape) - 1 - order(config)
    x = ((prefix[:, None] >> shifts[None]) & 1).astype(jnp.float32).reshape(-1, *config.shape)
    return x if n else x[0]


def _index(config: Config, x: jax.Array) -> jax.Array:
    """Row of the table: the pixels as bits, the first one highest. `[B]` int32."""
    bits = x.reshape(x.shape[0], -1) > 0.5
    weights = 2 ** (math.prod(config.shape) - 1 - order(config))
    return jnp.sum(bits * weights.astype(np.int32)[None], axis=1, dtype=jnp.int32)


def _marginals(config: Config, variables: dict[str, Any]) -> list[jax.Array]:
    """Mass of every prefix of d + 1 pixels, d = 0 .. D - 1: `[2^(d + 1)]` each.

    Integer sums: a float32 sum over a million cells would lose counts of one.
    """
    counts = variables["buffers"]["counts"]
    cells, out = 1, []
    for _ in range(math.prod(config.shape)):
        out.append(counts + config.alpha * cells)
        counts, cells = counts.reshape(-1, 2).sum(axis=1), cells * 2
    return out[::-1]


def _logit(one: jax.Array, zero: jax.Array) -> jax.Array:
    known = one + zero > 0
    ratio = jnp.log(jnp.where(known, one, 1)) - jnp.log(jnp.where(known, zero, 1))
    return jnp.clip(ratio, -1e4, 1e4)
