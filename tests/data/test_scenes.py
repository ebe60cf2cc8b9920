"""Scenes: captions, drawings known by rule, and the parser that reads them back."""

import itertools

import numpy as np
import pytest
from scipy import ndimage
from support.reading import assert_error_message

from genjax.data import Data, load
from genjax.data.dataset import row_crcs
from genjax.data.npz_splits import save_npz
from genjax.data.prepare import prepare
from genjax.data.scenes import (
    ALL_SCENES,
    CONVERSE,
    COUNTS,
    ITEMS,
    Item,
    Scene,
    load_scenes,
    matches,
    parse_caption,
    read_scene,
    render,
    split_scenes,
)
from genjax.data.shards import WriteOptions

LOW = "a small red circle left of a large blue square"


@pytest.fixture(scope="module")
def dataset():
    return load(Data(data="scenes"))


def test_every_caption_is_read_back():
    texts = [s.caption for s in ALL_SCENES]
    assert len(set(texts)) == 24 * 23 * 4 == 2208
    assert [parse_caption(t) for t in texts] == list(ALL_SCENES)
    assert parse_caption(f"  {LOW.upper()} ") == parse_caption(LOW)
    spaced = LOW.replace(" ", "  ").replace(" of", "\tof")
    assert parse_caption(spaced) == parse_caption(LOW)
    assert all(s.converse.converse == s != s.converse for s in ALL_SCENES)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (LOW.replace("red", "purple"), "has 'purple' where it needs red, green, blue, yellow;"),
        (LOW.replace("left of", "near"), "has 'near' where it needs left of, right of, above"),
        (LOW.replace("left of", "left"), "has 'left' where it needs left of"),
        (LOW.replace("left of", "red of"), "has 'red of' where it needs left of"),
        (LOW.replace("small red", "red small"), "has 'red' where it needs small, large;"),
        (LOW.removesuffix(" square"), "ends where it needs circle, square, triangle;"),
        ("", "ends where it needs a;"),
        (LOW + " today", "continues with 'today'; end it"),
        ("a small red circle above a small red circle", "has the same object twice"),
    ],
)
def test_names_the_word_that_is_not_in_the_grammar(text, match):
    with pytest.raises(ValueError, match=match) as error:
        parse_caption(text)
    assert_error_message(str(error.value))


def test_drawings_follow_the_caption():
    """Extents, areas and places from the pixels alone, apart from the parser."""
    scenes = ALL_SCENES[::7]
    areas = {}
    for scene, image in zip(scenes, render(scenes, seed=3), strict=True):
        labels, n = ndimage.label(image.any(axis=-1))
        assert n == 2
        boxes = ndimage.find_objects(labels)
        centres = [np.array([(s.start + s.stop - 1) / 2 for s in box]) for box in boxes]
        axis = 0 if scene.relation in ("above", "below") else 1
        order = np.argsort([c[axis] for c in centres])  # the left or upper one first
        if scene.relation in ("right of", "below"):
            order = order[::-1]
        first, second = (boxes[i][axis] for i in sorted(order, key=lambda i: boxes[i][axis].start))
        assert 2 <= second.start - first.stop <= 8
        between = abs(centres[1] - centres[0])
        assert between[1 - axis] <= 4 < 9 <= between[axis]
        for i, item in zip(order, (scene.first, scene.second), strict=True):
            extent = {"small": 7, "large": 11}[item.size]
            assert [s.stop - s.start for s in boxes[i]] == [extent, extent]
            pixels = image[labels == i + 1]
            rgb = {"red": "100", "green": "010", "blue": "001", "yellow": "110"}[item.colour]
            assert (pixels == [255 * int(c) for c in rgb]).all()
            areas.setdefault((item.shape, item.size), set()).add(len(pixels))
    assert areas == {
        ("circle", "small"): {37},
        ("circle", "large"): {97},
        ("square", "small"): {49},
        ("square", "large"): {121},
        ("triangle", "small"): {25},
        ("triangle", "large"): {61},
    }


def test_drawings_depend_on_seed_and_row_alone():
    scenes = ALL_SCENES[:50]
    np.testing.assert_array_equal(render(scenes, seed=1)[:20], render(scenes[:20], seed=1))
    assert (render(scenes, seed=1) != render(scenes, seed=2)).any(axis=(1, 2, 3)).mean() > 0.9
    np.testing.assert_array_equal(  # both captions of a scene draw the same image
        render([s.converse for s in scenes]), render(scenes)
    )


