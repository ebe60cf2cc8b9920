"""The stages of a run before its first step: a table, and an error for those that do not fit."""

import dataclasses
import io
import math
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import families
from genjax.core import critic_steps, network_names, stages_of
from genjax.train.compile import CompiledStep, data_devices, put
from genjax.train.device_memory import device_limit, largest_batch, program_memory
from genjax.train.layouts import WHOLE, Layout
from genjax.train.programs import Programs
from genjax.train.progress import format_duration
from genjax.train.run_config import Run
from genjax.train.sharding import gigabytes

MEASURED = 2.0  # seconds: longer calls are not measured
# Operations per second of a CPU core and of another device, until a call has been measured.
CORE_RATE, DEVICE_RATE = 1e10, 1e13


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageRow:
    """What is left of a stage.

    Attributes:
      stage: its name.
      images: examples that it is trained on.
      fade: steps in which new layers fade in.
      stable: steps after the fade.
      batch_size: examples per step; per critic step if there are several.
      critic_steps: updates of the first network per step.
      live: parameters that the losses depend on.
      parameters: all parameters.
      memory: bytes per device of the compiled step; None if it is not compiled, or not known.
      seconds: of its steps; None if they are not known.
      measured: whether the time of a step was measured; else it follows from its operations.
    """

    stage: str
    images: int
    fade: int
    stable: int
    batch_size: int
    critic_steps: int
    live: int
    parameters: int
    memory: int | None = None
    seconds: float | None = None
    measured: bool = False


def stage_rows(programs: Programs, step: int, data: Any = None) -> list[StageRow]:
    """Returns a row for every stage that is left, with memory and time of those compiled.

    Args:
      programs: of the run.
      step: of the state that the run begins or resumes with.
      data: examples on the device, the last input of a step; None or empty without.

    Raises:
      ValueError: a stage does not fit the device.
    """
    layouts = programs.layouts
    numbers = range(layouts.next(step).number, len(layouts.stages))
    found = [(layouts.of(number), *programs.main(number, step)) for number in numbers]
    limit = device_limit(programs.mesh)
    check_memory(programs, {layout.number: compiled for layout, compiled, _ in found}, limit)
    timer, rows = Timer(), []
    for layout, compiled, length in found:
        row = _row(programs, layout, step)
        if compiled is not None:
            memory = program_memory(compiled.program)
            inputs = (layout.shapes, *programs.shapes(layout.stage, length))
            # On zeros it is measured beside the state of the run.
            fits = memory is None or limit is None or memory + _bytes(layout.shapes) <= limit
            each, measured = timer.seconds_per_step(compiled, inputs, length, data, fits)
            seconds = None if each is None else each * (row.fade + row.stable)
            row = dataclasses.replace(row, memory=memory, seconds=seconds, measured=measured)
        rows.append(row)
    return rows


def check_memory(
    programs: Programs, compiled: dict[int, CompiledStep | None], limit: int | None
) -> None:
    """Checks that the steps of stages fit the device.

    Args:
      programs: of the run.
      compiled: steps by the numbers of their stages; those that are None are not checked.
      limit: bytes per device; None checks nothing.

    Raises:
      ValueError: a stage does not fit; the message has the batch size that does, which was
        compiled.
    """
    sizes = {n: program_memory(step.program) for n, step in compiled.items() if step is not None}
    large = {n: size for n, size in sizes.items() if size and limit and size > limit}
    if not large or limit is None:
        return
    layouts = programs.layouts
    batches = {n: _fitting_batch(programs, n, size, limit) for n, size in large.items()}
    words = [
        f"stage {layouts.stages[n].name} needs {gigabytes(size)} with a batch of"
        f" {layouts.stages[n].batch_size}"
        for n, size in large.items()
    ]
    problem = f"{' and '.join(words)}, and the device has {gigabytes(limit)}"
    if not all(batches.values()):
        raise ValueError(
            f"{problem}; no batch size fits: use a smaller network or shape, or several devices."
        )
    run = layouts.run
    fix = _options(run, [batches.get(n, size) for n, size in enumerate(_batch_sizes(run))])
    raise ValueError(f"{problem}; set {fix}, which fits.")


