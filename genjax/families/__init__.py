"""Names of the families. A family is a module; it is imported when it is asked for."""

import importlib
from typing import Any

FAMILIES = {
    "fvsbn": "genjax.families.fvsbn",
    "nade": "genjax.families.nade",
    "made": "genjax.families.made",
    "orderless_nade": "genjax.families.orderless_nade",
    "rnade": "genjax.families.rnade",
    "pixelcnn": "genjax.families.pixelcnn",
    "pixelcnn_pp": "genjax.families.pixelcnn_pp",
    "pixelrnn": "genjax.families.pixelrnn",
    "joint": "genjax.families.joint",
    "markov": "genjax.families.markov",
    "mixture": "genjax.families.mixture",
    "vae": "genjax.families.vae",
    "hierarchical_vae": "genjax.families.hierarchical_vae",
    "m2": "genjax.families.m2",
    "gan": "genjax.families.gan",
    "dcgan": "genjax.families.dcgan",
    "infogan": "genjax.families.infogan",
}


def get(name: str) -> Any:
    """The module of one family.

    Raises:
      ValueError: no family has this name.
    """
    if name not in FAMILIES:
        raise ValueError(f"no family is called '{name}'; there are {', '.join(FAMILIES)}.")
    return importlib.import_module(FAMILIES[name])


def of(name: str, config: Any) -> Any:
    """The same, of which a Config must be.

    Raises:
      ValueError: no family has this name, or the Config is another's.
    """
    family = get(name)
    if not isinstance(config, family.Config):
        raise ValueError(
            f"{name} takes genjax.families.{name}.Config, and this is a"
            f" {type(config).__module__}.{type(config).__qualname__}."
        )
    return family
