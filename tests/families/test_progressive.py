"""The progressive GAN: sizes, growth, what a fade changes, and its options."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.helpers import equations, make_batch, random_arrays

from genjax.core import (
    GanObjective,
    batch_norm_statistics,
    grow_state,
    init_state,
    make_step,
    with_alpha,
)
from genjax.families import progressive

CONFIG = progressive.Config(shape=(16, 16, 1), latent=3, base=12, max_width=6, group=2)
PAPER = progressive.Config()
TABLE_1 = dataclasses.replace(PAPER, shape=(128, 128, 3), base=2048)
CIFAR = dataclasses.replace(PAPER, shape=(32, 32, 3), base=4096, max_width=128, latent=128)


def grown(config, key, times):
    """Returns the variables of a stage."""
    variables = progressive.init(config, key)
    for i in range(times):
        variables = progressive.grow(config, variables, jax.random.fold_in(key, i))
    return variables


def stage(config=CONFIG, times=1, alpha=0.3, seed=1):
    """Returns random variables of a stage, with biases that are not 0, and images within +-1."""
    make = functools.partial(grown, config, times=times)
    variables = random_arrays(make, scale=1.0, seed=seed)
    network = variables["params"]["generator"]
    for name in [name for name in network if name.startswith("rgb")]:
        network[name] = jax.tree.map(lambda a: a / 8, network[name])
    return with_alpha(variables, alpha)


def leaves_by_path(tree):
    return dict(jax.tree_util.tree_leaves_with_path(tree))


@pytest.mark.parametrize(
    ("config", "generator", "discriminator"),
    [
        (PAPER, 23_079_115, 23_087_249),
        (dataclasses.replace(PAPER, start=1024), 23_071_507, 23_077_137),  # one RGB layer
        (TABLE_1, 13_629_810, 13_636_897),
        (CIFAR, 1_296_908, 1_298_689),
    ],
)
def test_number_of_parameters(config, generator, discriminator):
    times = len(progressive.sides(config)) - 1
    make = functools.partial(grown, config, times=times)
    params = jax.eval_shape(make, jax.random.key(0))["params"]
    count = {
        name: sum(a.size for a in jax.tree.leaves(network)) for name, network in params.items()
    }
    assert count == {"generator": generator, "discriminator": discriminator}


def test_every_map_has_a_channel():
    """8192 / 2^9 is 16 channels at 1024x1024, but a base of 100 would give 0."""
    config = dataclasses.replace(PAPER, base=100)
    make = functools.partial(grown, config, times=8)
    params = jax.eval_shape(make, jax.random.key(0))["params"]
    assert min(leaf.size for leaf in jax.tree.leaves(params)) == 1
    kernels = {s: params["generator"][f"{s}x{s}"]["conv"]["kernel"].shape for s in (4, 64, 1024)}
    assert [k[-1] for k in kernels.values()] == [50, 3, 1]


def test_at_alpha_0_grown_networks_compute_what_the_old_ones_did():
    old = stage(times=1, alpha=1)
    new = progressive.grow(CONFIG, old, jax.random.key(3))
    assert (progressive.side(old), progressive.side(new)) == (8, 16)
    assert float(new["buffers"]["fade"]["alpha"]) == 0
    z = jax.random.normal(jax.random.key(4), (3, CONFIG.latent))
    x = jax.random.uniform(jax.random.key(5), (4, 16, 16, 1), minval=-1)
    # To the bit: the old images, with every pixel twice in each direction.
    np.testing.assert_array_equal(
        progressive.generate(CONFIG, new, z), progressive.generate(CONFIG, old, z)
    )
    np.testing.assert_array_equal(
        progressive.discriminate(CONFIG, new, x), progressive.discriminate(CONFIG, old, x)
    )
    fresh = with_alpha(new, 0.5)
    assert (progressive.generate(CONFIG, fresh, z) != progressive.generate(CONFIG, old, z)).any()
    logits = [progressive.discriminate(CONFIG, v, x) for v in (fresh, old)]
    assert (logits[0] != logits[1]).all()


def test_only_live_layers_have_gradients():
    """At alpha 1 none of the old RGB layers, at 0 none of the new layers."""
    batch, key = make_batch(progressive, CONFIG, 4), jax.random.key(2)

    @jax.jit
    def gradients(variables):
        def loss(params):
            losses = progressive.LOSSES.values()
            every = {**variables, "params": params}
            return sum(loss(CONFIG, every, batch, key)[0].mean() for loss in losses)

        return jax.grad(loss)(variables["params"])

    layers = {"4x4", "8x8", "16x16", "rgb_8x8", "rgb_16x16"}
    for alpha, dead in ((0, {"16x16", "rgb_16x16"}), (1, {"rgb_8x8"})):
        for network in gradients(stage(times=2, alpha=alpha)).values():
            found = {
                name: max(np.abs(a).max() for a in jax.tree.leaves(v))
                for name, v in network.items()
            }
            live = {name for name, size in found.items() if size > 0} - {"out"}
            assert live == layers - dead, alpha
            assert "rgb_4x4" in found  # kept, though it is not used any more


def test_at_alpha_1_the_old_layers_have_no_influence():
    z = jax.random.normal(jax.random.key(4), (3, CONFIG.latent))
    x = jax.random.uniform(jax.random.key(5), (4, 16, 16, 1), minval=-1)

    def outputs(alpha, changed):
        variables = stage(times=2, alpha=alpha)
        for network in variables["params"].values():
            for name in ("rgb_4x4", "rgb_8x8") if changed else ():
                network[name] = jax.tree.map(lambda a: 9 * a, network[name])
        return (
            progressive.generate(CONFIG, variables, z),
            progressive.discriminate(CONFIG, variables, x),
        )

    chex.assert_trees_all_equal(outputs(1, True), outputs(1, False))
    for a, b in zip(outputs(0.9, True), outputs(0.9, False), strict=True):
        assert (a != b).any()


@pytest.mark.parametrize("reset", [True, False])
def test_growing_changes_no_carried_leaf(reset):
    config = dataclasses.replace(CONFIG, generator_norm="batch")
    optimizer = dict.fromkeys(progressive.LOSSES, optax.adam(1e-3))

    def build(key):
        return init_state(progressive, config, optimizer, key, ema=True)

    old = random_arrays(build, scale=1.0).replace(key=jax.random.key(1), step=jnp.asarray(7))
    grow = functools.partial(grow_state, progressive, config, optimizer, reset=reset)
    new = jax.jit(grow)(old)
    assert progressive.side(new.variables) == 8
    parts = ["variables", "ema", *([] if reset else ["opt_state"])]
    for part in parts:
        before, after = leaves_by_path(getattr(old, part)), leaves_by_path(getattr(new, part))
        assert set(before) < set(after), part
        fade = [path for path in before if "fade" in str(path)]
        for path in set(before) - set(fade):
            np.testing.assert_array_equal(after[path], before[path], err_msg=str(path))
    added = set(leaves_by_path(new.variables["params"])) - set(
        leaves_by_path(old.variables["params"])
    )
    assert {path[1].key for path in added} == {"8x8", "rgb_8x8"}
    if reset:
        assert all(not np.any(leaf) for leaf in jax.tree.leaves(new.opt_state))
    # The average of new weights begins with them.
    for path in leaves_by_path(new.ema):
        if path[1:] in [p for p in added if p[0].key == "generator"]:
            np.testing.assert_array_equal(
                leaves_by_path(new.ema)[path], leaves_by_path(new.variables["params"])[path[1:]]
            )


def test_full_networks_do_not_grow():
    with pytest.raises(ValueError, match="the networks have their full side, 16x16"):
        progressive.grow(CONFIG, stage(times=2), jax.random.key(0))


def test_new_layers_differ_between_keys():
    old = stage(times=0)
    one, two = (progressive.grow(CONFIG, old, jax.random.key(i)) for i in (1, 2))
    for network in one["params"]:
        kernels = [v["params"][network]["8x8"]["conv"]["kernel"] for v in (one, two)]
        assert (kernels[0] != kernels[1]).all()
        assert abs(float(kernels[0].std()) - 1) < 0.2  # N(0, 1), scaled at run time


def test_noise_and_labels_are_normalised_together():
    config = dataclasses.replace(CONFIG, classes=4)
    variables, label = stage(config), jnp.asarray([0, 3, 2])
    z = 3 * jax.random.normal(jax.random.key(4), (3, config.latent))
    rows = np.concatenate([z, np.eye(4)[np.asarray(label)]], axis=1)
    rows /= np.sqrt((rows**2).mean(1, keepdims=True) + 1e-8)
    plain = dataclasses.replace(config, classes=0, latent=config.latent + 4, latent_norm=False)
    want = progressive.generate(plain, variables, jnp.asarray(rows))
    got = progressive.generate(config, variables, z, label)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    other = progressive.generate(config, variables, z, label - label)
    assert (np.asarray(other != got).any((1, 2, 3)) == [False, True, True]).all()


def test_samples_repeat_the_pixels_of_a_smaller_stage():
    small = stage(times=0)
    x = np.asarray(progressive.sample(CONFIG, small, jax.random.key(1), 5))
    assert x.shape == (5, 16, 16, 1)
    np.testing.assert_array_equal(x, x[:, ::4, ::4].repeat(4, 1).repeat(4, 2))
    assert (np.diff(x[:, ::4, ::4], axis=1) != 0).any()
    # The discriminator averages them again, exactly.
    features = progressive.encode(CONFIG, small, jnp.asarray(x))
    at_4 = dataclasses.replace(CONFIG, shape=(4, 4, 1))
    np.testing.assert_array_equal(
        features, progressive.encode(at_4, small, jnp.asarray(x[:, ::4, ::4]))
    )


def test_features_do_not_depend_on_the_batch():
    variables = stage()
    x = jax.random.uniform(jax.random.key(5), (4, 16, 16, 1), minval=-1)
    alone = progressive.encode(CONFIG, variables, x[:1])
    np.testing.assert_allclose(progressive.encode(CONFIG, variables, x)[:1], alone, rtol=1e-5)
    logits = progressive.discriminate(CONFIG, variables, x)
    assert abs(float(logits[0] - progressive.discriminate(CONFIG, variables, x[:1])[0])) > 1e-4


def test_batches_are_divided_into_the_largest_groups():
    group = progressive.growing_networks.group_size
    assert [group(n, 4) for n in (1, 2, 3, 4, 6, 14, 16, 7)] == [1, 2, 3, 4, 3, 2, 4, 1]


ROW_A = {  # of Table 1: the networks of Gulrajani et al. 2017
    "generator_norm": "batch",
    "discriminator_norm": "layer",
    "activation": "relu",
    "output": "tanh",
    "equalized": False,
    "minibatch": "discrimination",
    "latent_norm": False,
    "classes": 3,
}


def test_layers_of_the_first_rows_of_table_1():
    config = dataclasses.replace(CONFIG, shape=(8, 8, 1), **ROW_A)
    optimizer = dict.fromkeys(progressive.LOSSES, optax.adam(1e-3))

    def build(key):
        state = init_state(progressive, config, optimizer, key, ema=True)
        return grow_state(progressive, config, optimizer, state, reset=True)

    old = jax.jit(build)(jax.random.key(0))
    old = old.replace(variables=with_alpha(old.variables, 0.5))
    step = make_step(progressive, config, optimizer)
    new, metrics = jax.jit(step)(old, make_batch(progressive, config, 4))
    assert all(np.isfinite(value) for value in metrics.values())
    moved = jax.tree.map(lambda a, b: bool((a != b).all()), new.variables, old.variables)
    assert all(jax.tree.leaves(moved["batch_stats"]["generator"]))
    assert set(moved["batch_stats"]) == {"generator"}
    differs = lambda a, b: bool((a != b).any())  # noqa: E731
    changed = jax.tree.map(differs, new.variables["params"], old.variables["params"])
    assert all(jax.tree.leaves(changed))
    recomputed = jax.eval_shape(
        lambda v: batch_norm_statistics(progressive, config, v, jax.random.key(3), 8, 2),
        new.variables,
    )
    assert jax.tree.structure(recomputed) == jax.tree.structure(new.variables)
    # He's constant is the standard deviation of the initial weights, not a factor.
    layers = old.variables["params"]["discriminator"]
    assert layers["4x4"]["dense"]["kernel"].std() == pytest.approx((2 / 96) ** 0.5, rel=0.1)
    assert layers["4x4"]["similarity"]["tensor"]["kernel"].shape[-1] % 100 == 0
    assert "bias" not in layers["4x4"]["conv"]  # layer normalisation has its own
    x = progressive.sample(config, new.variables, jax.random.key(1), 3)
    assert float(np.abs(x).max()) < 1


def test_simultaneous_updates_see_the_old_discriminator():
    optimizer = dict.fromkeys(progressive.LOSSES, optax.sgd(0.1))
    state = init_state(progressive, CONFIG, optimizer, jax.random.key(0))
    batch, params = make_batch(progressive, CONFIG, 4), {}
    for update in ("sequential", "simultaneous"):
        objective = dataclasses.replace(CONFIG.objective, update=update)
        config = dataclasses.replace(CONFIG, objective=objective)
        step = jax.jit(make_step(progressive, config, optimizer))
        params[update] = step(state, batch)[0].variables["params"]
    a, b = params.values()
    chex.assert_trees_all_close(a["discriminator"], b["discriminator"], rtol=1e-5, atol=1e-6)
    differ = jax.tree.map(lambda a, b: np.abs(a - b).max() > 1e-4, a["generator"], b["generator"])
    assert any(jax.tree.leaves(differ))


def test_checkpointed_blocks_have_the_same_gradients():
    batch, key = make_batch(progressive, CONFIG, 4), jax.random.key(2)
    variables = stage()
    found, recomputed = [], []
    for remat in (False, True):
        config = dataclasses.replace(CONFIG, remat=remat)

        def loss(params, config=config):
            every = {**variables, "params": params}
            return progressive.discriminator_loss(config, every, batch, key)[0].mean()

        gradient = jax.grad(loss)
        found.append(jax.jit(gradient)(variables["params"]))
        jaxpr = jax.make_jaxpr(gradient)(variables["params"])
        recomputed.append(sum("remat" in str(e.primitive) for e in equations(jaxpr.jaxpr)))
    chex.assert_trees_all_close(*found, rtol=1e-4, atol=1e-6)
    assert recomputed[0] == 0 < recomputed[1]


@pytest.mark.parametrize("remat", [False, True])
def test_bfloat16_networks_return_float32(remat):
    config = dataclasses.replace(CONFIG, dtype="bfloat16", classes=2, remat=remat)
    variables = stage(config)
    z, x = jnp.ones((2, config.latent)), jnp.zeros((2, 16, 16, 1))
    label = jnp.asarray([0, 1])
    functions = {
        "generate": (z, label),
        "discriminate": (x,),
        "classify": (x,),
        "encode": (x,),
    }
    for name, inputs in functions.items():
        function = functools.partial(getattr(progressive, name), config, variables)
        jaxpr = jax.make_jaxpr(function)(*inputs)
        assert [a.dtype for a in jaxpr.out_avals] == [jnp.float32]
        assert "bf16" in str(jaxpr)
    assert progressive.growing_networks.epsilon(config) == 1e-4
    exact = progressive.generate(dataclasses.replace(config, dtype="float32"), variables, z, label)
    got = progressive.generate(config, variables, z, label)
    assert 0 < float(np.abs(got - exact).max()) < 0.2


def test_an_invalid_label_is_seen():
    config = dataclasses.replace(CONFIG, classes=2)
    z, label = jnp.ones((4, config.latent)), jnp.asarray([0, -1, 1, 2])
    x = np.asarray(progressive.generate(config, stage(config), z, label))
    assert np.isnan(x).all((1, 2, 3)).tolist() == [False, True, False, True]
    assert not np.isnan(x[::2]).any()


def test_rejects_labels_that_the_config_lacks():
    z = jnp.zeros((2, CONFIG.latent))
    with pytest.raises(ValueError, match="progressive: the Config has no classes"):
        progressive.generate(CONFIG, stage(), z, jnp.zeros(2, jnp.int32))
    with pytest.raises(ValueError, match=r"progressive: p\(x \| label\)"):
        progressive.generate(dataclasses.replace(CONFIG, classes=2), stage(), z)


def test_lazy_penalties_keep_their_count_when_the_networks_grow():
    objective = GanObjective(loss="non_saturating", r1=1.0, penalty_interval=4)
    config = dataclasses.replace(CONFIG, objective=objective)
    old = progressive.init(config, jax.random.key(0))
    old["buffers"]["discriminator"]["updates"] = jnp.asarray(5)
    new = progressive.grow(config, old, jax.random.key(1))
    assert int(new["buffers"]["discriminator"]["updates"]) == 5
