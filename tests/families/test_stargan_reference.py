"""One full StarGAN update against a plain reference, written from the paper and official facts.

Two critic updates and one of the generator, with Adam, in NumPy and `jax.lax` convolutions of NCHW
maps. Batch order, streams of keys and names of weights are those of the library.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from support.helpers import random_arrays

from genjax.core import GanObjective, init_state, make_step, named_key
from genjax.families import stargan

CONFIG = stargan.Config(
    shape=(8, 8, 2),
    attributes=("thick", "thin", "slanted"),
    exclusive=("thick", "thin"),
    width=3,
    downs=1,
    blocks=1,
    discriminator_width=3,
    discriminator_layers=2,
    objective=GanObjective(loss="wasserstein", gradient_penalty=10.0, critic_steps=2),
)
B, CRITIC = 4, CONFIG.objective.critic_steps
# A large epsilon: without it the first updates are signs, which rounding of small gradients turns.
RATE, BETA1, BETA2, EPSILON = 1e-2, 0.5, 0.999, 1e-2


def conv(x, kernel, stride, padding, bias=None):
    y = jax.lax.conv_general_dilated(
        x,
        jnp.transpose(kernel, (3, 2, 0, 1)),
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=("NCHW", "OIHW", "NCHW"),
    )
    return y if bias is None else y + bias[None, :, None, None]


def double(x, kernel):
    """4x4 transposed convolution, stride 2, padding 1: zeros between pixels, then a convolution."""
    b, c, h, w = x.shape
    spread = jnp.zeros((b, c, 2 * h - 1, 2 * w - 1)).at[:, :, ::2, ::2].set(x)
    return conv(spread, kernel, 1, 2)


def norm(x, params):
    mean, var = x.mean((2, 3), keepdims=True), x.var((2, 3), keepdims=True)
    scale, bias = (params[name][None, :, None, None] for name in ("scale", "bias"))
    return scale * (x - mean) / jnp.sqrt(var + 1e-5) + bias


def generate(params, x, labels):
    planes = jnp.broadcast_to(labels[:, :, None, None], (*labels.shape, *x.shape[2:]))
    h = jnp.concatenate([x, planes], axis=1)
    convs = [params[f"Conv_{i}"]["kernel"] for i in range(5)]
    norms = [params[f"InstanceNorm_{i}"] for i in range(5)]
    h = jax.nn.relu(norm(conv(h, convs[0], 1, 3), norms[0]))
    h = jax.nn.relu(norm(conv(h, convs[1], 2, 1), norms[1]))
    inner = jax.nn.relu(norm(conv(h, convs[2], 1, 1), norms[2]))
    h = h + norm(conv(inner, convs[3], 1, 1), norms[3])
    h = jax.nn.relu(norm(double(h, params["ConvTranspose_0"]["kernel"]), norms[4]))
    return jnp.tanh(conv(h, convs[4], 1, 3))


def discriminate(params, x):
    for i in (0, 1):
        layer = params[f"Conv_{i}"]
        x = conv(x, layer["kernel"], 2, 1, layer["bias"])
        x = jnp.where(x > 0, x, 0.01 * x)
    patches = conv(x, params["patches"]["kernel"], 1, 1)
    return patches, conv(x, params["attributes"]["kernel"], 1, 0)[:, :, 0, 0]


def binary_cross_entropy(logits, labels):
    """Summed over attributes, divided by the batch."""
    nats = labels * jnp.log1p(jnp.exp(-logits)) + (1 - labels) * jnp.log1p(jnp.exp(logits))
    return nats.sum() / len(labels)


def critic_loss(critic, generator, x, labels, targets, mix):
    fake = generate(generator, x, targets)
    real_patches, classes = discriminate(critic, x)
    fake_patches, _ = discriminate(critic, fake)
    mix = mix[:, None, None, None]
    middle = mix * x + (1 - mix) * fake
    slope = jax.grad(lambda x: discriminate(critic, x)[0].sum())(middle)
    length = jnp.sqrt((slope.reshape(B, -1) ** 2).sum(1))
    loss = fake_patches.mean() - real_patches.mean() + binary_cross_entropy(classes, labels)
    return loss + 10 * ((length - 1) ** 2).mean()


def generator_loss(generator, critic, x, labels, targets):
    fake = generate(generator, x, targets)
    patches, classes = discriminate(critic, fake)
    back = generate(generator, fake, labels)
    loss = -patches.mean() + binary_cross_entropy(classes, targets)
    return loss + 10 * jnp.abs(x - back).mean()


class Adam:
    """Kingma and Ba 2015, algorithm 1."""

    def __init__(self, params):
        self.params, self.count = params, 0
        self.first = self.second = jax.tree.map(np.zeros_like, params)

    def update(self, grads):
        self.count += 1
        self.first = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, self.first, grads)
        self.second = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, self.second, grads)

        def moved(p, m, v):
            m, v = m / (1 - BETA1**self.count), v / (1 - BETA2**self.count)
            return p - RATE * m / (np.sqrt(v) + EPSILON)

        self.params = jax.tree.map(moved, self.params, self.first, self.second)


def reference(params, batch, key):
    """Returns the weights after the update, and the targets of each critic update."""
    networks = {name: Adam(jax.tree.map(np.asarray, part)) for name, part in params.items()}
    critic, generator = networks["discriminator"], networks["generator"]
    critic_grad = jax.jit(jax.grad(critic_loss))
    for k in range(CRITIC):
        stream = key if k == 0 else named_key(key, k, "critic")
        target_key, objective_key = jax.random.split(named_key(stream, 0, "discriminator"))
        order = np.asarray(jax.random.permutation(target_key, B))
        mix_key = jax.random.split(jax.random.split(objective_key, 3)[2], 4)[0]
        mix = np.asarray(jax.random.uniform(mix_key, (B,)))
        x = np.transpose(batch["x"][k], (0, 3, 1, 2))
        labels = np.asarray(batch["attributes"][k], np.float32)
        targets = labels[order]
        critic.update(
            jax.device_get(critic_grad(critic.params, generator.params, x, labels, targets, mix))
        )
    # The generator sees the images and targets of the last critic update, and the new critic.
    grad = jax.jit(jax.grad(generator_loss))
    generator.update(jax.device_get(grad(generator.params, critic.params, x, labels, targets)))
    return {name: network.params for name, network in networks.items()}


def test_a_full_update_is_the_references():
    rng = np.random.default_rng(4)
    variables = random_arrays(functools.partial(stargan.init, CONFIG), scale=0.3)
    batch = {
        "x": rng.uniform(-1, 1, (CRITIC, B, *CONFIG.shape)).astype(np.float32),
        "attributes": rng.integers(0, 2, (CRITIC, B, 3)).astype(np.uint8),
    }
    adam = optax.adam(RATE, b1=BETA1, b2=BETA2, eps=EPSILON)
    optimizers = {"generator": adam, "discriminator": adam}
    key = jax.random.key(9)
    before = jax.device_get(variables["params"])
    state = init_state(stargan, CONFIG, optimizers, key, variables=variables)
    new, _ = jax.jit(make_step(stargan, CONFIG, optimizers))(state, batch)
    after = jax.device_get(new.variables["params"])
    expected = reference(before, batch, key)
    moved = jax.tree.map(lambda a, b: a - b, after, before)
    wanted = jax.tree.map(lambda a, b: a - b, expected, before)
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(moved), jax.tree.leaves(wanted), strict=True
    ):
        assert np.abs(b).max() > 1e-3, path
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5, err_msg=str(path))
