"""DCGAN: batch statistics, sizes, features, labels, and the networks of WGAN-GP, SNGAN, R3GAN."""

import dataclasses
import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.helpers import make_batch

from genjax.core import GanObjective, State, named_key, network_step
from genjax.core.state import init_optimizer
from genjax.families import dcgan
from genjax.families.dcgan import r3gan
from genjax.nn.resampling import blur_pool, upsample_linear

TINY = dcgan.tiny()
OPTIMIZERS = {name: optax.sgd(0.1, momentum=0.9) for name in dcgan.LOSSES}


def filled(config, seed=0):
    """Variables as after some training: no zeros, and running statistics of no batch.

    Drawn by numpy: XLA needs longer to compile ten random initialisations than all the rest.
    """
    rng = np.random.default_rng(seed)
    tree = jax.eval_shape(lambda key: dcgan.init(config, key), jax.random.key(0))
    draw = lambda leaf: jnp.asarray(0.3 * rng.normal(size=leaf.shape), leaf.dtype)  # noqa: E731
    variables = jax.tree.map(draw, tree)
    if "batch_stats" in variables:  # variances
        positive = lambda leaf: 0.1 + jnp.abs(leaf)  # noqa: E731
        variables["batch_stats"] = jax.tree.map(positive, variables["batch_stats"])
    return variables


@pytest.fixture(scope="module")
def state():
    variables = filled(TINY)
    opt_state = init_optimizer(OPTIMIZERS, variables["params"])
    return State(step=jnp.int32(5), key=jax.random.key(7), variables=variables, opt_state=opt_state)


@pytest.fixture(scope="module")
def batch():
    return make_batch(dcgan, TINY, 16, 9)


@pytest.fixture(scope="module")
def updated(state, batch):
    """The state after the update of each network."""
    return {
        name: jax.jit(network_step(name, functools.partial(loss, TINY), OPTIMIZERS[name]))(
            state, batch
        )[0]
        for name, loss in dcgan.LOSSES.items()
    }


@pytest.fixture(scope="module")
def by_hand(state, batch):
    """The discriminator's update without the code under test: samples by batch statistics, then the
    logits and the batch means of its norm, of data, of samples, and of both together."""

    @jax.jit
    def compute(variables, x, key):
        own = {
            n: {c: variables[c][n] for c in ("params", "batch_stats")} for n in variables["params"]
        }
        z = dcgan.noise(TINY, jax.random.split(key)[0], 16)
        generator = dcgan.Generator(TINY)
        fake, _ = generator.apply(own["generator"], z, train=True, mutable=["batch_stats"])

        def discriminated(x):
            module = dcgan.Discriminator(TINY)
            out, new = module.apply(own["discriminator"], x, train=True, mutable=["batch_stats"])
            new, old = (jax.tree.leaves(a["batch_stats"])[0] for a in (new, own["discriminator"]))
            return out[0], (new - 0.9 * old) / 0.1

        return discriminated(x), discriminated(fake), discriminated(jnp.concatenate([x, fake]))

    return compute(state.variables, batch["x"], named_key(state.key, state.step, "discriminator"))


