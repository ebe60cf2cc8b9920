"""Tokenizers of captions: words, byte-pair encoding, and letters of a fixed alphabet.

Token 0 is padding for all of them. Captions are lower-cased. A tokenizer is saved as JSON with a
checksum; nothing is unpickled.
"""

import difflib
import functools
import itertools
import json
import pathlib
import random
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypedDict, cast, get_args

import numpy as np

from genjax import checks
from genjax.data.file_io import safe
from genjax.data.file_writing import write_file
from genjax.data.json_files import check_entries, read_object

Kind = Literal["words", "bpe", "characters"]
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"/\\|_@#$%^&*~`+-=<>()[]{} "
"""The 70 letters of the character networks of Zhang and LeCun (arXiv:1509.01626, which has a second
hyphen) with a space, as those of GAN-INT-CLS (arXiv:1605.05396). Letter i is token i + 1, and the
hyphen is the later one."""
FILE = "tokenizer.json"
LARGEST_BPE = 16384
"""Tokens of byte-pair encoding where no number is given: those of DALL-E (arXiv:2102.12092)."""
DROPOUT_DRAWS = 16  # encodings of a word with dropout, of which each occurrence takes one
_DROPOUT_BYTES = 200  # a longer word, such as an address, is encoded without dropout
_MAX_BYTES = 2**26  # of a file
_TRAINING_LETTERS = 10_000  # of a caption; the time of a word grows with the square of its length
_SHOWN = 5  # unknown words in a message


