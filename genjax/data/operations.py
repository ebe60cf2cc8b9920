"""Operations of batch transforms: pure functions with declared shapes and ranges.

Each operation has a keyword argument `keys`, the entries of the batch that it changes, by default
the images `x` and `y` (if there is a second image). Random flips and crops also have `separate`,
which draws a different one for each entry.
"""

import abc
import dataclasses
from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

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
class Operation(abc.ABC):
    """One step of a transform: a pure function of an array, and what it does to its spec."""

    keys: tuple[str, ...] = dataclasses.field(default=IMAGES, kw_only=True)
    usage: ClassVar[str]

    def __post_init__(self) -> None:
        if isinstance(self.keys, str):
            object.__setattr__(self, "keys", (self.keys,))
        if not isinstance(self.keys, tuple) or not self.keys or set(self.keys) - set(ENTRIES):
            raise ValueError(f"keys must be a tuple of {', '.join(ENTRIES)}, got {self.keys!r}")

    @property
    def random(self) -> bool:
        """Whether it uses a PRNG key."""
        return False

    @abc.abstractmethod
    def output(self, spec: OutputSpec) -> OutputSpec:
        """Returns the spec of the output.

        Raises:
          ValueError: the operation cannot be applied to such an input.
        """

    @abc.abstractmethod
    def apply(self, x: jax.Array, spec: OutputSpec, key: jax.Array, training: bool) -> jax.Array:
        """Returns the output for float32 `[..., *spec.shape]`."""

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

    def output(self, spec: OutputSpec) -> OutputSpec:
        _check_range(spec)
        return spec._replace(low=self.low, high=self.high)

    def apply(self, x: jax.Array, spec: OutputSpec, key: jax.Array, training: bool) -> jax.Array:
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

    @property
    def random(self) -> bool:
        return self.mode == "dynamic"

    def output(self, spec: OutputSpec) -> OutputSpec:
        _check_range(spec)
        return spec._replace(low=0, high=1, levels=2)

    def apply(self, x: jax.Array, spec: OutputSpec, key: jax.Array, training: bool) -> jax.Array:
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

    @property
    def random(self) -> bool:
        return True

    def output(self, spec: OutputSpec) -> OutputSpec:
        if not spec.integers:
            raise ValueError("needs integers from 0; put it before scale and resize")
        return spec._replace(low=0, high=1, levels=0)

    def apply(self, x: jax.Array, spec: OutputSpec, key: jax.Array, training: bool) -> jax.Array:
        # The largest float32 below 1: adding a u near 1 to the top level may round up to 1.
        below_one = jnp.float32(1 - 2**-24)
        return jnp.minimum((x + jax.random.uniform(key, x.shape)) / spec.levels, below_one)


@dataclasses.dataclass(frozen=True)
class RandomGeometric(Operation):
    """A random flip or crop: one for all entries, or with `separate` one for each entry.

    Those of unpaired domains are always separate.
    """

    separate: bool = dataclasses.field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.separate, bool):
            raise ValueError(f"separate must be True or False, got {self.separate!r}")

    @property
    def random(self) -> bool:
        return True


@dataclasses.dataclass(frozen=True)
class RandomFlip(RandomGeometric):
    """Mirrors each image left to right with probability 1/2; in training only."""

    usage: ClassVar[str] = "random_flip()"

    def output(self, spec: OutputSpec) -> OutputSpec:
        _check_image(spec)
        return spec

    def apply(self, x: jax.Array, spec: OutputSpec, key: jax.Array, training: bool) -> jax.Array:
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

    def output(self, spec: OutputSpec) -> OutputSpec:
        _check_image(spec)
        return spec._replace(shape=(*self.size, spec.shape[-1]))


@dataclasses.dataclass(frozen=True)
class CenterCrop(_Sized):
    """Cuts the middle `[height, width]` of each image; `width` is `height` by default."""

    usage: ClassVar[str] = "center_crop(height[, width])"

    def output(self, spec: OutputSpec) -> OutputSpec:
        out = super().output(spec)
        if min(a - b for a, b in zip(spec.shape[:2], self.size, strict=True)) < 0:
            raise ValueError(
                f"cuts {list(self.size)} from images of {list(spec.shape[:2])}; crop less, or"
                f" resize first"
            )
        return out

    def apply(self, x: jax.Array, spec: OutputSpec, key: jax.Array, training: bool) -> jax.Array:
        top, left = ((a - b) // 2 for a, b in zip(spec.shape[:2], self.size, strict=True))
        return x[..., top : top + self.size[0], left : left + self.size[1], :]


@dataclasses.dataclass(frozen=True)
class RandomCrop(CenterCrop, RandomGeometric):
    """Cuts a random `[height, width]` of each image in training, and its middle otherwise."""

    usage: ClassVar[str] = "random_crop(height[, width])"

    def apply(self, x: jax.Array, spec: OutputSpec, key: jax.Array, training: bool) -> jax.Array:
        if not training:
            return super().apply(x, spec, key, training)
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
    """Resizes each image to `[height, width]`: 'linear' or 'cubic' with antialiasing, or 'nearest'.

    'cubic' overshoots at edges; the result is clipped to the range of the values.
    """

    method: Literal["linear", "cubic", "nearest"] = dataclasses.field(
        default="linear", kw_only=True
    )
    usage: ClassVar[str] = "resize(height[, width])"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method not in ("linear", "cubic", "nearest"):
            raise ValueError(f"method must be 'linear', 'cubic' or 'nearest', got {self.method!r}")

    def output(self, spec: OutputSpec) -> OutputSpec:
        out = super().output(spec)
        return out if self.method == "nearest" else out._replace(levels=0)

    def apply(self, x: jax.Array, spec: OutputSpec, key: jax.Array, training: bool) -> jax.Array:
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


def _unit(x: jax.Array, spec: OutputSpec) -> jax.Array:
    return (x - spec.low if spec.low else x) / (spec.high - spec.low)


def _check_range(spec: OutputSpec) -> None:
    if not np.isfinite(spec.high - spec.low):
        raise ValueError("needs integers, and the data holds real numbers; leave it out")


def _check_image(spec: OutputSpec) -> None:
    if len(spec.shape) != 3:
        raise ValueError(f"needs images [H, W, C], got examples of {list(spec.shape)}")
