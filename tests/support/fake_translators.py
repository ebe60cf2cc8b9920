"""Translators without a network, whose outputs are known, and runs of them."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from genjax.core import Traits
from genjax.families.stargan import attribute_sets


@dataclasses.dataclass(frozen=True, kw_only=True)
class DomainConfig:
    shape: tuple[int, ...] = (4, 4, 1)
    targets: tuple[str, ...] = ("a", "b")
    multiple: int = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttributeConfig:
    shape: tuple[int, ...] = (4, 4, 3)
    attributes: tuple[str, ...] = ("red", "green", "bold")
    exclusive: tuple[str, ...] = ("red", "green")
    classification: str = "binary"
    second_attributes: tuple[str, ...] = ()
    second_classification: str = "binary"
    multiple: int = 4


class Translators:
    """Negates to b and halves to a; by attributes, sets each channel to one of them."""

    __name__ = "genjax.families.fake_translators"
    Config: Any = DomainConfig

    def traits(self, config):
        return Traits(data="images", density="none", sample_range=(-1.0, 1.0))

    def tiny(self):
        return self.Config()

    def batch_spec(self, config, batch_size):
        raise NotImplementedError

    def init(self, config, key, batch=None):
        return {"params": {"scale": jnp.ones(())}}

    def targets(self, config):
        return getattr(config, "targets", ())

    def side_multiple(self, config):
        return config.multiple

    def translate(self, config, variables, images, *, to="b", attributes=None, label=None):
        height, width = images.shape[1:3]
        assert height % config.multiple == width % config.multiple == 0
        scale = variables["params"]["scale"]
        if attributes is None:
            return scale * (-images if to == "b" else images / 2)
        levels = 2.0 * attributes.astype(jnp.float32) - 1  # [B, A]
        if label is not None:
            known = label[:, None] == jnp.asarray([[0, 0, 1]])  # the last one is of a second set
            levels = jnp.where(known, levels, 0)
        return jnp.broadcast_to(levels[:, None, None] * scale, images.shape)


class AttributeTranslators(Translators):
    Config = AttributeConfig
    attribute_names = staticmethod(attribute_sets.attribute_names)
    exclusive_groups = staticmethod(attribute_sets.exclusive_groups)
    target_attributes = staticmethod(attribute_sets.target_attributes)

    def predict_attributes(self, config, variables, images):
        """An image is bold if its mean is above 0, and green."""
        bold = images.mean((1, 2, 3)) > 0
        return jnp.stack([jnp.zeros_like(bold), jnp.ones_like(bold), bold], 1).astype(jnp.uint8)
