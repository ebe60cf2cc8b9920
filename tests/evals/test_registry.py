"""Metrics by name, on families made for the tests: their inputs and results."""

import dataclasses
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.mixtures import draw_modes, grid_centres

from genjax.core import Traits
from genjax.data import Dataset
from genjax.evals import (
    METRICS,
    EvalContext,
    compute_metric,
    fid,
    inception_score,
    information,
    kid,
    metric_settings,
    parzen,
    swd,
    train_classifier,
)
from genjax.evals.context import random_rows
from genjax.evals.image_sets import image_batches
from genjax.evals.inception import pretrained, scores
from genjax.families import infogan

KEY = jax.random.key(3)
RNG = np.random.default_rng(0)


@dataclasses.dataclass(frozen=True)
class Config:
    shape: tuple[int, ...] = (4, 4, 1)


def family(sample, data="images", sample_range=(0.0, 1.0), conditions=(), **exports):
    return types.SimpleNamespace(
        __name__="families.fake",
        Config=Config,
        traits=lambda config: Traits(data=data, density="none", sample_range=sample_range),
        tiny=Config,
        batch_spec=lambda config, size: dict.fromkeys(("x", *conditions)),
        init=lambda config, key, batch=None: {},
        sample=sample,
        **exports,
    )


def noise(config, variables, key, n):
    """Uniform from -1 to 1, times a variable."""
    return variables * jax.random.uniform(key, (n, *config.shape), minval=-1, maxval=1)


SYMMETRIC = family(noise, sample_range=(-1.0, 1.0))


def dataset(shape=(4, 4, 1), counts=(60, 30, 40), levels=256, labels=0):
    splits = {}
    for name, n in zip(("train", "validation", "test"), counts, strict=True):
        x = RNG.integers(0, levels, (n, *shape)).astype(np.uint8)
        splits[name] = {"x": x} | ({"label": np.arange(n) % labels} if labels else {})
    return Dataset("made", splits, levels)


def whole(images):
    """Returns all images of a set, read in batches of 7."""
    return np.concatenate(list(image_batches(images, 7)))


def compute(*args, **settings):
    """Returns a metric's result as a dict."""
    return compute_metric(*args, **settings).as_dict()


def context(fake=SYMMETRIC, data=None, shape=(4, 4, 1), **settings):
    config = Config(shape)
    return EvalContext(fake, config, jnp.float32(1), data or dataset(shape), KEY, **settings)


def test_real_images_and_samples_are_scaled_to_the_unit_interval():
    c = context(batch_size=7)
    raw, unit = c.samples(50), c.fake(50)
    assert raw.min() < -0.9
    np.testing.assert_allclose(unit, (raw + 1) / 2, atol=1e-6)
    real = c.real("test")
    np.testing.assert_allclose(real, c.dataset.splits["test"]["x"] / 255, atol=1e-6)
    five = random_rows(40, 5)
    np.testing.assert_allclose(c.examples("test", 5), 2 * real[five] - 1, atol=1e-6)  # as it trains


def test_the_first_samples_do_not_depend_on_how_many_are_drawn():
    few, many = context(batch_size=7).samples(9), context(batch_size=7)
    long = many.samples(30)
    assert long.shape == (30, 4, 4, 1)
    np.testing.assert_array_equal(few, long[:9])
    np.testing.assert_array_equal(many.samples(9), few)  # cached
    assert len(np.unique(long.reshape(30, -1), axis=0)) == 30  # all batches differ
    assert len(np.unique(context(batch_size=1).samples(5).reshape(5, -1), axis=0)) == 5


def test_batches_of_samples_are_those_of_the_array(monkeypatch):
    """Those that are not kept are drawn again."""
    want = context(batch_size=7).samples(30)
    monkeypatch.setattr("genjax.evals.context.KEPT_BYTES", 15 * want[0].nbytes)
    c = context(batch_size=7)
    for start in (0, 5, 7, 16, 29):
        parts = list(c.sample_batches(30, start))
        assert max(map(len, parts)) <= 7
        np.testing.assert_array_equal(np.concatenate(parts), want[start:])
    assert sum(map(len, c._batches.values())) == 2
    np.testing.assert_array_equal(c.samples(30), want)
    np.testing.assert_array_equal(whole(c.fake_set(30)), c.fake(30))
    np.testing.assert_array_equal(whole(c.real_set("test", 15)), c.real("test", 15))


