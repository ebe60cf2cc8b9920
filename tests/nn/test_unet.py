"""The U-Net: official sizes, and values against plain convolutions."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import random_arrays

from genjax.nn.unet import UNet, dropped_blocks


def params_of(module, x):
    return random_arrays(lambda key: module.init(key, x), scale=0.3)["params"]


def images(*shape):
    return jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)


def trained(module, params, x, **streams):
    """Applies the network with `train=True`."""

    @jax.jit
    def run(params, x):
        options = {"train": True, "mutable": ["batch_stats"], "rngs": streams}
        return module.apply({"params": params}, x, **options)[0]

    return run(params, x)


def plain_conv(x, p, stride, pads):
    """Sums over the taps of the kernel; `pads` are of rows and columns."""
    kernel = p["kernel"]
    side = len(kernel)
    x = np.pad(x, ((0, 0), *pads, (0, 0)))
    h, w = (s - side + 1 for s in x.shape[1:3])
    taps = ((r, c) for r in range(side) for c in range(side))
    y = sum(x[:, r : r + h : stride, c : c + w : stride] @ kernel[r, c] for r, c in taps)
    return y + p.get("bias", 0)


def plain_down(x, p):
    """A 4x4 convolution, stride 2, padded by 1; an odd side has a zero more at its end."""
    return plain_conv(x, p, 2, [(1, 1 + side % 2) for side in x.shape[1:3]])


def plain_up(x, p, size):
    """Every pixel adds its multiple of the kernel, which is flipped in Flax's order, at 2 i - 1."""
    kernel = p["kernel"][::-1, ::-1]
    b, h, w, _ = x.shape
    y = np.zeros((b, 2 * h + 2, 2 * w + 2, kernel.shape[-1]), np.float32)
    for r in range(h):
        for c in range(w):
            y[:, 2 * r : 2 * r + 4, 2 * c : 2 * c + 4] += np.einsum(
                "bi,hwio->bhwo", x[:, r, c], kernel
            )
    return y[:, 1 : size[0] + 1, 1 : size[1] + 1] + p.get("bias", 0)


def plain_resize(x, p, size):
    x = np.kron(x, np.ones((1, 2, 2, 1), np.float32))[:, : size[0], : size[1]]
    return plain_conv(x, p, 1, [(1, 1)] * 2)


def plain_unet(x, p, *, downs, norm, upsampling="transposed", drop=()):
    """The network by recursion; blocks in `drop` contribute nothing but their skip connection."""
    norms = iter(range(9))

    def normalize(x):
        axes = (1, 2) if norm == "instance" else (0, 1, 2)
        y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
        if norm == "instance":
            return y
        own = p[f"BatchNorm_{next(norms)}"]
        return y * own["scale"] + own["bias"]

    def block(x, i):
        """x, activated, down, inner block, up."""
        size = x.shape[1:3]
        y = plain_down(np.where(x > 0, x, 0.2 * x) if i else x, p[f"Conv_{i}"])
        if i + 1 < downs:
            y = normalize(y) if i else y
            y = np.concatenate([y, block(y, i + 1)], axis=-1)
        y = np.maximum(y, 0)
        at = downs - 1 - i
        if upsampling == "resize":
            y = plain_resize(y, p[f"Conv_{downs + at}"], size)
        else:
            y = plain_up(y, p[f"ConvTranspose_{at}"], size)
        if i == 0:
            return np.tanh(y)
        y = normalize(y)
        return 0 * y if i in drop else y

    return block(np.asarray(x), 0)


