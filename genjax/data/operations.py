"""Operations of batch transforms: pure functions with declared shapes and ranges.

Each operation has a keyword argument `keys`, the entries of the batch that it changes, by default
the images `x` and `y` (if there is a second image). Here are those of values;
`genjax.data.image_operations` has those of whole images.
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

    def keeps_bound(self, spec: OutputSpec) -> bool:
        """Returns whether a density of its output still bounds the probability of integers.

        That is, whether dequantized values are kept, or mapped linearly.
        """
        return True

    @abc.abstractmethod
    def apply(self, x: jax.Array, spec: OutputSpec, key: jax.Array, training: bool) -> jax.Array:
        """Returns the output for float32 `[..., *spec.shape]`."""

    def __str__(self) -> str:
        arguments = []
        for field in sorted(dataclasses.fields(self), key=lambda field: bool(field.kw_only)):
            value = getattr(self, field.name)
            if field.kw_only and value != field.default:
                arguments.append(f"{field.name}={value!r}")
            elif not field.kw_only and value is not None:
                arguments.append(repr(value))
        return f"{self.usage.partition('(')[0]}({', '.join(arguments)})"


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

    def keeps_bound(self, spec: OutputSpec) -> bool:
        return False

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
            raise ValueError("needs integers from 0; put it before scale, resize and fit")
        return spec._replace(low=0, high=1, levels=0)

    def apply(self, x: jax.Array, spec: OutputSpec, key: jax.Array, training: bool) -> jax.Array:
        # The largest float32 below 1: adding a u near 1 to the top level may round up to 1.
        below_one = jnp.float32(1 - 2**-24)
        return jnp.minimum((x + jax.random.uniform(key, x.shape)) / spec.levels, below_one)


def _unit(x: jax.Array, spec: OutputSpec) -> jax.Array:
    return (x - spec.low if spec.low else x) / (spec.high - spec.low)


def _check_range(spec: OutputSpec) -> None:
    if not np.isfinite(spec.high - spec.low):
        raise ValueError("needs integers, and the data holds real numbers; leave it out")
