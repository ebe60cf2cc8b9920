"""Instruments by name on families made for the purpose: what they are shown, and what they say."""

import dataclasses
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.core import Traits
from genjax.data import Dataset
from genjax.evals import (
    METRICS,
    EvalContext,
    draw_modes,
    fid,
    grid_centres,
    inception_score,
    information,
    kid,
    metric_settings,
    parzen,
    registry,
    swd,
    train_classifier,
)
from genjax.evals.context import random_rows
from genjax.evals.inception import pretrained, scores
from genjax.families import infogan

KEY = jax.random.key(3)
RNG = np.random.default_rng(0)


@dataclasses.dataclass(frozen=True)
class Config:
    shape: tuple[int, ...] = (4, 4, 1)


def family(sample, data="images", sample_range=(0.0, 1.0), **exports):
    return types.SimpleNamespace(
        __name__="rooms.fake",
        traits=lambda config: Traits(data=data, density="none", sample_range=sample_range),
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


def subject(fake=SYMMETRIC, data=None, shape=(4, 4, 1), **settings):
    config = Config(shape)
    return EvalContext(fake, config, jnp.float32(1), data or dataset(shape), KEY, **settings)


def test_both_sides_run_from_zero_to_one():
    s = subject(batch_size=7)
    raw, unit = s.raw(50), s.fake(50)
    assert raw.min() < -0.9
    np.testing.assert_allclose(unit, (raw + 1) / 2, atol=1e-6)
    real = s.real("test")
    np.testing.assert_allclose(real, s.dataset.splits["test"]["x"] / 255, atol=1e-6)
    five = random_rows(40, 5)
    np.testing.assert_allclose(s.given("test", 5), 2 * real[five] - 1, atol=1e-6)  # as it trains


def test_a_longer_draw_begins_like_a_shorter_one():
    few, many = subject(batch_size=7).raw(9), subject(batch_size=7)
    long = many.raw(30)
    assert long.shape == (30, 4, 4, 1)
    np.testing.assert_array_equal(few, long[:9])
    np.testing.assert_array_equal(many.raw(9), few)  # and is not drawn again
    assert len(np.unique(long.reshape(30, -1), axis=0)) == 30  # no batch comes twice
    assert len(np.unique(subject(batch_size=1).raw(5).reshape(5, -1), axis=0)) == 5


def test_binarised_data_is_what_the_family_saw():
    binary = family(lambda c, v, key, n: jnp.zeros((n, *c.shape)), data="binary")
    two = dataset(levels=2)
    np.testing.assert_array_equal(subject(binary, two).real("test"), two.splits["test"]["x"])
    grey = dataset()
    with pytest.raises(ValueError, match="made has 256 levels and the model makes binary data"):
        subject(binary, grey).real("test")
    s = subject(binary, grey, transform="dynamic", binarize_seed=4)
    whole = s.real("test")
    assert set(np.unique(whole)) == {0, 1}
    np.testing.assert_array_equal(s.real("test", 6), whole[random_rows(40, 6)])
    other = subject(binary, grey, transform="dynamic", binarize_seed=5).real("test")
    assert (other != whole).any()


def test_some_rows_stand_for_all_where_a_split_is_sorted_by_class():
    x, label = np.arange(500).reshape(500, 1, 1, 1).astype(np.float32), np.arange(500) // 50
    label[:50] = -1  # a class that nobody named
    splits = {"train": {"x": x, "label": label}}
    s = subject(data=Dataset("sorted", splits, 0), shape=(1, 1, 1), transform="none")
    given, names = s.known("train", 100)
    assert sorted(set(names)) == list(range(1, 10))
    np.testing.assert_array_equal(given.ravel() // 50, names)
    assert len(np.unique(given)) == 100
    rows = s.split("train", 40)
    assert len(set(rows["label"])) > 7
    np.testing.assert_array_equal(rows["label"], label[rows["x"].ravel().astype(int)])
    np.testing.assert_array_equal(s.given("train", 40), rows["x"])
    np.testing.assert_array_equal(s.split("train", 500)["x"], x)
    assert len(s.split("train", 900)["x"]) == 500
    assert set(random_rows(500, 40)) < set(random_rows(500, 100))

    class OnDisk:
        shape = (1, 1, 1)

        def __len__(self):
            return 500

        def read(self, indices, names=None):
            return {k: v[indices] for k, v in splits["train"].items()}

    data = Dataset("sorted", {}, 0, streams={"train": OnDisk()})
    streamed = subject(data=data, shape=(1, 1, 1), transform="none").split("train", 40)
    np.testing.assert_array_equal(streamed["x"], rows["x"])


def test_a_measurement_is_the_function_on_the_draws():
    s = subject()
    got = registry("parzen", SYMMETRIC, Config(), jnp.float32(1), s.dataset, KEY, samples=50)
    want = parzen(s.fake(50), s.real("validation"), s.real("test"), seed=s.seed).as_dict()
    assert got == {"instrument": "parzen", **want}
    assert (got["n_real"], got["n_fake"], got["n_validation"]) == (40, 50, 30)
    assert got["seed"] == subject().seed
    again = registry("parzen", SYMMETRIC, Config(), jnp.float32(0.5), s.dataset, KEY, samples=50)
    assert again["nats"] != got["nats"]  # other variables are another model


def conditional(config, variables, key, n, label=None):
    """Bright on the side that the label says."""
    base = jax.random.uniform(key, (n, *config.shape)) * 0.5
    label = jnp.zeros(n, jnp.int32) if label is None else label
    place = jnp.arange(config.shape[1])[None] // (config.shape[1] // 2) == label[:, None]
    return base + 0.5 * place[:, None, :, None] * variables


def labelled(n=300):
    """Real images of the same kind, 16 x 16 in two classes."""
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
    conditional, encode=lambda c, v, x: x.mean(axis=(1, 3)) * jnp.ones((1, c.shape[1]))
)


@pytest.mark.parametrize(
    "name",
    [
        *("parzen", "classifier_frechet", "classifier_kernel", "swd", "ms_ssim"),
        *("precision_recall", "neighbours", "accuracy_score", "svm"),
    ],
)
def test_every_instrument_says_what_it_was(name, sides, two_sides):
    settings = {"samples": 120} if "samples" in metric_settings(name) else {}
    config = Config((16, 16, 1))
    options = {"classifier": two_sides, "classifier_steps": 40, **settings}
    got = registry(name, CONDITIONAL, config, jnp.float32(1), sides, KEY, **options)
    assert got == json.loads(json.dumps(got))
    assert got["instrument"] == name
    assert got["n_fake"] == (0 if name == "svm" else 120)
    assert got["n_real"] > 0
    kept = {"classifier_frechet", "classifier_kernel", "precision_recall"}
    if name in kept:
        assert got["extractor"] == two_sides.extractor.label
    if name == "accuracy_score":
        # Samples have the sides their labels say, and teach them.
        assert got["accuracy"] > 0.95
        assert got["real_accuracy"] > 0.95
    if name == "svm":
        assert got["accuracy"] > 0.95  # the columns' means tell the side
        assert got["extractor"] == "fake"
    if name == "swd":
        s = EvalContext(CONDITIONAL, config, jnp.float32(1), sides, KEY)
        want = swd(s.real("train", 120), s.fake(120), images=120, seed=s.seed).as_dict()
        assert got == {"instrument": "swd", **want}


@pytest.fixture
def small_inception(monkeypatch):
    """Under the standard file's hash, but of two features and two classes, for time."""

    def run(variables, x):
        features = jnp.stack([x.mean(axis=(1, 2, 3)), x.std(axis=(1, 2, 3))], axis=1)
        return features, 9 * features + variables["params"]["fc"]["bias"][None]

    monkeypatch.setattr(scores, "_run", run)
    return pretrained.Inception(
        {"params": {"fc": {"bias": jnp.array([0.5, -3.0])}}}, pretrained.STANDARD
    )


@pytest.mark.parametrize("name", ["fid", "kid", "inception_score"])
def test_the_standard_networks_figures_by_name(name, small_inception):
    s = subject(weights=small_inception)
    mine = {"splits": 3} if name == "inception_score" else {"split": "test"}
    got = registry(
        name, SYMMETRIC, s.config, s.variables, s.dataset, KEY, weights=small_inception,
        samples=35, **mine,
    )  # fmt: skip
    fake, counts = s.fake(35), (0 if name == "inception_score" else 40, 35)
    if name == "fid":  # all of the real images
        want = fid(s.real("test"), fake, small_inception, seed=s.seed)
    elif name == "kid":  # as many of each
        counts = 35, 35
        want = kid(s.real("test", 35), fake, small_inception, seed=s.seed)
    else:
        want = inception_score(fake, small_inception, splits=3, seed=s.seed)
    assert got == {"instrument": name, **want.as_dict()}
    assert (got["n_real"], got["n_fake"]) == counts
    assert (got["extractor"], got["seed"]) == ("inception:6726825d", s.seed)
    with pytest.raises(ValueError, match="the standard Inception network is not here"):
        METRICS[name](subject(), samples=35)


def test_information_by_name_is_the_function_on_the_key():
    config, data = infogan.tiny(), dataset((3, 3, 1))
    told = lambda config, variables, key, n: [  # noqa: E731
        jax.random.normal(jax.random.fold_in(key, i), (n,)) * variables for i in range(3)
    ]
    spoken = family(noise, code_information=told, parts=infogan.parts)
    got = registry("information", spoken, config, jnp.float32(2), data, KEY, samples=30)
    s = EvalContext(spoken, config, jnp.float32(2), data, KEY)
    want = information(spoken, config, jnp.float32(2), KEY, samples=30, seed=s.seed).as_dict()
    assert got == {"instrument": "information", **want}
    assert (got["n_real"], got["n_fake"], got["extractor"]) == (0, 30, "fake")


def test_the_linear_svm_is_held_against_raw_pixels():
    """Features that say nothing, of points one number of which tells the class, if faintly."""
    splits, rng = {}, np.random.default_rng(0)
    for name, n in (("train", 60), ("validation", 40), ("test", 200)):
        label = np.arange(n) % 2
        x = rng.uniform(0, 1, (n, 1, 2, 1)).astype(np.float32)
        x[:, 0, 1, 0] = 0.5 + 0.1 * label
        splits[name] = {"x": x, "label": label}
    blind = family(noise, encode=lambda config, variables, x: jnp.ones((len(x), 1)))
    s = subject(blind, Dataset("faint", splits, 0), (1, 2, 1))
    got = registry("svm", blind, s.config, s.variables, s.dataset, KEY, train=60)
    assert (got["accuracy"], got["strength"]) == (0.5, 1e-4)
    assert got["pixels"] > 0.9
    assert got["pixels_strength"] > 1e-4  # a weaker one looks at the louder number
    assert (got["n_real"], got["n_fake"]) == (300, 0)


@pytest.mark.parametrize("name", ["svm", "accuracy_score", "classifier_frechet"])
def test_unknown_labels_are_no_class(name, sides):
    """Eight in nine training labels are -1: what is left tells the sides apart as well."""
    label = sides.splits["train"]["label"].copy()
    label[np.arange(len(label)) % 9 > 0] = -1
    train = {**sides.splits["train"], "label": label}
    few = dataclasses.replace(sides, splits={**sides.splits, "train": train})
    s = EvalContext(CONDITIONAL, Config((16, 16, 1)), jnp.float32(1), few, KEY, classifier_steps=40)
    x, names = s.known("train", 5)
    rows = np.flatnonzero(label >= 0)
    rows = rows[random_rows(len(rows), 5)]
    np.testing.assert_array_equal(names, label[rows])
    np.testing.assert_array_equal(x, s.given("train")[rows])
    if name == "classifier_frechet":
        assert s.trained().classes == 2
        return
    got = registry(
        name, CONDITIONAL, s.config, s.variables, few, KEY, classifier_steps=40,
        **({"samples": 120} if name == "accuracy_score" else {}),
    )  # fmt: skip
    assert got["accuracy"] > 0.95
    none = dataclasses.replace(few, splits={"train": {**train, "label": 0 * label - 1}})
    with pytest.raises(ValueError, match="knows no label in train"):
        dataclasses.replace(s, dataset=none).known("train")


def test_what_cannot_be_measured_is_a_sentence(sides):
    def refused(match, name, fake=SYMMETRIC, data=None, shape=(4, 4, 1), **settings):
        with pytest.raises(ValueError, match=match) as error:
            registry(name, fake, Config(shape), jnp.float32(1), data or dataset(), KEY, **settings)
        assert "\n" not in str(error.value)

    refused("instrument must be one of parzen, fid", "parcen")
    refused("parzen has no setting n; it has .*samples", "parzen", n=3)
    refused("the standard Inception network is not here; name its file", "fid")
    refused("there is no file nowhere.pth", "kid", weights="nowhere.pth")
    refused("made has no labels in train", "classifier_frechet")
    refused("fake has no features", "svm")
    refused("cannot be asked for samples of a class", "accuracy_score", data=dataset(labels=2))
    refused("16 pixels or more", "swd")
    refused("makes pictures; modes of Gaussians are those of points", "gaussian_modes")
    refused("fake makes no stacked images", "stacked_modes", data=dataset(labels=8))
    refused(r"holds examples of shape \(16, 16, 1\) and the model makes", "parzen", data=sides)
    no_validation = dataset()
    del no_validation.splits["validation"]
    refused("made has no validation split, it has train, test", "parzen", data=no_validation)
    real = family(noise, data="real", sample_range=(-np.inf, np.inf))
    refused("makes real data and no pictures; only its modes", "parzen", real)
    refused("batch_size must be above 0", "parzen", batch_size=0)


def test_modes_are_the_labels_of_points():
    centres = grid_centres(3, 4.0)
    parts = [draw_modes(centres, 0.2, 900, seed) for seed in (1, 2, 3)]
    names = ("train", "validation", "test")
    splits = {s: {"x": x, "label": y} for s, (x, y) in zip(names, parts, strict=True)}
    # A label that is not known is no mode.
    x, y = parts[0]
    train = {"x": np.concatenate([x, 50 + x[:9]]), "label": np.append(y, np.full(9, -1))}
    made = Dataset("grid", {**splits, "train": train}, 0)

    def half(config, variables, key, n):
        """Three of nine modes, at the right width."""
        where, apart = jax.random.split(key)
        place = jnp.asarray(centres, jnp.float32)[jax.random.randint(where, (n,), 0, 3)]
        return place + 0.2 * jax.random.normal(apart, (n, 2))

    points = family(half, data="real", sample_range=(-np.inf, np.inf))
    got = registry("gaussian_modes", points, Config((2,)), jnp.float32(0), made, KEY)
    assert (got["found"], got["modes"], got["n_fake"]) == (3, 9, 2500)
    assert got["high_quality"] > 0.97
    assert got["reverse_kl"] == pytest.approx(np.log(3), abs=0.01)
    asked = {"centres": np.zeros((1, 2)), "sigma": 1.0, "samples": 30}
    one = registry("gaussian_modes", points, Config((2,)), jnp.float32(0), made, KEY, **asked)
    assert (one["modes"], one["n_fake"]) == (1, 30)
    assert (one["n_real"], got["n_real"]) == (0, 900)  # nothing was estimated; or of known points
    with pytest.raises(ValueError, match="takes centres and sigma, or neither"):
        registry("gaussian_modes", points, Config((2,)), jnp.float32(0), made, KEY, sigma=1.0)


def stacked(sides):
    """Two classes in three channels: eight modes. Of 120 test channels 12 are named wrongly."""
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


def test_stacked_images_train_a_classifier_of_channels(sides):
    s = of_stacked(sides, classifier_steps=40)
    # One of whole images, which other instruments taught, is another.
    METRICS["classifier_frechet"](s, samples=20)
    got = METRICS["stacked_modes"](s, samples=60).as_dict()
    assert (got["found"], got["modes"]) == (2, 8)
    assert got["counts"] == [0, 30, 0, 0, 0, 30, 0, 0]
    assert got["reverse_kl"] == pytest.approx(np.log(4))
    assert (got["accuracy"], got["n_real"]) == (pytest.approx(0.9), 40)
    assert {what: c.shape[-1] for what, c in s.taught.items()} == {"images": 3, "channels": 1}
    kept = of_stacked(sides, classifier=s.taught["channels"])
    again = METRICS["stacked_modes"](kept, samples=60).as_dict()
    assert again["extractor"] == got["extractor"]
    with pytest.raises(ValueError, match=r"takes \(16, 16, 1\), and the images are \(16, 16, 3\)"):
        kept.trained()


def test_the_highest_mode_may_be_missing(sides):
    """The number of classes is that of the data, not of the labels that a split happens to hold."""
    s = of_stacked(sides, classifier_steps=1)
    for split in ("train", "test"):
        label = s.dataset.splits[split]["label"]
        label[label == 7] = 6
    assert METRICS["stacked_modes"](s, samples=60).modes == 8


def test_a_model_that_has_diverged_finds_no_mode(sides):
    s = of_stacked(sides, np.nan, classifier_steps=1)
    with pytest.raises(ValueError, match="stacked_modes: fake holds a number that is not finite"):
        METRICS["stacked_modes"](s, samples=60)
    with pytest.raises(ValueError, match="neighbours: fake holds a number that is not finite"):
        METRICS["neighbours"](s, samples=20)


def test_names_are_listed_once():
    assert {"parzen", "fid", "kid", "swd", "ms_ssim"} <= set(METRICS)
    assert metric_settings("fid") == {"samples": 50_000, "split": "train"}
