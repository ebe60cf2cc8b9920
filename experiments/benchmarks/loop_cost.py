"""Measures what `fit` costs beside its steps: overhead, checkpoints, and start-up.

Per row, on random images:

* step: seconds of compiled steps called by hand on a batch on the device; with `--runs N` also of N
  runs in one program (`vmap`), per step of all of them, and images per second in total.
* loop, overhead: seconds of a step in `fit`, which gathers batches, transforms and logs, and their
  excess over the steps by hand.
* checkpoint: how long a save blocks training, and how long until it is on disk.
* cold and warm start: from the start of a process to its first line of metrics, without and with
  compiled programs in the cache.

    python -m experiments.benchmarks.loop_cost --rows nade_binarized_mnist:cpu --out loop.json
    python -m experiments.benchmarks.loop_cost --rows iwae_mnist:k1 --runs 8 --skip cold checkpoint
"""

import argparse
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.reporting import (
    Row,
    make_parser,
    measure_rows,
    prepare_out,
    provenance,
    show,
)
from experiments.benchmarks.speed import random_batch
from experiments.table import rows as all_rows
from genjax import checks, families
from genjax.core import init_state, make_step, with_ema
from genjax.data import Dataset, save_npz
from genjax.train import Run, compile_step, fit
from genjax.train.checkpoint import Checkpoints, write_json
from genjax.train.record import device
from genjax.train.run_config import (
    batches_per_step,
    build_optimizer,
    resolve,
    run_from_json,
    to_json,
)

DEFAULT = (
    "nade_binarized_mnist:cpu",
    "made_binarized_mnist:1x8000_1mask_cpu",
    "iwae_mnist:k1",
    "dcgan_celeba64:swd",
)
EXAMPLES = {"train": 4096, "validation": 64, "test": 64}
POLL = 0.005  # seconds between looks at the metrics of a child process
CHILD = (
    "import sys, pathlib; from experiments.benchmarks.loop_cost import child;"
    " child(*map(pathlib.Path, sys.argv[1:]))"
)


def main(argv: list[str] | None = None) -> int:
    """Measures the rows, prints the table, writes the figures and returns the exit status."""
    parser = make_parser("loop_cost", __doc__)
    add = parser.add_argument
    add("--rows", nargs="+", default=list(DEFAULT), metavar="ROW", help="of python -m experiments")
    add("--steps", type=int, default=2000, help="steps of each of six measurements (2000)")
    add("--steps-per-call", type=int, help="steps joined in one call (the row's)")
    add("--runs", type=int, default=0, help="also time so many runs in one program")
    add("--saves", type=int, default=5, help="checkpoints timed (5)")
    add("--batch-size", type=int, help="(the row's)")
    parts = ("overhead", "checkpoint", "cold")
    add("--skip", nargs="+", choices=parts, default=[], help="measurements to leave out")
    add("--out", type=pathlib.Path, help="JSON file to write")
    options = parser.parse_args(argv)
    known = all_rows()
    # Child processes need memory of the accelerator too; set before JAX starts.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        checks.positive(steps=options.steps, saves=options.saves)
        checks.not_negative(runs=options.runs)
        for name in options.rows:
            checks.one_of(tuple(known), rows=name)
            check_images(known[name])
        prepare_out(options.out)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    shared = provenance(options, device=device())

    def measured(name: str) -> Iterator[dict[str, Any]]:
        with tempfile.TemporaryDirectory() as folder:
            yield measure(known[name], pathlib.Path(folder), options)

    rows = measure_rows(measured, options.rows, shared, options.out)
    complete = [row for row in rows if "error" not in row]
    show(f"{shared['device']}, milliseconds", [table_row(row) for row in complete])
    return 0 if len(complete) == len(rows) else 1


