"""Discrete VAE: networks, losses of the three quantizers, tokens and bounds."""

import dataclasses
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.helpers import random_arrays

from genjax.core import init_state, log_prob_bound, make_step, with_ema
from genjax.core.protocols import ImageTokenizer
from genjax.families import dvae
from genjax.families.dvae import quantizers
from genjax.families.dvae.coder_networks import Block, max_pool
from genjax.losses import logit_laplace_nll
from genjax.nn.resampling import upsample_nearest

KINDS = ("gumbel", "vq", "fsq")
SMALL = dataclasses.replace(dvae.tiny(), shape=(4, 4, 1), hidden=4)  # 2x2 tokens


# Compiled: op by op most tests would take longer to compile.
encode = jax.jit(dvae._encode, static_argnums=0)
decode = jax.jit(dvae._decode, static_argnums=0)
encode_tokens = jax.jit(dvae.encode_tokens, static_argnums=0)
decode_tokens = jax.jit(dvae.decode_tokens, static_argnums=0)
loss_of = jax.jit(dvae.loss, static_argnums=0)


def small(quantizer, **changes):
    return dataclasses.replace(SMALL, quantizer=quantizer, **changes)


def variables_of(config, seed=1):
    """Returns variables far from initialisation; different codes of vq."""
    return random_arrays(functools.partial(dvae.init, config), seed=seed)


def images(config, n=5, seed=2):
    return jax.random.uniform(jax.random.key(seed), (n, *config.shape))


def count(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def test_parameter_counts_of_the_paper():
    params = jax.eval_shape(functools.partial(dvae.init, dvae.Config()), jax.random.key(0))
    params = params["params"]
    assert count(params["encoder"]) == 53_786_240
    assert count(params["decoder"]) == 43_829_766
    assert count(params) == 97_616_006
    assert dvae.token_grid(dvae.Config()) == (32, 32)
    assert dvae.codebook_size(dvae.Config()) == 8192
    assert dvae.codebook_size(dvae.Config(quantizer="fsq")) == 1000


def test_initial_weights():
    params = dvae.init(dataclasses.replace(SMALL, hidden=64), jax.random.key(0))["params"]
    kernel = np.asarray(params["encoder"]["group_1_block_0"]["conv_1"]["kernel"])
    assert kernel.shape == (3, 3, 32, 32)
    np.testing.assert_allclose(kernel.std(), 1 / math.sqrt(9 * 32), rtol=0.03)
    assert abs(kernel).max() > 2.5 * kernel.std()  # not truncated
    biases = [v for p, v in jax.tree_util.tree_leaves_with_path(params) if "bias" in str(p[-1])]
    assert len(biases) > 8
    assert not any(np.asarray(b).any() for b in biases)


def test_upsampling_block_equals_the_block_after_upsampling():
    x = jax.random.normal(jax.random.key(0), (2, 3, 5, 8))
    up, plain = (Block(4, (1, 3, 3, 3), 0.7, up=up) for up in (True, False))
    variables = random_arrays(up.init, x)
    np.testing.assert_allclose(
        up.apply(variables, x), plain.apply(variables, upsample_nearest(x)), rtol=1e-4, atol=1e-5
    )


def test_block_scales_its_branch_and_begins_with_a_relu():
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 8))
    low, high = (Block(8, (3, 1), gain) for gain in (0.25, 0.5))
    variables = random_arrays(low.init, x)
    np.testing.assert_allclose(
        2 * (low.apply(variables, x) - x), high.apply(variables, x) - x, rtol=1e-4, atol=1e-5
    )
    branch = low.apply(variables, jnp.minimum(x, 0)) - jnp.minimum(x, 0)
    np.testing.assert_allclose(branch, low.apply(variables, jnp.zeros_like(x)), atol=1e-6)


def test_max_pool():
    x = jax.random.normal(jax.random.key(0), (2, 4, 6, 3))
    want = np.asarray(x).reshape(2, 2, 2, 3, 2, 3).max(axis=(2, 4))
    np.testing.assert_array_equal(max_pool(x), want)


