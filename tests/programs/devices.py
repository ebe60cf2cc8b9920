"""On 8 virtual devices: a step of 1 and of 8, losses in pmap and shard_map. Prints JSON.

Run by tests/families/test_devices.py, since the number of devices is fixed when JAX starts.
"""

import functools
import gc
import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec
from support.helpers import (
    NAMES,
    PMAP_FAMILIES,
    REPLICATED_FAMILIES,
    SHARD_MAP_FAMILIES,
    critic_batch,
    loss_functions,
    make_batch,
    make_state,
)

from genjax import evals, families
from genjax.core import critic_steps, init_state, make_step, network_names, with_ema
from genjax.train import compile_step, make_mesh, state_shardings
from genjax.train.compile import batch_sharding, put

warnings.simplefilter("error")
gc.set_threshold(100_000, 20, 20)  # as in conftest.py
jax.config.update("jax_numpy_rank_promotion", "raise")


def main() -> None:
    assert jax.device_count() == 8
    out = {}
    for name in NAMES:
        family = families.get(name)
        config, optimizer = family.tiny(), descent(family)
        build = jax.jit(functools.partial(init_state, family, config, optimizer, ema=True))
        whole = make_batch(family, config, 16)
        batch = critic_batch(whole, config)
        out[name] = {"losses": {}, "steps": steps(name, config, optimizer, build, whole)}
        variables = build(jax.random.key(0)).variables
        for loss, function in loss_functions(family).items():
            out[name]["losses"][loss] = losses(name, config, variables, batch, function)
    out["evaluated"] = evaluated()
    print(json.dumps(out))


def losses(name, config, variables, batch, loss):
    function = functools.partial(loss, config)
    key, found = jax.random.key(3), {}

    # Inside a user's own pmap and shard_map: each device takes its two examples.
    def local_mean(variables, batch):
        return jax.lax.pmean(function(variables, batch, key)[0].mean(), "data")

    parts = jax.tree.map(lambda a: a.reshape(8, 2, *a.shape[1:]), batch)
    in_shard_map = jax.jit(
        jax.shard_map(
            local_mean,
            mesh=make_mesh(),
            in_specs=(PartitionSpec(), PartitionSpec("data")),
            out_specs=PartitionSpec(),
        )
    )
    if name not in SHARD_MAP_FAMILIES:
        return {"shape": jax.eval_shape(in_shard_map, variables, batch).shape}
    in_shard_map = in_shard_map(variables, batch)

    # What both must equal: the same function on each part by itself.
    each = jax.jit(jax.vmap(lambda part: function(variables, part, key)[0].mean()))(parts)
    if name in PMAP_FAMILIES:
        in_pmap = jax.pmap(local_mean, axis_name="data", in_axes=(None, 0))(variables, parts)
        found["pmap"] = [float(in_pmap[0]), float(each.mean())]
    found["shard_map"] = [float(in_shard_map), float(each.mean())]
    return found


def steps(name, config, optimizer, build, whole):
    """One compiled step on 1 device, on 8 with the state sharded by rules, and for some families on
    8: metrics, how many leaves are spread, and what was added to each leaf: of a gradient, its
    negative."""
    family = families.get(name)
    step = jax.jit(with_ema(make_step(family, config, optimizer), 0.9))  # traced once for all
    lead = 1 if critic_steps(config) > 1 else 0
    shapes = jax.eval_shape(build, jax.random.key(0))
    before = jax.tree.map(np.array, build(jax.random.key(0)).variables)
    found = {}
    for label, count, rules in (
        ("1", 1, None),
        ("8", 8, None),
        (
            "rules",
            8,
            [(r"kernel$|\.W$|\.V$", PartitionSpec(None, "data")), (".*", PartitionSpec())],
        ),
    ):
        if label == "8" and name not in REPLICATED_FAMILIES:
            continue
        mesh = make_mesh(jax.devices()[:count])
        if rules:  # tiny layers do not divide by 8: shard the ones that do
            rules = [
                (f"^{name.replace('.', chr(92) + '.')}$", PartitionSpec())
                for name in uneven(shapes)
            ] + list(rules)
        shardings = state_shardings(shapes, mesh, rules)
        state = jax.device_put(build(jax.random.key(0)), shardings)
        batch = put(jax.tree.map(np.asarray, whole), batch_sharding(mesh, lead))
        assert len(batch["x"].sharding.device_set) == count
        compiled = compile_step(step, mesh=mesh, shardings=shardings, lead=lead)
        new, metrics = compiled(state, batch)
        moved = jax.tree.map(lambda a, b: (np.asarray(a) - b).tolist(), new.variables, before)
        parts = {**moved.pop("params", {}), **moved}
        spread = [x for x in jax.tree.leaves(new.variables) if not x.is_fully_replicated]
        found[label] = [
            {k: float(v) for k, v in metrics.items()},
            len(spread),
            {
                part: jax.tree.leaves(of, is_leaf=lambda node: not isinstance(node, dict))
                for part, of in parts.items()
            },
        ]
    return found


def descent(family):
    """Steps along the gradient: adam's first steps hardly differ. The momentum is a state
    of the optimizer to be spread."""
    if family.traits(family.tiny()).fit != "gradient":
        return None
    plain = optax.sgd(1.0, momentum=0.9)
    networks = network_names(family)
    return {name: plain for name in networks} if networks else plain


def evaluated():
    """Nats of 13 rows, which 8 devices do not divide, on 1 device and on 8."""
    family = families.get("nade")
    config = family.tiny()
    state = make_state(family, config)
    x = np.asarray(critic_batch(make_batch(family, config, 16), config)["x"])[:13]
    found = []
    for count in (1, 8):
        sharding = batch_sharding(make_mesh(jax.devices()[:count]))
        nll = evals.make_nll(family, config, sharding=sharding)
        found.append(nll(state.variables, x, jax.random.key(0), 500).tolist())
    return found


def uneven(shapes):
    from genjax.train.compile import leaf_name

    leaves = jax.tree_util.tree_flatten_with_path(shapes)[0]
    return [leaf_name(p) for p, s in leaves if s.ndim >= 2 and s.shape[1] % 8]


if __name__ == "__main__":
    assert jnp.zeros(()).dtype == jnp.float32
    main()
