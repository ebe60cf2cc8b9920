"""Quantities between translated images and their true partners, per image, and baselines.

Images are `[N, H, W, C]`, real numbers in [0, 1] or uint8 levels. Every function returns one value
per image, `[N]` float64; `mean_and_error` gives the mean and its standard error.
"""

import numpy as np

from genjax import checks

PATCH = 5  # side of the patches of `ridge_patches`
TIE = 1e-9  # relative difference of squared distances that rounding can make


def unit_images(**images: np.ndarray) -> list[np.ndarray]:
    """Returns images in [0, 1], float32, of which all have one shape.

    Raises:
      ValueError: the shapes differ, or values are not finite or outside [0, 1].
    """
    shapes = {name: np.shape(x) for name, x in images.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 4 for shape in shapes.values()):
        got = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise ValueError(f"images must be [N, H, W, C] of one shape, got {got}; resize them.")
    return [_unit(name, np.asarray(x)) for name, x in images.items()]


def _unit(name: str, x: np.ndarray) -> np.ndarray:
    if x.dtype == np.uint8:
        return x.astype(np.float32) / 255
    x = x.astype(np.float32)
    if not np.isfinite(x).all():
        raise ValueError(f"{name} has values that are not finite; lower the learning rate.")
    if x.size and (x.min() < -1e-3 or x.max() > 1 + 1e-3):
        raise ValueError(
            f"{name} must be in [0, 1] or uint8, got {x.min():g} to {x.max():g}; scale it by"
            f" (x - lowest) / (highest - lowest)."
        )
    return x


def _mean(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1).mean(axis=1, dtype=np.float64)


