"""Updates of pix2pix against a plain implementation of the paper and its released code."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from support.helpers import random_arrays
from support.translation_reference import (
    adam,
    assert_same_update,
    log_loss,
    patch_discriminator,
    unet,
)

from genjax.core import init_state, make_step
from genjax.families import pix2pix

DOWNS, DROPPED, LAYERS = 3, (2, 1), 1
CONFIG = pix2pix.Config(
    shape=(8, 8, 2),
    width=2,
    downs=DOWNS,
    dropout_blocks=2,
    discriminator_width=3,
    discriminator_layers=LAYERS,
)


def reference_step(networks, moments, step, x, y, masks):
    """D on the fake of the old G, halved; then G against the new D on the same fake."""

    def generate(params):
        return unet(params, x, masks, DOWNS, masks)

    def discriminate(params, images):
        return patch_discriminator(params, jnp.concatenate([x, images], -1), LAYERS)

    fake = generate(networks["generator"])

    def discriminator_loss(params):
        return (log_loss(discriminate(params, y), 1) + log_loss(discriminate(params, fake), 0)) / 2

    def generator_loss(params, discriminator):
        fake = generate(params)
        return log_loss(discriminate(discriminator, fake), 1) + 100 * jnp.abs(y - fake).mean()

    d_value, d_grads = jax.value_and_grad(discriminator_loss)(networks["discriminator"])
    d, d_moments = adam(networks["discriminator"], d_grads, moments["discriminator"], step)
    g_value, g_grads = jax.value_and_grad(generator_loss)(networks["generator"], d)
    g, g_moments = adam(networks["generator"], g_grads, moments["generator"], step)
    values = {"discriminator_loss": d_value, "generator_loss": g_value}
    new = {"generator": g, "discriminator": d}
    return new, {"generator": g_moments, "discriminator": d_moments}, values


def recorded(masks):
    """Interceptor of Flax modules: appends dropout's factors and applies the same ones."""

    def intercept(next_fun, args, kwargs, context):
        if not isinstance(context.module, nn.Dropout):
            return next_fun(*args, **kwargs)
        masks.append(next_fun(jnp.ones(args[0].shape)))
        return args[0] * masks[-1]

    return intercept


def test_updates():
    """Two updates: the losses, Adam's moments (so the gradients), and the weights.

    The dropout masks are recorded, since the reference draws no random numbers.
    """
    networks = random_arrays(functools.partial(pix2pix.init, CONFIG))["params"]
    optimizers = {name: optax.adam(2e-4, b1=0.5) for name in networks}
    variables = {"params": networks}
    state = init_state(pix2pix, CONFIG, optimizers, jax.random.key(0), variables=variables)
    reference = jax.jit(reference_step)

    @jax.jit
    def step(state, batch):
        masks: list[jax.Array] = []
        with nn.intercept_methods(recorded(masks)):
            return *make_step(pix2pix, CONFIG, optimizers)(state, batch), masks

    moments, seen = dict.fromkeys(networks), []
    for count in (1, 2):
        rng = np.random.default_rng(count)
        x, y = (jnp.asarray(rng.uniform(-1, 1, (3, 8, 8, 2)), jnp.float32) for _ in "xy")
        state, metrics, masks = step(state, {"x": x, "y": y})
        of_d, of_g = (dict(zip(DROPPED, part, strict=True)) for part in (masks[:2], masks[2:]))
        for block in DROPPED:
            np.testing.assert_array_equal(of_d[block], of_g[block])
            assert set(np.unique(of_d[block])) == {0, 2}
        seen.append(of_d[1])
        networks, moments, values = reference(networks, moments, count, x, y, of_d)
        assert_same_update(state, metrics, networks, moments, values)
    assert (seen[0] != seen[1]).any()  # redrawn in every step
