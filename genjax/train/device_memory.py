"""Memory of devices and of compiled programs, in bytes."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

TRIALS = 8  # most batch sizes that are compiled to find the largest one that fits


def program_memory(program: Any) -> int | None:
    """Returns the memory per device of a compiled program; None if it is not known.

    It is that of arguments, results and temporaries; a result in the memory of a donated argument
    counts once.
    """
    sizes = program.memory_analysis()
    if not sizes:
        return None
    both = sizes.argument_size_in_bytes + sizes.output_size_in_bytes
    return both - sizes.alias_size_in_bytes + sizes.temp_size_in_bytes


def device_limit(mesh: Mesh) -> int | None:
    """Returns the memory that a program may use per device; None if it is not known.

    On a CPU it is the memory that is available and that of the arrays, some of which are the
    program's arguments. The devices of a mesh on several hosts have the least of all hosts.
    """
    local = [device for device in mesh.devices.flat if device.process_index == jax.process_index()]
    limits = [_limit(device, len(local)) for device in local]
    known = [limit for limit in limits if limit is not None]
    least = min(known) if len(known) == len(limits) else None
    if jax.process_count() == 1:
        return least
    from jax.experimental import multihost_utils

    found = multihost_utils.process_allgather(np.float32(least or np.inf)).min()
    return int(found) if np.isfinite(found) else None


def _limit(device: jax.Device, devices: int) -> int | None:
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("bytes_limit")
    free = free_memory()
    if free is None:
        return None
    # Every device of a CPU has a copy of what is replicated.
    return free // devices + sum(array.nbytes for array in jax.live_arrays())


def free_memory() -> int | None:
    """Returns the bytes of memory that are available, or None where it is not known."""
    try:
        lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return found[0] * 1024 if found else None


def largest_batch(
    memory: Callable[[int], int], sizes: Sequence[int], batch: int, needed: int, limit: int
) -> int:
    """Returns the largest batch size that fits; 0 if none does.

    Memory is nearly linear in the batch size, so few are tried: each is where the line through the
    last two meets the limit.

    Args:
      memory: compiles with a batch size and returns the bytes needed.
      sizes: possible ones below `batch`, in ascending order.
      batch: one that does not fit.
      needed: bytes that it needs.
      limit: bytes that there are.
    """
    low, high = -1, len(sizes)  # positions in `sizes`: fits, does not fit
    before, last = (0, 0), (batch, needed)  # batch size and bytes
    for trial in range(TRIALS):
        if high - low < 2:
            break
        slope = max((last[1] - before[1]) / (last[0] - before[0]), 1e-9)
        guess = last[0] + (limit - last[1]) / slope
        at = int(np.searchsorted(sizes, guess, side="right")) - 1
        if trial == TRIALS - 1 and low < 0:
            at = 0  # none is known to fit
        at = min(max(at, low + 1), high - 1)
        before, last = last, (sizes[at], memory(sizes[at]))
        if last[1] <= limit:
            low = at
        else:
            high = at
    return sizes[low] if low >= 0 else 0
