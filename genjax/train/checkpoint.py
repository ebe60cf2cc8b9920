"""Checkpoints: written by Orbax, verified by a checksum of every leaf.

Layout of a workdir: `checkpoints/latest/<step>` (the newest few, to resume from) and
`checkpoints/best/<step>` (the best by validation), each with the items `state` and `status`.
"""

import contextlib
import functools
import json
import os
import pathlib
import sys
import warnings
import zlib
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from genjax.data.file_writing import write_file
from genjax.data.json_files import parse_json, read_object
from genjax.evals.metric_result import plain
from genjax.train.checkpoint_errors import (
    cannot_open,
    late_errors_dropped,
    naming,
    unless_late,
    unreadable,
    write_errors,
)
from genjax.train.compile import leaf_name
from genjax.train.signals import barrier

# Orbax measures its timeouts with the system clock, which may jump, for instance from 1970.
CENTURY = 100 * 365 * 24 * 3600


Layout = Callable[[int], tuple[Any, Any]]


class Identity(Protocol):
    """The settings and the data that a checkpoint belongs to; see `run_identity`."""

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values, which are saved with every checkpoint."""

    def differences(self, saved: dict[str, Any]) -> list[str]:
        """Returns in what the saved values differ, one phrase each."""


def leaves(state: Any) -> dict[str, jax.Array]:
    """Returns a state as `{path: array}`, with keys as raw words."""
    found = jax.tree_util.tree_flatten_with_path(state)[0]
    return {leaf_name(path): _raw(leaf) for path, leaf in found}


@jax.jit
def checksums(flat: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Returns one uint32 per leaf: the sum modulo 2^32 of its words, each mixed with its position.

    The mixing is invertible (the last steps of MurmurHash3), so a change of one word always changes
    the sum. It is not linear, so two flipped signs do not cancel. Integer sums do not depend on how
    a leaf is sharded.
    """

    def checksum(x: jax.Array) -> jax.Array:
        words = _words(x).reshape(-1)
        h = words ^ (jax.lax.iota(jnp.uint32, words.size) * jnp.uint32(0x9E3779B1))
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
            h = (h ^ (h >> shift)) * jnp.uint32(factor)
        return jnp.sum(h ^ (h >> 16), dtype=jnp.uint32)

    return {name: checksum(x) for name, x in flat.items()}


def saved_identity(workdir: pathlib.Path) -> dict[str, Any]:
    """Returns the identity in the newest checkpoint with a readable one; empty if there is none."""
    found = (workdir / "checkpoints").glob("*/[0-9]*/status/metadata")
    folders = [p for p in found if p.parts[-3].isdigit()]
    for path in sorted(folders, key=lambda p: int(p.parts[-3]), reverse=True):
        with contextlib.suppress(OSError, ValueError, KeyError):  # reported when it is restored
            if run := _unsealed(read_object(path, fix=""))["run"]:
                return run
    return {}