def measure(run: Run, folder: pathlib.Path, options: argparse.Namespace) -> dict[str, Any]:
    """Returns the figures of one row."""
    data = folder / "random.npz"
    save_npz(random_images(run), data)
    size = options.batch_size or run.train.batch_size
    train = dataclasses.replace(
        run.train,
        steps=options.steps,
        batch_size=size,
        steps_per_call=options.steps_per_call or run.train.steps_per_call,
        log_every=max(options.steps // 5, 1),
        eval_every=0,
        sample_every=0,
        save_every=0,
        eval_samples=1,
        metric="",
        weights_from="",
    )
    data_at = dataclasses.replace(run.data, data=str(data), stream="no")
    run = dataclasses.replace(run, data=data_at, train=train, phases=())
    run = resolve(run, jax.default_backend())
    found: dict[str, Any] = {"family": run.family, "batch_size": size}
    found["steps_per_call"] = run.train.steps_per_call
    if "overhead" not in options.skip:
        # Alternating, so that a machine that warms up favours neither.
        pairs = [(by_hand(run), in_the_loop(run, folder / f"loop-{i}")) for i in range(3)]
        bare, looped = (statistics.median(p) for p in zip(*pairs, strict=True))
        found |= {"by_hand_seconds": bare, "loop_seconds": looped, "overhead": looped / bare - 1}
    if options.runs:
        images = size * batches_per_step(run)
        for n in sorted({1, options.runs}):
            seconds = statistics.median(by_hand(run, n) for _ in range(3))
            found[f"seconds_{n}_runs"] = seconds
            found[f"images_per_second_{n}_runs"] = n * images / seconds
    if "checkpoint" not in options.skip:
        found |= checkpoint(run, folder / "saves", options.saves)
    if "cold" not in options.skip:
        found |= cold_start(run, folder)
    return found


def check_images(run: Run) -> str:
    """Returns the kind of data of a row's images.

    Raises:
      ValueError: it has none.
    """
    kind = families.get(run.family).traits(run.model).data
    if len(run.model.shape) != 3 or kind == "real":
        raise ValueError(f"{run.experiment} has no images; name a row that has.")
    return kind


def random_images(run: Run) -> Dataset:
    """Returns images of the row's shape; binary if no transform makes them so."""
    config, kind = run.model, check_images(run)
    levels = 2 if kind == "binary" and not run.data.transform else 256
    rng = np.random.default_rng(0)
    splits: dict[str, dict[str, np.ndarray]] = {}
    for split, n in EXAMPLES.items():
        x = rng.integers(0, levels, (n, *config.shape), dtype=np.uint8)
        label = rng.integers(0, max(getattr(config, "classes", 0), 1), n, dtype=np.int32)
        splits[split] = {"x": x, "label": label}
    return Dataset("random", splits, levels)


def make_parts(run: Run, runs: int = 1) -> tuple[Any, Any, Any]:
    """Returns the family, its step with EMA, and the first state (of all runs, if several)."""
    family, optimizer = families.get(run.family), build_optimizer(run)
    ema = run.train.ema > 0
    step = make_step(family, run.model, optimizer)
    step = with_ema(step, run.train.ema) if ema else step

    def make(key: jax.Array) -> Any:
        return init_state(family, run.model, optimizer, key, ema=ema)

    key = jax.random.key(run.seed)
    if runs == 1:
        return family, step, jax.jit(make)(key)
    return family, step, jax.jit(jax.vmap(make))(jax.random.split(key, runs))


def by_hand(run: Run, runs: int = 1) -> float:
    """Returns seconds per step of compiled calls on one batch on the device."""
    family, step, state = make_parts(run, runs)
    per_call = run.train.steps_per_call
    batch = random_batch(family, run.model, run.train.batch_size, jax.random.key(1))
    axes = ((per_call,) if per_call > 1 else ()) + ((runs,) if runs > 1 else ())
    batch = jax.tree.map(lambda a: jnp.broadcast_to(a, (*axes, *a.shape)), batch)
    call = compile_step(step, steps_per_call=per_call, runs=runs)
    calls = max(run.train.steps // per_call, 1)
    state, metrics = jax.block_until_ready(call(state, batch))
    start = time.perf_counter()
    for _ in range(calls):
        state, metrics = call(state, batch)
    jax.block_until_ready((state, metrics))
    return (time.perf_counter() - start) / (calls * per_call)


def in_the_loop(run: Run, workdir: pathlib.Path) -> float:
    """Returns seconds per step of `fit`, from its metrics after the first, which compiles."""
    fit(run, workdir, quiet=True, devices=jax.devices()[:1])
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    rates = [line["examples_per_second"] for line in lines if "examples_per_second" in line]
    each = run.train.batch_size * batches_per_step(run)
    return each / statistics.median(rates[1:] or rates)


def checkpoint(run: Run, folder: pathlib.Path, saves: int) -> dict[str, float]:
    """Returns megabytes of a state, seconds that a save blocks, and seconds until it is on disk."""
    state, checkpoints = make_parts(run)[2], Checkpoints(folder)
    blocked, written = [], []
    for i in range(saves + 1):
        state = jax.block_until_ready(state.replace(step=state.step + 1))
        start = time.perf_counter()
        checkpoints.save(state, {"best": None})
        returned = time.perf_counter()
        checkpoints.wait()
        if i:  # the first compiles the checksums
            blocked.append(returned - start)
            written.append(time.perf_counter() - start)
    checkpoints.close()
    size = sum(x.nbytes for x in jax.tree.leaves(state) if hasattr(x, "nbytes"))
    return {
        "state_megabytes": size / 1e6,
        "blocked_seconds": statistics.median(blocked),
        "written_seconds": statistics.median(written),
    }


def cold_start(run: Run, folder: pathlib.Path) -> dict[str, float]:
    """Returns seconds from the start of a process to its first line of metrics, cold and warm."""
    per_call = run.train.steps_per_call
    train = dataclasses.replace(run.train, steps=per_call, log_every=per_call)
    settings = folder / "run.json"
    write_json(settings, to_json(dataclasses.replace(run, train=train)))
    env = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(folder / "xla")}
    found = {}
    for name in ("cold_seconds", "warm_seconds"):
        lines = folder / name / "metrics.jsonl"
        start = time.perf_counter()
        command = [sys.executable, "-c", CHILD, str(settings), str(lines.parent)]
        messages = folder / f"{name}.txt"  # a pipe would block when it is full
        with (
            messages.open("w") as errors,
            subprocess.Popen(command, env=env, stderr=errors) as process,
        ):
            while process.poll() is None and not (lines.exists() and lines.stat().st_size):
                time.sleep(POLL)
            found[name] = time.perf_counter() - start
        if process.returncode:
            last = messages.read_text().strip().splitlines()[-1]
            raise ValueError(f"{run.experiment} did not start: {last}")
    return found


def child(settings: pathlib.Path, workdir: pathlib.Path) -> None:
    """Runs the process whose start is timed."""
    fit(run_from_json(json.loads(settings.read_text())), workdir, quiet=True)


def table_row(found: dict[str, Any]) -> Row:
    """Returns the line of a row."""
    row: Row = {"row": found["row"], "batch": float(found["batch_size"])}
    for title, name, scale in (
        ("step", "by_hand_seconds", 1e3),
        ("loop", "loop_seconds", 1e3),
        ("overhead %", "overhead", 1e2),
        ("MB", "state_megabytes", 1),
        ("blocked", "blocked_seconds", 1e3),
        ("disk", "written_seconds", 1e3),
        ("cold", "cold_seconds", 1e3),
        ("warm", "warm_seconds", 1e3),
    ):
        row[title] = f"{scale * found[name]:,.1f}" if name in found else "-"
    rates = [k for k in found if k.startswith("images_per_second")]
    return row | {k.split("_")[-2] + " runs, images/s": f"{found[k]:,.0f}" for k in rates}


if __name__ == "__main__":
    sys.exit(main())