def render(rows: Sequence[StageRow]) -> str:
    """Returns the table as text; a time that was not measured begins with ~."""
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for heading in ("stage", "images", "fade + stable steps", "batch", "critic steps"):
        table.add_column(heading, justify="right")
    for heading in ("parameters: live", "all", "memory", "time"):
        table.add_column(heading, justify="right")
    for row in rows:
        memory = "not compiled" if row.memory is None else gigabytes(row.memory)
        table.add_row(
            row.stage,
            f"{row.images:,}",
            f"{row.fade:,} + {row.stable:,}",
            f"{row.batch_size:,}",
            f"{row.critic_steps}",
            f"{row.live:,}",
            f"{row.parameters:,}",
            memory,
            _time(row.seconds, row.measured),
        )
    known = [row.seconds for row in rows if row.seconds is not None]
    total = sum(known) if len(known) == len(rows) else None
    table.add_section()
    images = f"{sum(row.images for row in rows):,}"
    steps = f"{sum(row.fade + row.stable for row in rows):,}"
    exact = all(row.measured for row in rows)
    table.add_row("all", images, steps, "", "", "", "", "", _time(total, exact))
    out = io.StringIO()
    Console(file=out, width=160).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


class Timer:
    """Measures or estimates the time of calls, the shortest of them first.

    A call is measured on zeros where its number of operations says that it is short, at the highest
    rate that was measured. With several processes nothing is measured: they could not agree.
    """

    def __init__(self) -> None:
        cpu = jax.default_backend() == "cpu"
        self.rate = CORE_RATE * (os.cpu_count() or 1) if cpu else DEVICE_RATE
        self.known = False

    def seconds_per_step(
        self, step: CompiledStep, shapes: Any, length: int, data: Any, fits: bool
    ) -> tuple[float | None, bool]:
        """Returns the seconds of a step, and whether they were measured.

        Args:
          step: compiled, of `length` steps.
          shapes: of its inputs.
          length: steps of a call.
          data: examples on the device, used as the last input; empty or None without.
          fits: whether the device has the memory to measure.
        """
        operations = _operations(step)  # of one step: those in a loop count once
        if operations is None:
            return None, False
        if jax.process_count() > 1 or not fits or operations * length / self.rate > MEASURED:
            return operations / self.rate, False
        seconds = math.inf
        for _ in range(2):  # the first call is slower
            inputs = _zeros(step.program, shapes, data)
            jax.block_until_ready(inputs)
            began = time.perf_counter()
            jax.block_until_ready(step(*inputs))
            seconds = min(seconds, (time.perf_counter() - began) / length)
        rate = operations / seconds
        self.rate, self.known = max(self.rate, rate) if self.known else rate, True
        return seconds, True


def live_parameters(programs: Programs, layout: Layout) -> int:
    """Returns the number of parameters that the losses of a stage depend on."""
    family, config = programs.layouts.family, layout.stage.config
    losses = list(family.LOSSES.values()) if network_names(family) else [family.loss]
    variables = dict(layout.shapes.variables)
    params = variables.pop("params")

    def run(params: Any, others: Any, batch: Any, key: Any) -> Any:
        variables = {**others, "params": params}
        return [loss(config, variables, batch, key)[0] for loss in losses]

    batch = family.batch_spec(config, layout.stage.batch_size)
    key = jax.eval_shape(lambda: jax.random.key(0))
    jaxpr = jax.make_jaxpr(run)(params, variables, batch, key).jaxpr
    used = {id(variable) for equation in jaxpr.eqns for variable in equation.invars}
    leaves = jax.tree.leaves(params)
    return sum(
        leaf.size
        for leaf, variable in zip(leaves, jaxpr.invars[: len(leaves)], strict=True)
        if id(variable) in used
    )