def test_real_and_generated_images_are_normalised_separately(state, batch, by_hand):
    key = named_key(state.key, state.step, "discriminator")
    (real, _), (fake, _), (together, _) = by_hand
    losses = jax.jit(
        lambda v: (
            dcgan.LOSSES["discriminator"](TINY, v, batch, key)[1],
            dcgan.LOSSES["generator"](TINY, v, batch, key)[0],
        )
    )
    aux, nats = losses(state.variables)
    np.testing.assert_allclose(aux["real_logit"], real, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(aux["fake_logit"], fake, rtol=1e-4, atol=1e-5)
    assert np.abs(aux["real_logit"] - together[:16]).max() > 1e-3  # one pass for both differs
    np.testing.assert_allclose(nats, np.logaddexp(0, -np.asarray(fake)), rtol=1e-4, atol=1e-5)


def test_running_statistics_are_updated_by_real_then_generated_images(state, updated, by_hand):
    (_, real), (_, fake), _ = by_hand
    before, after = (
        jax.tree.leaves(s.variables["batch_stats"]["discriminator"])[0]
        for s in (state, updated["discriminator"])
    )
    want = 0.9 * (0.9 * before + 0.1 * real) + 0.1 * fake
    np.testing.assert_allclose(after, want, rtol=1e-4)


@pytest.mark.parametrize("network", dcgan.LOSSES)
def test_an_update_leaves_the_other_network_bit_identical(state, updated, network):
    new, other = updated[network], "discriminator" if network == "generator" else "generator"
    for collection in ("params", "batch_stats"):
        before, after = state.variables[collection], new.variables[collection]
        chex.assert_trees_all_equal(after[other], before[other])
        changed = jax.tree.map(lambda a, b: bool((a != b).any()), after[network], before[network])
        assert all(jax.tree.leaves(changed)), collection
    chex.assert_trees_all_equal(new.opt_state[other], state.opt_state[other])


def test_samples_and_features_use_running_statistics(state, batch):
    """With batch statistics an image would depend on the others in its batch."""
    z = dcgan.noise(TINY, jax.random.key(1), 16)
    given = (dcgan.generate, z), (dcgan.discriminate, batch["x"]), (dcgan.encode, batch["x"])
    for function, x in given:
        run = jax.jit(functools.partial(function, TINY))
        alone = run(state.variables, jnp.concatenate([x[:1], x[:15]]))
        np.testing.assert_allclose(run(state.variables, x)[:1], alone[:1], rtol=1e-5)


def shapes(config):
    return jax.eval_shape(lambda key: dcgan.init(config, key), jax.random.key(0))


def count(tree):
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def test_the_default_is_the_papers_network():
    """Figure 1: 1024 maps of 4x4, 5x5 kernels of stride 2 up to 64x64; and its mirror."""
    found = shapes(dcgan.Config())
    maps = [1024, 512, 256, 128]
    kernels = sum(25 * a * b for a, b in zip(maps, [*maps[1:], 3], strict=True))
    norms = 2 * (16 * 1024 + 512 + 256 + 128)
    assert count(found["params"]["generator"]) == 100 * 16 * 1024 + kernels + norms + 3
    norms = 2 * (256 + 512 + 1024) + 128  # none on the first layer, which has a bias instead
    head = 16 * 1024 + 1
    assert count(found["params"]["discriminator"]) == kernels + norms + head


@pytest.mark.parametrize(
    ("side", "widths"),
    [
        (28, (256, 128)),
        (32, (512, 256, 128)),
        (64, (1024, 512, 256, 128)),
        (128, (1024, 1024, 512, 256, 128)),
    ],
)
@pytest.mark.parametrize("network", ["strided", "residual"])
def test_widths_follow_from_the_shape(side, widths, network):
    norm = "batch" if network == "strided" else "none"
    config = dcgan.Config(shape=(side, side, 3), network=network, discriminator_norm=norm)
    assert dcgan.generator_widths(config) == widths
    variables = shapes(config)
    z, x = jnp.zeros((2, 100)), jnp.zeros((2, side, side, 3))
    made = jax.eval_shape(functools.partial(dcgan.generate, config), variables, z)
    assert made.shape == (2, side, side, 3)
    logits = jax.eval_shape(functools.partial(dcgan.discriminate, config), variables, x)
    assert logits.shape == (2,)


def test_features_are_all_maps_at_4x4():
    """28,672 at 32x32 with 256, 512 and 1024 maps: the number the paper prints (section 5.1)."""
    config = dcgan.Config(shape=(32, 32, 3), discriminator_widths=(256, 512, 1024))
    encode = functools.partial(dcgan.encode, config)
    assert jax.eval_shape(encode, shapes(config), jnp.zeros((2, 32, 32, 3))).shape == (2, 28_672)


@pytest.mark.parametrize("side", [3, 4, 7, 8, 14])
def test_pooling_takes_the_largest_of_windows_that_cover_the_map(side):
    x = np.random.default_rng(0).normal(size=(2, side, side, 3)).astype(np.float32)
    got = dcgan._pool(jnp.asarray(x), 4)
    if side < 4:
        np.testing.assert_array_equal(got, x)
        return
    edges = [(int(np.floor(i * side / 4)), int(np.ceil((i + 1) * side / 4))) for i in range(4)]
    want = [[x[:, a:b, c:d].max((1, 2)) for c, d in edges] for a, b in edges]
    np.testing.assert_array_equal(got, np.asarray(want).transpose(2, 0, 1, 3))


@pytest.mark.parametrize(
    ("network", "norm"),
    [("strided", "batch"), ("r3gan", "none"), ("residual", "none"), ("residual", "spectral")],
)
def test_both_networks_are_conditioned_on_the_label(network, norm):
    own = {"kernel": 3} if network == "strided" else {"kernel": 5}
    own |= {"group": 4} if network == "r3gan" else {}
    config = dataclasses.replace(TINY, classes=3, network=network, discriminator_norm=norm, **own)
    variables = filled(config)
    z, x = dcgan.noise(config, jax.random.key(1), 2), make_batch(dcgan, config, 2)["x"]

    @jax.jit
    def apply(variables, label):
        made = dcgan.generate(config, variables, z, label)
        return made, dcgan.discriminate(config, variables, x, label)

    other = jnp.array([0, 2])
    for a, b in zip(apply(variables, 0 * other), apply(variables, other), strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        assert bool((a[1] != b[1]).any())
    if (
        network != "strided"
    ):  # a projection: linear in its matrix, which spectral normalisation rescales
        doubled = jax.tree_util.tree_map_with_path(
            lambda path, leaf: leaf * (2 if "'embed'" in jax.tree_util.keystr(path) else 1),
            variables["params"],
        )
        each = ({**variables, "params": params} for params in (variables["params"], doubled))
        once, twice = (apply(v, other)[1] - apply(v, 0 * other)[1] for v in each)
        np.testing.assert_allclose(twice, once if norm == "spectral" else 2 * once, rtol=1e-3)
    for wrong in (None, 1, [0, 1], jnp.zeros(3, jnp.int32), jnp.array([0.5, 0.5])):
        with pytest.raises(ValueError, match=r"of 3 classes needs `label` int32\[2\]"):
            dcgan.discriminate(config, variables, x, wrong)
        with pytest.raises(ValueError, match=r"of 3 classes needs `label` int32\[2\]"):
            dcgan.generate(config, variables, z, wrong)
    key = jax.random.key(2)
    with pytest.raises(ValueError, match=r"the batch lacks \['label'\]"):
        dcgan.LOSSES["generator"](config, variables, {"x": x}, key)
    draw = jax.jit(lambda label: dcgan.sample(config, variables, key, 4, label=label))
    assert bool((draw(None) != draw(jnp.zeros(4, jnp.int32))).any())


@pytest.mark.parametrize(
    ("settings", "objective"),
    [
        ({"discriminator_norm": "spectral"}, {"loss": "hinge"}),
        (
            {"network": "residual", "discriminator_norm": "layer", "kernel": 5},
            {"loss": "wasserstein", "gradient_penalty": 10.0},
        ),
        (
            {"network": "r3gan", "discriminator_norm": "none", "group": 4, "kernel": 5},
            {"loss": "relativistic", "r1": 1.0, "r2": 1.0},
        ),
    ],
    ids=["sngan", "wgan_gp", "r3gan"],
)
def test_other_discriminators_have_gradients(settings, objective):
    """Every weight has a gradient, except the bias of the logits, which cancels in some losses."""
    config = dataclasses.replace(TINY, objective=GanObjective(**objective), **settings)
    variables = filled(config)
    batch = {"x": jnp.asarray(np.random.default_rng(1).normal(size=(6, 3, 3, 1)), jnp.float32)}

    @jax.jit
    def grad(params):
        def mean(params):
            whole = {**variables, "params": {**variables["params"], "discriminator": params}}
            return dcgan.LOSSES["discriminator"](config, whole, batch, jax.random.key(3))[0].mean()

        return jax.grad(mean)(params)

    found = grad(variables["params"]["discriminator"])
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(found))
    still = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(found)
        if float(jnp.abs(leaf).max()) < 1e-7
    ]
    assert set(still) <= {"['Dense_0']['bias']"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shape": (9,)}, r"`shape` must be \(H, W, C\), got \(9,\)"),
        ({"network": "residual"}, "the residual discriminator has no batch normalisation"),
        ({"network": "r3gan"}, "the r3gan network has no normalisation"),
        ({"discriminator_norm": "instance"}, "`discriminator_norm` must be one of batch, layer"),
        (
            {"generator_widths": (8, 0)},
            "`generator_widths` must be a tuple, each entry a positive integer",
        ),
        ({"objective": GanObjective(r1=1.0)}, "batch normalisation mixes examples"),
        ({"group": 8}, "group is a setting of the r3gan network, not of strided"),
        (
            {"network": "residual", "discriminator_norm": "none", "generator_dense": (9,)},
            "generator_dense is a setting of the strided network, not of residual",
        ),
        (
            {"network": "r3gan", "discriminator_norm": "none", "generator_widths": (100,)},
            "100 channels expand to 200, .* not divisible into groups of 16; .* multiples of 8",
        ),
    ],
    ids=str,
)
def test_rejects_invalid_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(dcgan.Config(), **settings)


