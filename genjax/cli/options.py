"""Options, errors and exit statuses that all commands share."""

import argparse
import contextlib
import ctypes
import dataclasses
import difflib
import functools
import io
import os
import pathlib
import platform
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import jax

from genjax import checks

SYNONYMS = {
    "lr": "learning-rate",
    "rate": "learning-rate",
    "wd": "weight-decay",
    "bs": "batch-size",
    "batch": "batch-size",
    **dict.fromkeys(("epochs", "num-epochs", "iterations", "iters", "max-steps"), "steps"),
    **dict.fromkeys(("out", "out-dir", "output", "output-dir", "outdir", "log-dir"), "workdir"),
    **dict.fromkeys(("dataset", "data-path", "dataroot", "input"), "data"),
    **dict.fromkeys(("image-size", "img-size", "size", "resolution"), "shape"),
    **dict.fromkeys(("latent-dim", "z-dim", "nz"), "latent"),
    **dict.fromkeys(("hidden-size", "hidden-dim", "hidden-units"), "hidden"),
}
"""Names of options in other programs, and here."""


def nearest_options(option: str, known: list[str]) -> list[str]:
    """Returns the known options that are meant by an unknown one: several where networks have one
    each; [] if none is near.

    >>> nearest_options("--lr", ["--floor", "--learning-rate"])
    ['--learning-rate']
    >>> nearest_options("--step", ["--steps", "--seed"])
    ['--steps']
    """
    name = option.removeprefix("--")
    prefix, dot, last = name.rpartition(".")
    name = prefix + dot + SYNONYMS.get(last, last)
    same = [k for k in known if k == f"--{name}"]
    same = same or [k for k in known if k.rpartition(".")[2] == SYNONYMS.get(last, last)]
    return same or difflib.get_close_matches(f"--{name}", known, 1, 0.75)


def unknown_option(option: str, known: list[str]) -> str:
    """Returns the error message for an option that does not exist."""
    near = " or ".join(nearest_options(option, known))
    hint = f"; did you mean {near}?" if near else ";"
    return f"there is no option {option}{hint} --help lists them all."


def output_help(name: str) -> str:
    """Returns the words of the help for where a command writes by default."""
    return f"WORKDIR/{name}; of weights ./NAME-{name}"


