"""What the loop around a step costs: overhead, checkpoints, and the time from nothing to a step.

Of each row, on random images:

* **overhead**: the share of time that `fit` needs beyond the same compiled steps called by hand on
  batches that lie on the device; the loop gathers, transforms, logs, and looks for signals.
* **checkpoint**: how long training stands still for a save, and how long until it is on disk.
* **cold start**: from the start of a fresh process to its first line of metrics, without compiled
  programs and with those of the run before.

    python -m experiments.benchmarks.loop_cost --rows nade_binarized_mnist:cpu --steps 2000 --out loop.json
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
from typing import Any

import jax
import numpy as np

from experiments.benchmarks.input_rate import prepare_out, show
from experiments.benchmarks.speed import random_batch
from experiments.table import rows as all_rows
from genjax import checks, families
from genjax.core import init_state, make_step, with_ema
from genjax.data import Dataset, save_npz
from genjax.train import Run, compile_step, fit
from genjax.train.checkpoint import Checkpoints, write_json
from genjax.train.record import commit, device
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
POLL = 0.005  # seconds between looks at a child's metrics
CHILD = (
    "import sys, json, pathlib; from experiments.benchmarks.loop_cost import child; child(*map(pathlib.Path,"
    " sys.argv[1:]))"
)


def main(argv: list[str] | None = None) -> int:
    """Measure, print the table, write the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.loop_cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--rows", nargs="+", default=list(DEFAULT), metavar="ROW", help="of python -m experiments")
    add("--steps", type=int, default=2000, help="steps of each of six measurements (2000)")
    add("--saves", type=int, default=5, help="checkpoints timed (5)")
    add("--batch-size", type=int, help="instead of the row's own")
    add(
        "--skip",
        nargs="+",
        choices=("overhead", "checkpoint", "cold"),
        default=[],
        help="leave out",
    )
    add("--out", type=pathlib.Path, help="write the figures there as JSON")
    options = parser.parse_args(argv)
    known = all_rows()
    # Processes that are started here need the accelerator's memory too; set before JAX asks for it.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        checks.positive(steps=options.steps, saves=options.saves)
        for name in options.rows:
            checks.one_of(tuple(known), rows=name)
            check_images(known[name])
        prepare_out(options.out)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return measure_rows(options)


