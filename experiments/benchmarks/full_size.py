"""Exports training steps of full size from their shapes, and can run one step.

For every row the step at the row's batch size is lowered for CPU, CUDA and TPU (`jax.export`), its
operations are counted for each (`experiments.benchmarks.flops`), and it is compiled for this
machine for its memory: arguments, results and temporaries. No array is made. The seconds of the
compiler are those without a cache.

    python -m experiments.benchmarks.full_size
    python -m experiments.benchmarks.full_size --rows cyclegan_maps:paper --run
    python -m experiments.benchmarks.full_size --rows progressive_celebahq1024:swd --stages all
    python -m experiments.benchmarks.full_size --modes bedrooms faces face_parts

`--modes` are the published modes of PuzzleGAN that have no row: bedrooms at 128x128, faces and
face_parts at 256x256.

Networks that grow are those of the last stage, at its batch size, or of `--stages`: one program is
that of a fade and of the stable steps after it, whose weights of new layers are an input. The first
stage has no fade.

`--run` initialises the state, runs two steps on random images, and reports seconds and the peak
memory of the process; on a CPU the first includes the allocation of memory.
"""

import argparse
import dataclasses
import json
import pathlib
import resource
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax
from jax import export

from experiments.benchmarks import flops, speed
from experiments.benchmarks.growth import layouts_of, stage_state_at, stage_step
from experiments.benchmarks.reporting import (
    Row,
    make_parser,
    measure_rows,
    prepare_out,
    provenance,
    show,
)
from experiments.table import rows as all_rows
from genjax import checks, families
from genjax.core import step_batch_spec
from genjax.train import Run
from genjax.train.layouts import Layout
from genjax.train.record import device
from genjax.train.run_config import resolve

PLATFORMS = ("cpu", "cuda", "tpu")
ROWS = (
    "cyclegan_maps:paper",
    "cyclegan_maps:pix2pix",
    "stargan_celeba:paper",
    "progressive_celebahq1024:swd",
    "puzzle_gan_digits:paper",
    "jigsaw_pacs:gan_1000",
    "dalle_coco:dvae",
    "dalle_coco:paper",
    "gan_cls_cub:embedding",
    "gan_cls_cub:paper",
)
DIGITS = "puzzle_gan_digits:paper"
MODES = {"bedrooms": 128, "faces": 256, "face_parts": 256}  # of PuzzleGAN, and the side
FIRST_SIDE = 8  # of their first maps


def main(argv: list[str] | None = None) -> int:
    """Exports the rows, prints a table, writes the figures and returns the exit status."""
    parser = make_parser("full_size", __doc__)
    add = parser.add_argument
    add("--rows", nargs="+", default=[], metavar="ROW", help="rows of the table")
    add("--modes", nargs="+", choices=tuple(MODES), default=[], help="modes of PuzzleGAN, not rows")
    add("--stages", nargs="+", default=[], metavar="STAGE", help="such as 8x8, or all (the last)")
    add("--run", action="store_true", help="also run two steps")
    add("--out", type=pathlib.Path, help="JSON file to write")
    options = parser.parse_args(argv)
    selected = options.rows + [f"puzzle_gan:{mode}" for mode in options.modes] or list(ROWS)
    try:
        names = layouts_by_name(selected, options.stages)
        prepare_out(options.out)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    shared = provenance(options, device=device())
    cache = getattr(jax.config, speed.CACHE)
    jax.config.update(speed.CACHE, False)  # before anything compiles: JAX reads it once
    try:
        rows = measure_rows(
            lambda name: parts(*names[name], options), [*names], shared, options.out
        )
    finally:
        jax.config.update(speed.CACHE, cache)
    if not sys.stdout.isatty():
        print(json.dumps(shared | {"rows": rows}))
    done = [table_row(row) for row in rows if "error" not in row]
    show("training steps of full size", done, sys.stderr)
    return 0 if len(done) == len(rows) else 1


def layouts_by_name(names: list[str], stages: list[str]) -> dict[str, tuple[Run, Layout]]:
    """Returns the rows at the named stages: `{"row" or "row 8x8": (run, layout)}`.

    Args:
      names: of rows.
      stages: names of stages, `all`, or nothing for the last of each row.

    Raises:
      ValueError: there is no such row, or it has no stage of that name.
    """
    known, found = known_runs(), {}
    for name in names:
        checks.one_of(tuple(known), rows=name)
        run = resolve(known[name], jax.default_backend())
        layouts = layouts_of(run)
        every = [stage.name for stage in layouts.stages]
        selected = every if stages == ["all"] else stages or every[-1:]
        for stage in selected:
            checks.one_of(every, stages=stage)
            found[f"{name} {stage}".strip()] = (run, layouts.of(every.index(stage)))
    return found