@pytest.mark.parametrize("quantizer", KINDS)
def test_tokens(quantizer):
    config = small(quantizer)
    variables, x = variables_of(config), images(config)
    assert isinstance(dvae, ImageTokenizer)
    tokens = encode_tokens(config, variables, x)
    assert tokens.shape == (5, *dvae.token_grid(config)) == (5, 2, 2)
    assert tokens.dtype == jnp.int32
    assert len(np.unique(np.asarray(tokens))) > 1
    decoded = decode_tokens(config, variables, tokens)
    assert decoded.shape == x.shape
    assert 0 <= float(decoded.min()) < float(decoded.max()) <= 1
    size = dvae.codebook_size(config)
    for wrong in (-1, size):
        lost = decode_tokens(config, variables, jnp.full((1, 2, 2), wrong))
        assert np.isnan(np.asarray(lost)).all()
    with pytest.raises(ValueError, match=r"tokens must be int32\[B, 2, 2\], got int32\[5, 4\]"):
        decode_tokens(config, variables, tokens.reshape(5, 4))
    with pytest.raises(ValueError, match="cast them with"):
        decode_tokens(config, variables, tokens.astype(jnp.float32))


def test_gumbel_tokens_decode_as_one_hot_codes():
    config = small("gumbel")
    variables = variables_of(config)
    tokens = jnp.array([[[0, 1], [2, 0]]])
    maps = decode(config, variables, jax.nn.one_hot(tokens, 3))
    np.testing.assert_allclose(
        decode_tokens(config, variables, tokens), dvae._image(config, maps), rtol=1e-5
    )


@pytest.mark.parametrize("quantizer", KINDS)
def test_loss_does_not_depend_on_the_batch_size(quantizer):
    """A KL averaged over the batch's examples and positions at once is the known mistake."""
    config = small(quantizer, beta_steps=0, temperature_steps=0)
    variables, x = variables_of(config), images(config, 7)
    together, aux = loss_of(config, variables, {"x": x}, jax.random.key(0))
    alone, single = loss_of(config, variables, {"x": x[:1]}, jax.random.key(0))
    for name in ("kl", "commitment"):
        if name in aux:
            np.testing.assert_allclose(aux[name][0], single[name][0], rtol=1e-5)
    penalties = [loss - a["reconstruction"] for loss, a in ((together, aux), (alone, single))]
    np.testing.assert_allclose(penalties[0][0], penalties[1][0], rtol=1e-4, atol=1e-6)
    if quantizer != "gumbel":  # without noise
        np.testing.assert_allclose(together[0], alone[0], rtol=1e-5)


def test_weight_of_the_kl():
    """Of 4x4x1 images with 2x2 tokens: beta (h w) / (H W C) = beta / 4 times the mean per token."""
    config = small("gumbel", beta=6.6, beta_steps=0)
    variables, x = variables_of(config), images(config)
    loss, aux = loss_of(config, variables, {"x": x}, jax.random.key(0))
    logits = np.asarray(encode(config, variables, x), np.float64)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    kl = (p * np.log(3 * p)).sum(-1)  # the plain softmax, not the relaxed draw
    np.testing.assert_allclose(aux["kl"], kl.mean((1, 2)), rtol=1e-4)
    np.testing.assert_allclose(
        loss - aux["reconstruction"], 6.6 / 4 * kl.mean((1, 2)), rtol=1e-3, atol=1e-5
    )
    # The decoder's code is a relaxed draw, neither the softmax nor the most probable code.
    drawn = quantizers.gumbel_softmax(jax.random.key(0), encode(config, variables, x), 1.0)
    nats = dvae._nll(config, decode(config, variables, drawn), x) / 16
    assert aux["temperature"] == 1
    np.testing.assert_allclose(aux["reconstruction"], nats, rtol=1e-4)


def test_gradients_pass_straight_through():
    for quantizer in ("vq", "fsq"):
        config = small(quantizer, likelihood="normal", commitment=3.0)
        variables, x = variables_of(config), images(config)

        def decoded(z, config=config, variables=variables, x=x):
            return dvae._nll(config, dvae._decode(config, variables, z), x).sum() / 16

        z = encode(config, variables, x)
        encoder = functools.partial(encoded, config, variables, x)
        tokens = encode_tokens(config, variables, x)
        nearest = dvae._codes(config, variables, tokens)
        slope = jax.jit(jax.grad(decoded))(nearest)
        if quantizer == "vq":  # 3 times the mean squared distance of an example
            slope += 3 * 2 * (z - nearest) / z[0].size
        if quantizer == "fsq":  # through the bound, of which the quantizer's tests know the value
            slope = jax.vjp(lambda z, c=config: quantizers.fsq_code(z, c.levels), z)[1](slope)[0]
        want = jax.jit(lambda p, s, f=encoder: jax.vjp(f, p)[1](s)[0])(
            variables["params"]["encoder"], slope
        )

        def total(params, config=config, variables=variables, x=x):
            given = {**variables, "params": {**variables["params"], "encoder": params}}
            return dvae.loss(config, given, {"x": x}, jax.random.key(0))[0].sum()

        got = jax.jit(jax.grad(total))(variables["params"]["encoder"])
        assert any(np.asarray(leaf).any() for leaf in jax.tree.leaves(got))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), got, want)


