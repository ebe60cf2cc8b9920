"""Command-line options: every mistake is one sentence."""

import contextlib
import difflib
import io
import re
from typing import Any


def parse(options_class: Any, doc: str, argv: list[str], prog: str | None = None) -> Any:
    """Parse with tyro; its framed error becomes one sentence.

    Args:
      options_class: a dataclass; its docstrings are the help.
      doc: what the command does, shown by `--help`.
      argv: arguments without the program's name.
      prog: how the command is called, where it is no file.

    Raises:
      ValueError: an option is unknown, or its value does not fit; one sentence.
      SystemExit: after `--help`.
    """
    import tyro

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(options_class, prog=prog, description=doc, args=argv)
    except SystemExit as stop:
        if not stop.code:
            raise
    text = " ".join(re.sub(r"[╭╮╰╯│─━]", " ", said.getvalue()).split())
    known = sorted(set(re.findall(r"--[a-z][a-z0-9.-]*", _usage(options_class))))
    wrong = [f for f in given_options(argv) if known and f not in known]
    if wrong:
        near = difflib.get_close_matches(wrong[0], known, 1)
        hint = f"; did you mean {near[0]}?" if near else ";"
        raise ValueError(f"there is no option {wrong[0]}{hint} --help lists them all.") from None
    text = re.sub(r"^(Parsing error|Value error|Error)[^A-Za-z-]*", "", text)
    text = re.sub(r"^Error parsing [a-z_]+: ", "", text)  # a room's own sentence needs no room
    text = re.sub(r"^(Invalid choice|Missing argument|Unrecognized options) ", "", text)
    text = re.split(r"Got errors|Argument helptext|For full helptext", text)[0].strip(" .")
    raise ValueError(f"{text}; --help lists the options.") from None


def _usage(options_class: Any) -> str:
    import tyro

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        tyro.cli(options_class, args=["--help"])
    return said.getvalue()


def option_name(name: str) -> str:
    """A setting's name as an option."""
    return "--" + name.replace("_", "-")


def given_options(argv: list[str]) -> set[str]:
    """The options among the arguments."""
    return {a.split("=")[0].replace("_", "-") for a in argv if a.startswith("--")}
