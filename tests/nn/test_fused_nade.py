"""The fused recursion is the recursion: values and gradients, tiles of every kind, devices, runs.

The kernel's own steps are run by XLA here (`interpret`); that it lowers for a GPU is tested; what
it does there, tests/programs/fused_nade.py measures on such a machine.
"""

import dataclasses
import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AbstractDevice, AbstractMesh
from support.helpers import ROOT, run_program

from genjax.core import init_state
from genjax.families import nade
from genjax.nn.fused_nade import Settings, fused_logits

SETTINGS = Settings(interpret=True)
# Images, pixels, hidden units: one of each; odd; a whole tile; several tiles both ways.
SIZES = [(1, 1, 1), (5, 9, 6), (16, 4, 128), (33, 12, 300)]


def plain(x, W, V, c, keep, activation):
    """The two equations of the paper, pixel by pixel, in NumPy's float64; gradients by hand."""
    x, W, V, c = (np.asarray(a, np.float64) for a in (x, W, V, c))
    keep = 1.0 if keep is None else np.asarray(keep, np.float64)
    act = {"sigmoid": lambda a: 1 / (1 + np.exp(-a)), "relu": lambda a: np.maximum(a, 0)}
    slope = {"sigmoid": lambda h, a: h * (1 - h), "relu": lambda h, a: (a > 0) * 1.0}
    a, states, logits = np.tile(c, (len(x), 1)), [], []
    for d in range(x.shape[1]):
        states.append(a)
        logits.append((act[activation](a) * keep) @ V[d])
        a = a + x[:, d : d + 1] * W[d]

    def gradients(g):
        after, dW, dV, dx = np.zeros_like(a), np.zeros_like(W), np.zeros_like(V), np.zeros_like(x)
        for d in reversed(range(x.shape[1])):
            dW[d], dx[:, d] = x[:, d] @ after, after @ W[d]
            h = act[activation](states[d])
            dV[d] = g[:, d] @ (h * keep)
            after = after + g[:, d : d + 1] * V[d] * slope[activation](h, states[d]) * keep
        return dx, dW, dV, after.sum(0)

    return np.stack(logits, 1), gradients


def case(sizes, masked=False, seed=0):
    batch, dims, hidden = sizes
    rng = np.random.default_rng(seed)
    x = rng.random((batch, dims)) < 0.3
    W, V = (rng.normal(size=(dims, hidden)) for _ in "WV")
    keep = (rng.random((batch, hidden)) < 0.5) * 2.0 if masked else None
    c, g = rng.normal(size=hidden), rng.normal(size=(batch, dims))
    as_float = lambda a: None if a is None else jnp.asarray(a, jnp.float32)  # noqa: E731
    return [as_float(a) for a in (x, W, V, c, keep, g)]


def check(got, want):
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5 * max(1, np.abs(b).max()))


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_values_and_gradients_are_the_recursions(sizes, masked, activation):
    x, W, V, c, keep, g = case(sizes, masked)
    settings = SETTINGS._replace(activation=activation)
    logits, gradients = plain(x, W, V, c, keep, activation)

    def both(x, W, V, c, keep, g):
        found, back = jax.vjp(lambda *a: fused_logits(*a, keep, settings), x, W, V, c)
        return found, back(g)

    found, back = jax.jit(both)(x, W, V, c, keep, g)
    check([found], [logits])
    check(back, gradients(np.asarray(g, np.float64)))


def test_before_the_first_pixel_relu_stands_at_its_bias_to_the_bit():
    """With c = 0 hidden units stand at 0 there, where relu has no slope; above 0 it has one."""
    x, W, V, _, _, g = case((7, 20, 40))
    x = x.at[:, :9].set(0).at[3].set(0)
    settings = SETTINGS._replace(activation="relu")
    _, gradients = plain(x, W, V, np.zeros(40), None, "relu")
    _, pull = jax.vjp(lambda *a: fused_logits(*a, None, settings), x, W, V, jnp.zeros(40))
    back = jax.jit(pull)(g)
    check(back, gradients(np.asarray(g, np.float64)))
    assert float(jnp.abs(back[3]).max()) > 0


