"""Shards the parameters of a run: fully over `data` (FSDP), and layers over `model`.

Zhao et al. 2023, "PyTorch FSDP" (arXiv:2304.11277); Shoeybi et al. 2019, "Megatron-LM"
(arXiv:1909.08053). Rules say where arrays are; XLA adds the communication.
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

LEAST_SIZE = 4096  # elements: smaller arrays are replicated, since collectives cost more
PARAMETERS = re.compile(r"^(variables\.params|ema|opt_state)\b")


def parameter_rules(
    name: str, config: Any, mesh: AnyMesh, *, fsdp: bool = False
) -> Callable[[str, tuple[int, ...]], PartitionSpec] | None:
    """Returns the sharding of a run's parameters, their average and the optimizer's state.

    A family's own rules say how its arrays are divided over `data` and `model`. Without FSDP
    nothing is divided over `data`. With it, an array without a rule, or whose axis of `data` is not
    divisible, is divided along its largest axis that is, if it has at least 4096 elements.

    Args:
      name: of the family.
      config: its Config.
      mesh: with the axes `data` and `model`.
      fsdp: whether to divide over `data`.

    Returns:
      `rules(path, shape)` for `state_shardings`; None where everything is replicated.

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
        if spec is not None and len(spec) > len(shape):  # of an optimizer's state
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
    """Bytes of a state, of one device or of the whole.

    Attributes:
      parameters: of all networks.
      gradients: of the largest network that is updated at once.
      optimizer: its state.
      average: of the parameters; 0 if none is kept.
      fixed: statistics, buffers and parts that are not trained.
    """

    parameters: int
    gradients: int
    optimizer: int
    average: int
    fixed: int

    @property
    def kept(self) -> int:
        """The bytes between two steps, without gradients."""
        return self.parameters + self.optimizer + self.average + self.fixed

    @property
    def total(self) -> int:
        """The bytes at the end of a step, if all gradients are there at once."""
        return self.kept + self.gradients


def state_memory(family: Any, shapes: State, shardings: Any = None) -> StateMemory:
    """Returns the memory of a state, before anything is compiled.

    Args:
      family: its module.
      shapes: the state under `jax.eval_shape`.
      shardings: of its leaves, for the memory of one device; None is the whole.
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
    """Returns a table of the memory of a state, of all of it and of each device of a mesh."""
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
    """Returns the table of memory of a run, before anything is compiled.

    Args:
      layouts: stages of the run, of which the last is shown, on a mesh.
      limit: bytes per device; None if they are not known.
      fsdp: whether parameters are divided over `data`.

    Raises:
      ValueError: a device does not hold its share of the state.
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
    """Returns a number of bytes for a reader, as GB, or MB of few."""
    return f"{size / 1e9:,.2f} GB" if size >= 1e7 else f"{size / 1e6:,.2f} MB"


def _bytes(leaf: Any, shape: tuple[int, ...]) -> int:
    if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return 8
    return math.prod(shape) * leaf.dtype.itemsize