@pytest.mark.parametrize("classes", [2, 100])
def test_the_initial_effect_of_a_class_is_that_of_a_feature(classes):
    config = dcgan.Config(
        shape=(8, 8, 1),
        network="r3gan",
        generator_widths=(64,),
        group=16,
        discriminator_norm="none",
        classes=classes,
    )
    d = dcgan.init(config, jax.random.key(0))["params"]["discriminator"]
    features = jax.random.normal(jax.random.key(1), (4000, 64))
    effect = features @ d["embed"]["kernel"].T  # every class's logit of every example
    assert float(effect.std()) == pytest.approx(1, rel=0.2)


def test_initial_weights_of_r3gan_shrink_with_the_number_of_blocks():
    """Fixup: deviation of a LeakyReLU's gain, over blocks^(1/4), over the root of the fan-in."""
    x = jnp.zeros((1, 4, 4, 64))
    params = r3gan.Block(group=16, blocks=16).init(jax.random.key(0), x)["params"]
    gain = math.sqrt(2 / 1.04) / 2
    for name, fan_in in (("Conv_0", 64), ("Conv_1", 9 * 16)):
        deviation = float(params[name]["kernel"].std())
        assert deviation == pytest.approx(gain / math.sqrt(fan_in), rel=0.05)
    assert not params["Conv_2"]["kernel"].any()


