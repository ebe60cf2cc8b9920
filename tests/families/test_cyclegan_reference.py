"""Updates of CycleGAN against a plain implementation of the paper and its released code."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from support.helpers import random_arrays
from support.translation_reference import adam, assert_same_update, patch_discriminator, resnet

from genjax.core import init_state, make_step
from genjax.families import cyclegan

DOWNS, BLOCKS, LAYERS, POOL, BATCH = 1, 1, 1, 4, 3
CYCLE_A, CYCLE_B, IDENTITY = 10, 7, 0.5
CONFIG = cyclegan.Config(
    shape=(8, 8, 2),
    width=2,
    downs=DOWNS,
    blocks=BLOCKS,
    discriminator_width=3,
    discriminator_layers=LAYERS,
    cycle_a=CYCLE_A,
    cycle_b=CYCLE_B,
    pool=POOL,
)


def generate(params, x):
    return resnet(params, x, DOWNS, BLOCKS)


def squared(params, x, target):
    """Mean over patches and batch of (D(x) - target)^2."""
    return ((patch_discriminator(params, x, LAYERS) - target) ** 2).mean()


def generators_loss(g, d, x, y):
    """Adversarial, cycle and identity losses of both directions; and the fakes."""
    fake_b, fake_a = generate(g["ab"], x), generate(g["ba"], y)
    distance = lambda a, b: jnp.abs(a - b).mean()  # noqa: E731
    loss = squared(d["b"], fake_b, 1) + squared(d["a"], fake_a, 1)
    loss += CYCLE_A * distance(generate(g["ba"], fake_b), x)
    loss += CYCLE_B * distance(generate(g["ab"], fake_a), y)
    loss += IDENTITY * CYCLE_B * distance(generate(g["ab"], y), y)
    loss += IDENTITY * CYCLE_A * distance(generate(g["ba"], x), x)
    return loss, {"a": fake_a, "b": fake_b}


def discriminator_loss(params, real, fake):
    return (squared(params, real, 1) + squared(params, fake, 0)) / 2


@jax.jit
def reference_generators(g, d, x, y):
    return jax.value_and_grad(generators_loss, has_aux=True)(g, d, x, y)


reference_discriminator = jax.jit(jax.value_and_grad(discriminator_loss))


def exchanged(pool, fakes, choices):
    """One image after another; `choices` are slots to swap with, or None."""
    pool, out = list(pool), []
    for fake, slot in zip(fakes, choices, strict=True):
        if len(pool) < POOL:
            pool.append(fake)
            out.append(fake)
        elif slot is None:
            out.append(fake)
        else:
            out.append(pool[slot])
            pool[slot] = fake
    return pool, np.stack(out)


def possible_exchanges(pool, fakes, new_pool):
    """Returns what D can have been given, from the family's pools before and after.

    A slot that is swapped twice does not show the first swap, so there can be several answers.
    """
    random = max(0, len(pool) + BATCH - POOL)  # images that come to a full pool
    out = []
    for choices in itertools.product((None, *range(POOL)), repeat=random):
        after, given = exchanged(pool, fakes, (None,) * (BATCH - random) + choices)
        if len(after) == len(new_pool) and np.allclose(after, new_pool, atol=1e-3):
            out.append(given)
    return out


def test_updates():
    """Four simultaneous updates, while the pools are filled and then full.

    The random choices of the pools are read off the pools, since the reference draws none.
    """
    networks = random_arrays(functools.partial(cyclegan.init, CONFIG))["params"]
    optimizers = {name: optax.adam(2e-4, b1=0.5) for name in networks}
    variables = {"params": networks}
    state = init_state(cyclegan, CONFIG, optimizers, jax.random.key(1), variables=variables)
    step = jax.jit(make_step(cyclegan, CONFIG, optimizers))
    moments, swaps = dict.fromkeys(networks), 0

    def pools(state):
        held = jax.device_get(state.variables["buffers"]["discriminators"])
        return {domain: pool["images"][: pool["count"]] for domain, pool in held.items()}

    for count in range(1, 5):
        rng = np.random.default_rng(count)
        x, y = (jnp.asarray(rng.uniform(-1, 1, (BATCH, 8, 8, 2)), jnp.float32) for _ in "xy")
        before = pools(state)
        state, metrics = step(state, {"x": x, "y": y})
        g, d = networks["generators"], networks["discriminators"]
        (g_value, fakes), g_grads = reference_generators(g, d, x, y)
        d_value, d_grads = 0, {}
        for domain, real in (("a", x), ("b", y)):
            found = metrics[f"discriminators_loss_{domain}"]
            options = possible_exchanges(before[domain], fakes[domain], pools(state)[domain])
            results = [reference_discriminator(d[domain], real, o) for o in options]
            value, d_grads[domain] = min(results, key=lambda r, v=found: abs(r[0] - v))
            d_value += value
            full = len(before[domain]) == POOL
            swaps += full and not np.array_equal(before[domain], pools(state)[domain])
        new_g, g_moments = adam(g, g_grads, moments["generators"], count)
        new_d, d_moments = adam(d, d_grads, moments["discriminators"], count)
        networks = {"generators": new_g, "discriminators": new_d}
        moments = {"generators": g_moments, "discriminators": d_moments}
        values = {"generators_loss": g_value, "discriminators_loss": d_value}
        assert_same_update(state, metrics, networks, moments, values)
    assert swaps > 1
