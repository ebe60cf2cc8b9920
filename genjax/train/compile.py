"""`compile_step`: the one place that jits, donates, shards, scans steps and vmaps runs."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from genjax import checks
from genjax.core import State, named_key

Rules = Sequence[tuple[str, PartitionSpec]] | Callable[[str, tuple[int, ...]], PartitionSpec]
AnyMesh = Mesh | AbstractMesh
DATA, MODEL = "data", "model"  # axes of a mesh: examples, and parts of layers


def make_mesh(devices: Sequence[jax.Device] | None = None, *, tensor_parallel: int = 1) -> Mesh:
    """Returns a mesh of all devices (of all processes) with the axes `data` and `model`.

    Args:
      devices: None is all.
      tensor_parallel: size of `model`, the devices that share each layer. They are neighbours in
        the order of the devices, thus on one host where it has so many.

    Raises:
      ValueError: it does not divide the number of devices.
    """
    found = np.array(jax.devices() if devices is None else list(devices))
    checks.positive(tensor_parallel=tensor_parallel)
    if found.size % tensor_parallel:
        raise ValueError(
            f"{found.size} devices are not divisible by {tensor_parallel}; set --tensor-parallel to"
            f" a divisor of {found.size}."
        )
    # Auto: linen's recurrent layers fail under the explicit axes jax.make_mesh defaults to.
    grid = found.reshape(-1, tensor_parallel)
    return Mesh(grid, (DATA, MODEL), axis_types=(AxisType.Auto,) * 2)


def data_devices(mesh: AnyMesh) -> int:
    """Returns the number of parts that a batch is divided into."""
    return mesh.shape[DATA]


def leaf_name(path: Sequence[Any]) -> str:
    """Returns a leaf's path in a pytree, `variables.params.W`."""
    return jax.tree_util.keystr(tuple(path), simple=True, separator=".")


def state_shardings(shapes: Any, mesh: AnyMesh, rules: Rules | None = None) -> Any:
    """Returns a sharding for every leaf of a state.

    Args:
      shapes: the state under `jax.eval_shape`.
      mesh: from `make_mesh`.
      rules: (regular expression, PartitionSpec) pairs, tried in order on the leaf's path, such as
        `("params.*W", PartitionSpec(None, "data"))`; or `rules(path, shape) -> PartitionSpec`;
        None replicates all.

    Raises:
      ValueError: a leaf of the parameters, their average or the optimizer's moments matches no
        rule, or its shape is not divisible by the devices.
    """
    if rules is None:
        return jax.tree.map(lambda _: NamedSharding(mesh, PartitionSpec()), shapes)

    def place(path: Sequence[Any], leaf: Any) -> NamedSharding:
        name = leaf_name(path)
        if name.endswith("ns_coeffs"):  # Muon's polynomial, not a parameter
            return NamedSharding(mesh, PartitionSpec())
        if callable(rules):
            return NamedSharding(mesh, rules(name, leaf.shape))
        for pattern, spec in rules:
            if re.search(pattern, name):
                found = NamedSharding(mesh, spec if leaf.ndim >= len(spec) else PartitionSpec())
                try:
                    found.shard_shape(leaf.shape)
                except ValueError:
                    raise ValueError(
                        f"{name} of shape {list(leaf.shape)} is not divisible as {spec} by"
                        f" {dict(mesh.shape)}; put a rule of its own before."
                    ) from None
                return found
        if leaf.ndim == 0 or not re.search("params|ema|opt_state", name):
            return NamedSharding(mesh, PartitionSpec())
        raise ValueError(f"no sharding rule matches {name}; end the rules with ('.*', P()).")

    return jax.tree_util.tree_map_with_path(place, shapes)


def batch_sharding(mesh: Mesh, lead: int = 0) -> NamedSharding:
    """Shards the batch axis over `data`, after `lead` axes (scanned steps, runs, critic steps)."""
    return NamedSharding(mesh, PartitionSpec(*(None,) * lead, DATA))


class CompiledStep:
    """A jitted step that reports a donated state; `lower` is jit's.

    Attributes:
      program: the compiled program, if the step is compiled ahead of time; else None.
    """

    def __init__(self, function: Any, program: Any = None):
        self._function = function if program is None else program
        self.lower, self.program = function.lower, program

    def compile(self, *shapes: Any) -> "CompiledStep":
        """Returns the step compiled for one set of shapes, those of the state first."""
        return CompiledStep(self, self.lower(*shapes).compile())

    def __call__(self, state: State, *inputs: Any) -> tuple[State, dict[str, jax.Array]]:
        """Runs the step.

        Raises:
          ValueError: the state was donated to an earlier call.
        """
        try:
            return self._function(state, *inputs)
        except AttributeError:
            if hasattr(state, "opt_state"):
                raise
            raise ValueError(
                f"a step takes a State and a batch, step(state, batch), got"
                f" {type(state).__name__} first; genjax.core.init_state makes the state."
            ) from None
        except (RuntimeError, ValueError) as error:
            if "deleted" not in str(error):
                raise
            paths = jax.tree_util.tree_leaves_with_path(state)
            donated = [leaf_name(path) for path, leaf in paths if _is_deleted(leaf)]
            if not donated:
                raise
            raise ValueError(
                f"the state was donated to an earlier step, which reused its memory ({donated[0]}"
                f" is deleted); use the state that the step returned, or compile it with"
                f" donate=False."
            ) from None


