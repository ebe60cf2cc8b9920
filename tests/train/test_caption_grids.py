"""Grids of images below their captions: geometry, frames, and texts of every kind."""

import io
import json
import math

import numpy as np
import pytest
from PIL import Image

from genjax.data.image_grid import GREY
from genjax.train import sample_grids
from genjax.train.caption_grids import (
    FRAME,
    GAP,
    LINES,
    PAGE,
    THICK,
    caption_layout,
    drawable,
    fitting_captions,
    save_caption_grid,
    wrapped,
)
from genjax.train.sample_grids import MAX_PIXELS, cut, read_grid

IMAGES = np.random.default_rng(0).uniform(size=(12, 8, 8, 3))


def saved(tmp_path, captions, images=IMAGES, **options):
    save_caption_grid(tmp_path / "grid.png", images, captions, **options)
    return read_grid(tmp_path / "grid.png")


@pytest.mark.parametrize("columns", [0, 2, 3])
def test_images_are_below_their_captions_and_are_read_back(tmp_path, columns):
    captions = ("one", "two", "three")
    page, layout = saved(tmp_path, captions, columns=columns)
    assert (layout.captions, layout.per_group, layout.wrong) == (captions, 4, None)
    assert layout.columns == (columns or 4)
    assert page.shape[1] >= PAGE
    pixels = (IMAGES * 255 + 0.5).astype(np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    np.testing.assert_array_equal(cut(page, layout), pixels)
    # The header of each group has black letters on white, and is above all rows of the group.
    for group in range(3):
        first, last = layout.corner(4 * group)[0], layout.corner(4 * group + 3)[0]
        header = page[first - layout.header - (GAP if group == 0 else 0) : first - GAP]
        assert (header[0] == 255).all()
        assert (header < 100).any()
        rows = math.ceil(4 / layout.columns)
        assert last - first == (rows - 1) * (layout.height + GAP)


def test_captions_are_drawn_in_their_order(tmp_path):
    page, layout = saved(tmp_path, ("one", "two", "three"))
    swapped, _ = saved(tmp_path, ("two", "one", "three"))

    def header(page, group):
        top = layout.corner(4 * group)[0]
        return page[top - GAP - 16 : top - GAP]

    np.testing.assert_array_equal(header(page, 0), header(swapped, 1))
    np.testing.assert_array_equal(header(page, 1), header(swapped, 0))
    assert (header(page, 0) != header(page, 1)).any()


def test_wrong_images_and_no_others_are_framed(tmp_path):
    page, layout = saved(tmp_path, ("one", "two"), wrong=np.array([7, 2]))
    assert layout.wrong == (2, 7)
    framed = []
    for i in range(12):
        top, left = layout.corner(i)
        outside = page[top - THICK : top + layout.height + THICK, left - THICK]
        framed.append((outside == FRAME).all())
        assert framed[-1] or (outside == GREY).all()
    assert np.flatnonzero(framed).tolist() == [2, 7]
    plain, _ = saved(tmp_path, ("one", "two"), wrong=())
    np.testing.assert_array_equal(cut(page, layout), cut(plain, layout))


def test_a_last_group_may_be_smaller(tmp_path):
    page, layout = saved(tmp_path, ("one", "two"), IMAGES[:5])
    assert layout.per_group == 3
    tops = [layout.corner(i)[0] for i in range(5)]
    assert tops[0] == tops[1] == tops[2] < tops[3] == tops[4]
    assert len(cut(page, layout)) == 5


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\n c", "a b  c"),
        ("\u05d0\u05d1 \u0627\u0644", "\u05d0\u05d1 \u0627\u0644"),
        ("cafe\u0301", "caf\u00e9"),
        ("\N{MAN}\u200d\N{WOMAN}", "[man][woman]"),
        ("\u202eabc\u202c", "abc"),
        ("\U000e0fff", "[U+E0FFF]"),
        ("\u4e2d", "[cjk unified ideograph-4e2d]"),
    ],
)
def test_characters_that_the_font_lacks_become_names(text, shown):
    assert drawable(text) == shown


