"""Captions of a data set as tokens: the entry `text` of every split."""

import dataclasses
from typing import Any

import numpy as np

from genjax.data.data_config import Data
from genjax.data.dataset import Dataset, Rows
from genjax.data.file_io import safe
from genjax.data.tfds_folder import check_caption_bytes
from genjax.data.tokenizers import Tokenizer, padded_ids, train_tokenizer

DROPOUT_TEXTS = 8
"""Texts per training image with `bpe_dropout`, at least; each caption has two or more of them."""


@dataclasses.dataclass(frozen=True)
class CaptionEncoder:
    """Encodes the captions of images.

    Attributes:
      tokenizer: of the captions.
      length: tokens of a text.
      dropout: of byte-pair encoding.
    """

    tokenizer: Tokenizer
    length: int
    dropout: float = 0.0

    def __call__(self, captions: np.ndarray, rows: Any = None) -> tuple[np.ndarray, int, int]:
        """Encodes captions `[n]` or `[n, K]`, of which empty ones do not count.

        Images with fewer captions than others have them repeatedly. With dropout there are several
        encodings of each; the first K texts are of different captions.

        Args:
          captions: of the images.
          rows: numbers of the images, which determine the dropout.

        Returns:
          texts int32 `[n, K, T]`, with dropout of a multiple of K; the number of captions that were
          cut; and the number of images without a caption, whose texts are padding.
        """
        captions = captions.reshape(len(captions), -1)
        count = captions.shape[1]
        places, without = _repeated(np.strings.str_len(np.strings.strip(captions)) > 0)
        distinct, index = np.unique(captions, return_inverse=True)
        ids = self.tokenizer.ids(distinct.tolist())
        is_long = np.array([len(own) > self.length for own in ids])
        cut = int(is_long[index].sum())
        index = np.take_along_axis(index.reshape(-1, count), places, axis=1)
        if not self.dropout:
            return padded_ids(ids, self.length)[index], cut, without
        copies = max(2, -(-DROPOUT_TEXTS // count))
        numbers = np.arange(len(captions)) if rows is None else np.asarray(rows, np.int64)
        each = np.arange(count * copies).reshape(count, copies)
        seeds = (numbers[:, None, None] + 2**32 * each).reshape(-1, copies)
        texts = distinct[index].ravel().tolist()
        drawn = padded_ids(
            self.tokenizer.ids_with_dropout(texts, self.dropout, seeds), self.length
        ).reshape(-1, count, copies, self.length)
        return drawn.swapaxes(1, 2).reshape(-1, copies * count, self.length), cut, without


@dataclasses.dataclass(frozen=True)
class TextRows:
    """A split on disk whose captions are encoded when they are read.

    Attributes:
      rows: the split.
      encode: encodes the captions.
    """

    rows: Rows
    encode: CaptionEncoder

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, indices: Any, names: tuple[str, ...] | None = None) -> dict[str, np.ndarray]:
        """Returns entries of some rows, `[len(indices), ...]` each; None is all entries."""
        if names is not None and "text" not in names:
            return self.rows.read(indices, names)
        own = None if names is None else tuple({*names, "caption"} - {"text"})
        out = self.rows.read(indices, own)
        out["text"] = self.encode(out["caption"], indices)[0]
        return out if names is None else {name: out[name] for name in names}

    def crcs(self) -> dict[str, np.ndarray]:
        """Returns the `row_crcs` of every entry but the texts, which are made of the captions."""
        return self.rows.crcs()


def add_text(dataset: Dataset, settings: Data) -> Dataset:
    """Adds the entry `text` to every split, tokens of its captions.

    The tokenizer is trained on the captions of train. The checksum stays that of the captions.

    Raises:
      ValueError: a split has no captions, the text length is not set, the captions do not fit the
        tokenizer, or `bpe_dropout` is set for another tokenizer than bpe.
    """
    if not settings.tokenizer:
        return dataset
    if settings.bpe_dropout and settings.tokenizer != "bpe":
        raise ValueError(
            f"`bpe_dropout` has no effect on tokens of {settings.tokenizer}, got"
            f" {settings.bpe_dropout:g}; set it to 0, or --tokenizer bpe."
        )
    captions = {split: _captions(dataset, split) for split in dataset.counts()}
    train = [caption for caption in captions["train"].ravel().tolist() if caption.strip()]
    tokenizer = train_tokenizer(settings.tokenizer, train, settings.vocabulary)
    if not settings.text_length:
        longest = max(map(len, tokenizer.ids(train)), default=0)
        raise ValueError(
            f"`text_length` is 0, and the longest training caption of {safe(dataset.name)} has"
            f" {longest} tokens; set --text-length {longest}, or fewer to cut captions."
        )
    plain = CaptionEncoder(tokenizer, settings.text_length)
    dropping = dataclasses.replace(plain, dropout=settings.bpe_dropout)
    encoders = {split: dropping if split == "train" else plain for split in captions}
    splits, warnings = {}, list(dataset.warnings)
    for split, own in captions.items():
        resident = split in dataset.splits
        text, cut, without = (encoders[split] if resident else plain)(own)
        if cut:
            warnings.append(
                f"{cut:,} of {np.count_nonzero(own != ''):,} captions of {split} are cut to"
                f" {settings.text_length} tokens; raise --text-length to keep them whole"
            )
        if without:
            warnings.append(
                f"{without:,} of {len(own):,} images of {split} have no caption, and empty texts"
            )
        if resident:
            splits[split] = {**dataset.splits[split], "text": text}
    streams = {s: TextRows(rows, encoders[s]) for s, rows in dataset.streams.items()}
    return dataset.replace_arrays(
        splits, streams=streams, tokenizer=tokenizer, warnings=tuple(warnings)
    )


def _captions(dataset: Dataset, split: str) -> np.ndarray:
    """Returns the captions of all rows of a split, `[N]` or `[N, K]`; images are not decoded."""
    if "caption" not in dataset.entries(split):
        raise ValueError(
            f"{safe(dataset.name)} has no captions in {split}, it has"
            f" {', '.join(sorted(dataset.entries(split)))}; set --caption to the feature of a TFDS"
            f" data set that has them, prepare a folder with captions.csv, or leave out"
            f" --tokenizer."
        )
    if split in dataset.splits:
        return dataset.splits[split]["caption"]
    rows = dataset.streams[split]
    size = 4096
    parts = [
        rows.read(range(i, min(i + size, len(rows))), ("caption",))["caption"]
        for i in range(0, len(rows), size)
    ]
    check_caption_bytes(dataset.name, parts)
    return np.concatenate(parts)


def _repeated(given: np.ndarray) -> tuple[np.ndarray, int]:
    """Returns for each image which of its captions are used, cyclically those given.

    Args:
      given: bool `[n, K]`.

    Returns:
      numbers of captions, `[n, K]`, and the number of images without one.
    """
    order = np.argsort(~given, axis=1, kind="stable")  # those given first, in order
    counts = given.sum(axis=1)
    cycle = np.arange(given.shape[1]) % np.maximum(counts, 1)[:, None]
    return np.take_along_axis(order, cycle, axis=1), int((counts == 0).sum())