def _is_deleted(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and leaf.is_deleted()


def compile_step(
    step: Callable[[Any, Any], tuple[Any, dict[str, jax.Array]]],
    *,
    mesh: Mesh | None = None,
    shardings: Any = None,
    steps_per_call: int = 1,
    runs: int = 1,
    lead: int = 0,
    transform: Callable[[Any, jax.Array], Any] | None = None,
    resident: bool = False,
    window: bool = False,
    donate: bool = True,
) -> CompiledStep:
    """Compiles `step(state, batch) -> (state, metrics)`.

    Args:
      step: pure, from a family's `make_step`.
      mesh: devices to spread the batch over; None is the default device.
      shardings: of the state, from `state_shardings`; None replicates it over the mesh.
      steps_per_call: steps joined in one dispatch by `lax.scan`. Keep 1 on CPU, where XLA runs
        the gradients of convolutions inside a loop 3 to 30 times slower.
      runs: independent runs in one program by `vmap`: every leaf of the state and of the batch
        has a leading axis of runs. Make the state with `jax.vmap` of `init_state` over keys.
      lead: axes of the batch before its batch axis (1 with several critic steps).
      transform: `(batch, key) -> batch` on the device, with the stream "data" of the step.
      resident: the data lives on the device: call with indices into it, see below.
      window: with `resident`, `indices` is a pair: those of many steps, `[W, ..., B]`, and int32
        `[]`, the first of these steps. A call selects its own, so that not every call has to send
        indices to the device.
      donate: reuse the old state's memory for the new state; the old one is then deleted.

    Returns:
      `call(state, batch)`, or with `resident` `call(state, indices, data)`, where `data` is a
      dict of arrays `[N, ...]` and `indices` int32 `[B]`, or a dict of them by the names of `data`
      where entries have orders of their own. Batches and indices get a leading axis
      of runs where `runs > 1`, and before it one of steps where `steps_per_call > 1`; metrics
      come back with the same axes. `call.lower` is jit's.
    """

    def one_run(state: Any, batch: Any) -> Any:
        if transform is not None:
            batch = transform(batch, named_key(state.key, state.step, "data"))
        return step(state, batch)

    if window and (runs > 1 or not resident):
        raise ValueError("a window of indices needs resident data and a single run.")
    one_step = jax.vmap(one_run) if runs > 1 else one_run
    axes = lead + (1 if runs > 1 else 0)

    def spread(batch: Any) -> Any:
        if mesh is None:
            return batch
        return jax.lax.with_sharding_constraint(batch, batch_sharding(mesh, axes))

    def call(state: Any, batches: Any, data: Mapping[str, Any] | None = None) -> Any:
        if window:
            indices, first = batches
            batches = jax.tree.map(
                lambda a: jax.lax.dynamic_slice_in_dim(a, state.step - first, steps_per_call),
                indices,
            )
            if steps_per_call == 1:
                batches = jax.tree.map(lambda a: a[0], batches)

        def body(state: Any, item: Any) -> Any:
            batch = item
            if resident and data:
                by_name = item if isinstance(item, Mapping) else dict.fromkeys(data, item)
                batch = {k: v[by_name[k]] for k, v in data.items()}
            return one_step(state, spread(batch))

        if steps_per_call == 1:
            return body(state, batches)
        return jax.lax.scan(body, state, batches, length=steps_per_call)

    options: dict[str, Any] = {"donate_argnums": 0} if donate else {}
    if mesh is not None:
        replicated = NamedSharding(mesh, PartitionSpec())
        shardings = replicated if shardings is None else shardings
        many = 1 if steps_per_call > 1 or window else 0
        batches: Any = batch_sharding(mesh, axes + many)
        batches = (batches, replicated) if window else batches
        inputs = (shardings, batches, replicated) if resident else (shardings, batches)
        options |= {"in_shardings": inputs, "out_shardings": (shardings, replicated)}
    if resident:
        return CompiledStep(jax.jit(call, **options))
    return CompiledStep(jax.jit(lambda state, batches: call(state, batches), **options))


def put_like(tree: Any, shardings: Any) -> Any:
    """Puts some of the host's variables where `shardings`, a dict with more entries, says."""
    if isinstance(tree, dict):
        return {name: put_like(value, shardings[name]) for name, value in tree.items()}
    return jax.tree.map(put, tree, shardings)


def put(x: Any, sharding: NamedSharding | None) -> Any:
    """Puts host arrays, the same on every process, on the devices that each process addresses."""
    if sharding is None:
        return jax.tree.map(jax.numpy.asarray, x)
    return jax.tree.map(
        lambda a: jax.make_array_from_callback(a.shape, sharding, lambda index: a[index]), x
    )