def test_tiles_do_not_matter():
    arguments = case((33, 12, 70), masked=True)[:5]
    one, other = (
        jax.jit(lambda *a, s=s: fused_logits(*a, s))(*arguments)
        for s in (SETTINGS, SETTINGS._replace(images=8, units=32))
    )
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_several_runs_in_one_program():
    x, W, V, c, keep, g = case((6, 9, 20), masked=True)

    def value(W, V, c, x):
        return jnp.sum(g * fused_logits(x, W, V, c, keep, SETTINGS))

    slopes = jax.grad(value, argnums=(0, 1, 2))
    runs = (jnp.stack([W, 2 * W]), jnp.stack([V, V]), jnp.stack([c, -c]))
    together = jax.jit(jax.vmap(slopes, in_axes=(0, 0, 0, None)))(*runs, x)
    for i in range(2):
        alone = jax.jit(slopes)(*(r[i] for r in runs), x)
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-6)


def test_eight_devices_take_their_own_images():
    found = json.loads(run_program("fused_nade.py", devices=8).stdout.splitlines()[-1])
    assert found["worst"] < 1e-4  # relative, over value and gradients
    assert not found["gathered"]  # no device sees another's images
    assert found["reduced"]
    assert found["in_shard_map"] < 1e-4
    assert found["cut_weights"] < 1e-4
    assert found["blocks"] < 1e-4  # what a machine with a GPU times beside the kernel


def test_a_kernel_that_is_not_the_blocks_ends_with_1(monkeypatch, capsys):
    path = ROOT / "tests" / "programs" / "fused_nade.py"
    spec = importlib.util.spec_from_file_location("fused_nade_program", path)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    monkeypatch.setattr(program, "over_devices", dict)
    monkeypatch.setattr(program, "SMALL", ((5, 9, 6),))
    monkeypatch.setattr(program, "timings", lambda activation: None)
    assert program.main(["sizes"]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()[1:]]
    assert [list(line) for line in said] == [["sigmoid (5, 9, 6)"], ["relu (5, 9, 6)"]]
    wrong = lambda activation: lambda x, W, V, c, keep: x @ W @ V.T  # noqa: E731
    monkeypatch.setattr(program, "by_blocks", wrong)
    assert program.main(["sizes"]) == 1
    one = np.ones(1)
    assert np.isnan(program.worst([one, np.nan * one], [one, one]))  # is not within any distance


H100 = AbstractDevice("NVIDIA H100 80GB HBM3", num_cores=132, platform="gpu")
CONFIG = nade.Config(shape=(5, 5, 1), hidden=20, dropout=0.5, recursion="fused")


def test_the_family_elsewhere_takes_what_blocks_takes():
    variables = nade.init(CONFIG, jax.random.key(0))
    batch = {"x": jnp.ones((3, 5, 5, 1))}
    blocks = dataclasses.replace(CONFIG, recursion="blocks")
    one, other = (
        jax.jit(lambda v, c=c: nade.loss(c, v, batch, jax.random.key(1))[0])(variables)
        for c in (CONFIG, blocks)
    )
    np.testing.assert_allclose(one, other, rtol=1e-6)
    with pytest.raises(ValueError, match="recursion must be one of"):
        nade.Config(recursion="cuda")


# JAX 0.11 says so of every kernel that Triton compiles; see "NADE as one kernel" in BUILD.md.
@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated:DeprecationWarning")
@pytest.mark.parametrize("recursion", ["fused", "blocks"])
def test_on_a_gpu_a_step_is_two_kernels_and_no_loop(recursion):
    config = dataclasses.replace(CONFIG, recursion=recursion)
    optimizer = optax.adam(1e-3)
    state = jax.eval_shape(lambda k: init_state(nade, config, optimizer, k), jax.random.key(0))
    step = jax.jit(nade.make_step(config, optimizer))
    counts = {}
    for platform in ("cuda", "cpu"):
        # JAX 0.11 asks which GPU a kernel is for where there is none.
        device = H100 if platform == "cuda" else None
        with jax.sharding.use_abstract_mesh(AbstractMesh((), (), abstract_device=device)):
            traced = step.trace(state, nade.batch_spec(config, 512))
            text = traced.lower(lowering_platforms=(platform,)).as_text()
        counts[platform] = (text.count("xla.gpu.triton"), "stablehlo.while" in text)
    assert counts["cpu"] == (0, True)
    assert counts["cuda"] == ((2, False) if recursion == "fused" else (0, True))
