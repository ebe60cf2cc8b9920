"""Checkpoints are restored exactly, or set aside with a warning."""

import pathlib
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


def shapes():
    optimizer = make_optimizer(FAMILY)
    return jax.eval_shape(
        lambda key: init_state(FAMILY, CONFIG, optimizer, key, ema=True), jax.random.key(0)
    )


def state_at(step):
    state = make_state(FAMILY, CONFIG, seed=step, ema=True)
    return state.replace(step=jnp.asarray(step, jnp.int32))


@pytest.fixture
def saved(tmp_path):
    """Checkpoints of steps 1, 2 and 3; returns the workdir."""
    checkpoints = Checkpoints(tmp_path, keep=3)
    for step in (1, 2, 3):
        checkpoints.save(state_at(step), {"best": step / 10})
    checkpoints.close()
    return tmp_path


def restore(workdir):
    checkpoints = Checkpoints(workdir, keep=3)
    try:
        return checkpoints.restore(shapes())
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
        checkpoints.restore(target)
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
    state, _ = checkpoints.restore(shapes())
    checkpoints.close()
    assert_is(state, 3)
    assert sorted(str(p) for p in pathlib.Path(saved).rglob("*")) == before
