"""Errors of files while checkpoints are read and written, each as one message.

Orbax and TensorStore hide the file and the reason of an error, log it with its traceback, and let
others follow from their threads.
"""

import contextlib
import errno
import gc
import logging
import os
import pathlib
import re
import time
import warnings
from collections.abc import Iterator
from typing import Any

# Errors of the system that follow from the content of a checkpoint, such as a missing file.
OF_CONTENT = {
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY),
    *(errno.EINVAL, errno.ENAMETOOLONG, errno.ELOOP, errno.EILSEQ),
}

# Orbax logs the traceback of every error that it then raises.
logging.getLogger("absl").addFilter(
    lambda record: not (record.exc_info and "orbax" in record.pathname)
)


def _system_error(error: BaseException) -> int | None:
    """Returns the error number of the system, which TensorStore writes into its message."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = re.search(r"os_error_code='(\d+)'", str(error))
    return int(found[1]) if found else None


def _os_error(number: int, message: str) -> OSError:
    error = OSError(message)
    error.errno = number
    return error


def unreadable(folder: pathlib.Path, error: Exception) -> OSError | None:
    """Returns an error about the file that cannot be read; None if the content is at fault.

    All files are read for it, since Orbax hides some errors.
    """

    def failed(first: OSError) -> None:
        raise first

    number, path = _system_error(error), getattr(error, "filename", None) or folder
    try:
        for parent, _, names in os.walk(folder, onerror=failed):
            for file in (pathlib.Path(parent, name) for name in names):
                if file.is_file():
                    with naming(file), file.open("rb") as opened:
                        while opened.read(2**20):
                            pass
    except OSError as first:
        number, path = first.errno, first.filename
    if number is None or number in OF_CONTENT:
        return None
    return _os_error(
        number,
        f"{path} cannot be read ({os.strerror(number)}), so it is unknown whether the checkpoint"
        f" is whole; make it readable, and run the same command again.",
    )


@contextlib.contextmanager
def write_errors(folder: pathlib.Path) -> Iterator[None]:
    """Turns a system error into one that names the folder.

    Raises:
      OSError: a file cannot be written.
    """
    try:
        with late_errors_dropped():
            yield
    except Exception as error:
        number = _system_error(error)
        if number is None:
            raise
        fix = _remedy(number, "make it writable")
        raise _os_error(
            number,
            f"no checkpoint can be written to {folder} ({os.strerror(number)}); earlier ones are"
            f" kept: {fix}, and run the same command again.",
        ) from error


def cannot_open(root: pathlib.Path, error: OSError, *, read_only: bool) -> OSError:
    """Returns an error about the folder of checkpoints, or one in it, that cannot be opened."""
    path = error.filename or root
    try:
        os.listdir(root)
    except OSError:  # then not a folder in it
        path = root
    use = "read" if read_only else "read and written"
    number = error.errno or 0
    fix = _remedy(number, f"make it a folder that can be {use}")
    return _os_error(
        number,
        f"{path} cannot be opened ({error.strerror or error}); {fix}, and run the same command"
        " again.",
    )


def _remedy(number: int, otherwise: str) -> str:
    return "free some space" if number in (errno.ENOSPC, errno.EDQUOT) else otherwise


@contextlib.contextmanager
def late_errors_dropped() -> Iterator[None]:
    """Waits for the errors that follow the first failed read or write, and logs none of them.

    When a leaf cannot be read, Orbax raises and closes its event loop; the pending reads of all
    other leaves then report an error each, since the loop is closed. See `unless_late`.
    """
    log = logging.getLogger("asyncio")
    level = log.level
    try:
        yield
    except Exception:
        log.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
            time.sleep(0.3)  # until they have all reported
            gc.collect()
        raise
    finally:
        log.setLevel(level)


def unless_late(hook: Any, error: Any) -> None:
    """Calls a hook of errors that nothing can catch, except for those that follow another."""
    message = str(error.exc_value)
    closed = isinstance(error.exc_value, RuntimeError) and "loop" in message
    if not (closed or message.startswith("Encountered error while reading array index")):
        hook(error)


@contextlib.contextmanager
def naming(path: pathlib.Path) -> Iterator[None]:
    """Adds the name of a file to errors that lack it, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.strerror is not None and error.filename is None:
            error.filename = str(path)
        raise