@pytest.mark.parametrize(
    ("downs", "norm", "parameters"),
    [
        (8, "batch", 54_413_955),
        (7, "batch", 41_828_995),
        # 1920 + 1984 normalised channels have neither scale nor shift, and all others have a bias.
        (7, "instance", 41_828_995 - 2 * (1920 + 1984) + 2496 + 1984),
    ],
)
def test_official_number_of_parameters(downs, norm, parameters):
    x = jnp.zeros((1, 2**downs, 2**downs, 3))
    shapes = jax.eval_shape(UNet(3, downs=downs, norm=norm).init, jax.random.key(0), x)
    assert sum(math.prod(a.shape) for a in jax.tree.leaves(shapes["params"])) == parameters


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((3, 8, 8, 2), {"downs": 3, "norm": "batch"}),
        ((2, 16, 8, 2), {"downs": 3, "norm": "instance"}),
        ((2, 7, 9, 2), {"downs": 3, "norm": "batch"}),
        ((2, 8, 8, 2), {"downs": 2, "norm": "instance", "upsampling": "resize"}),
        ((2, 7, 5, 2), {"downs": 2, "norm": "batch", "upsampling": "resize"}),
    ],
)
def test_is_the_plain_network(shape, options):
    """The same values, in sides that divide and in others."""
    module, x = UNet(3, width=2, **options), images(*shape)
    params = params_of(module, x)
    found = trained(module, params, x)
    want = plain_unet(x, jax.tree.map(np.asarray, params), **options)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("downs", "blocks", "dropped"),
    [(8, None, (4, 5, 6)), (7, None, (4, 5)), (5, None, ()), (8, 3, (5, 6, 7)), (3, 0, ())],
)
def test_dropped_blocks(downs, blocks, dropped):
    """The code drops the three around the innermost, the paper the three innermost."""
    assert tuple(dropped_blocks(downs, blocks)) == dropped


def test_dropout_is_of_its_blocks_alone():
    """At rate 1 the values are those of a network whose dropped blocks return zeros."""
    options = {"downs": 3, "norm": "batch"}
    module = UNet(1, width=3, dropout=1.0, dropout_blocks=1, **options)
    x = images(2, 16, 16, 2)
    params = params_of(module, x)
    found = trained(module, params, x, dropout=jax.random.key(0))
    params = jax.tree.map(np.asarray, params)
    want = plain_unet(x, params, **options, drop=(2,))
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)
    assert np.abs(want - plain_unet(x, params, **options)).max() > 0.01


def test_dropout_at_test_time_follows_the_key():
    module, x = (
        UNet(1, width=2, downs=3, norm="instance", dropout=0.5, dropout_blocks=2),
        images(2, 8, 8, 2),
    )
    variables = {"params": params_of(module, x)}

    @functools.partial(jax.jit, static_argnames="train")
    def run(key, train=True):
        return module.apply(variables, x, train=train, rngs={"dropout": key})

    a, again, b = (run(jax.random.key(k)) for k in (0, 0, 1))
    np.testing.assert_array_equal(a, again)
    assert np.abs(a - b).max() > 0.01
    assert np.abs(a - run(jax.random.key(0), train=False)).max() > 0.01


def test_initial_values():
    """Kernels N(0, .02), scales N(1, .02), biases 0."""
    module, x = UNet(3, width=16, downs=3), jnp.zeros((1, 8, 8, 3))
    params = jax.jit(module.init)(jax.random.key(0), x)["params"]
    found: dict[str, list] = {"kernel": [], "scale": [], "bias": []}
    for path, leaf in jax.tree.leaves_with_path(params):
        found[path[-1].key].append(np.ravel(leaf))
    kernel, scale, bias = (np.concatenate(found[name]) for name in ("kernel", "scale", "bias"))
    for values, mean in ((kernel, 0), (scale, 1)):
        error = 5 * 0.02 / np.sqrt(len(values))
        np.testing.assert_allclose([values.mean(), values.std()], [mean, 0.02], atol=error)
    assert not bias.any()


def test_rejects_too_many_dropped_blocks():
    with pytest.raises(ValueError, match="3 blocks with dropout are not between 0 and 2"):
        dropped_blocks(3, 3)
    with pytest.raises(ValueError, match="at least twice, got 1"):
        dropped_blocks(1, 0)
