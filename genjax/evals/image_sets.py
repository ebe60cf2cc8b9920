"""Sets of images: arrays, or batches that are computed each time they are used."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import numpy as np


@dataclasses.dataclass(frozen=True)
class Images:
    """Images of which one batch at a time is in memory.

    Attributes:
      shape: `(N, *event)`.
      read: `read(start)` iterates over images `start` to N - 1 in order, in batches `[B, *event]`
        of any sizes, float32 in [0, 1]; every call yields the same images.
      name: name in error messages.
    """

    shape: tuple[int, ...]
    read: Callable[[int], Iterator[np.ndarray]]
    name: str

    @property
    def ndim(self) -> int:
        """Number of dimensions, as of an array."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def batches(self, size: int, start: int = 0) -> Iterator[np.ndarray]:
        """Iterates over the images from number `start` on in batches of `size`; see `regrouped`.

        Raises:
          ValueError: a value is not finite or not in [0, 1].
        """
        for batch in regrouped(self.read(start), size):
            check_values(self.name, batch)
            yield batch


ImageSet = np.ndarray | Images
"""Images `[N, *event]`: an array, or `Images`."""


def image_batches(x: ImageSet, size: int, start: int = 0) -> Iterator[np.ndarray]:
    """Iterates over images `start` to N - 1 in batches of `size`, the last one smaller."""
    if isinstance(x, Images):
        return x.batches(size, start)
    return (x[first : first + size] for first in range(start, len(x), size))


def regrouped(parts: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Iterates over the rows of arrays `[B, ...]` in arrays of `size` rows, the last one smaller.

    >>> [a.tolist() for a in regrouped([np.arange(3), np.arange(3, 5)], 2)]
    [[0, 1], [2, 3], [4]]
    """
    held: list[np.ndarray] = []
    for part in parts:
        while len(part):
            missing = size - sum(map(len, held))
            held.append(part[:missing])
            part = part[missing:]
            if len(held[-1]) == missing:
                yield held[0] if len(held) == 1 else np.concatenate(held)
                held = []
    if held:
        yield np.concatenate(held)


def check_values(name: str, x: np.ndarray) -> None:
    """Checks that examples `[N, ...]` are finite, and images `[N, H, W, ...]` in [0, 1].

    Raises:
      ValueError: they are not.
    """
    if not all(np.isfinite(x[a : a + 4096]).all() for a in range(0, len(x), 4096)):
        raise ValueError(f"{name} has values that are not finite.")
    low, high = np.min(x), np.max(x)
    if np.ndim(x) > 2 and not (low >= -1e-3 and high <= 1 + 1e-3):
        raise ValueError(
            f"{name} must be images in [0, 1], got {low:g} to {high:g}; scale them by"
            f" (x - lowest) / (highest - lowest)."
        )
