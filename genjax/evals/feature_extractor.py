"""Images into features: the one door through which distances between sets of images see them."""

import dataclasses
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.evals.batching import padded


@dataclasses.dataclass(frozen=True)
class Extractor:
    """A function from images to features, with the name that its results carry.

    name: results are called by it, `NAME_frechet`; never after the standard network's figures.
    function: `(variables, x [B, *event] in [0, 1]) -> [B, F]`, pure; its maker jits it.
    variables: what it needs, given as an argument so that no program holds a copy.
    identity: tells two of one name apart, such as a checksum of trained weights.
    """

    name: str
    function: Callable[[Any, jax.Array], jax.Array]
    variables: Any = None
    identity: str = ""

    def __post_init__(self) -> None:
        taken = [word for word in ("fid", "kid") if word in self.name.lower()]
        if taken or not self.name.replace("_", "").isalnum():
            raise ValueError(
                f"an extractor cannot be called '{self.name}': FID and KID are the standard"
                f" Inception network's; take letters and digits of another name."
            )

    @property
    def label(self) -> str:
        """Name and identity, as results state them."""
        return f"{self.name}:{self.identity}" if self.identity else self.name


def _flat(variables: Any, x: jax.Array) -> jax.Array:
    del variables
    return x.reshape(x.shape[0], -1)


PIXELS = Extractor("pixels", _flat)


def checksum(variables: Any) -> str:
    """CRC-32 over the names and numbers of a tree of weights, as 8 digits."""
    crc = 0
    for path, leaf in sorted(jax.tree_util.tree_flatten_with_path(variables)[0], key=str):
        crc = zlib.crc32(jax.tree_util.keystr(path).encode(), crc)
        crc = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), crc)
    return f"{crc:08x}"


def to_unit(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Images from [low, high] to [0, 1], float32; samples a little outside are clipped."""
    return np.clip((np.asarray(x, np.float32) - low) / (high - low), 0, 1)


def check_images(where: str, **sets: Any) -> None:
    """Sets of images `[N, *event]` of one event shape, finite, at least two in each.

    Pictures, `[N, H, W, ...]`, must lie in [0, 1]; vectors may be anything.

    Raises:
      ValueError: one sentence.
    """
    shapes = {name: np.shape(x)[1:] for name, x in sets.items()}
    if len(set(shapes.values())) > 1:
        said = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise ValueError(f"{where}: the images differ in shape, {said}; bring them to one size.")
    for name, x in sets.items():
        if np.ndim(x) < 2 or len(x) < 2:
            raise ValueError(f"{where}: {name} must hold two images or more, [N, ...].")
        if not all(np.isfinite(x[a : a + 4096]).all() for a in range(0, len(x), 4096)):
            raise ValueError(f"{where}: {name} holds a number that is not finite.")
        low, high = np.min(x), np.max(x)
        if np.ndim(x) > 2 and not (low >= -1e-3 and high <= 1 + 1e-3):
            raise ValueError(
                f"{where}: {name} must be pictures in [0, 1], and these go from {low:g} to"
                f" {high:g}; bring them there, with (x - lowest) / (highest - lowest)."
            )


def batches(
    function: Callable[[Any, jax.Array], Any], variables: Any, x: np.ndarray, batch_size: int
) -> Iterator[Any]:
    """`function` over `x` in batches, as numpy; every batch has one shape and so one program."""
    for parts, n in padded({"x": x}, batch_size):
        found = function(variables, jnp.asarray(parts["x"], jnp.float32))
        yield jax.tree.map(lambda a, n=n: np.asarray(a)[:n], found)


def features(extractor: Extractor, x: np.ndarray, *, batch_size: int = 100) -> np.ndarray:
    """Features of images in [0, 1], `[N, *event] -> [N, F]` float32."""
    parts = batches(extractor.function, extractor.variables, x, batch_size)
    return np.concatenate(list(parts))
