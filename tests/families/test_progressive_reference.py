"""Losses of the progressive GAN inside a fade, against a plain reference of NCHW maps.

Written from the paper and official facts. Streams of keys and names of weights are the library's.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import make_batch, random_arrays

from genjax.core import GanObjective, with_alpha
from genjax.families import progressive

CONFIG = progressive.Config(
    shape=(16, 16, 2), latent=5, base=12, max_width=6, classes=3, class_weight=0.7, group=2
)
SIDE, B, ALPHA = 8, 4, 0.3  # the networks fade in 8x8, and the data have 16x16


def layer(params, x, gain, bias=True):
    """A dense layer or a convolution of NCHW maps, with He's constant at run time."""
    kernel = params["kernel"]
    kernel = kernel * (gain / np.sqrt(kernel[..., 0].size))
    if x.ndim == 2:
        y = x @ kernel
        return y + params["bias"][None] if bias else y
    padding = [(kernel.shape[0] // 2,) * 2] * 2
    kernel = jnp.transpose(kernel, (3, 2, 0, 1))
    y = jax.lax.conv_general_dilated(x, kernel, (1, 1), padding)
    return y + params["bias"][None, :, None, None]


def leaky(x):
    return jnp.maximum(x, 0.2 * x)


def unit(x):
    """Divides by the root mean square of axis 1."""
    return x / jnp.sqrt((x**2).mean(1, keepdims=True) + 1e-8)


def double(x):
    return jnp.repeat(jnp.repeat(x, 2, 2), 2, 3)


def half(x):
    b, c, h, w = x.shape
    return x.reshape(b, c, h // 2, 2, w // 2, 2).mean((3, 5))


def generate(params, z, label):
    gain = math.sqrt(2)
    x = unit(jnp.concatenate([z, jnp.eye(3)[label]], axis=1))
    small, large = params["4x4"], params["8x8"]
    x = layer(small["dense"], x, gain / 4, bias=False).reshape(len(z), 4, 4, -1)
    x = unit(leaky((x + small["bias"][None, None, None]).transpose(0, 3, 1, 2)))
    x = unit(leaky(layer(small["conv"], x, gain)))
    y = unit(leaky(layer(large["up"], double(x), gain)))
    y = unit(leaky(layer(large["conv"], y, gain)))
    old, new = layer(params["rgb_4x4"], x, 1), layer(params["rgb_8x8"], y, 1)
    return (1 - ALPHA) * double(old) + ALPHA * new


def discriminate(params, images):
    """Returns the logits of the image and of its label."""
    gain = math.sqrt(2)
    small, large = params["4x4"], params["8x8"]
    old = leaky(layer(params["rgb_4x4"], half(images), gain))
    x = leaky(layer(params["rgb_8x8"], images, gain))
    x = leaky(layer(large["conv"], x, gain))
    x = leaky(half(layer(large["down"], x, gain)))
    x = (1 - ALPHA) * old + ALPHA * x
    groups = len(x) // CONFIG.group
    spread = [jnp.sqrt(x[i::groups].var(0) + 1e-8).mean() for i in range(groups)]
    extra = jnp.stack([spread[i % groups] for i in range(len(x))])
    extra = jnp.broadcast_to(extra[:, None, None, None], (len(x), 1, 4, 4))
    x = leaky(layer(small["conv"], jnp.concatenate([x, extra], 1), gain))
    x = x.transpose(0, 2, 3, 1).reshape(len(x), -1)
    out = layer(params["out"], leaky(layer(small["dense"], x, gain)), 1)
    return out[:, 0], out[:, 1:]


def softplus(x):
    return jnp.log1p(jnp.exp(-jnp.abs(x))) + jnp.maximum(x, 0)


def cross_entropy(logits, label):
    return -jax.nn.log_softmax(logits)[jnp.arange(len(label)), label]


def inputs(batch, key):
    """Returns blended real images, noise and the weights of real images in a penalty."""
    real = half(batch["x"].transpose(0, 3, 1, 2))
    real = (1 - ALPHA) * double(half(real)) + ALPHA * real
    noise_key, objective_key = jax.random.split(key)
    penalty_key = jax.random.split(objective_key, 3)[2]
    mix = jax.random.uniform(jax.random.split(penalty_key, 4)[0], (B,))
    return real, jax.random.normal(noise_key, (B, CONFIG.latent)), mix


def discriminator_loss(kind, params, batch, key):
    real, z, mix = inputs(batch, key)
    own, label = params["discriminator"], batch["label"]
    fake = generate(jax.lax.stop_gradient(params["generator"]), z, label)
    (on_real, real_labels), (on_fake, fake_labels) = (discriminate(own, x) for x in (real, fake))

    def squares(x):
        """The squared gradient, per image, of the sum over the batch."""
        return (jax.grad(lambda x: discriminate(own, x)[0].sum())(x) ** 2).sum((1, 2, 3))

    if kind == "wasserstein":
        between = mix[:, None, None, None] * real + (1 - mix)[:, None, None, None] * fake
        penalty = 10 * (jnp.sqrt(squares(between)) - 1) ** 2 + 0.001 * on_real**2
        loss = on_fake - on_real + penalty
    elif kind == "non_saturating":
        loss = softplus(-on_real) + softplus(on_fake) + 3 / 2 * squares(real)
    else:
        loss = softplus(on_fake - on_real)
    return loss + 0.7 * (cross_entropy(real_labels, label) + cross_entropy(fake_labels, label))


def generator_loss(kind, params, batch, key):
    real, z, _ = inputs(batch, key)
    fake = generate(params["generator"], z, batch["label"])
    on_fake, labels = discriminate(params["discriminator"], fake)
    if kind == "wasserstein":
        loss = -on_fake
    elif kind == "non_saturating":
        loss = softplus(-on_fake)
    else:
        loss = softplus(discriminate(params["discriminator"], real)[0] - on_fake)
    return loss + 0.7 * cross_entropy(labels, batch["label"])


OBJECTIVES = {
    "wasserstein": CONFIG.objective,
    "non_saturating": GanObjective(loss="non_saturating", r1=3.0),
    "relativistic": GanObjective(loss="relativistic"),
}
REFERENCE = {"discriminator": discriminator_loss, "generator": generator_loss}


@pytest.fixture(scope="module")
def variables():
    def make(key):
        return progressive.grow(CONFIG, progressive.init(CONFIG, key), key)

    return with_alpha(random_arrays(make, scale=1.0), ALPHA)


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_losses_and_gradients_in_a_fade_are_those_of_the_reference(variables, kind):
    config = dataclasses.replace(CONFIG, objective=OBJECTIVES[kind])
    batch, key = make_batch(progressive, config, B), jax.random.key(4)
    batch["label"] = jnp.asarray([0, 2, 1, 2])

    for name in ("discriminator", "generator"):

        def ours(params, name=name):
            loss, aux = progressive.LOSSES[name](
                config, {**variables, "params": params}, batch, key
            )
            return loss.mean(), (loss, aux)

        def reference(params, name=name):
            loss = REFERENCE[name](kind, params, batch, key)
            return loss.mean(), loss

        grads, (got, aux) = jax.jit(jax.grad(ours, has_aux=True))(variables["params"])
        expected, want = jax.jit(jax.grad(reference, has_aux=True))(variables["params"])
        np.testing.assert_allclose(got, want, rtol=1e-4)
        assert "updates" not in aux
        size = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected[name]))
        for path, leaf in jax.tree_util.tree_leaves_with_path(expected[name]):
            found = grads[name]
            for part in path:
                found = found[part.key]
            np.testing.assert_allclose(found, leaf, rtol=2e-3, atol=1e-5 * size, err_msg=str(path))
            assert (np.asarray(leaf) != 0).any(), path


def test_generated_images_and_logits_are_those_of_the_reference(variables):
    z, label = jax.random.normal(jax.random.key(1), (B, CONFIG.latent)), jnp.asarray([2, 0, 1, 1])
    made = progressive.generate(CONFIG, variables, z, label)
    want = double(generate(variables["params"]["generator"], z, label)).transpose(0, 2, 3, 1)
    assert (np.abs(want) > 1).any()
    np.testing.assert_allclose(made, np.clip(want, -1, 1), rtol=1e-4, atol=1e-5)
    x = make_batch(progressive, CONFIG, B)["x"]
    logits, labels = discriminate(
        variables["params"]["discriminator"], half(x.transpose(0, 3, 1, 2))
    )
    got = progressive.discriminate(CONFIG, variables, x)
    np.testing.assert_allclose(got, logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        progressive.classify(CONFIG, variables, x), labels, rtol=1e-4, atol=1e-5
    )