def l1(images: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Computes the mean absolute difference in the range -1 .. 1, twice that in [0, 1].

    >>> l1(np.array([[[[0], [255]]]], np.uint8), np.array([[[[255], [255]]]], np.uint8)).item()
    1.0
    """
    x, y = unit_images(images=images, truths=truths)
    return 2 * _mean(np.abs(x - y))


def rmse(images: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Computes the root mean square difference of each image, in levels of 255."""
    x, y = unit_images(images=images, truths=truths)
    return 255 * np.sqrt(_mean((x - y) ** 2))


def within(images: np.ndarray, truths: np.ndarray, levels: float) -> np.ndarray:
    """Computes the share of pixels whose largest channel difference is below `levels` of 255.

    Source: Fu et al. 2019, "Geometry-Consistent Generative Adversarial Networks for One-Sided
    Unsupervised Domain Mapping", section 4.2 (5 and 10 levels).
    """
    x, y = unit_images(images=images, truths=truths)
    difference = 255 * np.abs(x - y).max(axis=-1)
    return _mean(difference < levels - 1e-3)  # whole levels that float32 rounds down do not count


def ink_iou(images: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Computes intersection over union of the ink; 1 where neither image has any.

    Ink are the pixels whose largest channel is above the middle of the range. The value is
    meaningful only for ink on a uniform background that is darker.
    """
    x, y = (image.max(axis=-1) > 0.5 for image in unit_images(images=images, truths=truths))
    both, either = ((a).reshape(len(x), -1).sum(axis=1) for a in (x & y, x | y))
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)


def retrieval_rank(
    images: np.ndarray, gallery: np.ndarray, partner: np.ndarray | None = None
) -> np.ndarray:
    """Counts the candidates that are at least as near as the true partner; 0 is correct.

    Distances are L2 over pixels. Ties count against the image, except with candidates whose
    pixels equal those of the partner. Top-k retrieval is the share of ranks below k.

    Args:
      images: `[N, H, W, C]`.
      gallery: candidates `[M, H, W, C]`.
      partner: row of the true partner in the gallery, `[N]`; None is row i of image i.
    """
    rows = np.arange(len(images)) if partner is None else np.asarray(partner)
    (x,), (y,) = unit_images(images=images), unit_images(gallery=gallery)
    if x.shape[1:] != y.shape[1:] or len(rows) != len(x) or (len(rows) and rows.max() >= len(y)):
        raise ValueError(
            f"each of {len(x)} images {list(x.shape[1:])} needs a partner among {len(y)} candidates"
            f" {list(y.shape[1:])}; pass candidates of one shape that contain the partners."
        )
    flat = y.reshape(len(y), -1).astype(np.float64)
    squares = (flat**2).sum(axis=1)
    same = np.unique(flat, axis=0, return_inverse=True)[1].reshape(-1)
    ranks = np.zeros(len(x))
    for start in range(0, len(x), 256):
        part, mine = x[start : start + 256].reshape(-1, flat.shape[1]), rows[start : start + 256]
        part = part.astype(np.float64)
        own = (part**2).sum(axis=1, keepdims=True)
        distance = own + squares - 2 * part @ flat.T
        bound = distance[np.arange(len(part)), mine][:, None] + TIE * (1 + own)
        nearer = (distance <= bound) & (same != same[mine][:, None])
        ranks[start : start + 256] = nearer.sum(axis=1)
    return ranks


def compare(
    images: np.ndarray,
    truths: np.ndarray,
    gallery: np.ndarray | None = None,
    partner: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Computes every quantity of images with known truths, `[N]` each.

    Args:
      images, truths: `[N, H, W, C]`.
      gallery: candidates of the retrieval; None is the truths.
      partner: row of each image's truth in the gallery; None is row i of image i.
    """
    rank = retrieval_rank(images, truths if gallery is None else gallery, partner)
    return {
        "top1": (rank < 1).astype(np.float64),
        "top5": (rank < 5).astype(np.float64),
        "l1": l1(images, truths),
        "rmse": rmse(images, truths),
        "within_5": within(images, truths, 5),
        "within_10": within(images, truths, 10),
        "ink_iou": ink_iou(images, truths),
    }


def ridge_patches(
    sources: np.ndarray,
    truths: np.ndarray,
    images: np.ndarray,
    *,
    pixels: int = 200_000,
    strength: float = 1.0,
    seed: int = 0,
) -> np.ndarray:
    """Predicts each pixel from the 5 x 5 patch around it, by ridge regression fitted on pairs.

    Borders are repeated outwards.

    Args:
      sources, truths: pairs in [0, 1], `[N, H, W, C]` each.
      images: inputs to predict from, `[M, H, W, C]`.
      pixels: pixels that the regression is fitted on, drawn at random.
      strength: weight of the squared coefficients.
      seed: seed of that draw.

    Returns:
      Predictions in [0, 1], `[M, H, W, C]` float32.
    """
    from sklearn.linear_model import Ridge

    checks.positive(pixels=pixels, strength=strength)
    x, y = unit_images(sources=sources, truths=truths)
    total = len(x) * x.shape[1] * x.shape[2]
    chosen = np.arange(total)
    if total > pixels:
        chosen = np.sort(np.random.default_rng(seed).choice(total, pixels, replace=False))
    place = np.unravel_index(chosen, x.shape[:3])
    model = Ridge(alpha=strength, solver="cholesky").fit(
        _patches(x)[place].reshape(len(chosen), -1), y[place]
    )
    (inputs,) = unit_images(images=images)
    out = np.empty(inputs.shape, np.float32)
    for i, patches in enumerate(_patches(inputs)):
        flat = patches.reshape(inputs.shape[1] * inputs.shape[2], -1)
        out[i] = np.clip(model.predict(flat), 0, 1).reshape(inputs.shape[1:])
    return out


def _patches(x: np.ndarray) -> np.ndarray:
    """Returns a view of the patch around every pixel, `[N, H, W, C, PATCH, PATCH]`."""
    margin = PATCH // 2
    wide = np.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(wide, (PATCH, PATCH), axis=(1, 2))