class Tokenizer:
    """Encodes captions as tokens and decodes them.

    Attributes:
      kind: words, bpe or characters.
      vocabulary: text of every token; that of token 0, padding, is empty. Tokens of bpe are written
        in the alphabet of the `tokenizers` library, one letter per byte.
      merges: pairs of tokens that bpe joins, in order.
    """

    def __init__(
        self, kind: Kind, vocabulary: Sequence[str], merges: Iterable[tuple[str, str]] = ()
    ):
        checks.one_of(get_args(Kind), kind=kind)
        self.kind, self.vocabulary = kind, tuple(vocabulary)
        self.merges = tuple((a, b) for a, b in merges)
        self._numbers = {token: i for i, token in enumerate(self.vocabulary)}
        if (
            not self.vocabulary
            or self.vocabulary[0]
            or len(self._numbers) < self.size - (kind == "characters")
        ):
            raise ValueError("a vocabulary has distinct tokens, and the first one is empty.")

    @property
    def size(self) -> int:
        """Number of tokens, padding included."""
        return len(self.vocabulary)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and vars_of(self) == vars_of(other)

    def __hash__(self) -> int:
        return hash(vars_of(self))

    def __repr__(self) -> str:
        return f"Tokenizer({self.kind}, {self.size} tokens)"

    def __reduce__(self) -> Any:
        return Tokenizer, vars_of(self)

    def encode(self, captions: Sequence[str], length: int, *, cut: bool = True) -> np.ndarray:
        """Returns the tokens of captions, int32 `[N, length]`, padded at the end.

        Args:
          captions: N texts; an empty one is padding alone.
          length: tokens of a text.
          cut: cut longer texts; without it they are errors.

        Raises:
          ValueError: a word is unknown; or a text is too long, and `cut` is False.

        >>> train_tokenizer("words", ["a red cat", "a cat"]).encode(["A red cat"], 5).tolist()
        [[1, 3, 2, 0, 0]]
        """
        ids = self.ids(captions)
        for caption, own in zip(captions, ids, strict=True):
            if not cut and len(own) > length:
                raise ValueError(
                    f"'{safe(caption, 60)}' has {len(own)} tokens, and the model takes {length};"
                    f" shorten it."
                )
        return padded_ids(ids, length)

    def ids(self, captions: Sequence[str]) -> list[Sequence[int]]:
        """Returns the tokens of captions, in their own lengths.

        Raises:
          ValueError: a word is unknown, or a text is not valid Unicode.
        """
        texts = [_lower(caption) for caption in captions]
        if self.kind == "characters":
            return [_letters(text) for text in texts]
        if self.kind == "bpe":
            return [e.ids for e in self._library.encode_batch_fast(texts, add_special_tokens=False)]
        words = [split_words(text) for text in texts]
        unknown = {w: None for own in words for w in own if w not in self._numbers}
        if unknown:
            raise ValueError(self._unknown_words(list(unknown)))
        return [[self._numbers[word] for word in own] for own in words]

    def ids_with_dropout(
        self, captions: Sequence[str], dropout: float, seeds: np.ndarray
    ) -> list[Sequence[int]]:
        """Returns tokens of captions where bpe leaves out merges at random.

        A word has `DROPOUT_DRAWS` encodings, of which each occurrence takes one by its seed.

        Args:
          captions: N texts.
          dropout: probability that a merge is left out in each round of merges (Provilkov et al.
            2020, arXiv:1910.13267, algorithm 1).
          seeds: `[N, R]`, of R encodings of each caption; they and the captions alone determine the
            tokens.

        Returns:
          N * R texts; those of one caption are neighbours.
        """
        out: list[Sequence[int]] = []
        for caption, own in zip(captions, seeds.tolist(), strict=True):
            words = [w for w, _ in self._library.pre_tokenizer.pre_tokenize_str(_lower(caption))]
            draws = [self._draws(word, dropout) for word in words]
            for seed in own:
                numbers = np.random.Philox(key=[seed, 0]).random_raw(len(words)).tolist()
                chosen = [d[r % len(d)] for d, r in zip(draws, numbers, strict=True)]
                out.append([token for part in chosen for token in part])
        return out

    def decode(self, ids: Any) -> list[str]:
        """Returns the texts of tokens `[N, T]`; padding is left out.

        Raises:
          ValueError: a token is not below `size`.
        """
        ids = np.asarray(ids)
        if ids.ndim != 2 or ids.dtype.kind not in "iu":
            raise ValueError(f"`ids` must be integers [N, T], got {ids.dtype}{list(ids.shape)}.")
        if ids.size and not 0 <= ids.min() <= ids.max() < self.size:
            raise ValueError(
                f"`ids` must be from 0 to {self.size - 1}, got {ids.min()} to {ids.max()}; use the"
                f" tokenizer of the run."
            )
        rows = [[self.vocabulary[i] for i in row if i] for row in ids.tolist()]
        if self.kind == "bpe":
            return [self._library.decoder.decode(row) for row in rows]
        return [(" " if self.kind == "words" else "").join(row) for row in rows]

    @functools.cached_property
    def _library(self) -> Any:
        import tokenizers

        model = tokenizers.models.BPE(vocab=self._numbers, merges=list(self.merges))
        tokenizer = tokenizers.Tokenizer(model)
        tokenizer.pre_tokenizer = _byte_level()
        tokenizer.decoder = tokenizers.decoders.ByteLevel()
        return tokenizer

    @functools.cached_property
    def _ranks(self) -> dict[tuple[str, str], int]:
        return {pair: rank for rank, pair in enumerate(self.merges)}

    @functools.cached_property
    def _drawn(self) -> dict[tuple[str, float], list[list[int]]]:
        return {}

    def _draws(self, word: str, dropout: float) -> list[list[int]]:
        """Returns encodings of a word with dropout, the same ones on every call."""
        if (word, dropout) not in self._drawn:
            if len(word) > _DROPOUT_BYTES:
                tokens = [t.id for t in self._library.model.tokenize(word)]
                self._drawn[word, dropout] = [tokens]
            else:
                rng = random.Random(zlib.crc32(word.encode()))
                self._drawn[word, dropout] = [
                    self._merged(word, dropout, rng) for _ in range(DROPOUT_DRAWS)
                ]
        return self._drawn[word, dropout]

    def _merged(self, word: str, dropout: float, rng: random.Random) -> list[int]:
        parts = list(word)
        while True:
            pairs = [self._ranks.get(pair) for pair in itertools.pairwise(parts)]
            kept = [rank is not None and rng.random() >= dropout for rank in pairs]
            left = [(rank, i) for i, rank in enumerate(pairs) if kept[i]]
            if not left:
                return [self._numbers[part] for part in parts]
            i = min(left)[1]
            parts[i : i + 2] = [parts[i] + parts[i + 1]]

    def _unknown_words(self, words: list[str]) -> str:
        near = []
        for word in words[:_SHOWN]:
            found = difflib.get_close_matches(word, self.vocabulary[1:])
            close = f" (near: {safe(', '.join(found), 90)})" if found else ""
            near.append(f"'{safe(word, 40)}'{close}")
        more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
        return (
            f"the vocabulary of {self.size - 1} words has no {', '.join(near)}{more}; use words of"
            f" the training captions, or train with --tokenizer bpe, which encodes any text."
        )


def vars_of(tokenizer: Tokenizer) -> tuple[Any, ...]:
    """Returns the arguments that make a tokenizer."""
    return tokenizer.kind, tokenizer.vocabulary, tokenizer.merges


def train_tokenizer(kind: Kind, captions: Iterable[str], vocabulary: int = 0) -> Tokenizer:
    """Trains a tokenizer; the same captions give the same one.

    Args:
      kind: `words`, all words of the captions, by frequency and then by the alphabet; `bpe`,
        byte-pair encoding of bytes; or `characters`, which needs no captions.
      captions: training captions.
      vocabulary: most tokens, padding included; 0 is all words, and `LARGEST_BPE` for bpe.

    Raises:
      ValueError: the captions have more words, bpe has fewer tokens than bytes, or characters
        fewer than letters.
    """
    checks.one_of(get_args(Kind), kind=kind)
    texts = [_lower(caption) for caption in captions] if kind != "characters" else []
    if kind == "words":
        counts = Counter(word for text in texts for word in split_words(text))
        words = sorted(counts, key=lambda word: (-counts[word], word))
        if vocabulary and len(words) >= vocabulary:
            raise ValueError(
                f"the training captions have {len(words):,} words, and with padding the vocabulary"
                f" takes {vocabulary:,} tokens; set --vocabulary {len(words) + 1}, or --tokenizer"
                f" bpe."
            )
        if not words:
            raise ValueError("the training captions have no words; use other data.")
        return Tokenizer("words", ["", *words])
    least = len(ALPHABET) + 1 if kind == "characters" else 257
    if vocabulary and vocabulary < least:
        raise ValueError(
            f"{kind} has at least {least} tokens, and `vocabulary` is {vocabulary}; set"
            f" --vocabulary {least}{'' if kind == 'characters' else ' or more'}."
        )
    if kind == "characters":
        return Tokenizer("characters", ["", *ALPHABET])
    return _train_bpe(texts, vocabulary or LARGEST_BPE)


