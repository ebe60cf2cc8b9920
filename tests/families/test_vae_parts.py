"""The options of the VAE's Config: posteriors, priors, likelihoods, labels, and combinations."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from jax import export
from support.helpers import all_images
from support.small_vae import BASE, X, config_of, variables_of

from genjax import core
from genjax.families import vae
from genjax.families.vae import networks

GRID = np.linspace(-9, 9, 181)
PLANE = np.stack(np.meshgrid(GRID, GRID, indexing="ij"), axis=-1).reshape(-1, 2)


def integral(values):
    """Integrates values on `PLANE` by the trapezoidal rule."""
    return np.trapezoid(np.trapezoid(values.reshape(len(GRID), -1), GRID), GRID)


# --------------------------------------------------------------------------------------
# q(z | x)


@pytest.mark.parametrize("posterior", ["diagonal", "full", "iaf"])
def test_log_q_is_that_of_the_change_of_variables(posterior):
    """log N(noise) - log |det dz / dnoise| with a dense Jacobian."""
    config = config_of(posterior=posterior)
    v = variables_of(config)
    q = vae.posterior(config, v, X)
    noise = jax.random.normal(jax.random.key(1), (1, 4, 2))
    dense = jax.jit(jax.jacfwd(lambda n: q.from_noise(n)[0][0]))(noise)[:, :, 0]  # [B, Z, B, Z]
    blocks = np.asarray(dense, np.float64)[np.arange(4), :, np.arange(4)]  # [B, Z, Z]
    want = scipy.stats.norm.logpdf(np.asarray(noise[0])).sum(1) - np.linalg.slogdet(blocks)[1]
    np.testing.assert_allclose(q.from_noise(noise)[1][0], want, rtol=1e-4)
    off = np.abs(blocks[:, 0, 1]) + np.abs(blocks[:, 1, 0])
    assert (off > 1e-3).all() == (posterior != "diagonal")


def test_posterior_samples_follow_their_density():
    """Moments and log q of many draws for one x are those of the Gaussian."""
    config = config_of(posterior="full")
    v = variables_of(config)
    many = jnp.broadcast_to(X[:1], (20_000, 3, 3, 1))
    z, log_q = jax.jit(lambda k: vae.posterior(config, v, many).sample_and_log_prob(k))(
        jax.random.key(2)
    )
    q = vae.posterior(config, v, X[:1])
    factor = np.asarray(q.cholesky[0], np.float64)
    law = scipy.stats.multivariate_normal(np.asarray(q.loc[0]), factor @ factor.T)
    np.testing.assert_allclose(log_q, law.logpdf(z), rtol=1e-3, atol=1e-3)
    error = np.sqrt(np.diag(law.cov) / len(z))
    assert (np.abs(np.asarray(z).mean(0) - law.mean) < 5 * error).all()
    np.testing.assert_allclose(vae.encode(config, v, X[:1])[0], law.mean, rtol=1e-5)
    np.testing.assert_allclose(np.cov(z.T), law.cov, atol=0.05 * np.trace(law.cov))


# --------------------------------------------------------------------------------------
# p(z)


@pytest.mark.parametrize("prior", ["normal", "vamp", "flow"])
def test_prior_integrates_to_one_and_matches_its_samples(prior):
    config = config_of(prior=prior)
    v = variables_of(config, scale=0.3)
    plane = jnp.asarray(PLANE, jnp.float32)
    density = np.exp(np.asarray(jax.jit(vae.prior(config, v).log_prob)(plane), np.float64))
    assert integral(density) == pytest.approx(1, abs=2e-3)
    z = np.asarray(jax.jit(lambda k: vae.prior(config, v).sample(k, 20_000))(jax.random.key(3)))
    for powers in ((1, 0), (0, 1), (2, 0), (1, 1), (0, 2)):
        observed = z[:, 0] ** powers[0] * z[:, 1] ** powers[1]
        want = integral(density * PLANE[:, 0] ** powers[0] * PLANE[:, 1] ** powers[1])
        error = observed.std() / np.sqrt(len(observed))
        assert abs(observed.mean() - want) < 5 * error + 2e-3, powers


@pytest.mark.parametrize("posterior", ["diagonal", "full"])
def test_a_vamp_prior_is_the_mean_of_the_posteriors_of_its_inputs(posterior):
    config = config_of(prior="vamp", posterior=posterior)
    v = variables_of(config)
    inputs = networks.pseudo_inputs(config, v["params"])
    assert inputs.shape == (3, 3, 3, 1)
    assert 0 < float(inputs.min()) < float(inputs.max()) < 1  # images
    q = vae.posterior(config, v, inputs)
    z = PLANE[::999]
    each = [
        scipy.stats.multivariate_normal(m, f @ f.T).logpdf(z)
        for m, f in zip(np.asarray(q.loc), np.asarray(q.cholesky, np.float64), strict=True)
    ]
    want = scipy.special.logsumexp(each, axis=0) - np.log(3)
    np.testing.assert_allclose(
        vae.prior(config, v).log_prob(jnp.asarray(z, jnp.float32)), want, rtol=1e-3
    )


# --------------------------------------------------------------------------------------
# p(x | z)


def test_a_gaussian_decoder_integrates_to_one_over_x():
    config = config_of(shape=(1,), likelihood="gaussian")
    v = variables_of(config)
    line = np.linspace(-40, 40, 20_001)
    z = jnp.array([0.5, -1.0])
    x = jnp.asarray(line[:, None], jnp.float32)
    many = jnp.broadcast_to(z[None], (len(line), 2))
    p = np.exp(np.asarray(vae.likelihood(config, v, many).log_prob(x), np.float64))
    assert np.trapezoid(p, line) == pytest.approx(1, abs=1e-4)
    mean = np.trapezoid(p * line, line)
    assert float(vae.likelihood(config, v, z[None]).mean()[0, 0]) == pytest.approx(mean, abs=1e-3)
    # The variance depends on z.
    log_std = vae.likelihood(config, v, jnp.array([[0.5, -1.0], [3.0, 2.0]])).log_std
    assert abs(float(log_std[0, 0] - log_std[1, 0])) > 0.1


def test_scales_are_bounded_below():
    config = config_of(likelihood="gaussian", min_log_scale=-2.0)
    v = variables_of(config, scale=30.0)
    log_std = vae.likelihood(config, v, jnp.asarray(PLANE[::99], jnp.float32)).log_std
    assert float(log_std.min()) == -2.0
    assert float(log_std.max()) > 1


def test_levels_have_probabilities_that_sum_to_one():
    config = config_of(shape=(2,), likelihood="discretized_logistic", levels=5)
    v = variables_of(config)
    grid = np.stack(np.meshgrid(*[np.arange(5.0)] * 2, indexing="ij"), -1).reshape(-1, 2)
    x, z = jnp.asarray(grid, jnp.float32), jnp.full((25, 2), 0.3)
    p = np.exp(np.asarray(vae.likelihood(config, v, z).log_prob(x), np.float64))
    assert p.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(vae.likelihood(config, v, z[:1]).mean()[0], p @ grid, rtol=1e-4)
    # One scale per channel; each entry of a vector is a channel.
    assert v["params"]["log_scale"].shape == (2,)
    image = variables_of(config_of(likelihood="discretized_logistic"))
    assert image["params"]["log_scale"].shape == (1,)
    drawn = np.asarray(jax.jit(lambda k: vae.sample(config, v, k, 50))(jax.random.key(1)))
    assert set(np.unique(drawn)) <= set(range(5))


def test_traits_follow_the_likelihood():
    for likelihood, data, high in [
        ("bernoulli", "binary", 1.0),
        ("gaussian", "real", np.inf),
        ("discretized_logistic", "levels", 4.0),
    ]:
        traits = vae.traits(config_of(likelihood=likelihood, levels=5))
        assert (traits.data, traits.density) == (data, "bound")
        assert traits.sample_range == (-np.inf if high == np.inf else 0.0, high)


def test_init_uses_the_data():
    """Biases reproduce the means and pseudo-inputs are examples; without data neither."""
    config = config_of(data_bias=True, prior="vamp")
    wanted = [vae.traits(c).init_examples for c in (config, config_of(prior="vamp"), BASE)]
    assert wanted == [10_000, 3, 0]
    key = jax.random.key(0)
    observed, blank = (vae.init(config, key, batch)["params"] for batch in ({"x": X}, None))
    inputs = networks.pseudo_inputs(config, observed)
    np.testing.assert_allclose(inputs, X[:3].clip(0.05, 0.95), rtol=1e-5)
    out, plain = (p["decoder"]["MLP_0"]["out"] for p in (observed, blank))
    want = np.asarray(X).mean(0).ravel().clip(0.001, 0.999)
    np.testing.assert_allclose(jax.nn.sigmoid(out["bias"]), want, rtol=1e-4)
    assert not plain["bias"].any()
    np.testing.assert_array_equal(plain["kernel"], out["kernel"])


# --------------------------------------------------------------------------------------
# Labels


def test_each_class_has_a_distribution_that_enumerates_to_one():
    """p(x | label) by quadrature over z for all 512 images, against its bound and samples."""
    config = config_of(latent=1, classes=2)
    v = variables_of(config, scale=0.7)
    line = np.linspace(-8, 8, 161)
    z = jnp.asarray(line[:, None], jnp.float32)
    images = all_images(config.shape)
    prior = np.asarray(vae.prior(config, v).log_prob(z), np.float64)
    exact = []
    bound = jax.jit(lambda k, y: core.log_prob_bound(vae, config, v, images, k, 1000, label=y))
    draw = jax.jit(lambda k, y: vae.sample(config, v, k, 20_000, label=y))
    for label in (0, 1):
        y = jnp.full((len(line),), label)
        logits = np.asarray(vae.likelihood(config, v, z, label=y).logits, np.float64).reshape(
            len(line), -1
        )
        flat = np.asarray(images).reshape(512, -1)
        log_px = flat @ logits.T - np.logaddexp(0, logits).sum(1)
        exact.append(np.log(np.trapezoid(np.exp(log_px + prior), line, axis=1)))
        one = vae.likelihood(config, v, z, label=y).log_prob(images[:161])
        np.testing.assert_allclose(one, log_px[np.arange(161), np.arange(161)], rtol=1e-4)
    for label, log_p in enumerate(exact):
        assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-4)
        gap = log_p - np.asarray(bound(jax.random.key(0), jnp.full((512,), label)))
        assert -0.02 < gap.mean() < 0.1
        drawn = draw(jax.random.key(1), jnp.full((20_000,), label))
        pixels = np.exp(log_p) @ np.asarray(images).reshape(512, -1)
        observed = np.asarray(drawn).reshape(20_000, -1).mean(0)
        assert (np.abs(observed - pixels) < 5 * np.sqrt(pixels * (1 - pixels) / 20_000)).all()
    assert np.abs(exact[0] - exact[1]).max() > 1  # the label has an effect


def test_samples_without_a_label_cycle_through_the_classes():
    config = config_of(classes=3)
    v = variables_of(config)
    cycled = jax.jit(lambda k: vae.sample(config, v, k, 6))(jax.random.key(0))
    y = jnp.array([0, 1, 2, 0, 1, 2])
    named = jax.jit(lambda k: vae.sample(config, v, k, 6, label=y))(jax.random.key(0))
    np.testing.assert_array_equal(cycled, named)
    one = jax.eval_shape(lambda k: vae.sample(config, v, k), jax.random.key(0))
    assert one.shape == (3, 3, 1)


def test_rejects_missing_and_invalid_labels():
    config, plain = config_of(classes=3), BASE
    v = variables_of(config)
    with pytest.raises(ValueError, match=r"vae: p\(x \| label\) of 3 classes needs `label` int32"):
        core.elbo(vae, config, v, X, jax.random.key(0))
    with pytest.raises(ValueError, match=r"needs `label` int32\[4\], got float32\[4\]"):
        vae.encode(config, v, X, label=jnp.zeros(4))
    with pytest.raises(ValueError, match=r"the batch lacks \['label'\]"):
        vae.loss(config, v, {"x": X}, jax.random.key(0))
    with pytest.raises(ValueError, match="the Config has no classes; omit `label`"):
        core.elbo(
            vae, plain, variables_of(plain), X, jax.random.key(0), label=jnp.zeros(4, jnp.int32)
        )
    # Invalid labels give NaN.
    nats = core.elbo(vae, config, v, X, jax.random.key(0), label=jnp.array([0, 3, -1, 2]))
    assert np.isnan(np.asarray(nats)).tolist() == [False, True, True, False]


# --------------------------------------------------------------------------------------
# All together


@pytest.mark.parametrize(
    "settings",
    [
        {"posterior": "iaf"},
        {"posterior": "full", "prior": "vamp"},
        {"posterior": "iaf", "prior": "flow"},
        {"likelihood": "gaussian", "prior": "flow"},
        {"likelihood": "discretized_logistic"},
    ],
    ids=lambda s: "-".join(s.values()),
)
def test_bound_of_many_samples_is_the_integral(settings):
    """log p(x) by quadrature of p(z) p(x | z), against the bound of many samples, which uses q."""
    config = config_of(**settings)
    v = variables_of(config, scale=0.3)
    out = v["params"]["encoder"]["MLP_0"]["out"]
    out["bias"] = out["bias"].at[2:4].add(1.5)  # a wide q keeps the weights even
    x, plane = X[:3], jnp.asarray(PLANE, jnp.float32)
    repeated = [jnp.broadcast_to(one[None], (len(PLANE), *one.shape)) for one in x]
    likelihood = jax.jit(lambda x: vae.likelihood(config, v, plane).log_prob(x))
    prior = np.asarray(jax.jit(vae.prior(config, v).log_prob)(plane), np.float64)
    nats = [np.asarray(likelihood(one), np.float64) + prior for one in repeated]
    exact = np.array([np.log(integral(np.exp(n - n.max()))) + n.max() for n in nats])
    bound = jax.jit(lambda key: core.log_prob_bound(vae, config, v, x, key, 4000))
    draws = np.array([bound(key) for key in jax.random.split(jax.random.key(4), 8)], np.float64)
    error = draws.std(0, ddof=1) / np.sqrt(8)
    assert error.max() < 0.05
    assert (np.abs(draws.mean(0) - exact) < 6 * error + 0.02).all()


def test_every_combination_of_options_works_or_is_rejected():
    parts = {
        "likelihood": ("bernoulli", "gaussian", "discretized_logistic"),
        "posterior": ("diagonal", "full", "iaf"),
        "prior": ("normal", "vamp", "flow"),
        "objective": ("elbo", "sampled", "iwae", "dreg", "score"),
    }
    rejected, made, batch, key = 0, {}, {"x": X}, jax.random.key(0)
    for chosen in itertools.product(*parts.values()):
        settings = dict(zip(parts, chosen, strict=True))
        iaf = settings["posterior"] == "iaf"
        if iaf and (settings["prior"] == "vamp" or settings["objective"] in ("dreg", "score")):
            with pytest.raises(ValueError, match="an iaf posterior evaluates its own samples only"):
                config_of(**settings)
            rejected += 1
            continue
        config = config_of(**settings, latent_samples=2)
        model = tuple(settings.values())[:3]
        if model not in made:
            made[model] = jax.eval_shape(lambda key, c=config: vae.init(c, key), key)
        nats_of = jax.eval_shape(
            lambda v, k, c=config: vae.loss(c, v, batch, k)[0], made[model], key
        )
        assert (nats_of.shape, nats_of.dtype) == ((4,), jnp.float32), settings
    assert rejected == 3 * (5 + 2 + 2)


@pytest.mark.parametrize(
    "settings",
    [
        {"posterior": "iaf", "prior": "flow", "objective": "iwae", "latent_samples": 2},
        {"posterior": "full", "prior": "vamp", "objective": "dreg", "latent_samples": 2},
        {"encoder": "resnet", "decoder": "resnet", "classes": 2, "dtype": "bfloat16"},
        {"likelihood": "discretized_logistic", "objective": "score", "kl_warmup": 3},
    ],
    ids=lambda s: next(iter(s.values())),
)
def test_every_option_trains_and_exports(settings):
    """Gradients of all parameters are finite and not zero, and the program exports."""
    config = config_of(**{"blocks": 1, **settings})
    v = variables_of(config)
    spec = vae.batch_spec(config, 4)
    batch = {name: X if name == "x" else jnp.zeros(s.shape, s.dtype) for name, s in spec.items()}

    def mean(params, key):
        nats, _ = vae.loss(config, {**v, "params": params}, batch, key)
        assert (nats.shape, nats.dtype) == ((4,), jnp.float32)
        return nats.mean()

    gradient = jax.jit(jax.grad(mean))
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(v["params"], jax.random.key(1))):
        assert bool(jnp.isfinite(leaf).all()), path
        assert bool((leaf != 0).any()), path
    exported = export.export(gradient, platforms=["cpu", "cuda", "tpu"])
    assert exported(v["params"], jax.random.key(1)).platforms == ("cpu", "cuda", "tpu")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"posterior": "iaf", "objective": "dreg"},
            "an iaf posterior evaluates its own samples only",
        ),
        ({"posterior": "iaf", "objective": "score"}, "use posterior diagonal or full"),
        ({"posterior": "iaf", "prior": "vamp"}, "need the density of any z"),
        ({"prior": "vamp", "classes": 2}, "pseudo-inputs of prior vamp have no label"),
        ({"objective": "iwae", "beta": 2.0}, "objective iwae has no KL term to weight"),
        ({"objective": "dreg", "kl_warmup": 5}, "objective dreg has no KL term to weight"),
        ({"objective": "iwae", "free_bits": 1.0}, "not to iwae"),
        ({"objective": "score", "free_bits": 1.0}, "not to score"),
        ({"encoder": "resnet", "shape": (9,)}, r"a resnet needs images of shape \(H, W, C\)"),
        ({"decoder": "resnet", "data_bias": True}, "use an mlp decoder"),
        ({"posterior": "triangular"}, "`posterior` must be one of diagonal, full, iaf"),
        ({"likelihood": "poisson"}, "`likelihood` must be one of bernoulli"),
        ({"levels": 1}, "`levels` must be an integer of at least 2, got 1"),
        ({"latent_samples": 0}, "`latent_samples` must be a positive integer"),
        ({"beta": -1.0}, "`beta` must be a non-negative number"),
        ({"gradient_samples": 1}, "applies to objectives iwae and dreg, not to elbo"),
        (
            {"objective": "iwae", "gradient_samples": 2},
            "`gradient_samples` 2 exceeds `latent_samples` 1",
        ),
        ({"gradient_samples": -1}, "`gradient_samples` must be a non-negative integer"),
    ],
)
def test_rejects_settings_that_exclude_each_other(settings, message):
    with pytest.raises(ValueError, match=message):
        config_of(**settings)


def test_rejects_kl_units_without_closed_form():
    for settings in ({"posterior": "full"}, {"prior": "flow"}):
        config = config_of(**settings)
        with pytest.raises(ValueError, match="closed form for a diagonal Gaussian posterior"):
            core.kl_units(vae, config, variables_of(config), X)


def test_rejects_z_of_wrong_shape():
    v = variables_of(BASE)
    with pytest.raises(ValueError, match=r"z must be float32\[B, 2\], got float32\[4, 3\]"):
        vae.likelihood(BASE, v, jnp.zeros((4, 3)))
    assert vae.prior(BASE, v).event_shape == (2,)


def test_reads_settings_that_lack_newer_fields():
    from genjax.train.run_config import run_from_json

    model = {"shape": [8, 8, 1], "latent": 8, "hidden": [128]}
    model |= {"activation": "tanh", "dtype": "float32"}
    run = run_from_json({"experiment": "tour_vae", "family": "vae", "model": model})
    assert run.model == vae.Config(shape=(8, 8, 1), latent=8, hidden=(128,))


@pytest.mark.parametrize("weights", ["lecun", "glorot"])
def test_initial_weights_have_the_deviation_of_their_distribution(weights):
    config = config_of(shape=(10, 10, 1), hidden=(60,), latent=3, weights=weights)
    params = vae.init(config, jax.random.key(0))["params"]
    variance = {"lecun": 1 / 60, "glorot": 2 / (60 + 100)}[weights]
    kernel = params["decoder"]["MLP_0"]["out"]["kernel"]  # [60, 100]
    assert float(kernel.std()) == pytest.approx(math.sqrt(variance), rel=0.05)
