"""Markov models of binary images: each pixel given the k pixels nearest before it, counted.

    p(x) = prod_i p(x_i | x_c(i)),   p(x_i = 1 | c) = (n_c1 + alpha_i) / (n_c + 2 alpha_i),

with n_c1 the times that x_i was 1 in context c, of the n_c times that the context was seen. k is
one dial: with a table a pixel, k = 0 is independent pixels and k = D - 1 in raster order is the
joint table. Parameters grow as 2^k, which is the case for networks: Bengio and Bengio 2000,
"Modeling High-Dimensional Discrete Data with Multi-Layer Neural Networks", section 1. Pseudo-counts
are Laplace's (Manning, Raghavan and Schuetze 2008, section 13.2, eq. 119); templates of causal
neighbours are those of context coders (Langdon and Rissanen 1981, "Compression of Black-White
Images with Arithmetic Coding", section IV).

The counts are D 2^(k+1) int32 with a table a pixel (411 MB for k = 16 on 28x28), else 2^(k+1).
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks
from genjax.core import State, Traits, chunked_sum, conditional_nats, nan_unless_binary

MAX_K = 20
MAX_JOINT = 20
FOLD = 2**20  # pixels whose contexts are held at once, 4 MB an array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Which pixels a pixel depends on, and the smoothing of its table."""

    shape: tuple[int, ...] = (28, 28, 1)
    """Event shape: (D,), (H, W) or (H, W, C)."""
    k: int = 10
    """Pixels of the context, at most 20."""
    template: Literal["raster", "causal"] = "causal"
    """`raster`: the k pixels before it. `causal`: of those, the k nearest in the plane."""
    by_position: bool = True
    """A table a pixel; else one table for all pixels."""
    alpha: float = 1.0
    """Pseudo-count of each of the two outcomes; 0 gives unseen outcomes no probability."""
    smoothing: Literal["flat", "joint"] = "flat"
    """`flat`: alpha in every context. `joint`: what alpha for every image adds to a context of m
    pixels, alpha 2^(D-1-m): the smoothing of the joint table."""

    def __post_init__(self) -> None:
        checks.kinds(self)
        checks.positive(shape=self.shape)
        checks.not_negative(k=self.k, alpha=self.alpha)
        checks.one_of(("raster", "causal"), template=self.template)
        checks.one_of(("flat", "joint"), smoothing=self.smoothing)
        dims = math.prod(self.shape)
        cells = (dims if self.by_position else 1) * 2 ** (min(self.k, MAX_K) + 1)
        if self.k > MAX_K or cells > 2**31:
            bound = min(MAX_K, int(math.log2(2**31 / (dims if self.by_position else 1))) - 1)
            raise ValueError(
                f"markov: a context of {self.k} pixels needs 2^{self.k} rows in each of"
                f" {dims if self.by_position else 1} tables; at most k = {bound} fits."
            )
        plane = len(self.shape) == 2 or (len(self.shape) == 3 and self.shape[2] == 1)
        if self.template == "causal" and not plane:
            raise ValueError(
                f"markov: the causal template needs images of one channel, got shape {self.shape};"
                f" set template 'raster'."
            )
        if self.smoothing == "joint" and (not self.by_position or dims > MAX_JOINT):
            raise ValueError(
                f"markov: joint smoothing is for a table a pixel and at most {MAX_JOINT} pixels;"
                f" set smoothing 'flat'."
            )


def traits(config: Config) -> Traits:
    return Traits(
        data="binary", density="exact", fit="counting", num_parameters=_num_parameters(config)
    )


def tiny() -> Config:
    return Config(shape=(3, 3, 1), k=3)


def template(config: Config) -> list[tuple[int, int]]:
    """The k offsets (rows up, columns right) of the context, nearest first.

    Causal: by Euclidean distance, and at equal distance from left to right: W, N, NW, NE, WW, NN,
    NWW, NNW, NNE, NEE, ... A larger k adds offsets and keeps the others, so templates are nested.
    """
    if config.template == "raster":
        return [(0, -j) for j in range(1, config.k + 1)]
    # None of the k nearest is further than k away; those outside the image count too.
    near = range(1, config.k + 1)
    before = [(0, -x) for x in near]
    before += [(y, x) for y in near for x in range(-config.k, config.k + 1)]
    return sorted(before, key=lambda o: (o[0] ** 2 + o[1] ** 2, o[1]))[: config.k]


def contexts(config: Config) -> np.ndarray:
    """`[D, k]`, the flat pixels of each pixel's context; D, which reads as 0, outside the image."""
    height, width = _plane(config)
    y, x = np.divmod(np.arange(height * width), width)
    out = np.full((height * width, config.k), height * width)
    for j, (up, right) in enumerate(template(config)):
        inside = (y - up >= 0) & (x + right >= 0) & (x + right < width)
        out[inside, j] = ((y - up) * width + x + right)[inside]
    return out


def _num_parameters(config: Config) -> int:
    """Free parameters: one a context, and only pixels inside the image make contexts."""
    if not config.by_position:
        return 2**config.k
    return sum(2 ** int(m) for m in _inside(config))


