"""What becomes of each family on a GPU that is not here: its programs, compiled ahead for one.

For every row of `experiments.benchmarks.speed`, the training step, the call that draws samples and the one
that evaluates a batch are compiled for an NVIDIA H100 as its data sheet describes it, with XLA's
compiler for CUDA and no GPU. What it says of a call (`experiments.benchmarks.kernels`):

* compile: seconds from nothing, on the cores here. A GPU's compiler also tries some products'
  tiles, which takes longer, and has more cores, which takes less.
* kernels: that one call starts, loops counted as often as they run. A loop of one turn or none (of
  PixelCNN++, where a halved map is new) counts as `--turns` say.
* Gop: operations of its products. More than are asked for by the traced function
  (`experiments.benchmarks.flops`) is waste: zeros that are multiplied, or what is computed again.
* MB: moved by the kernels, from memory or a cache.
* ms: the sum over kernels of the longer of both at the data sheet's peaks: a floor of this program,
  where the count's is one of the algorithm. Starting a kernel takes 2 to 3 microseconds besides.
* holds: memory of arguments, results and what lies between.

    python -m experiments.benchmarks.compile_ahead --rows dcgan_celeba64:kid --dtype bfloat16 --longest 10
    python -m experiments.benchmarks.compile_ahead --out ahead.json

It needs the extra `cuda12`, or of it at least jax-cuda12-plugin, jax-cuda12-pjrt and
nvidia-cuda-nvcc-cu12. Nothing is timed but the compiler, and nothing is read from disk.
"""

import argparse
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
from jax.experimental import topologies
from jax.sharding import NamedSharding, PartitionSpec

from experiments.benchmarks import flops, kernels, speed
from experiments.benchmarks.input_rate import prepare_out, show
from experiments.benchmarks.peers import KINDS
from experiments.table import rows as all_rows
from genjax import checks
from genjax.train import Run
from genjax.train.run_config import resolve

