"""CycleGAN: sizes, options against a plain reference, switches, gradients."""

import dataclasses
import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.helpers import make_batch, make_state, random_arrays
from support.translation_reference import (
    conv,
    instance_norm,
    log_loss,
    patch_discriminator,
    reflected,
)

from experiments.benchmarks import flops
from genjax.core import GanObjective, init_state, make_step
from genjax.families import cyclegan

SMALL = cyclegan.Config(
    shape=(8, 12, 1),
    width=2,
    blocks=1,
    downs=1,
    kernel=3,
    discriminator_width=2,
    discriminator_layers=1,
    pool=3,
)
BCE = GanObjective(loss="non_saturating", update="simultaneous")


def sizes(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_parameter_counts():
    config = cyclegan.Config()
    variables = jax.eval_shape(lambda: cyclegan.init(config, jax.random.key(0)))
    params = variables["params"]
    assert {sizes(p) for p in params["generators"].values()} == {11_378_179}
    assert {sizes(p) for p in params["discriminators"].values()} == {2_764_737}
    pools = variables["buffers"]["discriminators"]
    assert pools["a"]["images"].shape == pools["b"]["images"].shape == (50, *config.shape)


def resized(p, x):
    """The generator with resize-convolution, one block and one halving."""
    active = lambda x: nn.relu(instance_norm(x))  # noqa: E731
    x = active(conv(reflected(x, 1), p["Conv_0"]))
    x = active(conv(x, p["Conv_1"], 2, 1))
    y = active(conv(reflected(x, 1), p["Conv_2"]))
    x = x + instance_norm(conv(reflected(y, 1), p["Conv_3"]))
    x = active(conv(jnp.repeat(jnp.repeat(x, 2, 1), 2, 2), p["Conv_4"], 1, 1))
    return jnp.tanh(conv(reflected(x, 1), p["Conv_5"]))


def test_an_update_without_pool_and_identity_equals_a_plain_reference():
    """Binary cross-entropy, resize-convolutions; test_cyclegan_reference.py has the default."""
    config = dataclasses.replace(
        SMALL, upsampling="resize", pool=0, identity=0.0, cycle_b=7.0, objective=BCE
    )
    optimizers = {name: optax.sgd(0.05) for name in cyclegan.LOSSES}
    params = random_arrays(lambda key: cyclegan.init(config, key)["params"])
    build = functools.partial(init_state, cyclegan, config, optimizers, jax.random.key(4))
    state = jax.jit(lambda p: build(variables={"params": p}))(params)
    batch = make_batch(cyclegan, config, 2)
    x, y, old = batch["x"], batch["y"], params["discriminators"]

    @jax.jit
    def reference(params):
        def loss(params):
            """Of both, since each term has a gradient for one of them only."""
            g, d, fixed = params["generators"], params["discriminators"], jax.lax.stop_gradient
            ab, ba = functools.partial(resized, g["ab"]), functools.partial(resized, g["ba"])
            logits = lambda p, x: patch_discriminator(p, x, 1)  # noqa: E731
            total = log_loss(logits(old["b"], ab(x)), 1) + log_loss(logits(old["a"], ba(y)), 1)
            total += 10 * jnp.abs(ba(ab(x)) - x).mean() + 7 * jnp.abs(ab(ba(y)) - y).mean()
            fakes = fixed({"a": ba(y), "b": ab(x)})
            half = sum(
                (log_loss(logits(d[name], real), 1) + log_loss(logits(d[name], fakes[name]), 0)) / 2
                for name, real in (("a", x), ("b", y))
            )
            return total + half, (total, half)

        grads, values = jax.grad(loss, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - 0.05 * g, params, grads), values

    want, (total, half) = reference(params)
    new, metrics = jax.jit(make_step(cyclegan, config, optimizers))(state, batch)
    np.testing.assert_allclose(metrics["generators_loss"], total, rtol=1e-4)
    np.testing.assert_allclose(metrics["discriminators_loss"], half, rtol=1e-4)
    chex.assert_trees_all_close(new.variables["params"], want, atol=1e-5, rtol=1e-3)
    assert set(new.variables) == {"params"}
    for to, name, images in (("a", "ba", y), ("b", "ab", x)):
        got = cyclegan.translate(config, state.variables, images, to=to)
        np.testing.assert_allclose(got, resized(params["generators"][name], images), atol=1e-5)


class Scaled(nn.Module):
    factor: float = 1.0

    def __call__(self, x):
        return self.factor * x


@pytest.mark.parametrize("factor", [1.0, -1.0])
def test_generators_that_invert_each_other_have_no_cycle_loss(factor, monkeypatch):
    variables = make_state(cyclegan, SMALL).variables
    batch = make_batch(cyclegan, SMALL, 3)
    monkeypatch.setattr(cyclegan, "generator", lambda config: Scaled(factor))
    loss = jax.jit(functools.partial(cyclegan.generators_loss, SMALL))
    _, aux = loss(variables, batch, jax.random.key(0))
    for domain, images in (("a", batch["x"]), ("b", batch["y"])):
        assert not aux[f"cycle_{domain}"].any()
        expected = (1 - factor) * jnp.abs(images).mean((1, 2, 3))
        np.testing.assert_allclose(aux[f"identity_{domain}"], expected, rtol=1e-6)


def passes(config):
    """Returns the numbers of passes of generators and discriminators in the generators' loss."""
    spec = cyclegan.batch_spec(config, 2)
    variables = jax.eval_shape(lambda: cyclegan.init(config, jax.random.key(0)))

    def count(function, *inputs):
        return flops.count(function, *inputs)

    loss = functools.partial(cyclegan.generators_loss, config, key=jax.random.key(0))
    total = count(lambda v, b: loss(v, b)[0], variables, spec)
    generator, discriminator = (
        count(
            lambda p, x, module=module: module.apply({"params": p}, x),
            next(iter(variables["params"][name].values())),
            spec["x"],
        )
        for name, module in (
            ("generators", cyclegan.generator(config)),
            ("discriminators", cyclegan.discriminator(config)),
        )
    )
    for number in (0, 2):
        left = total - number * discriminator
        if left % generator == 0:
            return left // generator, number
    raise AssertionError((total, generator, discriminator))


@pytest.mark.parametrize(
    ("settings", "generators", "discriminators", "names"),
    [
        ({}, 6, 2, "cycle_a cycle_b identity_a identity_b adversarial_a adversarial_b"),
        ({"identity": 0.0}, 4, 2, "cycle_a cycle_b adversarial_a adversarial_b"),
        ({"cycle_a": 0.0}, 4, 2, "cycle_b identity_b adversarial_a adversarial_b"),
        ({"cycle_b": 0.0, "identity": 0.0}, 3, 2, "cycle_a adversarial_a adversarial_b"),
        ({"cycle_a": 0.0, "cycle_b": 0.0}, 2, 2, "adversarial_a adversarial_b"),
        ({"adversarial": 0.0}, 6, 0, "cycle_a cycle_b identity_a identity_b"),
    ],
)
def test_terms_that_are_switched_off_are_not_computed(settings, generators, discriminators, names):
    config = dataclasses.replace(SMALL, **settings)
    assert passes(config) == (generators, discriminators)
    variables, batch = make_state(cyclegan, config).variables, make_batch(cyclegan, config, 2)
    loss = functools.partial(cyclegan.generators_loss, config)
    _, aux = jax.eval_shape(loss, variables, batch, jax.random.key(0))
    assert set(aux) == {*names.split(), "outputs"}


@pytest.mark.parametrize("adversarial", [0.0, 1.0])
def test_gradients_reach_only_their_networks(adversarial):
    config = dataclasses.replace(SMALL, adversarial=adversarial, cycle_b=0.0)
    variables = {
        **make_state(cyclegan, config).variables,
        "params": random_arrays(lambda key: cyclegan.init(config, key)["params"]),
    }
    batch = make_batch(cyclegan, config, 2)

    def reached(loss):
        def mean(params):
            return loss(config, {**variables, "params": params}, batch, jax.random.key(0))[0].mean()

        grads = jax.jit(jax.grad(mean))(variables["params"])
        return {
            f"{networks}.{name}"
            for networks in grads
            for name, one in grads[networks].items()
            if any(bool((leaf != 0).any()) for leaf in jax.tree.leaves(one))
        }

    generators = {"generators.ab", "generators.ba"}
    discriminators = {"discriminators.a", "discriminators.b"}
    assert reached(cyclegan.discriminators_loss) == discriminators  # also without `outputs`
    expected = generators | discriminators if adversarial else generators
    assert reached(cyclegan.generators_loss) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shape": (8, 12)}, r"`shape` must be \(H, W, C\)"),
        ({"shape": (9, 12, 1)}, "multiples of 2 and at least 4 .*got 9x12; resize the images"),
        ({"shape": (2, 12, 1)}, "at least 4"),
        ({"kernel": 17}, "multiples of 2 and at least 10"),
        ({"kernel": 4}, "`kernel` must be odd, got 4"),
        ({"discriminator_layers": 2}, "sides of at least 12, got 8x12; lower discriminator_layers"),
        ({"adversarial": 0.0, "cycle_a": 0.0, "cycle_b": 0.0}, "the generators have no loss"),
        ({"objective": GanObjective(loss="least_squares")}, "set update to simultaneous"),
        ({"objective": dataclasses.replace(BCE, r1=1.0)}, "no penalties"),
        ({"objective": dataclasses.replace(BCE, loss="relativistic")}, "no relativistic loss"),
        ({"generator": "unet", "kernel": 7}, "a U-Net needs `downs` of at least 2, got 1"),
        ({"generator": "unet", "downs": 2}, "blocks is a setting of the resnet generator"),
    ],
)
def test_rejects_settings_that_do_not_fit(settings, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **settings)


