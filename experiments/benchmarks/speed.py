"""Measures a training step, samples and an evaluation of each family at its experiment's settings.

Inputs are random; speed does not depend on their values, and nothing is read from disk. For every
row: compile time without a cache, median and spread of blocked calls, examples per second, memory,
and the fractions of two measured peaks (`experiments.benchmarks.flops` counts operations and
bytes). The peak of operations is that of large matrix products in the same precision: bfloat16,
float32 as XLA computes it by default (TF32 on a GPU), or full float32, which exact densities use.
The peak of memory is a pass over an array larger than any cache. The EMA is part of a step if the
row has one. Networks that grow are those of the last stage, half into its fade.

    python -m experiments.benchmarks.speed --rows nade_binarized_mnist:cpu --out speed.json
    python -m experiments.benchmarks.speed --family vae made --peer torch

`--peer torch` also times the same network and step in PyTorch (`experiments.benchmarks.peers`), in
a process of its own and the same precision. The table has PyTorch's seconds divided by genjax's,
and under `but` what limits the comparison: a failed compiler, a call that was stopped, or another
sampling algorithm. JAX then allocates GPU memory on demand (XLA_PYTHON_CLIENT_PREALLOCATE=false).

    python -m experiments.benchmarks.speed --rows all --peer torch --table speed.md

`--rows all` is every network of `experiments.benchmarks.comparison`, cheapest first: steps and
evaluations, on a CPU with smaller batches of the largest networks, beside PyTorch eager and
compiled. It takes at most 25 minutes, and `--table` writes a markdown table after every row.

`--count` counts operations and bytes of every call without running it. Tables go to standard error,
and JSON to standard output if that is a pipe.
"""

import argparse
import dataclasses
import functools
import json
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import peers
from experiments.benchmarks.comparison import EVERY, markdown
from experiments.benchmarks.flops import work
from experiments.benchmarks.growth import at_last_stage, last_layout, stage_state_at, stage_step
from experiments.benchmarks.peers import KINDS
from experiments.benchmarks.peers.peer_process import compare
from experiments.benchmarks.reporting import (
    Row,
    make_parser,
    measure_rows,
    prepare_out,
    provenance,
    save,
    selected_rows,
    show,
)
from experiments.table import rows as all_rows
from genjax import checks, families
from genjax.cli.options import keep_freed_memory
from genjax.core import elbo, log_prob_bound, step_batch_spec
from genjax.core.protocols import Growing, Sampler, TextConditional, TextToImage
from genjax.train import Run
from genjax.train.device_memory import program_memory
from genjax.train.record import device
from genjax.train.run_config import batches_per_step, resolve, to_json

CACHE = "jax_enable_compilation_cache"
PEAKS = ("float32", "float32_exact", "bfloat16")
CHAIN = 10  # products per call that measures the peak, so that launching it does not count
PASSES = 16  # square arrays in the array that measures the peak of memory
ROW_SECONDS = 44.0  # of `--rows all`
Call = tuple[Callable, tuple[Any, ...]]