def known_runs() -> dict[str, Run]:
    """Returns all rows, and PuzzleGAN's modes without a row with the settings of its digits."""
    rows = all_rows()
    if DIGITS not in rows:
        return rows
    digits, first = rows[DIGITS], dict(smallest=FIRST_SIDE, start=FIRST_SIDE)
    for mode, side in MODES.items():
        model = dataclasses.replace(digits.model, mode=mode, shape=(side, side, 3), **first)
        rows = rows | {f"puzzle_gan:{mode}": dataclasses.replace(digits, model=model)}
    return rows


def parts(run: Run, layout: Layout, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yields the figures of one row: of its program, then of its run."""
    step, state, batch = step_of_shapes(run, layout)
    yield {"family": run.family, "batch_size": layout.stage.batch_size}
    yield counts(step, state, batch)
    start = time.perf_counter()
    lowered = jax.jit(step, donate_argnums=0).lower(state, batch)
    lower_seconds = time.perf_counter() - start
    compiled = lowered.compile()
    yield {
        "lower_seconds": lower_seconds,
        "compile_seconds": time.perf_counter() - start - lower_seconds,
        "memory_bytes": speed.memory_bytes(compiled),
        "state_bytes": sum(a.size * a.dtype.itemsize for a in numbers(state)),
        "parameters": sum(a.size for a in jax.tree.leaves(state.variables["params"])),
    }
    if options.run:
        yield run_steps(run, layout, compiled)


def step_of_shapes(run: Run, layout: Layout) -> tuple[Any, Any, Any]:
    """Returns the training step of a stage, and the shapes of its state and batch."""
    state = jax.eval_shape(stage_state_at(run, layout), jax.eval_shape(lambda: jax.random.key(0)))
    stage = layout.stage
    batch = step_batch_spec(families.get(run.family), stage.config, stage.batch_size)
    return stage_step(run, layout), state, batch


def counts(step: Any, state: Any, batch: Any) -> dict[str, Any]:
    """Exports the step for every platform, and counts its operations and bytes on each."""
    start = time.perf_counter()
    call = jax.jit(step, donate_argnums=0)
    lowered = export.export(call, platforms=PLATFORMS)(state, batch)
    export_seconds = time.perf_counter() - start
    found = {p: flops.work(step, state, batch, platform=p) for p in PLATFORMS}
    return {
        "platforms": list(lowered.platforms),
        "exported_bytes": len(lowered.mlir_module_serialized),
        "export_seconds": export_seconds,
        "operations": {p: each[0] for p, each in found.items()},
        "bytes": {p: each[2] for p, each in found.items()},
    }


def numbers(state: Any) -> list[Any]:
    """Returns the leaves of a state that are not PRNG keys."""
    leaves = jax.tree.leaves(state)
    return [a for a in leaves if not jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key)]


def run_steps(run: Run, layout: Layout, compiled: Any) -> dict[str, Any]:
    """Runs a compiled step twice; returns seconds, metrics and the peak memory of the process."""
    family, stage = families.get(run.family), layout.stage
    state = jax.jit(stage_state_at(run, layout))(jax.random.key(0))
    batch = speed.random_batch(family, stage.config, stage.batch_size, jax.random.key(1))
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        state, metrics = jax.block_until_ready(compiled(state, batch))
        seconds.append(time.perf_counter() - start)
    return {
        "seconds": seconds,
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "metrics": {name: float(value) for name, value in metrics.items()},
    }


def table_row(found: dict[str, Any]) -> Row:
    """Returns the line of a row."""
    row: Row = {"row": found["row"], "batch": float(found["batch_size"])}
    row |= {f"{p} 1e9 op": f"{found['operations'][p] / 1e9:,.0f}" for p in PLATFORMS}
    row |= {"trace s": f"{found['lower_seconds']:.0f}"}
    row |= {"compile s": f"{found['compile_seconds']:.0f}"}
    row |= {"parameters": float(found["parameters"])}
    row |= {"memory MB": f"{found['memory_bytes'] / 1e6:,.0f}"}
    row |= {"state MB": f"{found['state_bytes'] / 1e6:,.0f}"}
    if "seconds" in found:
        row |= {"step s": f"{found['seconds'][-1]:.1f}"}
        row |= {"peak MB": f"{found['peak_bytes'] / 1e6:,.0f}"}
    return row


if __name__ == "__main__":
    sys.exit(main())
