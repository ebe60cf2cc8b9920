"""Inputs of the compiled step: indices into data on the device, or batches from disk."""

import math
import time
from collections.abc import Generator, Iterator
from typing import Any, cast

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from genjax import data as genjax_data
from genjax.core import Stage, critic_steps
from genjax.data.dataset import Rows
from genjax.data.streaming import Batches, UnpairedBatches, batches
from genjax.train.compile import batch_sharding, put
from genjax.train.run_config import Run


class InputPipeline:
    """Provides the inputs of each step, the same from memory and from disk.

    Attributes:
      resident: the examples are on the device, and a call takes indices into them.
      data: those examples.
      waited: seconds spent waiting for inputs; the caller resets it.
    """

    def __init__(
        self,
        run: Run,
        dataset: genjax_data.Dataset,
        names: set[str],
        mesh: Mesh,
        stage: Stage,
        labels: range | None = None,
    ):
        """Creates the pipeline of a run's training split.

        Args:
          run: settings of the run.
          dataset: data set, in memory or on disk.
          names: entries that a step uses, such as `x`.
          mesh: devices; the batch is sharded over `data`.
          stage: that the run begins or resumes in.
          labels: valid labels of streamed data, which are checked here; None checks nothing.
        """
        self.mesh, self._labels, self._per_call = mesh, labels, run.train.steps_per_call
        self.resident = "train" not in dataset.streams
        self.data: Any = {}
        self.waited = 0.0
        self._seed, self._workers = run.seed, run.data.workers
        self._batches: Iterator[Any] = iter(())
        if self.resident:
            train = {k: v for k, v in dataset.splits["train"].items() if k in names}
            self.data = put(train, NamedSharding(mesh, PartitionSpec()))
            self._orders = {
                group: genjax_data.Order(dataset.length("train", group[0]), run.seed, domain)
                for domain, group in dataset.domains(train).items()
            }
        else:
            self._dataset = dataset
            self._names = tuple(sorted(names & dataset.entries("train")))
        self.begin(stage)

    def begin(self, stage: Stage) -> None:
        """Begins a stage, whose batches may have another size."""
        self.close()
        self.stage, self.size = stage, stage.batch_size
        critics = critic_steps(stage.config)
        self.critics = critics if critics > 1 else 0
        self._next = -1  # next step of the stream, or first step of the window
        if self.resident:
            self._length = _window(stage, self._per_call)
            self._window: tuple[Any, jax.Array] | None = None
        else:
            self._local_rows = self._rows_of_this_process()

    def take(self, step: int, length: int) -> tuple[Any, ...]:
        """Returns the inputs, after the state, of steps step .. step + length - 1.

        For resident data: a window of indices for `compile_step`, and the data. Otherwise: arrays
        `[length, critics, B, ...]`, without axes of length 1. A stream is restarted if `step` is
        not its next step.
        """
        began = time.monotonic()
        if self.resident:
            inputs: tuple[Any, ...] = (self._indices(step, length), self.data)
        else:
            lead = ((length,) if length > 1 else ()) + ((self.critics,) if self.critics else ())
            inputs = (self._read(step, length, lead),)
        self.waited += time.monotonic() - began
        return inputs

    def shapes(self, stage: Stage, length: int) -> tuple[Any, ...]:
        """Returns the shapes of what `take` returns for `length` steps of a stage."""
        critics = (critic_steps(stage.config),) if critic_steps(stage.config) > 1 else ()
        if not self.resident:
            rows = self._dataset.read("train", np.zeros(1, np.int64), self._names)
            lead = (*((length,) if length > 1 else ()), *critics, stage.batch_size)
            return ({k: _shape((*lead, *v.shape[1:]), v.dtype) for k, v in rows.items()},)
        indices: Any = _shape(
            (_window(stage, self._per_call), *critics, stage.batch_size), np.int32
        )
        if len(self._orders) > 1:
            indices = dict.fromkeys(self.data, indices)
        data = {k: _shape(v.shape, v.dtype) for k, v in self.data.items()}
        return (indices, _shape((), np.int32)), data

    def close(self) -> None:
        """Stops the worker processes."""
        if isinstance(self._batches, Generator):
            self._batches.close()
        self._next = -1

    def _indices(self, step: int, length: int) -> tuple[Any, jax.Array]:
        first = step - (step - self.stage.first) % self._length
        if first != self._next or self._window is None:
            lead = (self._length, *((self.critics,) if self.critics else ()))
            sharding = batch_sharding(self.mesh, len(lead))
            start = put(np.int32(first), NamedSharding(self.mesh, PartitionSpec()))
            indices: Any = {}
            for group, order in self._orders.items():
                count = self._length * self.stage.examples_per_step
                rows = order.take(self.stage.examples_at(first), count)
                indices |= dict.fromkeys(group, put(rows.reshape(*lead, self.size), sharding))
            if len(self._orders) == 1:  # one order for all entries
                indices = next(iter(indices.values()))
            self._window = indices, start
            self._next = first
        return self._window

    def _read(self, step: int, length: int, lead: tuple[int, ...]) -> dict[str, jax.Array]:
        if step != self._next:
            self.close()
            sources = [
                Batches(
                    cast(Rows, self._dataset.stream("train", group[0])),
                    seed=self._seed,
                    start=step - self.stage.first,
                    steps=max(self.stage.end - step, length),
                    size=self.stage.examples_per_step,
                    offset=self.stage.examples,
                    local_rows=self._local_rows,
                    names=group,
                    domain=domain,
                )
                for domain, group in self._dataset.domains(self._names).items()
            ]
            source = UnpairedBatches(*sources) if len(sources) > 1 else sources[0]
            self._batches = batches(source, workers=self._workers)
        parts = [next(self._batches) for _ in range(length)]
        self._next = step + length
        if self._labels is not None:
            _check_labels(parts, self._labels)
        sharding = batch_sharding(self.mesh, len(lead))
        out = {}
        for name in self._names:
            local = np.concatenate([part[name] for part in parts])
            shape = (*lead, self.size, *local.shape[1:])
            here = local.reshape(*lead, len(local) // math.prod(lead), *local.shape[1:])
            out[name] = jax.make_array_from_process_local_data(sharding, here, shape)
        return out

    def _rows_of_this_process(self) -> tuple[int, ...] | None:
        """Returns the positions in a step that this process reads; None is all."""
        if jax.process_count() == 1:
            return None
        places = batch_sharding(self.mesh).addressable_devices_indices_map((self.size,)).values()
        local_rows = sorted({i for p in places if p for i in range(*p[0].indices(self.size))})
        return tuple(c * self.size + i for c in range(max(self.critics, 1)) for i in local_rows)


def _check_labels(parts: list[dict[str, np.ndarray]], known: range) -> None:
    """Checks labels of streamed data; those in memory are checked before training."""
    for part in parts:
        low, high = int(part["label"].min()), int(part["label"].max())
        if low < known[0] or high > known[-1]:
            raise ValueError(
                f"training examples have labels from {low} to {high}, and the model expects"
                f" {known[0]} to {known[-1]}; set --classes."
            )


def _shape(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jax.dtypes.canonicalize_dtype(dtype))


def _window(stage: Stage, per_call: int) -> int:
    """Returns the steps whose indices are on the device together: at most 4 MiB."""
    calls = min(256, 2**20 // stage.examples_per_step, stage.steps) // per_call
    return max(1, calls) * per_call
