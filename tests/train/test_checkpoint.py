"""Checkpoints are restored exactly, or set aside with a warning."""

import contextlib
import functools
import os
import pathlib
import resource
import shutil
import sys
import tempfile
import time
import warnings

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import make_optimizer, make_state

from genjax import families
from genjax.core import init_state
from genjax.train.checkpoint import Checkpoints, checksums, leaves

# Orbax's other reads of a damaged checkpoint may end after the first error was handled.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")

FAMILY = families.get("gan")
CONFIG = FAMILY.tiny()


@functools.cache
def shapes():
    optimizer = make_optimizer(FAMILY)
    return jax.eval_shape(
        lambda key: init_state(FAMILY, CONFIG, optimizer, key, ema=True), jax.random.key(0)
    )


def layout(step):
    """Returns shapes and shardings of a state, the same at every step."""
    del step
    return shapes(), None


@functools.cache
def state_at(step):
    state = make_state(FAMILY, CONFIG, seed=step, ema=True)
    return state.replace(step=jnp.asarray(step, jnp.int32))


@pytest.fixture(scope="module")
def saved_once(tmp_path_factory):
    """Checkpoints of steps 1, 2 and 3, which no test changes; returns the workdir."""
    workdir = tmp_path_factory.mktemp("saved")
    checkpoints = Checkpoints(workdir, keep=3)
    for step in (1, 2, 3):
        checkpoints.save(state_at(step), {"best": step / 10})
    checkpoints.close()
    return workdir


@pytest.fixture
def saved(saved_once, tmp_path):
    """A copy of `saved_once`."""
    return shutil.copytree(saved_once, tmp_path, dirs_exist_ok=True)


def restore(workdir):
    checkpoints = Checkpoints(workdir, keep=3)
    try:
        return checkpoints.restore(layout)
    finally:
        checkpoints.close()


def assert_is(state, step):
    assert int(state.step) == step
    expected = state_at(step)
    chex.assert_trees_all_equal(leaves(state), leaves(expected))
    assert state.key.dtype == expected.key.dtype
    assert type(state.opt_state) is type(expected.opt_state)


def data_files(workdir, step):
    """Returns the files of array data, the largest first."""
    folder = workdir / "checkpoints" / "latest" / str(step) / "state"
    files = [p for p in folder.rglob("*") if p.is_file() and p.parent.name == "d"]
    return sorted(files, key=lambda p: -p.stat().st_size)


def test_restores_the_newest(saved):
    state, status = restore(saved)
    assert_is(state, 3)
    assert status == {"best": 0.3}


def test_keeps_the_latest_few(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3, 4):
        checkpoints.save(state_at(step), {})
    checkpoints.save(state_at(1), {}, which="best")
    checkpoints.wait()
    assert checkpoints.steps() == [3, 4]
    assert checkpoints.steps("best") == [1]
    checkpoints.remove_after(3)
    assert checkpoints.steps() == [3]
    checkpoints.close()


def test_saving_a_step_again_replaces_it(saved):
    checkpoints = Checkpoints(saved, keep=3)
    changed = state_at(3).replace(ema=state_at(9).ema)
    checkpoints.save(changed, {"best": 7})
    checkpoints.close()
    state, status = restore(saved)
    chex.assert_trees_all_equal(state.ema, changed.ema)
    assert status == {"best": 7}


def test_a_truncated_checkpoint_is_set_aside(saved):
    for path in data_files(saved, 3):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.warns(UserWarning, match=r"latest/3 is damaged .*using the one before it"):
        state, _ = restore(saved)
    assert_is(state, 2)
    assert (saved / "checkpoints" / "corrupt-latest-3").is_dir()  # kept


@pytest.mark.parametrize("harm", ["flip", "unlink"])
def test_damage_never_restores_wrong_values(saved, harm):
    """With one damaged file, the restored state is correct, or the previous one.

    Orbax keeps files that a restore does not read, whose damage is not detected.
    """
    folder = saved / "checkpoints" / "latest" / "3"
    rng = np.random.default_rng(0)
    noticed = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size):
        whole = path.read_bytes()
        if harm == "unlink":
            path.unlink()
        else:
            raw = bytearray(whole)
            raw[rng.integers(len(raw))] ^= 1 << int(rng.integers(8))
            path.write_bytes(raw)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            state, _ = restore(saved)
        if caught:
            assert "latest/3 is damaged" in str(caught[0].message)
            noticed.append(path.name)
            (saved / "checkpoints" / "corrupt-latest-3").rename(folder)
        assert_is(state, 2 if caught else 3)
        path.write_bytes(whole)
    assert noticed