def test_u_nets_translate_between_domains():
    config = dataclasses.replace(SMALL, generator="unet", downs=2, blocks=9, kernel=7)
    variables = {"params": random_arrays(lambda key: cyclegan.init(config, key)["params"])}
    assert cyclegan.side_multiple(config) == 4
    x = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, 4, 12, 1)), jnp.float32)
    translate = jax.jit(functools.partial(cyclegan.translate, config), static_argnames="to")
    to_a, to_b = (translate(variables, x, to=to) for to in "ab")
    assert to_a.shape == x.shape
    assert bool((to_a != to_b).any())
    # Nothing depends on the other images of a batch.
    np.testing.assert_allclose(translate(variables, x.at[1].set(0), to="b")[0], to_b[0], atol=1e-5)


def test_upsampling_is_of_the_u_net_too():
    settings = {"generator": "unet", "downs": 2, "blocks": 9, "kernel": 7, "upsampling": "resize"}
    config = dataclasses.replace(SMALL, **settings)
    params = jax.eval_shape(lambda: cyclegan.init(config, jax.random.key(0)))["params"]
    layers = params["generators"]["ab"].values()
    assert sorted(layer["kernel"].shape[0] for layer in layers) == [3, 3, 4, 4]


def test_images_below_the_smallest_are_padded_by_their_edges():
    variables = {"params": random_arrays(lambda key: cyclegan.init(SMALL, key)["params"])}
    x = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, 2, 4, 1)), jnp.float32)
    assert cyclegan.smallest_side(SMALL) == 4
    larger = jnp.concatenate([x, x[:, 1:], x[:, 1:]], 1)
    translate = jax.jit(functools.partial(cyclegan.translate, SMALL, variables))
    np.testing.assert_allclose(translate(x), translate(larger)[:, :2], atol=1e-6)
