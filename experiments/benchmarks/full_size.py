"""Exports training steps of full size from their shapes, and can run one step.

For every row the step at the row's batch size is lowered for CPU, CUDA and TPU (`jax.export`), its
operations are counted for each (`experiments.benchmarks.flops`), and it is compiled for this
machine for its memory: arguments, results and temporaries. No array is made.

    python -m experiments.benchmarks.full_size
    python -m experiments.benchmarks.full_size --rows cyclegan_maps:paper --run

`--run` initialises the state, runs two steps on random images, and reports seconds and the peak
memory of the process; on a CPU the first includes the allocation of memory.
"""

import argparse
import functools
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
from experiments.benchmarks.reporting import (
    Row,
    make_parser,
    measure_rows,
    prepare_out,
    provenance,
    selected_rows,
    show,
)
from experiments.table import rows as all_rows
from genjax import families
from genjax.core import init_state, make_step, step_batch_spec
from genjax.train import Run
from genjax.train.record import device
from genjax.train.run_config import build_optimizer, resolve

PLATFORMS = ("cpu", "cuda", "tpu")
ROWS = ("cyclegan_maps:paper", "cyclegan_maps:pix2pix", "stargan_celeba:paper")


def main(argv: list[str] | None = None) -> int:
    """Exports the rows, prints a table, writes the figures and returns the exit status."""
    parser = make_parser("full_size", __doc__)
    add = parser.add_argument
    add("--rows", nargs="+", default=list(ROWS), metavar="ROW", help="rows of the table")
    add("--run", action="store_true", help="also run two steps")
    add("--out", type=pathlib.Path, help="JSON file to write")
    options = parser.parse_args(argv)
    try:
        options.rows = selected_rows(options.rows, [])
        prepare_out(options.out)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    known = all_rows()
    shared = provenance(options, device=device())
    rows = measure_rows(lambda name: parts(known[name], options), options.rows, shared, options.out)
    if not sys.stdout.isatty():
        print(json.dumps(shared | {"rows": rows}))
    done = [table_row(row) for row in rows if "error" not in row]
    show("training steps of full size", done, sys.stderr)
    return 0 if len(done) == len(rows) else 1


def parts(run: Run, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yields the figures of one row: of its program, then of its run."""
    run = resolve(run, jax.default_backend())
    step, state, batch = step_of_shapes(run)
    yield {"family": run.family, "batch_size": run.train.batch_size} | counts(step, state, batch)
    start = time.perf_counter()
    compiled = jax.jit(step, donate_argnums=0).lower(state, batch).compile()
    yield {
        "compile_seconds": time.perf_counter() - start,
        "memory_bytes": speed.memory_bytes(compiled),
        "state_bytes": sum(a.size * a.dtype.itemsize for a in numbers(state)),
    }
    if options.run:
        yield run_steps(run, compiled)


def step_of_shapes(run: Run) -> tuple[Any, Any, Any]:
    """Returns a row's training step, and the shapes of its state and batch."""
    family, optimizer = families.get(run.family), build_optimizer(run)
    make = functools.partial(init_state, family, run.model, optimizer)
    state = jax.eval_shape(make, jax.eval_shape(lambda: jax.random.key(0)))
    batch = step_batch_spec(family, run.model, run.train.batch_size)
    return make_step(family, run.model, optimizer), state, batch


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


def run_steps(run: Run, compiled: Any) -> dict[str, Any]:
    """Runs a compiled step twice; returns seconds, metrics and the peak memory of the process."""
    family = families.get(run.family)
    make = functools.partial(init_state, family, run.model, build_optimizer(run))
    state = jax.jit(make)(jax.random.key(0))
    batch = speed.random_batch(family, run.model, run.train.batch_size, jax.random.key(1))
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
    row |= {"compile s": f"{found['compile_seconds']:.0f}"}
    row |= {"memory MB": f"{found['memory_bytes'] / 1e6:,.0f}"}
    row |= {"state MB": f"{found['state_bytes'] / 1e6:,.0f}"}
    if "seconds" in found:
        row |= {"step s": f"{found['seconds'][-1]:.1f}"}
        row |= {"peak MB": f"{found['peak_bytes'] / 1e6:,.0f}"}
    return row


if __name__ == "__main__":
    sys.exit(main())
