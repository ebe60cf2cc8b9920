"""How fast does the network of the IWAE table train, and how long does its L_5000 take?

The one-layer network of Burda et al. 2015 (50 latents, two tanh layers of 200, batches of 20) on
images of MNIST's shape, binarised on the device at every step, with Adam. Images a second of one
run and of eight in one `vmap`ped program, in sum; metrics of all steps come to the host at the end
of every call. Then the time that the bound of 5,000 samples takes over 10,000 images. Every number
is the median over repeats, each of them blocked until the last array is there; compiling is done
before. The pixels are random: a rate does not depend on them.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.input_rate import prepare_out, show
from genjax import checks, evals
from genjax.cli.options import use_compilation_cache
from genjax.core import Optimizer, init_state, make_step
from genjax.data import Order, make_transform
from genjax.families import vae
from genjax.train import compile_step
from genjax.train.record import commit, device

ADAM = Optimizer(learning_rate=1e-3, eps=1e-4)  # section 5.1 and the released code
# What one H100 is to reach, by (runs, k), in images a second; and of L_5000, in seconds.
TARGETS = {(8, 1): 1_000_000.0, (8, 50): 440_000.0}
BOUND_TARGET = 60.0


def main(argv: list[str] | None = None) -> int:
    """Measure, print the table, write the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.vae_rate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 8], help="in one program")
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 50], help="k")
    parser.add_argument("--steps", type=int, default=5000, help="training steps a repeat")
    parser.add_argument("--per-call", type=int, default=500, help="steps a call, and its metrics")
    parser.add_argument("--repeats", type=int, default=5, help="of each rate")
    parser.add_argument("--batch-size", type=int, default=20, help="of training")
    parser.add_argument("--train-images", type=int, default=60_000, help="on the device")
    parser.add_argument("--images", type=int, default=10_000, help="the bound is taken over")
    parser.add_argument("--bound-samples", type=int, default=5000, help="of the bound")
    parser.add_argument("--bound-batch", type=int, default=500, help="images at a time")
    parser.add_argument("--bound-repeats", type=int, default=3, help="of the bound")
    parser.add_argument("--hidden", type=int, nargs="+", default=[200, 200])
    parser.add_argument("--latent", type=int, default=50)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--out", type=pathlib.Path, help="write the figures there as JSON")
    options = parser.parse_args(argv)
    use_compilation_cache()
    try:
        prepare_out(options.out)
        counts = {k: v for k, v in vars(options).items() if isinstance(v, (int, list))}
        checks.positive(**counts)
        if options.steps < options.per_call:
            raise ValueError(f"steps must be {options.per_call} or more, the steps of one call.")
        rows = [training(n, k, options) for k in options.samples for n in options.runs]
        bound = bound_time(options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    show("Training, images a second in sum of the runs", [*map(shown, rows)])
    show(f"The bound of {options.bound_samples:,} samples, seconds", [shown(bound)])
    asked = {k: v for k, v in vars(options).items() if k != "out"}
    about = {"device": device(jax.devices()[:1]), "commit": commit(), "asked": asked}
    if options.out:
        found = {**about, "training": rows, "bound": bound}
        options.out.write_text(json.dumps(found, indent=1))
    print(f"{about['device']}, commit {about['commit']}")
    return 0


def training(runs: int, samples: int, options: argparse.Namespace) -> dict[str, Any]:
    """Images a second of so many runs in one program, each with k samples an image."""
    config = configured(samples, options)
    optimizer = ADAM.build()
    step = compile_step(
        make_step(vae, config, optimizer),
        steps_per_call=options.per_call,
        runs=runs,
        transform=make_transform("binarize('dynamic')", 256),
        resident=True,
    )

    def begin(key: jax.Array) -> Any:
        return init_state(vae, config, optimizer, key)

    keys = jax.random.split(jax.random.key(0), runs)
    state = jax.jit(jax.vmap(begin) if runs > 1 else begin)(keys if runs > 1 else keys[0])
    data = {"x": jnp.asarray(pixels(options.train_images))}
    orders = [Order(options.train_images, seed) for seed in range(runs)]
    calls, done = options.steps // options.per_call, 0

    def some(count: int) -> float:
        """So many calls as a run makes them; the mean loss that it would log last."""
        nonlocal state, done
        size, waiting, loss = options.per_call * options.batch_size, None, 0.0
        for _ in range(count):
            taken = np.stack([order.take(done * size, size) for order in orders])
            taken = taken.reshape(runs, options.per_call, options.batch_size).swapaxes(0, 1)
            taken = taken if runs > 1 else taken[:, 0]
            taken = taken if options.per_call > 1 else taken[0]
            state, metrics = step(state, jnp.asarray(taken.astype(np.int32)), data)
            done += 1
            if waiting is not None:  # fetched while the next call runs
                loss = float(np.mean(jax.device_get(waiting)["loss"]))
            waiting = metrics
        loss = float(np.mean(jax.device_get(waiting)["loss"])) if waiting else loss
        jax.block_until_ready(state)
        return loss

    some(1)  # compiles
    images = calls * options.per_call * options.batch_size * runs
    seconds, losses = repeated(lambda: some(calls), options.repeats)
    if not np.isfinite(losses).all():
        raise ValueError("the loss is not finite: a rate of nothing.")
    rates = [images / s for s in seconds]
    target = TARGETS.get((runs, samples)) if network_of_the_table(options) else None
    return {"k": samples, "runs": runs, **spread(rates), "target": target, "loss": losses[-1]}


def bound_time(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of the bound over all images, from first parameters: their values cost nothing."""
    config = configured(1, options)
    variables = jax.jit(lambda key: vae.init(config, key))(jax.random.key(0))
    grey = pixels(options.images).astype(np.float32) / 255
    x = (np.random.default_rng(1).random(grey.shape) < grey).astype(np.float32)
    nll = evals.make_nll(vae, config, num_samples=options.bound_samples)
    size = min(options.bound_batch, len(x))
    nll(variables, x[:size], jax.random.key(0), size)  # compiles
    seconds, values = repeated(
        lambda: float(nll(variables, x, jax.random.key(1), size).mean()), options.bound_repeats
    )
    target = BOUND_TARGET if bound_of_the_table(options) else None
    found = {"images": len(x), "samples": options.bound_samples, **spread(seconds)}
    return {**found, "target": target, "nats": values[-1]}


def configured(samples: int, options: argparse.Namespace) -> vae.Config:
    """The network of the table."""
    return vae.Config(
        latent=options.latent,
        hidden=tuple(options.hidden),
        weights="glorot",
        objective="iwae",
        latent_samples=samples,
        dtype=options.dtype,
    )


def pixels(n: int) -> np.ndarray:
    """Grey levels of MNIST's shape, uint8, a fifth of them above 0."""
    rng = np.random.default_rng(0)
    shape = (n, 28, 28, 1)
    return rng.integers(0, 256, shape, np.uint8) * (rng.random(shape, np.float32) < 0.2)


def repeated(measure: Callable[[], float], count: int) -> tuple[list[float], list[float]]:
    """Seconds and values of so many calls."""
    seconds, values = [], []
    for _ in range(count):
        began = time.perf_counter()
        values.append(measure())
        seconds.append(time.perf_counter() - began)
    return seconds, values


def spread(values: list[float]) -> dict[str, Any]:
    """Median, lowest and highest of the repeats, and all of them."""
    return {
        "median": statistics.median(values),
        "lowest": min(values),
        "highest": max(values),
        "repeats": values,
    }


def network_of_the_table(options: argparse.Namespace) -> bool:
    """Whether training targets are about what was asked for."""
    asked = (tuple(options.hidden), options.latent, options.batch_size)
    return asked == ((200, 200), 50, 20)


def bound_of_the_table(options: argparse.Namespace) -> bool:
    """Whether the target of the bound is."""
    task = (tuple(options.hidden), options.latent, options.images, options.bound_samples)
    return task == ((200, 200), 50, 10_000, 5000)


def shown(row: dict[str, Any]) -> dict[str, str | float]:
    """A row of the table."""
    target = "-" if row["target"] is None else f"{row['target']:,.0f}"
    hidden = ("target", "repeats", "loss", "nats")
    kept = {k: v if isinstance(v, float) else f"{v:,}" for k, v in row.items() if k not in hidden}
    return {**kept, "target on one H100": target}


if __name__ == "__main__":
    sys.exit(main())
