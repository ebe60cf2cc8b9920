"""The fused recursion of NADE over all devices there are, against one. Prints JSON.

Run by tests/nn/test_fused_nade.py on 8 virtual devices, where XLA runs the kernel's steps. On a
machine with a GPU run it by hand: the kernel itself is then compared with the family's blocks,
which share nothing with it, and timed beside them at the paper's sizes, for several tiles. What is
known is printed as it comes: `fused_nade.py sizes` compares alone (without a GPU the kernel's
steps, of small sizes), `fused_nade.py sigmoid` or `relu` times one activation. The exit status is 1
where the two are further apart than `APART`.
"""

import json
import sys
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from genjax.families import nade
from genjax.nn.fused_nade import Settings, fused_logits
from genjax.train import make_mesh

GPU = jax.default_backend() == "gpu"
ACTIVATIONS = ("sigmoid", "relu")
SMALL = ((1, 1, 1), (5, 9, 6), (33, 12, 300))  # images, pixels, hidden units
SIZES = ((1, 1, 1), (5, 9, 6), (100, 784, 500), (513, 180, 501), (512, 784, 500))
APART = 1e-4  # of the largest number: of the logits, and of each of the four slopes
MOST = 32 * 32  # numbers of a tile a warp: more do not fit its registers
if not GPU:  # there JAX 0.11 warns of the Triton backend itself
    warnings.simplefilter("error")


def main(asked: list[str]) -> int:
    """Print what was asked for; 1 where the kernel is not the recursion."""
    print(json.dumps(over_devices()), flush=True)
    equal = True
    if "sizes" in asked or (GPU and not asked):
        equal = against_blocks(SIZES if GPU else SMALL)
    for activation in ACTIVATIONS:
        if GPU and (not asked or activation in asked):
            timings(activation)
    return 0 if equal else 1


def say(name, found):
    print(json.dumps({name: found}), flush=True)


def arguments(batch, dims, hidden, seed=0, exact=False):
    """W, V, c, x, slope of the logits, dropout mask.

    Where `exact`, sums of W's rows and c are exact in float32, in any order, and never 0: there the
    slope of a relu jumps, and rounding alone would decide which side is taken.
    """
    rng = np.random.default_rng(seed)
    W, V = (rng.normal(size=(dims, hidden)) * 0.1 for _ in "WV")
    x, g = rng.random((batch, dims)) < 0.2, rng.normal(size=(batch, dims))
    keep = (rng.random((batch, hidden)) < 0.5) * 2
    c = rng.normal(size=hidden)
    if exact:
        W, c = np.round(64 * W) / 64, (np.round(64 * c) + 0.5) / 64
    return [jnp.asarray(a, jnp.float32) for a in (W, V, c, x, g, keep)]


def by_kernel(settings):
    """The kernel's logits, `(x, W, V, c, keep) -> [B, D]`."""
    return lambda x, W, V, c, keep: fused_logits(x, W, V, c, keep, settings)


def by_blocks(activation):
    """The same by the family's blocks."""

    def blocks(x, W, V, c, keep):
        dims, hidden = W.shape
        config = nade.Config(shape=(dims,), hidden=hidden, activation=activation, order="raster")
        params = {"W": W, "V": V, "c": c, "b": jnp.zeros(dims)}
        network = nade.NADE(config)
        return network.apply({"params": params}, x, W, V, c, keep, method="blocks")

    return blocks


def value_and_slopes(logits):
    def value(W, V, c, x, g, keep):
        return jnp.sum(g * logits(x, W, V, c, keep))

    return jax.value_and_grad(value, argnums=(0, 1, 2, 3))


def logits_and_slopes(logits):
    """As `value_and_slopes`; of their sum nothing but rounding may be left, so not that."""

    def value(W, V, c, x, g, keep):
        found = logits(x, W, V, c, keep)
        return jnp.sum(g * found), found

    def both(*given):
        (_, found), slopes = jax.value_and_grad(value, argnums=(0, 1, 2, 3), has_aux=True)(*given)
        return found, slopes

    return both


