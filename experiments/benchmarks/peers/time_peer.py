"""Times a row's family in PyTorch: a step, samples and an evaluation, as lines of JSON.

Batch, sizes and optimizer are those of `experiments.benchmarks.speed`, tuned as users would:
TensorFloat-32 for float32 (`--precision highest` for full float32), autocast for bfloat16 (of all
layers, where genjax keeps the last sums in float32), cuDNN's benchmark mode, channels_last. Eager
mode and, on CUDA, `torch.compile` without and with CUDA graphs (reduce-overhead) are timed, and the
fastest counts; of a naive loop the body is compiled. Every line has all figures so far, so that a
process that is stopped leaves them; in the last one nothing is `untried`.

    python -m experiments.benchmarks.peers.time_peer --row pixelcnn_mnist:gated --dtype bfloat16
"""

import argparse
import functools
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from experiments.benchmarks import peers
from experiments.benchmarks.growth import at_last_stage
from experiments.benchmarks.peers import KINDS
from experiments.benchmarks.speed import random_batch, with_side
from experiments.table import rows as all_rows
from genjax import checks, families
from genjax.cli.options import keep_freed_memory
from genjax.train import Run
from genjax.train.run_config import batches_per_step

WAYS = ("eager", "compiled", "compiled graphs")
DEVICES = ("auto", "cpu", "cuda")


