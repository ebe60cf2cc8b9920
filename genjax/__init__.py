"""Generative models in JAX. Importing it touches no device; packages are imported when used."""

import difflib
import importlib
import os
from typing import TYPE_CHECKING, Any

from genjax.version import __version__

if TYPE_CHECKING:
    from genjax.core.step import Optimizers
    from genjax.train.compile import CompiledStep
    from genjax.train.trained_model import from_pretrained

__all__ = ["__version__", "from_pretrained", "jitted_step"]
_PACKAGES = ("core", "data", "evals", "families", "losses", "nn", "report", "train")


def __getattr__(name: str) -> Any:
    if name == "from_pretrained":
        return importlib.import_module("genjax.train").from_pretrained
    if name not in _PACKAGES:
        near = difflib.get_close_matches(name, [*__all__, *_PACKAGES], 1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        module = os.path.join(os.path.dirname(__file__), "families", name)
        if os.path.isdir(module) or os.path.isfile(f"{module}.py"):
            hint = f"; families are in genjax.families: from genjax.families import {name}"
        raise AttributeError(f"module 'genjax' has no attribute '{name}'{hint}")
    return importlib.import_module(f"genjax.{name}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_PACKAGES])


def jitted_step(
    name: str, config: Any, optimizer: "Optimizers | None", **options: Any
) -> "CompiledStep":
    """Returns a family's compiled train step, `step(state, batch) -> (state, metrics)`.

    `genjax.core.init_state` makes the state. The step donates it: the new state reuses its memory,
    and the old one is deleted (`donate=False` keeps it).

    Args:
      name: of the family, such as "nade".
      config: the family's Config.
      optimizer: an Optax optimizer, a dict of them by network for families with several networks,
        or None for families fitted without a gradient.
      **options: of `genjax.train.compile_step`.

    Raises:
      ValueError: the Config is another family's, or the optimizer does not fit the family.
    """
    from genjax import families
    from genjax.core import make_step
    from genjax.train import compile_step

    return compile_step(make_step(families.of(name, config), config, optimizer), **options)
