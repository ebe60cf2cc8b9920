"""Batch transforms: strings of composable operations that run on the device.

    scale(-1, 1)|random_flip()|random_crop(28)
    binarize('dynamic')

The empty string casts images to float32. `OPERATIONS` lists the operations by name. Each takes two
more keyword arguments: `keys`, the entries of the batch that it changes, by default the images `x`
and `y` (where there is a second image); and `separate`, which draws other crops and flips for each
entry instead of the same ones.
"""

import ast
import dataclasses
import functools
import zlib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.data.dataset import Dataset

IMAGES = ("x", "y")
"""Entries of a batch that operations change by default."""
ENTRIES = (*IMAGES, "attributes")
"""Entries that they can change."""


class OutputSpec(NamedTuple):
    """Shape and values of one entry of a batch.

    shape: of one example.
    low, high: range of the values, infinite where it is unknown.
    levels: number of evenly spaced values in that range; 0 for real numbers.
    """

    shape: tuple[int, ...]
    low: float
    high: float
    levels: int

    @property
    def discrete(self) -> bool:
        """Whether there are finitely many values."""
        return self.levels > 0

    @property
    def integers(self) -> bool:
        """Whether the values are the integers 0 .. levels - 1."""
        return self.discrete and (self.low, self.high) == (0, self.levels - 1)


@dataclasses.dataclass(frozen=True)
class Operation:
    """One step of a transform: a pure function of an array, and what it does to its spec."""

    keys: tuple[str, ...] = dataclasses.field(default=IMAGES, kw_only=True)
    separate: bool = dataclasses.field(default=False, kw_only=True)
    usage: ClassVar[str]

    def __post_init__(self) -> None:
        if isinstance(self.keys, str):
            object.__setattr__(self, "keys", (self.keys,))
        if not isinstance(self.keys, tuple) or not self.keys or set(self.keys) - set(ENTRIES):
            raise ValueError(f"keys must be a tuple of {', '.join(ENTRIES)}, got {self.keys!r}")
        if not isinstance(self.separate, bool):
            raise ValueError(f"separate must be True or False, got {self.separate!r}")

    def _output(self, spec: OutputSpec) -> OutputSpec:
        """Returns the spec of the output.

        Raises:
          ValueError: the operation cannot be applied to such an input.
        """
        raise NotImplementedError

    def _apply(self, x: jax.Array, spec: OutputSpec, key: jax.Array, training: bool) -> jax.Array:
        """Returns the output for float32 `[..., *spec.shape]`."""
        raise NotImplementedError

    def __str__(self) -> str:
        name = next(n for n, kind in OPERATIONS.items() if kind is type(self))
        arguments = []
        for field in sorted(dataclasses.fields(self), key=lambda field: bool(field.kw_only)):
            value = getattr(self, field.name)
            if field.kw_only and value != field.default:
                arguments.append(f"{field.name}={value!r}")
            elif not field.kw_only and value is not None:
                arguments.append(repr(value))
        return f"{name}({', '.join(arguments)})"


@dataclasses.dataclass(frozen=True)
class Scale(Operation):
    """Maps the range of the values linearly to [low, high]."""

    low: float
    high: float
    usage: ClassVar[str] = "scale(low, high)"

    def __post_init__(self) -> None:
        super().__post_init__()
        numbers = all(type(v) in (int, float) for v in (self.low, self.high))
        if not numbers or not -np.inf < self.low < self.high < np.inf:
            raise ValueError(f"low must be below high, got {self.low!r} and {self.high!r}")
        for name in ("low", "high"):  # 1.0 and 1 are one setting
            value = float(getattr(self, name))
            object.__setattr__(self, name, int(value) if value.is_integer() else value)

    def _output(self, spec: OutputSpec) -> OutputSpec:
        _check_range(spec)
        return spec._replace(low=self.low, high=self.high)

    def _apply(self, x: jax.Array, spec: OutputSpec, key: jax.Array, training: bool) -> jax.Array:
        x = _unit(x, spec)
        if self.high - self.low != 1:
            x = (self.high - self.low) * x
        return x + self.low if self.low else x