def add_row_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `compile_ahead` has too."""
    add = parser.add_argument
    add(
        "--rows", nargs="+", default=[], metavar="ROW", help="rows of python -m experiments, or all"
    )
    add("--family", nargs="+", default=[], metavar="FAMILY", help="all rows of these families")
    add("--batch-size", type=int, help="of step and evaluation (the row's)")
    add("--evaluate-batch-size", type=int, help="of the evaluation (that of the step)")
    add("--samples", type=int, default=64, help="samples per call (64)")
    add("--bound-samples", type=int, default=1, help="of evaluated bounds (1: the ELBO)")
    add("--skip", nargs="+", choices=KINDS, default=[], help="calls to leave out")
    add("--dtype", choices=("float32", "bfloat16"), help="dtype of the Config (the row's)")
    add("--side", type=int, help="height and width of the images of all rows (the row's)")
    add("--out", type=pathlib.Path, help="JSON file to write")


def main(argv: list[str] | None = None) -> int:
    """Measures the rows, prints tables, writes the figures and returns the exit status."""
    keep_freed_memory()
    parser = make_parser("speed", __doc__)
    add_row_options(parser)
    add = parser.add_argument
    add("--repeats", type=int, default=20, help="timed calls of each kind, at most (20)")
    add("--seconds", type=float, default=10.0, help="time limit for starting calls of a kind (10)")
    add("--peak-side", type=int, default=4096, help="size of the matrices of the peaks (4096)")
    add("--peer", choices=("torch",), help="time the same in PyTorch")
    add("--peer-seconds", type=float, default=300.0, help="time limit of a row's peer (300)")
    add("--peer-compile", choices=("auto", "yes", "no"), help="also torch.compile (auto: on CUDA)")
    add("--row-seconds", type=float, help="time limit of a row, of which its peer has the rest")
    add("--table", type=pathlib.Path, help="file of the comparison as a markdown table")
    add("--count", action="store_true", help="count operations and bytes; time nothing")
    add("--platform", choices=("cpu", "cuda", "tpu"), help="of the program counted (cuda)")
    options = parser.parse_args(argv)
    options.every = options.rows == ["all"]
    if options.every:
        options.rows = list(EVERY)
        options.skip = options.skip or ["sample"]
        options.row_seconds = options.row_seconds or ROW_SECONDS
        options.peer_compile = options.peer_compile or "yes"
    try:
        checks.positive(
            repeats=options.repeats,
            samples=options.samples,
            bound_samples=options.bound_samples,
            peak_side=options.peak_side,
            seconds=options.seconds,
            peer_seconds=options.peer_seconds,
        )
        if options.platform and not options.count:
            raise ValueError(
                "--platform needs --count; calls are timed on this machine's platform."
            )
        options.rows = selected_rows(options.rows, options.family)
        prepare_out(options.out)
        prepare_out(options.table)
        if options.count:
            options.platform = options.platform or "cuda"
            return count_rows(options)
        if options.peer:
            peers.check_installed()
            os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # before JAX starts
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    cache = getattr(jax.config, CACHE)
    jax.config.update(CACHE, False)  # before anything compiles: JAX reads it once
    try:
        return time_rows(options)
    finally:
        jax.config.update(CACHE, cache)


def count_rows(options: argparse.Namespace) -> int:
    """Counts the operations and bytes of every row's calls from their shapes."""
    known = all_rows()
    rows = [
        {"row": name, **count_calls(adapted(known[name], options), options)}
        for name in options.rows
    ]
    save(options.out, provenance(options, platform=options.platform), rows)
    show("billions of operations, and megabytes", [count_row(row) for row in rows])
    return 0


def time_rows(options: argparse.Namespace) -> int:
    """Times every row."""
    known, limits = all_rows(), (options.repeats, options.seconds)
    peaks = {name: peak(name, options.peak_side, *limits) for name in PEAKS}
    peaks["memory"] = memory_peak(options.peak_side, *limits)
    shared = provenance(options, device=device()) | {"peaks": peaks}

    def parts(name: str) -> Iterator[dict[str, Any]]:
        started, own = time.monotonic(), options_of_row(options, name)
        row = {"row": name} | measure(adapted(known[name], own), own, peaks)
        yield row
        if own.peer:
            if own.row_seconds:
                left = own.row_seconds - (time.monotonic() - started)
                own.peer_seconds = min(own.peer_seconds, max(left, own.row_seconds / 2))
            yield compare(row, own)

    def write_table(rows: list[dict[str, Any]]) -> None:
        if options.table:
            options.table.write_text(markdown(rows))

    rows = measure_rows(parts, options.rows, shared, options.out, write_table)
    if not sys.stdout.isatty():
        print(json.dumps(shared | {"rows": rows}))
    measured = [row for row in rows if "error" not in row]
    show(f"{shared['device']}, milliseconds", [table_row(row) for row in measured], sys.stderr)
    ratios = [ratio_row(row) for row in measured if options.peer]
    show("PyTorch's seconds over genjax's", ratios, sys.stderr)
    return 0 if len(measured) == len(rows) else 1


