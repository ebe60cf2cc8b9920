"""Names of the families. A family is a module; it is imported when it is asked for."""

import importlib
from typing import Any

FAMILIES = {
    "nade": "genjax.families.nade",
    "orderless_nade": "genjax.families.orderless_nade",
    "rnade": "genjax.families.rnade",
    "joint": "genjax.families.joint",
    "vae": "genjax.families.vae",
    "gan": "genjax.families.gan",
}


def get(name: str) -> Any:
    """The module of one family.

    Raises:
      ValueError: no family has this name.
    """
    if name not in FAMILIES:
        raise ValueError(f"no family is called '{name}'; there are {', '.join(FAMILIES)}.")
    return importlib.import_module(FAMILIES[name])
