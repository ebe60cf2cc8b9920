"""Batch transforms: strings of composable operations that run on the device.

    scale(-1, 1)|random_flip()|random_crop(28)
    binarize('dynamic')

The empty string casts images to float32. `genjax.data.operations` and
`genjax.data.image_operations` have the operations.
"""

import ast
import functools
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from genjax.data.dataset import Dataset
from genjax.data.image_operations import (
    CenterCrop,
    Fit,
    Pad,
    RandomCrop,
    RandomFlip,
    RandomGeometric,
    Resize,
)
from genjax.data.operations import IMAGES, Binarize, Dequantize, Operation, OutputSpec, Scale

OPERATIONS: dict[str, type[Operation]] = {
    "scale": Scale,
    "binarize": Binarize,
    "dequantize": Dequantize,
    "random_flip": RandomFlip,
    "random_crop": RandomCrop,
    "center_crop": CenterCrop,
    "resize": Resize,
    "pad": Pad,
    "fit": Fit,
}
USAGE = f"one of {', '.join(OPERATIONS)}"


@functools.lru_cache(maxsize=256)
def parse_transform(transform: str) -> tuple[Operation, ...]:
    """Returns the operations of a transform string, in order.

    Raises:
      ValueError: the string is not calls of `OPERATIONS` with literal arguments, joined by |; or
        it binarizes an entry twice.
    """
    if not isinstance(transform, str):
        raise ValueError(f"`transform` must be a string such as 'scale(0, 1)', got {transform!r}.")
    if not transform.strip():
        return ()
    try:
        tree: ast.expr = ast.parse(transform.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _invalid(transform, "it is not an expression", USAGE) from None
    calls = []
    while isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.BitOr):
        calls.append(tree.right)
        tree = tree.left
    operations = tuple(_operation(transform, node) for node in [*calls, tree][::-1])
    for operation in operations[1:]:
        if isinstance(operation, Binarize) and operation.mode == "static":
            problem = f"{operation} is drawn when the data is loaded and must come first"
            raise _invalid(transform, problem, "'dynamic' elsewhere")
    binarized: set[str] = set()
    for operation in operations:
        if isinstance(operation, Binarize):
            if binarized & set(operation.keys):
                problem = "binarized values need no second binarize"
                raise _invalid(transform, problem, "one of them and remove the other")
            binarized |= set(operation.keys)
    return operations


def _operation(transform: str, node: ast.expr) -> Operation:
    text = ast.unparse(node)
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise _invalid(transform, f"{text} is not an operation with arguments in ()", USAGE)
    name = node.func.id
    if name not in OPERATIONS:
        raise _invalid(transform, f"there is no operation {name}", USAGE)
    try:
        arguments = [ast.literal_eval(argument) for argument in node.args]
        options = {k.arg: ast.literal_eval(k.value) for k in node.keywords}
        return OPERATIONS[name](*arguments, **options)  # type: ignore[arg-type]
    except TypeError:
        problem = "wrong arguments"
    except (ValueError, SyntaxError) as error:
        literal = str(error).startswith("malformed")
        problem = "arguments must be literals" if literal else str(error)
    raise _invalid(transform, f"{text}: {problem}", OPERATIONS[name].usage)


def _invalid(transform: str, problem: str, use: str) -> ValueError:
    return ValueError(
        f"`transform` must be operations joined by |, got '{transform}': {problem}; use {use}."
    )


def canonical(transform: str) -> str:
    """Returns a transform string in its one canonical form, with defaults left out."""
    return "|".join(map(str, parse_transform(transform)))


def with_fit(transform: str, mode: Literal["crop", "pad"], shape: tuple[int, ...]) -> str:
    """Returns a transform that crops or pads images to a shape `[H, W, C]` before all else.

    `binarize('static')` stays the first operation.

    >>> with_fit("scale(-1, 1)", "crop", (64, 64, 3))
    "fit(64, mode='crop')|scale(-1, 1)"

    Raises:
      ValueError: the mode is not 'crop' or 'pad', or the shape is not that of an image.
    """
    if len(shape) != 3:
        raise ValueError(
            f"--fit {mode} needs a model of images [H, W, C], and its shape is"
            f" {list(shape)}; leave it out."
        )
    operations = list(parse_transform(transform))
    static = [isinstance(op, Binarize) and op.mode == "static" for op in operations[:1]]
    operations.insert(sum(static), Fit(shape[0], shape[1], mode=mode))
    return "|".join(map(str, operations))


def binarization(transform: str) -> str:
    """Returns the mode of a transform's `binarize`, or an empty string.

    Of several, for different entries, it is 'static' before 'dynamic' before 'threshold'.
    """
    modes = [op.mode for op in parse_transform(transform) if isinstance(op, Binarize)]
    return min(modes, key=("static", "dynamic", "threshold").index, default="")


def dequantized(transform: str) -> bool:
    """Returns whether a transform dequantizes `x`."""
    return any(isinstance(op, Dequantize) and "x" in op.keys for op in parse_transform(transform))