def options_of_row(options: argparse.Namespace, name: str) -> argparse.Namespace:
    """Returns the options of one row: `--rows all` has smaller batches on a CPU."""
    own = argparse.Namespace(**vars(options))
    if options.every and jax.default_backend() == "cpu":
        step, evaluate = EVERY[name]
        own.batch_size = options.batch_size or step
        own.evaluate_batch_size = options.evaluate_batch_size or evaluate
    return own


def peak(name: str, side: int, repeats: int, limit: float) -> float:
    """Returns operations per second of square matrix products, for a name in `PEAKS`."""
    precision = jax.lax.Precision.HIGHEST if name == "float32_exact" else None
    dtype: Any = name.removesuffix("_exact")
    # Random, because zeros let a chip run faster.
    a, b = jax.random.normal(jax.random.key(0), (2, side, side), jnp.float32)
    a, b = a.astype(dtype), (b / side**0.5).astype(dtype)

    def chain(a: jax.Array, b: jax.Array) -> jax.Array:
        for _ in range(CHAIN):  # unrolled, because a loop would copy its carry
            a = jnp.matmul(a, b, precision=precision)
        return a

    products = jax.jit(chain).lower(a, b).compile()
    return CHAIN * 2 * side**3 / timed(lambda: products(a, b), repeats, limit)["seconds"]


def memory_peak(side: int, repeats: int, limit: float) -> float:
    """Returns bytes per second, read and written, of a pass over `PASSES side^2` float32 values."""
    a = jnp.zeros((PASSES, side, side))
    increment = jax.jit(lambda a: a + 1).lower(a).compile()
    return 2 * a.nbytes / timed(lambda: increment(a), repeats, limit)["seconds"]


def timed(call: Callable[[], Any], repeats: int, limit: float) -> dict[str, float]:
    """Returns the median of `clocked` and half of its interquartile range."""
    seconds, _ = clocked(call, repeats, limit)
    low, high = np.quantile(seconds, [0.25, 0.75])
    spread = float(high - low) / 2
    return {"seconds": statistics.median(seconds), "spread": spread, "repeats": len(seconds)}


def clocked(call: Callable[[], Any], repeats: int, limit: float) -> tuple[list[float], Any]:
    """Returns the seconds of blocked calls of a compiled function, and its last result.

    The first call is a warm-up. No call starts after `limit` seconds; if the first took that long,
    it is the one that counts.
    """
    seconds: list[float] = []
    while len(seconds) <= repeats and sum(seconds) < limit:
        start = time.perf_counter()
        result = jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
    return seconds[1:] or seconds, result


def adapted(run: Run, options: argparse.Namespace) -> Run:
    """Returns the row in the precision and with the side of the options, at its last stage."""
    return at_last_stage(with_side(with_dtype(run, options.dtype), options.side))


def with_dtype(run: Run, dtype: str | None) -> Run:
    """Returns the row in another precision, if its Config has a dtype."""
    if dtype is None or not hasattr(run.model, "dtype"):
        return run
    return dataclasses.replace(run, model=dataclasses.replace(run.model, dtype=dtype))


def with_side(run: Run, side: int | None) -> Run:
    """Returns the row with images of another height and width; growing networks end there.

    Raises:
      ValueError: the row has no images, or its networks do not support the side.
    """
    if side is None:
        return run
    checks.positive(side=side)
    if len(run.model.shape) != 3:
        raise ValueError(f"--side needs images, and the row's data are {run.model.shape}.")
    changes: dict[str, Any] = {"shape": (side, side, run.model.shape[-1])}
    if isinstance(families.get(run.family), Growing):  # or not: then it starts with its last side
        start, grows = run.model.start, run.model.start < run.model.shape[0]
        changes["start"] = min(start, side) if grows else side
    return dataclasses.replace(run, model=dataclasses.replace(run.model, **changes))


def count_calls(run: Run, options: argparse.Namespace) -> dict[str, Any]:
    """Counts the operations and bytes of every call of a row."""
    run = resolve(run, jax.default_backend())
    size = options.batch_size or run.train.batch_size
    dtype = getattr(run.model, "dtype", "float32")
    counts = {
        name: count_call(*call, dtype, options.platform)
        for name, call in calls_of_shapes(run, options, size).items()
    }
    return {"family": run.family, "batch_size": size, **counts}