class Checkpoints:
    """The checkpoints of one workdir."""

    def __init__(
        self,
        workdir: str | os.PathLike,
        *,
        keep: int = 2,
        read_only: bool = False,
        identity: Identity | None = None,
    ):
        """Opens or creates the folders; the remains of an interrupted save are removed.

        Args:
          workdir: folder of the run.
          keep: latest checkpoints to keep; with 1, the one before it stays until `prune`.
          read_only: change no file.
          identity: of the run; it is saved, and a checkpoint of another run is not restored.

        Raises:
          OSError: a folder cannot be opened.
        """
        self.root = pathlib.Path(workdir).absolute() / "checkpoints"
        self.read_only, self.identity, self.keep = read_only, identity, keep
        # Reads and writes run in threads, whose errors come at any time.
        self._hook_before = sys.unraisablehook
        self._hook = functools.partial(unless_late, self._hook_before)
        sys.unraisablehook = self._hook
        self._managers: dict[str, ocp.CheckpointManager] = {}
        try:
            # Two of the best: the previous one stays until a latest names the new one. Two of the
            # latest: the newest is removed again if its evaluation is not finite.
            for which, count in (("latest", max(keep, 2)), ("best", 2)):
                if not read_only or (self.root / which).is_dir():
                    self._managers[which] = _manager(self.root / which, count, read_only)
        except OSError as error:
            self.close()
            raise cannot_open(self.root, error, read_only=read_only) from error

    def steps(self, which: str = "latest") -> list[int]:
        """Returns the steps that have a finished checkpoint, ascending."""
        return sorted(self._managers[which].all_steps()) if which in self._managers else []

    def save(self, state: Any, status: dict[str, Any], *, which: str = "latest") -> None:
        """Saves in the background; the state may be donated as soon as this returns.

        Raises:
          OSError: the checkpoint, or the one before it, cannot be written.
        """
        flat = leaves(state)
        sums = {name: int(s) for name, s in jax.device_get(checksums(flat)).items()}
        step = int(jax.device_get(state.step))
        manager = self._managers[which]
        run = {} if self.identity is None else self.identity.to_json()
        described = {"leaves": _describe(flat, sums), "run": run}
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(flat),
            status=ocp.args.JsonSave(_sealed({**described, **status})),
        )
        with write_errors(self.root / which):
            if step in manager.all_steps():
                manager.delete(step)
            manager.save(step, args=items, force=True)

    def save_status(self, step: int, status: dict[str, Any]) -> None:
        """Replaces the status of a latest checkpoint, whose state stays on disk meanwhile."""
        self.wait()
        path = self.root / "latest" / str(step) / "status" / "metadata"
        before = _unsealed(read_object(path, fix="use another --workdir"))
        described = {name: before[name] for name in ("leaves", "run")}
        barrier("status read")
        if jax.process_index() == 0:
            write_json(path, _sealed({**described, **status}))
        barrier("status written")

    def restore(
        self, layout: Layout, *, which: str = "latest"
    ) -> tuple[Any, dict[str, Any]] | None:
        """Returns the newest whole checkpoint, `(state, status)`; None if there is none.

        One whose content is damaged is renamed to `corrupt-<which>-<step>` with a warning, and the
        one before it is used.

        Args:
          layout: `step -> (shapes, shardings)` of a state of that step: the state under
            `jax.eval_shape`, and the shardings of its leaves or None for the default device.
          which: "latest" or "best".

        Raises:
          ValueError: the checkpoint is of other settings or data.
          OSError: a file cannot be read, which says nothing about its content.
        """
        for step in reversed(self.steps(which)):
            try:
                with late_errors_dropped():
                    return self._restore(step, *layout(step), which)
            except (_Mismatch, MemoryError, jax.errors.JaxRuntimeError):
                raise  # the checkpoint is whole
            except Exception as error:
                if file_error := unreadable(self.root / which / str(step), error):
                    raise file_error from error
                self._set_aside(which, step, error)
        return None

    def set_aside(self) -> list[str]:
        """Returns the names of damaged checkpoints."""
        return sorted(p.name for p in self.root.glob("corrupt-*"))

    def prune(self) -> None:
        """Deletes all but the newest `keep` latest checkpoints, once the newest is evaluated."""
        self.wait()
        for step in self.steps()[: -self.keep]:
            self._managers["latest"].delete(step)

    def remove_after(self, step: int) -> None:
        """Deletes checkpoints later than `step`, which the run makes again."""
        for manager in self._managers.values():
            for later in [s for s in manager.all_steps() if s > step]:
                manager.delete(later)

    def remove_best(self) -> None:
        """Deletes the best checkpoints that are left: a missing newer one was better."""
        for step in self._managers["best"].all_steps():
            self._managers["best"].delete(step)

    def wait(self) -> None:
        """Waits until everything is on disk."""
        for which, manager in self._managers.items():
            with write_errors(self.root / which):
                manager.wait_until_finished()

    def close(self) -> None:
        """Waits, then releases the writers."""
        with contextlib.ExitStack() as closing:
            closing.callback(self._restore_hook)
            for manager in self._managers.values():
                closing.callback(manager.close)
            self.wait()

    def _restore_hook(self) -> None:
        if sys.unraisablehook is self._hook:
            sys.unraisablehook = self._hook_before

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
        for file in (self.root / which / str(step)).rglob("*"):
            if not (file.is_file() or file.is_dir()):  # reading a device may not end
                raise ValueError(f"{file.name} is not a regular file")
        item = ocp.args.Composite(status=ocp.args.JsonRestore())
        status = _unsealed(manager.restore(step, args=item)["status"])
        saved, run = status.pop("leaves"), status.pop("run", {})
        self._check_identity(self.root / which / str(step), run)
        expected = _describe(targets, dict.fromkeys(targets, 0))
        different = sorted(
            name
            for name in set(saved) | set(expected)
            if saved.get(name, [None])[:2] != expected.get(name, [0])[:2]
        )
        if different:
            raise _Mismatch(
                f"the checkpoint at {self.root / which / str(step)} holds another state (differs"
                f" in {', '.join(different[:3])}): it is of other settings or another version of"
                " genjax; use another --workdir."
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
        return jax.tree.unflatten(treedef, ordered), status

    def _check_identity(self, folder: pathlib.Path, saved: dict[str, Any]) -> None:
        if self.identity is None:
            return
        if self.identity.to_json().keys() - saved.keys():
            raise _Mismatch(
                f"the checkpoint {folder} is of an older format, without the settings of its run;"
                " train again in another --workdir, or use the version of genjax that wrote it."
            )
        if different := self.identity.differences(saved):
            raise _Mismatch(
                f"the checkpoint {folder} is not of this run: {', '.join(different)}; put the"
                f" run's own files back, or use another --workdir."
            )

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
        with contextlib.suppress(ValueError):  # the metadata of an older one are damaged too
            self._managers[which].reload()
        warnings.warn(
            f"checkpoint {folder} is damaged ({reason}); using the one before it.", stacklevel=3
        )


def _manager(folder: pathlib.Path, count: int, read_only: bool) -> ocp.CheckpointManager:
    return ocp.CheckpointManager(
        folder,
        options=ocp.CheckpointManagerOptions(
            max_to_keep=count,
            create=not read_only,
            cleanup_tmp_directories=not read_only,
            enable_async_checkpointing=not read_only,
            async_options=ocp.AsyncOptions(
                timeout_secs=CENTURY, create_directories_asynchronously=False
            ),
            # Orbax's metadata are not needed, and damaged ones would be an error.
            lightweight_initialize=True,
            # Both write at the same step: their barriers need different names.
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                barrier_sync_key_prefix=folder.name
            ),
        ),
    )