def measure_rows(options: argparse.Namespace) -> int:
    """Measure row after row; what there is is written after each, and a row that fails says why."""
    known = all_rows()
    found: list[dict[str, Any]] = []
    about = {"commit": commit(), "device": device(), "rows": found}
    for name in options.rows:
        print(f"{name} ...", file=sys.stderr, flush=True)
        row: dict[str, Any] = {"row": name}
        try:
            with tempfile.TemporaryDirectory() as folder:
                row |= measure(known[name], pathlib.Path(folder), options)
        except Exception as error:  # out of memory, or what a compiler says
            row["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
            print(f"{name}: {row['error']}", file=sys.stderr, flush=True)
        found.append(row)
        if options.out:
            write_json(options.out, about)
    measured = [row for row in found if "error" not in row]
    show(f"{about['device']}, milliseconds", [table_row(r) for r in measured])
    return 0 if len(measured) == len(found) else 1


def measure(run: Run, folder: pathlib.Path, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one row."""
    data = folder / "random.npz"
    save_npz(random_images(run), data)
    size = options.batch_size or run.train.batch_size
    train = dataclasses.replace(
        run.train,
        steps=options.steps,
        batch_size=size,
        log_every=max(options.steps // 5, 1),
        eval_every=0,
        sample_every=0,
        save_every=0,
        eval_samples=1,
        metric="",
        weights_from="",
    )
    data_at = dataclasses.replace(run.data, data=str(data), stream="no")
    run = dataclasses.replace(run, data=data_at, train=train)
    run = resolve(run, jax.default_backend())
    found: dict[str, Any] = {"family": run.family, "batch_size": size}
    found["steps_per_call"] = run.train.steps_per_call
    if "overhead" not in options.skip:
        # By hand, in the loop, and so on in turn: a machine that warms up favours neither.
        pairs = [(by_hand(run), in_the_loop(run, folder / f"loop-{i}")) for i in range(3)]
        bare, looped = (statistics.median(p) for p in zip(*pairs, strict=True))
        found |= {"by_hand_seconds": bare, "loop_seconds": looped, "overhead": looped / bare - 1}
    if "checkpoint" not in options.skip:
        found |= checkpoint(run, folder / "saves", options.saves)
    if "cold" not in options.skip:
        found |= cold_start(run, folder)
    return found


def check_images(run: Run) -> str:
    """What kind of data the row's images are.

    Raises:
      ValueError: it has none.
    """
    kind = families.get(run.family).traits(run.model).data
    if len(run.model.shape) != 3 or kind == "real":
        raise ValueError(f"{run.experiment} has no images; name a row that has.")
    return kind


def random_images(run: Run) -> Dataset:
    """Images of the row's shape; binary where the family takes them as they are."""
    config, kind = run.model, check_images(run)
    levels = 2 if kind == "binary" and not run.data.transform else 256
    rng = np.random.default_rng(0)
    splits: dict[str, dict[str, np.ndarray]] = {}
    for split, n in EXAMPLES.items():
        x = rng.integers(0, levels, (n, *config.shape), dtype=np.uint8)
        label = rng.integers(0, max(getattr(config, "classes", 0), 1), n, dtype=np.int32)
        splits[split] = {"x": x, "label": label}
    return Dataset("random", splits, levels)


def parts(run: Run) -> tuple[Any, Any, Any]:
    """The family, its step with the running average, and the first state."""
    family, optimizer = families.get(run.family), build_optimizer(run)
    averaged = run.train.ema > 0
    step = make_step(family, run.model, optimizer)
    step = with_ema(step, run.train.ema) if averaged else step
    make = jax.jit(lambda k: init_state(family, run.model, optimizer, k, ema=averaged))
    return family, step, make(jax.random.key(run.seed))


def by_hand(run: Run) -> float:
    """Seconds a step of the same calls on one batch that lies on the device."""
    family, step, state = parts(run)
    per_call = run.train.steps_per_call
    batch = random_batch(family, run.model, run.train.batch_size, jax.random.key(1))
    if per_call > 1:
        batch = jax.tree.map(lambda a: np.stack([a] * per_call), jax.device_get(batch))
    batch = jax.device_put(batch)
    call = compile_step(step, steps_per_call=per_call)
    calls = max(run.train.steps // per_call, 1)
    state, metrics = jax.block_until_ready(call(state, batch))
    began = time.perf_counter()
    for _ in range(calls):
        state, metrics = call(state, batch)
    jax.block_until_ready((state, metrics))
    return (time.perf_counter() - began) / (calls * per_call)


def in_the_loop(run: Run, workdir: pathlib.Path) -> float:
    """Seconds a step between lines of metrics, after the first, which compiles."""
    fit(run, workdir, quiet=True, devices=jax.devices()[:1])
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    rates = [line["examples_per_second"] for line in lines if "examples_per_second" in line]
    each = run.train.batch_size * batches_per_step(run)
    return each / statistics.median(rates[1:] or rates)


def checkpoint(run: Run, folder: pathlib.Path, saves: int) -> dict[str, float]:
    """Megabytes of a state; seconds until training goes on, and until it is on disk."""
    state, keeper = parts(run)[2], Checkpoints(folder)
    stalls, written = [], []
    for i in range(saves + 1):
        state = jax.block_until_ready(state.replace(step=state.step + 1))
        began = time.perf_counter()
        keeper.save(state, {"best": None})
        stalled = time.perf_counter()
        keeper.wait()
        if i:  # the first compiles the checksums
            stalls.append(stalled - began)
            written.append(time.perf_counter() - began)
    keeper.close()
    size = sum(x.nbytes for x in jax.tree.leaves(state) if hasattr(x, "nbytes"))
    return {
        "state_megabytes": size / 1e6,
        "stall_seconds": statistics.median(stalls),
        "written_seconds": statistics.median(written),
    }


def cold_start(run: Run, folder: pathlib.Path) -> dict[str, float]:
    """Seconds from the start of a process to its first line of metrics, twice."""
    per_call = run.train.steps_per_call
    train = dataclasses.replace(run.train, steps=per_call, log_every=per_call)
    settings = folder / "run.json"
    write_json(settings, to_json(dataclasses.replace(run, train=train)))
    env = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(folder / "xla")}
    found = {}
    for name in ("cold_seconds", "warm_seconds"):
        lines = folder / name / "metrics.jsonl"
        began = time.perf_counter()
        command = [sys.executable, "-c", CHILD, str(settings), str(lines.parent)]
        said = folder / f"{name}.txt"  # a pipe that nobody reads would fill up
        with (
            said.open("w") as errors,
            subprocess.Popen(command, env=env, stderr=errors) as process,
        ):
            while process.poll() is None and not (lines.exists() and lines.stat().st_size):
                time.sleep(POLL)
            found[name] = time.perf_counter() - began
        if process.returncode:
            last = said.read_text().strip().splitlines()[-1]
            raise ValueError(f"{run.experiment} did not start: {last}")
    return found


def child(settings: pathlib.Path, workdir: pathlib.Path) -> None:
    """The process whose start is timed."""
    fit(run_from_json(json.loads(settings.read_text())), workdir, quiet=True)


def table_row(found: dict[str, Any]) -> dict[str, str | float]:
    """One line for a person."""
    row: dict[str, str | float] = {"row": found["row"], "batch": float(found["batch_size"])}
    for title, name, scale in (
        ("step", "by_hand_seconds", 1e3),
        ("loop", "loop_seconds", 1e3),
        ("more %", "overhead", 1e2),
        ("MB", "state_megabytes", 1),
        ("stall", "stall_seconds", 1e3),
        ("disk", "written_seconds", 1e3),
        ("cold", "cold_seconds", 1e3),
        ("warm", "warm_seconds", 1e3),
    ):
        row[title] = f"{scale * found[name]:,.1f}" if name in found else "-"
    return row


if __name__ == "__main__":
    sys.exit(main())
