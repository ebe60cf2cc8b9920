"""Generative models in JAX. Importing this touches no device; rooms are imported when used."""

from typing import Any

from genjax.version import __version__

__all__ = ["__version__", "jitted_step"]


def jitted_step(name: str, config: Any, optimizer: Any, **options: Any) -> Any:
    """A family's train step, compiled: `step(state, batch) -> (state, metrics)`.

    A state is made by `genjax.core.init_state`, inside `jax.jit`. The step takes the state's memory
    for the new one: the old is gone afterwards (`donate=False` keeps it).

    Args:
      name: of the family, such as "nade".
      config: the family's Config.
      optimizer: an Optax optimizer, the family's named tuple of them, or None for counted ones.
      **options: of `genjax.train.compile_step`.

    Raises:
      ValueError: the Config is another family's, or the optimizer is not of the family's kind.
    """
    from genjax import families
    from genjax.core import make_step
    from genjax.train import compile_step

    family = families.of(name, config)
    if family.traits(config).fit != "gradient":
        if optimizer is not None:
            raise ValueError(f"{name} is not fitted by gradient: give None for the optimizer.")
    elif hasattr(family, "Optimizers"):
        if not isinstance(optimizer, family.Optimizers):
            raise ValueError(
                f"{name} has two players: give genjax.families.{name}.Optimizers(generator=...,"
                f" discriminator=...) of Optax optimizers."
            )
    elif not hasattr(optimizer, "update"):
        raise ValueError(
            f"{name} takes an Optax optimizer such as optax.adam(1e-3), got {optimizer!r}."
        )
    return compile_step(make_step(family, config, optimizer), **options)
