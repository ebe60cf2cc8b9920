"""Checkpoints: Orbax writes them, a checksum of every leaf says whether they came back whole.

Layout of a workdir: `checkpoints/latest/<step>` (the newest few, to go on from) and
`checkpoints/best/<step>` (the best by validation), each with the items `state` and `meta`.
"""

import contextlib
import gc
import json
import logging
import os
import pathlib
import sys
import time
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from genjax.evals.metric_result import plain
from genjax.train.compile import leaf_name
from genjax.train.signals import barrier


def leaves(state: Any) -> dict[str, jax.Array]:
    """A state as `{path: array}`, keys as their raw words."""
    found = jax.tree_util.tree_flatten_with_path(state)[0]
    return {leaf_name(path): _raw(leaf) for path, leaf in found}


@jax.jit
def checksums(flat: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """One uint32 a leaf: the sum of its words modulo 2^32, each mixed with its place.

    The mixing can be undone (the last steps of MurmurHash3), so any change of one word, a flipped
    bit above all, changes the sum; and it is not linear, so that two flipped signs do not cancel.
    Integer sums do not depend on how a leaf is spread over devices.
    """

    def checksum(x: jax.Array) -> jax.Array:
        words = _words(x).reshape(-1)
        h = words ^ (jax.lax.iota(jnp.uint32, words.size) * jnp.uint32(0x9E3779B1))
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
            h = (h ^ (h >> shift)) * jnp.uint32(factor)
        return jnp.sum(h ^ (h >> 16), dtype=jnp.uint32)

    return {name: checksum(x) for name, x in flat.items()}


class Checkpoints:
    """The checkpoints of one workdir."""

    def __init__(self, workdir: str | os.PathLike, *, keep: int = 2, read_only: bool = False):
        """Open or make the folders; leftovers of an interrupted save are removed."""
        self.root = pathlib.Path(workdir).absolute() / "checkpoints"
        self.read_only = read_only
        self._managers = {
            which: ocp.CheckpointManager(
                self.root / which,
                options=ocp.CheckpointManagerOptions(
                    max_to_keep=count,
                    create=not read_only,
                    cleanup_tmp_directories=not read_only,
                    enable_async_checkpointing=not read_only,
                    # The two write at the same step: their barriers must not meet.
                    multiprocessing_options=ocp.options.MultiprocessingOptions(
                        barrier_sync_key_prefix=which
                    ),
                ),
            )
            # Two bests: until a latest speaks of the new one, the one before must stay.
            for which, count in (("latest", keep), ("best", 2))
            if not read_only or (self.root / which).is_dir()
        }

    def steps(self, which: str = "latest") -> list[int]:
        """Steps that have a finished checkpoint, ascending."""
        return sorted(self._managers[which].all_steps()) if which in self._managers else []

    def save(self, state: Any, meta: dict[str, Any], *, which: str = "latest") -> None:
        """Save in the background; the state may be donated as soon as this returns."""
        flat = leaves(state)
        sums = {name: int(s) for name, s in jax.device_get(checksums(flat)).items()}
        step = int(jax.device_get(state.step))
        manager = self._managers[which]
        if step in manager.all_steps():
            manager.delete(step)
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(flat),
            meta=ocp.args.JsonSave(_sealed({"leaves": _describe(flat, sums), **meta})),
        )
        manager.save(step, args=items, force=True)

    def restore(
        self, shapes: Any, shardings: Any = None, *, which: str = "latest"
    ) -> tuple[Any, dict[str, Any]] | None:
        """The newest checkpoint that is whole, `(state, meta)`; None where there is none.

        One that cannot be read, or whose checksums differ, is set aside as `corrupt-<step>` with
        a warning that names it, and the one before is taken.

        Args:
          shapes: the state under `jax.eval_shape`.
          shardings: of its leaves; None is the default device.
          which: "latest" or "best".
        """
        for step in reversed(self.steps(which)):
            try:
                with _late_errors_dropped():
                    return self._restore(step, shapes, shardings, which)
            except (_Mismatch, MemoryError, jax.errors.JaxRuntimeError):
                raise  # the checkpoint is not to blame
            except Exception as error:
                if isinstance(error, OSError) and not isinstance(error, GONE):
                    raise  # nor is it for a disk that is full, away or not ours
                self._set_aside(which, step, error)
        return None

    def set_aside(self) -> list[str]:
        """Names of checkpoints that were damaged."""
        return sorted(p.name for p in self.root.glob("corrupt-*"))

    def remove_after(self, step: int) -> None:
        """Forget checkpoints later than `step`: the run will make them again."""
        for manager in self._managers.values():
            for later in [s for s in manager.all_steps() if s > step]:
                manager.delete(later)

    def remove_best(self) -> None:
        """Forget the best: what is older than the one that is gone was not the best."""
        for step in self._managers["best"].all_steps():
            self._managers["best"].delete(step)

    def wait(self) -> None:
        """Until everything is on disk."""
        for manager in self._managers.values():
            manager.wait_until_finished()

    def close(self) -> None:
        """Wait, then release the writers."""
        for manager in self._managers.values():
            manager.wait_until_finished()
            manager.close()

    def _restore(self, step: int, shapes: Any, shardings: Any, which: str) -> Any:
        paths, treedef = jax.tree_util.tree_flatten_with_path(shapes)
        places = [None] * len(paths) if shardings is None else jax.tree.leaves(shardings)
        default = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        targets = {}
        for (path, leaf), place in zip(paths, places, strict=True):
            raw = jax.eval_shape(_raw, leaf)
            targets[leaf_name(path)] = jax.ShapeDtypeStruct(
                raw.shape, raw.dtype, sharding=place or default
            )
        manager = self._managers[which]
        meta = manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]
        meta = _unsealed(meta)
        saved = meta.pop("leaves")
        wanted = _describe(targets, dict.fromkeys(targets, 0))
        odd = sorted(
            name
            for name in set(saved) | set(wanted)
            if saved.get(name, [None])[:2] != wanted.get(name, [0])[:2]
        )
        if odd:
            raise _Mismatch(
                f"the checkpoint at {self.root / which / str(step)} holds another state (differs"
                f" in {', '.join(odd[:3])}); it is of other settings or another version of genjax:"
                " take another --workdir."
            )
        items = ocp.args.Composite(state=ocp.args.StandardRestore(targets))
        flat = manager.restore(step, args=items)["state"]
        sums = jax.device_get(checksums(flat))
        broken = [name for name in targets if int(sums[name]) != saved[name][2]]
        if broken:
            raise ValueError(f"checksum of {', '.join(broken)} differs")
        ordered = [
            _unraw(flat[leaf_name(path)], leaf, place)
            for (path, leaf), place in zip(paths, places, strict=True)
        ]
        return jax.tree.unflatten(treedef, ordered), meta

    def _set_aside(self, which: str, step: int, error: Exception) -> None:
        folder = self.root / which / str(step)
        reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
        aside = self.root / f"corrupt-{which}-{step}"
        if jax.process_index() == 0 and not self.read_only:
            number = 0
            while aside.exists():
                number += 1
                aside = self.root / f"corrupt-{which}-{step}-{number}"
            folder.rename(aside)
        barrier("set aside")
        self._managers[which].reload()
        warnings.warn(
            f"checkpoint {folder} is damaged ({reason}); using the one before it.", stacklevel=3
        )


