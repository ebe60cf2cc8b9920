"""Generative models in JAX. Importing this touches no device; rooms are imported when used."""

from typing import Any

from genjax.version import __version__

__all__ = ["__version__", "jitted_step"]


def jitted_step(name: str, config: Any, optimizer: Any, **options: Any) -> Any:
    """A family's train step, compiled: `step(state, batch) -> (state, metrics)`.

    Args:
      name: of the family, such as "nade".
      config: the family's Config.
      optimizer: an Optax optimizer, the family's named tuple of them, or None for counted ones.
      **options: of `genjax.train.compile_step`.
    """
    from genjax import families
    from genjax.train import compile_step

    return compile_step(families.get(name).make_step(config, optimizer), **options)
