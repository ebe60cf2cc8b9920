"""Compiles the programs of each family for an NVIDIA H100 without a GPU.

For every row of `experiments.benchmarks.speed`, the training step, sampling and evaluation are
compiled by XLA's compiler for CUDA. The table has, per call:

* compile: seconds without a cache, on this machine's cores. Autotuning is not included.
* kernels: launches, with loops counted as often as they run (`experiments.benchmarks.kernels`);
  loops of unknown length, which PixelCNN++ has, run `--loop-iterations` times.
* Gop: operations of products; more than required by the traced function (`flops`) is wasted work.
* MB: bytes moved by the kernels, from memory or a cache.
* ms: the sum over kernels of the larger of both at the peaks of the data sheet, without launches
  (2 to 3 microseconds each).
* memory: arguments, results and temporaries.

    python -m experiments.benchmarks.compile_ahead --rows dcgan_celeba64:kid --dtype bfloat16
    python -m experiments.benchmarks.compile_ahead --out ahead.json

It needs the extra `cuda12`, or at least jax-cuda12-plugin, jax-cuda12-pjrt and
nvidia-cuda-nvcc-cu12.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax
from jax.experimental import topologies
from jax.sharding import NamedSharding, PartitionSpec

from experiments.benchmarks import flops, kernels, speed
from experiments.benchmarks.peers import KINDS
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
from genjax import checks
from genjax.train import Run
from genjax.train.run_config import resolve

# NVIDIA H100 SXM from its data sheet and programming guide, as XLA's GpuTargetConfig.
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
"""Operations per second in bfloat16, TF32 and full float32, and bytes per second."""


def main(argv: list[str] | None = None) -> int:
    """Compiles the rows, prints the table, writes the figures and returns the exit status."""
    parser = make_parser("compile_ahead", __doc__)
    speed.add_row_options(parser)
    add = parser.add_argument
    add("--loop-iterations", type=float, default=1.0, help="of loops of unknown length (1)")
    add("--longest", type=int, default=0, metavar="N", help="list the N longest kernels per call")
    options = parser.parse_args(argv)
    try:
        checks.positive(samples=options.samples, bound_samples=options.bound_samples)
        checks.not_negative(loop_iterations=options.loop_iterations, longest=options.longest)
        options.rows = selected_rows(options.rows, options.family)
        prepare_out(options.out)
        target = target_sharding()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return compile_rows(options, target)


def target_sharding(target: str = H100) -> NamedSharding:
    """Returns a sharding that places arguments on the described GPU.

    Raises:
      ValueError: there is no compiler for CUDA.
    """
    # Without this the plug-in looks for a driver and fails.
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


def compile_rows(options: argparse.Namespace, target: NamedSharding) -> int:
    """Compiles every row."""
    cache = getattr(jax.config, speed.CACHE)
    jax.config.update(speed.CACHE, False)  # before anything compiles: JAX reads it once
    known = all_rows()
    shared = provenance(options, target=H100) | {"peaks": PEAKS, "cores": os.cpu_count()}

    def parts(name: str) -> Iterator[dict[str, Any]]:
        yield compile_row(speed.adapted(known[name], options), options, target)

    try:
        rows = measure_rows(parts, options.rows, shared, options.out)
    finally:
        jax.config.update(speed.CACHE, cache)
    if not sys.stdout.isatty():
        print(json.dumps(shared | {"rows": rows}))
    show("compiled for an H100", [line for row in rows for line in table_rows(row)], sys.stderr)
    return 1 if any("error" in row for row in rows) else 0


def compile_row(run: Run, options: argparse.Namespace, target: NamedSharding) -> dict[str, Any]:
    """Returns the figures of every call of a row, from shapes alone."""
    run = resolve(run, "gpu")
    size = options.batch_size or run.train.batch_size

    def put(a: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=target)

    row: dict[str, Any] = {"family": run.family, "batch_size": size}
    for name, (function, shapes) in speed.calls_of_shapes(run, options, size).items():
        examples = options.samples if name == "sample" else size
        call = (function, jax.tree.map(put, shapes))
        row[name] = {"examples": examples} | compile_call(call, options)
    return row


def compile_call(call: speed.Call, options: argparse.Namespace) -> dict[str, Any]:
    """Compiles a call and reads its kernels."""
    function, arguments = call
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    seconds = time.perf_counter() - start
    text = compiled.as_text()
    if text is None:
        raise ValueError("this compiler does not print its program.")
    each = kernels.read(text, options.loop_iterations)
    longest = sorted(each, key=seconds_at_peak, reverse=True)[: options.longest]
    return {
        "compile_seconds": seconds,
        "memory_bytes": speed.memory_bytes(compiled),
        "kernels": sum(k.times for k in each),
        "operations": sum(k.times * k.operations for k in each),
        "required_operations": flops.work(function, *arguments, platform="cuda")[0],
        "exact_operations": sum(k.times * k.operations for k in each if k.exact),
        "bytes": sum(k.times * k.bytes for k in each),
        "seconds": sum(map(seconds_at_peak, each)),
        "longest": [k._asdict() | {"seconds": seconds_at_peak(k)} for k in longest],
    }


def seconds_at_peak(kernel: kernels.Kernel) -> float:
    """Returns the seconds of all runs of a kernel at the peaks of the data sheet."""
    peak = PEAKS["exact" if kernel.exact else "bf16" if kernel.dtype == "bf16" else "f32"]
    return kernel.times * max(kernel.operations / peak, kernel.bytes / PEAKS["memory"])


def table_rows(row: dict[str, Any]) -> list[Row]:
    """Returns a line per call of a row, and one per listed kernel."""
    lines: list[Row] = []
    for kind in KINDS:
        part = row.get(kind)
        if not part:
            continue
        lines.append(
            {
                "row": f"{row['row']} {kind}",
                "batch": f"{part['examples']:,}",
                "compile s": f"{part['compile_seconds']:.1f}",
                "memory MB": f"{part['memory_bytes'] / 1e6:,.0f}",
                "required Gop": f"{part['required_operations'] / 1e9:,.2f}",
                **_columns(part["kernels"], part["operations"], part["bytes"], part["seconds"]),
            }
        )
        for k in part["longest"]:
            name = f"  {k['kind'][-24:]} {k['source'][-40:]}"
            blank = dict.fromkeys(("batch", "compile s", "memory MB", "required Gop"), "")
            n = k["times"]
            columns = _columns(n, n * k["operations"], n * k["bytes"], k["seconds"])
            lines.append({"row": name, **blank, **columns})
    return lines


def _columns(count: float, operations: float, moved: float, seconds: float) -> dict[str, str]:
    return {
        "kernels": f"{count:,.0f}",
        "Gop": f"{operations / 1e9:,.2f}",
        "MB": f"{moved / 1e6:,.1f}",
        "ms": f"{1e3 * seconds:,.3f}",
    }


if __name__ == "__main__":
    sys.exit(main())
