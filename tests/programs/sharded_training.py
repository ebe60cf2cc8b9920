"""On 8 virtual devices: DALL-E's step fully sharded, and tensor parallel; a checkpoint.

Run by tests/train/test_sharding.py, since the number of devices is fixed when JAX starts. Prints
JSON: metrics and updates of each mesh, the shapes of its shards, and of the state that continues.

    python sharded_training.py WORKDIR
"""

import contextlib
import dataclasses
import gc
import io
import json
import pathlib
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from support.helpers import make_batch
from support.small import small_run, write_data

from genjax import families
from genjax.core import Optimizer, init_state, make_step, with_ema
from genjax.families import dalle, made
from genjax.train import Run, Train, compile_step, fit, make_mesh
from genjax.train.checkpoint import Checkpoints
from genjax.train.compile import batch_sharding, leaf_name, put
from genjax.train.identity import RunIdentity
from genjax.train.layouts import Layouts
from genjax.train.sharding import parameter_rules

warnings.simplefilter("error")
gc.set_threshold(100_000, 20, 20)  # as in conftest.py
jax.config.update("jax_numpy_rank_promotion", "raise")

MESHES = {  # devices, of which share a layer, fully sharded
    "1": (1, 1, False),
    "fsdp": (8, 1, True),
    "both": (8, 2, True),
}


def main(folder: pathlib.Path) -> None:
    assert jax.device_count() == 8
    model = dataclasses.replace(dalle.tiny(), width=16, heads=2, layers=2)
    # Not Adam, whose first steps hardly depend on the size of a gradient.
    optimizer = Optimizer(optimizer="sgd", learning_rate=1.0, momentum=0.9)
    run = Run(
        experiment="sharded",
        family="dalle",
        model=model,
        optimizer=optimizer,
        train=Train(batch_size=8, ema=0.9),
    )
    batches = [make_batch(dalle, model, 8, seed=seed) for seed in (1, 2)]
    out, saved = {}, folder / "saved"
    for name, (count, tensor_parallel, fsdp) in MESHES.items():
        step, layouts, mesh = parts(run, count, tensor_parallel, fsdp)
        state = first_state(run, layouts)
        before = list(map(np.array, jax.tree.leaves(state.variables["params"])))
        state, metrics = step(state, spread(batches[0], mesh))
        after = jax.tree.leaves(state.variables["params"])
        out[name] = {
            "metrics": [floats(metrics)],
            "updates": [(np.asarray(a) - b).tolist() for a, b in zip(after, before, strict=True)],
            "shards": shards(state),
        }
        if name == "both":
            checkpoints = Checkpoints(saved, identity=RunIdentity(run, None))
            checkpoints.save(state, {})
            checkpoints.close()
        state, metrics = step(state, spread(batches[1], mesh))
        out[name]["metrics"].append(floats(metrics))
    # The state of 8 devices, on 1.
    step, layouts, mesh = parts(run, 1, 1, False)
    checkpoints = Checkpoints(saved, read_only=True, identity=RunIdentity(run, None))
    state, _ = checkpoints.restore(layouts.saved_arrays)
    checkpoints.close()
    assert all(leaf.sharding.num_devices == 1 for leaf in jax.tree.leaves(state))
    out["continued"] = floats(step(state, spread(batches[1], mesh))[1])
    out["run"] = whole_run(folder)
    print(json.dumps(out))


def whole_run(folder):
    """`fit` for two steps on 8 devices, fully sharded, then on 1; and all of it on 1."""
    run = small_run("made", write_data(folder), eval_every=2, save_every=2, sample_every=2)
    run = dataclasses.replace(run, model=made.Config(shape=(3, 3, 1), hidden=(512,)))
    begun, run = (with_steps(run, steps) for steps in (2, 4))
    shown = io.StringIO()
    with contextlib.redirect_stderr(shown):
        fit(begun, folder / "cut", fsdp=True)
    mesh = make_mesh()
    layouts = Layouts(run, mesh, parameter_rules("made", run.model, mesh, fsdp=True))
    checkpoints = Checkpoints(folder / "cut", read_only=True)
    divided = shards(checkpoints.restore(layouts.saved_arrays)[0])
    checkpoints.close()
    one = dict(devices=jax.devices()[:1], quiet=True)
    cut, whole = (fit(run, folder / name, **one) for name in ("cut", "whole"))
    return {
        "shards": divided,
        "sessions": cut.record["sessions"],
        "finished": cut.step,
        "whole": whole.step,
        "obtained": cut.record["obtained"],
        "expected": whole.record["obtained"],
        "printed": next(line for line in shown.getvalue().splitlines() if "memory" in line),
    }


def with_steps(run, steps):
    return dataclasses.replace(run, train=dataclasses.replace(run.train, steps=steps))


def parts(run, count, tensor_parallel, fsdp):
    """The compiled step, layouts and mesh of so many devices."""
    mesh = make_mesh(jax.devices()[:count], tensor_parallel=tensor_parallel)
    rules = parameter_rules(run.family, run.model, mesh, fsdp=fsdp)
    layouts = Layouts(run, mesh, rules)
    layout = layouts.of(0)
    step = make_step(families.get(run.family), run.model, layout.optimizer)
    step = with_ema(step, run.train.ema)
    return compile_step(step, mesh=mesh, shardings=layout.shardings), layouts, mesh


def first_state(run, layouts):
    layout, family = layouts.of(0), families.get(run.family)

    def build(key):
        return init_state(family, run.model, layout.optimizer, key, ema=True)

    return jax.jit(build, out_shardings=layout.shardings)(jax.random.key(0))


def spread(batch, mesh):
    return put(jax.tree.map(np.asarray, batch), batch_sharding(mesh))


def floats(metrics):
    return {name: float(value) for name, value in metrics.items()}


def shards(state):
    """Shapes of every divided leaf and of what one device has of it."""
    found = {}
    for path, leaf in jax.tree.leaves_with_path(state):
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            part = leaf.addressable_shards[0].data.shape
            if part != leaf.shape:
                found[leaf_name(path)] = [list(leaf.shape), list(part)]
    return found


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
