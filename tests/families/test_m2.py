"""M2 against sums over its classes and quadrature over its one-dimensional z, in float64."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import log_softmax, logsumexp
from support.helpers import all_images, random_variables
from support.small import small_run, write_data

from genjax import core, evals
from genjax.data import Dataset, save_npz
from genjax.evals import make_annealed, temperatures
from genjax.families import m2
from genjax.train import fit, load
from genjax.train.compatibility import check_labelled

CONFIG = dataclasses.replace(m2.tiny(), labelled=0.25)
IMAGES = all_images(CONFIG.shape)
SOME = np.asarray(IMAGES)[:: 512 // 8]
# Known and unknown labels; every class occurs.
LABELS = jnp.array([0, -1, 2, -1, 1, 1, -1, 0], jnp.int32)
KNOWN = np.asarray(LABELS) >= 0
BATCH = {"x": jnp.asarray(SOME), "label": LABELS}
loss = jax.jit(m2.loss, static_argnums=0)


@functools.cache
def variables():
    return jax.jit(lambda: random_variables(m2, CONFIG))()


# The equations in NumPy.


def dense(params, a):
    a = a @ np.asarray(params["kernel"], np.float64)
    return a + np.asarray(params["bias"], np.float64) if "bias" in params else a


def pair(name, a, y):
    """The network of a vector and a class, for one class: `[..., F] -> [..., out]`."""
    params = variables()["params"][name]
    h = dense(params["vector"], a) + dense(params["label"], np.eye(3)[y])
    return dense(params["MLP_0"]["out"], np.logaddexp(0, h))  # softplus


def log_q_of_class(x):
    params = variables()["params"]["classifier"]
    h = np.logaddexp(0, dense(params["hidden_0"], x.reshape(len(x), -1)))
    return log_softmax(dense(params["out"], h), axis=1)


def log_pixels(x, z, y):
    """log p(x | y, z): `x [N, 9]`, `z [M] -> [N, M]`."""
    logits = pair("decoder", z[:, None], y)
    return x @ logits.T - np.logaddexp(0, logits).sum(1)[None]


@pytest.fixture(scope="module")
def exact():
    """log p(x, y) of all 512 images and 3 classes, by the trapezoidal rule over z."""
    z = np.linspace(-12, 12, 4801)
    x = np.asarray(IMAGES, np.float64).reshape(512, -1)
    prior = stats.norm.pdf(z)[None] / 3
    columns = [np.trapezoid(np.exp(log_pixels(x, z, y)) * prior, z, axis=1) for y in range(3)]
    return np.log(np.stack(columns, axis=1))


@pytest.fixture(scope="module")
def labelled_bound():
    """-L(x, y) of a few images and every class, by quadrature over q(z | x, y), `[8, 3]`."""
    out = np.empty((8, 3))
    for i, x in enumerate(SOME.reshape(8, -1).astype(np.float64)):
        for y in range(3):
            mean, log_variance = pair("encoder", x, y)
            t = np.linspace(-10, 10, 4001)
            z = mean + np.exp(0.5 * log_variance) * t
            fit = np.trapezoid(stats.norm.pdf(t) * log_pixels(x[None], z, y)[0], t)
            kl = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance)
            out[i, y] = fit - kl + np.log(1 / 3)
    return out


def draws(function, count, seed=0):
    many = jax.jit(jax.vmap(function))(jax.random.split(jax.random.key(seed), count))
    return np.asarray(many, np.float64)


def test_quadrature_is_normalised(exact):
    assert np.exp(exact).sum() == pytest.approx(1, abs=1e-5)


def test_the_unlabelled_bound_is_the_sum_over_the_classes(labelled_bound):
    log_q = log_q_of_class(SOME)
    np.testing.assert_allclose(m2.classify(CONFIG, variables(), BATCH["x"]), log_q, atol=1e-4)
    expected = (np.exp(log_q) * (labelled_bound - log_q)).sum(1)
    result = draws(lambda key: core.elbo(m2, CONFIG, variables(), BATCH["x"], key), 20_000)
    error = result.std(0, ddof=1) / np.sqrt(len(result))
    np.testing.assert_array_less(np.abs(result.mean(0) - expected), 5 * error + 1e-3)


def test_loss_depends_on_whether_the_label_is_known(labelled_bound):
    """L and the weighted classification loss where the label is known, else U."""
    log_q, label = log_q_of_class(SOME), np.asarray(LABELS)
    row = np.arange(8)
    labelled = 0.1 / 0.25 * -log_q[row, label] - labelled_bound[row, label]
    unlabelled = -(np.exp(log_q) * (labelled_bound - log_q)).sum(1)
    expected = np.where(KNOWN, labelled, unlabelled)
    result = draws(lambda key: m2.loss(CONFIG, variables(), BATCH, key)[0], 20_000)
    error = result.std(0, ddof=1) / np.sqrt(len(result))
    np.testing.assert_array_less(np.abs(result.mean(0) - expected), 5 * error + 1e-3)


def test_weights_sum_to_the_papers_objective():
    """With 5 of 8 labelled, alpha is 0.1 N times the mean over the labelled."""
    config = dataclasses.replace(CONFIG, labelled=5 / 8)
    without = dataclasses.replace(config, alpha=0.0)
    key = jax.random.key(2)
    more = loss(config, variables(), BATCH, key)[0] - loss(without, variables(), BATCH, key)[0]
    cross_entropy = -log_q_of_class(SOME)[np.arange(8), np.asarray(LABELS)][KNOWN]
    assert float(more.sum()) == pytest.approx(0.1 * 8 * cross_entropy.mean(), rel=1e-4)


def test_weight_prior_is_normal():
    config = dataclasses.replace(CONFIG, weight_prior=1 / 50)
    key = jax.random.key(2)
    more = loss(config, variables(), BATCH, key)[0] - loss(CONFIG, variables(), BATCH, key)[0]
    leaves = jax.tree.leaves(variables())
    log_density = sum(stats.norm.logpdf(p).sum() - stats.norm.logpdf(0) * p.size for p in leaves)
    np.testing.assert_allclose(more, -log_density / 50, rtol=1e-3)


def test_bounds_rise_in_order_to_the_log_likelihood(exact):
    log_p = logsumexp(exact, axis=1)

    def bound(samples, count):
        return draws(
            lambda key: core.log_prob_bound(m2, CONFIG, variables(), IMAGES, key, samples), count
        )

    elbo = draws(lambda key: core.elbo(m2, CONFIG, variables(), IMAGES, key), 1000)
    five = bound(5, 400)
    for values in (elbo, five):
        error = values.std(0, ddof=1) / np.sqrt(len(values))
        assert (values.mean(0) < log_p + 5 * error).all()
    elbo, five = elbo.mean(1), five.mean(1)
    error = np.sqrt(elbo.var(ddof=1) / len(elbo) + five.var(ddof=1) / len(five))
    assert five.mean() - elbo.mean() > 5 * error
    assert log_p.mean() - five.mean() > 5 * five.std(ddof=1) / np.sqrt(len(five))
    assert bound(3000, 1).mean() == pytest.approx(log_p.mean(), abs=0.1)


def test_annealing_over_z_sums_over_the_class(exact):
    estimate = make_annealed(m2, CONFIG, betas=temperatures(100), chains=60, leapfrog=4)
    label = {"label": np.full(8, -1, np.int32)}
    result = estimate(variables(), jnp.asarray(SOME), jax.random.key(0), 8, label)
    result = jax.tree.map(lambda a: np.asarray(a, np.float64), result)
    difference = result.log_prob - logsumexp(exact, axis=1)[:: 512 // 8]
    assert result.std_error.max() < 0.3
    assert (np.abs(difference) < 5 * result.std_error + 1e-3).all()


def test_classifies_by_density(exact):
    draw = functools.partial(m2.log_class_weights, CONFIG, variables(), IMAGES)
    bound = jax.jit(lambda key: core.log_mean_weight(draw, key, 3000, jnp.zeros((512, 3))))
    log_p = np.asarray(bound(jax.random.key(0)))
    assert log_p.shape == (512, 3)
    assert log_p.mean() == pytest.approx(exact.mean(), abs=0.1)
    clear = np.diff(np.sort(exact, axis=1)[:, 1:], axis=1)[:, 0] > 1.5
    assert clear.sum() > 100
    assert (log_p.argmax(1) == exact.argmax(1))[clear].all()


def test_mixtures_over_the_classes_are_conditioned_on_known_labels(exact):
    """log p(x | z) integrates to log p(x), and with a label to log p(x | y); NaN for no class."""
    z = np.linspace(-12, 12, 1201)
    x = jnp.broadcast_to(IMAGES[37], (len(z), *CONFIG.shape))
    prior = stats.norm.pdf(z)
    for label, expected in ((-1, logsumexp(exact[37])), (2, exact[37, 2] + np.log(3))):
        labels = jnp.full(len(z), label)
        p = m2.likelihood(CONFIG, variables(), jnp.asarray(z, jnp.float32)[:, None], labels)
        log_p = np.asarray(p.log_prob(x), np.float64)
        assert np.log(np.trapezoid(np.exp(log_p) * prior, z)) == pytest.approx(expected, abs=1e-3)
    labels = jnp.array([0, 3, -1, 1])
    q = m2.posterior(CONFIG, variables(), IMAGES[:4], labels)
    np.testing.assert_array_equal(np.isnan(q.mean()[:, 0]), [False, True, False, False])
    # Samples of q(z | x) have the moments and the density of the mixture.
    q = m2.posterior(CONFIG, variables(), jnp.broadcast_to(IMAGES[37], (20_000, *CONFIG.shape)))
    drawn, log_q = jax.jit(q.sample_and_log_prob)(jax.random.key(0))
    drawn = np.asarray(drawn[:, 0], np.float64)
    assert abs(drawn.mean() - float(q.mean()[0, 0])) < 5 * drawn.std() / np.sqrt(len(drawn))
    order = np.argsort(drawn)
    assert np.trapezoid(np.exp(np.asarray(log_q))[order], drawn[order]) == pytest.approx(
        1, abs=0.02
    )


# Gradients of each network.


def gradients(config, batch):
    def total(params):
        return m2.loss(config, {"params": params}, batch, jax.random.key(4))[0].sum()

    return jax.jit(jax.grad(total))(variables()["params"])


def largest(tree):
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


def rows(mask):
    return jax.tree.map(lambda a: a[mask], BATCH)


def test_labels_train_the_classifier_by_the_classification_loss_only():
    labelled = rows(KNOWN)
    without_alpha = gradients(dataclasses.replace(CONFIG, alpha=0.0), labelled)
    assert largest(without_alpha["classifier"]) == 0  # L(x, y) has no q(y | x)
    assert largest(without_alpha["encoder"]) > 0.1
    result = gradients(CONFIG, labelled)

    def cross_entropy(classifier):
        params = {**variables()["params"], "classifier": classifier}
        log_q = m2.classify(CONFIG, {"params": params}, labelled["x"])
        return -0.1 / 0.25 * (jax.nn.one_hot(labelled["label"], 3) * log_q).sum()

    expected = jax.grad(cross_entropy)(variables()["params"]["classifier"])
    for got, want in zip(*map(jax.tree.leaves, (result["classifier"], expected)), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
    # The classification loss has no other gradient.
    for name in ("encoder", "decoder"):
        for got, want in zip(
            *map(jax.tree.leaves, (result[name], without_alpha[name])), strict=True
        ):
            np.testing.assert_array_equal(got, want)


def test_bound_trains_all_networks_without_labels():
    unlabelled = rows(~KNOWN)
    result = gradients(CONFIG, unlabelled)
    assert min(largest(result[n]) for n in ("classifier", "encoder", "decoder")) > 1e-2
    large_alpha = gradients(dataclasses.replace(CONFIG, alpha=100.0), unlabelled)
    jax.tree.map(np.testing.assert_array_equal, large_alpha, result)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_gradients_of_drawn_classes_are_unbiased(count):
    few = dataclasses.replace(CONFIG, gradient_classes=count)

    def both(key):
        """Values and gradients of all classes and of drawn classes, for the same z."""
        key = jax.random.fold_in(jax.random.key(9), key)
        pairs = []
        for config in (CONFIG, few):

            def total(params, config=config):
                nats = m2.loss(config, {"params": params}, BATCH, key)[0]
                return nats.sum(), nats

            slopes, nats = jax.grad(total, has_aux=True)(variables()["params"])
            pairs.append((nats, slopes))
        return pairs

    (nats, slopes), (few_nats, few_slopes) = jax.jit(jax.vmap(both))(jnp.arange(4_000))
    np.testing.assert_allclose(few_nats, nats, rtol=1e-5, atol=1e-4)
    moved = 0.0
    for (path, a), b in zip(
        jax.tree.leaves_with_path(slopes), jax.tree.leaves(few_slopes), strict=True
    ):
        if path[0].key == "classifier":  # its gradient uses every class
            np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-3)
            continue
        gap = np.asarray(b - a, np.float64)
        error = gap.std(0, ddof=1) / np.sqrt(len(gap))
        np.testing.assert_array_less(np.abs(gap.mean(0)), 5 * error + 1e-3)
        moved = max(moved, error.max())
    assert moved > 1e-2  # gradients of single draws differ


def test_known_classes_are_drawn():
    labelled = rows(KNOWN)
    result = gradients(dataclasses.replace(CONFIG, gradient_classes=1), labelled)
    for got, want in zip(*map(jax.tree.leaves, (result, gradients(CONFIG, labelled))), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_unknown_labels_are_ignored_and_invalid_ones_give_nan():
    def nats(label):
        batch = {"x": BATCH["x"], "label": jnp.asarray(label, jnp.int32)}
        return np.asarray(loss(CONFIG, variables(), batch, jax.random.key(4))[0])

    result = nats(LABELS)
    # Independent of other labels, and of which negative number marks unknown ones.
    other = nats(np.where(KNOWN, (np.asarray(LABELS) + 1) % 3, -7))
    np.testing.assert_array_equal(result[~KNOWN], other[~KNOWN])
    assert (result[KNOWN] != other[KNOWN]).all()
    for config in (CONFIG, dataclasses.replace(CONFIG, gradient_classes=1)):
        batch = {"x": BATCH["x"], "label": jnp.array([0, 3, -1, 9, 1, 2, -1, 0], jnp.int32)}
        wrong = np.isnan(loss(config, variables(), batch, jax.random.key(4))[0])
        np.testing.assert_array_equal(wrong, [0, 1, 0, 1] + [0] * 4)


# Samples and the reported error.


@pytest.mark.parametrize("label", [None, 1])
def test_samples_have_the_exact_probabilities(exact, label):
    n = 40_000
    draw = jax.jit(lambda key: m2.sample(CONFIG, variables(), key, n, label=label))
    x = np.asarray(draw(jax.random.key(0))).reshape(n, -1)
    counts = np.bincount(x.astype(int) @ (2 ** np.arange(8, -1, -1)), minlength=512)
    log_p = logsumexp(exact, axis=1) if label is None else exact[:, label] + np.log(3)
    expected = n * np.exp(log_p)
    rare = expected < 5
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    assert stats.chisquare(counts, expected * n / expected.sum()).pvalue > 1e-6


def test_samples_of_several_and_of_invalid_classes():
    labels = jnp.array([0, 2, 5])
    draw = functools.partial(m2.sample, CONFIG, variables(), jax.random.key(0), 3)
    for wrong in (labels, jnp.array([0.0, 1.0, 1.7]), jnp.zeros(2, jnp.int32)):
        with pytest.raises(
            ValueError, match=r"^m2: (labels must be|p\(x \| label\) of 3 classes needs)"
        ):
            draw(label=wrong)
    x = np.asarray(
        jax.jit(lambda label: draw(label=label))(labels)
    )  # values cannot be checked there
    assert [bool(np.isnan(image).all()) for image in x] == [False, False, True]
    assert set(np.unique(x[:2])) <= {0.0, 1.0}


def test_features_are_the_mean_of_z():
    log_q = log_q_of_class(SOME)
    x = SOME.reshape(8, -1).astype(np.float64)
    means = np.stack([pair("encoder", x, y)[:, 0] for y in range(3)], axis=1)
    expected = (np.exp(log_q) * means).sum(1)
    result = jax.jit(lambda x: m2.encode(CONFIG, variables(), x))(BATCH["x"])
    np.testing.assert_allclose(result[:, 0], expected, rtol=1e-4, atol=1e-4)


def test_known_labels_select_the_class():
    """In features, KL and images; -1 averages over all classes."""
    x = SOME.reshape(8, -1).astype(np.float64)
    outs = np.stack([pair("encoder", x, y) for y in range(3)], axis=1)  # [8, C, mean and variance]
    z = np.linspace(-2, 2, 8)
    logits = np.stack([pair("decoder", z[:, None], y) for y in range(3)], axis=1)

    def of_classes(each, shares):
        own = np.eye(3)[np.maximum(LABELS, 0)]
        return np.einsum("bc,bc...->b...", np.where(KNOWN[:, None], own, shares), each)

    def result(function, a):
        of_label = jax.jit(lambda a: function(CONFIG, variables(), a, label=LABELS))
        return np.asarray(of_label(a), np.float64)

    q = np.exp(log_q_of_class(SOME))
    mean, log_variance = outs[..., 0], outs[..., 1]
    kl = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    close(result(m2.encode, BATCH["x"])[:, 0], of_classes(mean, q))
    close(result(functools.partial(core.kl_units, m2), BATCH["x"])[:, 0], of_classes(kl, q))
    decode = lambda *args, **label: m2.likelihood(*args, **label).mean()  # noqa: E731
    images = result(decode, jnp.asarray(z, jnp.float32)[:, None])
    assert images.shape == (8, 3, 3, 1)
    close(images.reshape(8, -1), of_classes(1 / (1 + np.exp(-logits)), np.full((8, 3), 1 / 3)))


def test_rejects_another_share_of_labels(tmp_path):
    """Else the weight of the classification loss would be wrong."""
    run = small_run("m2", write_data(tmp_path), steps=12)  # with labelled=1
    few = dataclasses.replace(run.data, labels_per_class=5)
    match = "`labelled` is 1, but 0.0625 of the training .* set --labelled 0.0625, or the"
    with pytest.raises(ValueError, match=match):
        fit(dataclasses.replace(run, data=few), tmp_path / "run", quiet=True)
    assert m2.traits(run.model).labelled == 1
    check_labelled(0.72, np.arange(9) % 3 - 1)
    with pytest.raises(ValueError, match="no training example has a label"):
        check_labelled(1.0, np.full(4, -1))


def test_run_reports_the_classification_error(tmp_path):
    run = small_run("m2", write_data(tmp_path), steps=12)
    few = dataclasses.replace(run.data, labels_per_class=5)
    model = dataclasses.replace(run.model, labelled=15 / 240)
    run = dataclasses.replace(run, data=few, model=model)
    record = fit(run, tmp_path / "run", quiet=True).record
    assert (record["metric"], record["unit"]) == ("test classification error", "%")
    assert "bound_samples" not in record
    _, state = load(tmp_path / "run")
    with np.load(run.data.data) as file:
        x, label = file["test"].astype(np.float32), file["test_label"]
    predicted = np.asarray(m2.classify(model, state, jnp.asarray(x))).argmax(1)
    assert record["obtained"] == pytest.approx(100 * np.mean(predicted != label), abs=1e-4)
    assert 0 < record["obtained"] < 100
    lines = [json.loads(s) for s in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    name = "validation_classification_error"
    values = [line[name] for line in lines if name in line]
    assert len(values) == 3
    assert min(values) == record["validation"]
    # Training used 15 labels of 240.
    shares = [line["labelled"] for line in lines if "labelled" in line]
    assert 0 < np.mean(shares) < 0.2
    # The likelihood can be evaluated too.
    nll = evals.nll(m2, model, state, x, jax.random.key(0), num_samples=3)
    assert nll.shape == (80,)
    assert (nll > 0).all()


def test_rejects_data_without_labels_before_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_npz(Dataset("bare", {"train": {"x": np.zeros((20, 3, 3, 1), np.uint8)}}, 2), "bare.npz")
    with pytest.raises(ValueError, match=r"^m2 also trains on label, but bare.npz has only x; use"):
        fit(small_run("m2", "bare.npz"), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_number_of_parameters_of_the_papers_networks():
    shapes = jax.eval_shape(lambda key: m2.init(m2.Config(), key), jax.random.key(0))
    sizes = {k: sum(p.size for p in jax.tree.leaves(v)) for k, v in shapes["params"].items()}
    # 784-500-10, (784 + 10)-500-2x50 and (50 + 10)-500-784.
    assert sizes == {
        "classifier": 785 * 500 + 501 * 10,
        "encoder": 795 * 500 + 501 * 100,
        "decoder": 61 * 500 + 501 * 784,
    }


def test_initial_parameters():
    small = m2.init(m2.Config(), jax.random.key(0))["params"]
    for leaf in jax.tree.leaves(small):
        assert leaf.size < 1000 or float(leaf.std()) == pytest.approx(1e-3, rel=0.05)
        assert 0 < float(jnp.abs(leaf).max()) < 6e-3
    kernel = small["decoder"]["MLP_0"]["out"]["kernel"]
    other = m2.init(m2.Config(), jax.random.key(1))["params"]["decoder"]["MLP_0"]["out"]["kernel"]
    assert np.abs(np.corrcoef(kernel.ravel(), other.ravel())[0, 1]) < 0.01
    # The initial classifier is uniform.
    log_q = m2.classify(m2.Config(), {"params": small}, jnp.ones((2, 28, 28, 1)))
    np.testing.assert_allclose(np.exp(log_q), 0.1, atol=0.01)
    lecun = m2.init(m2.Config(weights="lecun"), jax.random.key(0))["params"]
    kernel = lecun["decoder"]["MLP_0"]["out"]["kernel"]
    assert float(kernel.std()) == pytest.approx(500**-0.5, rel=0.05)


def test_rejects_inconsistent_settings():
    for share in (0, 1.5):
        with pytest.raises(ValueError, match="`labelled` must be a number in"):
            m2.Config(labelled=share)
    with pytest.raises(ValueError, match="`alpha` must be a non-negative number"):
        m2.Config(alpha=-1)
    with pytest.raises(ValueError, match="`gradient_classes` must be a non-negative integer"):
        m2.Config(gradient_classes=-1)
    with pytest.raises(ValueError, match="`gradient_classes` 4 exceeds the 3 classes"):
        dataclasses.replace(CONFIG, gradient_classes=4)


def test_bounds_sum_over_classes_whatever_the_label():
    config = m2.tiny()
    variables = m2.init(config, jax.random.key(0))
    x, key = jnp.ones((3, *config.shape)), jax.random.key(1)
    for bound in (m2.elbo, m2.log_weight):
        plain = jax.jit(lambda v, x, bound=bound: bound(config, v, x, key))(variables, x)
        labelled = jax.jit(
            lambda v, x, bound=bound: bound(config, v, x, key, label=jnp.zeros(3, jnp.int32))
        )(variables, x)
        np.testing.assert_array_equal(plain, labelled)