def calls_of_shapes(run: Run, options: argparse.Namespace, size: int) -> dict[str, Call]:
    """Returns `calls` for a batch size, with shapes as arguments."""
    family, config = families.get(run.family), run.model
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(stage_state_at(run, last_layout(run)), key)
    return calls(run, options, state, step_batch_spec(family, config, size), key)


def count_call(
    function: Callable, arguments: tuple[Any, ...], dtype: str, platform: str | None = None
) -> dict[str, Any]:
    """Counts operations, those in full float32, and bytes (see `flops.work`).

    `dtype` is the precision of the other operations, `peak` the one of most of them.
    """
    operations, exact, moved = work(function, *arguments, platform=platform)
    counts = {"operations": operations, "exact_operations": exact, "bytes": moved, "dtype": dtype}
    return counts | {"peak": "float32_exact" if 2 * exact > operations else dtype}


def seconds_at_peak(part: dict[str, Any], peaks: dict[str, float]) -> float:
    """Returns the seconds that a call's operations take at the peaks of their precisions."""
    others = part["operations"] - part["exact_operations"]
    return part["exact_operations"] / peaks["float32_exact"] + others / peaks[part["dtype"]]


def measure(run: Run, options: argparse.Namespace, peaks: dict[str, float]) -> dict[str, Any]:
    """Returns the figures of one row."""
    run = resolve(run, jax.default_backend())
    family, config = families.get(run.family), run.model
    size, key = options.batch_size or run.train.batch_size, jax.random.key(0)
    batch = random_batch(family, config, size, key)
    state = jax.jit(stage_state_at(run, last_layout(run)))(key)
    dtype = getattr(config, "dtype", "float32")
    few = options.evaluate_batch_size or size
    row: dict[str, Any] = {"family": run.family, "batch_size": size, "evaluate_batch_size": few}
    settings = to_json(run)
    row |= {"config": settings["model"]} | {k: settings[k] for k in ("train", "optimizer")}
    for name, call in calls(run, options, state, batch, key).items():
        examples = {"step": size, "sample": options.samples, "evaluate": few}[name]
        examples *= batches_per_step(run) if name == "step" else 1
        row[name] = figures(call, examples, dtype, peaks, options)
    return row


def calls(
    run: Run, options: argparse.Namespace, state: Any, batch: Any, key: Any
) -> dict[str, Call]:
    """Returns the functions that are measured, each with its arguments, which may be shapes."""
    family, config, variables = families.get(run.family), run.model, state.variables

    def evaluate(variables: Any, key: jax.Array, batch: Any) -> jax.Array:
        if family.traits(config).density == "exact":
            density = family.log_prob
        elif options.bound_samples == 1:
            density = functools.partial(elbo, family, key=key)
        else:
            bound = {"key": key, "num_samples": options.bound_samples}
            density = functools.partial(log_prob_bound, family, **bound)
        # Semi-supervised densities sum over the label.
        entries = {"x"} if family.traits(config).semi_supervised else set(batch)
        return density(config, variables, **{k: batch[k] for k in entries})

    def sample(variables: Any, key: jax.Array) -> jax.Array:
        given: dict[str, Any] = {}
        if isinstance(family, TextToImage):
            length = family.text_spec(config).length
            given["text"] = jnp.ones((options.samples, length), jnp.int32)
        return family.sample(config, variables, key, options.samples, **given)

    found: dict[str, Call] = {"step": (stage_step(run, last_layout(run)), (state, batch))}
    if isinstance(family, Sampler):
        found["sample"] = (sample, (variables, key))
    if family.traits(run.model).density != "none":
        found["evaluate"] = (evaluate, (variables, key, first(batch, options.evaluate_batch_size)))
    return {name: call for name, call in found.items() if name not in options.skip}


