"""Joint table: one probability for every binary image, estimated by counting.

The most general model of D binary variables has 2^D - 1 parameters,

    p(x) = (n_x + alpha) / (N + alpha 2^D),

where n_x counts x among N examples. Conditionals are ratios of sums of the same counts.

Uria et al. 2016, "Neural Autoregressive Distribution Estimation", section 1 (number of parameters);
Manning, Raghavan and Schuetze 2008, section 13.2, eq. 119 (Laplace smoothing).
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks
from genjax.core import compiled_init, log_odds, nan_unless_binary
from genjax.core.autoregressive import order
from genjax.core.batches import batch_spec as batch_spec
from genjax.core.batches import check_batch, check_density, flat_events
from genjax.core.protocols import Batch, Metrics, Traits, Variables

MAX_DIMS = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Size of the table, and its smoothing."""

    shape: checks.PositiveInts = (4, 4, 1)
    """Event shape: (D,) or (H, W, C), with D at most 20."""
    alpha: checks.NonNegativeFloat = 1.0
    """Pseudo-count of every image; at 0 unseen images have probability 0."""

    def __post_init__(self) -> None:
        checks.validate(self)
        dims = math.prod(self.shape)
        if dims > MAX_DIMS:
            count = f"{2**dims - 1:,}" if dims < 64 else f"about 10^{dims * math.log10(2):.0f}"
            raise ValueError(
                f"joint: {dims} binary variables need 2^{dims} - 1 = {count} parameters; use at"
                f" most {MAX_DIMS} variables, or another family."
            )


def traits(config: Config) -> Traits:
    parameters = 2 ** math.prod(config.shape) - 1
    return Traits(data="binary", density="exact", fit="counting", num_parameters=parameters)


def tiny() -> Config:
    return Config(shape=(3, 3, 1))


@compiled_init
def init(config: Config, key: jax.Array, batch: Any = None) -> Variables:
    counts = jnp.zeros((2 ** math.prod(config.shape),), jnp.int32)
    return {"params": {}, "buffers": {"counts": counts}}


def update(config: Config, variables: Variables, batch: Batch) -> tuple[Variables, Metrics]:
    """Adds a batch to the counts; `loss` is -log p(x) under the new counts, `[B]` nats."""
    check_batch("joint", config, batch)
    counts = variables["buffers"]["counts"].at[_index(config, batch["x"])].add(1)
    variables = {**variables, "buffers": {"counts": counts}}
    return variables, {"loss": -log_prob(config, variables, batch["x"])}


def log_prob(config: Config, variables: Variables, x: jax.Array) -> jax.Array:
    """Computes log p(x), `[B]` nats; -inf for unseen images if alpha is 0."""
    check_density(Config, config, variables, x, 2)
    counts = variables["buffers"]["counts"]
    total = jnp.sum(counts) + config.alpha * counts.size
    seen = counts[_index(config, x)] + config.alpha
    # An empty table without pseudo-counts is uniform rather than 0 / 0.
    empty = total == 0
    log_p = jnp.log(jnp.where(empty, 1.0, seen)) - jnp.log(jnp.where(empty, counts.size, total))
    return nan_unless_binary(log_p, x)


def logits(config: Config, variables: Variables, x: jax.Array) -> jax.Array:
    """Computes logits of p(x_d = 1 | x_<d) from the table's marginals, `[B, *shape]`."""
    index = _index(config, x)
    out = []
    for d, mass in enumerate(_marginals(config, variables)):
        prefix = index >> (math.prod(config.shape) - d)  # the d bits before pixel d
        out.append(log_odds(mass[2 * prefix + 1], mass[2 * prefix]))
    return jnp.stack(out, axis=1).reshape(x.shape)


def sample(config: Config, variables: Variables, key: jax.Array, n: int | None = None) -> jax.Array:
    """Samples pixel by pixel: float32 `[n, *shape]` in {0, 1}; one image without `n`."""
    checks.sampling(Config, config, variables, key)
    size = checks.sample_count(n)
    prefix = jnp.zeros((size,), jnp.int32)
    noise = jax.random.uniform(key, (math.prod(config.shape), size))
    for d, mass in enumerate(_marginals(config, variables)):
        p = jax.nn.sigmoid(log_odds(mass[2 * prefix + 1], mass[2 * prefix]))
        prefix = 2 * prefix + (noise[d] < p)
    shifts = math.prod(config.shape) - 1 - order(config)
    x = ((prefix[:, None] >> shifts[None]) & 1).astype(jnp.float32).reshape(-1, *config.shape)
    return x if n else x[0]


def _index(config: Config, x: jax.Array) -> jax.Array:
    """Row of the table, `[B]` int32: the pixels are its bits, the first one the highest."""
    bits = flat_events("joint", config, x) > 0.5
    weights = 2 ** (math.prod(config.shape) - 1 - order(config))
    return jnp.sum(bits * weights.astype(np.int32)[None], axis=1, dtype=jnp.int32)


def _marginals(config: Config, variables: Variables) -> list[jax.Array]:
    """Mass of every prefix of d + 1 pixels, d = 0 .. D - 1: `[2^(d + 1)]` each."""
    # Integer sums: a float32 sum over a million cells would lose counts of one.
    counts = variables["buffers"]["counts"]
    cells, out = 1, []
    for _ in range(math.prod(config.shape)):
        out.append(counts + config.alpha * cells)
        counts, cells = counts.reshape(-1, 2).sum(axis=1), cells * 2
    return out[::-1]
