"""Images pixel after pixel: what a raster density's conditionals are, and exact ways to draw them.

Every draw is a function of the conditional's logits and of one uniform number a value, by the
inverse of the cumulative distribution. So whichever way an image is drawn, the same numbers make
the same image, up to the rounding of the logits:

* `draw_naive` asks the whole network for every value, D times; it is the reference;
* `draw_parallel` draws all values at once from the logits of the image so far, again and again,
  until nothing changes (Song et al. 2021, "Accelerating Feedforward Computation via Parallel
  Nonlinear Equation Solving", arXiv:2002.03629, section 3.1: Jacobi's iteration). After k rounds
  the first k values are right for good, so it ends after D at most, and long before where far
  pixels matter little;
* a family may keep what it has computed: caches are its own.

Values lie in raster order, the channels of a pixel one after another: R, then G, then B.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks
from genjax.core.protocols import Traits
from genjax.losses import bernoulli_nats, categorical_nats

# x [B, H, W, C] -> every value drawn given those before it in x, by fixed noise
Draw = Callable[[jax.Array], jax.Array]
KnownValues = tuple[jax.Array, np.ndarray]
SamplingMethod = Literal["cached", "parallel", "naive"]
SAMPLING_METHODS = ("cached", "parallel", "naive")


def check_image_shape(shape: tuple[int, ...], levels: int, **shared: int) -> None:
    """Refuse a Config of no image, of one level, or of fewer features than channels share them.

    Raises:
      ValueError: one sentence.
    """
    if levels < 2:
        raise ValueError(f"levels must be 2 or above, got {levels}.")
    if len(shape) != 3:
        raise ValueError(f"shape must be (H, W, C), got {shape}.")
    if shared and min(shared.values()) < shape[2]:
        raise ValueError(
            f"{' and '.join(shared)} are shared among {shape[2]} channels; set both to"
            f" {shape[2]} or above."
        )


def level_traits(levels: int) -> Traits:
    """Of an exact density: binary, or whole numbers of several levels."""
    if levels == 2:
        return Traits(data="binary", density="exact")
    return Traits(data="levels", density="exact", sample_range=(0.0, levels - 1.0))


def batch_spec(config: Any, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """`x`: float32 `[B, *shape]`, levels from 0; with classes also `label`: int32 `[B]`."""
    spec = {"x": jax.ShapeDtypeStruct((batch_size, *config.shape), jnp.float32)}
    if config.classes:
        spec["label"] = jax.ShapeDtypeStruct((batch_size,), jnp.int32)
    return spec


def order(config: Any) -> np.ndarray:
    """`[D]`: raster order, a pixel's channels one after another."""
    return np.arange(math.prod(config.shape))


def conditional_nats(logits: jax.Array, x: jax.Array, levels: int) -> jax.Array:
    """-log p(x_d | x_<d), `[B, *shape]` nats; NaN of values that are no level.

    Args:
      logits: `[B, *shape]` of p(x = 1) with two levels, `[B, *shape, levels]` with more.
      x: `[B, *shape]` whole numbers 0 .. levels - 1, float32.
      levels: of a value.
    """
    if levels == 2:
        nats = bernoulli_nats(logits, x)
    else:
        nats = categorical_nats(logits, x.astype(jnp.int32))
    return nan_unless_level(nats, x, levels)


def nan_unless_level(nats: jax.Array, x: jax.Array, levels: int) -> jax.Array:
    """NaN where a value is no whole number from 0 to levels - 1: it has no probability."""
    return jnp.where((x == jnp.round(x)) & (x >= 0) & (x < levels), nats, jnp.nan)


def nan_unless_binary(values: jax.Array, x: jax.Array) -> jax.Array:
    """NaN where an example `[B, ...]` holds anything but 0 and 1: `[B]` of its log p, or nats."""
    bits = jnp.all((x == 0) | (x == 1), axis=tuple(range(1, x.ndim)))
    return jnp.where(bits, values, jnp.nan)


def draw_values(logits: jax.Array, noise: jax.Array, levels: int) -> jax.Array:
    """The values at which the cumulative probability passes `noise`: `[...]` float32.

    NaN where a logit is: an unknown label, or a network that has diverged, draws nothing.

    Args:
      logits: `[...]` with two levels, `[..., levels]` with more.
      noise: uniform in (0, 1), `[...]`.
      levels: of a value.
    """
    if levels == 2:
        value = (noise < jax.nn.sigmoid(logits)).astype(jnp.float32)
        return jnp.where(jnp.isnan(logits), jnp.nan, value)
    sums = jnp.cumsum(jax.nn.softmax(logits, axis=-1), axis=-1)
    below, whole = sums[..., :-1], sums[..., -1]
    # Rounding may leave the whole below 1: what lacks is no share of the last level.
    value = jnp.sum((noise * whole)[..., None] >= below, axis=-1).astype(jnp.float32)
    return jnp.where(jnp.isnan(whole), jnp.nan, value)


