"""Operations on whole images: flips, crops, padding and sizes.

Random flips and crops have a keyword argument `separate`, which draws a different one for each
entry of the batch.
"""

import dataclasses
import functools
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from genjax.data.operations import Operation, OutputSpec


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

    def keeps_bound(self, spec: OutputSpec) -> bool:
        return self.method == "nearest"

    def apply(self, x: jax.Array, spec: OutputSpec, key: jax.Array, training: bool) -> jax.Array:
        x = jax.image.resize(x, (*x.shape[:-3], *self.size, x.shape[-1]), self.method)
        return jnp.clip(x, spec.low, spec.high)


@dataclasses.dataclass(frozen=True)
class Pad(_Sized):
    """Pads each image to `[height, width]`, with one pixel more after than before it if odd.

    value: of the padding; by default the lowest of the range.
    """

    value: float | None = dataclasses.field(default=None, kw_only=True)
    usage: ClassVar[str] = "pad(height[, width][, value=...])"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.value is None:
            return
        if type(self.value) not in (int, float) or not np.isfinite(self.value):
            raise ValueError(f"value must be a number, got {self.value!r}")
        value = float(self.value)  # 1.0 and 1 are one setting
        object.__setattr__(self, "value", int(value) if value.is_integer() else value)

    def output(self, spec: OutputSpec) -> OutputSpec:
        out = super().output(spec)
        if max(a - b for a, b in zip(spec.shape[:2], self.size, strict=True)) > 0:
            raise ValueError(
                f"pads images of {list(spec.shape[:2])} to {list(self.size)}, which is smaller; use"
                f" fit({self.size[0]}, {self.size[1]}, mode='pad')"
            )
        if spec.shape[:2] == self.size:
            return out
        value = self._padding(spec)
        if not np.isfinite(value):
            raise ValueError("pads with the lowest of real numbers, which is unknown; set value=0")
        if not spec.low <= value <= spec.high:
            raise ValueError(
                f"pads with {value:g} values from {spec.low:g} to {spec.high:g}; set value to one"
                f" of them"
            )
        if not spec.levels:
            return out
        place = (value - spec.low) / (spec.high - spec.low) * (spec.levels - 1)
        return out if float(place).is_integer() else out._replace(levels=0)

    def keeps_bound(self, spec: OutputSpec) -> bool:
        return spec.shape[:2] == self.size  # padding has no noise

    def apply(self, x: jax.Array, spec: OutputSpec, key: jax.Array, training: bool) -> jax.Array:
        free = [b - a for a, b in zip(spec.shape[:2], self.size, strict=True)]
        widths = [(0, 0)] * (x.ndim - 3) + [(n // 2, n - n // 2) for n in free] + [(0, 0)]
        return jnp.pad(x, widths, constant_values=self._padding(spec))

    def _padding(self, spec: OutputSpec) -> float:
        return spec.low if self.value is None else self.value


@dataclasses.dataclass(frozen=True)
class Fit(Resize):
    """Crops or pads each image to `[height, width]` without changing its proportions.

    Images that need no resizing keep their pixels.

    mode: 'crop' cuts the largest middle window of the output's proportions, and resizes it. 'pad'
      resizes images that are too large, so that they fit inside, and pads; smaller ones are not
      enlarged.
    value: of the padding; by default the lowest of the range.
    """

    mode: Literal["crop", "pad"] = dataclasses.field(kw_only=True)
    value: float | None = dataclasses.field(default=None, kw_only=True)
    usage: ClassVar[str] = "fit(height[, width], mode='crop' | 'pad')"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in ("crop", "pad"):
            raise ValueError(f"mode must be 'crop' or 'pad', got {self.mode!r}")
        if self.mode == "crop" and self.value is not None:
            raise ValueError("value is of padding; leave it out, or use mode='pad'")
        object.__setattr__(self, "value", Pad(*self.size, value=self.value).value)

    def operations(self, spec: OutputSpec) -> tuple[Operation, ...]:
        """Returns the operations that it consists of for images of one shape."""
        (height, width), (h, w) = spec.shape[:2], self.size
        if self.mode == "crop":
            if height * w > width * h:  # taller than the output
                window = (max(1, round(width * h / w)), width)
            else:
                window = (height, max(1, round(height * w / h)))
            resize = (Resize(h, w, method=self.method),) if window != (h, w) else ()
            return (CenterCrop(*window), *resize)
        scale = min(h / height, w / width)
        pad = Pad(h, w, value=self.value)
        if scale >= 1:
            return (pad,)
        inner = (min(h, max(1, round(height * scale))), min(w, max(1, round(width * scale))))
        return (Resize(*inner, method=self.method), pad)

    def output(self, spec: OutputSpec) -> OutputSpec:
        _check_image(spec)
        return functools.reduce(lambda s, step: step.output(s), self.operations(spec), spec)

    def keeps_bound(self, spec: OutputSpec) -> bool:
        for operation in self.operations(spec):
            if not operation.keeps_bound(spec):
                return False
            spec = operation.output(spec)
        return True

    def apply(self, x: jax.Array, spec: OutputSpec, key: jax.Array, training: bool) -> jax.Array:
        for operation in self.operations(spec):
            x = operation.apply(x, spec, key, training)
            spec = operation.output(spec)
        return x


def _check_image(spec: OutputSpec) -> None:
    if len(spec.shape) != 3:
        raise ValueError(f"needs images [H, W, C], got examples of {list(spec.shape)}")
