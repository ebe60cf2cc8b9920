"""CycleGAN: an update against a plain reference, switches, gradients, and exact resumption."""

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
from support.image_pool import PlainPool, pool_choices

from experiments.benchmarks import flops
from genjax.core import GanObjective, Optimizer, init_state, make_step
from genjax.core.keys import named_key
from genjax.data import Data, Dataset, save_npz
from genjax.families import cyclegan
from genjax.train import Run, Train, fit
from genjax.train.checkpoint import leaves
from genjax.train.load_run import load_state

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


@pytest.mark.parametrize(
    ("settings", "generator", "discriminator", "whole"),
    [
        ({}, 11_378_179, 2_764_737, 28_285_832),
        ({"blocks": 6, "shape": (128, 128, 3)}, 7_837_699, 2_764_737, 21_204_872),
        ({"discriminator": "pixel"}, 11_378_179, 8_705, 22_773_768),
    ],
)
def test_parameter_counts(settings, generator, discriminator, whole):
    config = cyclegan.Config(**settings)
    variables = jax.eval_shape(lambda: cyclegan.init(config, jax.random.key(0)))
    params = variables["params"]
    assert {sizes(p) for p in params["generators"].values()} == {generator}
    assert {sizes(p) for p in params["discriminators"].values()} == {discriminator}
    assert sizes(params) == whole
    pools = variables["buffers"]["discriminators"]
    assert pools["a"]["images"].shape == pools["b"]["images"].shape == (50, *config.shape)


# A plain reference: every network on every batch by itself.
def convolve(x, p, stride=1, padding=0):
    pads, layout = [(padding, padding)] * 2, ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(
        x, p["kernel"], (stride, stride), pads, dimension_numbers=layout
    )
    return y + p["bias"][None, None, None]


def norm(x):
    mean, var = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
    return (x - mean) / jnp.sqrt(var + 1e-5)


def reflected(x, p, n=1):
    return convolve(jnp.pad(x, ((0, 0), (n, n), (n, n), (0, 0)), mode="reflect"), p)


def generate(p, x, resize):
    x = nn.relu(norm(reflected(x, p["Conv_0"])))
    x = nn.relu(norm(convolve(x, p["Conv_1"], 2, 1)))
    y = nn.relu(norm(reflected(x, p["Conv_2"])))
    x = x + norm(reflected(y, p["Conv_3"]))
    if resize:
        x = convolve(jnp.repeat(jnp.repeat(x, 2, 1), 2, 2), p["Conv_4"], 1, 1)
        return jnp.tanh(reflected(nn.relu(norm(x)), p["Conv_5"]))
    up, layout = p["ConvTranspose_0"], ("NHWC", "HWIO", "NHWC")
    x = jax.lax.conv_transpose(x, up["kernel"], (2, 2), [(1, 2)] * 2, dimension_numbers=layout)
    x = nn.relu(norm(x + up["bias"][None, None, None]))
    return jnp.tanh(reflected(x, p["Conv_4"]))


def discriminate(p, x):
    x = nn.leaky_relu(convolve(x, p["Conv_0"], 2, 1), 0.2)
    x = nn.leaky_relu(norm(convolve(x, p["Conv_1"], 1, 1)), 0.2)
    return convolve(x, p["Conv_2"], 1, 1)


def l1(a, b):
    return jnp.mean(jnp.abs(a - b))


def square(logits, target):
    return jnp.mean((logits - target) ** 2)


def entropy(logits, target):
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, target * jnp.ones_like(logits)))


