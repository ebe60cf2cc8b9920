"""Captioned digits: captions, known places, and a classifier that reads them."""

import numpy as np
import pytest
from support.reading import assert_error_message

from genjax.data import Data, load
from genjax.data.captioned_digits import (
    ALL_PAIRS,
    DigitPair,
    load_captioned_digits,
    matches,
    parse_digits,
    render,
    shrink,
    split_pairs,
)
from genjax.evals.classifier import logits, train_classifier


@pytest.fixture(scope="module")
def dataset():
    return load(Data(data="captioned_digits_8x8"))


@pytest.fixture(scope="module")
def oracle():
    """A classifier that knows every digit."""
    labels = {
        x.tobytes(): int(label)
        for entries in load(Data(data="digits")).splits.values()
        for x, label in zip(entries["x"], entries["label"], strict=True)
    }
    return lambda parts: np.array([labels.get(p.astype(np.uint8).tobytes(), -1) for p in parts])


def test_every_caption_is_read_back():
    texts = [p.caption for p in ALL_PAIRS]
    assert len(set(texts)) == 400
    assert [parse_digits(t) for t in texts] == list(ALL_PAIRS)
    assert parse_digits("An  EIGHT left of a zero") == DigitPair(8, "left of", 0)
    assert DigitPair(8, "left of", 0).converse.caption == "a zero right of an eight"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a ten above a two", "has 'ten' where it needs zero, one"),
        ("a two over a two", "has 'over' where it needs left of, right of, above, below;"),
        ("a two left", "has 'left' where it needs left of"),
        ("a two right of", "ends where it needs a, an;"),
        ("a two above a two a", "continues with 'a'; end it"),
    ],
)
def test_names_the_word_that_is_not_in_the_grammar(text, match):
    with pytest.raises(ValueError, match=match) as error:
        parse_digits(text)
    assert_error_message(str(error.value))


def test_digits_are_at_their_places():
    digits = np.array([1, 2], np.uint8).reshape(1, 2, 1, 1, 1) * np.ones((1, 1, 4, 4, 1), np.uint8)
    places = {
        "left of": ((slice(2, 6), slice(0, 4)), (slice(2, 6), slice(4, 8))),
        "right of": ((slice(2, 6), slice(4, 8)), (slice(2, 6), slice(0, 4))),
        "above": ((slice(0, 4), slice(2, 6)), (slice(4, 8), slice(2, 6))),
        "below": ((slice(4, 8), slice(2, 6)), (slice(0, 4), slice(2, 6))),
    }
    for relation, (first, second) in places.items():
        image = render([DigitPair(1, relation, 2)], digits)[0]
        assert (image[first] == 1).all()
        assert (image[second] == 2).all()
        assert image.sum() == 16 + 32


def test_splits_hold_out_pairs_of_captions(dataset):
    groups = split_pairs()
    both = {k: {c for p in v for c in (p.caption, p.converse.caption)} for k, v in groups.items()}
    assert {k: len(v) for k, v in both.items()} == {"seen": 360, "unseen": 40}
    assert both["seen"] | both["unseen"] == {p.caption for p in ALL_PAIRS}
    assert dataset.counts() == {
        "train": 20_000,
        "validation": 1_000,
        "test": 2_000,
        "unseen": 1_000,
    }
    for split, entries in dataset.splits.items():
        group = both["unseen" if split == "unseen" else "seen"]
        assert set(entries["caption"].ravel().tolist()) == group
        assert entries["caption"].shape == (len(entries["x"]), 2)


def test_digits_come_from_their_split(dataset, oracle):
    """Both digits of each image are in the split of the same name, unseen in test."""
    singles = load(Data(data="digits")).splits
    for split, entries in dataset.splits.items():
        own = {x.tobytes() for x in singles["test" if split == "unseen" else split]["x"]}
        parts = []

        def keep(p, parts=parts):
            parts.extend(p)
            return oracle(p)

        x, caption = entries["x"][:1000], entries["caption"][:1000]
        for k in (0, 1):
            assert matches(x, caption[:, k], keep).all()
        used = {p.tobytes() for p in parts}
        assert used <= own
        assert len(used) > 0.7 * min(len(own), 1000)
    x, labels = dataset.caption_check.parts
    np.testing.assert_array_equal(x, singles["train"]["x"])
    np.testing.assert_array_equal(labels, singles["train"]["label"])
    np.testing.assert_array_equal(dataset.caption_check.test_parts[0], singles["test"]["x"])


