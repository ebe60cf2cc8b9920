"""Tests of captions as tokens: the entry `text`."""

import dataclasses

import jax
import numpy as np
import pytest

from genjax.data import Data, Dataset, make_transform
from genjax.data.caption_text import CaptionEncoder, TextRows, add_text
from genjax.data.tokenizers import train_tokenizer
from genjax.data.transforms import choose_texts

WORDS = Data(tokenizer="words", text_length=4)


def dataset(train, test=("a cat",), **options):
    splits = {
        name: {"x": np.zeros((len(c), 2, 2, 1), np.uint8), "caption": np.array(c)}
        for name, c in (("train", train), ("test", test))
    }
    return Dataset("small", splits, 2, **options)


def test_adds_the_tokens_of_every_split():
    found = add_text(dataset([["a red cat", "a cat"], ["a", ""]]), WORDS)
    numbers = {w: i for i, w in enumerate(found.tokenizer.vocabulary)}
    a, red, cat = (numbers[w] for w in ("a", "red", "cat"))
    # The second image has one caption, which is repeated.
    expected = [[[a, red, cat, 0], [a, cat, 0, 0]], [[a, 0, 0, 0]] * 2]
    np.testing.assert_array_equal(found.splits["train"]["text"], expected)
    assert found.splits["train"]["text"].dtype == np.int32
    np.testing.assert_array_equal(found.splits["test"]["text"], [[[a, cat, 0, 0]]])
    assert found.warnings == ()


def test_captions_are_repeated_cyclically_and_empty_ones_left_out():
    encode = CaptionEncoder(train_tokenizer("words", ["a b c"]), 1)
    captions = np.array([["", "b", "", "c", "a"], [""] * 5, ["a", "b", "c", "a", "b"]])
    text, cut, without = encode(captions)
    np.testing.assert_array_equal(text[..., 0], [[2, 3, 1, 2, 3], [0] * 5, [1, 2, 3, 1, 2]])
    assert (cut, without) == (0, 1)


def test_the_checksum_does_not_depend_on_the_tokenizer():
    plain = dataset(["a red cat", "a"])
    checksum = plain.checksum()
    for kind in ("words", "bpe", "characters"):
        settings = Data(tokenizer=kind, text_length=4, bpe_dropout=0.1 * (kind == "bpe"))
        assert add_text(plain, settings).checksum() == checksum
    other = dataset(["a red cat", "a dog"], test=("a",))
    assert add_text(other, WORDS).checksum() == other.checksum() != checksum


def test_reports_captions_that_are_cut_and_images_without_one():
    found = add_text(dataset([["a b c d e", "a"], ["", ""], ["a b c d", ""]], test=("a",)), WORDS)
    assert found.warnings == (
        "1 of 3 captions of train are cut to 4 tokens; raise --text-length to keep them whole",
        "1 of 3 images of train have no caption, and empty texts",
    )


def test_errors_say_what_to_set():
    with pytest.raises(ValueError, match=r"longest training caption of small has 3 .*length 3"):
        add_text(dataset(["a red cat"]), Data(tokenizer="words"))
    whole = dataset(["a"])
    del whole.splits["test"]["caption"]
    with pytest.raises(ValueError, match=r"no captions in test, it has x; set --caption"):
        add_text(whole, WORDS)
    with pytest.raises(ValueError, match=r"no effect on tokens of words, got 0\.1; set it to 0"):
        add_text(dataset(["a red cat"]), dataclasses.replace(WORDS, bpe_dropout=0.1))
    with pytest.raises(ValueError, match=r"no 'cat'; use words of the training captions"):
        add_text(dataset(["a red dog"]), WORDS)