# NVIDIA H100 SXM, of its data sheet and programming guide; the fields are XLA's GpuTargetConfig.
H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 }
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  memory_bandwidth: 3352320000000
  device_memory_size: 84929347584
  l2_cache_size: 52428800
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  registers_per_block_limit: 65536
  registers_per_core_limit: 65536
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 7 }
runtime_version { major: 12 minor: 8 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
PEAKS = {"bf16": 989e12, "f32": 495e12, "exact": 67e12, "memory": 3.35e12}
"""Operations a second in bfloat16, TF32 and full float32, and bytes a second."""


def main(argv: list[str] | None = None) -> int:
    """Compile, print the table, write the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.compile_ahead",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--rows", nargs="+", default=[], metavar="ROW", help="of python -m experiments")
    add("--family", nargs="+", default=[], metavar="FAMILY", help="all rows of these, after --rows")
    add("--batch-size", type=int, help="of step and evaluation; else each row's own")
    add("--samples", type=int, default=64, help="drawn together (64)")
    add("--skip", nargs="+", choices=KINDS, default=[], help="leave out")
    add("--dtype", choices=("float32", "bfloat16"), help="of every Config that has one")
    add("--loop-iterations", type=float, default=1.0, help="mean of loops of unknown length (1)")
    add("--longest", type=int, default=0, metavar="N", help="name a call's N longest kernels")
    add("--out", type=pathlib.Path, help="write the figures there as JSON")
    options = parser.parse_args(argv)
    try:
        checks.positive(samples=options.samples)
        checks.not_negative(loop_iterations=options.loop_iterations, longest=options.longest)
        options.rows = speed.chosen_rows(options.rows, options.family)
        prepare_out(options.out)
        place = there()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return compile_rows(options, place)


def there(target: str = H100) -> NamedSharding:
    """One GPU as it is described, as a place for arguments.

    Raises:
      ValueError: there is no compiler for CUDA.
    """
    # The plug-in looks for a driver otherwise, and gives up where there is none.
    os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
    try:
        topology = topologies.get_topology_desc(
            platform="cuda", target_config=target, topology="1x1x1"
        )
    except NotImplementedError:
        raise ValueError(
            "there is no compiler for CUDA here: pip install 'genjax-zoo[cuda12]'."
        ) from None
    return NamedSharding(topologies.make_mesh(topology, (1,), ("data",)), PartitionSpec())


def compile_rows(options: argparse.Namespace, place: NamedSharding) -> int:
    """Row after row; what went wrong with one is kept beside the others."""
    cache = getattr(jax.config, speed.CACHE)
    jax.config.update(speed.CACHE, False)  # before anything compiles: JAX looks at it once
    known = all_rows()
    found: list[dict[str, Any]] = []
    shared = speed.about(options, target=H100) | {"peaks": PEAKS, "cores": os.cpu_count()}
    try:
        for name in options.rows:
            print(f"{name} ...", file=sys.stderr, flush=True)
            row: dict[str, Any] = {"row": name}
            try:
                run = speed.of_dtype(known[name], options.dtype)
                row |= of_row(run, options, place)
            except Exception as error:  # what a compiler says
                row["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
                print(f"{name}: {row['error']}", file=sys.stderr, flush=True)
            found.append(row)
            speed.keep(options, shared | {"rows": found})
    finally:
        jax.config.update(speed.CACHE, cache)
    if not sys.stdout.isatty():
        print(json.dumps(shared | {"rows": found}))
    show("compiled for an H100", [line for row in found for line in lines(row)], sys.stderr)
    return 1 if any("error" in row for row in found) else 0


def of_row(run: Run, options: argparse.Namespace, place: NamedSharding) -> dict[str, Any]:
    """The figures of every call of a row, from shapes alone."""
    run = resolve(run, "gpu")
    size = options.batch_size or run.train.batch_size

    def put(a: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place)

    found: dict[str, Any] = {"family": run.family, "batch_size": size}
    for name, (function, shapes) in speed.calls_of_shapes(run, options, size).items():
        examples = options.samples if name == "sample" else size
        arguments = jax.tree.map(put, shapes)
        found[name] = {"examples": examples} | of_call(function, arguments, options)
    return found


def of_call(
    function: Callable, arguments: tuple[Any, ...], options: argparse.Namespace
) -> dict[str, Any]:
    """Compile, and read what became of it."""
    began = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    seconds = time.perf_counter() - began
    text = compiled.as_text()
    if text is None:
        raise ValueError("this compiler does not show its program.")
    each = kernels.read(text, options.loop_iterations)
    memory = compiled.memory_analysis()
    found = {
        "compile_seconds": seconds,
        "memory_bytes": speed.bytes_held(memory) if memory else 0,
        "kernels": sum(k.times for k in each),
        "operations": sum(k.times * k.operations for k in each),
        "asked_operations": flops.work(function, *arguments, platform="cuda")[0],
        "exact_operations": sum(k.times * k.operations for k in each if k.exact),
        "bytes": sum(k.times * k.bytes for k in each),
        "seconds": sum(map(floor, each)),
    }
    most = sorted(each, key=floor, reverse=True)[: options.longest]
    return found | {"longest": [kernel._asdict() | {"seconds": floor(kernel)} for kernel in most]}


def floor(kernel: kernels.Kernel) -> float:
    """Seconds of all its runs at the data sheet's peaks."""
    peak = PEAKS["exact" if kernel.exact else "bf16" if kernel.dtype == "bf16" else "f32"]
    return kernel.times * max(kernel.operations / peak, kernel.bytes / PEAKS["memory"])


def lines(row: dict[str, Any]) -> list[dict[str, str | float]]:
    """Of each call of a row one line for a person, and of its longest kernels one each."""
    found: list[dict[str, str | float]] = []
    for kind in KINDS:
        part = row.get(kind)
        if not part:
            continue
        found.append(
            {
                "row": f"{row['row']} {kind}",
                "batch": f"{part['examples']:,}",
                "compile s": f"{part['compile_seconds']:.1f}",
                "holds MB": f"{part['memory_bytes'] / 1e6:,.0f}",
                "asked Gop": f"{part['asked_operations'] / 1e9:,.2f}",
                **_moved(part["kernels"], part["operations"], part["bytes"], part["seconds"]),
            }
        )
        for k in part["longest"]:
            name = f"  {k['kind'][-24:]} {k['source'][-40:]}"
            blank = dict.fromkeys(("batch", "compile s", "holds MB", "asked Gop"), "")
            times = k["times"]
            work = _moved(times, times * k["operations"], times * k["bytes"], k["seconds"])
            found.append({"row": name, **blank, **work})
    return found


def _moved(many: float, operations: float, moved: float, seconds: float) -> dict[str, str]:
    return {
        "kernels": f"{many:,.0f}",
        "Gop": f"{operations / 1e9:,.2f}",
        "MB": f"{moved / 1e6:,.1f}",
        "ms": f"{1e3 * seconds:,.3f}",
    }


if __name__ == "__main__":
    sys.exit(main())