def test_every_other_caption_is_rejected(dataset, oracle):
    for x, caption in zip(*(dataset.splits["test"][k][:12] for k in ("x", "caption")), strict=True):
        texts = np.array([p.caption for p in ALL_PAIRS])
        found = dataset.caption_check.matches(np.stack([x] * 400), texts, oracle)
        assert set(texts[found]) == set(caption)
        alike = {dataset.caption_check.canonical(c) for c in caption}
        assert len(alike) == 1
        assert alike < set(caption)
    assert dataset.caption_check.chance == 2 / 400


def test_brightness_outside_of_the_places_is_rejected(dataset, oracle):
    x, caption = (dataset.splits["test"][k][:50] for k in ("x", "caption"))
    more, empty = x.copy(), x.copy()
    more[:, :4, :4] = more[:, -4:, -4:] = 16
    assert matches(more, caption[:, 0], oracle).mean() == 0
    truth = np.array([(p.first, p.second) for p in map(parse_digits, caption[:, 0])])
    assert matches(x, caption[:, 0], lambda parts: truth.ravel()).all()
    empty[:] = 0
    assert not matches(empty, caption[:, 0], lambda parts: truth.ravel()).any()
    half = x * (np.arange(16)[:, None, None] < 8) * (np.arange(16)[:, None] < 8)  # one quarter
    assert not matches(half, caption[:, 0], lambda parts: truth.ravel()).all()


def test_a_trained_classifier_reads_test_images(dataset):
    parts, labels = dataset.caption_check.parts
    top = dataset.levels - 1
    classifier = train_classifier(parts / top, labels, steps=300)

    def classify(x):
        return logits(classifier, x / top).argmax(axis=1)

    x, caption = (dataset.splits["test"][k][:500] for k in ("x", "caption"))
    assert matches(x, caption[:, 0], classify).mean() > 0.88
    assert matches(x, np.roll(caption[:, 0], 1), classify).mean() < 0.03


@pytest.mark.parametrize(
    ("images", "classify", "match"),
    [
        (np.zeros((1, 16, 16, 3)), None, r"must be squares \[N, side, side, 1\] with N captions"),
        (np.zeros((2, 16, 16, 1)), None, r"must be squares \[N, side, side, 1\] with N captions"),
        (np.zeros((1, 16, 16, 1)), None, "read by a classifier; train one on"),
    ],
)
def test_rejects_other_images_and_no_classifier(images, classify, match):
    with pytest.raises(ValueError, match=match) as error:
        matches(images, ["a one above a two"], classify)
    assert_error_message(str(error.value))


def test_shrinks_by_averages_over_areas():
    x = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1)).astype(np.uint8)
    large = x.repeat(16, axis=1).repeat(16, axis=2)  # each average is one of 28 by 28 pixels
    exact = large.reshape(5, 16, 28, 16, 28, 1).mean(axis=(2, 4))
    np.testing.assert_array_equal(shrink(x, 16), np.floor(exact + 0.5))
    np.testing.assert_array_equal(shrink(x, 28), x)


def test_larger_digits_are_resized():
    rng = np.random.default_rng(1)
    digits = {
        split: {
            "x": rng.integers(0, 256, (30, 28, 28, 1)).astype(np.uint8),
            "label": np.arange(30) % 10,
        }
        for split in ("train", "validation", "test")
    }
    dataset = load_captioned_digits("captioned_digits", digits, 256)
    assert dataset.shape == (32, 32, 1)
    x, labels = dataset.caption_check.parts
    np.testing.assert_array_equal(x, shrink(digits["train"]["x"], 16))
    known = {p.tobytes(): label for p, label in zip(x, labels, strict=True)}
    rows = {k: v[:100] for k, v in dataset.splits["train"].items()}
    found = matches(rows["x"], rows["caption"][:, 1], lambda p: [known[i.tobytes()] for i in p])
    # Bright noise fills the places, and every digit is read.
    assert found.all()


def test_data_is_the_same_each_time(dataset):
    assert load(Data(data="captioned_digits_8x8")).checksum() == dataset.checksum() == "dcb24abf"
