r"""Equations as MathML, from a small part of TeX.

Supported are letters, numbers, operators, `_`, `^`, groups in braces, `\frac`, `\sqrt`, `\hat`,
`\tilde`, `\text`, and the names in the tables below.
"""

import re

from genjax.report.markup import Html, el, join, text

LETTERS = dict(
    **dict(alpha="α", beta="β", gamma="γ", epsilon="ε", lambda_="λ", mu="μ", pi="π", rho="ρ"),
    **dict(sigma="σ", theta="θ", phi="φ", tau="τ", nabla="∇", R="ℝ"),
)
SYMBOLS = dict(
    **dict(le="≤", ge="≥", cdot="·", odot="⊙", mid="∣", to="→", infty="∞", times="×", ldots="…"),
    **dict(in_="∈", propto="∝", sim="∼", ne="≠", approx="≈", norm="‖", quad="\u2003", top="⊤"),
)
LARGE = dict(sum="∑", prod="∏", int="∫")
FUNCTIONS = {"log", "exp", "min", "max"}
WORDS = {"KL", "E", "H"}
TOKEN = re.compile(r"\\([A-Za-z]+)|(\d+(?:\.\d+)?)|([A-Za-z])|(\S)|\s+")


def equation(tex: str) -> Html:
    r"""Returns the MathML of an equation, or of several.

    Those that `\\` separates are below each other, and those that `, \quad` separates side by side
    where there is space.

    >>> equation("x^2")
    '<div><math display="block"><msup><mi>x</mi><mn>2</mn></msup></math></div>'

    Raises:
      ValueError: a command is unknown, or a group has no end.
    """
    lines = (re.split(r"(?<=,)\s*\\quad\b", line) for line in tex.split("\\\\"))
    return join(
        el(
            "div",
            *(el("math", _Reader(part).row(), display="block") for part in line if part.strip()),
        )
        for line in lines
    )


class _Reader:
    def __init__(self, tex: str):
        words = [found for found in TOKEN.finditer(tex) if found[0].strip()]
        # The text of `\text{...}` has spaces.
        self.tex, self.tokens, self.at, self.depth = tex, words, 0, 0

    def next(self) -> re.Match[str] | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def take(self) -> re.Match[str]:
        token = self.next()
        if token is None:
            raise ValueError(f"the equation {self.tex} ends where something is missing.")
        self.at += 1
        return token

    def row(self, end: str = "") -> Html:
        """Reads until the sign that ends a group, or to the end."""
        parts = []
        while (token := self.next()) is not None and token[0] != end:
            parts.append(self.scripts())
        if end:
            self.take()
        return join(parts)

    def scripts(self) -> Html:
        """Reads an element with what is below and above it."""
        large = (token := self.next()) is not None and token[1] in LARGE
        base, below, above = self.atom(), None, None
        while (token := self.next()) is not None and token[0] in "_^":
            sign = self.take()[0]
            self.depth += 1
            script = self.atom()
            self.depth -= 1
            below, above = (script, above) if sign == "_" else (below, script)
        if below is None and above is None:
            return base
        names = ("munder", "mover", "munderover") if large else ("msub", "msup", "msubsup")
        scripts = [part for part in (below, above) if part is not None]
        return el(names[2 if len(scripts) == 2 else 0 if above is None else 1], base, *scripts)

    def atom(self) -> Html:
        token = self.take()
        name, number, letter, sign = token.groups()
        if number:
            return el("mn", number)
        if letter:
            return el("mi", letter)
        if sign == "\\":
            raise ValueError(f"the equation {self.tex} has a backslash without a name.")
        if sign == "{":
            return el("mrow", self.row("}"))
        if sign:
            if sign == "'":
                return el("mo", "′", stretchy="false", lspace="0", rspace="0")
            # Operators of scripts have no space around them.
            space = "0" if self.depth else None
            shown = "−" if sign == "-" else sign
            return el("mo", shown, stretchy="false", lspace=space, rspace=space)
        return self.command(name)

    def command(self, name: str) -> Html:
        if name in ("frac",):
            return el("mfrac", self.atom(), self.atom())
        if name == "sqrt":
            return el("msqrt", self.atom())
        if name in ("hat", "tilde"):
            return el("mover", self.atom(), el("mo", "^" if name == "hat" else "~"), accent="true")
        if name == "text":
            return el("mtext", self.words())
        for key in (name, name + "_"):
            if key in LETTERS:
                return el("mi", LETTERS[key])
            if key in SYMBOLS:
                return el("mo", SYMBOLS[key], stretchy="false")
        if name in LARGE:
            return el("mo", LARGE[name], largeop="true", movablelimits="false")
        if name in FUNCTIONS:
            return el("mo", name, form="prefix", lspace="0.17em", rspace="0.17em")
        if name in WORDS:
            return el("mi", {"E": "𝔼"}.get(name, name))
        raise ValueError(f"there is no command \\{name}; see experiments/gallery/mathml.py.")

    def words(self) -> Html:
        """Reads a group as plain text."""
        start = self.take()
        while self.take()[0] != "}":
            pass
        return text(self.tex[start.end() : self.tokens[self.at - 1].start()].replace(" ", "\u00a0"))
