"""Autoregressive densities: order of the dimensions, conditionals, exact samplers of images.

Every value is drawn by inverting the cumulative distribution of its conditional at one uniform
number. All samplers therefore produce the same image from the same numbers, up to rounding:

* `draw_naive` evaluates the whole network for every value, D times; it is the reference;
* `draw_parallel` draws all values at once from the logits of the current image until nothing
  changes (Jacobi's iteration; Song et al. 2021, "Accelerating Feedforward Computation via Parallel
  Nonlinear Equation Solving", arXiv:2002.03629, section 3.1). After k rounds the first k values are
  final, so it ends after at most D rounds;
* families add samplers of their own that cache the features of earlier values.

Values of images are in raster order, the channels of a pixel one after another.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks
from genjax.core.protocols import Traits, Variables
from genjax.core.state import compiled_init
from genjax.losses import bernoulli_nats, categorical_nats

# x [B, H, W, C] -> every value drawn given those before it in x, from fixed uniform numbers
Draw = Callable[[jax.Array], jax.Array]
Sampler = Callable[..., jax.Array]
KnownValues = tuple[jax.Array, np.ndarray]  # images [B, *shape], bool mask [*shape]
SamplingMethod = Literal["cached", "parallel", "naive"]
SAMPLING_METHODS = get_args(SamplingMethod)


def check_image_shape(shape: tuple[int, ...], **features: int) -> None:
    """Raises ValueError unless a shape is (H, W, C), with at most as many channels as features."""
    if len(shape) != 3:
        raise ValueError(checks.no_image_shape(shape))
    if features and min(features.values()) < shape[2]:
        raise ValueError(
            f"{' and '.join(features)} are divided among {shape[2]} channels; set both to"
            f" {shape[2]} or above."
        )


def level_traits(levels: int) -> Traits:
    """Returns the traits of an exact density of binary values, or of integers 0 .. levels - 1."""
    if levels == 2:
        return Traits(data="binary", density="exact")
    return Traits(data="levels", density="exact", sample_range=(0.0, levels - 1.0))


def draw_order(dims: int, seed: int, number: int = 0) -> np.ndarray:
    """Returns a random permutation of 0 .. dims - 1, the `number`-th of a seed."""
    # Ranks of raw generator output: NumPy guarantees this stream, but not its shuffles.
    raw = np.random.Philox(key=[seed, number]).random_raw(dims)
    return np.argsort(raw, kind="stable")


def order(config: Any) -> np.ndarray:
    """Returns the flat dimension that each step of the chain rule predicts, `[D]`.

    Raster order, unless the Config has an `order` that is "random".
    """
    dims = math.prod(config.shape)
    if getattr(config, "order", "raster") == "raster":
        return np.arange(dims)
    return draw_order(dims, config.order_seed)


def conditional_nats(logits: jax.Array, x: jax.Array) -> jax.Array:
    """Computes -log p(x_d | x_<d), NaN for values that are not a level.

    Args:
      logits: `[B, *shape]` of p(x = 1) for binary values, `[B, *shape, levels]` for more levels.
      x: `[B, *shape]`, integers 0 .. levels - 1 as float32.

    Returns:
      `[B, *shape]` nats.
    """
    if logits.ndim == x.ndim:
        return nan_unless_level(bernoulli_nats(logits, x), x, 2)
    nats = categorical_nats(logits, x.astype(jnp.int32))
    return nan_unless_level(nats, x, logits.shape[-1])


def log_odds(one: jax.Array, zero: jax.Array) -> jax.Array:
    """Computes the logit of 1 from nonnegative weights of 1 and 0; 0 where both are 0.

    Infinite logits become +-1e4: a certain value costs exactly 0 nats, an impossible one a finite
    number.
    """
    seen = one + zero > 0
    ratio = jnp.log(jnp.where(seen, one, 1)) - jnp.log(jnp.where(seen, zero, 1))
    return jnp.clip(ratio, -1e4, 1e4)


def nan_unless_level(nats: jax.Array, x: jax.Array, levels: int) -> jax.Array:
    """Replaces entries by NaN where x is not an integer from 0 to levels - 1."""
    return jnp.where((x == jnp.round(x)) & (x >= 0) & (x < levels), nats, jnp.nan)


def nan_unless_binary(values: jax.Array, x: jax.Array) -> jax.Array:
    """Replaces the values `[B]` of examples `[B, ...]` that are not binary by NaN."""
    binary = jnp.all((x == 0) | (x == 1), axis=tuple(range(1, x.ndim)))
    return jnp.where(binary, values, jnp.nan)


def draw_values(logits: jax.Array, noise: jax.Array, levels: int) -> jax.Array:
    """Samples by inverting the cumulative distribution; NaN where a logit is NaN.

    Args:
      logits: `[...]` for two levels, `[..., levels]` for more.
      noise: uniform in (0, 1), `[...]`.
      levels: number of values.

    Returns:
      `[...]` float32, integers 0 .. levels - 1.
    """
    if levels == 2:
        value = (noise < jax.nn.sigmoid(logits)).astype(jnp.float32)
        return jnp.where(jnp.isnan(logits), jnp.nan, value)
    sums = jnp.cumsum(jax.nn.softmax(logits, axis=-1), axis=-1)
    below, total = sums[..., :-1], sums[..., -1]
    # Rounding may leave the total below 1; scaled noise keeps the rest from the last level.
    value = jnp.sum((noise * total)[..., None] >= below, axis=-1).astype(jnp.float32)
    return jnp.where(jnp.isnan(total), jnp.nan, value)


def draw_noise(key: jax.Array, n: int, shape: tuple[int, ...]) -> jax.Array:
    """Samples uniform numbers in the open interval (0, 1): `[n, *shape]`."""
    # Uniform draws are multiples of 2^-23, shifted by half of it: a draw of 0 would give the first
    # level whatever its probability.
    return jax.random.uniform(key, (n, *shape), jnp.float32) + 2.0**-24


def flat_network(network: Callable[[Any], Any]) -> tuple[Callable[..., Variables], Sampler]:
    """Returns the functions `init` and `sample` of a family whose network works on `[B, D]`.

    `network(config)` is a Flax module with a method `sample(key, n) -> [n, D]`.
    """

    @compiled_init
    def init(config: Any, key: jax.Array, batch: Any = None) -> Variables:
        return network(config).init(key, jnp.zeros((1, math.prod(config.shape))))

    def sample(config: Any, variables: Any, key: jax.Array, n: int | None = None) -> jax.Array:
        """Samples float32 `[n, *shape]`; one example without `n`."""
        count = _check_sample(config, variables, key, n)
        x = network(config).apply(variables, key, count, method="sample")
        x = x.reshape(-1, *config.shape)
        return x if n else x[0]

    return init, sample


def _check_sample(config: Any, variables: Any, key: jax.Array, n: int | None) -> int:
    """Returns the number of samples; checks the arguments of a function `sample`."""
    if not hasattr(config, "shape") or isinstance(config, jax.Array):
        raise ValueError(
            f"sample: the first argument must be a Config, got {checks.describe(config)}; the"
            f" arguments are (config, variables, key, n)."
        )
    checks.variables_dict("sample", variables)
    checks.check_key("sample", key)
    return checks.sample_count(n)


def image_samplers(family: str, draw: Callable[..., jax.Array]) -> tuple[Sampler, Sampler]:
    """Returns the functions `sample` and `complete` of a family of images in raster order.

    `draw(config, variables, key, n, given, method, **conditions)` samples `[n, *shape]`, where
    `given` is None or the known values.
    """

    def sample(
        config: Any,
        variables: Any,
        key: jax.Array,
        n: int | None = None,
        *,
        method: SamplingMethod = "cached",
        **conditions: Any,
    ) -> jax.Array:
        """Samples float32 `[n, *shape]` of levels 0 .. levels - 1; one image without `n`.

        All methods give the same images up to rounding, see `genjax.core.autoregressive`. The
        `label` `[n]` of a conditional model is uniform by default.
        """
        x = draw(
            config,
            variables,
            key,
            _check_sample(config, variables, key, n),
            None,
            method,
            **conditions,
        )
        return x if n else x[0]

    def complete(
        config: Any,
        variables: Any,
        key: jax.Array,
        x: Any,
        known: Any,
        *,
        method: SamplingMethod = "cached",
        **conditions: Any,
    ) -> jax.Array:
        """Samples the unknown values of images given the known ones: `[B, *shape]`.

        `known` is bool `[*shape]`; the known values must come first in raster order, and the others
        in `x` `[B, *shape]` are ignored. `method` and `conditions` are those of `sample`.
        """
        given = _check_known(family, x, known, config)
        return draw(config, variables, key, len(x), given, method, **conditions)

    return sample, complete


def _check_known(family: str, x: Any, known: Any, config: Any) -> KnownValues:
    flags, shape = np.asarray(known), config.shape
    if jnp.shape(x)[1:] != shape or flags.shape != shape or flags.dtype != bool:
        raise ValueError(
            f"{family}: x must be images [B, {', '.join(map(str, shape))}] and known a bool mask"
            f" {list(shape)}, got {list(jnp.shape(x))} and {flags.dtype} {list(flags.shape)}."
        )
    if (np.diff(flags.reshape(-1).astype(int)) > 0).any():
        raise ValueError(f"{family}: the known values must come first in raster order.")
    x = jnp.asarray(x, jnp.float32)
    if checks.concrete(x):
        check_levels(family, np.asarray(x)[:, flags], config.levels, "known values")
    return x, flags


def check_levels(family: str, x: np.ndarray, levels: int, name: str) -> None:
    """Raises ValueError if a value is not an integer from 0 to levels - 1."""
    if not np.isin(x, np.arange(levels)).all():
        raise ValueError(
            f"{family}: {name} must be integers from 0 to {levels - 1}, got values from"
            f" {x.min():g} to {x.max():g}."
        )


def _initial_image(
    noise: jax.Array, given: KnownValues | None
) -> tuple[jax.Array, jax.Array | None]:
    """Returns zeros with the known values filled in, and their mask or None."""
    if given is None:
        return jnp.zeros_like(noise), None
    x, known = given
    return jnp.where(known[None], x, 0.0), jnp.asarray(known)


def draw_naive(
    draw: Draw, noise: jax.Array, given: KnownValues | None = None, together: int = 1
) -> jax.Array:
    """Samples value by value, each from an evaluation of the whole network.

    Args:
      draw: `x -> x'`, each value drawn given those before it in `x`, from the same noise.
      noise: of `draw_noise`, as `draw` uses it.
      given: images `[B, *shape]` and a bool mask `[*shape]` of the values that are known, which
        come first in the order; None draws everything.
      together: number of consecutive values that one `draw` samples together, such as the channels
        of a pixel; it must keep the known ones.

    Returns:
      `[B, *shape]`.
    """
    x, _ = _initial_image(noise, given)
    first = 0 if given is None else int(np.asarray(given[1]).sum())
    size = x[0].size

    def values(d: jax.Array, x: jax.Array) -> jax.Array:
        here = (jnp.arange(size) // together == d).reshape(x.shape[1:])
        return jnp.where(here[None], draw(x), x)

    return jax.lax.fori_loop(first // together, size // together, values, x)


def draw_parallel(
    draw: Draw, noise: jax.Array, given: KnownValues | None = None
) -> tuple[jax.Array, jax.Array]:
    """Samples all values at once until none changes; arguments as for `draw_naive`.

    Returns:
      images `[B, *shape]`, and the number of rounds, `[]` int32.
    """
    x, known = _initial_image(noise, given)

    def unfinished(carry: Any) -> jax.Array:
        _, changed, rounds = carry
        return changed & (rounds < x[0].size)

    def all_at_once(carry: Any) -> Any:
        old, _, rounds = carry
        new = draw(old)
        new = new if known is None else jnp.where(known[None], old, new)
        # NaN stays NaN, but would compare unequal to itself.
        return new, ~jnp.array_equal(new, old, equal_nan=True), rounds + 1

    x, _, rounds = jax.lax.while_loop(unfinished, all_at_once, (x, jnp.array(True), jnp.array(0)))
    return x, rounds


def draw_images(
    method: str,
    draw: Draw,
    cached: Callable[[], jax.Array],
    noise: jax.Array,
    given: KnownValues | None = None,
    together: int = 1,
) -> jax.Array:
    """Samples images by the sampler named `method`: `[B, *shape]`.

    `cached` is the family's own sampler, with the same noise and known values; the other arguments
    are those of `draw_naive`.
    """
    checks.one_of(SAMPLING_METHODS, method=method)
    if method == "cached":
        return cached()
    if method == "naive":
        return draw_naive(draw, noise, given, together)
    return draw_parallel(draw, noise, given)[0]
