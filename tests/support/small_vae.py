"""A VAE small enough to integrate over its latents, and four images."""

import dataclasses

import jax
import jax.numpy as jnp

from genjax.families import vae
from support.helpers import random_arrays

BASE = vae.Config(
    shape=(3, 3, 1), latent=2, hidden=(6,), flow_hidden=(7, 6), pseudo_inputs=3, channels=(2, 3)
)


def config_of(**settings):
    return dataclasses.replace(BASE, **settings)


def variables_of(config, scale=0.5, seed=1):
    return random_arrays(lambda key: vae.init(config, key), scale=scale, seed=seed)


X = (jax.random.uniform(jax.random.key(0), (4, 3, 3, 1)) < 0.4).astype(jnp.float32)