def test_reads_every_true_scene():
    scenes = [ALL_SCENES[i % 2208] for i in range(10_000)]
    images = render(scenes, seed=5)
    seen = [read_scene(image) for image in images]
    assert all(r in (s, s.converse) for r, s in zip(seen, scenes, strict=True))


def test_every_other_caption_is_rejected():
    scenes = ALL_SCENES[::97]
    for image in render(scenes):
        seen = read_scene(image)
        assert sum(seen in (s, s.converse) for s in ALL_SCENES) == 2
    texts = [s.caption for s in ALL_SCENES]
    for scene, image in list(zip(scenes, render(scenes), strict=True))[::6]:
        near = [i for i, s in enumerate(ALL_SCENES) if _words_apart(s, scene) == 1]
        near += [ALL_SCENES.index(Scene(scene.second, scene.relation, scene.first))]
        assert 10 < len(near) < 20
        others = [texts[i] for i in near]
        assert not matches(np.stack([image] * len(near)), others).any()
        assert matches(np.stack([image] * 2), [scene.caption, scene.converse.caption]).all()


def _words_apart(a, b):
    words = [(*s.first, s.relation, *s.second) for s in (a, b)]
    return sum(x != y for x, y in zip(*words, strict=True))


def test_reads_noisy_and_blurred_scenes():
    scenes = ALL_SCENES[::11]
    captions = [s.caption for s in scenes]
    images = render(scenes).astype(np.float32)
    rng = np.random.default_rng(0)
    for deviation in (20, 40):
        noisy = np.clip(images + rng.normal(0, deviation, images.shape), 0, 255)
        assert matches(noisy, captions).all()
    for width in (0.5, 1.0):
        assert matches(ndimage.gaussian_filter(images, (0, width, width, 0)), captions).all()
    speck = images.copy()
    speck[:, 0, 0] = speck[:, 0, 1] = 255
    assert matches(speck, captions).mean() > 0.99
    heavy = np.clip(images + rng.normal(0, 150, images.shape), 0, 255)
    assert matches(heavy, captions).mean() < 0.1


def _image(*placed):
    """Draws squares `(row, column, height, width, colour)`."""
    image = np.zeros((32, 32, 3), np.uint8)
    for row, column, height, width, colour in placed:
        image[row : row + height, column : column + width] = colour
    return image


RED, GREEN, BLUE, WHITE, MAGENTA = (
    np.array([255 * int(c) for c in rgb]) for rgb in ("100", "010", "001", "111", "101")
)


def test_reads_no_scene_where_there_is_none():
    good = _image((2, 2, 7, 7, RED), (3, 20, 7, 7, BLUE))
    assert read_scene(good) == Scene(
        Item("small", "red", "square"), "left of", Item("small", "blue", "square")
    )
    wrong = {
        "one object": _image((2, 2, 7, 7, RED)),
        "three objects": good + _image((22, 2, 7, 7, RED)),
        "three, one is small": good + _image((22, 2, 4, 4, RED)),
        "the same twice": _image((2, 2, 7, 7, RED), (3, 20, 7, 7, RED)),
        "diagonal": _image((2, 2, 7, 7, RED), (20, 20, 7, 7, BLUE)),
        "touching": _image((2, 2, 7, 7, RED), (2, 9, 7, 7, BLUE)),
        "two colours": _image((2, 2, 7, 7, RED), (2, 5, 7, 4, GREEN), (3, 20, 7, 7, BLUE)),
        "white": _image((2, 2, 7, 7, WHITE), (3, 20, 7, 7, BLUE)),
        "magenta": _image((2, 2, 7, 7, MAGENTA), (3, 20, 7, 7, BLUE)),
        "between the sizes": _image((2, 2, 9, 9, RED), (3, 20, 7, 7, BLUE)),
        "too large": _image((2, 2, 14, 14, RED), (3, 20, 7, 7, BLUE)),
        "no square": _image((2, 2, 3, 16, RED), (8, 5, 7, 7, BLUE)),
        "white ground": 255 - good,
        "black": 0 * good,
    }
    assert {name: read_scene(image) for name, image in wrong.items()} == dict.fromkeys(wrong)


def test_rejects_images_of_another_size():
    with pytest.raises(ValueError, match=r"must be \[N, 32, 32, 3\] with N captions") as error:
        matches(np.zeros((2, 16, 16, 3)), [LOW] * 2)
    assert_error_message(str(error.value))


