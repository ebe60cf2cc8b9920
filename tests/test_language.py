"""Code and documentation use the terms of the field, not the project's former vocabulary."""

import re

import pytest
from support.helpers import ROOT

# docs/decisions.md lists old names beside new ones.
EXCLUDED = {"docs/decisions.md", "tests/test_language.py"}
FOLDERS = ("genjax", "experiments", "tests", "docs")

# Former term -> term to use. Words with an ordinary technical sense are not listed.
TERMS = {
    r"(learn(s|t|ed|ing)?|know(s|n)?) by heart": "overfits",
    r"anew": "again, is reset",
    r"(a number that|which|that) is none": "NaN, not finite, None",
    r"standing statistics": "batch-norm statistics of the EMA weights",
    r"players?": "networks, generator and discriminator",
    r"(the )?other way (a)?round": "reversed, in the other direction",
    r"sentences?": "error message",
    r"told|said|heard|asked": "given, requested, computed",
    r"nobody|whoever|somebody": "the user, or name what is missing",
    r"(goes|go|went) on": "continues, resumes",
    r"(is|are|be) had": "is computed",
    r"rhythm|judges?|half-turns?|whose turn": "schedule, discriminator, update",
    r"(?<!\")instruments?(?!\")": "metric",  # in quotes: the name of a random key
    r"doors?|rooms?|(?<![\"`])house(?![\"`])": "validation, package",  # in quotes: of PACS
    r"(?<!\.)walks?": "traversal",
    r"turned round|the way back|on the way there": "flipped, inverse, forward pass",
    r"(is|are|was|were) refused": "raises, is rejected",
    r"taught": "trained",
}


def pages():
    found = sorted(ROOT.glob("*.md"))
    for folder in FOLDERS:
        found += sorted((ROOT / folder).rglob("*.py")) + sorted((ROOT / folder).rglob("*.md"))
    return {path: path.relative_to(ROOT).as_posix() for path in found}


PAGES = {name: path.read_text() for path, name in pages().items() if name not in EXCLUDED}


@pytest.mark.parametrize("term", TERMS)
def test_former_terms_do_not_occur(term):
    pattern = re.compile(rf"\b(?:{term})\b", re.IGNORECASE)
    found = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]!r}, use {TERMS[term]}"
        for name, text in PAGES.items()
        for match in pattern.finditer(text)
    ]
    assert found == []


def test_the_search_covers_the_repository():
    assert {"README.md", "genjax/core/step.py", "experiments/table.py"} <= PAGES.keys()
    assert len(PAGES) > 250
