"""Captions made by rule: words at fixed places, and relations with their converse."""

from collections.abc import Collection, Sequence

CONVERSE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
"""Relations, each with the one that means the same with the objects exchanged."""
FIRST = ("left of", "above")
"""The relations in which the object on the left, or the upper one, comes first."""


def parse_words(text: str, places: Sequence[Collection[str]], example: str) -> list[str]:
    """Splits a caption into one word or relation per place; case and spaces do not matter.

    Args:
      text: the caption.
      places: words that are accepted at each place.
      example: a caption, for error messages.

    Raises:
      ValueError: a word is none of those at its place, is missing, or is one too many.

    >>> parse_words("A cat  left of", [["a"], ["cat", "dog"], CONVERSE], "a cat above")
    ['a', 'cat', 'left of']
    """
    spaced = " ".join(text.lower().split())  # one space between words
    words = [w.replace("_", " ") for w in f"{spaced} ".replace(" of ", "_of ").split()]
    for i, choice in enumerate(places):
        word = words[i] if i < len(words) else ""
        if word not in choice:
            got = f"has {word!r}" if word else "ends"
            raise ValueError(
                f"the caption {text!r} {got} where it needs {', '.join(choice)}; write one such as"
                f" {example!r}."
            )
    if len(words) > len(places):
        raise ValueError(f"the caption {text!r} continues with {words[len(places)]!r}; end it.")
    return words
