"""NADE's recursion as one GPU kernel: hidden units stay in registers from first pixel to last.

Larochelle and Murray 2011, "The Neural Autoregressive Distribution Estimator", equations 5 and 6:

    a_1 = c,   logit_d = V_d . act(a_d),   a_(d+1) = a_d + x_d W_d.

A program of the kernel takes a tile of images and of hidden units through all D steps; logits are
sums over the tiles of units, gradients of weights over those of images. The way back begins at
a_(D+1) and takes every step off again, so no activation is ever written to memory: act is computed
twice a pixel and unit, which is what a training step costs. Everything is float32.

`genjax.families.nade` says the same by blocks of prefix sums, which is what runs on a TPU, and
pixel by pixel, for a CPU; they are the reference.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jax.experimental import pallas as pl
from jax.experimental.custom_partitioning import custom_partitioning
from jax.experimental.pallas import triton
from jax.sharding import NamedSharding, PartitionSpec


class Settings(NamedTuple):
    """How the kernel is made; tiles are powers of two."""

    activation: str = "sigmoid"
    """Hidden activation: sigmoid or relu."""
    images: int = 16
    """Of a tile."""
    units: int = 128
    """Of a tile, at most; fewer where there are fewer hidden units."""
    warps: int = 4
    """Of a program."""
    interpret: bool = False
    """Run the kernel's own steps by XLA, on any machine: for tests."""


def fused_logits(
    x: jax.Array,
    W: jax.Array,
    V: jax.Array,
    c: jax.Array,
    keep: jax.Array | None = None,
    settings: Settings = Settings(),  # noqa: B008  (immutable)
) -> jax.Array:
    """Logits without their biases: `x [B, D], W and V [D, H], c [H], keep [B, H] -> [B, D]`.

    Differentiable in x, W, V and c. Under `jit` a batch spread over devices stays so, and weights
    are wanted whole; under `vmap` runs go one after the other. Not for the inside of a `shard_map`
    that checks what varies: see `inside_mapping`.

    Args:
      x: pixels in order, of any values.
      W: weights into the hidden units, by pixel.
      V: weights out of them, by pixel.
      c: bias of the hidden units.
      keep: what hidden units are multiplied with, a dropout mask, or None.
      settings: of the kernel.
    """
    if keep is not None:
        keep = jax.lax.stop_gradient(keep)
    return _logits(settings, x, W, V, c, keep)


def inside_mapping() -> bool:
    """Whether this is traced inside a user's `shard_map` or `pmap`, where `fused_logits` is not."""
    return jax.sharding.AxisType.Manual in jax.sharding.get_abstract_mesh().axis_types


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _logits(settings: Settings, x: Any, W: Any, V: Any, c: Any, keep: Any) -> jax.Array:
    return _spread(forward, settings)(x, W, V, c, keep)[0]


def _logits_forward(settings: Settings, *arguments: Any) -> tuple[jax.Array, Any]:
    logits, last = _spread(forward, settings)(*arguments)
    return logits, (*arguments, last)


def _logits_backward(settings: Settings, saved: Any, g: jax.Array) -> tuple[Any, ...]:
    keep = saved[4]
    dx, dW, dV, dc = _spread(backward, settings)(*saved, g)
    return dx, dW, dV, dc, None if keep is None else jnp.zeros_like(keep)


_logits.defvjp(_logits_forward, _logits_backward)


def forward(
    settings: Settings, x: Any, W: Any, V: Any, c: Any, keep: Any
) -> tuple[jax.Array, jax.Array]:
    """Logits `[B, D]`, and a after the last pixel, `[B, H]`."""
    grid, sizes, (x, W, V, c, keep) = _tiled(settings, x, W, V, c, keep)
    (batch, dims, hidden), tile = sizes, _tile(settings, W.shape[1])
    shapes = _float32((grid[1], *x.shape), (x.shape[1], W.shape[1]))

    def kernel(*refs: Any) -> None:
        x_ref, W_ref, V_ref, c_ref, *rest = refs
        mask = rest.pop(0)[...] if keep is not None else None
        logits_ref, last_ref = rest

        def pixel(d: jax.Array, a: jax.Array) -> jax.Array:
            h = _act(settings, a)
            h = h if mask is None else h * mask
            logits_ref[d, :] = jnp.sum(h * V_ref[d, :][None, :], axis=1)
            return a + x_ref[d, :][:, None] * W_ref[d, :][None, :]

        a = jnp.broadcast_to(c_ref[...][None, :], (settings.images, tile))
        last_ref[...] = jax.lax.fori_loop(0, dims, pixel, a)

    kinds, arguments = ["pixels", "weights", "weights", "bias"], [x, W, V, c]
    if keep is not None:
        kinds, arguments = [*kinds, "states"], [*arguments, keep]
    gives = ["logits", "states"]
    logits, last = _call(settings, kernel, grid, dims, tile, kinds, gives, shapes)(*arguments)
    return jnp.sum(logits, axis=0).T[:batch], last[:batch, :hidden]


