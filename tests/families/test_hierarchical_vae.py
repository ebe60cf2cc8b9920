"""The hierarchy against its equations in float64 NumPy, and quadrature over two layers."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats
from support.helpers import all_images, random_variables

from genjax import core
from genjax.core import init_state, make_step
from genjax.evals import active_units, make_annealed, temperatures
from genjax.families import hierarchical_vae as family
from genjax.train.record import count_parameters

SMALL = family.Config(shape=(3, 3, 1), latent=(1, 1), hidden=(6, 5), depth=1)
CONFIGS = {d: dataclasses.replace(SMALL, inference=d) for d in ("bottom_up", "top_down")}
IMAGES = all_images(SMALL.shape)
SOME = np.asarray(IMAGES)[:: 512 // 8]


@functools.cache
def variables_of(direction, widened=2.0):
    """Parameters far from initialisation, with a wide q, so that importance weights are even.

    Both directions of inference have the same generative model."""

    @functools.partial(jax.jit, static_argnums=0)
    def moved(config):
        first = family.init(config, jax.random.key(5))["params"]
        far = random_variables(family, config)["params"]  # the same, and normal noise
        return jax.tree.map(lambda a, b: a + 0.5 * (b - a), first, far)

    down = moved(CONFIGS["bottom_up"])
    params = {**moved(CONFIGS[direction]), **{k: v for k, v in down.items() if "down" in k}}
    for layer in ("up_0", "up_1"):  # biases of a mean and a log variance
        params[layer]["out"]["bias"] += jnp.array([0.0, widened])
    return {"params": params}


@pytest.fixture(params=list(CONFIGS))
def direction(request):
    return request.param


# The equations in NumPy.


def net(variables, name, a):
    """tanh layers and a linear one: hidden `[..., units]`, out `[..., out]`."""
    params = jax.tree.map(lambda p: np.asarray(p, np.float64), variables["params"][name])
    for layer in sorted(k for k in params if k.startswith("hidden")):
        a = np.tanh(a @ params[layer]["kernel"] + params[layer]["bias"])
    return a, a @ params["out"]["kernel"] + params["out"]["bias"]


def normal(out):
    mean, log_variance = np.split(out, 2, axis=-1)
    return mean, np.exp(0.5 * log_variance)


def product(one, other):
    """Of two normal densities, by their precisions."""
    (m, s), (n, t) = one, other
    variance = 1 / (s**-2 + t**-2)
    return variance * (m * s**-2 + n * t**-2), np.sqrt(variance)


def log_normal(h, mean, std):
    return stats.norm.logpdf(h, mean, std).sum(-1)


def log_pixels(x, logits):
    return (x * logits - np.logaddexp(0, logits)).sum(-1)


def by_hand(config, variables, x, noise):
    """Layers of one draw with noise `[B, Z_l]`: samples, and (mean, std) of q and of p."""
    layers, a, q, h = len(noise), x.reshape(len(x), -1), [], []
    for i in range(layers):
        hidden, out = net(variables, f"up_{i}", a)
        q.append(normal(out))
        h.append(q[i][0] + q[i][1] * noise[i])
        a = hidden if config.inference == "top_down" else h[i]
    p = [None] * (layers - 1) + [(np.zeros_like(noise[-1]), np.ones_like(noise[-1]))]
    for i in range(layers - 2, -1, -1):
        p[i] = normal(net(variables, f"down_{i + 1}", h[i + 1])[1])
        if config.inference == "top_down":
            q[i] = product(q[i], p[i])
            h[i] = q[i][0] + q[i][1] * noise[i]
    return h, q, p


@pytest.mark.parametrize("inference", list(CONFIGS))
def test_three_layers_match_the_equations(inference):
    config = family.Config(
        shape=(3, 3, 1), latent=(4, 3, 2), hidden=(6, 5, 7), depth=2, inference=inference
    )
    variables = jax.jit(lambda: random_variables(family, config))()
    x = np.asarray(IMAGES)[::17]
    keys = jax.random.split(jax.random.key(1), 3)
    noise = [jax.random.normal(k, (len(x), z)) for k, z in zip(keys, config.latent, strict=True)]
    results = jax.jit(lambda e: family.posterior(config, variables, jnp.asarray(x)).infer(e))(
        tuple(noise)
    )
    h, q, p = by_hand(config, variables, x, [np.float64(e) for e in noise])
    for i in range(3):
        np.testing.assert_allclose(results.h[i], h[i], rtol=1e-4, atol=1e-4)
        for got, want in ((results.q[i], q[i]), (results.p[i], p[i])):
            np.testing.assert_allclose(got.loc, want[0], rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(jnp.exp(got.log_std), want[1], rtol=1e-4)
    logits = net(variables, "down_0", h[0])[1]
    weight = log_pixels(x.reshape(len(x), -1), logits)
    for one, posterior, prior in zip(h, q, p, strict=True):
        weight += log_normal(one, *prior) - log_normal(one, *posterior)
    # log_weight draws the same noise from its key.
    key = jax.random.key(1)
    got = jax.jit(lambda k: core.log_weight(family, config, variables, jnp.asarray(x), k))(key)
    np.testing.assert_allclose(got, weight, rtol=1e-4, atol=1e-3)


# Quadrature by the trapezoidal rule, which converges exponentially here.


@pytest.fixture(scope="module")
def exact():
    """log p(x) of all 512 images; the upper layer is integrated out first, then the lower."""
    variables = variables_of("bottom_up")
    low, high = np.linspace(-30, 30, 4001), np.linspace(-9, 9, 901)
    mean, std = normal(net(variables, "down_1", high[:, None])[1])  # [901, 1]
    grid = stats.norm.pdf(low[None], mean, std)  # p(h_1 | h_2)
    p_low = np.trapezoid(grid * stats.norm.pdf(high)[:, None], high, axis=0)
    logits = net(variables, "down_0", low[:, None])[1]  # [4001, 9]
    x = np.asarray(IMAGES, np.float64).reshape(512, -1)
    log_px = x @ logits.T - np.logaddexp(0, logits).sum(1)[None]
    return np.log(np.trapezoid(np.exp(log_px) * p_low[None], low, axis=1))


def test_quadrature_is_normalised(exact):
    assert np.exp(exact).sum() == pytest.approx(1, abs=1e-5)


def draws(function, count, seed=0):
    """`[count, ...]` draws of `function(key)`, in float64."""
    many = jax.jit(jax.vmap(function))(jax.random.split(jax.random.key(seed), count))
    return np.asarray(many, np.float64)


def test_bounds_rise_in_order_to_the_log_likelihood(direction, exact):
    config, variables = CONFIGS[direction], variables_of(direction)

    def bound(samples, count):
        return draws(
            lambda key: core.log_prob_bound(family, config, variables, IMAGES, key, samples), count
        )

    results = {
        "elbo": draws(lambda key: core.elbo(family, config, variables, IMAGES, key), 2000),
        "iwae_5": bound(5, 400),
    }
    for values in results.values():  # for each image
        error = values.std(0, ddof=1) / np.sqrt(len(values))
        assert (values.mean(0) < exact + 5 * error).all()
    # On average over all images the differences are significant.
    means = {k: v.mean(1) for k, v in results.items()}
    error = np.sqrt(sum(m.var(ddof=1) / len(m) for m in means.values()))
    elbo, five = (m.mean() for m in means.values())
    assert five - elbo > 5 * error
    assert exact.mean() - five > 5 * means["iwae_5"].std(ddof=1) / np.sqrt(400)
    assert bound(3000, 1).mean() == pytest.approx(exact.mean(), abs=0.05)


def test_annealing_over_the_noise_of_all_layers_gives_the_log_likelihood(exact):
    """It does not depend on q."""
    config, variables = CONFIGS["top_down"], variables_of("top_down")
    estimate = make_annealed(family, config, betas=temperatures(100), chains=40, leapfrog=4)
    results = estimate(variables, jnp.asarray(SOME), jax.random.key(0), len(SOME))
    results = jax.tree.map(lambda a: np.asarray(a, np.float64), results)
    difference = results.log_prob - exact[:: 512 // 8]
    assert results.std_error.max() < 0.3
    assert (np.abs(difference) < 5 * results.std_error).all()
    prior = family.prior(config, variables)
    assert prior.event_shape == (sum(config.latent),)
    with pytest.raises(ValueError, match=r"noise must be float32\[B, 2\], got float32\[8, 3\]"):
        prior.transform(jnp.zeros((8, 3)))


def test_elbo_and_kl_of_layers_have_the_expected_values(direction):
    """E_q of each term by quadrature over both layers, for a few images."""
    config, variables = CONFIGS[direction], variables_of(direction, widened=0.0)
    t = np.linspace(-8, 8, 401)
    w = stats.norm.pdf(t) * (t[1] - t[0])
    expected = []
    for x in SOME:
        # The noise of both layers on a grid.
        e = [a.reshape(-1, 1) for a in np.meshgrid(t, t, indexing="ij")]
        h, q, p = by_hand(config, variables, np.broadcast_to(x, (len(e[0]), *x.shape)), e)
        weight = np.outer(w, w).ravel()
        kl = [weight @ (log_normal(h[i], *q[i]) - log_normal(h[i], *p[i])) for i in range(len(h))]
        logits = net(variables, "down_0", h[0])[1]
        expected.append([weight @ log_pixels(x.reshape(1, -1), logits), *kl])
    expected = np.array(expected)
    some = jnp.asarray(SOME)

    def terms(key):
        kl = family.posterior(config, variables, some).kl_layers(key)
        elbo = core.elbo(family, config, variables, some, key)
        return jnp.concatenate([(elbo + kl.sum(1))[:, None], kl], axis=1)

    results = draws(terms, 20_000, seed=1)
    error = results.std(0, ddof=1) / np.sqrt(len(results))
    assert error.max() < 0.05  # nats, small against every term
    np.testing.assert_array_less(np.abs(results.mean(0) - expected), 5 * error + 1e-3)
    if direction == "top_down":  # closed form: no noise in the first layer
        assert np.ptp(results[:, :, 2], axis=0).max() < 1e-5
    else:
        assert np.ptp(results[:, :, 2], axis=0).min() > 1


def test_samples_have_the_exact_probabilities(exact):
    config, variables = CONFIGS["top_down"], variables_of("top_down")
    n = 40_000
    x = np.asarray(family.sample(config, variables, jax.random.key(0), n)).reshape(n, -1)
    counts = np.bincount(x.astype(int) @ (2 ** np.arange(8, -1, -1)), minlength=512)
    expected = n * np.exp(exact)
    rare = expected < 5
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    assert stats.chisquare(counts, expected * n / expected.sum()).pvalue > 1e-6


# Objectives.

loss = jax.jit(family.loss, static_argnums=0)


def with_settings(**settings):
    return dataclasses.replace(CONFIGS["top_down"], **settings)


def test_iwae_loss_is_minus_the_bound(direction):
    config = dataclasses.replace(CONFIGS[direction], objective="iwae", latent_samples=7)
    key, x = jax.random.key(3), jnp.asarray(SOME)
    nats, _ = loss(config, variables_of(direction), {"x": x}, key)
    # log_prob_bound uses the same keys.
    bound = jax.jit(
        lambda k: core.log_prob_bound(family, config, variables_of(direction), x, k, 7)
    )(key)
    np.testing.assert_allclose(-nats, bound, rtol=1e-5)


def test_resampled_gradients_have_the_mean_of_iwae(direction):
    """In every leaf, with the same noise; the value is the bound of all samples."""
    iwae = dataclasses.replace(CONFIGS[direction], objective="iwae", latent_samples=7)
    few, variables = dataclasses.replace(iwae, gradient_samples=2), variables_of(direction)
    batch, key = {"x": jnp.asarray(SOME)}, jax.random.key(3)
    np.testing.assert_allclose(
        loss(few, variables, batch, key)[0], loss(iwae, variables, batch, key)[0], rtol=1e-5
    )
    keys, results = jax.random.split(jax.random.key(6), 2000), []
    for config in (iwae, few):
        slope = jax.grad(lambda v, k, c=config: family.loss(c, v, batch, k)[0].mean())
        many = jax.jit(jax.vmap(slope, (None, 0)))(variables, keys)
        leaves = [np.asarray(a, np.float64).reshape(2000, -1) for a in jax.tree.leaves(many)]
        results.append(np.concatenate(leaves, axis=1))
    difference = results[1] - results[0]
    error = difference.std(0) / np.sqrt(len(difference))
    assert (np.abs(difference.mean(0)) <= 5 * error + 1e-5).all()
    assert (np.abs(results[0].mean(0)) > 10 * error).any()
    assert results[1].var(0).sum() > results[0].var(0).sum()


def test_elbo_is_averaged_over_samples(direction):
    config = dataclasses.replace(CONFIGS[direction], latent_samples=5)
    key, x = jax.random.key(3), jnp.asarray(SOME)
    nats, aux = loss(config, variables_of(direction), {"x": x}, key)
    each = jax.jit(jax.vmap(lambda k: core.elbo(family, config, variables_of(direction), x, k)))(
        jax.random.split(key, 5)
    )
    np.testing.assert_allclose(-nats, each.mean(0), rtol=1e-4)
    np.testing.assert_allclose(aux["kl"], aux["kl_1"] + aux["kl_2"], rtol=1e-5)
    np.testing.assert_allclose(aux["reconstruction"] + aux["kl"], nats, rtol=1e-5)


def test_free_bits_apply_to_each_layer():
    key, batch, variables = jax.random.key(3), {"x": jnp.asarray(SOME)}, variables_of("top_down")
    plain, aux = loss(with_settings(), variables, batch, key)
    lower, upper = sorted([float(aux["kl_1"].mean()), float(aux["kl_2"].mean())])
    between = (lower + upper) / 2
    some, _ = loss(with_settings(free_bits=between), variables, batch, key)
    # Only the layer with less KL is raised to the limit.
    assert float(some.mean() - plain.mean()) == pytest.approx(between - lower, rel=1e-3)

    def kl_gradient(free):
        def mean(params):
            nats, aux = loss(with_settings(free_bits=free), {"params": params}, batch, key)
            return (nats - aux["reconstruction"]).mean()

        return jax.tree.leaves(jax.jit(jax.grad(mean))(variables["params"]))

    assert all((g == 0).all() for g in kl_gradient(2 * upper))
    assert any((g != 0).any() for g in kl_gradient(between))


def test_warmup_increases_the_weight_of_the_kl():
    config = with_settings(kl_warmup=4)
    batch, key = {"x": jnp.asarray(SOME)}, jax.random.key(3)
    params = variables_of("top_down")["params"]
    for steps, weight in ((0, 0), (1, 0.25), (4, 1), (9, 1)):
        variables = {"params": params, "buffers": {"steps": jnp.int32(steps)}}
        nats, aux = loss(config, variables, batch, key)
        want = aux["reconstruction"] + weight * aux["kl"]
        np.testing.assert_allclose(nats, want, rtol=1e-5)
        assert int(aux["updates"]["buffers"]["steps"]) == steps + 1
    # The ELBO is not weighted.
    start = {"params": params, "buffers": {"steps": jnp.int32(0)}}
    np.testing.assert_allclose(
        core.elbo(family, config, start, batch["x"], key),
        core.elbo(family, with_settings(), variables_of("top_down"), batch["x"], key),
    )
    state = init_state(family, config, optax.sgd(1e-3), jax.random.key(0))
    state, _ = jax.jit(make_step(family, config, optax.sgd(1e-3)))(state, batch)
    assert int(state.variables["buffers"]["steps"]) == 1


# Statistics of the latents.


def test_layer_means_and_features(direction):
    config, variables = CONFIGS[direction], variables_of(direction)
    key, x = jax.random.key(5), jnp.asarray(SOME)
    means_at = jax.jit(lambda k: family.posterior(config, variables, x).layer_means(k))
    means = [means_at(k) for k in jax.random.split(key)]
    assert [m.shape for m in means[0]] == [(8, 1), (8, 1)]
    first, second = (0, 1) if direction == "bottom_up" else (1, 0)
    # The layer inferred first does not depend on a sample; the other one does.
    np.testing.assert_array_equal(means[0][first], means[1][first])
    assert (means[0][second] != means[1][second]).all()
    # Features use the means of all layers.
    still = [np.zeros((8, 1)), np.zeros((8, 1))]
    _, q, _ = by_hand(config, variables, SOME, still)
    np.testing.assert_allclose(family.encode(config, variables, x), q[0][0], rtol=1e-4, atol=1e-5)
    if direction == "bottom_up":
        np.testing.assert_allclose(family.encode(config, variables, x), means[0][0], rtol=1e-5)


def test_noise_of_another_layer_is_not_activity(direction):
    """With a q independent of x, means of one layer still vary with samples of the other."""
    config, variables = CONFIGS[direction], variables_of(direction)
    up = dict(variables["params"])
    up["up_0"] = jax.tree.map(jnp.zeros_like, up["up_0"])
    if direction == "top_down":  # the other half of the deterministic pass
        up["up_1"] = jax.tree.map(jnp.zeros_like, up["up_1"])
    results = active_units(
        family, config, {"params": up}, IMAGES, jax.random.key(2), batch_size=100
    )
    assert results.counts == (0, 0)
    means = [
        family.posterior(config, {"params": up}, IMAGES[:1]).layer_means(jax.random.key(k))
        for k in range(2)
    ]
    assert any((a != b).any() for a, b in zip(*means, strict=True))  # they depend on the sample


def test_number_of_parameters_of_the_papers_network():
    # Up and down: 784-200-200-100 and 100-100-100-50; a Gaussian has means and scales.
    up = 785 * 200 + 201 * 200 + 201 * 200 + 101 * 100 + 101 * 100 + 101 * 100
    down = 51 * 100 + 101 * 100 + 101 * 200 + 101 * 200 + 201 * 200 + 201 * 784
    config = family.Config()
    shapes = jax.eval_shape(lambda key: family.init(config, key), jax.random.key(0))
    assert count_parameters(family, config, shapes) == up + down == 521_084
    means = jax.eval_shape(
        lambda v: family.posterior(config, v, jnp.zeros((1, 28, 28, 1))).mean(), shapes
    )
    assert [m.shape for m in means] == [(1, 100), (1, 50)]


def test_data_bias_reproduces_the_means_of_the_pixels():
    config = with_settings(data_bias=True)
    x = jnp.zeros((40, 3, 3, 1)).at[:10, 0].set(1)  # one row is 1 in a quarter of the examples
    params = family.init(config, jax.random.key(0), {"x": x})["params"]
    p = np.asarray(jax.nn.sigmoid(params["down_0"]["out"]["bias"])).reshape(3, 3)
    np.testing.assert_allclose(p, [[0.25] * 3, [0.001] * 3, [0.001] * 3], rtol=1e-3)
    assert family.traits(config).init_examples > 0
    assert family.traits(with_settings()).init_examples == 0


def test_rejects_inconsistent_settings():
    with pytest.raises(
        ValueError, match="`latent` and `hidden` need one entry per stochastic layer"
    ):
        family.Config(latent=(3, 2), hidden=(4,))
    for wrong in ({"free_bits": 0.1}, {"kl_warmup": 5}):
        with pytest.raises(ValueError, match="apply to objective elbo"):
            family.Config(objective="iwae", **wrong)
    for wrong, message in (
        ({"gradient_samples": 1}, "applies to objective iwae"),
        (
            {"objective": "iwae", "gradient_samples": 2},
            "`gradient_samples` 2 exceeds `latent_samples` 1",
        ),
        ({"gradient_samples": -1}, "`gradient_samples` must be a non-negative integer"),
    ):
        with pytest.raises(ValueError, match=message):
            family.Config(**wrong)
    with pytest.raises(ValueError, match="`inference` must be one of bottom_up, top_down"):
        family.Config(inference="sideways")


def test_bfloat16_changes_the_hidden_layers_only():
    config = with_settings(dtype="bfloat16")
    variables = jax.eval_shape(lambda key: family.init(config, key), jax.random.key(0))
    assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(variables))
    batch, key = {"x": jnp.asarray(SOME)}, jax.random.key(1)
    program = jax.jit(lambda v: family.loss(config, v, batch, key)[0]).lower(variables).as_text()
    assert "xbf16>" in program
    nats, _ = jax.eval_shape(lambda v: family.loss(config, v, batch, key), variables)
    assert nats.dtype == jnp.float32
