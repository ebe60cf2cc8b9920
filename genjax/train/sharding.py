"""Shards the parameters of a run over the axis `data` (FSDP) and the axis `model` of a mesh.

Rules give the sharding of every array; XLA adds the communication. Zhao et al. 2023, "PyTorch FSDP"
(arXiv:2304.11277); Shoeybi et al. 2019, "Megatron-LM" (arXiv:1909.08053), for the axis `model`.
"""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from genjax import checks, families
from genjax.core import State, network_names
from genjax.core.protocols import Sharded
from genjax.train.compile import DATA, MODEL, AnyMesh
from genjax.train.layouts import Layouts

LEAST_SIZE = 4096  # elements; smaller arrays are replicated, since a collective costs more
PARAMETERS = re.compile(r"^(variables\.params|ema|opt_state)\b")


def parameter_rules(
    name: str, config: Any, mesh: AnyMesh, *, fsdp: bool = False
) -> Callable[[str, tuple[int, ...]], PartitionSpec] | None:
    """Returns the sharding of a run's parameters, their average and the optimizer's state.

    The rules of the family divide arrays over `data` and `model`. Without `fsdp`, no array is
    divided over `data`. With it, arrays of at least 4096 elements that have no rule, or whose rule
    divides an axis by a number of devices that does not divide its size, are divided along their
    largest divisible axis.

    Args:
      name: name of the family.
      config: its Config.
      mesh: with the axes `data` and `model`.
      fsdp: whether to divide over `data`.

    Returns:
      `rules(path, shape)` for `state_shardings`; None if all arrays are replicated.

    Raises:
      ValueError: there are several devices along `model`, and the family has no rules.
    """
    family = families.get(name)
    own = family.sharding_rules(config) if isinstance(family, Sharded) else ()
    sizes = dict(mesh.shape)
    if sizes[MODEL] > 1 and not own:
        raise ValueError(
            f"{name} has no rules to split its layers among {sizes[MODEL]} devices; set"
            f" --tensor-parallel 1, or use {', '.join(families.implementing(Sharded))}."
        )
    if not fsdp and sizes[MODEL] == 1:
        return None

    def rule(path: str, shape: tuple[int, ...]) -> PartitionSpec:
        if not PARAMETERS.search(path):
            return PartitionSpec()
        spec = next((spec for pattern, spec in own if re.search(pattern, path)), None)
        if spec is not None and len(spec) > len(shape):  # a reduced array of an optimizer
            spec = None
        axes = [*(spec or ()), *[None] * (len(shape) - len(spec or ()))]
        general = fsdp and spec is None
        for i, axis in enumerate(axes):
            if axis is None or (shape[i] % sizes[axis] == 0 and (fsdp or axis != DATA)):
                continue
            if axis == MODEL:
                raise ValueError(
                    f"axis {i} of {path}, {list(shape)}, is not divisible by {sizes[MODEL]}"
                    f" devices; set --tensor-parallel to a number that divides {shape[i]}."
                )
            axes[i], general = None, fsdp
        if general and math.prod(shape) >= LEAST_SIZE:
            free = [i for i, axis in enumerate(axes) if axis is None]
            whole = [i for i in free if shape[i] % sizes[DATA] == 0]
            if whole:
                axes[max(whole, key=lambda i: shape[i])] = DATA
        while axes and axes[-1] is None:
            axes.pop()
        return PartitionSpec(*axes)

    return rule


def parse_mesh(text: str) -> AbstractMesh:
    """Returns a mesh without devices, of a text such as `data=64,model=8`.

    Raises:
      ValueError: the text has another form, or a size is not positive.
    """
    found = re.fullmatch(r"data=(\d+)(?:,model=(\d+))?", text.replace(" ", ""))
    if not found:
        raise ValueError(
            f"'{text}' is not a mesh; give the devices of each axis, as in data=64,model=8."
        )
    sizes = int(found[1]), int(found[2] or 1)
    checks.positive(data=sizes[0], model=sizes[1])
    return AbstractMesh(sizes, (DATA, MODEL), axis_types=(AxisType.Auto,) * 2)


