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

    return compile_step(make_step(families.of(name, config), config, optimizer), **options)
