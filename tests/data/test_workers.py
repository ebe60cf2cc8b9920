"""Reading in threads and processes: a shared order, and signals."""

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from genjax.data import Data, load
from genjax.data.order import Order
from genjax.data.prepare import prepare
from genjax.data.shards import WriteOptions
from genjax.data.streaming import Batches, batches


class _Shared(Order):
    """A dict of epochs that another thread replaces at every lookup."""

    away, busy = 1000, False

    def __getattribute__(self, name):
        if name == "_epochs" and not type(self).busy:
            type(self).busy, type(self).away = True, type(self).away + 2
            self.epoch(type(self).away)
            type(self).busy = False
        return super().__getattribute__(name)


def test_threads_share_an_order():
    # Epochs are forgotten by one thread while another takes from them.
    shared = _Shared(5, 0)
    for start in (0, 3, 17):
        np.testing.assert_array_equal(shared.take(start, 7), Order(5, 0).take(start, 7))


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_workers_keep_reading_after_signals(tmp_path, sent):
    folder = str(prepare("digits", tmp_path, WriteOptions(name="digits")).folder)
    rows = load(Data(data=folder, stream="yes")).streams["train"]
    source = Batches(rows, seed=0, start=5, steps=200, size=32)
    others = set(multiprocessing.active_children())
    stream = batches(source, workers=2)
    try:
        got = [next(stream) for _ in range(4)]  # both are at work by then
        workers = set(multiprocessing.active_children()) - others
        assert len(workers) == 2
        for worker in workers:
            os.kill(worker.pid, sent)
        time.sleep(0.2)
        got += [next(stream) for _ in range(80)]  # more than were decoded ahead
    finally:
        stream.close()
    for i in (0, 1, 80):
        np.testing.assert_array_equal(got[i]["x"], source[i]["x"])
    assert not workers & set(multiprocessing.active_children())