def _train_bpe(texts: list[str], vocabulary: int) -> Tokenizer:
    import tokenizers

    library = tokenizers.Tokenizer(tokenizers.models.BPE())
    library.pre_tokenizer = _byte_level()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary - 1,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    library.train_from_iterator((text[:_TRAINING_LETTERS] for text in texts), trainer)
    # Without a special token for padding, which the library would find in texts.
    model = json.loads(library.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return Tokenizer("bpe", ["", *tokens], model["merges"])


class _Saved(TypedDict):
    """Entries of tokenizer.json."""

    kind: str
    vocabulary: list[str]
    merges: list[list[str]]
    checksum: str


def tokenizer_to_json(tokenizer: Tokenizer) -> dict[str, Any]:
    """Returns a tokenizer as plain JSON values, with a checksum."""
    kind, vocabulary, merges = vars_of(tokenizer)
    values = {"kind": kind, "vocabulary": list(vocabulary), "merges": [list(m) for m in merges]}
    return {**values, "checksum": _checksum(values)}


def tokenizer_from_json(values: dict[str, Any]) -> Tokenizer:
    """Returns the tokenizer that `tokenizer_to_json` wrote.

    Raises:
      ValueError: the values are damaged; the message is a phrase.
    """
    check_entries(values, _Saved)
    rest = {name: value for name, value in values.items() if name != "checksum"}
    if _checksum(rest) != values["checksum"]:
        raise ValueError("its checksum is another")
    try:
        return Tokenizer(cast(Kind, rest["kind"]), rest["vocabulary"], rest["merges"])
    except TypeError as error:
        raise ValueError(str(error)) from None


def save_tokenizer(tokenizer: Tokenizer, folder: str | pathlib.Path) -> None:
    """Writes `tokenizer.json` into a folder, which exists."""
    text = json.dumps(tokenizer_to_json(tokenizer), ensure_ascii=False)
    write_file(pathlib.Path(folder, FILE), text.encode())


def load_tokenizer(folder: str | pathlib.Path) -> Tokenizer:
    """Reads the tokenizer of a folder.

    Raises:
      ValueError: there is none, or it is damaged.
    """
    path = pathlib.Path(folder, FILE)
    fix = "restore the file, or remove it and resume the run, which writes it again"
    if not path.exists():
        raise ValueError(f"there is no {safe(path)}, the tokenizer of the captions; {fix}.")
    values = read_object(path, fix=fix, limit=_MAX_BYTES)
    try:
        return tokenizer_from_json(values)
    except ValueError as error:
        why = safe(str(error).rstrip("."), 300)
        raise ValueError(f"{safe(path)} is damaged ({why}); {fix}.") from None


def padded_ids(ids: Sequence[Sequence[int]], length: int) -> np.ndarray:
    """Returns tokens as int32 `[N, length]`, cut or padded with 0."""
    out = np.zeros((len(ids), length), np.int32)
    for row, own in zip(out, ids, strict=True):
        row[: len(own)] = own[:length]
    return out


def split_words(text: str) -> list[str]:
    """Splits a text at whitespace, and at every punctuation mark, which is a word of its own."""
    return [word for word, _ in _word_splitter().pre_tokenize_str(text)]


@functools.cache
def _word_splitter() -> Any:
    from tokenizers import pre_tokenizers

    return pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("isolated")]
    )


def _byte_level() -> Any:
    from tokenizers import pre_tokenizers

    return pre_tokenizers.ByteLevel(add_prefix_space=False)


def _letters(text: str) -> list[int]:
    """Returns the letters of a text; other characters are spaces."""
    points = np.frombuffer(text.encode("utf-32-le"), "<u4")
    table = np.full(128, len(ALPHABET))
    table[[ord(letter) for letter in ALPHABET]] = np.arange(1, len(ALPHABET) + 1)
    return table[np.where(points < 128, points, ord(" "))].tolist()


def _lower(caption: str) -> str:
    if not checks.is_unicode(caption):
        raise ValueError(f"the caption '{safe(caption, 60)}' is not valid Unicode; correct it.")
    return caption.lower()


def _checksum(values: dict[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(values, sort_keys=True).encode()):08x}"