def test_splits_hold_out_pairs_of_captions_and_a_binding(dataset):
    groups = split_scenes()
    assert {k: 2 * len(v) for k, v in groups.items()} == {
        "seen": 1648,
        "unseen": 200,
        "bindings": 360,
    }
    both = {k: {c for s in v for c in (s.caption, s.converse.caption)} for k, v in groups.items()}
    every = {s.caption for s in ALL_SCENES}
    assert set.union(*both.values()) == every
    assert {t for t in every if "red triangle" in t} == both["bindings"]
    assert dataset.counts() == {k: v for group in COUNTS.values() for k, v in group.items()}
    splits = dataset.splits
    for split, entries in splits.items():
        group = split if split in both else "seen"
        assert set(entries["caption"].ravel().tolist()) <= both[group], split
    assert set(splits["train"]["caption"][:, 0].tolist()) == both["seen"]
    for split in ("unseen", "bindings"):
        assert set(splits[split]["caption"].ravel().tolist()) == both[split]


def test_both_captions_are_true_in_an_order_drawn_per_image(dataset):
    for split, entries in dataset.splits.items():
        x, caption = entries["x"][:300], entries["caption"][:300]
        assert caption.shape == (len(x), 2)
        for k in (0, 1):
            assert dataset.caption_check.matches(x, caption[:, k]).all(), split
        alike = [[dataset.caption_check.canonical(c) for c in both] for both in caption]
        assert all(a == b and a in both for (a, b), both in zip(alike, caption, strict=True))
        assert not dataset.caption_check.matches(x, np.roll(caption[:, 0], 1)).all()
    first = [parse_caption(c).relation for c in dataset.splits["train"]["caption"][:, 0]]
    shares = [first.count(r) / len(first) for r in CONVERSE]
    np.testing.assert_allclose(shares, 0.25, atol=0.015)
    assert dataset.caption_check.chance == 2 / 2208


def test_no_image_of_one_split_is_in_another(dataset):
    seen = [{x.tobytes() for x in dataset.splits[s]["x"]} for s in ("train", "validation", "test")]
    assert [len(s) for s in seen] == [20_000, 1_000, 2_000]
    assert not any(a & b for a, b in itertools.combinations(seen, 2))


def test_objects_are_drawn_about_equally_often(dataset):
    scenes = [parse_caption(c) for c in dataset.splits["train"]["caption"][:, 0]]
    counts = {i: 0 for i in ITEMS}
    for s in scenes:
        counts[s.first] += 1
        counts[s.second] += 1
    assert {i for i, n in counts.items() if not n} == {
        Item(size, "red", "triangle") for size in ("small", "large")
    }
    drawn = np.array([n for n in counts.values() if n])
    assert drawn.min() / drawn.max() > 0.8


def test_files_keep_both_captions_and_all_splits(tmp_path):
    few = load(Data(data="scenes", limit=20))
    save_npz(few, tmp_path / "scenes.npz")
    again = load(Data(data=str(tmp_path / "scenes.npz")))
    assert again.counts() == few.counts()
    assert again.checksum() == few.checksum()
    captions = few.splits["bindings"]["caption"]
    np.testing.assert_array_equal(again.splits["bindings"]["caption"], captions)
    folder = prepare(str(tmp_path / "scenes.npz"), tmp_path, WriteOptions(name="scenes")).folder
    assert load(Data(data=str(folder))).checksum() == few.checksum()


def test_checksum_of_captions_depends_on_each_but_not_on_padding():
    rows = np.array([["a", "b"], ["ab", ""], ["a", ""]])
    assert len(set(row_crcs(rows).tolist())) == 3
    np.testing.assert_array_equal(row_crcs(np.column_stack([rows, [""] * 3])), row_crcs(rows))
    np.testing.assert_array_equal(row_crcs(rows[1:]), row_crcs(np.array(["ab", "a"])))


def test_data_is_the_same_each_time(dataset):
    assert load_scenes().checksum() == dataset.checksum() == CHECKSUM
    small = load(Data(data="scenes", limit=10))
    assert small.counts() == dict.fromkeys(dataset.counts(), 10)
    np.testing.assert_array_equal(small.splits["unseen"]["x"], dataset.splits["unseen"]["x"][:10])


CHECKSUM = "eeab6618"