def dequantized_levels(transform: str, dataset: Dataset) -> int:
    """Returns the levels of `x` that a transform dequantizes.

    0 if it does not, or if the values are then binarized, interpolated or padded: the density of
    the result does not bound the probability of the integers.
    """
    spec, levels = _input_spec("x", dataset.entry_shape("x"), dataset.levels), 0
    for operation in parse_transform(transform):
        if "x" not in operation.keys:
            continue
        if isinstance(operation, Dequantize):
            levels = spec.levels
        elif not operation.keeps_bound(spec):
            levels = 0
        spec = _output(operation, spec, transform, dataset.name)
    return levels


def output_spec(transform: str, dataset: Dataset, name: str = "x") -> OutputSpec:
    """Returns shape and values of entry `name` of a transformed batch.

    Raises:
      ValueError: an operation cannot be applied to the entry.
    """
    spec = _input_spec(name, dataset.entry_shape(name), dataset.levels)
    for operation in parse_transform(transform):
        if name in operation.keys:
            spec = _output(operation, spec, transform, dataset.name)
    return spec


def make_transform(
    transform: str,
    levels: int,
    *,
    training: bool = True,
    unpaired: bool = False,
    captions: int = 0,
) -> Callable[[Mapping[str, Any], jax.Array], dict[str, jax.Array]]:
    """Returns `function(batch, key) -> batch` that applies a transform string.

    The first random operation uses `key` itself, later ones keys derived from it. Binarisation and
    noise are drawn separately for each entry. The entry `text` `[..., B, K, T]` has K texts per
    example, of which some are chosen, see `choose_texts`.

    Args:
      transform: operations as in the module docstring.
      levels: integers in the images run from 0 to levels - 1; 0 for real numbers.
      training: without it, images are not flipped, and crops are of the middle.
      unpaired: `x` and `y` are of two domains: flips and crops are drawn separately for each.
      captions: texts of an example that are kept, `TextSpec.captions`; 0 is one, without an axis.

    >>> batch = {"x": np.array([[[[0], [255]]]], np.uint8)}
    >>> make_transform("scale(-1, 1)", 256)(batch, jax.random.key(0))["x"].ravel().tolist()
    [-1.0, 1.0]
    """
    if levels < 0 or levels == 1:
        raise ValueError(f"levels must be above 1, or 0 for real numbers, got {levels}.")
    operations = parse_transform(transform)

    def function(batch: Mapping[str, Any], key: jax.Array) -> dict[str, jax.Array]:
        out = dict(batch)
        specs: dict[str, OutputSpec] = {}
        used = {*IMAGES, *(k for op in operations for k in op.keys)}
        for name in sorted(used & set(batch)):
            x = out[name] = batch[name].astype(jnp.float32)  # NumPy stays NumPy, and exact
            shape = x.shape[-3:] if x.ndim > 3 else x.shape[1:]
            specs[name] = _input_spec(name, shape, levels)
        drawn = 0
        for operation in operations:
            for name in operation.keys:
                if name in specs:
                    joint = isinstance(operation, RandomGeometric) and not (
                        unpaired or operation.separate
                    )
                    same = name == "x" or joint
                    spec, use = specs[name], _fold(key, drawn, "" if same else name)
                    specs[name] = _output(operation, spec, transform, name)
                    out[name] = operation.apply(out[name], spec, use, training)
            drawn += operation.random
        if "text" in batch:
            text_key = _fold(key, 0, "text") if training else None
            out["text"] = choose_texts(batch["text"], captions, text_key)
        return out

    return function


def choose_texts(text: Any, captions: int, key: jax.Array | None) -> Any:
    """Chooses texts of each example.

    Args:
      text: int32 `[..., B, K, T]`.
      captions: number to keep, k; more than K repeat them. 0 is one, without an axis.
      key: draws k different ones of each example; None takes the first.

    Returns:
      int32 `[..., B, k, T]`, or `[..., B, T]`.
    """
    known, count = text.shape[-2], max(captions, 1)
    if key is not None and known > 1:
        _, order = jax.lax.top_k(jax.random.uniform(key, text.shape[:-1]), min(count, known))
        text = jnp.take_along_axis(text, order[..., None], axis=-2)
    text = text[..., np.arange(count) % min(count, known), :]
    return text if captions else text[..., 0, :]


def _input_spec(name: str, shape: tuple[int, ...], levels: int) -> OutputSpec:
    levels = 2 if name == "attributes" else levels
    low, high = (0, levels - 1) if levels else (-np.inf, np.inf)
    return OutputSpec(tuple(shape), low, high, levels)


def _output(operation: Operation, spec: OutputSpec, transform: str, source: str) -> OutputSpec:
    try:
        return operation.output(spec)
    except ValueError as error:
        raise ValueError(f"transform '{transform}' of {source}: {operation} {error}.") from None


def _fold(key: jax.Array, number: int, name: str) -> jax.Array:
    key = jax.random.fold_in(key, number) if number else key
    return jax.random.fold_in(key, np.uint32(zlib.crc32(name.encode()))) if name else key