def first(batch: Any, size: int | None) -> Any:
    """Returns the first examples of a batch of arrays or shapes; None keeps all."""
    if size is None:
        return batch
    spec = jax.ShapeDtypeStruct
    shorter = lambda a: spec((size, *a.shape[1:]), a.dtype) if isinstance(a, spec) else a[:size]  # noqa: E731
    return jax.tree.map(shorter, batch)


def figures(
    call: Call,
    examples: int,
    dtype: str,
    peaks: dict[str, float],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Compiles, times and counts a call."""
    function, arguments = call
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    compile_seconds = time.perf_counter() - start
    clock = timed(lambda: compiled(*arguments), options.repeats, options.seconds)
    found = count_call(function, arguments, dtype) | clock
    return found | {
        "compile_seconds": compile_seconds,
        "examples_per_second": examples / found["seconds"],
        "share_of_peak": seconds_at_peak(found, peaks) / found["seconds"],
        "share_of_memory": found["bytes"] / found["seconds"] / peaks["memory"],
        "memory_bytes": memory_bytes(compiled),
    }


def memory_bytes(compiled: Any) -> int:
    """Returns the peak memory of a program: arguments, results and temporaries; 0 if unknown."""
    return program_memory(compiled) or 0


def random_batch(family: Any, config: Any, size: int, key: jax.Array) -> dict[str, jax.Array]:
    """Returns a batch with the shapes of `batch_spec` and values that the family accepts."""
    traits = family.traits(config)
    low, high = traits.sample_range
    found = {}
    for i, (name, spec) in enumerate(step_batch_spec(family, config, size).items()):
        k = jax.random.fold_in(key, i)
        if name == "text" and isinstance(family, TextConditional):
            vocabulary = family.text_spec(config).vocabulary
            found[name] = jax.random.randint(k, spec.shape, 1, vocabulary)
        elif name not in ("x", "y"):
            found[name] = jnp.zeros(spec.shape, spec.dtype)
        elif traits.data in ("binary", "levels"):
            found[name] = jax.random.randint(k, spec.shape, 0, int(high) + 1).astype(spec.dtype)
        elif traits.data == "real":
            found[name] = jax.random.normal(k, spec.shape, spec.dtype)
        else:
            found[name] = jax.random.uniform(k, spec.shape, spec.dtype, low, high)
    return found


def count_row(found: dict[str, Any]) -> Row:
    """Returns the line of a row for `--count`."""
    row: Row = {"row": found["row"], "batch": float(found["batch_size"])}
    for kind in KINDS:
        part = found.get(kind)
        row[kind] = f"{part['operations'] / 1e9:,.2f}" if part else "-"
        row[f"{kind} MB"] = f"{part['bytes'] / 1e6:,.1f}" if part else "-"
    return row | {"peak": found["step"]["peak"] if "step" in found else "-"}


def table_row(found: dict[str, Any]) -> Row:
    """Returns milliseconds and spread, percent of both peaks, and the largest memory of a row."""
    row: Row = {"row": found["row"], "batch": float(found["batch_size"])}
    for name in KINDS:
        part = found.get(name)
        row[name] = f"{1e3 * part['seconds']:,.2f} ±{1e3 * part['spread']:.2f}" if part else "-"
        shares = [part[f"share_of_{of}"] for of in ("peak", "memory")] if part else []
        row[f"{name} %"] = " ".join(f"{100 * share:.1f}" for share in shares) or "-"
    row["compile s"] = f"{found['step']['compile_seconds']:.1f}" if "step" in found else "-"
    most = max((found[name]["memory_bytes"] for name in KINDS if name in found), default=0)
    return row | {"memory MB": f"{most / 1e6:,.0f}"}


def ratio_row(found: dict[str, Any]) -> Row:
    """Returns the ratios of a row, PyTorch's fastest mode for the step, and the caveats."""
    row: Row = {"row": found["row"]}
    row |= {k: f"{found['ratio'][k]:.2f}" if k in found["ratio"] else "-" for k in KINDS}
    row["mode of step"] = found["peer"].get("step", {}).get("way", "-")
    return row | {"but": "; ".join(f"{k}: {', '.join(v)}" for k, v in found["notes"].items())}


if __name__ == "__main__":
    sys.exit(main())