def backward(
    settings: Settings, x: Any, W: Any, V: Any, c: Any, keep: Any, last: Any, g: Any
) -> tuple[jax.Array, ...]:
    """Gradients of x `[B, D]`, W and V `[D, H]`, c `[H]`, from those of the logits `g [B, D]`."""
    # Up to its first pixel that is not 0, a is c to the bit; taking steps off again would leave a
    # rounding error there, and relu has another slope on either side of 0.
    seen = x != 0
    first = jnp.where(jnp.any(seen, axis=1), jnp.argmax(seen, axis=1), x.shape[1]).astype(jnp.int32)
    grid, sizes, (x, W, V, c, keep) = _tiled(settings, x, W, V, c, keep)
    (batch, dims, hidden), tile = sizes, _tile(settings, W.shape[1])
    more = x.shape[1] - batch
    first = jnp.pad(first, (0, more))
    last = jnp.pad(last, ((0, more), (0, W.shape[1] - hidden)))
    g = jnp.pad(g.T, ((0, 0), (0, more)))
    of_weights, of_bias = (grid[0], *W.shape), (grid[0], W.shape[1])
    shapes = _float32((grid[1], *x.shape), of_weights, of_weights, of_bias)

    def kernel(*refs: Any) -> None:
        x_ref, W_ref, V_ref, c_ref, last_ref, g_ref, first_ref, *rest = refs
        mask = rest.pop(0)[...] if keep is not None else None
        dx_ref, dW_ref, dV_ref, dc_ref = rest
        begun, bias = first_ref[...][:, None], c_ref[...][None, :]

        def pixel(i: jax.Array, carry: Any) -> Any:
            d, (a, slope) = dims - 1 - i, carry  # slope: of a after pixel d, [images, units]
            w, x_d, g_d = W_ref[d, :][None, :], x_ref[d, :][:, None], g_ref[d, :][:, None]
            dW_ref[d, :] = jnp.sum(x_d * slope, axis=0)
            dx_ref[d, :] = jnp.sum(w * slope, axis=1)
            a = jnp.where(d <= begun, bias, a - x_d * w)
            h = _act(settings, a)
            out = V_ref[d, :][None, :] * _slope(settings, a, h)
            h, out = (h, out) if mask is None else (h * mask, out * mask)
            dV_ref[d, :] = jnp.sum(g_d * h, axis=0)
            return a, slope + g_d * out

        start = (last_ref[...], jnp.zeros((settings.images, tile), jnp.float32))
        _, slope = jax.lax.fori_loop(0, dims, pixel, start)
        dc_ref[...] = jnp.sum(slope, axis=0)

    kinds = ["pixels", "weights", "weights", "bias", "states", "pixels", "images"]
    arguments = [x, W, V, c, last, g, first]
    if keep is not None:
        kinds, arguments = [*kinds, "states"], [*arguments, keep]
    gives = ["logits", "of_weights", "of_weights", "of_bias"]
    dx, dW, dV, dc = _call(settings, kernel, grid, dims, tile, kinds, gives, shapes)(*arguments)
    dW, dV = (jnp.sum(p, axis=0)[:, :hidden] for p in (dW, dV))
    return jnp.sum(dx, axis=0).T[:batch], dW, dV, jnp.sum(dc, axis=0)[:hidden]


def _float32(*shapes: tuple[int, ...]) -> tuple[jax.ShapeDtypeStruct, ...]:
    return tuple(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)


def _act(settings: Settings, a: jax.Array) -> jax.Array:
    if settings.activation == "relu":
        return jnp.maximum(a, 0)
    if settings.interpret:
        return jax.nn.sigmoid(a)
    like = [jax.ShapeDtypeStruct(a.shape, a.dtype)]
    return triton.elementwise_inline_asm(
        SIGMOID, args=[a], constraints="=f,f", pack=1, result_shape_dtypes=like
    )[0]


def _slope(settings: Settings, a: jax.Array, h: jax.Array) -> jax.Array:
    """The activation's derivative at a, where it is h."""
    return (a > 0).astype(a.dtype) if settings.activation == "relu" else h * (1 - h)


def _tile(settings: Settings, hidden: int) -> int:
    """Units of a tile: a power of two, no more than cover `hidden`."""
    return min(settings.units, 1 << max(hidden - 1, 1).bit_length())


