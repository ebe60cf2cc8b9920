"""Captions that a command draws: where they are read from, their tokens, their file names."""

import pathlib
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from genjax import checks
from genjax.core.protocols import TextSpec
from genjax.data.file_io import read_text, safe

SHOWN = 60  # letters of a caption in a message
SLUG = 40  # letters of a caption in a file name


class Captions(NamedTuple):
    """Distinct captions.

    texts: the captions, without blanks around them.
    blank: number of blank lines of the file.
    repeated: number of captions that are drawn once though they are given more often.
    """

    texts: tuple[str, ...]
    blank: int
    repeated: int


def read_captions(given: Sequence[str], file: pathlib.Path | None) -> Captions:
    """Returns the captions of the command line, then those of a file, one per line.

    Raises:
      ValueError: there is none; one of the command line is blank, or no Unicode; or the file cannot
        be read as UTF-8.
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
      tokenizer: of the run that takes them.
      texts: the captions.
      spec: shape of the texts that the run takes.
      whose: the run, for messages.

    Raises:
      ValueError: a caption has more tokens, none, or words that the tokenizer does not know (the
        first one is named, and the number of others); or the tokenizer is of another run.
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
    """Returns the characters that an alphabet lacks, which it reads as spaces; "" for others."""
    if tokenizer.kind != "characters":
        return ""
    known = {*tokenizer.vocabulary}
    letters = {letter: None for text in texts for letter in text.lower() if not letter.isspace()}
    return "".join(letter for letter in letters if letter not in known)


def slug(caption: str) -> str:
    """Returns a part of a file name for a caption: of a-z, 0-9 and -.

    >>> slug("A café, left of it: ../x"), slug("\\N{GRINNING FACE}")
    ('a-cafe-left-of-it-x', 'caption')
    """
    plain = unicodedata.normalize("NFKD", caption[: 4 * SLUG].lower())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return re.sub("[^a-z0-9]+", "-", plain)[:SLUG].strip("-") or "caption"