@dataclasses.dataclass(frozen=True)
class Binarize(Operation):
    """Maps values to {0, 1}.

    mode: 'threshold' gives 1 above the middle of the range. 'dynamic' draws 1 with probability
      (value - low) / (high - low), again for every batch. 'static' does so once, when the data set
      is loaded.

    Source: Salakhutdinov and Murray 2008, "On the Quantitative Analysis of Deep Belief Networks",
    section 4.
    """

    mode: Literal["threshold", "static", "dynamic"]
    usage: ClassVar[str] = "binarize('threshold' | 'static' | 'dynamic')"

    def __post_init__(self) -> None:
        super().__post_init__()
        modes = ("threshold", "static", "dynamic")
        if self.mode not in modes:
            raise ValueError(f"the mode must be one of {', '.join(modes)}, got {self.mode!r}")
        if self.mode == "static" and self.keys != IMAGES:
            raise ValueError("'static' binarizes all images; leave out keys, or use 'dynamic'")

    def _output(self, spec: OutputSpec) -> OutputSpec:
        _check_range(spec)
        return spec._replace(low=0, high=1, levels=2)

    def _apply(self, x: jax.Array, spec: OutputSpec, key: jax.Array, training: bool) -> jax.Array:
        if self.mode == "static":  # `load` has drawn already
            return x
        x = _unit(x, spec)
        drawn = jax.random.bernoulli(key, x) if self.mode == "dynamic" else x > 0.5
        return drawn.astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Dequantize(Operation):
    """Maps integers 0 .. levels - 1 to [0, 1): (x + u) / levels with uniform u.

    A density p of the result bounds the probability P of the integers: E_u[log p] - D log(levels)
    is at most log P.

    Source: Theis et al. 2016, "A Note on the Evaluation of Generative Models", section 3.1.
    """

    usage: ClassVar[str] = "dequantize()"

    def _output(self, spec: OutputSpec) -> OutputSpec:
        if not spec.integers:
            raise ValueError("needs integers from 0; put it before scale and resize")
        return spec._replace(low=0, high=1, levels=0)

    def _apply(self, x: jax.Array, spec: OutputSpec, key: jax.Array, training: bool) -> jax.Array:
        # The largest float32 below 1: adding a u near 1 to the top level may round up to 1.
        below_one = jnp.float32(1 - 2**-24)
        return jnp.minimum((x + jax.random.uniform(key, x.shape)) / spec.levels, below_one)


@dataclasses.dataclass(frozen=True)
class RandomFlip(Operation):
    """Mirrors each image left to right with probability 1/2; in training only."""

    usage: ClassVar[str] = "random_flip()"

    def _output(self, spec: OutputSpec) -> OutputSpec:
        _check_image(spec)
        return spec

    def _apply(self, x: jax.Array, spec: OutputSpec, key: jax.Array, training: bool) -> jax.Array:
        if not training:
            return x
        flip = jax.random.bernoulli(key, 0.5, x.shape[:-3])
        return jnp.where(flip[..., None, None, None], x[..., ::-1, :], x)


