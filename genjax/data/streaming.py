"""Batches read from disk as they are needed: the same examples in the same order as in memory.

grain reads and decodes, ahead of time and in other processes; it decides nothing. Which examples
a batch holds comes from `Order`, so the position of a stream is the step.
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

SIGTERM_GRACE_SECONDS = 20  # seconds that a worker goes on after SIGTERM
PREFETCH = 16  # batches decoded ahead of time, all workers together


@dataclasses.dataclass(frozen=True)
class Batches:
    """Batch i of a stream, i from 0: what a worker process reads. Small when pickled.

    rows: the split on disk.
    seed: of the order.
    start: the step of batch 0.
    steps: batches there are.
    size: examples of a step, those of all processes and critic steps.
    local_rows: which of a step's examples this process reads, `[n]`; None is all.
    names: entries to keep.
    domain: number of the order.
    """

    rows: Rows
    seed: int
    start: int
    steps: int
    size: int
    local_rows: tuple[int, ...] | None = None
    names: tuple[str, ...] = ("x",)
    domain: int = 0

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """Entries `[n, ...]` of the examples of step `start + index` that this process reads."""
        order = _orders(len(self.rows), self.seed, self.domain)
        found = order.take((self.start + int(index)) * self.size, self.size)
        if self.local_rows is not None:
            found = found[list(self.local_rows)]
        return self.rows.read(found, self.names)


@dataclasses.dataclass(frozen=True)
class UnpairedBatches:
    """Batches of two domains side by side, each in its own order."""

    x: Batches
    y: Batches

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {**self.x[index], **self.y[index]}


def batches(source: Batches | UnpairedBatches, *, workers: int) -> Iterator[dict[str, np.ndarray]]:
    """Iterate over a source's batches in order, decoded ahead of time.

    Args:
      source: what to read.
      workers: processes that read; 0 reads in threads of this process.

    Raises:
      ValueError: a file is damaged, from the batch that needs it on.
      OSError: a worker process was ended from outside.
    """
    import grain

    threads = grain.ReadOptions(num_threads=4, prefetch_buffer_size=PREFETCH)
    if not workers:
        yield from _iterate(grain.MapDataset.source(source).to_iter_dataset(threads))
        return
    _parse_flags()
    # A worker reads one batch at a time: the processes are the parallelism.
    alone = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    dataset = grain.MapDataset.source(source).to_iter_dataset(alone)
    options = grain.MultiprocessingOptions(
        num_workers=workers, per_worker_buffer_size=max(1, PREFETCH // workers)
    )
    yield from _iterate(dataset.mp_prefetch(options, _ignore_signals))


def _iterate(dataset: Any) -> Iterator[dict[str, np.ndarray]]:
    """Batches in this process's own memory; what went wrong in a worker in its own sentence."""
    iterator = iter(dataset)
    try:
        while True:
            try:
                shared = next(iterator)
            except StopIteration:
                return
            except ValueError as error:
                said = str(error).strip().splitlines()
                raise ValueError(said[0] if said else str(error)) from None
            except RuntimeError as error:
                raise OSError(
                    f"a process that reads the data ended ({str(error).splitlines()[0]}); with"
                    f" --workers 0 this process reads."
                ) from None
            # Workers hand over shared memory, which is theirs to give back: keep none of it.
            batch = {name: np.array(value) for name, value in shared.items()}
            del shared
            yield batch
    finally:
        iterator.close()
        # grain holds one batch a worker in cycles; found now, its shared memory goes back now.
        del iterator, dataset
        gc.collect()


def _ignore_signals(worker: int, workers: int) -> None:
    """Ctrl-C and a cluster's SIGTERM reach every process; the one that trains says when to end.

    It may be waiting for a batch, which it needs to get to where it saves. SIGTERM still ends a
    worker, later: Python ends those that are left in this way when it leaves.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(SIGTERM_GRACE_SECONDS))


def _parse_flags() -> None:
    """grain starts its processes through absl, which must have seen the command line."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


@functools.lru_cache(maxsize=16)
def _orders(n: int, seed: int, domain: int) -> Order:
    """Returns the same object for the same order, so that an epoch is permuted once."""
    return Order(n, seed, domain)
