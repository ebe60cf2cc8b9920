"""Batches of examples `[B, *shape]`, and images of any size: specification and checks."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from genjax import checks
from genjax.core.protocols import Batch, TextConditional


def batch_spec(config: Any, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns `x`: float32 `[B, *shape]`, and for a Config with classes `label`: int32 `[B]`."""
    spec = {"x": jax.ShapeDtypeStruct((batch_size, *config.shape), jnp.float32)}
    if getattr(config, "classes", 0):
        spec["label"] = jax.ShapeDtypeStruct((batch_size,), jnp.int32)
    return spec


def check_batch(family: str, config: Any, batch: Batch) -> None:
    """Raises ValueError if a batch does not fit `batch_spec`."""
    checks.batch(family, batch, functools.partial(batch_spec, config))


def flat_events(family: str, config: Any, x: jax.Array) -> jax.Array:
    """Returns `x` `[B, *shape]` as `[B, D]`; raises ValueError if its shape is another."""
    checks.events(family, x, config.shape)
    return x.reshape(x.shape[0], -1)


def check_density(
    cls: Any, config: Any, variables: Any, x: jax.Array, levels: int | None = None
) -> None:
    """Checks the arguments of a family's `log_prob`.

    Args:
      cls: the family's Config.
      config: should be an instance of it.
      variables: should be a dict of collections.
      x: examples; inside `jax.jit`, where values are not available, the density of values that are
        no level is NaN.
      levels: integers 0 .. levels - 1 that the family models; None is real numbers.

    Raises:
      ValueError: an argument is another, or a value is no level.
    """
    checks.config_and_variables(cls, config, variables)
    if levels is None:
        return
    fix = f"give levels 0 .. {levels - 1} as they are, unscaled, or set the Config's `levels`"
    if levels == 2:
        fix = "binarize grey levels, by (x > 127).astype('float32') or `transform` of the data"
    checks.values(f"{checks.family_of(cls)}: x", x, 0, levels - 1, fix, integers=True)


def check_translation(family: str, images: jax.Array, channels: int, multiple: int = 1) -> None:
    """Checks images of any size: float32 `[B, H, W, channels]`.

    Args:
      family: name, for the message.
      images: array.
      channels: their number.
      multiple: number that H and W are multiples of.

    Raises:
      ValueError: the shape or dtype differs.
    """
    expected = f"float32[B, H, W, {channels}]"
    shape = tuple(getattr(images, "shape", ()))
    if len(shape) != 4 or shape[-1] != channels:
        raise ValueError(
            f"{family}: images must be {expected}, got {checks.describe(images)}; reshape them."
        )
    if images.dtype != jnp.float32:
        raise ValueError(
            f"{family}: images must be {expected}, got {checks.describe(images)}; cast them with"
            " .astype('float32')."
        )
    if any(side % multiple or not side for side in shape[1:3]):
        raise ValueError(
            f"{family}: heights and widths must be positive multiples of {multiple}, got"
            f" {shape[1]}x{shape[2]}; pad the images, and crop the result."
        )


def captions_per_image(family: Any, config: Any) -> int:
    """Returns the texts of an image that a family takes, see `TextSpec.captions`; 0 if none."""
    return family.text_spec(config).captions if isinstance(family, TextConditional) else 0


def check_text(family: str, text: Any, *shape: int) -> None:
    """Checks that texts are int32 `[B, *shape]`.

    Raises:
      ValueError: they have another shape or dtype.
    """
    expected = f"int32[B, {', '.join(map(str, shape))}]"
    if tuple(getattr(text, "shape", ())[1:]) != shape or text.ndim != len(shape) + 1:
        raise ValueError(
            f"{family}: text must be {expected}, got {checks.describe(text)}; encode captions by"
            f" the tokenizer of the data."
        )
    if text.dtype != jnp.int32:
        raise ValueError(
            f"{family}: text must be {expected}, got {checks.describe(text)}; cast it with"
            f" .astype('int32')."
        )
