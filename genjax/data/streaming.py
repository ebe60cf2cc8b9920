"""Batches streamed from disk: the same examples in the same order as from memory.

grain reads and decodes in other processes. `Order` determines the examples of a batch, so the
position of a stream is the step.
"""

import dataclasses
import functools
import gc
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np

from genjax.data.dataset import Rows
from genjax.data.order import Order
from genjax.data.worker import end_with_parent

SIGTERM_GRACE_SECONDS = 20  # a worker keeps running after SIGTERM
PREFETCH = 16  # batches decoded ahead by all workers together


@dataclasses.dataclass(frozen=True)
class Batches:
    """A sequence of batches, read by index in any process. Small when pickled.

    Attributes:
      rows: the split on disk.
      seed, domain: of the `Order`.
      start: step of batch 0.
      steps: number of batches.
      size: examples per step, over all processes and critic updates.
      offset: added to positions in the order: step n begins at `offset + n * size`. A run whose
        batch size changes continues at example e of step n with the offset `e - n * size`, which
        may be negative.
      local_rows: positions in a step that this process reads, `[n]`; None is all.
      names: entries to read.
    """

    rows: Rows
    seed: int
    start: int
    steps: int
    size: int
    local_rows: tuple[int, ...] | None = None
    names: tuple[str, ...] = ("x",)
    domain: int = 0
    offset: int = 0

    def __post_init__(self) -> None:
        first = self.offset + self.start * self.size
        if first < 0:
            raise ValueError(
                f"the offset {self.offset} puts step {self.start} of {self.size} examples at"
                f" position {first}; use at least {-self.start * self.size}."
            )

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """Returns the entries of this process's examples of step `start + index`, `[n, ...]`."""
        order = _orders(len(self.rows), self.seed, self.domain)
        rows = order.take(self.offset + (self.start + int(index)) * self.size, self.size)
        if self.local_rows is not None:
            rows = rows[list(self.local_rows)]
        return self.rows.read(rows, self.names)


@dataclasses.dataclass(frozen=True)
class UnpairedBatches:
    """Batches of two domains side by side, each in its own order."""

    x: Batches
    y: Batches

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """Returns the entries of both domains."""
        return {**self.x[index], **self.y[index]}


def batches(source: Batches | UnpairedBatches, *, workers: int) -> Iterator[dict[str, np.ndarray]]:
    """Iterates over batches in order, decoded ahead by `workers` processes, or by threads if 0.

    Raises:
      ValueError: a file is damaged; raised at the batch that needs it.
      OSError: a worker process was terminated from outside.
    """
    import grain
    from absl import flags

    threads = grain.ReadOptions(num_threads=4, prefetch_buffer_size=PREFETCH)
    if not workers:
        yield from _iterate(grain.MapDataset.source(source).to_iter_dataset(threads))
        return
    flags.FLAGS.mark_as_parsed()  # grain needs absl's flags to start processes
    # One thread per worker: the processes are the parallelism.
    alone = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    dataset = grain.MapDataset.source(source).to_iter_dataset(alone)
    options = grain.MultiprocessingOptions(
        num_workers=workers, per_worker_buffer_size=max(1, PREFETCH // workers)
    )
    yield from _iterate(dataset.mp_prefetch(options, _start_worker))


def _iterate(dataset: Any) -> Iterator[dict[str, np.ndarray]]:
    """Copies batches to this process's memory, and raises errors of workers in one line."""
    iterator = iter(dataset)
    try:
        while True:
            try:
                shared = next(iterator)
            except StopIteration:
                return
            except ValueError as error:
                lines = str(error).strip().splitlines()
                raise ValueError(lines[0] if lines else str(error)) from None
            except RuntimeError as error:
                raise OSError(
                    f"a worker process that reads the data ended ({str(error).splitlines()[0]});"
                    f" set --workers 0 to read in the main process."
                ) from None
            # The arrays are shared memory that belongs to the worker: copy them.
            batch = {name: np.array(value) for name, value in shared.items()}
            del shared
            yield batch
    finally:
        iterator.close()
        # grain keeps one batch per worker in reference cycles; collect to free shared memory.
        del iterator, dataset
        gc.collect()


def _start_worker(worker: int, workers: int) -> None:
    """Makes a worker end with its parent, ignore SIGINT, SIGHUP and SIGUSR1, and delay SIGTERM.

    These signals may reach every process, and the training process still needs batches until it
    has saved. Python terminates remaining workers at exit.
    """
    end_with_parent()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(SIGTERM_GRACE_SECONDS))


@functools.lru_cache(maxsize=16)
def _orders(n: int, seed: int, domain: int) -> Order:
    """Returns the same object for the same order, so that an epoch is permuted once."""
    return Order(n, seed, domain)
