"""A genjax loss in plain JAX, in Flax NNX and in Equinox.

The loss is a pure function of logits and data, `bernoulli_nll`, so each framework uses it with its
own modules and training loop. The model is a logistic regression of every pixel on the earlier ones
(FVSBN) on binarised 8x8 digits. All three begin at zero and print the same test nats.

    python -m experiments.examples.import_a_loss
"""

import argparse
import importlib.util
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from genjax.cli.options import run_command
from genjax.data import Data, load
from genjax.losses import bernoulli_nll

RATE = 0.02


def plain_jax(train: jax.Array, test: jax.Array, steps: int) -> jax.Array:
    """Returns the test nats, `[B]`, of a model that is a dict of arrays and a function."""

    def logits(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        return x @ jnp.tril(params["kernel"], -1).T + params["bias"]  # pixel d sees pixels < d

    def loss(params: dict[str, jax.Array]) -> jax.Array:
        return bernoulli_nll(logits(params, train), train).mean()

    optimizer = optax.adam(RATE)

    @jax.jit
    def step(params: dict[str, jax.Array], state: optax.OptState) -> tuple:
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    size = train.shape[1]
    params = {"kernel": jnp.zeros((size, size)), "bias": jnp.zeros((1, size))}
    state = optimizer.init(params)
    for _ in range(steps):
        params, state = step(params, state)
    return bernoulli_nll(logits(params, test), test)


def flax_nnx(train: jax.Array, test: jax.Array, steps: int) -> jax.Array:
    """Returns the test nats, `[B]`, of an NNX module trained by an NNX optimizer."""
    from flax import nnx

    class Fvsbn(nnx.Module):
        def __init__(self, size: int) -> None:
            self.kernel = nnx.Param(jnp.zeros((size, size)))
            self.bias = nnx.Param(jnp.zeros((1, size)))

        def __call__(self, x: jax.Array) -> jax.Array:
            return x @ jnp.tril(self.kernel[...], -1).T + self.bias[...]

    def loss(model: Fvsbn) -> jax.Array:
        return bernoulli_nll(model(train), train).mean()

    @nnx.jit
    def step(model: Fvsbn, optimizer: nnx.Optimizer) -> None:
        optimizer.update(model, nnx.grad(loss)(model))

    model = Fvsbn(train.shape[1])
    optimizer = nnx.Optimizer(model, optax.adam(RATE), wrt=nnx.Param)
    for _ in range(steps):
        step(model, optimizer)
    return bernoulli_nll(model(test), test)


def equinox(train: jax.Array, test: jax.Array, steps: int) -> jax.Array:
    """Returns the test nats, `[B]`, of an Equinox module, which is a pytree."""
    import equinox as eqx

    class Fvsbn(eqx.Module):
        kernel: jax.Array
        bias: jax.Array

        def __call__(self, x: jax.Array) -> jax.Array:
            return x @ jnp.tril(self.kernel, -1).T + self.bias

    def loss(model: Fvsbn) -> jax.Array:
        return bernoulli_nll(model(train), train).mean()

    optimizer = optax.adam(RATE)

    @eqx.filter_jit
    def step(model: Fvsbn, state: optax.OptState) -> tuple:
        updates, state = optimizer.update(eqx.filter_grad(loss)(model), state)
        return eqx.apply_updates(model, updates), state

    size = train.shape[1]
    model = Fvsbn(jnp.zeros((size, size)), jnp.zeros((1, size)))
    state = optimizer.init(eqx.filter(model, eqx.is_array))
    for _ in range(steps):
        model, state = step(model, state)
    return bernoulli_nll(model(test), test)


FRAMEWORKS: dict[str, Callable[[jax.Array, jax.Array, int], jax.Array]] = {
    "jax": plain_jax,
    "flax": flax_nnx,
    "equinox": equinox,
}


def main(argv: list[str] | None = None) -> int:
    """Trains the model in every installed framework, prints nats, and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.examples.import_a_loss",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--steps", type=int, default=300, help="updates on all images (300)")
    options = parser.parse_args(argv)
    return run_command(lambda: compare(options.steps))


def compare(steps: int) -> None:
    """Prints the test nats of each framework."""
    splits = load(Data(data="digits")).splits  # levels 0 to 16
    train, test = (
        jnp.asarray(splits[name]["x"] > 8, jnp.float32).reshape(-1, 64)
        for name in ("train", "test")
    )
    for name, fit in FRAMEWORKS.items():
        if importlib.util.find_spec(name) is None:
            print(f"{name}: skipped, not installed (pip install {name})")
        else:
            print(f"{name}: {fit(train, test, steps).mean():.3f} nats on test")


if __name__ == "__main__":
    sys.exit(main())
