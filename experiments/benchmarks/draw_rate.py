"""Measures a step of DALL-E's transformer and the drawing of its image tokens, beside PyTorch.

All have the settings of `dalle_scenes:cpu`: 64 image tokens and four layers of width 128.

* `genjax`: samples with a cache of keys and values.
* `genjax_naive`: samples without one, each token from an evaluation of the whole sequence.
* `torch`: the same network in PyTorch (`experiments.benchmarks.peers.torch_dalle`), with a cache.
* `dalle_pytorch`: the package of that name, if it can be imported, as in
  `experiments.benchmarks.peers.dalle_pytorch_model`. Without guidance it has no cache.
* `dalle_pytorch_cached`: the same with its masked attention, which it caches with guidance.

Samples end with tokens on the host; images are not decoded. Steps of `genjax` and `torch` encode
images by the discrete VAE. A ratio is the seconds of a method over those of `genjax`, above 1 where
genjax is faster.

    JAX_PLATFORMS=cpu python -m experiments.benchmarks.draw_rate --out draw_rate.json
    JAX_PLATFORMS=cpu python -m experiments.benchmarks.draw_rate --methods genjax --guidance 3
"""

import argparse
import functools
import importlib.util
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from experiments.benchmarks.growth import last_layout, stage_state_at, stage_step
from experiments.benchmarks.reporting import (
    Row,
    make_parser,
    measure_rows,
    prepare_out,
    provenance,
    show,
)
from experiments.benchmarks.speed import random_batch, timed
from experiments.table import rows as all_rows
from genjax import checks
from genjax.cli.options import keep_freed_memory, set_up_process
from genjax.families import dalle
from genjax.train import Run
from genjax.train.record import device
from genjax.train.run_config import resolve

ROW = "dalle_scenes:cpu"
METHODS = ("genjax", "genjax_naive", "torch", "dalle_pytorch", "dalle_pytorch_cached")
SAMPLERS = {"genjax": dalle.sample_tokens, "genjax_naive": dalle.sample_tokens_naive}
STEPS = ("genjax", "torch", "dalle_pytorch")  # methods that have a step
Calls = tuple[Callable[[], Any], Callable[[float], Callable[[], Any]]]  # a step; by guidance


def main(argv: list[str] | None = None) -> int:
    """Times the methods, prints a table, writes the figures and returns the exit status."""
    keep_freed_memory()
    parser = make_parser("draw_rate", __doc__)
    add = parser.add_argument
    add("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="(all)")
    add("--batch-size", type=int, default=64, help="images of a call (64)")
    add("--guidance", nargs="+", type=float, default=[1.0, 3.0], metavar="SCALE", help="(1 3)")
    add("--repeats", type=int, default=5, help="timed calls of each kind, at most (5)")
    add("--seconds", type=float, default=5.0, help="time limit for starting calls of a kind (5)")
    add("--out", type=pathlib.Path, help="JSON file to write")
    options = parser.parse_args(argv)
    set_up_process()
    try:
        checks.positive(
            batch_size=options.batch_size, repeats=options.repeats, seconds=options.seconds
        )
        if jax.default_backend() != "cpu" and any("torch" in name for name in options.methods):
            raise ValueError("PyTorch's methods run on a CPU; set JAX_PLATFORMS=cpu.")
        prepare_out(options.out)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    methods = [name for name in options.methods if installed(name)]
    shared = provenance(options, device=device(), cores=os.cpu_count())
    rows = measure_rows(lambda name: parts(name, options), methods, shared, options.out)
    if not sys.stdout.isatty():
        print(json.dumps(shared | {"rows": rows}))
    done = [row for row in rows if "error" not in row]
    first = next((row for row in done if row["row"] == "genjax"), None)
    show(f"{shared['device']}", [table_row(row, first) for row in done], sys.stderr)
    return 0 if len(done) == len(rows) else 1


def installed(method: str) -> bool:
    """Returns whether the packages of a method are installed, or prints that it is left out."""
    names = [name for name in ("torch", "dalle_pytorch") if name in method]
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        print(f"{method} is left out: {missing[0]} is not installed.", file=sys.stderr)
    return not missing


def parts(name: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yields the figures of a method: of its step, then of its samples by guidance scale."""
    run = resolve(all_rows()[ROW], jax.default_backend())

    def figures(call: Callable[[], Any]) -> dict[str, float]:
        jax.block_until_ready(call())  # compiles
        return timed(call, options.repeats, options.seconds)

    step, sample = (torch_calls if "torch" in name else jax_calls)(name, run, options.batch_size)
    if name in STEPS:
        yield {"step": figures(step)}
    found = {}
    for guidance in options.guidance:
        found[f"{guidance:g}"] = figures(sample(guidance))
        yield {"samples": found}


def jax_calls(name: str, run: Run, size: int) -> Calls:
    """Returns the calls of a method of genjax."""
    config, layout, key = run.model, last_layout(run), jax.random.key(0)
    batch = random_batch(dalle, config, size, key)
    state = jax.jit(stage_state_at(run, layout))(key)
    step = jax.jit(stage_step(run, layout))

    def sample(guidance: float) -> Callable[[], Any]:
        draw = functools.partial(SAMPLERS[name], config, guidance=guidance)
        program = jax.jit(draw)
        return lambda: np.asarray(program(state.variables, key, batch["text"]))

    return lambda: step(state, batch), sample


def torch_calls(name: str, run: Run, size: int) -> Calls:
    """Returns the calls of a method of PyTorch."""
    import torch

    from experiments.benchmarks.peers import dalle_pytorch_model, torch_dalle, torch_steps

    config = run.model
    arrays = random_batch(dalle, config, size, jax.random.key(0))
    batch = {key: torch.from_numpy(np.array(value)) for key, value in arrays.items()}
    text = batch["text"].long()
    if name == "torch":
        network = torch_dalle.build(config).to(memory_format=torch.channels_last)
        losses = torch_steps.mean_losses(torch_dalle, network, config, "float32")
        step = torch_steps.make_step(network, run, losses)
        draw = functools.partial(torch_dalle.sample_tokens, network, config, text)
        return lambda: step(batch), lambda guidance: lambda: draw(guidance)
    tokens = torch.randint(config.codes, (size, config.image_length))
    cached = name == "dalle_pytorch_cached"
    make = functools.partial(dalle_pytorch_model.make_sample, config, text, cached=cached)
    return dalle_pytorch_model.make_step(run, text, tokens), lambda guidance: make(guidance)


def table_row(found: dict[str, Any], first: dict[str, Any] | None) -> Row:
    """Returns milliseconds of a method's calls, and their ratios to those of genjax."""
    row: Row = {"method": found["row"]}
    calls = {"step": found.get("step")} | found["samples"]
    others = {} if first is None else {"step": first["step"]} | first["samples"]
    for name, part in calls.items():
        title = "step" if name == "step" else f"tokens, guidance {name}"
        row[title] = f"{1e3 * part['seconds']:,.0f}" if part else "-"
        both = part and name in others
        row[f"{title}: ratio"] = f"{part['seconds'] / others[name]['seconds']:.2f}" if both else "-"
    return row


if __name__ == "__main__":
    sys.exit(main())