@pytest.mark.parametrize(
    ("settings", "adversarial"),
    [
        ({"cycle_a": 7.0}, square),
        ({"upsampling": "resize", "pool": 0, "identity": 0.0, "objective": BCE}, entropy),
    ],
)
def test_three_updates_equal_a_plain_reference(settings, adversarial):
    """Simultaneous; D sees past translations; least squares and L1 are means, D's loss halved."""
    config, rate = dataclasses.replace(SMALL, **settings), 0.05
    draw = jax.jit(functools.partial(generate, resize=config.upsampling == "resize"))
    optimizers = {name: optax.sgd(rate) for name in cyclegan.LOSSES}
    params = random_arrays(lambda key: cyclegan.init(config, key)["params"])
    state = jax.jit(
        lambda p: init_state(
            cyclegan, config, optimizers, jax.random.key(4), variables={"params": p}
        )
    )(params)
    step = jax.jit(make_step(cyclegan, config, optimizers))
    pools = {domain: PlainPool(config.pool) for domain in "ab"}

    @jax.jit
    def generators_loss(generators, discriminators, x, y):
        ab, ba = (functools.partial(draw, generators[name]) for name in ("ab", "ba"))
        total = adversarial(discriminate(discriminators["b"], ab(x)), 1.0)
        total += adversarial(discriminate(discriminators["a"], ba(y)), 1.0)
        total += config.cycle_a * (l1(ba(ab(x)), x) + config.identity * l1(ba(x), x))
        return total + config.cycle_b * (l1(ab(ba(y)), y) + config.identity * l1(ab(y), y))

    @jax.jit
    def discriminators_loss(discriminators, x, y, fakes):
        return sum(
            0.5 * adversarial(discriminate(discriminators[d], real), 1.0)
            + 0.5 * adversarial(discriminate(discriminators[d], fakes[d]), 0.0)
            for d, real in (("a", x), ("b", y))
        )

    old = 0
    for i in range(3):
        batch = make_batch(cyclegan, config, 2, seed=i)
        x, y = batch["x"], batch["y"]
        new = {"a": draw(params["generators"]["ba"], y), "b": draw(params["generators"]["ab"], x)}
        fakes = new
        if config.pool:
            keys = jax.random.split(named_key(state.key, state.step, "discriminators"))
            fakes = {
                d: jnp.stack(pools[d].query(list(new[d]), *pool_choices(key, 2, config.pool)))
                for d, key in zip("ab", keys, strict=True)
            }
            old += sum(bool((fakes[d] != new[d]).any()) for d in "ab")
        value, generators = jax.value_and_grad(generators_loss)(
            params["generators"], params["discriminators"], x, y
        )
        half, discriminators = jax.value_and_grad(discriminators_loss)(
            params["discriminators"], x, y, fakes
        )
        grads = {"generators": generators, "discriminators": discriminators}
        state, metrics = step(state, batch)
        np.testing.assert_allclose(metrics["generators_loss"], value, rtol=1e-4)
        np.testing.assert_allclose(metrics["discriminators_loss"], half, rtol=1e-4)
        params = jax.tree.map(lambda p, g: p - rate * g, params, grads)
        chex.assert_trees_all_close(state.variables["params"], params, atol=1e-5, rtol=1e-3)
        params = state.variables["params"]
    assert bool(old) == bool(config.pool)  # past translations were shown
    for to, name, images in (("a", "ba", y), ("b", "ab", x)):
        got = cyclegan.translate(config, state.variables, images, to=to)
        np.testing.assert_allclose(got, draw(params["generators"][name], images), atol=1e-5)


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


def test_a_run_resumed_while_its_rate_falls_equals_an_uninterrupted_one(tmp_path):
    rng = np.random.default_rng(0)
    counts = {"train": (30, 20), "validation": (8, 8), "test": (8, 8)}
    splits = {
        split: {
            name: rng.integers(0, 17, (n, 3, 3, 1)).astype(np.uint8)
            for name, n in zip(("x", "y"), of, strict=True)
        }
        for split, of in counts.items()
    }
    save_npz(Dataset("pairs", splits, 17, unpaired=True), tmp_path / "pairs.npz")
    rate = Optimizer(
        learning_rate=1e-3, schedule="constant_linear", constant_steps=3, decay_steps=12
    )

    def run(steps, folder):
        settings = dict(steps=steps, batch_size=2, log_every=1, save_every=6, steps_per_call=1)
        settings |= dict(sample_every=0, eval_every=0, ema=0.9)
        data = Data(data=str(tmp_path / "pairs.npz"), transform="scale(-1, 1)", unpaired=True)
        optimizers = dict.fromkeys(cyclegan.LOSSES, rate)
        whole = Run(
            experiment="pairs",
            family="cyclegan",
            model=cyclegan.tiny(),
            data=data,
            optimizer=optimizers,
            train=Train(**settings),
        )
        fit(whole, tmp_path / folder, quiet=True)
        return load_state(tmp_path / folder)[1]

    halfway = run(6, "cut")  # the rate is 2/3 of the first
    pool = halfway.variables["buffers"]["discriminators"]["a"]
    assert int(pool["count"]) == len(pool["images"])
    assert all(bool(jnp.any(image)) for image in pool["images"])
    resumed, uninterrupted = run(10, "cut"), run(10, "whole")
    assert int(resumed.step) == 10
    chex.assert_trees_all_equal(leaves(resumed), leaves(uninterrupted))
    moved = resumed.variables["buffers"]["discriminators"]["a"]["images"] != pool["images"]
    assert bool(moved.any())


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
    np.testing.assert_allclose(translate(variables, x[::-1], to="b"), to_b[::-1], atol=1e-5)
