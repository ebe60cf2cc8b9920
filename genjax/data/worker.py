"""What every worker process does at its start."""

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Ends this worker process as soon as its parent has ended, also by SIGKILL.

    A worker waits at its queues for ever otherwise. When the last process of a run has ended, the
    resource tracker of `multiprocessing` unlinks the shared memory that is left.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("end_with_parent is for processes that multiprocessing has started.")

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="end_with_parent", daemon=True).start()