@dataclasses.dataclass(frozen=True)
class _Sized(Operation):
    height: int
    width: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for size in (self.height, 1 if self.width is None else self.width):
            if type(size) is not int or size < 1:
                raise ValueError(f"a size must be an integer above 0, got {size!r}")
        if self.width == self.height:  # one setting in one form
            object.__setattr__(self, "width", None)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the output."""
        return self.height, self.height if self.width is None else self.width

    def _output(self, spec: OutputSpec) -> OutputSpec:
        _check_image(spec)
        return spec._replace(shape=(*self.size, spec.shape[-1]))


@dataclasses.dataclass(frozen=True)
class CenterCrop(_Sized):
    """Cuts the middle `[height, width]` of each image; `width` is `height` by default."""

    usage: ClassVar[str] = "center_crop(height[, width])"

    def _output(self, spec: OutputSpec) -> OutputSpec:
        out = super()._output(spec)
        if min(a - b for a, b in zip(spec.shape[:2], self.size, strict=True)) < 0:
            raise ValueError(
                f"cuts {list(self.size)} from images of {list(spec.shape[:2])}; crop less, or"
                f" resize first"
            )
        return out

    def _apply(self, x: jax.Array, spec: OutputSpec, key: jax.Array, training: bool) -> jax.Array:
        top, left = ((a - b) // 2 for a, b in zip(spec.shape[:2], self.size, strict=True))
        return x[..., top : top + self.size[0], left : left + self.size[1], :]


@dataclasses.dataclass(frozen=True)
class RandomCrop(CenterCrop):
    """Cuts a random `[height, width]` of each image in training, and its middle otherwise."""

    usage: ClassVar[str] = "random_crop(height[, width])"

    def _apply(self, x: jax.Array, spec: OutputSpec, key: jax.Array, training: bool) -> jax.Array:
        if not training:
            return super()._apply(x, spec, key, training)
        free = [a - b for a, b in zip(spec.shape[:2], self.size, strict=True)]
        u = jax.random.uniform(key, (*x.shape[:-3], 2))
        start = jnp.stack(
            [jnp.minimum((u[..., i] * (n + 1)).astype(jnp.int32), n) for i, n in enumerate(free)],
            -1,
        )

        def crop(image: jax.Array, at: jax.Array) -> jax.Array:
            sizes = (*self.size, image.shape[-1])
            return jax.lax.dynamic_slice(image, (at[0], at[1], 0), sizes)

        # One vmap per axis: merging them would move a batch that is sharded.
        for _ in x.shape[:-3]:
            crop = jax.vmap(crop)
        return crop(x, start)


@dataclasses.dataclass(frozen=True)
class Resize(_Sized):
    """Resizes each image to `[height, width]`: 'linear' with antialiasing, or 'nearest'."""

    method: Literal["linear", "nearest"] = dataclasses.field(default="linear", kw_only=True)
    usage: ClassVar[str] = "resize(height[, width])"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method not in ("linear", "nearest"):
            raise ValueError(f"method must be 'linear' or 'nearest', got {self.method!r}")

    def _output(self, spec: OutputSpec) -> OutputSpec:
        out = super()._output(spec)
        return out if self.method == "nearest" else out._replace(levels=0)

    def _apply(self, x: jax.Array, spec: OutputSpec, key: jax.Array, training: bool) -> jax.Array:
        x = jax.image.resize(x, (*x.shape[:-3], *self.size, x.shape[-1]), self.method)
        return jnp.clip(x, spec.low, spec.high)


OPERATIONS: dict[str, type[Operation]] = {
    "scale": Scale,
    "binarize": Binarize,
    "dequantize": Dequantize,
    "random_flip": RandomFlip,
    "random_crop": RandomCrop,
    "center_crop": CenterCrop,
    "resize": Resize,
}
USAGE = f"one of {', '.join(OPERATIONS)}"


@functools.lru_cache(maxsize=256)
def parse_transform(transform: str) -> tuple[Operation, ...]:
    """Returns the operations of a transform string, in order.

    Raises:
      ValueError: the string is not calls of `OPERATIONS` with literal arguments, joined by |.
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


def binarization(transform: str) -> str:
    """Returns the mode of a transform's last `binarize`, or an empty string."""
    modes = [op.mode for op in parse_transform(transform) if isinstance(op, Binarize)]
    return modes[-1] if modes else ""


def output_spec(transform: str, dataset: Dataset, name: str = "x") -> OutputSpec:
    """Returns shape and values of an entry of a transformed batch.

    Args:
      transform: string of operations.
      dataset: as loaded.
      name: of the entry.

    Raises:
      ValueError: an operation cannot be applied to the entry.
    """
    spec = _input_spec(name, dataset.entry_shape(name), dataset.levels)
    for operation in parse_transform(transform):
        if name in operation.keys:
            spec = _output(operation, spec, transform, dataset.name)
    return spec