GONE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""What the system says of a checkpoint that lacks a part."""


class _Mismatch(ValueError):
    """The checkpoint is whole and belongs to other settings."""


@contextlib.contextmanager
def _late_errors_dropped() -> Iterator[None]:
    """One failed read is enough to know of.

    When a leaf cannot be read Orbax raises and closes its event loop; the reads of the other
    leaves, still under way, then each report that the loop is closed, a traceback a leaf.
    """
    hook, log = sys.unraisablehook, logging.getLogger("asyncio")
    level = log.level

    def unless_late(error: Any) -> None:
        said = str(error.exc_value)
        closed = isinstance(error.exc_value, RuntimeError) and "loop" in said
        if not (closed or said.startswith("Encountered error while reading array index")):
            hook(error)

    sys.unraisablehook = unless_late
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
        sys.unraisablehook = hook
        log.setLevel(level)


def _sealed(meta: dict[str, Any]) -> dict[str, Any]:
    """The meta as one string with its CRC: a bit can flip in a name or a number of it too."""
    body = json.dumps(meta, sort_keys=True)
    return {"body": body, "crc32": zlib.crc32(body.encode())}


def _unsealed(sealed: dict[str, Any]) -> dict[str, Any]:
    body = sealed["body"]
    if zlib.crc32(body.encode()) != sealed["crc32"]:
        raise ValueError("checksum of meta differs")
    return json.loads(body)


def _describe(flat: dict[str, Any], sums: dict[str, int]) -> dict[str, list[Any]]:
    """`[shape, dtype, checksum]` of each leaf."""
    return {name: [list(x.shape), str(x.dtype), sums[name]] for name, x in flat.items()}


def write_json(path: pathlib.Path, values: Any) -> None:
    """Write a JSON file so that a reader never sees half of it, nor a number JSON does not have."""
    part = path.with_name(path.name + ".part")
    with part.open("w") as file:
        file.write(json.dumps(plain(values), indent=1, sort_keys=True) + "\n")
        file.flush()
        os.fsync(file.fileno())  # before the name is given: after a power failure it is not empty
    part.replace(path)


def _raw(leaf: Any) -> Any:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.key_data(leaf)
    return leaf


def _unraw(value: jax.Array, shape: Any, place: Any) -> jax.Array:
    if not jnp.issubdtype(shape.dtype, jax.dtypes.prng_key):
        return value
    key = jax.random.wrap_key_data(value)
    return key if place is None else jax.device_put(key, place)


def _words(x: jax.Array) -> jax.Array:
    """The bits of an array as uint32 words."""
    size = jnp.dtype(x.dtype).itemsize
    if x.dtype == jnp.bool_:
        return x.astype(jnp.uint32)
    if size >= 4:  # eight bytes become two words
        return jax.lax.bitcast_convert_type(x, jnp.uint32)
    narrow = jnp.uint8 if size == 1 else jnp.uint16
    return jax.lax.bitcast_convert_type(x, narrow).astype(jnp.uint32)