def encoded(config, variables, x, params):
    given = {**variables, "params": {**variables["params"], "encoder": params}}
    return dvae._encode(config, given, x)


def test_vq_commitment_pulls_the_encoder_only():
    config = small("vq", commitment=0.25)
    variables, x = variables_of(config), images(config)
    loss, aux = loss_of(config, variables, {"x": x}, jax.random.key(0))
    z = encode(config, variables, x)
    codes = variables["buffers"]["codebook"]["codes"]
    nearest = np.asarray(codes)[np.asarray(encode_tokens(config, variables, x))]
    want = ((np.asarray(z) - nearest) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(aux["commitment"], want, rtol=1e-4)
    np.testing.assert_allclose(loss - aux["reconstruction"], 0.25 * want, rtol=1e-3, atol=1e-6)


def test_the_scale_of_a_pixel_has_a_lower_bound_and_a_gradient_near_it():
    config = small("fsq", min_log_scale=-2.0)
    x, zeros = images(config, 1), jnp.zeros((1, *config.shape))

    def nats(log_scale):
        maps = jnp.concatenate([zeros, jnp.full_like(zeros, log_scale)], axis=-1)
        return dvae._nll(config, maps, x)[0]

    for given, used in ((-40.0, -2.0), (-2.0, -2 + math.log(2)), (9.0, 9.0)):
        want = logit_laplace_nll(x, zeros, log_scale=jnp.full_like(zeros, used))[0]
        np.testing.assert_allclose(nats(given), want, rtol=1e-5)
    assert abs(float(jax.grad(nats)(-4.0))) > 0.1


@pytest.mark.parametrize("likelihood", ["logit_laplace", "normal"])
def test_likelihoods_are_densities_of_mapped_pixels(likelihood):
    config = small("fsq", likelihood=likelihood, scale=0.2, min_log_scale=None)
    variables = variables_of(config)
    tokens = jnp.array([[[0, 1], [2, 3]]])
    u = np.linspace(-3.0, 4.0, 4001)
    if likelihood == "logit_laplace":
        u = 1 / (1 + np.exp(-np.linspace(-10.0, 10.0, 4001)))
    x = np.zeros((len(u), *config.shape), np.float32)
    x[:, 0, 0, 0] = (u - 0.1) / 0.8
    log_p = dvae.log_likelihood(
        config, variables, jnp.asarray(x), jnp.repeat(tokens, len(u), axis=0)
    )
    # The other pixels are 0 in all of them: divided out by the marginal of the first.
    maps = decode(config, variables, dvae._codes(config, variables, tokens))
    rest = jnp.asarray(x[:1]).at[:, 0, 0].set(jnp.nan)
    others = np.asarray(-elementwise(config, maps, rest))
    relative = np.exp(np.asarray(log_p, np.float64) - np.nansum(others))
    np.testing.assert_allclose((relative[1:] + relative[:-1]) / 2 @ np.diff(u), 1, rtol=5e-3)


def elementwise(config, maps, x):
    """Returns -log p of each mapped pixel, `[1, H, W, C]`, from the formulas of the docstrings."""
    u = 0.8 * x + 0.1
    if config.likelihood == "normal":
        mean = 0.8 * maps + 0.1
        std = 0.8 * config.scale
        return (u - mean) ** 2 / (2 * std**2) + math.log(std * math.sqrt(2 * math.pi))
    mean, log_scale = jnp.split(maps, 2, axis=-1)
    logit = jnp.log(u / (1 - u))
    return abs(logit - mean) / jnp.exp(log_scale) + jnp.log(2 * u * (1 - u)) + log_scale


def test_normal_loss_is_the_squared_error():
    config = small("fsq", likelihood="normal")
    variables, x = variables_of(config), images(config)
    loss, _ = loss_of(config, variables, {"x": x}, jax.random.key(0))
    tokens = encode_tokens(config, variables, x)
    maps = decode(config, variables, dvae._codes(config, variables, tokens))
    error = np.asarray((maps - x) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(np.diff(loss), np.diff(error), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("quantizer", KINDS)
def test_bound_against_the_sum_over_all_codes(quantizer):
    config = small(quantizer, levels=(3,))
    variables, x = variables_of(config), images(config, 3)
    every = jnp.asarray(list(itertools.product(range(3), repeat=4))).reshape(-1, 2, 2)
    of_all = jax.jit(
        jax.vmap(
            lambda t: dvae.log_likelihood(config, variables, x, jnp.broadcast_to(t, (3, 2, 2)))
        )
    )(every)
    exact = np.asarray(jax.nn.logsumexp(of_all, axis=0)) - 4 * math.log(3)
    few, many = (
        np.asarray(
            jax.jit(lambda k, n=n: log_prob_bound(dvae, config, variables, x, k, n))(
                jax.random.key(n)
            )
        )
        for n in (1, 4000)
    )
    if quantizer == "gumbel":
        np.testing.assert_allclose(many, exact, atol=0.05)
    else:  # one point: the term of the image's own tokens
        tokens = encode_tokens(config, variables, x)
        own = dvae.log_likelihood(config, variables, x, tokens) - 4 * math.log(3)
        np.testing.assert_allclose(few, own, rtol=1e-5)
        np.testing.assert_allclose(many, own, rtol=1e-4)
        assert (many < exact).all()


def test_codes_begin_as_means_of_encoded_images():
    config = small("vq", codes=4, code_width=2)
    assert dvae.traits(config).init_examples == 16  # 16 vectors per code, 4 per image
    assert dvae.traits(small("vq", k_means=False)).init_examples == 0
    assert dvae.traits(small("fsq")).init_examples == 0
    x = images(config, 16)
    variables = dvae.init(config, jax.random.key(0), {"x": x})
    z = np.asarray(encode(config, variables, x)).reshape(-1, 2)
    codes = np.asarray(variables["buffers"]["codebook"]["codes"])
    tokens = np.asarray(encode_tokens(config, variables, x)).ravel()
    for k in range(4):  # Lloyd's algorithm has nearly converged
        np.testing.assert_allclose(codes[k], z[tokens == k].mean(0), atol=0.1 * z.std())
    assert len(np.unique(tokens)) == 4


@pytest.mark.parametrize("quantizer", ["gumbel", "vq"])
def test_runs_in_one_program_equal_single_runs(quantizer):
    """Schedules, codebooks and their replacements follow each run's own state."""
    config = small(quantizer)
    optimizer = optax.sgd(1e-2)
    step = with_ema(make_step(dvae, config, optimizer), 0.9)
    x = images(config, 8)

    def begin(key, steps):
        state = init_state(dvae, config, optimizer, key, ema=True)
        buffers = {**state.variables["buffers"], "steps": steps}
        return state.replace(variables={**state.variables, "buffers": buffers})

    keys, counts = jax.random.split(jax.random.key(0), 2), jnp.array([0, 7])
    states = jax.vmap(begin)(keys, counts)
    together, metrics = jax.jit(jax.vmap(step, in_axes=(0, None)))(states, {"x": x})
    alone, single = jax.jit(step)(jax.tree.map(lambda a: a[1], states), {"x": x})
    np.testing.assert_array_equal(together.variables["buffers"]["steps"], [1, 8])
    for name in single:
        np.testing.assert_allclose(metrics[name][1], single[name], rtol=2e-3, atol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[1], b, rtol=1e-3, atol=1e-5),
        together.variables,
        alone.variables,
    )
    evaluated = alone.eval_variables()
    assert evaluated["buffers"] is alone.variables["buffers"]  # not averaged
    if quantizer == "gumbel":
        np.testing.assert_allclose(metrics["beta"][0], 0, atol=1e-6)
        want = 6.6 * (1 - math.cos(0.7 * math.pi)) / 2  # 7 of 10 steps
        np.testing.assert_allclose(metrics["beta"][1], want, rtol=1e-5)
        assert metrics["temperature"][0] == 1


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"shape": (6, 8, 1), "groups": 3}, "multiples of 4, got 6x8"),
        ({"hidden": 6}, "`hidden` must be a multiple of 4, got 6"),
        ({"codes": 1}, "`codes` must be an integer of at least 2"),
        ({"levels": (3, 1)}, "`levels` must be"),
        ({"quantizer": "lfq"}, "`quantizer` must be one of gumbel, vq, fsq"),
    ],
)
def test_rejects_settings_that_do_not_fit(changes, match):
    with pytest.raises(ValueError, match=match):
        dataclasses.replace(SMALL, **changes)
