"""Markov models of binary images: each pixel given k nearby pixels before it, by counting.

    p(x) = prod_i p(x_i | x_c(i)),   p(x_i = 1 | c) = (n_c1 + alpha_i) / (n_c + 2 alpha_i),

where n_c counts the context c, and n_c1 the times that x_i was 1 in it. With a table per pixel,
k = 0 is independent pixels and k = D - 1 in raster order is the joint table. The number of
parameters grows as 2^k. The counts are D 2^(k+1) int32 with a table per pixel (411 MB for k = 16
on 28x28), 2^(k+1) with one table.

Bengio and Bengio 2000, "Modeling High-Dimensional Discrete Data with Multi-Layer Neural Networks",
section 1 (number of parameters); Manning, Raghavan and Schuetze 2008, section 13.2, eq. 119
(pseudo-counts); Langdon and Rissanen 1981, "Compression of Black-White Images with Arithmetic
Coding", section IV (templates of causal neighbors).
"""

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks
from genjax.core import chunked_sum, compiled_init, log_odds, nan_unless_binary
from genjax.core.autoregressive import order as order
from genjax.core.batches import batch_spec as batch_spec
from genjax.core.batches import check_batch, check_density
from genjax.core.protocols import Batch, Metrics, Traits, Variables

MAX_K = 20
MAX_JOINT = 20
CHUNK = 2**20  # pixels whose contexts are in memory at once, 4 MB per array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Contexts of the pixels, and the smoothing of their tables."""

    shape: checks.PositiveInts = (28, 28, 1)
    """Event shape: (D,), (H, W) or (H, W, C)."""
    k: checks.NonNegativeInt = 10
    """Number of pixels in a context, at most 20."""
    template: Literal["raster", "causal"] = "causal"
    """`raster`: the k pixels before. `causal`: the k nearest in the plane of the pixels before."""
    by_position: bool = True
    """Whether every pixel has its own table; else all pixels share one."""
    alpha: checks.NonNegativeFloat = 1.0
    """Pseudo-count of each of the two outcomes; at 0 unseen outcomes have probability 0."""
    smoothing: Literal["flat", "joint"] = "flat"
    """`flat`: alpha in every context. `joint`: the smoothing of the joint table, by which a context
    of m pixels has alpha 2^(D-1-m)."""

    def __post_init__(self) -> None:
        checks.validate(self)
        dims = math.prod(self.shape)
        tables = dims if self.by_position else 1
        if self.k > MAX_K or tables * 2 ** (self.k + 1) > 2**31:
            bound = min(MAX_K, int(math.log2(2**31 / tables)) - 1)
            raise ValueError(
                f"markov: a context of {self.k} pixels needs 2^{self.k} rows in each of"
                f" {tables} tables; at most k = {bound} fits."
            )
        plane = len(self.shape) == 2 or (len(self.shape) == 3 and self.shape[2] == 1)
        if self.template == "causal" and not plane:
            raise ValueError(
                f"markov: the causal template needs images of one channel, got shape {self.shape};"
                f" set template to 'raster'."
            )
        if self.smoothing == "joint" and (not self.by_position or dims > MAX_JOINT):
            raise ValueError(
                f"markov: joint smoothing needs by_position and at most {MAX_JOINT} pixels; set"
                f" smoothing to 'flat'."
            )


def traits(config: Config) -> Traits:
    # One parameter per context; pixels outside the image make no further contexts.
    parameters = sum(2 ** int(m) for m in _inside(config)) if config.by_position else 2**config.k
    return Traits(data="binary", density="exact", fit="counting", num_parameters=parameters)


def tiny() -> Config:
    return Config(shape=(3, 3, 1), k=3)


def template(config: Config) -> list[tuple[int, int]]:
    """Returns the k offsets (rows up, columns right) of a context, nearest first.

    Causal templates are sorted by Euclidean distance, at equal distance from left to right: W, N,
    NW, NE, WW, NN, NWW, NNW, NNE, NEE, ... They are nested: a larger k adds offsets.
    """
    if config.template == "raster":
        return [(0, -j) for j in range(1, config.k + 1)]
    # The k nearest are at most k away; offsets outside the image count too.
    near = range(1, config.k + 1)
    before = [(0, -x) for x in near]
    before += [(y, x) for y in near for x in range(-config.k, config.k + 1)]
    return sorted(before, key=lambda o: (o[0] ** 2 + o[1] ** 2, o[1]))[: config.k]


def contexts(config: Config) -> np.ndarray:
    """Returns the flat pixels of every context, `[D, k]`; D for those outside the image."""
    height, width = _plane(config)
    y, x = np.divmod(np.arange(height * width), width)
    out = np.full((height * width, config.k), height * width)
    for j, (up, right) in enumerate(template(config)):
        inside = (y - up >= 0) & (x + right >= 0) & (x + right < width)
        out[inside, j] = ((y - up) * width + x + right)[inside]
    return out


@compiled_init
def init(config: Config, key: jax.Array, batch: Any = None) -> Variables:
    tables = math.prod(config.shape) if config.by_position else 1
    # Cell 2 c + v counts value v in context c; a TPU would pad a last axis of 2 to 128.
    counts = jnp.zeros((tables, 2 ** (config.k + 1)), jnp.int32)
    return {"params": {}, "buffers": {"counts": counts}}


