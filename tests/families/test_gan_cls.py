"""GAN-INT-CLS: sizes of the networks, and both losses against their parts computed one by one."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.helpers import critic_batch, make_batch, make_state, random_arrays

from genjax.core import GanObjective, Optimizer, make_step, named_key
from genjax.families import gan_cls, joint_embedding
from genjax.train.load_run import evaluation_variables
from genjax.train.run_config import Run, Train

TINY = gan_cls.tiny()
SIZE = 6


def count(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def layers(tree, kind):
    """Returns the subtrees of the layers of a kind, such as `Conv`."""
    found = []
    for name, value in tree.items():
        if name.startswith(kind):
            found.append(value)
        elif isinstance(value, dict) and "kernel" not in value:
            found += layers(value, kind)
    return found


@functools.cache
def variables():
    """Random weights, and running statistics that differ from those of any batch."""
    made = random_arrays(functools.partial(gan_cls.init, TINY))
    statistics = jax.tree.map(lambda s: jnp.abs(s) + 0.5, made["batch_stats"])
    return {**made, "batch_stats": statistics}


def batch(size=SIZE):
    rng = np.random.default_rng(1)
    spec = gan_cls.batch_spec(TINY, size)
    return {
        "x": jnp.asarray(rng.uniform(-1, 1, spec["x"].shape), jnp.float32),
        "text": jnp.asarray(rng.integers(1, 71, spec["text"].shape), jnp.int32),
    }


def embeddings(text):
    """Returns the mean of the embeddings of the captions of each row, one caption at a time."""
    part = variables()["buffers"]["embedding"]
    each = [
        joint_embedding.embed_text(TINY.embedding, part, text[:, k]) for k in range(text.shape[1])
    ]
    return sum(e / jnp.sqrt(jnp.square(e).mean(axis=1, keepdims=True)) for e in each) / len(each)


def applied(module, name, *inputs, params=None):
    """Applies a network by the statistics of its batch; returns its outputs."""
    params = variables()["params"][name] if params is None else params
    zeros = jax.tree.map(jnp.zeros_like, variables()["batch_stats"][name])
    own = {"params": params, "batch_stats": zeros}
    return module.apply(own, *inputs, train=True, mutable="batch_stats")[0]


@jax.jit
def logits_of(images, text, params=None):
    module = gan_cls.discriminator(TINY)
    return applied(module, "discriminator", images, text, params=params)


@jax.jit
def images_of(key, text):
    z = gan_cls.noise(TINY, key, len(text))
    return applied(gan_cls.generator(TINY), "generator", z, text)


@pytest.mark.parametrize(
    ("config", "generator", "discriminator"),
    [
        (gan_cls.Config(), 18_909_699, 4_032_321),
        (gan_cls.Config(width=196, discriminator_width=196), 41.1e6, 36.2e6),
    ],
)
def test_sizes_are_those_of_the_authors_networks(config, generator, discriminator):
    """They also have a bias per channel of each convolution, set to 0 before every update, and of
    the dense layer before a batch normalisation, which removes it."""
    params = jax.eval_shape(lambda: gan_cls.init(config, jax.random.key(0)))["params"]
    convolutions = layers(params["generator"], "Conv")
    # The first layer is a transposed convolution of one pixel.
    channels = [layer["kernel"].shape[-1] for layer in convolutions] + [8 * config.width]
    exact = config == gan_cls.Config()
    approximately = pytest.approx(generator, rel=0 if exact else 2e-3)
    assert count(params["generator"]) + sum(channels) == approximately
    convolutions = layers(params["discriminator"], "Conv")
    channels = [layer["kernel"].shape[-1] for layer in convolutions] + [config.text_width]
    approximately = pytest.approx(discriminator, rel=0 if exact else 2e-3)
    assert count(params["discriminator"]) + sum(channels) == approximately


def test_smaller_images_have_fewer_layers_and_the_same_first_widths():
    config = gan_cls.Config(shape=(32, 32, 3), width=16, discriminator_width=8)
    params = jax.eval_shape(lambda: gan_cls.init(config, jax.random.key(0)))["params"]
    up = [layer["kernel"].shape[2:] for layer in layers(params["generator"], "ConvTranspose")]
    assert up == [(64, 32), (32, 16), (16, 3)]
    # Bottleneck blocks at 4x4 and 8x8.
    assert len(layers(params["generator"], "Bottleneck")) == 2
    down = [layer["kernel"].shape for layer in layers(params["discriminator"], "Conv")]
    assert [shape[2:] for shape in down if shape[:2] == (4, 4)] == [
        (3, 8),
        (8, 16),
        (16, 32),
        (32, 1),
    ]


def test_initial_weights():
    params = make_state(gan_cls, TINY).variables["params"]
    kernels = [layer["kernel"].ravel() for layer in layers(params, "Conv")]
    assert float(jnp.concatenate(kernels).std()) == pytest.approx(0.02, rel=0.1)
    scales = jnp.concatenate([layer["scale"] for layer in layers(params, "BatchNorm")])
    assert float(scales.mean()) == pytest.approx(1, abs=0.01)
    assert float(scales.std()) == pytest.approx(0.02, rel=0.3)


@pytest.mark.parametrize("matching_aware", [True, False])
def test_discriminator_loss_has_its_terms_and_weights(matching_aware):
    """1 right, 1/2 wrong, 1/2 generated, each batch normalised by itself; else 1 and 1. The
    gradient is that of these terms."""
    config = dataclasses.replace(TINY, matching_aware=matching_aware)
    data, key = batch(), jax.random.key(3)
    text = embeddings(data["text"])
    fake_images = images_of(key, text)

    def by_parts(params):
        real = jax.nn.softplus(-logits_of(data["x"], text, params))
        fake = jax.nn.softplus(logits_of(fake_images, text, params))
        if not matching_aware:
            return (real + fake).mean(), real + fake
        wrong = jax.nn.softplus(logits_of(jnp.roll(data["x"], -1, axis=0), text, params))
        loss = real + 0.5 * wrong + 0.5 * fake
        return loss.mean(), loss

    def of_family(params):
        params = {**variables()["params"], "discriminator": params}
        given = {**variables(), "params": params}
        loss, aux = gan_cls.discriminator_loss(config, given, data, key)
        return loss.mean(), (loss, aux)

    params = variables()["params"]["discriminator"]
    expected, gradient = jax.jit(jax.grad(by_parts, has_aux=True))(params)[::-1]
    (found, aux), got = jax.jit(jax.grad(of_family, has_aux=True))(params)[::-1]
    np.testing.assert_allclose(found, expected, rtol=2e-4)
    assert ("wrong_logit" in aux) == matching_aware
    np.testing.assert_allclose(aux["outputs"]["embedding"], text, rtol=1e-5)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-2, atol=1e-4), got, gradient)


def test_a_row_whose_next_image_has_its_caption_has_no_wrong_image():
    data, key = batch(), jax.random.key(3)
    # Its second caption is the first of the next row.
    data["text"] = data["text"].at[2, 1].set(data["text"][3, 0])
    found, _ = jax.jit(functools.partial(gan_cls.discriminator_loss, TINY))(variables(), data, key)
    text = embeddings(data["text"])
    real = jax.nn.softplus(-logits_of(data["x"], text))
    wrong = jax.nn.softplus(logits_of(jnp.roll(data["x"], -1, axis=0), text))
    fake = jax.nn.softplus(logits_of(images_of(key, text), text))
    share = np.where(np.arange(SIZE) == 2, 0, 0.5)
    np.testing.assert_allclose(found, real + share * wrong + (1 - share) * fake, rtol=2e-4)


@pytest.mark.parametrize(("weight", "size"), [(0.0, 6), (1.0, 6), (0.3, 5)])
def test_generator_loss_is_the_mean_over_texts_and_midpoints(weight, size):
    config = dataclasses.replace(TINY, interpolation=weight, interpolation_at=0.4)
    data, key = batch(size), jax.random.key(4)
    loss = jax.jit(functools.partial(gan_cls.generator_loss, config))
    found, aux = loss(variables(), data, key)
    text, half = embeddings(data["text"]), size // 2
    if weight:
        middle = [0.4 * text[i] + 0.6 * text[i + half] for i in range(half)]
        text = jnp.concatenate([text, jnp.stack(middle)])
    each = np.asarray(jax.nn.softplus(-logits_of(images_of(key, text), text)))
    weights = np.where(np.arange(len(text)) < size, 1.0, weight)
    assert found.shape == (size,)
    assert float(found.mean()) == pytest.approx(np.mean(weights * each), rel=2e-4)
    assert ("midpoint_loss" in aux) == bool(weight)
    if weight:
        np.testing.assert_allclose(aux["midpoint_loss"], each[size:], rtol=2e-4)
        halves = np.zeros(size)  # of a midpoint's loss, in each of its two rows
        halves[: 2 * half] = np.tile(aux["midpoint_loss"], 2) / 2
        rows = (each[:size] + weight * halves) * size / (size + half)
        np.testing.assert_allclose(found, rows, rtol=2e-4)


def test_a_step_updates_the_discriminator_first_and_draws_new_noise(monkeypatch):
    """The generator's loss sees the new discriminator, its own noise, and the embeddings that the
    discriminator's has computed; the text encoder does not change."""
    optimizers = {name: optax.sgd(0.1) for name in gan_cls.LOSSES}
    state = make_state(gan_cls, TINY)
    data = critic_batch(make_batch(gan_cls, TINY, SIZE), TINY)
    before = jax.tree.map(np.asarray, state.variables)
    step = jax.jit(make_step(gan_cls, TINY, optimizers))
    after, metrics = step(state, data)
    for name in gan_cls.LOSSES:
        assert any(
            jax.tree.leaves(
                jax.tree.map(
                    lambda a, b: bool((a != b).any()),
                    before["params"][name],
                    after.variables["params"][name],
                )
            )
        )
    buffers = (before["buffers"]["embedding"], after.variables["buffers"]["embedding"])
    jax.tree.map(np.testing.assert_array_equal, *buffers)
    kept = np.resize(data["text"], before["buffers"]["captions"].shape)
    np.testing.assert_array_equal(after.variables["buffers"]["captions"], kept)
    # Both losses, one after another, on the streams of random numbers with their names.
    keys = {name: named_key(state.key, 0, name) for name in gan_cls.LOSSES}
    losses = {name: jax.jit(functools.partial(loss, TINY)) for name, loss in gan_cls.LOSSES.items()}
    loss, aux = losses["discriminator"](state.variables, data, keys["discriminator"])
    assert float(metrics["discriminator_loss"]) == pytest.approx(float(loss.mean()), rel=1e-4)
    newest = {"discriminator": after.variables["params"]["discriminator"]}
    new = {**state.variables, "params": {**state.variables["params"], **newest}}
    given = {**data, "outputs": {"embedding": aux["outputs"]["embedding"]}}

    def generator_loss(variables, data=given, key=keys["generator"]):
        return float(losses["generator"](variables, data, key)[0].mean())

    expected = generator_loss(new)
    assert float(metrics["generator_loss"]) == pytest.approx(expected, rel=1e-4)
    assert abs(generator_loss(state.variables) - expected) > 1e-3  # the old discriminator
    assert abs(generator_loss(new, key=keys["discriminator"]) - expected) > 1e-3  # its noise
    other = {"outputs": {"embedding": 2 * given["outputs"]["embedding"]}}
    assert abs(generator_loss(new, {**data, **other}) - expected) > 1e-4  # other embeddings