@pytest.mark.parametrize("caption", ["word " * 10, "w" * 100_000, "a " * 50_000, "", " ", "\u200d"])
def test_captions_of_any_length_fit_their_lines(tmp_path, caption):
    lines = wrapped(caption[:300], 200)
    assert 1 <= len(lines) <= LINES
    from genjax.train.caption_grids import _font

    assert all(_font().getlength(line) <= 200 for line in lines)
    if len(lines) < LINES:
        assert "".join(lines).replace(" ", "") == drawable(caption).replace(" ", "")
    _, layout = saved(tmp_path, (caption, "short"))
    assert layout.header <= LINES * 16 + GAP
    assert len(layout.captions[0]) <= 300


def test_as_many_captions_fit_as_a_reader_takes():
    captions = [f"caption {i}" for i in range(5000)]
    n = fitting_captions((256, 256, 3), captions, 4)
    sizes = [
        math.prod(caption_layout((256, 256, 3), captions[:k], 4 * k).size()) for k in (n, n + 1)
    ]
    assert sizes[0] <= MAX_PIXELS < sizes[1]
    assert fitting_captions((8, 8, 3), captions[:7], 2) == 7
    assert fitting_captions((8192, 8192, 3), captions, 1) == 1


def test_a_geometry_that_does_not_fit_the_image_is_none(tmp_path):
    saved(tmp_path, ("one", "two"))
    with Image.open(tmp_path / "grid.png") as image:
        page, values = np.asarray(image), json.loads(image.info["genjax"])
    for change in ({"captions": ["one"]}, {"captions": [1, 2]}, {"wrong": [-1]}, {"header": 0}):
        (tmp_path / "other.png").write_bytes(sample_grids.encode_png(page, values | change))
        assert read_grid(tmp_path / "other.png")[1] is None, change


def test_a_strip_has_the_first_sample_of_each_caption(tmp_path):
    for step in (1, 2):
        path = tmp_path / f"step_{step:08d}.png"
        wrong = (0,) if step == 1 else ()  # does not tell two geometries apart
        save_caption_grid(path, IMAGES / step, ("one", "two", "three"), wrong=wrong)
    made = sample_grids.strip(sample_grids.grids(tmp_path))
    assert made.steps == [1, 2]
    (tmp_path / "strip.png").write_bytes(made.png)
    page, layout = _strip(tmp_path / "strip.png")
    pixels = [(IMAGES[::4] / step * 255 + 0.5).astype(np.uint8) for step in (1, 2)]
    tiles = np.concatenate(pixels).repeat(8, axis=1).repeat(8, axis=2)
    np.testing.assert_array_equal(cut(page, layout), tiles)


def test_an_animation_has_the_frames_of_wrong_samples_and_no_captions(tmp_path):
    for step in (1, 2):
        path = tmp_path / f"step_{step:08d}.png"
        save_caption_grid(path, np.zeros((14, 8, 8, 3)), list("abcdefg"), wrong=(3,))
    with Image.open(io.BytesIO(sample_grids.write_gif(sample_grids.grids(tmp_path)))) as film:
        page = np.asarray(film.convert("RGB"))
    # Two groups beside one another, each of two samples in a row; the last row has one group.
    wide = 2 * (64 + GAP) + GAP
    assert page.shape == (4 * (64 + 2 * GAP), 2 * wide, 3)
    assert (page[-64 - 2 * GAP :, wide:] == GREY).all()
    assert not (page == 255).all(-1).any()
    framed = np.argwhere((page == FRAME).all(-1))
    left = wide + GAP + (64 + GAP)  # second sample of the second group
    assert framed.min(0).tolist() == [GAP - THICK, left - THICK]
    assert framed.max(0).tolist() == [GAP + 64 + THICK - 1, left + 64 + THICK - 1]


def _strip(path):
    """A strip and its geometry, which has its steps beside it."""
    with Image.open(path) as image:
        values = json.loads(image.info["genjax"])
        values.pop("steps")
        path.write_bytes(sample_grids.encode_png(np.asarray(image), values))
    return read_grid(path)