def update(config: Config, variables: Variables, batch: Batch) -> tuple[Variables, Metrics]:
    """Adds a batch to the counts; `loss` is the mean of -log p(x) under the new counts, in nats."""
    check_batch("markov", config, batch)
    x, rows = batch["x"], max(1, CHUNK // math.prod(config.shape))

    def count(counts: jax.Array, x: jax.Array, new: jax.Array) -> jax.Array:
        row, context, bits = _cells(config, x)
        return counts.at[row, context + bits].add(new[:, None].astype(counts.dtype))

    counts = chunked_sum(count, variables["buffers"]["counts"], x, rows)
    variables = {**variables, "buffers": {"counts": counts}}

    def nats(total: jax.Array, x: jax.Array, new: jax.Array) -> jax.Array:
        return total - jnp.sum(jnp.where(new, log_prob(config, variables, x), 0))

    return variables, {"loss": chunked_sum(nats, jnp.zeros(()), x, rows) / x.shape[0]}


def log_prob(config: Config, variables: Variables, x: jax.Array) -> jax.Array:
    """Computes log p(x), `[B]` nats; -inf for outcomes unseen in their context if alpha is 0."""
    check_density(Config, config, variables, x, 2)
    checks.events("markov", x, config.shape)
    one, zero = _pair(config, variables, x)
    seen = jnp.where(x.reshape(one.shape) > 0.5, one, zero)
    # Unseen contexts without pseudo-counts are uniform rather than 0 / 0.
    empty = one + zero == 0
    terms = jnp.log(jnp.where(empty, 1, seen)) - jnp.log(jnp.where(empty, 2, one + zero))
    return nan_unless_binary(jnp.sum(terms, axis=1), x)


def logits(config: Config, variables: Variables, x: jax.Array) -> jax.Array:
    """Computes logits of p(x_d = 1 | context), `[B, *shape]`, clipped to +-1e4."""
    checks.events("markov", x, config.shape)
    return log_odds(*_pair(config, variables, x)).reshape(x.shape)


def sample(config: Config, variables: Variables, key: jax.Array, n: int | None = None) -> jax.Array:
    """Samples pixel by pixel: float32 `[n, *shape]` in {0, 1}; one image without `n`."""
    checks.sampling(Config, config, variables, key)
    size = checks.sample_count(n)
    dims, counts = math.prod(config.shape), variables["buffers"]["counts"]
    places = 2 ** np.arange(config.k, 0, -1, dtype=np.int32)  # as in _cells

    def pixel(x: jax.Array, part: Any) -> tuple[jax.Array, None]:
        d, inside, alpha, u = part
        context = jnp.sum(x[inside] * places[:, None], axis=0, dtype=jnp.int32)  # [n]
        row = d if config.by_position else 0
        p = jax.nn.sigmoid(log_odds(*(counts[row, context + v] + alpha for v in (1, 0))))
        return x.at[d].set((u < p).astype(x.dtype)), None

    noise = jax.random.uniform(key, (dims, size))
    start = jnp.zeros((dims + 1, size), jnp.int32)  # the last row stays 0: outside the image
    parts = (np.arange(dims), contexts(config), _alphas(config), noise)
    x, _ = jax.lax.scan(pixel, start, jax.tree.map(jnp.asarray, parts))
    x = x[:dims].T.astype(jnp.float32).reshape(-1, *config.shape)
    return x if n else x[0]


def _plane(config: Config) -> tuple[int, int]:
    """Rows and columns of the image; a raster template treats it as one row."""
    if config.template == "raster":
        return 1, math.prod(config.shape)
    return config.shape[0], config.shape[1]


def _inside(config: Config) -> np.ndarray:
    """Number of pixels of each context inside the image, `[D]`."""
    return (contexts(config) < math.prod(config.shape)).sum(axis=1)


def _alphas(config: Config) -> np.ndarray:
    """Pseudo-count of an outcome at each pixel, `[D]`."""
    dims = math.prod(config.shape)
    if config.smoothing == "flat":
        return np.full((dims,), config.alpha, np.float32)
    return (config.alpha * 2.0 ** (dims - 1 - _inside(config))).astype(np.float32)


def _cells(config: Config, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Table `[1, D]`, first cell of the context `[B, D]` and value `[B, D]` of each pixel, int32.

    The nearest pixel of a context is its highest bit.
    """
    height, width = _plane(config)
    offsets = template(config)
    up = max((u for u, _ in offsets), default=0)
    side = max((abs(r) for _, r in offsets), default=0)
    bits = (x.reshape(x.shape[0], height, width) > 0.5).astype(jnp.int32)
    wide = jnp.pad(bits, ((0, 0), (up, 0), (side, side)))
    cell = jnp.zeros_like(bits)
    for u, r in offsets:
        cell = 2 * cell + wide[:, up - u : up - u + height, side + r : side + r + width]
    row = jnp.arange(height * width if config.by_position else 1)[None]
    flat = (x.shape[0], height * width)
    return row, 2 * cell.reshape(flat), bits.reshape(flat)


def _pair(config: Config, variables: Variables, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Counts of 1 and of 0 in each pixel's context, with pseudo-counts: `[B, D]` float32 each."""
    row, context, _ = _cells(config, x)
    counts, alphas = variables["buffers"]["counts"], jnp.asarray(_alphas(config))[None]
    return counts[row, context + 1] + alphas, counts[row, context] + alphas
