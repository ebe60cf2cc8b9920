"""Tests of tokenizers of captions."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genjax.data import tokenizers
from genjax.data.tokenizers import ALPHABET, load_tokenizer, save_tokenizer, train_tokenizer

CAPTIONS = [
    "a small red circle left of a large blue square",
    "A large green triangle above a small red square",
    "a large red circle below a large green circle",
] * 20


@pytest.fixture(scope="module")
def trained():
    return {kind: train_tokenizer(kind, CAPTIONS) for kind in ("words", "bpe", "characters")}


def test_words_are_sorted_by_frequency_then_alphabet():
    tokenizer = train_tokenizer("words", ["b a, a", "c b a", "B"])
    assert tokenizer.vocabulary == ("", "a", "b", ",", "c")


def test_encodes_words_with_padding_at_the_end(trained):
    ids = trained["words"].encode(["A Red circle", ""], 5)
    assert ids.dtype == np.int32
    numbers = {w: i for i, w in enumerate(trained["words"].vocabulary)}
    expected = [numbers["a"], numbers["red"], numbers["circle"], 0, 0]
    np.testing.assert_array_equal(ids, [expected, [0] * 5])
    assert trained["words"].decode(ids) == ["a red circle", ""]


def test_unknown_words_are_named_with_the_nearest_known_ones(trained):
    with pytest.raises(ValueError, match=r"no 'sqare' \(near: square, large\), 'xyzzy'; use words"):
        trained["words"].encode(["a red sqare", "a xyzzy"], 8)


def test_longer_texts_are_cut_or_refused(trained):
    assert trained["words"].encode(CAPTIONS[:1], 3).shape == (1, 3)
    with pytest.raises(ValueError, match="has 10 tokens, and the model takes 3; shorten it"):
        trained["words"].encode(CAPTIONS[:1], 3, cut=False)


def test_training_is_deterministic():
    for kind in ("words", "bpe"):
        assert train_tokenizer(kind, CAPTIONS) == train_tokenizer(kind, CAPTIONS)
    assert train_tokenizer("bpe", CAPTIONS) != train_tokenizer("bpe", CAPTIONS, 260)


def test_bpe_joins_frequent_bytes_and_keeps_the_limit():
    small, large = (train_tokenizer("bpe", CAPTIONS, n) for n in (260, 0))
    assert small.size == 260
    assert len(small.merges) == 3
    assert len(large.ids(CAPTIONS[:1])[0]) == 10  # one token per word
    assert len(small.ids(CAPTIONS[:1])[0]) > 10


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_bpe_round_trip(text):
    tokenizer = _bpe()
    ids = tokenizer.encode([text], 250)
    assert tokenizer.decode(ids) == [text.lower()]
    used = np.flatnonzero(ids[0])
    assert used.size == 0 or used[-1] == len(used) - 1  # padding only at the end
    with_dropout = tokenizer.ids_with_dropout([text], 0.3, np.array([[1]]))
    assert tokenizer.decode(np.array(with_dropout, np.int32).reshape(1, -1)) == [text.lower()]


def _bpe(made=[]):  # noqa: B006 - once for all examples
    if not made:
        made.append(train_tokenizer("bpe", CAPTIONS))
    return made[0]


def test_a_text_cannot_spell_the_padding():
    tokenizer = _bpe()
    for text in ("<pad>", "[PAD]", "", "\0", "Ġ"):
        assert 0 not in tokenizer.ids([text])[0]


def test_dropout_zero_is_the_plain_encoding_and_one_is_bytes():
    tokenizer, texts = _bpe(), CAPTIONS[:3]
    assert tokenizer.ids_with_dropout(texts, 0.0, np.array([[1], [2], [3]])) == tokenizer.ids(texts)
    (split,) = tokenizer.ids_with_dropout(texts[:1], 1.0, np.array([[1]]))
    assert len(split) == len(texts[0].encode())


def test_dropout_depends_on_the_seed_alone():
    tokenizer, seeds = _bpe(), np.arange(8)
    drawn = tokenizer.ids_with_dropout(CAPTIONS[:1], 0.1, seeds[None])
    again = train_tokenizer("bpe", CAPTIONS)
    assert drawn == again.ids_with_dropout([CAPTIONS[0]] * 8, 0.1, seeds[:, None])
    assert len({tuple(ids) for ids in drawn}) > 4
    longer = [len(ids) for ids in drawn]
    assert 10 < np.mean(longer) < 30


def test_characters_are_letters_of_the_alphabet(trained):
    tokenizer = trained["characters"]
    assert len(ALPHABET) == 70
    assert tokenizer.size == 71
    ids = tokenizer.encode(["Az 9}", "é\n-"], 6)
    space = 70
    hyphen = ALPHABET.rindex("-") + 1
    np.testing.assert_array_equal(ids, [[1, 26, space, 36, 69, 0], [space, space, hyphen, 0, 0, 0]])
    assert tokenizer.decode(ids) == ["az 9}", "  -"]


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_every_text_has_as_many_characters_as_letters(text):
    (ids,) = train_tokenizer("characters", []).ids([text])
    assert len(ids) == len(text.lower())
    assert all(0 < i <= 70 for i in ids)


@pytest.mark.parametrize("kind", ["words", "bpe", "characters"])
def test_unusual_texts(kind):
    texts = ["👩‍🚀 rocket", "مرحبا بالعالم", "a\0b", "हिन्दी", "a" * 100_000, "\u202e rtl", " \t"]
    tokenizer = train_tokenizer(kind, texts)
    ids = tokenizer.encode(texts, 20)
    assert ids.shape == (7, 20)
    assert (ids[:6, 0] > 0).all()
    if kind == "bpe":
        short = [t for t in texts if len(t) < 100]
        assert tokenizer.decode(tokenizer.encode(short, 60)) == short
        tokenizer.ids_with_dropout(texts, 0.1, np.zeros((7, 1), int))


def test_rejects_lone_surrogates():
    for kind in ("words", "bpe"):
        with pytest.raises(ValueError, match="not valid Unicode; correct it"):
            train_tokenizer(kind, ["a \ud800"])


def test_rejects_vocabularies_that_are_too_small():
    with pytest.raises(ValueError, match=r"12 words, and with padding .* set --vocabulary 13"):
        train_tokenizer("words", CAPTIONS[:2], 12)
    assert train_tokenizer("words", CAPTIONS[:2], 13).size == 13
    with pytest.raises(ValueError, match="bpe has at least 257 tokens"):
        train_tokenizer("bpe", CAPTIONS, 256)
    with pytest.raises(ValueError, match="characters has at least 71 tokens"):
        train_tokenizer("characters", CAPTIONS, 70)
    with pytest.raises(ValueError, match="no words"):
        train_tokenizer("words", ["", " "])


def test_decode_rejects_tokens_beyond_the_vocabulary(trained):
    with pytest.raises(ValueError, match="from 0 to 70, got 0 to 71"):
        trained["characters"].decode(np.array([[0, 71]]))


@pytest.mark.parametrize("kind", ["words", "bpe", "characters"])
def test_saves_and_loads(trained, kind, tmp_path):
    save_tokenizer(trained[kind], tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded == trained[kind] == pickle.loads(pickle.dumps(trained[kind]))
    np.testing.assert_array_equal(
        loaded.encode(CAPTIONS[:2], 16), trained[kind].encode(CAPTIONS[:2], 16)
    )


def test_a_damaged_or_missing_file_is_an_error(trained, tmp_path):
    with pytest.raises(ValueError, match=r"there is no .*tokenizer\.json"):
        load_tokenizer(tmp_path)
    save_tokenizer(trained["words"], tmp_path)
    path = tmp_path / tokenizers.FILE
    whole = path.read_bytes()
    assert b'"square"' in whole
    for damaged in (whole.replace(b'"square"', b'"sqvare"'), whole[:-9], b"", b"[]", b"\xff"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"(damaged|cannot be read).*restore the file"):
            load_tokenizer(tmp_path)