def test_returns_none_if_all_are_damaged(saved):
    for step in (1, 2, 3):
        for path in data_files(saved, step):
            path.write_bytes(b"")
    with pytest.warns(UserWarning, match="is damaged"):
        assert restore(saved) is None


def test_checksums_detect_errors_that_orbax_does_not(saved, monkeypatch):
    """A bit flipped in memory after reading is detected by the checksum only."""
    import orbax.checkpoint as ocp

    restore_items = ocp.CheckpointManager.restore

    def flipping(self, step, *args, **kwargs):
        items = restore_items(self, step, *args, **kwargs)
        if step == 3 and "state" in items:
            name = next(n for n, v in items["state"].items() if v.dtype == jnp.float32 and v.ndim)
            words = np.array(items["state"][name])
            words.view(np.uint32).reshape(-1)[0] ^= 1  # the last bit of a mantissa
            items["state"][name] = jnp.asarray(words)
        return items

    monkeypatch.setattr(ocp.CheckpointManager, "restore", flipping)
    with pytest.warns(UserWarning, match=r"checksum of .* differs"):
        state, _ = restore(saved)
    assert_is(state, 2)


def test_rejects_other_settings_and_sets_nothing_aside(saved):
    other = families.get("nade")
    target = jax.eval_shape(
        lambda key: init_state(other, other.tiny(), make_optimizer(other), key), jax.random.key(0)
    )
    checkpoints = Checkpoints(saved, keep=3)
    with pytest.raises(ValueError, match="holds another state"):
        checkpoints.restore(lambda step: (target, None))
    checkpoints.close()
    assert_is(restore(saved)[0], 3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "uint32", "bool", "float16"])
def test_checksum_depends_on_every_word(dtype):
    x = jnp.asarray(np.arange(24).reshape(4, 6) % 2, dtype)
    base = int(checksums({"x": x})["x"])
    for i in range(24):
        changed = x.reshape(-1).at[i].set((1 - x.reshape(-1)[i].astype(jnp.float32)).astype(dtype))
        assert int(checksums({"x": changed.reshape(4, 6)})["x"]) != base
    assert int(checksums({"x": jnp.zeros((0,), dtype)})["x"]) == 0


def test_two_flipped_signs_do_not_cancel():
    """They would in a linear sum with odd factors, where 2^31 + 2^31 = 0."""
    x = jnp.arange(1.0, 25.0)
    base = int(checksums({"x": x})["x"])
    for changed in (-x, x.at[jnp.array([3, 8])].multiply(-1), x[::-1], jnp.roll(x, 1)):
        assert int(checksums({"x": changed})["x"]) != base


