"""Signals that stop a run, and a common decision of all processes."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
QUICK = 2.0  # seconds: a second Ctrl-C within them is the same request


def agree_on_stop(reason: str) -> str:
    """Returns one decision for all processes: a signal may reach only one of them."""
    if jax.process_count() == 1:
        return reason
    from jax.experimental import multihost_utils

    flags = multihost_utils.process_allgather(np.array(bool(reason)))
    return reason or ("another process stopped" if flags.any() else "")


def barrier(name: str) -> None:
    """Waits for all processes."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


class Signals:
    """Records SIGTERM, SIGINT, SIGHUP and SIGUSR1, for the loop to save and stop.

    A SIGINT more than `QUICK` seconds after the first signal raises KeyboardInterrupt, except while
    the state is being saved. A signal that is ignored (as `nohup` ignores SIGHUP) stays ignored.
    Nested instances share what they have caught.

    Each signal is answered by a line at once. A thread prints it: the main thread runs no handler
    while it waits for the device or the compiler.

    Attributes:
      caught: name of the first signal, or empty.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.caught, self.quiet = "", quiet
        self._since, self._saving = 0.0, False
        self._before: dict[int, Any] = {}
        self._printer: threading.Thread | None = None

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._catch)
            for outer in self._outer():
                if outer.caught:
                    self.caught, self._since = outer.caught, outer._since
            if not self.quiet:
                numbers, self._wakeup = os.pipe()
                os.set_blocking(self._wakeup, False)
                self._wakeup_before = signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
                self._printer = threading.Thread(target=self._print, args=(numbers,), daemon=True)
                self._printer.start()
        return self

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Lets no SIGINT interrupt the block, which saves the state."""
        outside, self._saving = self._saving, True
        try:
            yield
        finally:
            self._saving = outside

    def _outer(self) -> list["Signals"]:
        owners = [getattr(handler, "__self__", None) for handler in self._before.values()]
        return [owner for owner in owners if isinstance(owner, Signals)]

    def _catch(self, number: int, frame: Any) -> None:
        now = time.monotonic()
        if not self.caught:
            self.caught, self._since = signal.Signals(number).name, now
        elif number == signal.SIGINT and now - self._since > QUICK and not self._saving:
            raise KeyboardInterrupt

    def _print(self, numbers: int) -> None:
        """Prints a line per signal until the pipe of their numbers is closed."""
        again = bool(self.caught)
        start = "\n" if os.isatty(2) else ""  # below the bar
        with open(numbers, "rb", buffering=0) as pipe:
            while number := pipe.read(1):
                if number[0] not in self._before:
                    continue
                line = f"{start}{signal.Signals(number[0]).name}: "
                if not again:
                    line += "the state is saved after the current step, then the run stops"
                    if number[0] == signal.SIGINT:
                        line += f"; Ctrl-C again, after {QUICK:.0f} s, ends it unsaved"
                elif self._saving:
                    line += "the state is being saved; the run stops after that"
                else:
                    line += "the run is stopping already"
                again = True
                with contextlib.suppress(OSError):  # the terminal may be closed
                    os.write(2, f"{line}.\n".encode())

    def __exit__(self, *_: Any) -> None:
        self._saving = True
        if self._printer:
            signal.set_wakeup_fd(self._wakeup_before)
            os.close(self._wakeup)
            self._printer.join(1.0)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        for outer in self._outer():
            if self.caught and not outer.caught:
                outer.caught, outer._since = self.caught, self._since
