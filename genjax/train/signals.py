"""Signals that stop a run, and a common decision of all processes."""

import signal
import threading
from typing import Any

import jax
import numpy as np

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


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
    """Records SIGTERM, SIGINT and SIGHUP, for the loop to stop after the current step.

    A second SIGINT raises KeyboardInterrupt. A signal that is ignored (as `nohup` ignores SIGHUP)
    stays ignored. Nested instances share what they have caught.

    Attributes:
      caught: name of the first signal, or empty.
    """

    def __init__(self) -> None:
        self.caught = ""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._catch)
        for outer in self._outer():
            self.caught = self.caught or outer.caught
        return self

    def _outer(self) -> list["Signals"]:
        owners = [getattr(handler, "__self__", None) for handler in self._before.values()]
        return [owner for owner in owners if isinstance(owner, Signals)]

    def _catch(self, number: int, frame: Any) -> None:
        if self.caught and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.caught = signal.Signals(number).name

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        for outer in self._outer():
            outer.caught = outer.caught or self.caught
