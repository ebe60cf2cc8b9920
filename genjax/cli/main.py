"""The `genjax` program: parses the name of a command and runs its module."""

import contextlib
import difflib
import importlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

from genjax import __version__

COMMANDS = {
    "list": "list the families, weights and experiments",
    "train": "train a family on your own data",
    "sample": "draw a grid of samples from a run",
    "draw": "draw images of captions by a text-to-image run",
    "evaluate": "compute a run's figure on a split",
    "measure": "compute sample metrics of a run (FID, SWD, Parzen window, ...)",
    "translate": "translate images of any size by a run",
    "solve": "restore images from shuffled pieces by a run",
    "complete": "complete partly known images",
    "latents": "draw reconstructions, traversals and interpolations of a run's latents",
    "prepare": "convert images, IDX, CIFAR, text or .npz files to a TFDS folder",
    "convert": "convert a data set to one .npz file",
    "export": "write the weights of a run as one file",
    "report": "write runs as one HTML page",
    "completion": "print a script with which a shell completes commands and options",
}


def main(argv: list[str] | None = None) -> int:
    """Runs a command and returns its exit status; see `run_command`.

    A command's module is imported only when it is run, so that `genjax --help` is fast.
    """
    argv = sys.argv[1:] if argv is None else argv
    if not argv:
        print(usage(), file=sys.stderr)
        return 2
    name, *rest = argv
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if name == "--version":
        print(f"genjax {__version__}")
        return 0
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f" did you mean '{near[0]}'?" if near else ""
        print(f"error: unknown command '{name}';{hint} --help lists them all.", file=sys.stderr)
        return 2
    with _ended_by_interrupt():
        command = importlib.import_module(f"genjax.cli.{name}")
        importlib.import_module("genjax.cli.options").set_up_process()
    return command.main(rest)


@contextlib.contextmanager
def _ended_by_interrupt() -> Iterator[None]:
    """Ends the process at a Ctrl-C in the block, which imports.

    There is nothing to lose, and libraries drop a KeyboardInterrupt that is raised within their
    initialization, or report it as another error.
    """

    def end(*_: Any) -> None:
        os.write(2, b"error: interrupted.\n")
        os._exit(130)

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # ignored, or of a program that calls `main`
        yield
        return
    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def usage() -> str:
    """Returns the text of `genjax --help`."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        [
            "usage: genjax COMMAND [options]",
            "",
            *lines,
            "",
            "`genjax COMMAND --help` lists a command's options.",
            "Exit status: 0 success, 1 a run diverged, 2 user error, 130 interrupted by Ctrl-C.",
        ]
    )