@pytest.mark.parametrize("name", ["swd", "ms_ssim", "classifier_frechet", "classifier_kernel"])
def test_metrics_ask_for_one_batch_at_a_time(name, two_sides, monkeypatch):
    """Of samples and of real images; the result is that of the arrays."""
    shape, lengths = (16, 16, 1), []
    splits = dataset(shape, counts=(60, 10, 40)).splits

    class Counting(Dataset):
        def read(self, split, rows, names=None):
            lengths.append(len(rows))
            return super().read(split, rows, names)

    settings = {"shape": shape, "batch_size": 8, "classifier": two_sides}
    c = context(data=Counting("made", splits, 256), **settings)
    arrays = context(data=Dataset("made", splits, 256), **settings)
    arrays.real_set, arrays.fake_set = arrays.real, arrays.fake
    want = METRICS[name](arrays, samples=20).as_dict()
    monkeypatch.setattr("genjax.evals.context.KEPT_BYTES", 0)
    for array in ("real", "fake", "samples", "examples"):
        monkeypatch.delattr(EvalContext, array)
    lengths.clear()
    got = METRICS[name](c, samples=20).as_dict()
    assert set(got) == set(want)
    for key, value in want.items():
        same = (
            value if isinstance(value, str | None) else pytest.approx(value, rel=1e-5, nan_ok=True)
        )
        assert got[key] == same, key
    assert sum(lengths) >= 20
    assert max(lengths) <= 8


def test_real_data_is_binarised_as_in_training():
    binary = family(lambda c, v, key, n: jnp.zeros((n, *c.shape)), data="binary")
    two = dataset(levels=2)
    np.testing.assert_array_equal(context(binary, two).real("test"), two.splits["test"]["x"])
    grey = dataset()
    with pytest.raises(ValueError, match="made has 256 levels and the model generates binary data"):
        context(binary, grey).real("test")
    c = context(binary, grey, transform="binarize('dynamic')", binarize_seed=4)
    whole = c.real("test")
    assert set(np.unique(whole)) == {0, 1}
    np.testing.assert_array_equal(c.real("test", 6), whole[random_rows(40, 6)])
    other = context(binary, grey, transform="binarize('dynamic')", binarize_seed=5).real("test")
    assert (other != whole).any()


