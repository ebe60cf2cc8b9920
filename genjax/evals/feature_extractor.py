"""Feature extractors, used to compute distances between sets of images."""

import dataclasses
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.evals.image_sets import Images, ImageSet, check_values, image_batches


@dataclasses.dataclass(frozen=True)
class Extractor:
    """A named function from images to features.

    Attributes:
      name: name in results, as in `NAME_frechet`; must not contain fid or kid.
      function: pure and compiled, `(variables, x [B, *event] in [0, 1]) -> [B, F]`.
      variables: its parameters, passed as an argument so that programs do not embed them.
      identity: distinguishes extractors with the same name; for example a checksum of the weights.
    """

    name: str
    function: Callable[[Any, jax.Array], jax.Array]
    variables: Any = None
    identity: str = ""

    def __post_init__(self) -> None:
        reserved = [word for word in ("fid", "kid") if word in self.name.lower()]
        if reserved or not self.name.replace("_", "").isalnum():
            raise ValueError(
                f"extractor name '{self.name}' is not allowed; use letters, digits and _, without"
                f" fid and kid, which name metrics of the standard Inception network."
            )

    @property
    def label(self) -> str:
        """Name and identity, as in results."""
        return f"{self.name}:{self.identity}" if self.identity else self.name


PIXELS = Extractor("pixels", lambda variables, x: x.reshape(x.shape[0], -1))


def checksum(variables: Any) -> str:
    """Computes the CRC-32 of the names and values of a tree of weights, as 8 hex digits."""
    crc = 0
    for path, leaf in sorted(jax.tree_util.tree_flatten_with_path(variables)[0], key=str):
        crc = zlib.crc32(jax.tree_util.keystr(path).encode(), crc)
        crc = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), crc)
    return f"{crc:08x}"


def to_unit(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scales images from [low, high] to [0, 1], float32, and clips values outside."""
    return np.clip((np.asarray(x, np.float32) - low) / (high - low), 0, 1)


def check_images(where: str, **sets: Any) -> None:
    """Checks sets of images `[N, *event]`: one event shape, finite, at least two in each.

    Images `[N, H, W, ...]` must be in [0, 1]; vectors `[N, D]` may have any range. The values of
    `Images` are checked when they are read.

    Raises:
      ValueError: a set does not meet these conditions.
    """
    shapes = {name: np.shape(x)[1:] for name, x in sets.items()}
    if len(set(shapes.values())) > 1:
        got = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise ValueError(f"{where}: the images differ in shape, {got}; resize them to one shape.")
    for name, x in sets.items():
        if np.ndim(x) < 2 or len(x) < 2:
            raise ValueError(f"{where}: {name} must have two examples or more, [N, ...].")
        if not isinstance(x, Images):
            check_values(f"{where}: {name}", x)


def batches(
    function: Callable[[Any, jax.Array], Any], variables: Any, x: ImageSet, batch_size: int
) -> Iterator[Any]:
    """Yields `function(variables, batch)` of each batch of `x`, as NumPy arrays.

    All batches have one shape: the last one is padded with copies of its first row.
    """
    size = min(batch_size, len(x))
    for part in image_batches(x, batch_size):
        n, batch = len(part), jnp.asarray(part, jnp.float32)
        if n < size:
            batch = jnp.concatenate([batch, jnp.repeat(batch[:1], size - n, axis=0)])
        out = function(variables, batch)
        yield jax.tree.map(lambda a, n=n: np.asarray(a)[:n], out)


def features(extractor: Extractor, x: ImageSet, *, batch_size: int = 100) -> np.ndarray:
    """Computes features of images in [0, 1], `[N, *event] -> [N, F]` float32."""
    parts = batches(extractor.function, extractor.variables, x, batch_size)
    return np.concatenate(list(parts))