class ArgumentParser(argparse.ArgumentParser):
    """An argument parser of `genjax COMMAND` whose errors are ValueErrors."""

    def __init__(self, command: str, doc: str | None):
        super().__init__(
            prog=f"genjax {command}",
            description=doc,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def add_run(self, metavar: str | None = None) -> None:
        """Adds the run that the command uses."""
        text = "a finished run: its folder, a weights file, or a name of weights"
        self.add_argument("workdir", type=pathlib.Path, metavar=metavar, help=text)

    def add_split(self) -> None:
        """Adds the run, and the options that select the data to evaluate it on."""
        self.add_run()
        self.add_argument("--split", default="test", help="train, validation or test (test)")
        self.add_argument("--data", help="the data, if moved since training")
        self.add_other_data()

    def add_other_data(self) -> None:
        """Adds the option to use data that the run was not trained on."""
        text = "allow data other than those of training"
        self.add_argument("--other-data", action="store_true", help=text)

    def error(self, message: str) -> NoReturn:
        """Raises the error, so that `run_command` prints it."""
        unknown = re.search(r"unrecognized arguments: .*?(--[^\s=]+)", message)
        if unknown:
            known = sorted(set(re.findall(r"--[a-z][a-z0-9-]*", self.format_help())))
            raise ValueError(unknown_option(unknown[1], known))
        raise ValueError(f"{message}; --help lists the options.")


def run_command(action: Callable[[], object], fewer: str = "--batch-size") -> int:
    """Runs a command, prints an error as one line, and returns the exit status.

    Args:
      action: the command, which raises one of `checks.USER_ERRORS` for a user error and
        FloatingPointError for a run that diverged.
      fewer: options to lower where memory runs out.

    Returns:
      0 on success, 1 after FloatingPointError, 2 after a user error, 130 after Ctrl-C.
    """
    try:
        with _interrupts_delivered():
            action()
    except FloatingPointError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except checks.USER_ERRORS as error:
        print(f"error: {checks.error_message(error, fewer)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted.", file=sys.stderr)
        return 130
    return 0


@contextlib.contextmanager
def _interrupts_delivered() -> Iterator[None]:
    """Repeats a Ctrl-C that Python drops.

    A KeyboardInterrupt that is raised within a callback of the garbage collector, such as JAX's, is
    passed to `sys.unraisablehook`, and the program would continue.
    """
    before = sys.unraisablehook

    def hook(error: Any) -> None:
        if error.exc_type is KeyboardInterrupt:  # once more, when the callback has returned
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        else:
            before(error)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def command(fewer: str = "--batch-size") -> Callable[[Any], Callable[..., int]]:
    """Makes a function of the arguments the `main` of a command: see `run_command`."""

    def decorate(action: Callable[..., object]) -> Callable[..., int]:
        @functools.wraps(action)
        def main(argv: list[str] | None = None) -> int:
            arguments = sys.argv[1:] if argv is None else argv
            return run_command(lambda: action(arguments), fewer)

        return main

    return decorate


# Options of glibc's mallopt.
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX, ARENA_MAX = -1, -2, -4, -8


def keep_freed_memory() -> None:
    """Lets glibc keep freed memory: new pages at every step cost more than some convolutions.

    Other C libraries, and programs with settings of their own in `GLIBC_TUNABLES`, stay as they
    are. `genjax` and the experiments call this; library code does not.
    """
    if platform.libc_ver()[0] != "glibc" or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    mallopt = ctypes.CDLL(None).mallopt
    for option, value in ((MMAP_MAX, 0), (TRIM_THRESHOLD, -1), (TOP_PAD, 2**26), (ARENA_MAX, 1)):
        mallopt(option, value)


def set_up_process() -> None:
    """Keeps freed memory, and compiled programs unless JAX has a cache folder already."""
    keep_freed_memory()
    if getattr(jax.config, "jax_compilation_cache_dir", None) is None:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        jax.config.update("jax_compilation_cache_dir", os.path.join(base, "genjax", "xla"))


def parse(
    options_class: Any,
    doc: str,
    argv: list[str],
    prog: str | None = None,
    ignore_unknown: bool = False,
    **default: Any,
) -> Any:
    """Parses options with tyro and turns its framed errors into one line.

    The docstrings of the dataclass are the help, after the description `doc`. `ignore_unknown`
    leaves out options of other classes; `default` may be an instance with other defaults.

    Raises:
      ValueError: an option is unknown, or its value is invalid.
      SystemExit: after `--help`.
    """
    import tyro

    output = io.StringIO()
    try:
        with contextlib.redirect_stderr(output):
            if ignore_unknown:
                return tyro.cli(options_class, args=argv, return_unknown_args=True, **default)[0]
            return tyro.cli(options_class, prog=prog, description=doc, args=argv)
    except SystemExit as end:
        if not end.code:
            raise
    text = " ".join(re.sub(r"[╭╮╰╯│─━]|-{9,}", " ", output.getvalue()).split())
    known = sorted(set(re.findall(r"--[a-z][a-z0-9.-]*", _usage(options_class))))
    wrong = [f for f in given_options(argv) if known and f not in known]
    if wrong:
        raise ValueError(unknown_option(wrong[0], known)) from None
    if "Required options" in text:
        raise ValueError(f"{_required(options_class, prog)}; --help lists all options.") from None
    text = re.sub(r"^(Parsing error|Value error|Error)[^A-Za-z-]*", "", text)
    text = re.sub(r"^Error parsing [A-Za-z][A-Za-z_-]*: ", "", text)
    text = re.sub(r"^(Invalid choice|Missing argument|Unrecognized options) ", "", text)
    text = re.split(r"Got errors|Argument helptext|For full helptext", text)[0].strip(" .")
    raise ValueError(f"{text}; --help lists the options.") from None


REQUIRED = r"(--[a-z][a-z0-9.-]*) (?:(?!\(default| --).)*\(required\)"


def _required(options_class: Any, prog: str | None) -> str:
    """Returns the error message for missing arguments, with those that have no default."""
    usage = _usage(options_class).split("options", 1)
    names = [
        field.name.upper()
        for field in dataclasses.fields(options_class)
        if "Positional" in str(field.type) and field.default is dataclasses.MISSING
    ]
    flags = re.findall(REQUIRED, " ".join(usage[-1].split()))
    needed = " ".join([*names, *(f"{flag} {flag[2:].upper()}" for flag in flags)])
    return f"arguments are missing; the command is {prog or 'this'} {needed} [options]"


def _usage(options_class: Any) -> str:
    import tyro

    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        tyro.cli(options_class, args=["--help"])
    return output.getvalue()


def option_name(name: str) -> str:
    """Returns the option of a setting."""
    return "--" + name.replace("_", "-")


def without(argv: list[str], options: set[str]) -> list[str]:
    """Returns the arguments without some options and their values.

    >>> without(["--seed", "1", "--workdir=a", "--smoke"], {"--seed", "--workdir"})
    ['--smoke']
    """
    kept, dropped = [], False
    for word in argv:
        if word.startswith("--"):
            dropped = word.split("=")[0].replace("_", "-") in options
        if not dropped:
            kept.append(word)
    return kept


def option_value(argv: list[str], option: str) -> str | None:
    """Returns the last value given to an option with one value; None if there is none.

    >>> option_value(["--fit=crop", "--fit", "pad"], "--fit")
    'pad'
    """
    value = None
    for i, word in enumerate(argv):
        if word.startswith(f"{option}="):
            value = word.split("=", 1)[1]
        elif word == option and i + 1 < len(argv):
            value = argv[i + 1]
    return value


def option_values(argv: list[str], option: str) -> list[str]:
    """Returns the values given to an option with several; the last ones if it is given again.

    >>> option_values(["--parts-from", "a", "b", "--seed", "1"], "--parts-from")
    ['a', 'b']
    """
    values: list[str] = []
    reading = False
    for word in argv:
        if word.startswith("--"):
            name, _, value = word.partition("=")
            reading = name.replace("_", "-") == option
            values = ([value] if value else []) if reading else values
        elif reading:
            values.append(word)
    return values


def given_options(argv: list[str]) -> set[str]:
    """Returns the options among the arguments."""
    return {a.split("=")[0].replace("_", "-") for a in argv if a.startswith("--")}
