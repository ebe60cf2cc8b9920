"""Translation of uint8 images of any size by a family that translates: pad, translate, crop."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.train.device_memory import free_memory

SMALLEST_SIDE = 64  # shorter sides are padded to it, or to that of training if that is shorter
BATCH_PIXELS = 2**20  # of the images that are translated at once, unless there is only one


class ImageTranslator:
    """Translates images, with one program for each padded size and number of images."""

    def __init__(self, family: Any, config: Any, variables: Any, **conditions: Any):
        """For a run's variables; `conditions` of `family.translate` are the same for all images."""
        self.family, self.config, self.variables = family, config, variables
        self.conditions, self.low_high = conditions, family.traits(config).sample_range
        self.multiple = family.side_multiple(config)
        self.programs: dict[Any, Any] = {}

    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns the size to which images of a size are padded."""
        sides = []
        for side, trained in zip((height, width), self.config.shape, strict=False):
            side = max(side, min(trained, SMALLEST_SIDE))
            sides.append(-(-side // self.multiple) * self.multiple)
        return sides[0], sides[1]

    def translate(
        self,
        images: Sequence[np.ndarray],
        *,
        at_once: int = 0,
        **conditions: np.ndarray,
    ) -> list[np.ndarray]:
        """Translates images of one padded size, uint8 `[H, W, C]` each, and crops the results.

        Args:
          images: of the run's number of channels.
          at_once: number of images of the program; fewer are filled up with zeros. 0 is as given.
          **conditions: of each image, such as target attributes `[N, A]`.

        Raises:
          MemoryError: more memory is needed than is free.
        """
        batch, corners = self._pad(images, at_once)
        conditions = {k: np.resize(v, (len(batch), *v.shape[1:])) for k, v in conditions.items()}
        out = np.asarray(self._program("translate", batch, conditions))
        crops = zip(out, corners, images, strict=False)
        return [y[t : t + len(x), c : c + x.shape[1]] for y, (t, c), x in crops]

    def predict_attributes(self, images: Sequence[np.ndarray], *, at_once: int = 0) -> np.ndarray:
        """Returns the attributes that the run's own classifier sees, uint8 `[N, A]`."""
        batch, _ = self._pad(images, at_once)
        return np.asarray(self._program("predict_attributes", batch, {}))[: len(images)]

    def _pad(
        self, images: Sequence[np.ndarray], at_once: int
    ) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """Returns a batch uint8 `[B, H, W, C]`, and the top left corner of each image in it."""
        padded, corners = [], []
        for image in images:
            extra = np.subtract(self.padded_size(*image.shape[:2]), image.shape[:2])
            before = extra // 2
            sides = [*zip(before, extra - before, strict=True), (0, 0)]
            padded.append(np.pad(image, sides, mode="reflect"))
            corners.append((int(before[0]), int(before[1])))
        missing = max(0, at_once - len(images))
        return np.stack(padded + [np.zeros_like(padded[0])] * missing), corners

    def _program(self, name: str, batch: np.ndarray, conditions: Mapping[str, Any]) -> Any:
        """Runs a function of the family on a batch; `conditions` are arrays."""
        arguments = (self.variables, batch, conditions)
        at = (name, batch.shape)
        if at not in self.programs:
            # Those of other sizes are not needed again.
            self.programs = {k: v for k, v in self.programs.items() if k[1] == batch.shape}
            self.programs[at] = jax.jit(getattr(self, f"_{name}")).lower(*arguments).compile()
            _check_memory(self.programs[at])
        return self.programs[at](*arguments)

    def _translate(self, variables: Any, batch: jax.Array, conditions: Any) -> jax.Array:
        low, high = self.low_high
        images = self._scale(batch)
        given = {**self.conditions, **conditions}
        out = self.family.translate(self.config, variables, images, **given)
        levels = (out.astype(jnp.float32) - low) * (255 / (high - low))
        return jnp.clip(jnp.round(levels), 0, 255).astype(jnp.uint8)

    def _predict_attributes(self, variables: Any, batch: jax.Array, _: Any) -> jax.Array:
        return self.family.predict_attributes(self.config, variables, self._scale(batch))

    def _scale(self, batch: jax.Array) -> jax.Array:
        low, high = self.low_high
        return batch.astype(jnp.float32) * ((high - low) / 255) + low


def images_at_once(size: tuple[int, int], most: int) -> int:
    """Returns the number of images of a padded size per batch, 1 to `most`."""
    return max(1, min(most, BATCH_PIXELS // (size[0] * size[1])))


def _check_memory(program: Any) -> None:
    """Raises MemoryError if a program on the CPU needs more memory than is free.

    The system would end the process, where other devices report an error.
    """
    free = free_memory()
    if jax.default_backend() != "cpu" or free is None:
        return
    sizes = program.memory_analysis()
    if sizes is not None and sizes.temp_size_in_bytes + sizes.output_size_in_bytes > free:
        raise MemoryError
