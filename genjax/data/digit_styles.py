"""Digits made bold or slanted by rule: small data for translation, with exact truth."""

import functools
from collections.abc import Mapping

import numpy as np

from genjax.data.dataset import Dataset

DIGIT_STYLES = ("digits_pairs", "digits_attributes")
ATTRIBUTES = ("bold", "slanted")


def bold(x: np.ndarray) -> np.ndarray:
    """Returns images whose strokes are one pixel wider, in the same levels.

    A grey dilation: each pixel is the maximum of itself and of the pixel on its left.

    >>> bold(np.array([0, 5, 2, 0]).reshape(1, 1, 4, 1)).ravel().tolist()
    [0, 5, 5, 2]
    """
    return np.maximum(x, _shift(x, 1))


def slanted(x: np.ndarray) -> np.ndarray:
    """Returns images `[N, H, W, C]` sheared to the right: row r moves by (H / 2 - r) // 2 pixels.

    Pixels that leave the image are lost, and 0 enters.
    """
    rows = range(x.shape[1])
    return np.stack([_shift(x[:, r], (x.shape[1] // 2 - r) // 2) for r in rows], axis=1)


def styled(x: np.ndarray, attributes: np.ndarray) -> np.ndarray:
    """Returns images `[N, H, W, C]` made bold, then slanted, where `attributes` `[N, 2]` is 1."""
    for number, style in enumerate((bold, slanted)):
        chosen = (np.asarray(attributes)[:, number] != 0)[:, None, None, None]
        x = np.where(chosen, style(x), x)
    return x


def load_styles(name: str, splits: Mapping[str, Mapping[str, np.ndarray]], levels: int) -> Dataset:
    """Makes `digits_pairs` or `digits_attributes` of the splits of the digits.

    `digits_pairs`: y is x made bold and slanted. `digits_attributes`: each digit in its four
    styles; `caption` has the split and the row of the original digit.
    """
    if name == "digits_pairs":
        pairs = {
            s: {**v, "y": styled(v["x"], np.ones((len(v["x"]), 2)))} for s, v in splits.items()
        }
        return Dataset(name, pairs, levels, paired=frozenset(pairs))
    styles = np.array([(0, 0), (0, 1), (1, 0), (1, 1)], np.uint8)
    out = {}
    for split, entries in splits.items():
        n = len(entries["x"])
        row = np.repeat(np.arange(n), len(styles))
        attributes = np.tile(styles, (n, 1))
        out[split] = {
            "x": styled(entries["x"][row], attributes),
            "attributes": attributes,
            "label": entries["label"][row],
            "caption": np.array([f"{split} {r}" for r in row]),
        }
    originals = {f"{s} {r}": x for s, v in splits.items() for r, x in enumerate(v["x"])}
    render = functools.partial(_render, originals)
    return Dataset(name, out, levels, names={"attributes": ATTRIBUTES}, render=render)


def _render(
    originals: Mapping[str, np.ndarray], rows: Mapping[str, np.ndarray], attributes: np.ndarray
) -> np.ndarray:
    return styled(np.stack([originals[str(c)] for c in rows["caption"]]), attributes)


def _shift(x: np.ndarray, by: int) -> np.ndarray:
    """Returns `[..., W, C]` moved to the right by some pixels, or to the left by negative ones."""
    width = x.shape[-2]
    out = np.zeros_like(x)
    out[..., max(by, 0) : width + min(by, 0), :] = x[..., max(-by, 0) : width - max(by, 0), :]
    return out
