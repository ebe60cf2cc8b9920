"""A family of one network that grows in three stages, of matrices only: it compiles at once."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from genjax.core import Optimizer, Stage, Traits, with_alpha
from genjax.data import Data
from genjax.train import Run, Train


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    shape: tuple[int, ...] = (8, 8, 1)
    hidden: int = 16
    fade: int = 4
    stable: int = 4
    batch_sizes: tuple[int, ...] = ()


def traits(config):
    return Traits(data="images", density="none", sample_range=(-1.0, 1.0))


def tiny():
    return Config()


def batch_spec(config, batch_size):
    return {"x": jax.ShapeDtypeStruct((batch_size, *config.shape), jnp.float32)}


def stages(config, batch_size, steps):
    found, first, examples = [], 0, 0
    for number in range(3):
        if first >= steps:
            break
        fade = config.fade if number else 0
        sizes = config.batch_sizes
        size = sizes[min(number, len(sizes) - 1)] if sizes else batch_size
        if size % 4 == 3:
            raise ValueError("this family trains with no batch of 3, 7, 11 ...")
        last = number == 2 or first + fade + config.stable >= steps
        length = steps - first if last else fade + config.stable
        part: dict[str, Any] = dict(first=first, steps=length, fade=fade, batch_size=size)
        found.append(Stage(name=f"s{number}", config=config, examples=examples, **part))
        first, examples = first + length, examples + length * size
    return tuple(found)


def init(config, key, batch=None):
    return with_alpha({"params": _new(config, key, 0)}, 1.0)


def grow(config, variables, key):
    new = _new(config, key, stage_of(variables["params"]) + 1)
    return with_alpha({**variables, "params": {**variables["params"], **new}}, 0.0)


def side(variables):
    return 8  # also of smaller networks


def loss(config, variables, batch, key):
    params, alpha = variables["params"], variables["buffers"]["fade"]["alpha"]
    number = stage_of(params)
    x = batch["x"].reshape(len(batch["x"]), -1)
    before = hidden = jnp.tanh(x @ params["block_0"])
    for k in range(1, number + 1):
        before, hidden = hidden, jnp.tanh(hidden @ params[f"block_{k}"])
    out = hidden @ params[f"head_{number}"]
    if number:
        out = alpha * out + (1 - alpha) * (before @ params[f"head_{number - 1}"])
    noise = 0.1 * jax.random.normal(key, x.shape)
    return ((out - x - noise) ** 2).mean(1), {}


def sample(config, variables, key, n=None):
    return jax.random.uniform(key, (n, *config.shape), minval=-1.0)


def stage_of(params):
    """Returns the number of the stage of parameters."""
    return sum(name.startswith("block") for name in params) - 1


def _new(config, key, number):
    block, head = jax.random.split(key)
    pixels = config.shape[0] * config.shape[1]
    size = (config.hidden if number else pixels, config.hidden)
    return {
        f"block_{number}": 0.1 * jax.random.normal(block, size),
        f"head_{number}": 0.1 * jax.random.normal(head, (config.hidden, pixels)),
    }


def growing_run(data: str, model: Config | None = None, **train: Any) -> Run:
    """Returns a run of 24 steps: s0 in steps 1 to 4, s1 in 5 to 12, s2 in 13 to 24."""
    settings = dict(steps=24, batch_size=16, log_every=8, steps_per_call=1, samples=4)
    return Run(
        experiment="growing_linear",
        family="growing_linear",
        model=model or Config(),
        data=Data(data=data, transform="scale(-1, 1)"),
        optimizer=Optimizer(learning_rate=1e-2),
        train=Train(**(settings | train)),
    )
