"""`feeds.py FOLDER [PORT PROCESS]`: CRC-32 of batches of a folder, in memory and streamed.

Run by tests/train/test_feed.py, since the number of devices is fixed when JAX starts.
"""

import dataclasses
import json
import sys
import warnings
import zlib

import jax
import numpy as np
from small import small_run

from genjax.data import Data, load
from genjax.train.compile import make_mesh
from genjax.train.feed import Feed

warnings.simplefilter("error")
# Steps taken one after the other, then from the middle of an epoch of 50 examples.
STEPS = (0, 1, 2, 5)


def local(x: jax.Array) -> list[np.ndarray]:
    """What lies on the devices of this process, by where it lies."""
    shards = sorted(x.addressable_shards, key=lambda s: str(s.index))
    return [np.asarray(s.data) for s in shards]


def taken(folder: str, stream: str, critics: int, length: int) -> list[int]:
    """CRC-32 of the batches on this process's devices at each of `STEPS`."""
    run = small_run("nade", folder, batch_size=16, steps=40, steps_per_call=length)
    settings = Data(data=folder, stream=stream, workers=0, limit=50)
    run = dataclasses.replace(run, data=settings)
    feed = Feed(run, load(settings), {"x", "label"}, make_mesh(), critics)
    found = []
    for step in STEPS:
        step = step * length
        if feed.resident:
            (window, first), data = feed.take(step, length)

            def pick(window, at, data):
                batch = {
                    k: v[jax.lax.dynamic_slice_in_dim(window, at, length)] for k, v in data.items()
                }
                return {k: v if length > 1 else v[0] for k, v in batch.items()}

            lead = (length > 1) + (critics > 0)
            spread = jax.sharding.NamedSharding(
                feed.mesh, jax.sharding.PartitionSpec(*(None,) * lead, "data")
            )
            batch = jax.jit(pick, out_shardings=spread)(window, step - int(first), data)
        else:
            (batch,) = feed.take(step, length)
        crc = zlib.crc32(str({k: (v.shape, v.dtype.name) for k, v in batch.items()}).encode())
        for name in sorted(batch):
            for part in local(batch[name]):
                crc = zlib.crc32(np.ascontiguousarray(part).tobytes(), crc)
        found.append(crc)
    feed.close()
    return found


if __name__ == "__main__":
    if len(sys.argv) > 2:
        port, process = sys.argv[2:]
        jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=int(process))
    out = {"devices": [jax.local_device_count(), jax.device_count()]}
    for critics in (0, 3):
        for length in (1, 4):
            for stream in ("no", "yes"):
                name = f"{critics} critics, {length} steps, {stream}"
                out[name] = taken(sys.argv[1], stream, critics, length)
    print(json.dumps(out))