@dataclasses.dataclass(frozen=True)
class StateMemory:
    """Bytes of a train state, on one device or in all.

    Attributes:
      parameters: parameters of all networks.
      gradients: gradients of the network with the most parameters; networks are updated in turn.
      optimizer: state of the optimizers.
      average: moving average of the parameters; 0 without one.
      fixed: statistics, buffers and parts that are not trained.
    """

    parameters: int
    gradients: int
    optimizer: int
    average: int
    fixed: int

    @property
    def kept(self) -> int:
        """Bytes between two steps, without gradients."""
        return self.parameters + self.optimizer + self.average + self.fixed

    @property
    def total(self) -> int:
        """Bytes at the end of a step, if all gradients are in memory."""
        return self.kept + self.gradients


def state_memory(family: Any, shapes: State, shardings: Any = None) -> StateMemory:
    """Returns the memory of a train state from its shapes.

    Args:
      family: module of the family.
      shapes: the state, as `jax.eval_shape` returns it.
      shardings: shardings of its leaves, for the memory of one device; None is the whole state.
    """
    sizes = jax.tree.map(lambda leaf: _bytes(leaf, leaf.shape), shapes)
    if shardings is not None:
        sizes = jax.tree.map(lambda s, p: _bytes(s, p.shard_shape(s.shape)), shapes, shardings)

    def total(tree: Any) -> int:
        return sum(jax.tree.leaves(tree))

    variables = sizes.variables
    params = variables.get("params", {})
    networks = network_names(family)
    gradients = max(total(params[n]) for n in networks) if networks else total(params)
    return StateMemory(
        parameters=total(params),
        gradients=gradients if jax.tree.leaves(sizes.opt_state) else 0,
        optimizer=total(sizes.opt_state),
        average=total(sizes.ema),
        fixed=total({k: v for k, v in variables.items() if k != "params"}),
    )


def memory_table(whole: StateMemory, device: StateMemory, mesh: AnyMesh) -> str:
    """Returns a table of the memory of a state, whole and per device of a mesh."""
    axes = ", ".join(f"{axis}={size}" for axis, size in mesh.shape.items())
    unit, scale = ("GB", 1e9) if whole.total >= 1e8 else ("MB", 1e6)
    lines = [
        f"memory on {mesh.size} devices ({axes}), without activations",
        f"{unit:<12}{'one copy':>12}{'per device':>12}",
    ]
    names = [field.name for field in dataclasses.fields(StateMemory)]
    for name in [*(name for name in names if getattr(whole, name)), "total"]:
        each = (getattr(memory, name) / scale for memory in (whole, device))
        lines.append(f"{name:<12}" + "".join(f"{size:>12,.2f}" for size in each))
    return "\n".join(lines)


def memory_before(layouts: Layouts, limit: int | None = None, *, fsdp: bool = False) -> str:
    """Returns the table of memory of a run's last stage, from shapes alone.

    Args:
      layouts: stages of the run on a mesh.
      limit: bytes per device; None if unknown.
      fsdp: whether parameters are divided over `data`.

    Raises:
      ValueError: a device has less memory than its part of the state.
    """
    layout, mesh = layouts.of(len(layouts.stages) - 1), layouts.mesh
    assert mesh is not None
    device = state_memory(layouts.family, layout.shapes, layout.shardings)
    if limit is not None and device.kept > limit:
        more = "a larger --tensor-parallel or more devices" if fsdp else "--fsdp, or more devices"
        raise ValueError(
            f"the state needs {gigabytes(device.kept)} on each of {mesh.size} devices, and a device"
            f" has {gigabytes(limit)}; use {more}, or a smaller network."
        )
    return memory_table(state_memory(layouts.family, layout.shapes), device, mesh)


def gigabytes(size: int) -> str:
    """Returns a number of bytes as text, in GB, or in MB below 10 MB."""
    return f"{size / 1e9:,.2f} GB" if size >= 1e7 else f"{size / 1e6:,.2f} MB"


def _bytes(leaf: Any, shape: tuple[int, ...]) -> int:
    if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return 8
    return math.prod(shape) * leaf.dtype.itemsize