def _row(programs: Programs, layout: Layout, step: int) -> StageRow:
    stage = layout.stage
    first = max(step, stage.first)
    fade = max(0, stage.first + stage.fade - first) if stage.fade else 0
    fade = min(fade, stage.end - first)
    return StageRow(
        stage=stage.name,
        images=(stage.end - first) * stage.examples_per_step,
        fade=fade,
        stable=stage.end - first - fade,
        batch_size=stage.batch_size,
        critic_steps=critic_steps(stage.config),
        live=live_parameters(programs, layout),
        parameters=sum(leaf.size for leaf in jax.tree.leaves(layout.shapes.variables["params"])),
    )


def _fitting_batch(programs: Programs, number: int, needed: int, limit: int) -> int:
    """Returns the largest batch size of a stage that fits, compiled; 0 if none does."""
    run, count = programs.layouts.run, data_devices(programs.mesh)
    now = _batch_sizes(run)

    def resized(size: int) -> Run:
        return _with_batch_sizes(run, [size if n == number else s for n, s in enumerate(now)])

    def possible() -> Iterator[int]:
        for size in range(count, now[number], count):
            try:
                _batch_sizes(resized(size))
            except ValueError:  # not a size that the family can train with
                continue
            yield size

    def memory(size: int) -> int:
        other = programs.of_run(resized(size))
        if number >= len(other.layouts.stages):  # the run would end before
            other = programs.of_run(_lengthened(resized(size)))
        length = min(programs.per_call, other.layouts.stages[number].steps)
        return program_memory(other.compile(number, length).program) or 0

    return largest_batch(memory, list(possible()), now[number], needed, limit)


def _lengthened(run: Run) -> Run:
    """Returns the run with the steps to reach all stages."""
    return dataclasses.replace(run, train=dataclasses.replace(run.train, steps=WHOLE))


def _batch_sizes(run: Run) -> list[int]:
    """Returns the batch sizes of all stages, also of those after the end of the run."""
    size = run.train.batch_size
    stages = stages_of(families.get(run.family), run.model, size, WHOLE)
    return [stage.batch_size for stage in stages]


def _with_batch_sizes(run: Run, sizes: Sequence[int]) -> Run:
    """Returns a run with a batch size for each stage; the smallest where there is no table."""
    if hasattr(run.model, "batch_sizes"):
        model = dataclasses.replace(run.model, batch_sizes=tuple(sizes))
        return dataclasses.replace(run, model=model)
    train = dataclasses.replace(run.train, batch_size=min(sizes))
    return dataclasses.replace(run, train=train)


def _options(run: Run, sizes: list[int]) -> str:
    """Returns the options that set the batch sizes of all stages."""
    if not hasattr(run.model, "batch_sizes"):
        return f"--batch-size {min(sizes)}"
    while len(sizes) > 1 and sizes[-1] == sizes[-2]:  # the last entry is repeated
        sizes = sizes[:-1]
    return f"--batch-sizes {' '.join(map(str, sizes))}"


def _operations(step: CompiledStep) -> float | None:
    costs = step.program.cost_analysis()
    return (costs or {}).get("flops") or None


def _zeros(program: Any, shapes: Any, data: Any) -> Any:
    """Returns inputs of a program: zeros, and the data where it is on the device."""
    leaves, tree = jax.tree.flatten(shapes)
    places = jax.tree.leaves(program.input_shardings[0], is_leaf=lambda place: place is None)

    def zeros(shape: jax.ShapeDtypeStruct, place: Any) -> Any:
        if jnp.issubdtype(shape.dtype, jax.dtypes.prng_key):
            return jax.device_put(jax.random.key(0), place)
        return put(np.zeros(shape.shape, shape.dtype), place)

    kept = len(leaves) - len(jax.tree.leaves(data))
    made = [zeros(*pair) for pair in zip(leaves[:kept], places[:kept], strict=True)]
    return jax.tree.unflatten(tree, [*made, *jax.tree.leaves(data)])


def _bytes(shapes: Any) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))


def _time(seconds: float | None, measured: bool) -> str:
    if seconds is None:
        return "unknown"
    hours = int(seconds) // 3600
    text = f"{hours}:{int(seconds) % 3600 // 60:02d}:{int(seconds) % 60:02d}"
    if hours == 0:
        text = format_duration(seconds)
    return text if measured else f"~{text}"
