"""The metric `part_changes`: where an image changes when the noise of one part is drawn again."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks
from genjax.core import named_key
from genjax.core.protocols import ImageParts
from genjax.evals.context import EvalContext
from genjax.evals.metric_result import MetricResult
from genjax.evals.requirements import check_images


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartChangesResult(MetricResult):
    """Share of the absolute change of an image's pixels within the part whose noise changes.

    Both sums of absolute changes, within the part and in all, are over all images. A generator
    without parts is evaluated on the quadrants, with a quarter of its noise for each.

    Attributes:
      inside: the share, mean over parts; higher is better.
      std_error: its standard error.
      parts: the share of each part.
      area: the floor of `inside`: the part's share of the pixels, mean over parts.
      areas: the part's share of the pixels.
      changes: mean absolute change of a pixel of the image, where the range of pixels is 1.
    """

    FIGURE: ClassVar = ("inside", "std_error", "%")

    inside: float
    std_error: float
    parts: dict[str, float]
    area: float
    areas: dict[str, float]
    changes: dict[str, float]


def part_changes(c: EvalContext, *, samples: int = 2000) -> PartChangesResult:
    """Computes the result for so many samples, whose parts are exchanged with those of others.

    A changed sample has the label of the sample it is compared with.
    """
    check_images(c.family, c.config)
    names, masks = image_parts(c.family, c.config)
    inside = np.empty((len(names), samples))  # sums of absolute changes
    total = np.empty_like(inside)
    start = 0
    for images in _exchanged(c, names, samples):
        change = np.abs(images[1:] - images[:1]).sum(axis=-1)  # [K, B, H, W]
        rows = slice(start, start := start + images.shape[1])
        total[:, rows] = change.sum(axis=(2, 3))
        inside[:, rows] = (change * masks[:, None]).sum(axis=(2, 3))
    shares, error = ratio_of_sums(inside, total)
    low, high = c.sample_range
    pixels = (high - low) * np.prod(c.config.shape)
    areas = masks.mean(axis=(1, 2))
    return PartChangesResult(
        inside=float(shares.mean()),
        std_error=error,
        parts=dict(zip(names, shares.tolist(), strict=True)),
        area=float(areas.mean()),
        areas=dict(zip(names, areas.tolist(), strict=True)),
        changes=dict(zip(names, (total.mean(axis=1) / pixels).tolist(), strict=True)),
        n_real=0,
        n_fake=samples,
        extractor="pixels",
        seed=c.seed,
    )


def image_parts(family: Any, config: Any) -> tuple[list[str], np.ndarray]:
    """Returns the names of a family's parts and their pixels, bool `[K, H, W]`.

    Those of a family without parts are the quadrants of its images.
    """
    if isinstance(family, ImageParts):
        return [part.name for part in family.image_parts(config)], family.part_masks(config)
    height, width, _ = config.shape
    upper, left = np.arange(height) < height // 2, np.arange(width) < width // 2
    rows, columns = {"upper": upper, "lower": ~upper}, {"left": left, "right": ~left}
    names = [f"{row}_{column}" for row in rows for column in columns]
    return names, np.stack([np.outer(a, b) for a in rows.values() for b in columns.values()])


def with_part(family: Any, config: Any, z: Any, other: Any, part: int, count: int) -> Any:
    """Returns noise `z` `[B, Z]` with that of one part from `other`, `[B, Z]`.

    The noise of a family without parts is divided into `count` parts of consecutive columns, equal
    but for the remainder.
    """
    if isinstance(family, ImageParts):
        return family.exchange(config, z, other, part)
    columns = np.array_split(np.arange(z.shape[1]), count)[part]
    return z.at[:, columns].set(other[:, columns])


def ratio_of_sums(inside: np.ndarray, total: np.ndarray) -> tuple[np.ndarray, float]:
    """Computes the ratio of the sums over N images of each row, and the error of its mean.

    Args:
      inside: `[K, N]`.
      total: `[K, N]`.

    Returns:
      The ratios `[K]`, NaN where nothing changes, and the standard error of their mean over rows,
      to first order in the deviations from the ratio.
    """
    with np.errstate(invalid="ignore"):
        ratios = inside.sum(axis=1) / total.sum(axis=1)
        residuals = (inside - ratios[:, None] * total) / total.mean(axis=1, keepdims=True)
    return ratios, float(residuals.mean(axis=0).std() / np.sqrt(inside.shape[1]))


def _exchanged(c: EvalContext, names: Sequence[str], samples: int) -> Iterator[np.ndarray]:
    """Iterates over images `[1 + K, B, H, W, C]`: samples, and those with each part changed."""
    checks.positive(samples=samples)
    family, config, count = c.family, c.config, c.batch_size
    classes = getattr(config, "classes", 0)

    @jax.jit
    def images(variables: Any, key: jax.Array, label: jax.Array) -> jax.Array:
        z, other = (family.noise(config, k, count) for k in jax.random.split(key))
        changed = [with_part(family, config, z, other, k, len(names)) for k in range(len(names))]
        condition = {"label": label} if classes else {}
        drawn = [family.generate(config, variables, x, **condition) for x in (z, *changed)]
        return jnp.stack(drawn)

    for start in range(0, samples, count):
        label = np.arange(start, start + count, dtype=np.int32) % max(classes, 1)
        key = named_key(c.key, start, "part_changes")
        yield np.asarray(images(c.variables, key, label), np.float64)[:, : samples - start]
