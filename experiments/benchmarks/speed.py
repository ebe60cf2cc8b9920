"""How fast is each family at its experiment's settings: a step, samples, an evaluation.

For every row, one compiled training step on random data of the right kind, one call that draws
samples and one that evaluates a batch: seconds to compile from nothing, the median of repeated
blocked calls with their spread, examples a second, memory, and the shares of the chip's two peaks
that its matrix products and convolutions make (`experiments.benchmarks.flops`). The peak of operations is that
of large matrix products in the same precision, measured in the same run: bfloat16, float32 as XLA
does it when nothing is asked (TF32 on GPU), or full float32, which the families of exact densities
ask for. That of memory is a pass over an array larger than any cache; a call whose operands stay in
one may be above it. Averages of the weights are part of a step where the row keeps any.

    python -m experiments.benchmarks.speed --rows nade_binarized_mnist:cpu pixelcnn_mnist:gated --out speed.json
    python -m experiments.benchmarks.speed --family vae made --peer torch

With `--peer torch` the same network and step in PyTorch (`experiments.benchmarks.peers`) are timed after each,
in a process of its own and in the same precision, and the table says how many times its seconds are
ours, and under `but` what such a ratio hides: a compiler that failed, a call that was stopped, or
samples that the peer draws by another algorithm, its whole network a value. JAX then takes memory
of the GPU as it needs it and leaves the rest (XLA_PYTHON_CLIENT_PREALLOCATE=false).

Tables go to the error stream, the figures as JSON to the standard output where that is no terminal.
Nothing is read from disk. Rates do not depend on the pixels.
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
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import peers
from experiments.benchmarks.flops import work
from experiments.benchmarks.input_rate import prepare_out, show
from experiments.benchmarks.peers import KINDS
from experiments.benchmarks.peers.peer_process import beside
from experiments.table import rows as all_rows
from genjax import checks, families
from genjax.core import elbo, init_state, make_step, with_ema
from genjax.train import Run
from genjax.train.checkpoint import write_json
from genjax.train.record import commit, device, versions
from genjax.train.run_config import batches_per_step, build_optimizer, resolve, to_json

CACHE = "jax_enable_compilation_cache"
PEAKS = ("float32", "float32_exact", "bfloat16")
CHAIN = 10  # products in a call that gives the peak, so that starting it does not count
PASSES = 16  # arrays of the peak's side that memory is measured by, none of them in a cache
# One row a family whose step is a gradient's, and of the VAE a dense and a convolutional one; what
# --rows and --family take instead.
DEFAULT = (
    *(
        "fvsbn_binarized_mnist:cpu",
        "nade_binarized_mnist:cpu",
        "made_binarized_mnist:1x8000_1mask_cpu",
    ),
    *(
        "eonade_binarized_mnist:2x500_128orders_cpu",
        "rnade_red_wine:cpu",
        "pixelcnn_mnist:gated",
        "pixelrnn_mnist:diagonal_1",
    ),
    *(
        "pixelcnn_pp_cifar10:paper",
        "iwae_mnist:k1",
        "iaf_mnist:diagonal",
        "iwae_mnist:two_layers_k50",
        "m2_mnist:labels_100",
    ),
    *("gan_mnist:paper", "dcgan_celeba64:kid", "infogan_mnist:codes"),
)


def main(argv: list[str] | None = None) -> int:
    """Measure, print the table, write the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    known = all_rows()
    add("--rows", nargs="+", default=[], metavar="ROW", help="of python -m experiments")
    add("--family", nargs="+", default=[], metavar="FAMILY", help="all rows of these, after --rows")
    add("--repeats", type=int, default=20, help="timed calls of each kind, at most (20)")
    add("--seconds", type=float, default=10.0, help="after so many of a kind no call begins (10)")
    add("--batch-size", type=int, help="of step and evaluation; else each row's own")
    add("--samples", type=int, default=64, help="drawn together (64)")
    add("--peak-side", type=int, default=4096, help="of the matrices that give the peak (4096)")
    add("--skip", nargs="+", choices=KINDS, default=[], help="leave out")
    add("--dtype", choices=("float32", "bfloat16"), help="of every Config that has one")
    add("--peer", choices=("torch",), help="time the same in PyTorch too")
    add("--peer-seconds", type=float, default=300.0, help="what all that may take a row (300)")
    add("--count", action="store_true", help="say what each call has to do, and time nothing")
    add("--platform", choices=("cpu", "cuda", "tpu"), help="whose program --count counts (cuda)")
    add("--out", type=pathlib.Path, help="write the figures there as JSON")
    options = parser.parse_args(argv)
    try:
        checks.positive(
            repeats=options.repeats,
            samples=options.samples,
            peak_side=options.peak_side,
            seconds=options.seconds,
            peer_seconds=options.peer_seconds,
        )
        if options.platform and not options.count:
            raise ValueError("--platform is of --count: what is timed runs on the platform here.")
        options.rows = chosen_rows(options.rows, options.family)
        prepare_out(options.out)
        if options.count:
            options.platform = options.platform or "cuda"
            runs = ((name, of_dtype(known[name], options.dtype)) for name in options.rows)
            counted = [{"row": name, **floors(run, options)} for name, run in runs]
            keep(options, about(options, platform=options.platform) | {"rows": counted})
            show("billions of operations, and megabytes", [work_row(r) for r in counted])
            return 0
        if options.peer:
            peers.check_installed()
            os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # before JAX asks
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    cache = getattr(jax.config, CACHE)
    jax.config.update(CACHE, False)  # before anything compiles: JAX looks at it once
    try:
        return time_rows(options)
    finally:
        jax.config.update(CACHE, cache)


