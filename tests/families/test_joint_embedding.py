"""Encoders against NumPy, scores, and what the loss takes for a wrong pair."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import random_arrays

from genjax import losses
from genjax.families import joint_embedding
from genjax.families.joint_embedding.encoders import CharCnnRnn

TINY = joint_embedding.tiny()
WORDS = dataclasses.replace(
    TINY,
    vocabulary=9,
    text_length=5,
    text_encoder="transformer",
    width=8,
    layers=1,
    heads=2,
    objective="structured",
)


def variables_of(config):
    return random_arrays(functools.partial(joint_embedding.init, config))


def batch_of(config, size=6):
    rng = np.random.default_rng(3)
    text = rng.integers(1, config.vocabulary, (size, config.text_length))
    text[:, -2:] = 0
    return {
        "x": jnp.asarray(rng.random((size, *config.shape)), jnp.float32),
        "text": jnp.asarray(text, jnp.int32),
    }


def test_default_encoder_is_that_of_the_paper():
    """The layers of HybridCNNLong: 4 x 70 x 384 and so on, two square matrices, a linear map."""
    config = joint_embedding.Config()
    assert joint_embedding.recurrent_steps(config) == 18
    shapes = jax.eval_shape(lambda key: joint_embedding.init(config, key), jax.random.key(0))
    text = shapes["params"]["text"]
    kernels = [text[f"Conv_{i}"]["kernel"].shape for i in range(3)]
    assert kernels == [(1, 4, 70, 384), (1, 4, 384, 512), (1, 4, 512, 256)]
    assert text["input"]["kernel"].shape == text["recurrent"].shape == (256, 256)
    assert text["out"]["kernel"].shape == (256, 1024)
    embed = functools.partial(joint_embedding.embed_text, config)
    assert jax.eval_shape(embed, shapes, jnp.zeros((2, 201), jnp.int32)).shape == (2, 1024)


def test_char_cnn_rnn_against_numpy():
    module = CharCnnRnn(out=3, vocabulary=5, widths=(4, 6), kernel=2, pool=2)
    text = np.array([[1, 2, 3, 4, 4, 2, 1, 0, 0]], np.int32)
    params = random_arrays(lambda key: module.init(key, text))["params"]
    p = jax.tree.map(np.asarray, params)

    x = np.eye(5)[text[0]][:, 1:]  # [T, 4]; padding is zero
    for i in range(2):
        k, b = p[f"Conv_{i}"]["kernel"][0], p[f"Conv_{i}"]["bias"]
        x = np.stack([x[t] @ k[0] + x[t + 1] @ k[1] + b for t in range(len(x) - 1)])
        x = np.maximum(x, 0)
        if i == 0:
            x = np.stack([x[t : t + 2].max(0) for t in range(0, len(x) - 1, 2)])
    assert len(x) == 3
    state, states = np.zeros(6), []
    for row in x:
        inner = row @ p["input"]["kernel"] + p["input"]["bias"] + state @ p["recurrent"]
        state = np.maximum(inner, 0)
        states.append(state)
    expected = np.mean(states, axis=0) @ p["out"]["kernel"] + p["out"]["bias"]
    np.testing.assert_allclose(module.apply({"params": params}, text)[0], expected, rtol=1e-5)


def test_transformer_averages_over_the_text_without_its_padding():
    variables, batch = variables_of(WORDS), batch_of(WORDS)
    shorter = dataclasses.replace(WORDS, text_length=3)
    cut = jax.tree.map(lambda a: a, variables)
    cut["params"]["text"]["positions"] = cut["params"]["text"]["positions"][:3]
    got = joint_embedding.embed_text(WORDS, variables, batch["text"])
    expected = joint_embedding.embed_text(shorter, cut, batch["text"][:, :3])
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    empty = joint_embedding.embed_text(WORDS, variables, 0 * batch["text"])
    assert np.isfinite(empty).all()


@pytest.mark.parametrize("config", [TINY, WORDS])
def test_loss_scores_and_features_agree(config):
    variables, batch = variables_of(config), batch_of(config)
    table = np.asarray(joint_embedding.score_table(config, variables, batch["x"], batch["text"]))
    scores = joint_embedding.caption_scores(config, variables, batch["x"], batch["text"])
    np.testing.assert_allclose(scores, np.diagonal(table), rtol=1e-4, atol=1e-5)
    found, aux = joint_embedding.loss(config, variables, batch)
    objective = getattr(losses, f"{config.objective}_matching")
    np.testing.assert_allclose(found, objective(jnp.asarray(table)), rtol=1e-4, atol=1e-5)
    own, wrong = np.diagonal(table), np.where(np.eye(len(table), dtype=bool), -np.inf, table)
    np.testing.assert_array_equal(aux["text_accuracy"], own > wrong.max(1))
    np.testing.assert_array_equal(aux["image_accuracy"], own > wrong.max(0))
    features = joint_embedding.encode(config, variables, batch["x"], text=batch["text"])
    image = {"params": variables["params"]["image"]}
    out = joint_embedding.image_encoder(config).apply(image, batch["x"])
    if config.objective == "contrastive":
        out /= jnp.linalg.norm(out, axis=1, keepdims=True)
    np.testing.assert_allclose(features, out, rtol=1e-5)
    if config.objective == "contrastive":
        np.testing.assert_allclose(jnp.square(features).sum(1), 1, rtol=1e-5)
        # The factor begins at 1 / 0.07, and is at most 100.
        start = joint_embedding.init(config, jax.random.key(0))["params"]["scale"]
        assert float(jnp.exp(start)) == pytest.approx(1 / 0.07)
        variables["params"]["scale"] = jnp.array(9.0)
        limited = joint_embedding.caption_scores(config, variables, batch["x"], batch["text"])
        assert np.abs(limited).max() <= 100.001

        def loss(scale):
            changed = {"params": {**variables["params"], "scale": scale}}
            return joint_embedding.loss(config, changed, batch)[0].mean()

        assert float(jax.grad(loss)(jnp.array(9.0))) != 0  # it can fall again


@pytest.mark.parametrize("config", [TINY, WORDS])
def test_images_of_an_equal_text_are_no_wrong_ones(config):
    variables, batch = variables_of(config), batch_of(config)
    batch["text"] = batch["text"].at[4].set(batch["text"][1])
    table = joint_embedding.score_table(config, variables, batch["x"], batch["text"])
    same = np.eye(6, dtype=bool)
    same[1, 4] = same[4, 1] = True
    expected = getattr(losses, f"{config.objective}_matching")(table, jnp.asarray(same))
    found, aux = joint_embedding.loss(config, variables, batch)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    without = np.where(same, -np.inf, table)
    np.testing.assert_array_equal(aux["image_accuracy"], np.diagonal(table) > without.max(0))


def test_rejects_texts_of_another_length_or_dtype():
    variables = variables_of(TINY)
    with pytest.raises(ValueError, match=r"text must be int32\[B, 8\], got int32\[2, 7\]; encode"):
        joint_embedding.embed_text(TINY, variables, jnp.zeros((2, 7), jnp.int32))
    with pytest.raises(ValueError, match=r"text must be int32\[B, 8\], got float32\[2, 8\]; cast"):
        joint_embedding.embed_text(TINY, variables, jnp.zeros((2, 8)))


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"text_length": 4}, "leave nothing of texts of 4 characters"),
        ({"vocabulary": 1}, "`vocabulary` includes padding, so it must be at least 2, got 1"),
        ({"heads": 5}, "`width` must be a multiple of `heads`, got 256 and 5"),
    ],
)
def test_rejects_invalid_configs(changed, match):
    with pytest.raises(ValueError, match=match):
        dataclasses.replace(TINY, **changed)
