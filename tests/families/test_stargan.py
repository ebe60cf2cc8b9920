"""StarGAN: the paper's networks, targets, masks, penalty on the sum of patches, and attributes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from support.helpers import critic_batch, make_batch, random_arrays

from genjax.core import GanObjective, apply_network
from genjax.families import stargan
from genjax.families.stargan import attribute_sets
from genjax.nn.convolution import Conv
from genjax.nn.padding import pad

JOINT = stargan.tiny()
# 2x2 patches; one set of three attributes.
CONFIG = stargan.Config(
    shape=(8, 8, 1),
    attributes=("thick", "thin", "slanted"),
    exclusive=("thick", "thin"),
    width=4,
    blocks=1,
    discriminator_width=4,
    discriminator_layers=2,
)
KEY = jax.random.key(3)
LIGHT = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 0], [0, 1, 1]], np.uint8)


@functools.cache
def filled(config, scale=0.4):
    return random_arrays(functools.partial(stargan.init, config), scale=scale)


def batch_of(config, size=4):
    batch = critic_batch(make_batch(stargan, config, size), config)
    x = np.random.default_rng(2).uniform(-1, 1, batch["x"].shape).astype(np.float32)
    return {**batch, "x": jnp.asarray(x)}


def applied(config, name):
    network = {"generator": stargan.Generator, "discriminator": stargan.Discriminator}[name]
    return jax.jit(functools.partial(apply_network, network(config), filled(config), name))


@functools.cache
def compiled(loss, config):
    return jax.jit(functools.partial(loss, config))


def run(loss, config, batch, key=KEY):
    return compiled(loss, config)(filled(config), batch, key)


def counts(config):
    tree = jax.eval_shape(lambda key: stargan.init(config, key), KEY)["params"]
    return {name: sum(leaf.size for leaf in jax.tree.leaves(part)) for name, part in tree.items()}


def test_parameters_are_as_many_as_in_the_official_networks():
    assert counts(stargan.Config()) == {"generator": 8_430_528, "discriminator": 44_762_048}
    eight = tuple("abcdefgh")
    one = counts(stargan.Config(attributes=eight, exclusive=()))
    assert sum(one.values()) == 53_226_560  # the paper's 53.2 M
    joint = counts(stargan.Config(shape=(256, 256, 3), second_attributes=eight))
    assert joint == {"generator": 8_461_888, "discriminator": 45_147_072}


def test_initial_weights_are_uniform_by_the_fan_in():
    config = dataclasses.replace(CONFIG, width=8, discriminator_width=16)
    params = stargan.init(config, KEY)["params"]
    fans = {
        ("generator", "Conv_0", "kernel"): 49 * 4,
        ("generator", "ConvTranspose_0", "kernel"): 16 * 16,  # 32 inputs, 16 outputs
        ("discriminator", "Conv_1", "kernel"): 16 * 16,
        ("discriminator", "Conv_1", "bias"): 16 * 16,
        ("discriminator", "attributes", "kernel"): 4 * 32,
        ("discriminator", "patches", "kernel"): 9 * 32,
    }
    for (network, layer, name), fan in fans.items():
        largest = float(jnp.abs(params[network][layer][name]).max())
        assert 0.8 < largest * fan**0.5 <= 1, (network, layer, name)


@pytest.mark.parametrize("loss", ["wasserstein", "non_saturating"])
def test_critic_loss_is_the_mean_over_patches_and_its_penalty_of_their_sum(loss):
    penalty = {"gradient_penalty": 10.0} if loss == "wasserstein" else {"r1": 3.0}
    config = dataclasses.replace(CONFIG, objective=GanObjective(loss=loss, **penalty))
    batch = {**batch_of(config), "attributes": jnp.asarray(LIGHT)}
    found, aux = run(stargan.discriminator_loss, config, batch)
    x, discriminate = batch["x"], applied(config, "discriminator")
    fake = applied(config, "generator")(x, aux["outputs"]["targets"])
    (real_patches, labels), (fake_patches, _) = discriminate(x), discriminate(fake)
    assert real_patches.shape == (4, 2, 2)
    if loss == "wasserstein":
        adversarial = fake_patches - real_patches
    else:
        adversarial = np.logaddexp(0, fake_patches) + np.logaddexp(0, -real_patches)
    classification = np.sum(np.logaddexp(0, labels) - LIGHT * labels, axis=1)  # of real images
    expected = np.mean(adversarial, axis=(1, 2)) + aux["penalty"] + classification
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

    def penalty_of(reduce, points):
        one = lambda x: reduce(discriminate(x[None])[0])  # noqa: E731
        square = jnp.sum(jax.jit(jax.vmap(jax.grad(one)))(points) ** 2, axis=(1, 2, 3))
        return 10 * (jnp.sqrt(square) - 1) ** 2 if loss == "wasserstein" else 3 * square / 2

    # The key of the penalty, see `discriminator_objective`.
    mix_key = jax.random.split(jax.random.split(jax.random.split(KEY)[1], 3)[2], 4)[0]
    mix = jax.random.uniform(mix_key, (4,))[:, None, None, None]
    points = mix * x + (1 - mix) * fake if loss == "wasserstein" else x
    np.testing.assert_allclose(aux["penalty"], penalty_of(jnp.sum, points), rtol=1e-3)
    of_mean = penalty_of(jnp.mean, points)
    assert np.abs(np.asarray(aux["penalty"]) / of_mean - 1).min() > 0.1


def test_targets_are_a_permutation_of_the_batchs_own_attributes():
    batch = {**batch_of(CONFIG), "attributes": jnp.asarray(LIGHT)}
    keys = [jax.random.key(i) for i in range(4)]
    updates = [run(stargan.discriminator_loss, CONFIG, batch, key)[1] for key in keys]
    found = [np.asarray(aux["outputs"]["targets"]) for aux in updates]
    for targets in found:
        assert sorted(targets.tolist()) == sorted(LIGHT.tolist())
    assert len({targets.tobytes() for targets in found}) > 1


def test_targets_of_a_permuted_example_have_its_set():
    batch = batch_of(JOINT, 8)
    _, aux = run(stargan.discriminator_loss, JOINT, batch)
    own = stargan.condition(JOINT, batch["attributes"], batch["label"])
    targets = np.asarray(aux["outputs"]["targets"])
    assert sorted(targets.tolist()) == sorted(own.tolist())
    assert (targets[:, -2:] != own[:, -2:]).any()  # some are translated into the other set


def test_generator_translates_to_the_critics_targets_and_back_to_the_original():
    batch = {**batch_of(CONFIG), "attributes": jnp.asarray(LIGHT)}
    own, targets = (jnp.asarray(a, jnp.float32) for a in (LIGHT, LIGHT[[1, 2, 3, 0]]))
    found, aux = run(stargan.generator_loss, CONFIG, {**batch, "outputs": {"targets": targets}})
    x, generate = batch["x"], applied(CONFIG, "generator")
    fake = generate(x, targets)
    patches, labels = applied(CONFIG, "discriminator")(fake)
    classification = np.sum(np.logaddexp(0, labels) - targets * labels, axis=1)
    l1 = {  # by the condition of the second pass
        name: np.mean(np.abs(x - generate(fake, back)), axis=(1, 2, 3))
        for name, back in (("own", own), ("targets", targets))
    }
    np.testing.assert_allclose(aux["reconstruction"], l1["own"], rtol=1e-4)
    assert np.abs(l1["own"] - l1["targets"]).min() > 1e-4
    np.testing.assert_allclose(aux["classification"], classification, rtol=1e-3)
    expected = -np.mean(patches, axis=(1, 2)) + classification + 10 * l1["own"]
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    np.testing.assert_allclose(aux["change"], np.abs(fake - x).mean(), rtol=1e-4)


def test_classification_is_binary_summed_over_attributes_or_softmax():
    logits = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    binary = attribute_sets.classification_nats(CONFIG, logits, jnp.asarray(LIGHT, jnp.float32))
    expected = -np.where(LIGHT, scipy.special.log_expit(logits), scipy.special.log_expit(-logits))
    np.testing.assert_allclose(binary, expected.sum(1), rtol=1e-5)
    config = dataclasses.replace(CONFIG, classification="softmax")
    labels = np.array([2, 0, 1, 1])
    softmax = attribute_sets.classification_nats(config, logits, jnp.eye(3)[labels])
    expected = -scipy.special.log_softmax(logits, axis=1)[np.arange(4), labels]
    np.testing.assert_allclose(softmax, expected, rtol=1e-5)


def test_each_set_has_a_classification_of_its_own():
    """Binary of the first, a softmax of the second; unknown ones count 0."""
    logits = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    condition = jnp.asarray([[1, 0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 1, 0, 1]], jnp.float32)
    found = attribute_sets.classification_nats(JOINT, logits, condition)
    binary = -scipy.special.log_expit(logits[0, :3] * [1, -1, 1]).sum()
    softmax = -scipy.special.log_softmax(logits[1, 3:])[1]
    np.testing.assert_allclose(found, [binary, softmax], rtol=1e-5)


@functools.cache
def gradients(name):
    return jax.jit(jax.grad(lambda *inputs: stargan.LOSSES[name](JOINT, *inputs)[0].sum()))


@pytest.mark.parametrize("known", [0, 1])
@pytest.mark.parametrize("name", ["discriminator", "generator"])
def test_unknown_attributes_have_no_gradient(name, known):
    batch = {**batch_of(JOINT), "label": jnp.full(4, known)}
    grads = gradients(name)(filled(JOINT), batch, KEY)["params"]
    head = np.abs(grads["discriminator"]["attributes"]["kernel"]).max((0, 1, 2))  # [A]
    sets = np.array([0, 0, 0, 1, 1])
    assert (head[sets != known] == 0).all()
    assert (head[sets == known] > 0).all()
    # Their values have no effect, whatever the data hold there.
    other = batch["attributes"].at[:, sets != known].set(7)
    first, second = (
        run(stargan.LOSSES[name], JOINT, {**batch, "attributes": a})[0]
        for a in (batch["attributes"], other)
    )
    np.testing.assert_array_equal(first, second)


def test_condition_of_two_sets_ends_with_the_mask():
    found = stargan.condition(JOINT, jnp.ones((2, 5), jnp.uint8), jnp.array([1, 0]))
    assert found.tolist() == [[0, 0, 0, 1, 1, 0, 1], [1, 1, 1, 0, 0, 1, 0]]
    assert np.isnan(stargan.condition(JOINT, jnp.ones((1, 5)), jnp.array([2]))).any()


def test_critic_loss_has_no_gradient_into_the_generator():
    loss = functools.partial(stargan.discriminator_loss, CONFIG)
    batch = batch_of(CONFIG)
    grads = jax.jit(jax.grad(lambda v: loss(v, batch, KEY)[0].sum()))(filled(CONFIG))["params"]
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(grads["generator"]))
    assert all((leaf != 0).any() for leaf in jax.tree.leaves(grads["discriminator"]))


def reflected(features, kernel_size, strides=(1, 1), **options):
    if strides != (1, 1):
        return Conv(features, kernel_size, strides, **options)
    layer = Conv(features, kernel_size, padding="VALID", **options)
    return lambda x: layer(pad(x, kernel_size[0] // 2, "reflect"))


@pytest.mark.parametrize("padding", ["zero", "reflect"])
def test_labels_reach_the_output_through_zero_padding_alone(padding, monkeypatch):
    if padding == "reflect":
        monkeypatch.setattr(stargan, "Conv", reflected)
    x = batch_of(CONFIG)["x"]
    run = jax.jit(
        lambda attributes: stargan.translate(CONFIG, filled(CONFIG), x, attributes=attributes)
    )
    change = np.abs(run(jnp.zeros((4, 3))) - run(jnp.ones((4, 3)))).max((1, 2, 3))
    assert (change > 0.01).all() if padding == "zero" else (change < 1e-4).all()


def test_color_mask_keeps_pixels_or_replaces_them():
    config = dataclasses.replace(CONFIG, output="color_mask")
    variables, x = filled(config), batch_of(config)["x"]
    run = jax.jit(lambda v: stargan.translate(config, v, x, attributes=jnp.asarray(LIGHT)))

    def with_mask(value):
        last = variables["params"]["generator"]["Conv_5"]["kernel"].at[..., 1].set(value)
        params = {**variables["params"]["generator"], "Conv_5": {"kernel": last}}
        return {"params": {**variables["params"], "generator": params}}

    np.testing.assert_allclose(run(with_mask(100.0)), x, atol=1e-5)
    colour = run(with_mask(-100.0))
    assert np.abs(colour - x).mean() > 0.1
    np.testing.assert_allclose(run(with_mask(0.0)), (x + colour) / 2, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (4, 4), (9, 16)])
def test_translates_images_of_any_size(size):
    x = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, *size, 1)), jnp.float32)
    run = jax.jit(lambda a: stargan.translate(CONFIG, filled(CONFIG), x, attributes=a))
    found = [np.asarray(run(jnp.asarray(LIGHT[i : i + 2]))) for i in (0, 1)]
    assert found[0].shape == x.shape
    assert np.abs(found[0]).max() <= 1
    assert (found[0] != found[1]).any()


def test_translation_without_a_set_changes_both():
    x, attributes = batch_of(JOINT)["x"], jnp.asarray([[1, 0, 1, 0, 1]] * 4)

    @jax.jit
    def run(x, label=None):
        return stargan.translate(JOINT, filled(JOINT), x, attributes=attributes, label=label)

    first = run(x, jnp.zeros(4, jnp.int32))
    np.testing.assert_allclose(run(x), run(first, jnp.ones(4, jnp.int32)), atol=1e-6)
    assert np.abs(run(x) - first).max() > 1e-3


def test_rejects_other_channels_and_attributes_in_translation():
    x = jnp.zeros((2, 8, 8, 1))
    with pytest.raises(ValueError, match=r"needs `attributes` \[2, 3\], one column for each of"):
        stargan.translate(CONFIG, filled(CONFIG), x, attributes=jnp.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"images must be float32\[B, H, W, 1\], got float32\["):
        stargan.translate(CONFIG, filled(CONFIG), x[0], attributes=LIGHT)
    with pytest.raises(ValueError, match=r"images must be float32\[B, H, W, 1\], got float32\["):
        stargan.predict_attributes(CONFIG, filled(CONFIG), jnp.zeros((2, 8, 8, 3)))
    x, attributes = jnp.zeros((2, 3, 3, 1)), jnp.zeros((2, 5))
    with pytest.raises(ValueError, match=r"`label` must be \[2\], the set of attributes"):
        stargan.translate(JOINT, filled(JOINT), x, attributes=attributes, label=jnp.asarray(1))


def test_predicted_attributes_have_one_of_each_exclusive_group():
    x = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (64, 5, 6, 1)), jnp.float32)
    config = dataclasses.replace(JOINT, shape=(8, 8, 1))
    run = jax.jit(functools.partial(stargan.predict_attributes, config))
    found = np.asarray(run(filled(config, 2.0), x))
    same = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (64, 8, 8, 1)), jnp.float32)
    network = stargan.Discriminator(config)
    logits = apply_network(network, filled(config, 2.0), "discriminator", same)[1]
    assert (found[:, :2].sum(1) == 1).all()
    assert (found[:, 3:].sum(1) == 1).all()
    found = np.asarray(run(filled(config, 2.0), same))  # of the Config's shape
    np.testing.assert_array_equal(found[:, 0], logits[:, 0] > logits[:, 1])
    np.testing.assert_array_equal(found[:, 2], logits[:, 2] > 0)
    assert 0 < found[:, 2].mean() < 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, LIGHT),
        ({"thin": 1}, [[0, 1, 1], [0, 1, 0], [0, 1, 0], [0, 1, 1]]),
        ({"thick": 0, "thin": 1}, [[0, 1, 1], [0, 1, 0], [0, 1, 0], [0, 1, 1]]),
        ({"slanted": 1}, [[1, 0, 1], [0, 1, 1], [1, 0, 1], [0, 1, 1]]),
        ({"slanted": 0, "thick": 1}, [[1, 0, 0]] * 4),
    ],
    ids=str,
)
def test_changes_by_name_keep_one_of_the_exclusive_attributes(changes, expected):
    found = stargan.target_attributes(CONFIG, LIGHT, changes)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.uint8


def test_softmax_attributes_exclude_each_other():
    changed = stargan.target_attributes(JOINT, [[1, 0, 1, 1, 0]], {"dark": 1})
    assert changed.tolist() == [[1, 0, 1, 0, 1]]
    config = dataclasses.replace(CONFIG, classification="softmax")
    assert stargan.target_attributes(config, [[1, 0, 0]], {"slanted": 1}).tolist() == [[0, 0, 1]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bold": 1}, "there is no attribute 'bold'; choose of thick, thin, slanted"),
        ({"thin": 2}, "attribute thin must be set to 0 or 1, got 2"),
        ({"thin": 1, "thick": 1}, "exactly one of thick, thin must be 1.* leave several"),
        ({"thick": 0}, "exactly one of thick, thin must be 1, and the changes leave none; set one"),
    ],
    ids=str,
)
def test_rejects_invalid_changes(changes, message):
    with pytest.raises(ValueError, match=message):
        stargan.target_attributes(CONFIG, LIGHT, changes)


def test_rejects_attributes_of_another_number():
    with pytest.raises(ValueError, match=r"attributes must be \[N, 3\], one column for each"):
        stargan.target_attributes(CONFIG, LIGHT[:, :2], {})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attributes": ("a", "b")}, "`exclusive` must have names of one set of attributes"),
        ({"second_attributes": ("thin",)}, "attributes must have different names"),
        ({"exclusive": ("thin", "thin")}, "`exclusive` must have different names, got"),
        (
            {"second_attributes": ("dark",), "exclusive": ("thin", "dark")},
            "`exclusive` must have names of one set",
        ),
        ({"discriminator_layers": 4}, "halve a side of 8 pixels below one; use at most 3"),
        ({"downs": 3}, "3 downsamplings leave one pixel of 8x8 images.*; use fewer downs"),
        ({"attributes": ()}, "`attributes` must be a non-empty tuple"),
    ],
    ids=str,
)
def test_rejects_invalid_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **settings)