def draw_noise(key: jax.Array, n: int, shape: tuple[int, ...]) -> jax.Array:
    """One uniform number a value, in (0, 1): `[n, *shape]`.

    Multiples of 2^-23, and half of one: a 0 would draw the first level whatever its probability.
    """
    return jax.random.uniform(key, (n, *shape), jnp.float32) + 2.0**-24


def check_known(
    family: str, given: KnownValues | None, noise: jax.Array, levels: int
) -> KnownValues | None:
    """Images and their mask as arrays; refuse what does not fit, or is no beginning of the order.

    Raises:
      ValueError: one sentence.
    """
    if given is None:
        return None
    x, known = given
    flags = np.asarray(known)
    if jnp.shape(x) != noise.shape or flags.shape != noise.shape[1:] or flags.dtype != bool:
        raise ValueError(
            f"{family}: given must be images {list(noise.shape)} and a bool mask"
            f" {list(noise.shape[1:])}, got {list(jnp.shape(x))} and {flags.dtype}"
            f" {list(flags.shape)}."
        )
    if (np.diff(flags.reshape(-1).astype(int)) > 0).any():
        raise ValueError(f"{family}: the known values must come first in raster order.")
    x = jnp.asarray(x, jnp.float32)
    if checks.concrete(x):
        check_levels(family, np.asarray(x)[:, flags], levels, "known values")
    return x, flags


def check_levels(family: str, x: np.ndarray, levels: int, name: str) -> None:
    """Refuse values that are no level.

    Raises:
      ValueError: one sentence.
    """
    if not np.isin(x, np.arange(levels)).all():
        raise ValueError(
            f"{family}: {name} must be whole numbers from 0 to {levels - 1}, got some from"
            f" {x.min():g} to {x.max():g}."
        )


def initial_image(
    noise: jax.Array, given: KnownValues | None
) -> tuple[jax.Array, jax.Array | None]:
    """An image to begin with, and which of its values stay: `([B, *shape], [*shape] or None)`."""
    if given is None:
        return jnp.zeros_like(noise), None
    x, known = given
    return jnp.where(known[None], x, 0.0), jnp.asarray(known)


def draw_naive(
    draw: Draw, noise: jax.Array, given: KnownValues | None = None, together: int = 1
) -> jax.Array:
    """The whole network for every value: `[B, *shape]`.

    Args:
      draw: `x -> x'`, each value drawn given those before it in `x`, by the same noise every time.
      noise: of `draw_noise`, as `draw` uses it.
      given: images `[B, *shape]` and a bool mask `[*shape]` of the values that stay, which come
        first in the order; None draws everything.
      together: values that one `draw` gives right, such as the channels of a pixel where it draws
        each of them given those before it; of what is known among them it keeps what stays.
    """
    x, _ = initial_image(noise, given)
    first = 0 if given is None else int(np.asarray(given[1]).sum())
    size = x[0].size

    def values(d: jax.Array, x: jax.Array) -> jax.Array:
        here = (jnp.arange(size) // together == d).reshape(x.shape[1:])
        return jnp.where(here[None], draw(x), x)

    return jax.lax.fori_loop(first // together, size // together, values, x)


def draw_parallel(
    draw: Draw, noise: jax.Array, given: KnownValues | None = None
) -> tuple[jax.Array, jax.Array]:
    """All values at once until none changes: `[B, *shape]`, and the rounds it took, `[]` int32.

    The arguments are those of `draw_naive`.
    """
    x, known = initial_image(noise, given)

    def again(carry: Any) -> jax.Array:
        _, changed, rounds = carry
        return changed & (rounds < x[0].size)

    def all_at_once(carry: Any) -> Any:
        old, _, rounds = carry
        new = draw(old)
        new = new if known is None else jnp.where(known[None], old, new)
        # A value that is no number stays one, and would differ from itself.
        return new, ~jnp.array_equal(new, old, equal_nan=True), rounds + 1

    x, _, rounds = jax.lax.while_loop(again, all_at_once, (x, jnp.array(True), jnp.array(0)))
    return x, rounds


def draw_images(
    method: str,
    draw: Draw,
    cached: Callable[[], jax.Array],
    noise: jax.Array,
    given: KnownValues | None = None,
    together: int = 1,
) -> jax.Array:
    """An image by the way of that name: `[B, *shape]`.

    Args:
      method: cached, parallel or naive.
      draw: of `draw_naive`.
      cached: the family's own way, by the same noise.
      noise: of `draw_noise`.
      given: of `draw_naive`.
      together: of `draw_naive`.
    """
    checks.one_of(SAMPLING_METHODS, method=method)
    if method == "cached":
        return cached()
    if method == "naive":
        return draw_naive(draw, noise, given, together)
    return draw_parallel(draw, noise, given)[0]
