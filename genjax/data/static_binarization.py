"""Static binarization: Bernoulli samples that are drawn once, when a data set is loaded."""

from collections.abc import Mapping

import numpy as np


def draw_static(
    x: np.ndarray, rows: np.ndarray, *, levels: int, seed: int, stream: int
) -> np.ndarray:
    """Draws Bernoulli samples uint8 {0, 1} for integers 0 .. levels - 1, `[N, ...]`.

    The draws depend on the seed, `stream` (one per split and entry) and the number of each row in
    its split, `rows` `[N]`, so that reading all rows or some of them gives the same samples.
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
