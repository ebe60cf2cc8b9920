"""Shared test helpers: small cases of every family, exhaustive checks of densities."""

import dataclasses
import functools
import itertools
import math
import os
import pathlib
import socket
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import stats

from experiments.benchmarks import flops
from genjax import families
from genjax.core import (
    critic_steps,
    init_state,
    log_conditionals,
    make_step,
    network_names,
    step_batch_spec,
)
from genjax.core.protocols import TextToImage
from genjax.families import FAMILIES

ROOT = pathlib.Path(__file__).parents[2]
NAMES = sorted(FAMILIES)
# Families of each kind, whose losses are computed in shard_map; those of others are traced in it,
# which finds what it does not allow. JAX implements pmap by shard_map.
SHARD_MAP_FAMILIES = (
    *("dalle", "dcgan", "gan", "infogan", "markov", "nade", "pixelcnn", "pixelrnn"),
    *("progressive", "stargan", "vae"),
)
PMAP_FAMILIES = ("dcgan", "gan", "nade", "pixelcnn", "vae")
# One of each kind of state: counts, batch statistics, a codebook, several steps of a critic. A step
# of every family is compared with one on 8 devices whose state is sharded by rules.
REPLICATED_FAMILIES = ("dcgan", "dvae", "gan", "markov", "nade", "stargan")


def traits_of(name: str) -> Any:
    """Returns the traits of a family's smallest Config."""
    family = families.get(name)
    return family.traits(family.tiny())


def exact_binary_families() -> list[str]:
    """Returns the families whose probabilities sum to 1 over all binary images."""
    traits = {name: traits_of(name) for name in NAMES}
    return [n for n, t in traits.items() if t.data == "binary" and t.density == "exact"]


def gradient_families() -> list[str]:
    """Returns the families trained by gradient."""
    return [n for n in NAMES if traits_of(n).fit == "gradient"]


def adversarial_families() -> list[str]:
    """Returns the families with several networks trained against each other."""
    return [n for n in NAMES if network_names(families.get(n))]


def loss_functions(family: Any) -> dict[str, Any]:
    """Returns functions `(config, variables, batch, key) -> (loss [B], aux)` of a family.

    By network where there are several, else `loss`, or `log_prob` of a counted density.
    """
    if network_names(family):
        return dict(family.LOSSES)
    if not hasattr(family, "update"):
        return {"loss": family.loss}
    return {
        "log_prob": lambda config, variables, batch, key: (
            -family.log_prob(config, variables, **batch),
            {},
        )
    }


def make_optimizer(family: Any, learning_rate: float = 1e-2) -> Any:
    if family.traits(family.tiny()).fit != "gradient":
        return None
    networks = network_names(family)
    if networks:
        return {name: optax.adam(learning_rate) for name in networks}
    return optax.adam(learning_rate)


@functools.lru_cache
def state_builder(family: Any, config: Any, ema: bool = False) -> Any:
    """Returns `build(key) -> State`, compiled once for all tests of a family."""
    optimizer = make_optimizer(family)
    return jax.jit(lambda key: init_state(family, config, optimizer, key, ema=ema))


@functools.lru_cache
def compiled_step(family: Any, config: Any) -> Any:
    """Returns the family's train step, compiled once for all tests that only run it."""
    return jax.jit(make_step(family, config, make_optimizer(family)), donate_argnums=0)


def jitted(family: Any, name: str, config: Any) -> Any:
    """Compiles a family's function of (variables, ...), which is faster than op by op.

    It is traced on every call, so that a test can patch the family between two calls.
    """
    if name == "log_conditionals":
        return jax.jit(functools.partial(log_conditionals, family, config))
    return jax.jit(functools.partial(getattr(family, name), config))


def make_state(family: Any, config: Any, seed: int = 0, ema: bool = False) -> Any:
    return state_builder(family, config, ema)(jax.random.key(seed))


def make_batch(family: Any, config: Any, size: int = 16, seed: int = 1) -> dict[str, jax.Array]:
    """Returns a random batch of the family's spec: normal for real data, texts of all lengths, else
    0 and 1, which are valid for binary data and for images."""
    out = {}
    for i, (name, spec) in enumerate(step_batch_spec(family, config, size).items()):
        key = jax.random.fold_in(jax.random.key(seed), i)
        if family.traits(config).data == "real":
            out[name] = jax.random.normal(key, spec.shape, spec.dtype)
            continue
        if name == "text":
            out[name] = random_text(key, spec.shape, family.text_spec(config).vocabulary)
            continue
        out[name] = jax.random.bernoulli(key, 0.3, spec.shape).astype(spec.dtype)
    return out