def chosen_rows(names: list[str], of_families: list[str]) -> list[str]:
    """The rows that were named, then the other rows of the families; where none was, `DEFAULT`.

    Raises:
      ValueError: there is no such row, or no row of such a family.
    """
    known = all_rows()
    for name in names:
        checks.one_of(tuple(known), rows=name)
    there = sorted({run.family for run in known.values()})
    for family in of_families:
        checks.one_of(there, family=family)
    found = names + [n for f in of_families for n, run in known.items() if run.family == f]
    return list(dict.fromkeys(found)) or list(DEFAULT)


def time_rows(options: argparse.Namespace) -> int:
    """Measure row after row. What went wrong with one is kept beside the others, and what there is
    is written after each: a borrowed machine may end in the middle."""
    known, limits = all_rows(), (options.repeats, options.seconds)
    peaks = {name: peak(name, options.peak_side, *limits) for name in PEAKS}
    peaks["memory"] = memory_peak(options.peak_side, *limits)
    shared = about(options, device=device()) | {"peaks": peaks}
    found: list[dict[str, Any]] = []
    for name in options.rows:
        print(f"{name} ...", file=sys.stderr, flush=True)
        row: dict[str, Any] = {"row": name}
        try:
            row |= measure(of_dtype(known[name], options.dtype), options, peaks)
        except Exception as error:  # out of memory, or what a compiler says
            row["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
            print(f"{name}: {row['error']}", file=sys.stderr, flush=True)
        found.append(row)
        keep(options, shared | {"rows": found})
        if options.peer and "error" not in row:
            row |= beside(row, options)
            keep(options, shared | {"rows": found})
    if not sys.stdout.isatty():
        print(json.dumps(shared | {"rows": found}))
    measured = [row for row in found if "error" not in row]
    show(f"{shared['device']}, milliseconds", [table_row(r) for r in measured], sys.stderr)
    ratios = [ratio_row(r) for r in measured if options.peer]
    show("PyTorch's seconds over ours", ratios, sys.stderr)
    return 0 if len(measured) == len(found) else 1


def about(options: argparse.Namespace, **where: Any) -> dict[str, Any]:
    """What all rows of a file share: the code, the machine, and what was asked of them."""
    asked = {name: value for name, value in vars(options).items() if name != "out"}
    return {"commit": commit(), **where, "versions": versions(), "options": asked}


def keep(options: argparse.Namespace, figures: dict[str, Any]) -> None:
    """Write what there is, where it was asked for."""
    if options.out:
        write_json(options.out, figures)


def peak(name: str, side: int, repeats: int, limit: float) -> float:
    """Operations a second of square matrix products, one after another, of a name in `PEAKS`."""
    precision = jax.lax.Precision.HIGHEST if name == "float32_exact" else None
    dtype: Any = name.removesuffix("_exact")
    # Random, as what networks multiply is: zeros let a chip run faster.
    a, b = jax.random.normal(jax.random.key(0), (2, side, side), jnp.float32)
    a, b = a.astype(dtype), (b / side**0.5).astype(dtype)

    def chain(a: jax.Array, b: jax.Array) -> jax.Array:
        for _ in range(CHAIN):  # not a loop of the program's, which would copy the carry
            a = jnp.matmul(a, b, precision=precision)
        return a

    products = jax.jit(chain).lower(a, b).compile()
    return CHAIN * 2 * side**3 / timed(lambda: products(a, b), repeats, limit)["seconds"]


def memory_peak(side: int, repeats: int, limit: float) -> float:
    """Bytes a second, read and written, of a pass over `PASSES side^2` float32 numbers."""
    a = jnp.zeros((PASSES, side, side))
    over = jax.jit(lambda a: a + 1).lower(a).compile()
    return 2 * a.nbytes / timed(lambda: over(a), repeats, limit)["seconds"]


def timed(call: Callable[[], Any], repeats: int, limit: float) -> dict[str, float]:
    """Median of `clocked`, and half of the middle half of them."""
    seconds, _ = clocked(call, repeats, limit)
    low, high = np.quantile(seconds, [0.25, 0.75])
    spread = float(high - low) / 2
    return {"seconds": statistics.median(seconds), "spread": spread, "repeats": len(seconds)}


def clocked(call: Callable[[], Any], repeats: int, limit: float) -> tuple[list[float], Any]:
    """Seconds of a blocked call, compiled before, and what the last one gave.

    The first warms up. After `limit` seconds no call begins, and where the first took them all it
    counts itself.
    """
    seconds: list[float] = []
    while len(seconds) <= repeats and sum(seconds) < limit:
        began = time.perf_counter()
        found = jax.block_until_ready(call())
        seconds.append(time.perf_counter() - began)
    return seconds[1:] or seconds, found


def of_dtype(run: Run, dtype: str | None) -> Run:
    """The row in another precision, where its Config has one."""
    if dtype is None or not hasattr(run.model, "dtype"):
        return run
    return dataclasses.replace(run, model=dataclasses.replace(run.model, dtype=dtype))


def floors(run: Run, options: argparse.Namespace) -> dict[str, Any]:
    """What every call of a row has to do and to move, from shapes alone: nothing is computed."""
    run = resolve(run, jax.default_backend())
    size = options.batch_size or run.train.batch_size
    found: dict[str, Any] = {"family": run.family, "batch_size": size}
    for name, call in calls_of_shapes(run, options, size).items():
        dtype = getattr(run.model, "dtype", "float32")
        found[name] = to_do(*call, dtype, options.platform)
    return found


def calls_of_shapes(
    run: Run, options: argparse.Namespace, size: int
) -> dict[str, tuple[Callable, tuple[Any, ...]]]:
    """`calls` of so large a batch, whose arguments are shapes."""
    family, config = families.get(run.family), run.model
    make = functools.partial(init_state, family, config, build_optimizer(run))
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(functools.partial(make, ema=run.train.ema > 0), key)
    return calls(run, options, state, family.batch_spec(config, size), key)


def to_do(
    function: Callable, arguments: tuple[Any, ...], dtype: str, platform: str | None = None
) -> dict[str, Any]:
    """Operations of a call, how many of them in full float32, its bytes (see `flops.work`), the
    precision of the other operations, and the peak that most of them have."""
    operations, full, crossing = work(function, *arguments, platform=platform)
    found = {"operations": operations, "exact_operations": full, "bytes": crossing, "dtype": dtype}
    return found | {"peak": "float32_exact" if 2 * full > operations else dtype}


def at_peak(part: dict[str, Any], peaks: dict[str, float]) -> float:
    """Seconds that the operations of a call take at the peaks of their precisions."""
    others = part["operations"] - part["exact_operations"]
    return part["exact_operations"] / peaks["float32_exact"] + others / peaks[part["dtype"]]


def measure(run: Run, options: argparse.Namespace, peaks: dict[str, float]) -> dict[str, Any]:
    """The figures of one row."""
    run = resolve(run, jax.default_backend())
    family, config = families.get(run.family), run.model
    size, key = options.batch_size or run.train.batch_size, jax.random.key(0)
    batch = random_batch(family, config, size, key)
    make = functools.partial(init_state, family, config, build_optimizer(run))
    state = jax.jit(functools.partial(make, ema=run.train.ema > 0))(key)
    dtype = getattr(config, "dtype", "float32")
    found: dict[str, Any] = {"family": run.family, "batch_size": size}
    settings = to_json(run)
    found |= {"config": settings["model"]} | {k: settings[k] for k in ("train", "optimizer")}
    for name, (function, arguments) in calls(run, options, state, batch, key).items():
        examples = options.samples if name == "sample" else size
        examples *= batches_per_step(run) if name == "step" else 1
        found[name] = figures(function, arguments, examples, dtype, peaks, options)
    return found


def calls(
    run: Run, options: argparse.Namespace, state: Any, batch: Any, key: Any
) -> dict[str, tuple[Callable, tuple[Any, ...]]]:
    """What is measured of a row, each with its arguments; those may be shapes."""
    family, config, variables = families.get(run.family), run.model, state.variables

    def evaluate(variables: Any, key: jax.Array, batch: Any) -> jax.Array:
        exactly = family.traits(run.model).density == "exact"
        density = family.log_prob if exactly else functools.partial(elbo, family, key=key)
        # Semi-supervised densities sum over the label.
        entries = {"x"} if family.traits(config).semi_supervised else set(batch)
        return density(config, variables, **{k: batch[k] for k in entries})

    step = make_step(family, config, build_optimizer(run))
    found: dict[str, tuple[Callable, tuple[Any, ...]]] = {
        "step": (with_ema(step, run.train.ema) if run.train.ema else step, (state, batch)),
        "sample": (
            lambda variables, key: family.sample(config, variables, key, options.samples),
            (variables, key),
        ),
    }
    if family.traits(run.model).density != "none":
        found["evaluate"] = (evaluate, (variables, key, batch))
    return {name: call for name, call in found.items() if name not in options.skip}


def figures(
    function: Callable,
    arguments: tuple[Any, ...],
    examples: int,
    dtype: str,
    peaks: dict[str, float],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Compile, time, count."""
    began = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    seconds = time.perf_counter() - began
    clock = timed(lambda: compiled(*arguments), options.repeats, options.seconds)
    found = to_do(function, arguments, dtype) | clock
    memory = compiled.memory_analysis()
    return {
        **found,
        "compile_seconds": seconds,
        "examples_per_second": examples / found["seconds"],
        "share_of_peak": at_peak(found, peaks) / found["seconds"],
        "share_of_memory": found["bytes"] / found["seconds"] / peaks["memory"],
        "memory_bytes": bytes_held(memory) if memory else 0,
    }


def bytes_held(memory: Any) -> int:
    """Of what a call holds at its height: arguments, results and what lies between."""
    both = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return both - memory.alias_size_in_bytes + memory.temp_size_in_bytes


def random_batch(family: Any, config: Any, size: int, key: jax.Array) -> dict[str, jax.Array]:
    """A batch as the spec says, of values that the family takes."""
    traits = family.traits(config)
    low, high = traits.sample_range
    found = {}
    for i, (name, spec) in enumerate(family.batch_spec(config, size).items()):
        k = jax.random.fold_in(key, i)
        if name != "x":
            found[name] = jnp.zeros(spec.shape, spec.dtype)
        elif traits.data in ("binary", "levels"):
            found[name] = jax.random.randint(k, spec.shape, 0, int(high) + 1).astype(spec.dtype)
        elif traits.data == "real":
            found[name] = jax.random.normal(k, spec.shape, spec.dtype)
        else:
            found[name] = jax.random.uniform(k, spec.shape, spec.dtype, low, high)
    return found


def work_row(found: dict[str, Any]) -> dict[str, str | float]:
    """What the calls of a row have to do."""
    row: dict[str, str | float] = {"row": found["row"], "batch": float(found["batch_size"])}
    for kind in KINDS:
        part = found.get(kind)
        row[kind] = f"{part['operations'] / 1e9:,.2f}" if part else "-"
        row[f"{kind} MB"] = f"{part['bytes'] / 1e6:,.1f}" if part else "-"
    return row | {"peak": found["step"]["peak"] if "step" in found else "-"}


def table_row(found: dict[str, Any]) -> dict[str, str | float]:
    """One line for a person: milliseconds and their spread, percent of the peaks of operations and
    memory, and what the largest of the calls holds of the device."""
    row: dict[str, str | float] = {"row": found["row"], "batch": float(found["batch_size"])}
    for name in KINDS:
        part = found.get(name)
        row[name] = f"{1e3 * part['seconds']:,.2f} ±{1e3 * part['spread']:.2f}" if part else "-"
        shares = [part[f"share_of_{of}"] for of in ("peak", "memory")] if part else []
        row[f"{name} %"] = " ".join(f"{100 * share:.1f}" for share in shares) or "-"
    row["compile s"] = f"{found['step']['compile_seconds']:.1f}" if "step" in found else "-"
    most = max((found[name]["memory_bytes"] for name in KINDS if name in found), default=0)
    return row | {"holds MB": f"{most / 1e6:,.0f}"}


def ratio_row(found: dict[str, Any]) -> dict[str, str | float]:
    """The ratios of a row, what was fastest of a step there, and what they do not say."""
    row: dict[str, str | float] = {"row": found["row"]}
    row |= {k: f"{found['ratio'][k]:.2f}" if k in found["ratio"] else "-" for k in KINDS}
    row["step's way"] = found["peer"].get("step", {}).get("way", "-")
    return row | {"but": "; ".join(f"{k}: {', '.join(v)}" for k, v in found["notes"].items())}


if __name__ == "__main__":
    sys.exit(main())