def test_dropout_gives_several_encodings_of_training_captions():
    settings = Data(tokenizer="bpe", text_length=40, bpe_dropout=0.3)
    captions = [["a large red cat", "a small dog"], ["a dog", ""]] * 10
    found = add_text(dataset(captions), settings)
    train, tokenizer = found.splits["train"]["text"], found.tokenizer
    assert train.shape == (20, 8, 40)
    assert found.splits["test"]["text"].shape == (1, 1, 40)
    assert tokenizer.decode(train[0]) == ["a large red cat", "a small dog"] * 4
    assert tokenizer.decode(train[1]) == ["a dog"] * 8
    assert len(np.unique(train[0, ::2], axis=0)) > 1
    assert len(np.unique(train[::2, 0], axis=0)) > 1  # of the same caption in other images
    assert tokenizer.ids(["a cat"])[0] == [i for i in found.splits["test"]["text"][0, 0] if i]
    np.testing.assert_array_equal(
        add_text(dataset(captions), settings).splits["train"]["text"], train
    )


class Rows:
    """A split on disk."""

    def __init__(self, captions):
        self.arrays = {"x": np.zeros((len(captions), 2), np.uint8), "caption": np.array(captions)}

    def __len__(self):
        return len(self.arrays["x"])

    def read(self, indices, names=None):
        assert names is None or "text" not in names
        return {k: v[list(indices)] for k, v in self.arrays.items() if names is None or k in names}

    def crcs(self):
        return {}


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_streamed_texts_are_those_of_memory(dropout):
    captions = [[f"a cat {i}", f"dog {i}"] for i in range(30)] + [["mouse", ""]]
    settings = Data(tokenizer="bpe", text_length=8, bpe_dropout=dropout)
    resident = add_text(dataset(captions), settings)
    whole = dataset(captions)
    test = {"test": whole.splits["test"]}
    streamed = add_text(Dataset("s", test, 2, streams={"train": Rows(captions)}), settings)
    assert streamed.tokenizer == resident.tokenizer
    rows = [30, 3, 4, 4]
    expected = resident.splits["train"]["text"][rows]
    stream = streamed.streams["train"]
    assert isinstance(stream, TextRows)
    np.testing.assert_array_equal(stream.read(rows, ("text",))["text"], expected)
    assert set(stream.read(rows)) == {"x", "caption", "text"}
    assert set(stream.read(rows, ("x", "text"))) == {"x", "text"}
    assert streamed.entry_shape("text") == resident.entry_shape("text")


def test_training_draws_texts_and_evaluation_takes_the_first():
    text = np.arange(6 * 4 * 2, dtype=np.int32).reshape(6, 4, 2)
    x = np.zeros((6, 2, 2, 1), np.uint8)
    key = jax.random.key(0)
    for captions, first in ((0, text[:, 0]), (3, text[:, :3])):
        transform = make_transform("", 2, training=False, captions=captions)
        np.testing.assert_array_equal(transform({"x": x, "text": text}, key)["text"], first)
    transform = make_transform("", 2, captions=3)
    drawn = np.asarray(transform({"x": x, "text": text}, key)["text"])
    assert drawn.shape == (6, 3, 2)
    for own, known in zip(drawn[..., 0], text[..., 0], strict=True):
        assert len(set(own)) == 3  # different ones, of the same image
        assert set(own) <= set(known)


def test_every_text_is_drawn_equally_often():
    text = np.broadcast_to(np.arange(3, dtype=np.int32)[:, None], (9000, 3, 1))
    drawn = choose_texts(text, 0, jax.random.key(1))
    assert drawn.shape == (9000, 1)
    counts = np.bincount(np.asarray(drawn)[:, 0])
    assert np.abs(counts - 3000).max() < 5 * np.sqrt(9000 * 2 / 9)


def test_fewer_texts_than_the_family_takes_are_repeated():
    text = np.arange(2, dtype=np.int32).reshape(1, 2, 1)
    np.testing.assert_array_equal(choose_texts(text, 4, None)[0, :, 0], [0, 1, 0, 1])
    drawn = np.asarray(choose_texts(text, 4, jax.random.key(0)))[0, :, 0]
    assert sorted(drawn) == [0, 0, 1, 1]


def test_texts_of_several_critic_steps():
    text = np.arange(24, dtype=np.int32).reshape(2, 3, 4, 1)
    drawn = np.asarray(choose_texts(text, 0, jax.random.key(0)))
    assert drawn.shape == (2, 3, 1)
    np.testing.assert_array_equal(drawn[..., 0] // 4, np.arange(6).reshape(2, 3))
