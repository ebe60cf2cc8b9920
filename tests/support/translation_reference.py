"""Translators' networks and Adam in plain JAX, written from the papers and their released code.

Parameters are the trees that Flax names. Images are `[B, H, W, C]`.
"""

import jax
import jax.numpy as jnp
import numpy as np

NUMBERS = ("NHWC", "HWIO", "NHWC")


def conv(x, p, stride=1, zeros=0):
    """Pads by zeros and convolves."""
    pads = [(zeros, zeros)] * 2
    y = jax.lax.conv_general_dilated(
        x, p["kernel"], (stride, stride), pads, dimension_numbers=NUMBERS
    )
    return y + p["bias"][None, None, None] if "bias" in p else y


def conv_transpose(x, p, output_padding=0):
    """Stride 2, padding 1: zeros between the pixels, then a convolution with the flipped kernel.

    Flax's order of the kernel is flipped already.
    """
    side = p["kernel"].shape[0]
    pads = [(side - 2, side - 2 + output_padding)] * 2
    y = jax.lax.conv_general_dilated(
        x, p["kernel"], (1, 1), pads, lhs_dilation=(2, 2), dimension_numbers=NUMBERS
    )
    return y + p["bias"][None, None, None] if "bias" in p else y


def reflected(x, size):
    return jnp.pad(x, ((0, 0), (size, size), (size, size), (0, 0)), mode="reflect")


def standardized(x, axes):
    mean = x.mean(axes, keepdims=True)
    return (x - mean) / jnp.sqrt(((x - mean) ** 2).mean(axes, keepdims=True) + 1e-5)


def instance_norm(x):
    return standardized(x, (1, 2))


def batch_norm(x, p):
    return standardized(x, (0, 1, 2)) * p["scale"][None, None, None] + p["bias"][None, None, None]


def leaky(x):
    return jnp.where(x > 0, x, 0.2 * x)


def log_loss(logits, target):
    """Binary cross-entropy from logits, its mean over patches and batch."""
    return (jnp.logaddexp(0, logits) - target * logits).mean()


def unet(p, x, masks, downs, dropped):
    """Batch norm; `masks` by block multiplies the dropped maps."""

    def block(x, i):
        y = conv(leaky(x) if i else x, p[f"Conv_{i}"], 2, 1)
        if i + 1 < downs:
            y = batch_norm(y, p[f"BatchNorm_{i - 1}"]) if i else y
            y = block(y, i + 1)
        up = downs - 1 - i  # number of the transposed convolution, from the innermost
        y = conv_transpose(jax.nn.relu(y), p[f"ConvTranspose_{up}"])
        if i == 0:
            return jnp.tanh(y)
        y = batch_norm(y, p[f"BatchNorm_{downs - 2 + up}"])
        y = y * masks[i] if i in dropped else y
        return jnp.concatenate([x, y], -1)

    return block(x, 0)


def resnet(p, x, downs, blocks):
    """c7s1, d, R, u, c7s1 with instance norm."""
    convs = iter(f"Conv_{i}" for i in range(2 + downs + 2 * blocks))
    active = lambda x: jax.nn.relu(instance_norm(x))  # noqa: E731
    x = active(conv(reflected(x, 3), p[next(convs)]))
    for _ in range(downs):
        x = active(conv(x, p[next(convs)], 2, 1))
    for _ in range(blocks):
        y = active(conv(reflected(x, 1), p[next(convs)]))
        x = x + instance_norm(conv(reflected(y, 1), p[next(convs)]))
    for i in range(downs):
        x = active(conv_transpose(x, p[f"ConvTranspose_{i}"], output_padding=1))
    return jnp.tanh(conv(reflected(x, 3), p[next(convs)]))


def patch_discriminator(p, x, layers):
    """4x4 convolutions padded by 1: `layers` of stride 2, two of stride 1; no norm at the ends."""
    for i in range(layers + 1):
        x = conv(x, p[f"Conv_{i}"], 2 if i < layers else 1, 1)
        if i:
            affine = p.get(f"BatchNorm_{i - 1}")
            x = instance_norm(x) if affine is None else batch_norm(x, affine)
        x = leaky(x)
    return conv(x, p[f"Conv_{layers + 1}"], 1, 1)


@jax.jit
def adam(params, grads, moments, step, rate=2e-4, b1=0.5, b2=0.999):
    """One update; `moments` is None at the first, `step` counts from 1."""
    m, v = moments or (jax.tree.map(jnp.zeros_like, params),) * 2
    m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, m, grads)
    v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, v, grads)

    def new(p, m, v):
        return p - rate * (m / (1 - b1**step)) / (jnp.sqrt(v / (1 - b2**step)) + 1e-8)

    return jax.tree.map(new, params, m, v), (m, v)


def assert_same_update(state, metrics, networks, moments, values):
    """Compares losses, Adam's moments (so the gradients) and weights with the reference's.

    Entries of an array are compared relative to its largest. A bias before instance normalisation
    has no effect: its gradient is rounding error, and Adam's update of it arbitrary.
    """
    for name, value in values.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4, err_msg=name)
    for name, (first, second) in moments.items():
        gradients = jax.tree.leaves_with_path(first)
        largest = max(np.abs(m).max() for _, m in gradients)
        found = state.opt_state[name][0]
        trees = found.mu, found.nu, second, state.variables["params"][name], networks[name]
        for (path, m), *leaves in zip(gradients, *map(jax.tree.leaves, trees), strict=True):
            mu, nu, v, params, want = leaves
            pairs = [(mu, m, 1e-3, 1e-3 * largest), (nu, v, 2e-3, (1e-3 * largest) ** 2)]
            if np.abs(m).max() > 1e-4 * largest:
                pairs.append((params, want, 1e-5, 0))
            for got, expected, tolerance, least in pairs:
                atol = tolerance * max(np.abs(expected).max(), least)
                where = f"{name}{jax.tree_util.keystr(path)}"
                np.testing.assert_allclose(got, expected, rtol=0, atol=atol, err_msg=where)