def main(argv: list[str] | None = None) -> int:
    """Measures a row, prints its figures and returns the exit status."""
    keep_freed_memory()
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.peers.time_peer",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    known = all_rows()
    add("--row", required=True, metavar="ROW", help="row of python -m experiments")
    add("--dtype", choices=("float32", "bfloat16"), help="of the computation (the row's)")
    add("--repeats", type=int, default=20, help="timed calls of each kind, at most (20)")
    add("--seconds", type=float, default=30.0, help="time limit for starting calls of a kind (30)")
    add("--side", type=int, help="height and width of the images (the row's)")
    add("--batch-size", type=int, help="of step and evaluation (the row's)")
    add("--evaluate-batch-size", type=int, help="of the evaluation (that of the step)")
    add("--samples", type=int, default=64, help="samples per call (64)")
    add("--skip", nargs="+", choices=KINDS, default=[], help="calls to leave out")
    add("--precision", choices=("high", "highest"), default="high", help="of float32 (high)")
    add("--device", choices=DEVICES, default="auto", help="auto: CUDA if available")
    add("--compile", choices=("auto", "yes", "no"), default="auto", help="auto: on CUDA")
    options = parser.parse_args(argv)
    try:
        checks.positive(repeats=options.repeats, samples=options.samples, seconds=options.seconds)
        checks.one_of(tuple(known), row=options.row)
        for found in measure(at_last_stage(with_side(known[options.row], options.side)), options):
            print(json.dumps(found), flush=True)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def measure(run: Run, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yields the figures of one row after every attempt."""
    peer, family, size = peers.get(run.family), families.get(run.family), options.batch_size
    import torch

    dtype = options.dtype or getattr(run.model, "dtype", "float32")
    size = size or run.train.batch_size
    torch.set_float32_matmul_precision(options.precision)
    torch.backends.cudnn.allow_tf32 = options.precision == "high"
    torch.backends.cudnn.benchmark = True
    cuda = on_cuda(options.device, torch.cuda.is_available())
    found: dict[str, Any] = {"torch": torch.__version__, "dtype": dtype, "batch_size": size}
    found["device"] = torch.cuda.get_device_name() if cuda else "cpu"
    peer.build(run.model)  # raises for settings that the peer does not support
    arrays = random_batch(family, run.model, size, jax.random.key(0))
    device = torch.device("cuda" if cuda else "cpu")
    batch = {k: torch.from_numpy(np.array(v)).to(device) for k, v in arrays.items()}
    compiling = options.compile == "yes" or (options.compile == "auto" and cuda)
    yield found
    count = options.evaluate_batch_size or size
    few = {k: v[:count] for k, v in batch.items()}
    makes: dict[str, dict[str, Callable[[], Any]]] = {}
    counts = {"step": size, "sample": options.samples, "evaluate": count}
    for kind in KINDS:
        if kind in options.skip or (kind != "step" and not hasattr(peer, kind)):
            continue
        forms = getattr(peer, "FORMS", ("",)) if kind != "sample" else ("",)
        inputs, n = few if kind == "evaluate" else batch, counts[kind]
        makes[kind] = {
            " ".join(filter(None, (form, way))): functools.partial(
                make_call, peer, run, dtype, kind, form, way, inputs, n
            )
            for way in WAYS[: (2 + cuda if compiling else 1)]
            for form in forms
        }
    # Eager modes first: compilers may take all the time there is.
    order = [(w, k, name) for w in WAYS for k in makes for name in makes[k] if name.endswith(w)]
    tried: dict[str, dict[str, Any]] = {kind: {} for kind in makes}
    for _, kind, name in order:
        result = attempt(makes[kind][name], device, options, eager=name.endswith("eager"))
        tried[kind][name] = result
        if "error" in result:
            print(f"{kind}, {name}: {result['error']}", file=sys.stderr, flush=True)
        untried = [n for n in makes[kind] if n not in tried[kind]]
        batches = batches_per_step(run) if kind == "step" else 1
        found[kind] = best(tried[kind], counts[kind] * batches, untried)
        yield found


def on_cuda(device: str, available: bool) -> bool:
    """Returns whether a name in `DEVICES` means CUDA on this machine.

    Raises:
      ValueError: CUDA was requested and PyTorch has none.
    """
    if device == "cuda" and not available:
        raise ValueError(
            "PyTorch sees no GPU here: install PyTorch for CUDA, or time both on the CPU with"
            " JAX_PLATFORMS=cpu."
        )
    return available if device == "auto" else device == "cuda"


def make_call(
    peer: Any,
    run: Run,
    dtype: str,
    kind: str,
    form: str,
    compiled: str,
    batch: dict[str, Any],
    examples: int,
) -> Callable[[], Any]:
    """Returns one call of a kind, on a new network."""
    import torch

    from experiments.benchmarks.peers.torch_steps import make_step, mean_losses

    config, device = run.model, batch["x"].device
    network = peer.build(config, **({"form": form} if form else {})).to(device)
    if any(isinstance(m, torch.nn.Conv2d) for m in network.modules()):
        network = network.to(memory_format=torch.channels_last)
    mode = "reduce-overhead" if compiled == "compiled graphs" else "default"
    whole = compiled != "eager"
    if whole and (kind == "sample" or kind in getattr(network, "loops", ())):
        generator = getattr(network, "generator", network)
        pieces = peer.pieces(network) if hasattr(peer, "pieces") else [(generator, "forward")]
        for owner, name in pieces:
            call = torch.compile(getattr(owner, name), mode=mode)
            setattr(owner, name, cloned(call) if compiled == "compiled graphs" else call)
        whole = False
    if kind == "step" and hasattr(peer, "update"):
        update = functools.partial(peer.update, network, config)
        return functools.partial(torch.compile(update, mode=mode) if whole else update, batch)
    if kind == "step":
        losses = mean_losses(peer, network, config, dtype)
        if whole:
            losses = {name: torch.compile(loss, mode=mode) for name, loss in losses.items()}
        return functools.partial(make_step(network, run, losses), batch)

    def work() -> Any:
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
            if kind == "sample":
                return peer.sample(network, config, examples)
            return peer.evaluate(network, config, batch)

    return torch.inference_mode()(torch.compile(work, mode=mode) if whole else work)


def cloned(call: Callable[..., Any]) -> Callable[..., Any]:
    """Clones the outputs of a CUDA graph, which its next replay overwrites."""
    import torch

    def copy(found: Any) -> Any:
        if isinstance(found, torch.Tensor):
            return found.clone()
        if isinstance(found, (tuple, list)):
            return type(found)(map(copy, found))
        return found

    return lambda *arguments, **named: copy(call(*arguments, **named))


def attempt(
    make: Callable[[], Callable[[], Any]], device: Any, options: argparse.Namespace, *, eager: bool
) -> dict[str, Any]:
    """Returns seconds and memory of a call, or the first line of its error."""
    import torch

    gc.collect()
    torch.compiler.reset()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        found = timed(make(), device, options.repeats, options.seconds, eager=eager)
    except Exception as error:  # a compiler may fail in any way
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    found["memory_bytes"] = torch.cuda.max_memory_allocated() if device.type == "cuda" else 0
    return found


def timed(
    call: Callable[[], Any], device: Any, repeats: int, limit: float, *, eager: bool
) -> dict[str, Any]:
    """Returns the median seconds of blocked calls, and half of their interquartile range.

    After `limit` seconds no call starts. A single slow call counts, unless it compiles.
    """
    import torch

    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    seconds: list[float] = []
    warm = 0
    while len(seconds) < repeats and (not seconds or sum(seconds) < limit):
        wait()
        start = time.perf_counter()
        call()
        wait()
        elapsed = time.perf_counter() - start
        # The first call compiles and allocates; two more warm up if they are cheap.
        alone = eager and elapsed > limit
        if not alone and (warm == 0 or (warm < 3 and elapsed < limit / 30)):
            warm += 1
            continue
        seconds.append(elapsed)
    low, high = np.quantile(seconds, [0.25, 0.75])
    spread = float(high - low) / 2
    return {"seconds": statistics.median(seconds), "spread": spread, "repeats": len(seconds)}


def best(
    tried: dict[str, dict[str, Any]], examples: int, untried: Sequence[str] = ()
) -> dict[str, Any]:
    """Returns the fastest mode and all that were tried; `way` also reports that no compiler worked.

    Args:
      tried: figures or an error by mode.
      examples: per call.
      untried: modes that are still to come.
    """
    worked = {name: found for name, found in tried.items() if "error" not in found}
    if not worked:
        why = next(iter(tried.values()))["error"]
        return {"error": why, "tried": tried, "untried": list(untried)}
    name = min(worked, key=lambda n: worked[n]["seconds"])
    rate = examples / worked[name]["seconds"]
    compiled = [n for n in (*tried, *untried) if "compiled" in n]
    failed = bool(compiled) and all("error" in tried.get(n, {}) for n in compiled)
    way = f"{name} (compiled failed)" if failed else name
    chosen = {"way": way, "compiled": "compiled" in name, "examples_per_second": rate}
    return {**worked[name], **chosen, "tried": tried, "untried": list(untried)}


if __name__ == "__main__":
    sys.exit(main())