def random_text(key: jax.Array, shape: tuple[int, ...], vocabulary: int) -> jax.Array:
    """Returns int32 tokens 1 .. vocabulary - 1 followed by 0, in texts of 1 token or more."""
    length_key, key = jax.random.split(key)
    length = jax.random.randint(length_key, shape[:-1], 1, shape[-1] + 1)
    position = jax.lax.broadcasted_iota(jnp.int32, shape, len(shape) - 1)
    given = position < length[..., None]
    return jnp.where(given, jax.random.randint(key, shape, 1, vocabulary, jnp.int32), 0)


def sampling_conditions(family: Any, config: Any, n: int) -> dict[str, jax.Array]:
    """Returns the conditions without which a family draws no samples: `text` `[n, T]`."""
    if not isinstance(family, TextToImage):
        return {}
    spec = family.text_spec(config)
    return {"text": random_text(jax.random.key(2), (n, spec.length), spec.vocabulary)}


def critic_batch(batch: Any, config: Any) -> Any:
    """Returns the batch of one critic step, as a loss takes it."""
    if critic_steps(config) == 1:
        return batch
    return jax.tree.map(lambda a: a[0], batch)


def random_variables(family: Any, config: Any, seed: int = 5) -> Any:
    """Returns variables far from initialisation, with unequal counts in every table."""
    variables = family.init(config, jax.random.key(seed))
    if family.traits(config).fit == "counting":
        rng = np.random.default_rng(seed)
        buffers = jax.tree.map(
            lambda b: jnp.asarray(rng.geometric(0.2, b.shape) - 1, b.dtype), variables["buffers"]
        )
        return {**variables, "buffers": buffers}
    leaves, treedef = jax.tree.flatten(variables["params"])
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    noisy = [p + jax.random.normal(k, p.shape) for p, k in zip(leaves, keys, strict=True)]
    return {**variables, "params": jax.tree.unflatten(treedef, noisy)}


def random_arrays(make: Any, *inputs: Any, scale: float = 0.4, seed: int = 1) -> Any:
    """Returns the tree of `make(key, *inputs)` with its float leaves drawn from a normal by NumPy.

    Compiling an initialiser takes longer than most tests.
    """
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(make, jax.random.key(0), *inputs)
    return jax.tree.map(
        lambda s: (
            jnp.asarray(scale * rng.normal(size=s.shape), s.dtype)
            if jnp.issubdtype(s.dtype, jnp.floating)
            else jnp.zeros(s.shape, s.dtype)
        ),
        shapes,
    )


def single_order(config: Any) -> Any:
    """Returns the Config with the first of several masks alone.

    A mixture over masks has no conditionals; `order` and `logits` are those of one mask.
    """
    return dataclasses.replace(config, masks=1) if getattr(config, "masks", 1) > 1 else config


def all_images(shape: tuple[int, ...]) -> jax.Array:
    """Returns every binary image, `[2^D, *shape]`."""
    bits = list(itertools.product([0.0, 1.0], repeat=math.prod(shape)))
    return jnp.asarray(bits, jnp.float32).reshape(-1, *shape)


def total_probability(family: Any, config: Any, variables: Any) -> float:
    """Returns the sum of p(x) over all binary images, in float64."""
    log_p = jitted(family, "log_prob", config)(variables, all_images(config.shape))
    return float(np.exp(np.asarray(log_p, np.float64)).sum())


def causality_violations(family: Any, config: Any, variables: Any) -> list[tuple[int, int]]:
    """Returns all (i, j >= i) where the i-th logit in order depends on the j-th pixel.

    Exhaustive: every pixel of every image is flipped.
    """
    x = all_images(config.shape)
    order = np.asarray(family.order(config))
    violations = []
    logits = jitted(family, "logits", config)
    base = np.asarray(logits(variables, x)).reshape(len(x), -1)[:, order]
    for j, pixel in enumerate(order):
        flipped = np.asarray(x).reshape(len(x), -1).copy()
        flipped[:, pixel] = 1 - flipped[:, pixel]
        other = logits(variables, jnp.asarray(flipped.reshape(x.shape)))
        changed = np.abs(np.asarray(other).reshape(len(x), -1)[:, order] - base).max(0) > 1e-6
        violations += [(i, j) for i in np.flatnonzero(changed) if j >= i]
    return violations


