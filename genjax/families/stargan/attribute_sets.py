"""Sets of attributes: names, the generator's condition, classification, and changes by name.

`config` is StarGAN's: `attributes`, `exclusive`, `classification` and those of a second set.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks
from genjax.losses import bernoulli_nll, categorical_nll
from genjax.nn import one_hot


def attribute_names(config: Any) -> tuple[str, ...]:
    """Returns the names of all attributes, those of the first set first."""
    return config.attributes + config.second_attributes


def check_attribute_sets(config: Any) -> None:
    """Raises ValueError if names are repeated or `exclusive` does not fit them."""
    names = attribute_names(config)
    if len(set(names)) < len(names):
        raise ValueError(f"attributes must have different names, got {', '.join(names)}.")
    if len(set(config.exclusive)) < len(config.exclusive):
        raise ValueError(f"`exclusive` must have different names, got {config.exclusive}.")
    sets = (config.attributes, config.second_attributes)
    if not any(set(config.exclusive) <= set(one) for one in sets):
        raise ValueError(
            f"`exclusive` must have names of one set of attributes ({', '.join(names)}), got"
            f" {', '.join(config.exclusive)}; set it to those of which exactly one is 1, or to ()."
        )


def exclusive_groups(config: Any) -> list[np.ndarray]:
    """Returns the columns of each group of attributes of which exactly one is 1."""
    names, groups = attribute_names(config), []
    if config.classification == "softmax":
        groups.append(config.attributes)
    if config.second_classification == "softmax":
        groups.append(config.second_attributes)
    if not any(set(config.exclusive) <= set(group) for group in groups):
        groups.append(config.exclusive)
    return [np.array([names.index(name) for name in group]) for group in groups if group]


def condition(config: Any, attributes: jax.Array, label: jax.Array | None = None) -> jax.Array:
    """Returns the generator's second input.

    Args:
      config: the Config.
      attributes: `[B, A]` in {0, 1}.
      label: `[B]`, the set that is known, 0 or 1; only of two sets.

    Returns:
      float32 `[B, A]`; with two sets `[B, A + 2]`, where the unknown part is 0 and the last two
      entries are the mask.
    """
    values = jnp.asarray(attributes, jnp.float32)
    if not config.second_attributes:
        return values
    mask = one_hot(jnp.asarray(label), 2)
    sets = np.repeat([0, 1], [len(config.attributes), len(config.second_attributes)])
    return jnp.concatenate([values * mask[:, sets], mask], axis=1)


def classification_nats(config: Any, logits: jax.Array, condition: jax.Array) -> jax.Array:
    """Computes -log p(known attributes) of a condition, `[B]` nats, from logits `[B, A]`."""
    first, count = len(config.attributes), len(attribute_names(config))
    parts: list[tuple[str, slice]] = [(config.classification, slice(first))]
    if config.second_attributes:
        parts.append((config.second_classification, slice(first, count)))
    total = jnp.zeros(logits.shape[:1], jnp.float32)
    for i, (kind, part) in enumerate(parts):
        own, values = logits[:, part], condition[:, part]
        if kind == "binary":
            nats = bernoulli_nll(own, values)
        else:
            nats = categorical_nll(own, jnp.argmax(values, axis=1))
        total = total + (nats * condition[:, count + i] if config.second_attributes else nats)
    return total


def target_attributes(
    config: Any, attributes: np.ndarray, changes: Mapping[str, int]
) -> np.ndarray:
    """Changes attributes by name.

    Args:
      config: the Config.
      attributes: `[N, A]` in {0, 1}.
      changes: new values, 0 or 1. A 1 clears the attributes that exclude it.

    Returns:
      uint8 `[N, A]`.

    Raises:
      ValueError: a name or value is invalid, two attributes that exclude each other are set to 1,
        or none of a group is left.
    """
    names = attribute_names(config)
    for name, value in changes.items():
        if name not in names:
            raise ValueError(f"there is no attribute '{name}'; choose of {', '.join(names)}.")
        if value not in (0, 1):
            raise ValueError(f"attribute {name} must be set to 0 or 1, got {value}.")
    out = np.array(attributes, np.uint8)
    if out.ndim != 2 or out.shape[1] != len(names):
        raise ValueError(
            f"attributes must be [N, {len(names)}], one column for each of {', '.join(names)}, got"
            f" {checks.describe(out)}."
        )
    changed = {names.index(name): value for name, value in changes.items()}
    for group in exclusive_groups(config):
        if sum(changed.get(column, 0) for column in group) > 0:
            out[:, group] = 0
    for column, value in changed.items():
        out[:, column] = value
    for group in exclusive_groups(config):
        count = out[:, group].sum(1)
        if set(group) & set(changed) and (count != 1).any():
            found = "none" if (count == 0).any() else "several"
            raise ValueError(
                f"exactly one of {', '.join(names[c] for c in group)} must be 1, and the changes"
                f" leave {found}; set one of them to 1."
            )
    return out
