"""Captions of `genjax draw`: reads them, encodes them, and makes file names of them."""

import pathlib
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from genjax import checks
from genjax.core.protocols import TextSpec
from genjax.data.file_io import read_text, safe

SHOWN = 60  # most characters of a caption in an error message
SLUG = 40  # most characters of a caption in a file name


class Captions(NamedTuple):
    """Distinct captions.

    texts: the captions, without spaces at their ends.
    blank: number of blank lines in the file.
    repeated: number of captions left out since they equal an earlier one.
    """

    texts: tuple[str, ...]
    blank: int
    repeated: int


def read_captions(given: Sequence[str], file: pathlib.Path | None) -> Captions:
    """Returns the captions of the command line, followed by those of a file, one per line.

    Raises:
      ValueError: there is no caption; one of the command line is blank or not valid Unicode; or the
        file cannot be read as UTF-8.
    """
    found = [caption.strip() for caption in given]
    for i, caption in enumerate(found, 1):
        if not caption:
            raise ValueError(f"caption {i} is empty; give words in quotation marks.")
        if not checks.is_unicode(caption):
            raise ValueError(
                f"caption {i} is not valid Unicode: {safe(caption, SHOWN)}; write it as UTF-8."
            )
    blank = 0
    if file is not None:
        lines = re.split(r"\r\n|\r|\n", read_text(file).removesuffix("\n").removesuffix("\r"))
        texts = [line.strip() for line in lines]
        found += filter(None, texts)
        blank = texts.count("")
        if blank == len(texts):
            raise ValueError(f"{safe(file)} has no captions; write one per line.")
    if not found:
        raise ValueError("there is no caption; give some in quotation marks, or --file.")
    distinct = tuple(dict.fromkeys(found))
    return Captions(distinct, blank, len(found) - len(distinct))


def encode_captions(tokenizer: Any, texts: Sequence[str], spec: TextSpec, whose: str) -> np.ndarray:
    """Returns the tokens of captions, int32 `[N, spec.length]`.

    Args:
      tokenizer: tokenizer of the run.
      texts: N captions.
      spec: shape of the run's texts.
      whose: description of the run, for error messages.

    Raises:
      ValueError: a caption has too many tokens, no tokens, or words that are not in the vocabulary
        (the message has the first such caption and the number of others); or the tokenizer has more
        tokens than the model.
    """
    if tokenizer.size > spec.vocabulary:
        raise ValueError(
            f"the tokenizer of {whose} has {tokenizer.size} tokens, and its model takes"
            f" {spec.vocabulary}; restore the tokenizer.json that the run wrote."
        )
    rows, errors = np.zeros((len(texts), spec.length), np.int32), []
    for row, caption in zip(rows, texts, strict=True):
        name = f"'{safe(caption, SHOWN)}'"
        try:
            tokens = tokenizer.ids([caption])[0]
        except ValueError as error:
            errors.append(f"{name}: {error}")
            continue
        if len(tokens) > spec.length:
            errors.append(
                f"{name} has {len(tokens)} tokens, and {whose} takes {spec.length}; shorten it."
            )
        elif not len(tokens):
            errors.append(f"{name} has no tokens of {whose}; use other words.")
        else:
            row[: len(tokens)] = tokens
    if errors:
        others = len(errors) - 1
        more = f" ({others} other {'caption has' if others == 1 else 'captions have'} errors too)"
        raise ValueError(f"{errors[0].rstrip('.')}{more if others else ''}.")
    return rows


def unknown_letters(tokenizer: Any, texts: Sequence[str]) -> str:
    """Returns characters of the texts that a tokenizer of characters reads as spaces.

    It is "" for tokenizers of words and bytes.
    """
    if tokenizer.kind != "characters":
        return ""
    known = {*tokenizer.vocabulary}
    letters = {letter: None for text in texts for letter in text.lower() if not letter.isspace()}
    return "".join(letter for letter in letters if letter not in known)


def slug(caption: str) -> str:
    """Returns a part of a file name for a caption, which has a-z, 0-9 and - alone.

    >>> slug("A café, left of it: ../x"), slug("\\N{GRINNING FACE}")
    ('a-cafe-left-of-it-x', 'caption')
    """
    plain = unicodedata.normalize("NFKD", caption[: 4 * SLUG].lower())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return re.sub("[^a-z0-9]+", "-", plain)[:SLUG].strip("-") or "caption"