def jacobian_violations(family: Any, config: Any, variables: Any) -> list[tuple[int, int]]:
    """Returns the same by the Jacobian of the logits at real inputs."""
    order = np.asarray(family.order(config))
    x = jax.random.uniform(jax.random.key(3), (4, *config.shape))

    def in_order(x: jax.Array) -> jax.Array:
        return family.logits(config, variables, x[None]).reshape(-1)[order]

    dense = jax.jit(jax.vmap(jax.jacobian(in_order)))(x).reshape(4, order.size, -1)[:, :, order]
    nonzero = np.abs(np.asarray(dense)).max(0) > 0
    return [(int(i), int(j)) for i, j in np.argwhere(nonzero) if j >= i]


def sample_p_value(family: Any, config: Any, variables: Any, n: int = 50_000) -> float:
    """Returns the p-value of a chi-squared test of n samples against the exact probabilities."""
    draw = jax.jit(lambda v, k: family.sample(config, v, k, n))
    samples = np.asarray(draw(variables, jax.random.key(11))).reshape(n, -1)
    index = samples.astype(int) @ (2 ** np.arange(samples.shape[1])[::-1])
    counts = np.bincount(index, minlength=2 ** samples.shape[1]).astype(np.float64)
    log_p = jitted(family, "log_prob", config)(variables, all_images(config.shape))
    expected = np.exp(np.asarray(log_p, np.float64)) * n
    # Cells with fewer than 5 expected samples are merged, as the approximation requires.
    rare = expected < 5
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    if expected[-1] < 5:
        counts[-2:], expected[-2:] = [counts[-2:].sum(), 0], [expected[-2:].sum(), 0]
        counts, expected = counts[:-1], expected[:-1]
    statistic = ((counts - expected) ** 2 / expected).sum()
    return float(stats.chi2.sf(statistic, len(expected) - 1))


def environment(devices: int = 1, **more: str) -> dict[str, str]:
    """Returns the environment of a test's subprocess: import paths and virtual CPU devices."""
    env = dict(os.environ, JAX_PLATFORMS="cpu", **more)
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    count = f"--xla_force_host_platform_device_count={devices}"
    env["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {count}".strip()
    return env


def run_program(
    name: str, *arguments: str, devices: int = 1, check: bool = True, timeout: int = 600
) -> subprocess.CompletedProcess:
    """Runs a file of tests/programs in a new process with virtual CPU devices."""
    return run_python(
        str(ROOT / "tests" / "programs" / name),
        *arguments,
        devices=devices,
        check=check,
        timeout=timeout,
    )


def run_two_processes(name: str, *arguments: str) -> list[str]:
    """Runs a file of tests/programs as two processes of four devices each.

    In the arguments `PORT` is replaced by a free port, and `PROCESS` by the process's number.

    Returns:
      the last line that each process prints.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    program = str(ROOT / "tests" / "programs" / name)
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                program,
                *({"PORT": port, "PROCESS": str(i)}.get(a, a) for a in arguments),
            ],
            env=environment(devices=4),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, error) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, error[-3000:]
    return [output.splitlines()[-1] for output, _ in outputs]


def run_python(
    *arguments: str, devices: int = 1, check: bool = True, timeout: int = 300, **env: str
) -> subprocess.CompletedProcess:
    """Runs a new Python interpreter in the repository root."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment(devices, **env),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    if check and done.returncode:
        raise AssertionError(f"{arguments} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    return done


def sample_by_all_methods(family, config, variables, label, given=None, **conditions):
    """Images that all sampling methods draw from one key, after a check that they are equal.

    With `given`, images and a mask, they are completions.
    """

    def draw(key, method):
        options = {"label": label, "method": method, **conditions}
        if given is not None:
            return family.complete(config, variables, key, *given, **options)
        return family.sample(config, variables, key, len(label), **options)

    methods = ("naive", "cached", "parallel")
    x = [np.asarray(jax.jit(functools.partial(draw, method=m))(jax.random.key(3))) for m in methods]
    np.testing.assert_array_equal(x[1], x[0])
    np.testing.assert_array_equal(x[2], x[0])
    return x[0]


def equations(jaxpr):
    """Iterates over the equations of a jaxpr and of all jaxprs nested in it."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in flops.inside(equation.params):
            yield from equations(inner)
