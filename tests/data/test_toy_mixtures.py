"""Gaussians on a ring and a grid, and stacked digits: moments, modes, labels, splits."""

import dataclasses
import zlib

import numpy as np
import pytest

from genjax.data import Data, load, save_npz


@pytest.mark.parametrize(
    ("name", "modes", "deviation"),
    [("ring", 8, 0.01), ("grid", 25, 0.05)],
)
def test_modes_are_equally_likely_isotropic_gaussians(name, modes, deviation):
    data = load(Data(data=name))
    assert data.levels == 0
    assert data.shape == (2,)
    x, label = (data.splits["train"][k] for k in ("x", "label"))
    if name == "ring":
        angles = 2 * np.pi * label / 8
        centres = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    else:
        centres = np.stack([label // 5, label % 5], axis=1) * 2.0 - 4
    noise = (x - centres) / deviation
    n = len(x)
    assert np.abs(noise.mean(0)).max() < 5 / np.sqrt(n)
    assert np.abs((noise**2).mean(0) - 1).max() < 5 * np.sqrt(2 / n)
    assert abs((noise[:, 0] * noise[:, 1]).mean()) < 5 / np.sqrt(n)
    assert abs((noise**4).mean() - 3) < 5 * np.sqrt(96 / (2 * n))  # a Gaussian's, and no square's
    counts = np.bincount(label, minlength=modes)
    assert len(counts) == modes
    assert np.abs(counts - n / modes).max() < 5 * np.sqrt(n / modes)


def test_splits_are_independent_and_reproducible():
    a, b = load(Data(data="ring")), load(Data(data="ring"))
    assert a.counts() == {"train": 50_000, "validation": 10_000, "test": 10_000}
    assert a.checksum() == b.checksum()
    both = [a.splits[s]["x"][:10_000] for s in ("validation", "test")]
    assert (both[0] != both[1]).any(axis=1).mean() > 0.99


@pytest.fixture(scope="module")
def digits():
    return load(Data(data="digits"))


def test_stacks_use_images_of_their_own_split(digits):
    data = load(Data(data="stacked_digits"))
    assert (data.shape, data.levels) == ((8, 8, 3), 17)
    for split, rows in digits.splits.items():
        named = {zlib.crc32(x.tobytes()): c for x, c in zip(rows["x"], rows["label"], strict=True)}
        x, label = (data.splits[split][k] for k in ("x", "label"))
        assert len(x) == len(rows["x"])
        for image, c in zip(x, label, strict=True):
            parts = [zlib.crc32(np.ascontiguousarray(image[..., i]).tobytes()) for i in range(3)]
            assert [named[p] for p in parts] == [c // 100, c // 10 % 10, c % 10]
    # Each channel is drawn by itself.
    channels = [data.splits["train"]["label"] // d % 10 for d in (100, 10, 1)]
    assert abs(np.corrcoef(channels[0], channels[1])[0, 1]) < 5 / np.sqrt(len(channels[0]))


def test_held_out_images_are_not_in_training_stacks(tmp_path, digits):
    path = tmp_path / "few.npz"
    train = {k: v[:60] for k, v in digits.splits["train"].items()}
    save_npz(dataclasses.replace(digits, splits={"train": train}), path)
    data = load(Data(data=f"stacked_{path}", validation=20))
    assert data.counts() == {"train": 40, "validation": 20}
    seen = {a.tobytes() for x in data.splits["train"]["x"] for a in np.moveaxis(x, -1, 0)}
    held = {a.tobytes() for x in data.splits["validation"]["x"] for a in np.moveaxis(x, -1, 0)}
    assert seen <= {a.tobytes() for a in train["x"][:40, ..., 0]}
    assert held <= {a.tobytes() for a in train["x"][40:, ..., 0]}


def test_existing_file_takes_precedence(tmp_path, digits, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_npz(digits, tmp_path / "digits.npz")
    made = load(Data(data="stacked_digits.npz"))  # of the file beside
    assert made.shape == (8, 8, 3)
    save_npz(made, tmp_path / "stacked_digits.npz")
    (tmp_path / "stacked_digits").mkdir()  # a folder of something else
    assert load(Data(data="stacked_digits")).shape == (8, 8, 3)
    kept = load(Data(data="stacked_digits.npz", limit=5))
    np.testing.assert_array_equal(kept.splits["test"]["x"], made.splits["test"]["x"][:5])
    assert load(Data(data=str(tmp_path / "stacked_digits.npz"))).shape == (8, 8, 3)


def test_rejects_stacking_colour_images():
    with pytest.raises(ValueError, match=r"stacked_stacked_digits needs grey images \[N, H, W, 1"):
        load(Data(data="stacked_stacked_digits"))