def worst(got, want):
    """The largest difference of a pair of arrays, over the largest number of the wanted one."""
    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True)
    # Where all of it is 0, as W's slope is with one pixel, the difference counts as it is.
    return float(np.max([np.abs(a - b).max() / (np.abs(b).max() or 1) for a, b in pairs]))


def over_devices():
    """All devices against one; in a user's own mapping; with weights that rules cut."""
    kernel = by_kernel(Settings(interpret=not GPU, images=16 if GPU else 4))
    function = value_and_slopes(kernel)
    given = arguments(32, 9, 24)
    one = jax.device_get(jax.jit(function)(*given))
    mesh = make_mesh()
    spread, whole, cut = (
        NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), (), (None, "data"))
    )
    placed = [jax.device_put(a, whole if i < 3 else spread) for i, a in enumerate(given)]
    compiled = jax.jit(function).lower(*placed).compile()
    text = compiled.as_text()
    ruled = [jax.device_put(given[0], cut), *placed[1:]]
    return {
        "devices": jax.device_count(),
        "worst": worst(jax.device_get(compiled(*placed)), one),
        "gathered": "all-gather" in text,
        "reduced": "all-reduce" in text,
        "cut_weights": worst(jax.device_get(jax.jit(function)(*ruled)), one),
        "in_shard_map": in_shard_map(mesh),
        "blocks": worst(
            jax.device_get(jax.jit(value_and_slopes(by_blocks("sigmoid")))(*given)), one
        ),
    }


def in_shard_map(mesh):
    """The family's loss there, against outside."""
    config = nade.Config(shape=(3, 3, 1), hidden=20, recursion="fused")
    variables = nade.init(config, jax.random.key(0))
    x = jax.random.bernoulli(jax.random.key(1), 0.3, (32, 3, 3, 1)).astype(jnp.float32)

    def mean(variables, x):
        return jax.lax.pmean(nade.loss(config, variables, {"x": x}, None)[0].mean(), "data")

    specs = (PartitionSpec(), PartitionSpec("data"))
    mapped = jax.shard_map(mean, mesh=mesh, in_specs=specs, out_specs=PartitionSpec())
    want = nade.loss(config, variables, {"x": x}, None)[0].mean()
    return abs(float(jax.jit(mapped)(variables, x) / want) - 1)


def against_blocks(sizes):
    """Whether the kernel's logits and slopes are those of the family's blocks, at every size."""
    equal = True
    for size in sizes:
        for activation in ACTIVATIONS:
            given = arguments(*size, seed=1, exact=activation == "relu")
            kernel = by_kernel(Settings(activation, interpret=not GPU))
            functions = map(logits_and_slopes, (kernel, by_blocks(activation)))
            apart = worst(*(jax.device_get(jax.jit(f)(*given)) for f in functions))
            near = apart <= APART  # never so where either is not a number
            equal = equal and near
            say(f"{activation} {size}", {"apart": apart, "equal": near})
    return equal


def timings(activation, batch=512):
    """Milliseconds of value and slopes, 784-500: blocks, then the kernel by tile."""
    given = arguments(batch, 784, 500)
    functions = {"blocks": value_and_slopes(by_blocks(activation))}
    for images in (8, 16, 32, 64):
        for units in (32, 64, 128, 256):
            for warps in (2, 4, 8):
                settings = Settings(activation, images, units, warps)
                if images * units <= MOST * warps:
                    functions[f"{images} {units} {warps}"] = value_and_slopes(by_kernel(settings))
    for name, function in functions.items():
        try:
            say(f"{activation} {name}", milliseconds(jax.jit(function), given))
        except Exception as error:  # a tile may not fit: the others are measured
            say(f"{activation} {name}", str(error)[:200])


def milliseconds(call, given, repeats=20):
    jax.block_until_ready(call(*given))
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(call(*given))
        seconds.append(time.perf_counter() - began)
    return 1e3 * float(np.median(seconds))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