@pytest.mark.parametrize(
    "error",
    [jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory"), OSError(5, "I/O error")],
    ids=["memory", "disk"],
)
def test_errors_unrelated_to_the_checkpoint_leave_it_in_place(saved, monkeypatch, error):
    def fails(self, *args):
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(Checkpoints, "_restore", fails)
        with pytest.raises(type(error)):
            restore(saved)
    assert_is(restore(saved)[0], 3)


def test_read_only_changes_nothing(saved):
    before = sorted(str(p) for p in pathlib.Path(saved).rglob("*"))
    checkpoints = Checkpoints(saved, read_only=True)
    state, _ = checkpoints.restore(layout)
    checkpoints.close()
    assert_is(state, 3)
    assert sorted(str(p) for p in pathlib.Path(saved).rglob("*")) == before


def test_replaces_the_status_of_a_saved_state(saved):
    checkpoints = Checkpoints(saved, keep=3)
    checkpoints.save_status(3, {"best": 9})
    checkpoints.close()
    state, status = restore(saved)
    assert_is(state, 3)
    assert status == {"best": 9}


@contextlib.contextmanager
def unprivileged():
    """Permissions do not apply to root."""
    import grp  # noqa: F401  Orbax imports both when it reads the owner of a file
    import pwd  # noqa: F401

    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def readable_folder():
    """A folder that every user can read, which those of `tmp_path` are not."""
    folder = pathlib.Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_file_that_cannot_be_read_is_not_damage(readable_folder):
    """Orbax and TensorStore report some of these as missing files; all files stay in place."""
    checkpoints = Checkpoints(readable_folder)
    checkpoints.save(state_at(3), {})
    checkpoints.close()
    restore(readable_folder)
    step = readable_folder / "checkpoints" / "latest" / "3"
    for name in ("status", "status/metadata", "state/d", "state/manifest.ocdbt", "state/_METADATA"):
        mode = (step / name).stat().st_mode
        (step / name).chmod(0)
        checkpoints = Checkpoints(readable_folder, read_only=True)
        checkpoints.read_only = False  # as a run opens it
        with unprivileged(), pytest.raises(OSError, match=r"cannot be read \(Permission denied\)"):
            checkpoints.restore(layout)
        checkpoints.close()
        (step / name).chmod(mode)
        assert_is(restore(readable_folder)[0], 3)


@pytest.mark.parametrize("name", ["checkpoints", "checkpoints/latest", "checkpoints/best"])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_folder_that_cannot_be_opened_is_one_message(readable_folder, name, read_only):
    Checkpoints(readable_folder).close()
    folder, hook = readable_folder / name, sys.unraisablehook
    folder.chmod(0)
    use = "read" if read_only else "read and written"
    words = (
        rf"^{folder} cannot be opened \(Permission denied\); make it a folder that can be {use},"
    )
    with unprivileged(), pytest.raises(OSError, match=words):
        Checkpoints(readable_folder, read_only=read_only)
    assert sys.unraisablehook is hook
    folder.chmod(0o755)
    Checkpoints(readable_folder, read_only=True).close()


def test_a_read_error_of_the_disk_is_not_damage(saved):
    path = next((saved / "checkpoints" / "latest" / "3" / "state" / "d").iterdir())
    kept = path.read_bytes()
    path.unlink()
    path.symlink_to("/proc/self/mem")  # reading its first byte is an I/O error
    with pytest.raises(OSError, match=rf"{path} cannot be read \(Input/output error\)"):
        restore(saved)
    path.unlink()
    path.write_bytes(kept)
    assert_is(restore(saved)[0], 3)


def test_a_clock_that_jumps_does_not_end_a_save(tmp_path, monkeypatch):
    """By an hour at every reading."""
    now, hours = time.time, [0]

    def jumping():
        hours[0] += 1
        return now() + 3600 * hours[0]

    checkpoints = Checkpoints(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", jumping)
        checkpoints.save(state_at(3), {})
        checkpoints.wait()
    checkpoints.close()
    assert hours[0] > 10
    assert_is(restore(tmp_path)[0], 3)


def test_a_full_disk_is_one_message_that_names_the_folder(saved, caplog, capfd):
    """Here a limit of the size of a file, whose error is as that of a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    checkpoints = Checkpoints(saved, keep=3)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    try:
        words = rf"no checkpoint can be written to {saved}/checkpoints/latest \(File too large\)"
        checkpoints.save(state_at(4), {})
        with pytest.raises(OSError, match=words):
            checkpoints.wait()
        checkpoints.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not [record for record in caplog.records if record.exc_info]
    assert "Traceback" not in capfd.readouterr().err
    assert_is(restore(saved)[0], 3)


def test_damaged_metadata_of_orbax_are_not_needed(saved):
    """Orbax reads them when it opens a folder, and raises an error without the file's name."""
    latest = saved / "checkpoints" / "latest"
    for step, text in (("3", '{"item_handlers": [1]}'), ("2", '{"commit_timestamp_nsecs": "0"}')):
        (latest / step / "_CHECKPOINT_METADATA").write_text(text)
    assert_is(restore(saved)[0], 3)
    (latest / "3" / "status" / "metadata").write_text("{}")
    with pytest.warns(UserWarning, match="is damaged"):
        state, _ = restore(saved)
    assert_is(state, 2)


def test_a_link_to_a_device_is_damage(saved):
    file = saved / "checkpoints" / "latest" / "3" / "state" / "_METADATA"
    file.unlink()
    file.symlink_to("/dev/zero")
    with pytest.warns(UserWarning, match="_METADATA is not a regular file"):
        state, _ = restore(saved)
    assert_is(state, 2)