class _Mismatch(ValueError):
    """The checkpoint is whole and is of other settings."""


def _sealed(status: dict[str, Any]) -> dict[str, Any]:
    """Returns the status as one string with its CRC, since a bit can flip in it too."""
    body = json.dumps(status, sort_keys=True)
    return {"body": body, "crc32": zlib.crc32(body.encode())}


def _unsealed(sealed: dict[str, Any]) -> dict[str, Any]:
    body = sealed["body"]
    if zlib.crc32(body.encode()) != sealed["crc32"]:
        raise ValueError("checksum of the status differs")
    return parse_json(body, non_finite=True)


def _describe(flat: dict[str, Any], sums: dict[str, int]) -> dict[str, list[Any]]:
    """`[shape, dtype, checksum]` of each leaf."""
    return {name: [list(x.shape), str(x.dtype), sums[name]] for name, x in flat.items()}


def write_json(path: pathlib.Path, values: Any) -> None:
    """Writes strict JSON so that a reader never sees an incomplete file."""
    text = json.dumps(plain(values), indent=1, sort_keys=True) + "\n"
    with naming(path):
        write_file(path, text.encode(), sync=True)


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
    """Returns the bits of an array as uint32 words."""
    size = jnp.dtype(x.dtype).itemsize
    if x.dtype == jnp.bool_:
        return x.astype(jnp.uint32)
    if size >= 4:  # eight bytes become two words
        return jax.lax.bitcast_convert_type(x, jnp.uint32)
    narrow = jnp.uint8 if size == 1 else jnp.uint16
    return jax.lax.bitcast_convert_type(x, narrow).astype(jnp.uint32)
