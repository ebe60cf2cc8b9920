"""A density completes: missing pixels given known ones, exactly where the order allows."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def completable(order: np.ndarray, known: np.ndarray) -> bool:
    """Whether the known pixels come first in the order: then the chain rule completes exactly."""
    flags = np.asarray(known).reshape(-1)[order]
    return bool((np.diff(flags.astype(int)) <= 0).all())


def complete(
    family: Any,
    config: Any,
    variables: Any,
    key: jax.Array,
    x: jax.Array,
    known: np.ndarray,
    **condition: Any,
) -> jax.Array:
    """Exact samples of the missing pixels given the known ones: `[B, *shape]` in {0, 1}, or levels.

    A family with `sample_given` (any mask) is asked for it. Else pixel after pixel in the
    family's order, which is exact where the known pixels come first in it; by the family's own
    `sample(given=)`, where it takes that.

    Args:
      family: a module with `logits` and `order`, or with `sample_given`.
      config: its Config.
      variables: fitted.
      key: of the draws.
      x: `[B, *shape]` in {0, 1}; entries that are not known are ignored.
      known: bool `[*shape]`, the same for all images.
      **condition: what the family is told with each image, such as `label` `[B]`; only where it
        completes by its own `sample(given=)`.

    Raises:
      ValueError: the family knows no such conditional.
    """
    known = np.asarray(known, bool)
    if known.shape != tuple(config.shape):
        raise ValueError(f"known must be {tuple(config.shape)} as one image, got {known.shape}.")
    x = jnp.where(known[None], x, 0)  # what is not known cannot be looked at
    if hasattr(family, "sample_given"):
        if condition:
            raise ValueError(
                f"{family.__name__} completes without {', '.join(condition)}; leave out."
            )
        visible = jnp.broadcast_to(jnp.asarray(known, jnp.float32)[None], x.shape)
        return family.sample_given(config, variables, key, x, visible)
    own = "given" in inspect.signature(family.sample).parameters
    if not own and not hasattr(family, "logits"):
        raise ValueError(f"{family.__name__} has no conditionals to complete images with.")
    order = np.asarray(family.order(config))
    if not completable(order, known):
        raise ValueError(
            f"{family.__name__.split('.')[-1]} conditions only on pixels that come first in its"
            f" order; make the known pixels a beginning of it, or take an orderless family."
        )
    if own:
        return family.sample(config, variables, key, len(x), given=(x, known), **condition)
    if condition:
        raise ValueError(f"{family.__name__} completes without {', '.join(condition)}; leave out.")
    start = int(known.sum())
    noise = jax.random.uniform(key, (order.size, x.shape[0]))

    def pixel(d: jax.Array, flat: jax.Array) -> jax.Array:
        logits = family.logits(config, variables, flat.reshape(x.shape))
        place = jnp.asarray(order)[d]
        p = jax.nn.sigmoid(logits.reshape(x.shape[0], -1)[:, place])
        return flat.at[:, place].set((noise[d] < p).astype(flat.dtype))

    flat = jax.lax.fori_loop(start, order.size, pixel, x.reshape(x.shape[0], -1))
    return flat.reshape(x.shape)


def heat_map(family: Any, config: Any, variables: Any, x: jax.Array) -> jax.Array:
    """-log p(x_d | pixels before d), `[B, *shape]` nats: where an image surprises the density."""
    return -family.log_conditionals(config, variables, x)
