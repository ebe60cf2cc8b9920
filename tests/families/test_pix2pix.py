"""pix2pix: official sizes, dropout and statistics in translation, terms of the losses."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import random_arrays

from genjax.families import pix2pix

SMALL = pix2pix.Config(
    shape=(8, 8, 2),
    width=3,
    downs=3,
    dropout_blocks=2,
    discriminator_width=3,
    discriminator_layers=1,
)


def variables_of(config):
    return random_arrays(functools.partial(pix2pix.init, config))


def images(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, shape), jnp.float32)


def batch_of(config, size=3):
    return {name: images(size, *config.shape, seed=i) for i, name in enumerate("xy")}


@functools.cache
def translator(config=SMALL):
    return jax.jit(functools.partial(pix2pix.translate, config, variables_of(config)))


@pytest.mark.parametrize(
    ("config", "generator", "discriminator"),
    [
        (pix2pix.Config(), 54_413_955, 2_768_705),
        (pix2pix.Config(shape=(128, 128, 3), downs=7), 41_828_995, 2_768_705),
        (pix2pix.Config(conditional=False), 54_413_955, 2_768_705 - 16 * 3 * 64),
    ],
)
def test_official_numbers_of_parameters(config, generator, discriminator):
    """And no running statistics, which nothing would use."""
    found = jax.eval_shape(functools.partial(pix2pix.init, config), jax.random.key(0))
    assert set(found) == {"params"}
    sizes = {
        name: sum(math.prod(a.shape) for a in jax.tree.leaves(params))
        for name, params in found["params"].items()
    }
    assert sizes == {"generator": generator, "discriminator": discriminator}


def test_translation_of_an_image_does_not_depend_on_its_batch():
    """Neither its statistics nor its dropout."""
    x = images(5, 8, 8, 2)
    whole = translator()(x)
    assert np.std(whole) > 0.1
    np.testing.assert_allclose(whole[3:4], translator()(x[3:4]), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(whole[::-1], translator()(x[::-1]), rtol=1e-4, atol=1e-5)


def test_dropout_of_translation_follows_the_key():
    x, translate = images(2, 8, 8, 2), translator()
    a, b = (np.asarray(translate(x, key=jax.random.key(k))) for k in (0, 1))
    np.testing.assert_array_equal(translate(x), a)  # the default
    assert np.abs(a - b).mean() > 0.01
    without = translator(dataclasses.replace(SMALL, dropout=0.0))
    np.testing.assert_array_equal(without(x), without(x, key=jax.random.key(1)))


def test_translates_images_of_any_size():
    x = images(1, 16, 24, 2)
    assert translator()(x).shape == x.shape
    assert translator()(x[:, :13, :7]).shape == (1, 13, 7, 2)
    with pytest.raises(ValueError, match="downs 3 reduce 4x3 images to 1x1 maps"):
        translator()(x[:, :4, :3])


def test_translation_rejects_other_images_and_domains():
    x = images(1, 8, 8, 2)
    with pytest.raises(ValueError, match=r"pix2pix: images must be float32\[B, H, W, 2\], got"):
        translator()(x[..., :1])
    with pytest.raises(ValueError, match="cast"):
        translator()(x.astype(jnp.int32))
    with pytest.raises(ValueError, match="`to` must be one of b, got 'a'"):
        pix2pix.translate(SMALL, variables_of(SMALL), x, to="a")


def test_the_fake_of_the_generator_is_the_discriminators():
    """The key of D's update decides, not the generator's own, which is used without one alone."""
    variables, batch = variables_of(SMALL), batch_of(SMALL)
    loss = jax.jit(functools.partial(pix2pix.generator_loss, SMALL, variables))
    critic = jax.jit(functools.partial(pix2pix.discriminator_loss, SMALL, variables))
    _, aux = critic(batch, jax.random.key(0))
    given = {**batch, "outputs": aux["outputs"]}
    own, other = (loss(batch, jax.random.key(k))[0] for k in (0, 1))
    assert np.abs(own - other).max() > 1e-3
    for k in (1, 2):
        np.testing.assert_array_equal(loss(given, jax.random.key(k))[0], own)


def test_the_discriminators_loss_has_no_gradient_in_the_generator():
    variables, batch = variables_of(SMALL), batch_of(SMALL)

    def mean(params):
        loss = pix2pix.discriminator_loss(SMALL, {"params": params}, batch, jax.random.key(0))
        return loss[0].mean()

    grads = jax.jit(jax.grad(mean))(variables["params"])
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(grads["generator"]))
    assert all(np.any(leaf) for leaf in jax.tree.leaves(grads["discriminator"]))


def test_terms_of_the_generators_loss():
    """The total is their weighted sum; L1 alone does not see the discriminator."""
    variables, batch = variables_of(SMALL), batch_of(SMALL)

    def terms(variables=variables, **changed):
        config = dataclasses.replace(SMALL, **changed)
        loss = jax.jit(functools.partial(pix2pix.generator_loss, config))
        return loss(variables, batch, jax.random.key(0))

    total, aux = terms(l1=7.0, adversarial=2.0)
    np.testing.assert_allclose(total, 2 * aux["adversarial"] + 7 * aux["l1"], rtol=1e-5)
    assert float(aux["adversarial"].min()) > 0
    np.testing.assert_allclose(terms(l1=0.0)[0], aux["adversarial"], rtol=1e-5)
    alone, aux = terms({"params": {"generator": variables["params"]["generator"]}}, adversarial=0.0)
    np.testing.assert_allclose(alone, 100 * aux["l1"], rtol=1e-5)


@pytest.mark.parametrize("conditional", [True, False])
def test_an_unconditional_discriminator_does_not_see_x(conditional):
    config = dataclasses.replace(SMALL, conditional=conditional)
    variables, batch = variables_of(config), batch_of(config)
    other = {**batch, "x": batch["x"][::-1]}
    loss = jax.jit(functools.partial(pix2pix.discriminator_loss, config, variables))
    a, b = (loss(data, jax.random.key(0))[1]["real_logit"] for data in (batch, other))
    assert a.shape == (3, 2, 2)  # a logit per patch
    assert bool(jnp.all(a == b)) != conditional


def test_upsampling_is_of_the_generator():
    """By 3x3 convolutions of the enlarged maps, instead of 4x4 transposed ones."""
    config = dataclasses.replace(SMALL, upsampling="resize")
    params = jax.eval_shape(functools.partial(pix2pix.init, config), jax.random.key(0))["params"]
    kernels = [p["kernel"].shape[0] for p in params["generator"].values() if "kernel" in p]
    assert sorted(kernels) == [3, 3, 3, 4, 4, 4]


def test_normalisation_is_of_both_networks():
    config = dataclasses.replace(SMALL, norm="instance")
    for chosen, some in ((SMALL, True), (config, False)):
        params = jax.eval_shape(functools.partial(pix2pix.init, chosen), jax.random.key(0))
        for network in params["params"].values():
            assert any(layer.startswith("BatchNorm") for layer in network) == some


def test_bfloat16_keeps_images_and_logits_in_float32():
    config = dataclasses.replace(SMALL, dtype="bfloat16")
    variables, batch = variables_of(config), batch_of(config)
    x = jax.eval_shape(functools.partial(pix2pix.translate, config), variables, batch["x"])
    assert x.dtype == jnp.float32
    loss = functools.partial(pix2pix.discriminator_loss, config)
    found = jax.eval_shape(loss, variables, batch, jax.random.key(0))
    assert found[0].dtype == found[1]["fake_logit"].dtype == jnp.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (8, 8)}, "must be \\(H, W, C\\)"),
        ({"shape": (32, 32, 1), "downs": 6}, "downs 6 reduce 32x32 images to 1x1 maps"),
        ({"shape": (16, 16, 1), "downs": 4}, "leave no patch of 16x16 images"),
        ({"downs": 1}, "at least twice, got 1"),
        ({"l1": 0.0, "adversarial": 0.0}, "the generator has no loss; set adversarial or l1"),
        ({"dropout_blocks": 8}, "8 blocks with dropout are not between 0 and 7"),
    ],
)
def test_rejects_invalid_configs(options, message):
    with pytest.raises(ValueError, match=message):
        pix2pix.Config(**options)