def make_transform(
    transform: str, levels: int, *, training: bool = True
) -> Callable[[Mapping[str, Any], jax.Array], dict[str, jax.Array]]:
    """Returns `function(batch, key) -> batch` that applies a transform string.

    The first random operation uses `key` itself, later ones keys derived from it. Binarisation and
    noise are drawn separately for each entry.

    Args:
      transform: string of operations.
      levels: integers in the images run from 0 to levels - 1; 0 for real numbers.
      training: without it, images are not flipped, and crops are of the middle.

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
                    joint = isinstance(operation, RandomFlip | RandomCrop)
                    same = name == "x" or (joint and not operation.separate)
                    spec, use = specs[name], _fold(key, drawn, "" if same else name)
                    specs[name] = _output(operation, spec, transform, name)
                    out[name] = operation._apply(out[name], spec, use, training)
            drawn += _is_random(operation)
        return out

    return function


def _is_random(operation: Operation) -> bool:
    dynamic = isinstance(operation, Binarize) and operation.mode == "dynamic"
    return dynamic or isinstance(operation, Dequantize | RandomFlip | RandomCrop)


def _input_spec(name: str, shape: tuple[int, ...], levels: int) -> OutputSpec:
    levels = 2 if name == "attributes" else levels
    low, high = (0, levels - 1) if levels else (-np.inf, np.inf)
    return OutputSpec(tuple(shape), low, high, levels)


def _output(operation: Operation, spec: OutputSpec, transform: str, source: str) -> OutputSpec:
    try:
        return operation._output(spec)
    except ValueError as error:
        raise ValueError(f"transform '{transform}' of {source}: {operation} {error}.") from None


def _fold(key: jax.Array, number: int, name: str) -> jax.Array:
    key = jax.random.fold_in(key, number) if number else key
    return jax.random.fold_in(key, np.uint32(zlib.crc32(name.encode()))) if name else key


def _unit(x: jax.Array, spec: OutputSpec) -> jax.Array:
    return (x - spec.low if spec.low else x) / (spec.high - spec.low)


def _check_range(spec: OutputSpec) -> None:
    if not np.isfinite(spec.high - spec.low):
        raise ValueError("needs integers, and the data holds real numbers; leave it out")


def _check_image(spec: OutputSpec) -> None:
    if len(spec.shape) != 3:
        raise ValueError(f"needs images [H, W, C], got examples of {list(spec.shape)}")


def draw_static(
    x: np.ndarray, rows: np.ndarray, *, levels: int, seed: int, stream: int
) -> np.ndarray:
    """Draws Bernoulli samples that depend on the row alone: `[N, ...]` integers to uint8 {0, 1}.

    A split that is binarised at once and one that is read row by row agree.

    Args:
      x: integers 0 .. levels - 1, `[N, ...]`.
      rows: the number of each row in its split, `[N]`.
      levels: of x.
      seed: of the draws.
      stream: number of the split and entry; each has its own draws.
    """
    n = int(np.prod(x.shape[1:]))
    out = np.empty((len(x), n), np.uint8)
    runs = np.flatnonzero(np.diff(rows, prepend=rows[:1] - 2) != 1)  # consecutive rows
    for a, b in zip(runs, [*runs[1:], len(rows)], strict=True):
        first = int(rows[a]) * n
        # A counter of Philox gives four words: the words of a row are computed directly.
        raw = np.random.Philox(key=[seed, stream], counter=[first // 4, 0, 0, 0])
        words = raw.random_raw((b - a) * n + first % 4)[first % 4 :]
        u = (words >> np.uint64(11)) * 2.0**-53  # uniform in [0, 1)
        out[a:b] = (u * (levels - 1) < x[a:b].reshape(-1)).reshape(b - a, n)
    return out.reshape(x.shape)


def static_images(
    arrays: Mapping[str, np.ndarray], rows: np.ndarray | None, seed: int, split: int, levels: int
) -> dict[str, np.ndarray]:
    """Returns the images among `arrays`, binarised by `draw_static`; None is all rows."""
    out = {}
    for name, stream in (("x", split), ("y", split + 2**34)):
        if name in arrays:
            x = arrays[name]
            which = np.arange(len(x)) if rows is None else rows
            out[name] = draw_static(x, which, levels=levels, seed=seed, stream=stream)
    return out
