"""Class labels as network inputs."""

from typing import Any

import jax
import jax.numpy as jnp

from genjax import checks


def one_hot(label: jax.Array, classes: int) -> jax.Array:
    """Returns labels `[B]` as `[B, classes]`; labels outside 0 .. classes - 1 give rows of NaN."""
    valid = (label >= 0) & (label < classes)
    return jnp.where(valid[:, None], jax.nn.one_hot(label, classes), jnp.nan)


def one_hot_condition(family: str, classes: int, label: Any, size: int) -> jax.Array | None:
    """Returns labels `[size]` as `[size, classes]`, or None for a model without classes."""
    if not classes:
        if label is not None:
            raise ValueError(f"{family}: the Config has no classes; omit `label`, or set classes.")
        return None
    fits = getattr(label, "shape", None) == (size,) and jnp.issubdtype(label.dtype, jnp.integer)
    if not fits:
        raise ValueError(
            f"{family}: p(x | label) of {classes} classes needs `label` int32[{size}], got"
            f" {checks.describe(label)}."
        )
    return one_hot(label, classes)


def random_label(family: str, classes: int, label: Any, key: jax.Array, size: int) -> Any:
    """Returns `label`, or `[size]` uniform draws for a model with classes and no label given."""
    if classes and label is None:
        return jax.random.randint(key, (size,), 0, classes)
    if classes:
        checks.labels(family, classes, label)
    return label


def random_condition(
    family: str, classes: int, label: Any, key: jax.Array, size: int
) -> jax.Array | None:
    """Returns `one_hot_condition` of `random_label`."""
    return one_hot_condition(family, classes, random_label(family, classes, label, key, size), size)