def test_samples_are_images_of_one_caption():
    text = batch()["text"][:3, 0]
    key = jax.random.key(5)
    x = gan_cls.sample(TINY, variables(), key, 3, text=text)
    embedding = embeddings(text[:, None])
    z = gan_cls.noise(TINY, key, 3)
    np.testing.assert_allclose(x, gan_cls.images_of(TINY, variables(), z, embedding), atol=1e-5)
    with pytest.raises(ValueError, match="gan_cls: 2 images need as many texts, got 3; repeat"):
        gan_cls.sample(TINY, variables(), key, 2, text=text)
    with pytest.raises(ValueError, match=r"text must be int32\[B, 8\], got int32\[3, 2, 8\]"):
        gan_cls.sample(TINY, variables(), key, 3, text=batch()["text"][:3])


def test_caption_scores_are_logits_by_running_statistics():
    data = batch()
    text = data["text"][:, 0]
    scores = gan_cls.caption_scores(TINY, variables(), data["x"], text)
    one = gan_cls.caption_scores(TINY, variables(), data["x"][:1], text[:1])
    np.testing.assert_allclose(scores[:1], one, rtol=1e-4)  # no other row has an effect
    assert np.abs(np.diff(scores)).min() > 0


def test_statistics_of_averaged_weights_are_of_images_of_captions():
    """The first ones, of a generator without noise, are a mean over texts and midpoints."""
    optimizer = {name: Optimizer() for name in gan_cls.LOSSES}
    train = Train(ema=0.9, batch_size=SIZE)
    run = Run(experiment="x", family="gan_cls", model=TINY, optimizer=optimizer, train=train)
    text = batch()["text"]
    params = jax.tree.map(jnp.copy, variables()["params"])
    first = params["generator"]["Dense_0"]
    first["kernel"] = first["kernel"].at[: TINY.latent].set(0)
    buffers = {**variables()["buffers"], "captions": text}
    found = evaluation_variables(
        run, gan_cls, {**variables(), "params": params, "buffers": buffers}
    )
    same = (v["batch_stats"]["discriminator"] for v in (found, variables()))
    jax.tree.map(np.testing.assert_array_equal, *same)

    embedded = embeddings(text)
    embedded = jnp.concatenate([embedded, (embedded[:3] + embedded[3:]) / 2])
    dense = params["generator"]["text"]
    features = jax.nn.leaky_relu(embedded @ dense["kernel"] + dense["bias"][None], 0.2)
    maps = (features @ first["kernel"][TINY.latent :]).reshape(len(embedded), 16, -1)
    norm = found["batch_stats"]["generator"]["BatchNorm_0"]
    np.testing.assert_allclose(norm["mean"], maps.mean((0, 1)), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(norm["var"], maps.var((0, 1)), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"shape": (48, 48, 3)}, r"equal sides of 8, 16, 32, ... pixels, got \(48, 48, 3\)"),
        ({"shape": (4, 4, 3)}, "equal sides"),
        ({"shape": (16, 8, 3)}, "equal sides"),
        ({"objective": GanObjective(r1=1.0)}, "mixes examples"),
        ({"objective": GanObjective(drift=0.1)}, "no drift and no relativistic loss"),
        ({"objective": GanObjective(loss="relativistic")}, "no drift and no relativistic loss"),
    ],
)
def test_rejects_invalid_configs(changed, match):
    with pytest.raises(ValueError, match=match):
        dataclasses.replace(TINY, **changed)
