"""InfoGAN: codes, their bounds in both losses, q(c | x), and the networks of the paper."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from support.helpers import make_batch

from genjax.families import infogan

TINY = infogan.tiny()
SLICES = [slice(0, 3), slice(3, 5), slice(5, 6)]  # of its codes
N = 4000


def filled(config, seed=0):
    """Variables as after some training, drawn by numpy, which XLA need not compile."""
    rng = np.random.default_rng(seed)
    tree = jax.eval_shape(lambda key: infogan.init(config, key), jax.random.key(0))
    draw = lambda leaf: jnp.asarray(0.5 * rng.normal(size=leaf.shape), leaf.dtype)  # noqa: E731
    variables = jax.tree.map(draw, tree)
    positive = lambda leaf: 0.1 + jnp.abs(leaf)  # noqa: E731
    return {**variables, "batch_stats": jax.tree.map(positive, variables["batch_stats"])}


@pytest.fixture(scope="module")
def variables():
    return filled(TINY)


def draw_codes(key, n):
    return np.asarray(infogan.noise(TINY, key, n))[:, TINY.latent :]


def information(config, q, c):
    """The bound of each code, from outputs of q `[B, P]`."""
    z = np.concatenate([np.zeros((len(c), config.latent), np.float32), c], axis=1)
    aux = infogan._information(config, (q,), z)[1]
    return [aux[f"information_{i}"] for i in range(3)]


def test_codes_are_drawn_from_their_distributions():
    c = draw_codes(jax.random.key(0), N)
    assert c.shape == (N, sum(code.size for code in infogan.codes(TINY)))
    one_hot, uniform, gaussian = (c[:, part] for part in SLICES)
    assert set(np.unique(one_hot)) == {0.0, 1.0}
    assert (one_hot.sum(1) == 1).all()
    assert scipy.stats.chisquare(one_hot.sum(0)).pvalue > 1e-6
    for column in uniform.T:
        assert scipy.stats.kstest(column, "uniform", args=(-1, 2)).pvalue > 1e-6
    assert scipy.stats.kstest(gaussian[:, 0], "norm").pvalue > 1e-6
    assert abs(np.corrcoef(uniform.T)[0, 1]) < 5 / math.sqrt(N)  # independent of each other
    z = infogan.noise(TINY, jax.random.key(1), N)
    assert z.shape == (N, TINY.latent + 6)
    assert scipy.stats.kstest(z[:, 0], "uniform", args=(-1, 2)).pvalue > 1e-6


def reference_bounds(q, c):
    """log q(c | x) + H(c) of each code in NumPy; q has means, then log standard deviations."""
    q, c = np.asarray(q, np.float64), np.asarray(c, np.float64)
    one_hot, uniform, gaussian = (c[:, part] for part in SLICES)
    norm = scipy.stats.norm
    return [
        (scipy.special.log_softmax(q[:, :3], axis=1) * one_hot).sum(1) + math.log(3),
        norm(q[:, 3:5], np.exp(q[:, 5:7])).logpdf(uniform).sum(1) + 2 * math.log(2),
        norm(q[:, 7], np.exp(q[:, 8])).logpdf(gaussian[:, 0]) + norm().entropy(),
    ]


def test_each_bound_is_of_its_own_code():
    q = np.random.default_rng(2).normal(size=(5, 9)).astype(np.float32)
    c = draw_codes(jax.random.key(3), 5)
    for a, b in zip(information(TINY, q, c), reference_bounds(q, c), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)
    # With unit variance, q has means only.
    plain = dataclasses.replace(TINY, code_width=False)
    wide = np.zeros((5, 9), np.float32)
    wide[:, [0, 1, 2, 3, 4, 7]] = q[:, :6]
    found = information(plain, q[:, :6], c)
    for a, b in zip(found, reference_bounds(wide, c), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)


@pytest.fixture(scope="module")
def both_losses(variables):
    """Both losses, and the outputs that determine them, under batch statistics."""
    batch, key = make_batch(infogan, TINY, 16), jax.random.key(4)

    @jax.jit
    def compute(variables):
        d, d_aux = infogan.LOSSES["discriminator"](TINY, variables, batch, key)
        g, g_aux = infogan.LOSSES["generator"](TINY, variables, batch, key)
        own = {
            n: {c: variables[c][n] for c in ("params", "batch_stats")}
            for n in ("generator", "discriminator")
        }
        z = infogan.noise(TINY, jax.random.split(key)[0], 16)
        options = {"train": True, "mutable": ["batch_stats"]}
        fake, _ = infogan.Generator(TINY).apply(own["generator"], z, **options)
        network = infogan.Discriminator(TINY)
        (real_logits, _, _), _ = network.apply(own["discriminator"], batch["x"], **options)
        (fake_logits, q, _), _ = network.apply(own["discriminator"], fake, **options)
        return (d, d_aux), (g, g_aux), (real_logits, fake_logits, q, z[:, TINY.latent :])

    return compute(variables)


def test_both_losses_subtract_the_weighted_information(both_losses):
    (d, d_aux), (g, g_aux), (real, fake, q, c) = both_losses
    bounds = reference_bounds(q, c)
    weighted = bounds[0] + 0.5 * bounds[1] + 2 * bounds[2]
    plus = functools.partial(np.logaddexp, 0)
    np.testing.assert_allclose(d, plus(-real) + plus(fake) - weighted, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(g, plus(-fake) - weighted, rtol=1e-3, atol=1e-4)
    for aux in (d_aux, g_aux):
        for i, bound in enumerate(bounds):
            np.testing.assert_allclose(aux[f"information_{i}"], bound, rtol=1e-3, atol=1e-4)


def test_samples_of_given_codes(variables):
    key = jax.random.key(5)
    drawn = infogan.noise(TINY, key, 4)[:, TINY.latent :]
    draw = jax.jit(lambda codes: infogan.sample(TINY, variables, key, 4, codes=codes))
    np.testing.assert_allclose(draw(None), draw(drawn), rtol=1e-5)
    moved = draw(drawn.at[2, 4].add(0.5))  # noise and other images are unchanged
    changed = np.abs(moved - draw(drawn)).max((1, 2, 3)) > 1e-6
    assert changed.tolist() == [False, False, True, False]
    with pytest.raises(ValueError, match="the arguments must have the same shape"):
        infogan.sample(TINY, variables, key, 4, codes=drawn[:, :5])


def test_code_posterior_uses_running_statistics_and_has_every_code(variables):
    x = make_batch(infogan, TINY, 8)["x"]
    run = jax.jit(functools.partial(infogan.code_posterior, TINY))
    logits, (mean, log_std), (own_mean, own_log_std) = run(variables, x)
    assert (logits.shape, mean.shape, own_mean.shape) == ((8, 3), (8, 2), (8, 1))
    assert len(np.unique(log_std)) > len(np.unique(own_log_std)) > 1
    alone = run(variables, jnp.roll(x, 3, axis=0).at[0].set(x[0]))[0]
    np.testing.assert_allclose(alone[0], logits[0], rtol=1e-5)


def count(tree):
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def test_the_default_is_the_papers_network():
    """Appendix C.1, table 1: 62 of noise and 12 of code; batch statistics on all but the first
    and the last layers."""
    config = infogan.Config()
    tree = jax.eval_shape(lambda key: infogan.init(config, key), jax.random.key(0))["params"]
    generator = 74 * 1024 + 1024 * 7 * 7 * 128 + 16 * 128 * 64 + 16 * 64 + 1
    generator += 2 * (1024 + 7 * 7 * 128 + 64)
    assert count(tree["generator"]) == generator
    shared = 16 * 64 + 64 + 16 * 64 * 128 + 7 * 7 * 128 * 1024 + 2 * (128 + 1024)
    heads = 1024 + 1 + 1024 * 128 + 2 * 128 + 128 * 12 + 12
    assert count(tree["discriminator"]) == shared + heads


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"categorical": (0,)}, "`categorical` must be a tuple, each entry a positive integer"),
        ({"weights": (1.0, 0.5)}, "weights must have one entry for each of the 3 codes"),
        (
            {"weights": (1.0, 0.5, -1.0)},
            "`weights` must be a tuple, each entry a non-negative number",
        ),
        ({"categorical": (), "uniform": (), "gaussian": ()}, "infogan needs at least one code"),
        ({"shape": (9,)}, r"`shape` must be \(H, W, C\)"),
    ],
    ids=str,
)
def test_rejects_invalid_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **settings)