def test_r3gans_scaling_interpolates_linearly():
    ramp = jnp.broadcast_to(jnp.arange(8.0)[None, :, None, None], (1, 8, 8, 2))
    up, down = (np.asarray(f(ramp))[0, :, 2] for f in (upsample_linear, blur_pool))
    np.testing.assert_allclose(up[2:-2, 0], np.arange(1, 13) / 2, atol=1e-6)
    np.testing.assert_allclose(down[1:], ramp[0, 2::2, 2], atol=1e-6)


def test_a_block_of_r3gan_is_its_three_convolutions():
    """On a map of one place, convolutions are products, and grouped ones in blocks."""
    rng, x = np.random.default_rng(0), np.random.default_rng(1).normal(size=(5, 4))
    block = r3gan.Block(group=4, blocks=2)
    shapes = jax.eval_shape(block.init, jax.random.key(0), jnp.ones((1, 1, 1, 4)))["params"]
    params = jax.tree.map(lambda s: rng.normal(size=s.shape), shapes)
    leaky = lambda a: np.where(a > 0, a, 0.2 * a)  # noqa: E731
    h = leaky(x @ params["Conv_0"]["kernel"][0, 0] + params["Conv_0"]["bias"])  # [5, 8]
    centre = params["Conv_1"]["kernel"][1, 1]  # [4, 8]
    h = np.concatenate([h[:, :4] @ centre[:, :4], h[:, 4:] @ centre[:, 4:]], axis=1)
    h = leaky(h + params["Conv_1"]["bias"])
    want = x + h @ params["Conv_2"]["kernel"][0, 0]
    params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), params)
    found = block.apply({"params": params}, jnp.asarray(x[:, None, None], jnp.float32))
    np.testing.assert_allclose(found[:, 0, 0], want, rtol=1e-3, atol=1e-4)
