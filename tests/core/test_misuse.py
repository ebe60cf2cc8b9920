"""Mistakes in the use of losses, families and steps from Python are one message with the fix."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import genjax
from genjax import checks, families, losses
from genjax.core import init_state, log_prob_bound
from genjax.families import dcgan, infogan, made, nade, pixelcnn_pp, vae

KEY = jax.random.key(0)
CONFIG = nade.Config(shape=(2, 2, 1), hidden=3)
VARIABLES = nade.init(CONFIG, KEY)
X = np.zeros((2, 2, 2, 1), np.float32)
GREY = np.array([[0, 128, 255]], np.uint8)
Z = jnp.zeros((1, 3))
ADAM = optax.adam(1e-3)
STATE = init_state(nade, CONFIG, ADAM, KEY)
STEP = genjax.jitted_step("nade", CONFIG, ADAM, donate=False)


def zeros(family, config, value):
    return family.log_prob(config, family.init(config, KEY), np.full((1, *config.shape), value))


LOSSES = {
    "integers, got uint8": lambda: losses.categorical_nll(Z, jnp.zeros(1)),
    "targets must be float32, got uint8": lambda: losses.bernoulli_nll(Z, GREY),
    "targets must be float32": lambda: jax.eval_shape(losses.bernoulli_nats, Z, GREY),
    r"targets must be in \[0, 1\], got values from 0 to 255; divide": lambda: losses.bernoulli_nll(
        Z, GREY.astype(np.float32)
    ),
    "targets must be in .* got NaN": lambda: losses.bernoulli_nats(Z, Z * np.nan),
    "logits are the first argument": lambda: losses.bernoulli_nll(jnp.eye(3)[:1], Z - 4),
    "logits must be an array, got a list": lambda: losses.bernoulli_nll([[0.0]], [[1.0]]),
    "gaussian_nll: x must be float32, got uint8": lambda: losses.gaussian_nll(GREY, Z, log_std=Z),
    "gaussian_kl: mean must be float32": lambda: losses.gaussian_kl(GREY, log_std=Z),
    "_mixture: x must be float32": lambda: losses.laplace_mixture_nll(
        GREY, logits=Z[..., None], means=Z[..., None], log_scales=Z[..., None]
    ),
    "logit_laplace: x must be float32": lambda: losses.logit_laplace_nll(GREY, Z, log_scale=Z),
    r"logit_laplace: x must be in \[-0.125, 1.125\]": lambda: losses.logit_laplace_nll(
        GREY.astype(np.float32), Z, log_scale=Z
    ),
    "integers from 0 to 255, got values from 0 to 0.5 that are not": lambda: (
        losses.discretized_logistic_nll(jnp.array([[0, 0.1, 0.5]]), Z, log_scale=Z)
    ),
    "x must be 0 or 1, got values from 0 to 255": lambda: losses.discretized_logistic_nll(
        GREY, Z, log_scale=Z, levels=2
    ),
    "pass the outputs of the discriminator": lambda: losses.hinge_discriminator(GREY, GREY),
    "fake_logits must be float32": lambda: losses.minimax_generator(GREY),
    "real must be float32": lambda: losses.r1_penalty(jnp.sum, GREY),
    "fake must be float32": lambda: losses.r2_penalty(jnp.sum, GREY),
    "gradient_penalty: real": lambda: losses.gradient_penalty(jnp.sum, GREY, GREY, jnp.ones(1)),
    "ssim: a must be float32": lambda: losses.ssim(GREY[None, ..., None], GREY[None, ..., None]),
}
LOSSES["integers, got float32"] = LOSSES.pop("integers, got uint8")

FAMILIES = {
    "nade: x must be 0 or 1, got values from 200 to 200; binarize": lambda: nade.log_prob(
        CONFIG, VARIABLES, X + 200
    ),
    "made: x must be 0 or 1, got values from 0.5 to 0.5 that are not integers": lambda: zeros(
        made, made.Config(shape=(2,), hidden=(3,)), np.float32(0.5)
    ),
    "pixelcnn_pp: x must be integers from 0 to 4": lambda: pixelcnn_pp.log_prob(
        pixelcnn_pp.Config(shape=(2, 2, 1), levels=5), VARIABLES, X + 5
    ),
    "vae: the variables must be a dict with params": lambda: vae.sample(vae.tiny(), {}, KEY, 2),
    "the variables are a State; pass state.variables": lambda: nade.log_prob(CONFIG, STATE, X),
    "got a dict of .*; pass what `init` returns, or {'params'": lambda: nade.sample(
        CONFIG, VARIABLES["params"], KEY, 2
    ),
    r"must be a nade.Config\(...\), got that of genjax.families.made": lambda: nade.log_prob(
        made.Config(), VARIABLES, X
    ),
    r"got dict; the arguments are \(config, variables": lambda: nade.log_prob(VARIABLES, CONFIG, X),
    r"sample: the first argument must be a Config": lambda: nade.sample(VARIABLES, CONFIG, KEY, 2),
    r"got int; pass jax.random.key\(7\)": lambda: nade.sample(CONFIG, VARIABLES, 7, 2),
    "init: key must be a key of JAX, got Config": lambda: nade.init(KEY, CONFIG),
    "log_prob_bound: key must be": lambda: log_prob_bound(vae, vae.tiny(), {}, X, 0, 2),
    "dcgan: key must be": lambda: dcgan.sample(dcgan.tiny(), {"params": {}}, 0, 2),
    "`n` must be known when the function is compiled; pass static": lambda: jax.eval_shape(
        functools.partial(nade.sample, CONFIG), VARIABLES, KEY, 2
    ),
    "init_state: the first argument must be the module": lambda: init_state(
        "nade", CONFIG, ADAM, KEY
    ),
    "init_state: config must be a Config of nade, got Config of": lambda: init_state(
        nade, made.Config(), ADAM, KEY
    ),
    "init_state: optimizer must be one of Optax": lambda: init_state(nade, CONFIG, 1e-3, KEY),
    "init_state: key must be": lambda: init_state(nade, CONFIG, ADAM, 0),
    "got dict first; genjax.core.init_state makes the state": lambda: STEP(VARIABLES, {"x": X}),
    "made with another optimizer": lambda: STEP(
        init_state(nade, CONFIG, optax.sgd(0.1), KEY), {"x": X}
    ),
    "the class Config of": lambda: genjax.jitted_step("nade", nade.Config, ADAM),
    "give the name of a family": lambda: families.get(nade),
    r"got 'fidd' \(did you mean 'fid'\?\)": lambda: checks.one_of(("fid", "kid"), metric="fidd"),
    "no family 'NADE'; did you mean 'nade'": lambda: families.get("NADE"),
    r"a positive integer, such as \(784,\), got 784": lambda: nade.Config(shape=784),
    "entry a positive integer, got \\(8, 0\\)": lambda: nade.Config(shape=[8, 0]),
    "50x50 to 25x25, and its 128 channels are a dense layer of 80,000 units": lambda: dcgan.Config(
        shape=(50, 50, 1), generator_widths=(128,)
    ),
    "give `discriminator_widths` more entries .largest map first": lambda: infogan.Config(
        shape=(96, 96, 1), generator_widths=(128, 64, 32, 16)
    ),
}


@pytest.mark.parametrize(("message", "call"), [*LOSSES.items(), *FAMILIES.items()])
def test_a_mistake_is_one_message_with_the_fix(message, call):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda: losses.gaussian_nll(Z, Z, Z),
        lambda: losses.gaussian_kl(Z, Z),
        lambda: losses.gaussian_information(Z, Z, Z),
        lambda: losses.discretized_logistic_nll(Z, Z, Z),
        lambda: losses.logit_laplace_nll(Z, Z, Z),
        lambda: genjax.nn.Gaussian(Z, Z),
        lambda: genjax.nn.Normal(Z, Z),
    ],
)
def test_scales_are_keywords(call):
    """A variance in the place of a standard deviation would be a silent error."""
    with pytest.raises(TypeError, match="positional argument"):
        call()


def test_values_are_read_outside_jit_only():
    """Bool targets and tracers are accepted; a density inside jit is NaN."""
    whole = losses.bernoulli_nll(Z, Z > 1)
    np.testing.assert_allclose(whole, losses.bernoulli_nll(Z, Z), rtol=1e-6)
    log_p = jax.jit(nade.log_prob, static_argnums=0)(CONFIG, VARIABLES, X + 200)
    assert np.isnan(log_p).all()


def test_lists_become_tuples():
    assert nade.Config(shape=[8, 8, 1]) == nade.Config(shape=(8, 8, 1))
    assert hash(made.Config(hidden=[5])) == hash(made.Config(hidden=(5,)))


@pytest.mark.parametrize(
    ("side", "smallest", "widths"), [(50, 7, 3), (28, 7, 2), (64, 4, 4), (18, 5, 2), (9, 5, 1)]
)
@pytest.mark.parametrize("network", ["strided", "residual", "r3gan"])
def test_dcgan_halves_any_size_to_a_small_map(network, side, smallest, widths):
    config = dcgan.Config(shape=(side, side, 1), network=network, discriminator_norm="none")
    assert len(dcgan.generator_widths(config)) == widths + (network == "r3gan")
    x = jax.eval_shape(
        lambda: dcgan.sample(config, dcgan.init(config, KEY), KEY, 2)  # shapes alone
    )
    assert x.shape == (2, side, side, 1)
    assert -(-side // 2**widths) == smallest


def test_packages_name_what_they_lack():
    with pytest.raises(AttributeError, match="from genjax\\.families import nade"):
        _ = genjax.nade
    with pytest.raises(AttributeError, match=r"did you mean .losses."):
        _ = genjax.losess