def test_a_subset_of_rows_is_random_where_a_split_is_sorted_by_class():
    x, label = np.arange(500).reshape(500, 1, 1, 1).astype(np.float32), np.arange(500) // 50
    label[:50] = -1  # an unknown class
    splits = {"train": {"x": x, "label": label}}
    c = context(data=Dataset("sorted", splits, 0), shape=(1, 1, 1), transform="")
    chosen, names = c.labelled_examples("train", 100)
    assert sorted(set(names)) == list(range(1, 10))
    np.testing.assert_array_equal(chosen.ravel() // 50, names)
    assert len(np.unique(chosen)) == 100
    rows = c.rows("train", 40)
    assert len(set(rows["label"])) > 7
    np.testing.assert_array_equal(rows["label"], label[rows["x"].ravel().astype(int)])
    np.testing.assert_array_equal(c.examples("train", 40), rows["x"])
    np.testing.assert_array_equal(c.rows("train", 500)["x"], x)
    assert len(c.rows("train", 900)["x"]) == 500
    assert set(random_rows(500, 40)) < set(random_rows(500, 100))

    class OnDisk:
        shape = (1, 1, 1)

        def __len__(self):
            return 500

        def read(self, indices, names=None):
            return {k: v[indices] for k, v in splits["train"].items()}

    data = Dataset("sorted", {}, 0, streams={"train": OnDisk()})
    streamed = context(data=data, shape=(1, 1, 1), transform="").rows("train", 40)
    np.testing.assert_array_equal(streamed["x"], rows["x"])


@pytest.mark.parametrize(
    ("split", "n", "counts", "want"),
    [
        ("train", 30, (60, 30, 40), ("train", 30)),  # both fit into one split
        ("train", 31, (60, 30, 40), ("test", 31)),  # the largest other one
        ("test", 90, (60, 30, 40), ("train", 40)),  # as many as `real` has
        ("train", 90, (60, 30, 40), ("test", 40)),
    ],
)
def test_other_real_images_are_disjoint(split, n, counts, want):
    images = np.arange(130, dtype=np.float32).reshape(130, 1, 1, 1) / 130
    splits, start = {}, 0
    for name, count in zip(("train", "validation", "test"), counts, strict=True):
        splits[name], start = {"x": images[start : start + count]}, start + count
    c = context(data=Dataset("made", splits, 0), shape=(1, 1, 1), transform="")
    real, other = c.real(split, n).ravel(), whole(c.other_real(split, n)).ravel()
    assert len(set(other)) == len(other) == want[1]
    assert not set(real) & set(other)
    pool = (splits[want[0]]["x"].ravel() + 1) / 2  # the range of samples is -1 to 1
    assert set(other) <= set(pool)


def test_other_real_images_of_a_single_split_are_what_is_left():
    x = np.arange(10, dtype=np.float32).reshape(10, 1, 1, 1) / 10
    c = context(data=Dataset("made", {"train": {"x": x}}, 0), shape=(1, 1, 1), transform="")
    real, other = c.real("train", 7), whole(c.other_real("train", 7))
    assert sorted(np.concatenate([real, other]).ravel()) == sorted(((x + 1) / 2).ravel())
    assert len(c.other_real("train", 10)) == 0


@pytest.mark.parametrize(
    ("name", "figure"), [("swd", "average"), ("classifier_frechet", "distance")]
)
def test_distances_have_that_of_real_images_beside(name, figure, two_sides):
    """Samples of the data's own distribution reach it, up to chance; others do not."""
    shape = (16, 16, 1)
    uniform = dataset(shape, counts=(400, 10, 300))
    options = {"classifier": two_sides, "samples": 200}
    args = Config(shape), jnp.float32(1), uniform, KEY
    same = family(lambda c, v, key, n: jax.random.uniform(key, (n, *c.shape)))
    got = compute_metric(name, same, *args, **options)
    beside = got.real_figure()
    assert beside == getattr(got, f"real_{figure}") > 0
    assert getattr(got, figure) == pytest.approx(beside, rel=0.35)
    assert got.real_images == 200  # of swd all 400 of train, else 200 of test and 200 of train
    rows = family(lambda c, v, key, n: same.sample(c, v, key, n)[:, :, :1].repeat(16, axis=2))
    other = compute_metric(name, rows, *args, **options)
    assert other.real_figure() == beside
    assert getattr(other, figure) > 3 * beside
    if name == "swd":
        assert got.real_average == pytest.approx(np.mean(list(got.real_levels.values())))
        assert list(got.real_levels) == list(got.levels) == [16]


def test_a_metric_equals_its_function_on_samples_and_data():
    c = context()
    got = compute("parzen", SYMMETRIC, Config(), jnp.float32(1), c.dataset, KEY, samples=50)
    want = parzen(c.fake(50), c.real("validation"), c.real("test"), seed=c.seed).as_dict()
    assert got == want
    assert (got["n_real"], got["n_fake"], got["n_validation"]) == (40, 50, 30)
    assert got["seed"] == context().seed
    again = compute("parzen", SYMMETRIC, Config(), jnp.float32(0.5), c.dataset, KEY, samples=50)
    assert again["nats"] != got["nats"]  # the variables are used


def conditional(config, variables, key, n, label=None):
    """Images that are bright on the side given by the label."""
    base = jax.random.uniform(key, (n, *config.shape)) * 0.5
    label = jnp.zeros(n, jnp.int32) if label is None else label
    place = jnp.arange(config.shape[1])[None] // (config.shape[1] // 2) == label[:, None]
    return base + 0.5 * place[:, None, :, None] * variables


def labelled(n=300):
    """Real images from the same distribution, 16 x 16 in two classes."""
    splits = {}
    for i, name in enumerate(("train", "validation", "test")):
        label = np.arange(n) % 2
        key = jax.random.key(100 + i)
        x = conditional(Config((16, 16, 1)), 1.0, key, n, jnp.asarray(label))
        splits[name] = {"x": np.asarray(x), "label": label}
    return Dataset("sides", splits, 0)


@pytest.fixture(scope="module")
def sides():
    return labelled()


@pytest.fixture(scope="module")
def two_sides(sides):
    train = sides.splits["train"]
    return train_classifier(train["x"], train["label"], steps=40)


CONDITIONAL = family(
    conditional,
    conditions=("label",),
    encode=lambda c, v, x: x.mean(axis=(1, 3)) * jnp.ones((1, c.shape[1])),
)


@pytest.mark.parametrize(
    "name",
    [
        *("parzen", "classifier_frechet", "classifier_kernel", "swd", "ms_ssim"),
        *("precision_recall", "neighbours", "accuracy_score", "svm"),
    ],
)
def test_every_result_states_counts_and_extractor(name, sides, two_sides):
    settings = {"samples": 120} if "samples" in metric_settings(name) else {}
    config = Config((16, 16, 1))
    options = {"classifier": two_sides, "classifier_steps": 40, **settings}
    got = compute(name, CONDITIONAL, config, jnp.float32(1), sides, KEY, **options)
    assert got == json.loads(json.dumps(got))
    assert got["n_fake"] == (0 if name == "svm" else 120)
    assert got["n_real"] > 0
    kept = {"classifier_frechet", "classifier_kernel", "precision_recall"}
    if name in kept:
        assert got["extractor"] == two_sides.extractor.label
    if name == "accuracy_score":
        # Samples match their labels, so a classifier learns the classes from them.
        assert got["accuracy"] > 0.95
        assert got["real_accuracy"] > 0.95
    if name == "svm":
        assert got["accuracy"] > 0.95  # the columns' means separate the classes
        assert got["extractor"] == "fake"
    if name == "swd":
        c = EvalContext(CONDITIONAL, config, jnp.float32(1), sides, KEY)
        want = swd(c.real("train", 120), c.fake(120), images=120, seed=c.seed).as_dict()
        assert {k: v for k, v in got.items() if not k.startswith("real_")} == {
            k: v for k, v in want.items() if not k.startswith("real_")
        }


@pytest.fixture
def small_inception(monkeypatch):
    """A fast network of two features and two classes, with the standard file's hash."""

    def run(variables, x):
        features = jnp.stack([x.mean(axis=(1, 2, 3)), x.std(axis=(1, 2, 3))], axis=1)
        return features, 9 * features + variables["params"]["fc"]["bias"][None]

    monkeypatch.setattr(scores, "_run", run)
    return pretrained.Inception(
        {"params": {"fc": {"bias": jnp.array([0.5, -3.0])}}}, pretrained.STANDARD
    )


@pytest.mark.parametrize("name", ["fid", "kid", "inception_score"])
def test_inception_metrics_equal_their_functions(name, small_inception):
    c = context(weights=small_inception)
    mine = {"splits": 3} if name == "inception_score" else {"split": "test"}
    got = compute(
        name, SYMMETRIC, c.config, c.variables, c.dataset, KEY, weights=small_inception,
        samples=35, **mine,
    )  # fmt: skip
    fake, counts = c.fake(35), (0 if name == "inception_score" else 40, 35)
    if name == "fid":  # all of the real images
        want = fid(c.real("test"), fake, small_inception, seed=c.seed)
    elif name == "kid":  # as many of each
        counts = 35, 35
        want = kid(c.real("test", 35), fake, small_inception, seed=c.seed)
    else:
        want = inception_score(fake, small_inception, splits=3, seed=c.seed)
    assert got == want.as_dict()
    assert (got["n_real"], got["n_fake"]) == counts
    assert (got["extractor"], got["seed"]) == ("inception:6726825d", c.seed)
    with pytest.raises(ValueError, match="weights of the standard Inception network are not set"):
        METRICS[name](context(), samples=35)


def test_information_equals_its_function():
    config, data = infogan.tiny(), dataset((3, 3, 1))
    posterior = lambda config, variables, x: infogan._split(  # noqa: E731
        config, variables * x.reshape(len(x), -1)
    )
    fake = family(
        noise,
        codes=infogan.codes,
        code_posterior=posterior,
        noise=infogan.noise,
        generate=lambda config, variables, z: z,  # `[n, Z + C]`, as many as q has outputs
    )
    got = compute("information", fake, config, jnp.float32(2), data, KEY, samples=30)
    c = EvalContext(fake, config, jnp.float32(2), data, KEY)
    want = information(fake, config, jnp.float32(2), KEY, samples=30, seed=c.seed).as_dict()
    assert got == want
    assert (got["n_real"], got["n_fake"], got["extractor"]) == (0, 30, "fake")


def test_svm_compares_features_with_pixels():
    """Constant features, and points of which one weak coordinate determines the class."""
    splits, rng = {}, np.random.default_rng(0)
    for name, n in (("train", 60), ("validation", 40), ("test", 200)):
        label = np.arange(n) % 2
        x = rng.uniform(0, 1, (n, 1, 2, 1)).astype(np.float32)
        x[:, 0, 1, 0] = 0.5 + 0.1 * label
        splits[name] = {"x": x, "label": label}
    blind = family(noise, encode=lambda config, variables, x: jnp.ones((len(x), 1)))
    c = context(blind, Dataset("faint", splits, 0), (1, 2, 1))
    got = compute("svm", blind, c.config, c.variables, c.dataset, KEY, train=60)
    assert (got["accuracy"], got["strength"]) == (0.5, 1e-4)
    assert got["pixels"] > 0.9
    assert got["pixels_strength"] > 1e-4  # a smaller C fits the coordinate of larger variance
    assert (got["n_real"], got["n_fake"]) == (300, 0)


@pytest.mark.parametrize("name", ["svm", "accuracy_score", "classifier_frechet"])
def test_examples_with_unknown_labels_are_excluded(name, sides):
    """Eight in nine training labels are -1; the others suffice to classify."""
    label = sides.splits["train"]["label"].copy()
    label[np.arange(len(label)) % 9 > 0] = -1
    train = {**sides.splits["train"], "label": label}
    few = dataclasses.replace(sides, splits={**sides.splits, "train": train})
    c = EvalContext(CONDITIONAL, Config((16, 16, 1)), jnp.float32(1), few, KEY, classifier_steps=40)
    x, names = c.labelled_examples("train", 5)
    rows = np.flatnonzero(label >= 0)
    rows = rows[random_rows(len(rows), 5)]
    np.testing.assert_array_equal(names, label[rows])
    np.testing.assert_array_equal(x, c.examples("train")[rows])
    if name == "classifier_frechet":
        assert c.image_classifier().classes == 2
        return
    got = compute(
        name, CONDITIONAL, c.config, c.variables, few, KEY, classifier_steps=40,
        **({"samples": 120} if name == "accuracy_score" else {}),
    )  # fmt: skip
    assert got["accuracy"] > 0.95
    none = dataclasses.replace(few, splits={"train": {**train, "label": 0 * label - 1}})
    with pytest.raises(ValueError, match=r"all labels of sides in train are -1"):
        dataclasses.replace(c, dataset=none).labelled_examples("train")


def test_rejects_metrics_that_do_not_apply(sides):
    def rejects(match, name, fake=SYMMETRIC, data=None, shape=(4, 4, 1), **settings):
        with pytest.raises(ValueError, match=match) as error:
            compute(name, fake, Config(shape), jnp.float32(1), data or dataset(), KEY, **settings)
        assert "\n" not in str(error.value)

    rejects("`metric` must be one of parzen, fid", "parcen")
    rejects("parzen has no setting n; it has .*samples", "parzen", n=3)
    rejects("weights of the standard Inception network are not set; pass their file", "fid")
    rejects("there is no file nowhere.pth", "kid", weights="nowhere.pth")
    rejects("made has no labels in train", "classifier_frechet")
    rejects(r"fake has no features \(encode\)", "svm")
    rejects("fake does not sample by label", "accuracy_score", data=dataset(labels=2))
    rejects("16 pixels or more", "swd")
    rejects(r"fake generates images; gaussian_modes applies to points \[D\]", "gaussian_modes")
    rejects("fake does not generate stacked images", "stacked_modes", data=dataset(labels=8))
    rejects(r"has examples of shape \(16, 16, 1\), and the model generates", "parzen", data=sides)
    no_validation = dataset()
    del no_validation.splits["validation"]
    rejects("made has no validation split, it has train, test", "parzen", data=no_validation)
    real = family(noise, data="real", sample_range=(-np.inf, np.inf))
    rejects("generates real data, not images", "parzen", real)
    rejects("`batch_size` must be positive", "parzen", batch_size=0)


def test_gaussian_modes_are_estimated_from_labels():
    centres = grid_centres(3, 4.0)
    parts = [draw_modes(centres, 0.2, 900, seed) for seed in (1, 2, 3)]
    names = ("train", "validation", "test")
    splits = {s: {"x": x, "label": y} for s, (x, y) in zip(names, parts, strict=True)}
    # Examples with an unknown label are no mode.
    x, y = parts[0]
    train = {"x": np.concatenate([x, 50 + x[:9]]), "label": np.append(y, np.full(9, -1))}
    made = Dataset("grid", {**splits, "train": train}, 0)

    def half(config, variables, key, n):
        """Three of nine modes, with the right standard deviation."""
        where, apart = jax.random.split(key)
        place = jnp.asarray(centres, jnp.float32)[jax.random.randint(where, (n,), 0, 3)]
        return place + 0.2 * jax.random.normal(apart, (n, 2))

    points = family(half, data="real", sample_range=(-np.inf, np.inf))
    got = compute("gaussian_modes", points, Config((2,)), jnp.float32(0), made, KEY)
    assert (got["found"], got["modes"], got["n_fake"]) == (3, 9, 2500)
    assert got["high_quality"] > 0.97
    assert got["reverse_kl"] == pytest.approx(np.log(3), abs=0.01)
    settings = {"centres": np.zeros((1, 2)), "sigma": 1.0, "samples": 30}
    one = compute("gaussian_modes", points, Config((2,)), jnp.float32(0), made, KEY, **settings)
    assert (one["modes"], one["n_fake"]) == (1, 30)
    assert (one["n_real"], got["n_real"]) == (
        0,
        900,
    )  # n_real counts the points that modes are estimated from
    with pytest.raises(ValueError, match="pass both centres and sigma, or neither"):
        compute("gaussian_modes", points, Config((2,)), jnp.float32(0), made, KEY, sigma=1.0)


def stacked(sides):
    """Two classes in three channels: eight modes. Of 120 test channels 12 have a wrong label."""
    train = sides.splits["train"]
    picks = RNG.integers(0, 300, (300, 3))
    x = train["x"][picks, ..., 0].transpose(0, 2, 3, 1)
    label = (train["label"][picks] * [4, 2, 1]).sum(axis=1)
    test = {"x": x[:40], "label": label[:40].copy()}
    test["label"][:12] ^= 1
    return Dataset("stacked", {"train": {"x": x, "label": label}, "test": test}, 0)


def two(config, variables, key, n):
    """Two of the modes, 001 and 101."""
    channels = [
        conditional(Config((16, 16, 1)), variables, jax.random.fold_in(key, c), n, y)
        for c, y in enumerate((jnp.arange(n) % 2, jnp.zeros(n, int), jnp.ones(n, int)))
    ]
    return jnp.concatenate(channels, axis=-1)


def of_stacked(sides, variables=1.0, **settings):
    made, config = stacked(sides), Config((16, 16, 3))
    return EvalContext(family(two), config, jnp.float32(variables), made, KEY, **settings)


def test_stacked_modes_trains_a_classifier_of_channels(sides):
    c = of_stacked(sides, classifier_steps=40)
    # The classifier of whole images, trained for another metric, is not used.
    METRICS["classifier_frechet"](c, samples=20)
    got = METRICS["stacked_modes"](c, samples=60).as_dict()
    assert (got["found"], got["modes"]) == (2, 8)
    assert got["counts"] == [0, 30, 0, 0, 0, 30, 0, 0]
    assert got["reverse_kl"] == pytest.approx(np.log(4))
    assert (got["accuracy"], got["n_real"]) == (pytest.approx(0.9), 40)
    assert {kind: c.shape[-1] for kind, c in c.trained_classifiers.items()} == {
        "images": 3,
        "channels": 1,
    }
    kept = of_stacked(sides, classifier=c.trained_classifiers["channels"])
    again = METRICS["stacked_modes"](kept, samples=60).as_dict()
    assert again["extractor"] == got["extractor"]
    assert not kept.trained_classifiers
    with pytest.raises(ValueError, match=r"takes \(16, 16, 1\), and the images are \(16, 16, 3\)"):
        kept.image_classifier()


def test_stacked_modes_counts_modes_absent_from_a_split(sides):
    """The number of classes is that of all splits."""
    c = of_stacked(sides, classifier_steps=1)
    for split in ("train", "test"):
        label = c.dataset.splits[split]["label"]
        label[label == 7] = 6
    assert METRICS["stacked_modes"](c, samples=60).modes == 8


def test_rejects_samples_that_are_not_finite(sides):
    c = of_stacked(sides, np.nan, classifier_steps=1)
    with pytest.raises(ValueError, match="stacked_modes: fake has values that are not finite"):
        METRICS["stacked_modes"](c, samples=60)
    with pytest.raises(ValueError, match="neighbours: fake has values that are not finite"):
        METRICS["neighbours"](c, samples=20)


def test_metric_settings_lists_the_defaults():
    assert {"parzen", "fid", "kid", "swd", "ms_ssim"} <= set(METRICS)
    assert metric_settings("fid") == {"samples": 50_000, "split": "train"}