def batch_spec(config: Config, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """`x`: float32 `[B, *shape]`, each entry 0 or 1."""
    return {"x": jax.ShapeDtypeStruct((batch_size, *config.shape), jnp.float32)}


def order(config: Config) -> np.ndarray:
    """`[D]`: raster order."""
    return np.arange(math.prod(config.shape))


def init(config: Config, key: jax.Array, batch: Any = None) -> dict[str, Any]:
    del key, batch
    tables = math.prod(config.shape) if config.by_position else 1
    # Cell 2 c + v holds the count of value v in context c: an axis of 2 would be padded to 128.
    counts = jnp.zeros((tables, 2 ** (config.k + 1)), jnp.int32)
    return {"params": {}, "buffers": {"counts": counts}}


def loss(
    config: Config, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """-log p(x) under the counts so far: `[B]` nats."""
    del key
    checks.batch("markov", batch, functools.partial(batch_spec, config))
    return -log_prob(config, variables, batch["x"]), {}


def make_step(config: Config, optimizer: Any = None) -> Callable:
    """Adds a batch to the counts; the metric is its loss under the new counts."""
    if optimizer is not None:
        raise ValueError("markov: the tables are counted, not descended; pass optimizer=None.")
    rows = max(1, FOLD // math.prod(config.shape))

    def step(state: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
        checks.batch("markov", batch, functools.partial(batch_spec, config))

        def count(counts: jax.Array, x: jax.Array, fresh: jax.Array) -> jax.Array:
            row, context, bits = _cells(config, x)
            return counts.at[row, context + bits].add(fresh[:, None].astype(counts.dtype))

        x = batch["x"]
        counts = chunked_sum(count, state.variables["buffers"]["counts"], x, rows)
        variables = {**state.variables, "buffers": {"counts": counts}}

        def nats(total: jax.Array, x: jax.Array, fresh: jax.Array) -> jax.Array:
            return total - jnp.sum(jnp.where(fresh, log_prob(config, variables, x), 0))

        mean = chunked_sum(nats, jnp.zeros(()), x, rows) / x.shape[0]
        return state.replace(step=state.step + 1, variables=variables), {"loss": mean}

    return step


def log_prob(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Exact log p(x): `[B]` nats; -inf for an outcome never seen in its context when alpha is 0."""
    checks.events("markov", x, config.shape)
    zero, one = _pair(config, variables, x)
    seen = jnp.where(x.reshape(one.shape) > 0.5, one, zero)
    # A context never seen knows nothing without pseudo-counts: uniform, rather than 0 / 0.
    empty = one + zero == 0
    terms = jnp.log(jnp.where(empty, 1, seen)) - jnp.log(jnp.where(empty, 2, one + zero))
    return nan_unless_binary(jnp.sum(terms, axis=1), x)


def logits(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Logits of p(x_d = 1 | its context): `[B, *shape]`, infinite ones cut at +-1e4 nats."""
    checks.events("markov", x, config.shape)
    return _logit(*_pair(config, variables, x)).reshape(x.shape)


def log_conditionals(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """log p(x_d | its context): `[B, *shape]` nats, 0 or below."""
    return -conditional_nats(logits(config, variables, x), x, 2)


def sample(
    config: Config, variables: dict[str, Any], key: jax.Array, n: int | None = None
) -> jax.Array:
    """Exact samples, pixel by pixel: float32 `[n, *shape]` in {0, 1}; one image without `n`."""
    many = checks.sample_count(n)
    dims, counts = math.prod(config.shape), variables["buffers"]["counts"]
    places = 2 ** np.arange(config.k, 0, -1, dtype=np.int32)  # as in _cells

    def pixel(x: jax.Array, part: Any) -> tuple[jax.Array, None]:
        d, inside, alpha, u = part
        context = jnp.sum(x[inside] * places[:, None], axis=0, dtype=jnp.int32)  # [n]
        row = d if config.by_position else 0
        p = jax.nn.sigmoid(_logit(*(counts[row, context + v] + alpha for v in (0, 1))))
        return x.at[d].set((u < p).astype(x.dtype)), None

    noise = jax.random.uniform(key, (dims, many))
    start = jnp.zeros((dims + 1, many), jnp.int32)  # the last row stays 0: outside the image
    parts = (np.arange(dims), contexts(config), _alphas(config), noise)
    x, _ = jax.lax.scan(pixel, start, jax.tree.map(jnp.asarray, parts))
    x = x[:dims].T.astype(jnp.float32).reshape(-1, *config.shape)
    return x if n else x[0]


def _plane(config: Config) -> tuple[int, int]:
    """Rows and columns of the template's plane: raster order is one long row."""
    if config.template == "raster":
        return 1, math.prod(config.shape)
    return config.shape[0], config.shape[1]


def _inside(config: Config) -> np.ndarray:
    """`[D]`, how many pixels of each pixel's context lie inside the image."""
    dims = math.prod(config.shape)
    return (contexts(config) < dims).sum(axis=1)


def _alphas(config: Config) -> np.ndarray:
    """`[D]`, the pseudo-count of an outcome at each pixel."""
    dims = math.prod(config.shape)
    if config.smoothing == "flat":
        return np.full((dims,), config.alpha, np.float32)
    return (config.alpha * 2.0 ** (dims - 1 - _inside(config))).astype(np.float32)


def _cells(config: Config, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Table `[1, D]`, first cell of the context `[B, D]` and value `[B, D]` of each pixel, int32.

    A context is k shifts of the image: its nearest pixel is the highest bit.
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


def _pair(config: Config, variables: dict[str, Any], x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Counts of 0 and of 1 in each pixel's context, with pseudo-counts: `[B, D]` float32 each."""
    row, context, _ = _cells(config, x)
    counts, alphas = variables["buffers"]["counts"], jnp.asarray(_alphas(config))[None]
    return counts[row, context] + alphas, counts[row, context + 1] + alphas


def _logit(zero: jax.Array, one: jax.Array) -> jax.Array:
    known = one + zero > 0
    ratio = jnp.log(jnp.where(known, one, 1)) - jnp.log(jnp.where(known, zero, 1))
    return jnp.clip(ratio, -1e4, 1e4)