def _tiled(settings: Settings, x: Any, W: Any, V: Any, c: Any, keep: Any) -> Any:
    """Grid, sizes (B, D, H), and arguments filled up to whole tiles, x as `[D, B]`.

    Units that fill up have no weight out of them, images that fill up no gradient.
    """
    (batch, dims), hidden = x.shape, W.shape[1]
    tile = _tile(settings, hidden)
    more, wider = -batch % settings.images, -hidden % tile
    grid = ((batch + more) // settings.images, (hidden + wider) // tile)
    x = jnp.pad(x.astype(jnp.float32).T, ((0, 0), (0, more)))
    W, V = (jnp.pad(p, ((0, 0), (0, wider))) for p in (W, V))
    keep = None if keep is None else jnp.pad(keep, ((0, more), (0, wider)))
    return grid, (batch, dims, hidden), (x, W, V, jnp.pad(c, (0, wider)), keep)


def _call(
    settings: Settings,
    kernel: Any,
    grid: tuple[int, int],
    dims: int,
    tile: int,
    takes: list[str],
    gives: list[str],
    shapes: Any,
) -> Any:
    """The kernel over tiles of images i and of units j."""
    n = settings.images
    specs = {
        "pixels": pl.BlockSpec((dims, n), lambda i, j: (0, i)),
        "weights": pl.BlockSpec((dims, tile), lambda i, j: (0, j)),
        "bias": pl.BlockSpec((tile,), lambda i, j: (j,)),
        "states": pl.BlockSpec((n, tile), lambda i, j: (i, j)),
        "images": pl.BlockSpec((n,), lambda i, j: (i,)),
        "logits": pl.BlockSpec((None, dims, n), lambda i, j: (j, 0, i)),
        "of_weights": pl.BlockSpec((None, dims, tile), lambda i, j: (i, 0, j)),
        "of_bias": pl.BlockSpec((None, tile), lambda i, j: (i, j)),
    }
    return pl.pallas_call(
        kernel,
        grid=grid,
        in_specs=[specs[name] for name in takes],
        out_specs=[specs[name] for name in gives],
        out_shape=shapes,
        interpret=settings.interpret,
        compiler_params=triton.CompilerParams(num_warps=settings.warps, num_stages=1),
        name="nade_" + ("forward" if len(gives) == 2 else "backward"),
    )


# 1 / (1 + 2^(-a log2 e)) by the special-function units alone, to 1e-7 absolutely: exact
# division and exponent are 20 of the 26 instructions of an activation otherwise.
SIGMOID = """{
    .reg .f32 t;
    mul.f32 t, $1, 0fBFB8AA3B;
    ex2.approx.ftz.f32 t, t;
    add.f32 t, t, 0f3F800000;
    rcp.approx.ftz.f32 $0, t;
}"""


# How the two take part in jit over several devices, and in vmap.

RULES = {
    "forward": "b d, d h, d h, h, b h -> b d, b h",
    "backward": "b d, d h, d h, h, b h, b h, b d -> b d, d h, d h, h",
}


@functools.cache
def _spread(function: Any, settings: Settings) -> Any:
    """`function(settings, ...)` on each device's own images, and run by run under vmap."""
    local = functools.partial(function, settings)

    @custom_vmap
    def call(*arguments: Any) -> Any:
        return _partitioned(function, settings, arguments[4] is not None)(*arguments)

    @call.def_vmap
    def _one_by_one(size: int, batched: Any, *arguments: Any) -> Any:
        def pick(i: jax.Array) -> Any:
            return jax.tree.map(lambda a, b: a[i] if b else a, arguments, tuple(batched))

        outputs = jax.lax.map(lambda i: local(*pick(i)), jnp.arange(size))
        return outputs, jax.tree.map(lambda _: True, outputs)

    return call


@functools.cache
def _partitioned(function: Any, settings: Settings, masked: bool) -> Any:
    takes, gives = RULES[function.__name__].split(" -> ")
    each = takes.split(", ")
    if not masked:
        each.pop(4)

    def local(*arguments: Any) -> Any:
        parts = arguments if masked else (*arguments[:4], None, *arguments[4:])
        return function(settings, *parts)

    def shardings(mesh: Any, arguments: Any) -> Any:
        spec = arguments[0].sharding.spec
        axis = spec[0] if spec else None

        def place(names: str) -> NamedSharding:
            whole = (axis if name == "b" else None for name in names.split())
            return NamedSharding(mesh, PartitionSpec(*whole))

        return axis, tuple(place(n) for n in each), tuple(place(n) for n in gives.split(", "))

    def partition(mesh: Any, arguments: Any, result: Any) -> Any:
        del result
        axis, taken, given = shardings(mesh, arguments)

        def here(*parts: Any) -> Any:
            found = local(*parts)
            if axis is None:
                return found
            # Gradients of weights are sums over all images.
            names = gives.split(", ")
            return tuple(
                f if "b" in n.split() else jax.lax.psum(f, axis)
                for f, n in zip(found, names, strict=True)
            )

        return mesh, here, given, taken

    def infer(mesh: Any, arguments: Any, result: Any) -> Any:
        del result
        return shardings(mesh, arguments)[2]

    wrapped = custom_partitioning(local)
    wrapped.def_partition(
        partition=partition,
        infer_sharding_from_operands=infer,
        sharding_rule=", ".join(each) + " -> " + gives,
    )

    def call(*arguments: Any) -> Any:
        return wrapped(*(a for a in arguments if a is not None))

    return call
