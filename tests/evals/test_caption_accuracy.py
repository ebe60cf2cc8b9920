"""The metric `caption_accuracy` on families that draw what is requested with known probability."""

import dataclasses
import itertools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.number_drawers import (
    HELD_OUT,
    SCORER,
    STEP,
    WORDS,
    Config,
    Words,
    captions_of,
    dataset,
    drawer,
    fake,
    matches,
    parse,
    shown,
    true_scores,
)

from genjax.data import Data, load
from genjax.data.dataset import CaptionCheck
from genjax.evals import EvalContext, check_metric_requirements, compute_metric, registry
from genjax.evals.caption_accuracy import best_of, pair_distance
from genjax.evals.caption_reading import CaptionReader, rows_without_common_captions
from genjax.evals.image_sets import image_batches
from genjax.evals.metric_result import MetricResult

KEY = jax.random.key(3)
DRAWER = drawer()
CONFIG = Config()


def measure(family=DRAWER, skill=1.0, data=None, config=CONFIG, **settings):
    """Computes the metric of 640 images per split, 20 captions at most."""
    settings = {"samples": 640, "batch_size": 256, **settings}
    data = data or dataset()
    return compute_metric(
        "caption_accuracy", family, config, jnp.float32(skill), data, KEY, **settings
    )


def rows(result, split, quantity):
    return {row: c[quantity][0] for row, c in result.tables[split].items() if quantity in c}


@pytest.mark.parametrize("sample_range", [(0.0, 1.0), (-1.0, 1.0)])
def test_a_perfect_drawer_is_always_right(sample_range):
    got = measure(config=Config(sample_range=sample_range))
    assert list(got.tables) == ["test", "unseen", "bindings"]
    for split in got.tables:
        assert rows(got, split, "right_1") == {"model": 1.0, "real": 1.0, "chance": 1 / 16}
        assert rows(got, split, "right_32") == {"any": 1.0}
    assert (got.split, got.figure(), got.real_figure()) == ("unseen", (100.0, 0.0, "%"), 100.0)
    # Both captions: of 12 seen pairs, 3 held out and 1 binding.
    assert got.captions == {"test": 20, "unseen": 6, "bindings": 2}
    assert got.n_fake == 32 * 28
    json.dumps(got.as_dict(), allow_nan=False)


def test_a_drawer_that_is_right_with_probability_p():
    """Best of N is as computed: by a perfect score 1 - (1 - p)^N, by a useless one p."""
    p = 0.1
    perfect = drawer(caption_scores=true_scores)
    useless = fake(
        "useless", caption_scores=lambda config, v, images, text: v * jnp.ones(len(text))
    )
    settings = {"skill": p, "samples": 64 * 320, "draws": 320, "batch_size": 3200}
    got = measure(perfect, ranker=(useless, Config(), jnp.float32(1), Words()), **settings)
    for split, captions in got.captions.items():
        n = captions * 320
        error = math.sqrt(p * (1 - p) / n)
        table = got.tables[split]
        assert abs(table["model"]["right_1"][0] - p) < 4 * error
        assert table["model"]["right_1"][1] < 4 * error
        for k in (8, 32):
            right, expected = f"right_{k}", 1 - (1 - p) ** k
            bound = 4 * math.sqrt(expected * (1 - expected) / (n // k))
            assert abs(table["any"][right][0] - expected) < bound
            assert table["own_scores"][right] == table["any"][right]
            assert abs(table["ranked"][right][0] - p) < 4 * math.sqrt(p * (1 - p) / (n // k))
    assert got.ranker == "useless"
    # The figure is of all draws: it can be computed again without the ranker.
    assert measure(perfect, **settings).figure() == got.figure()


def test_a_random_drawer_is_right_by_chance():
    family = drawer()
    family.sample = lambda config, v, key, n, *, text: jax.random.uniform(key, (n, *config.shape))
    got = measure(family, samples=6 * 640, draws=640, batch_size=3840)
    share = np.diff([0, 30, 90, 150, 210]) / 255  # of the levels that show each number
    expected = np.mean([share[a] * share[b] for a, b in HELD_OUT])
    assert abs(got.right - expected) < 4 * math.sqrt(expected / (6 * 640))


def test_the_ranker_has_a_tokenizer_and_a_range_of_its_own():
    other = (*WORDS[::-1], "with")

    @dataclasses.dataclass(frozen=True)
    class Other(Config):
        words: tuple[str, ...] = other

    config = Other(sample_range=(-1.0, 1.0))
    ranked = measure(skill=0.2, ranker=(SCORER, config, None, Words(other)))
    for split in ranked.tables:
        table = ranked.tables[split]
        assert table["ranked"] == {k: v for k, v in table["any"].items()}
        assert table["any"]["right_8"][0] > table["model"]["right_1"][0]
    with pytest.raises(ValueError, match="drawer does not score captions"):
        measure(ranker=(DRAWER, Config(), None, Words()))
    with pytest.raises(ValueError, match="the ranker takes images of"):
        measure(ranker=(SCORER, Other(shape=(4, 4, 1)), None, Words(other)))


def canonical(caption):
    return " ".join(WORDS[i] for i in parse(caption))


def table_of(family):
    """A family with the scores of all pairs, too."""
    family.score_table = lambda config, v, images, text: jax.vmap(
        lambda one: family.caption_scores(
            config, v, jnp.broadcast_to(one, (len(text), *one.shape)), text
        )
    )(images)
    return family


def test_r_precision_is_the_share_of_images_nearest_to_their_own_caption():
    """A wrong image is nearer to another of the 12 pairs of the test split, or to none."""
    never = CaptionCheck(lambda x, *args, **kw: np.zeros(len(x), bool), 1 / 16, None, canonical)
    data = dataset(caption_check=never)
    config = Config(sample_range=(-1.0, 1.0))
    ranker = table_of(fake("table", caption_scores=true_scores)), config, None, Words()
    perfect = measure(data=data, ranker=ranker)
    assert perfect.right == 0
    few = measure(data=data, ranker=ranker, samples=64)  # two captions drawn
    for (split, n), result in itertools.product({"test": 12, "unseen": 3}.items(), (perfect, few)):
        assert rows(result, split, "r_precision") == {"model": 1, "real": 1, "chance": 1 / n}
    assert not rows(perfect, "bindings", "r_precision")  # all captions say the same
    assert not rows(measure(data=data), "test", "r_precision")

    pairs = [p for p in itertools.product(range(4), repeat=2) if p not in {*HELD_OUT, (3, 3)}]
    shifts = list(itertools.product((1, 2, 3), repeat=2))
    near = []
    for a, b in pairs:
        for i, j in shifts:
            distance = [abs((a + i) % 4 - c) + abs((b + j) % 4 - d) for c, d in pairs]
            near.append(distance.count(min(distance)) == 1 and pairs[np.argmin(distance)] == (a, b))
    expected = 0.5 + 0.5 * np.mean(near)
    got, error = measure(data=data, ranker=ranker, skill=0.5, samples=768).tables["test"]["model"][
        "r_precision"
    ]
    bound = math.sqrt(expected * (1 - expected) / (12 * 32))
    assert abs(got - expected) < 4 * bound
    assert bound / 2 < error < 2 * bound


def test_captions_that_say_the_same_are_averaged_before_the_error():
    """A drawer that knows some of 12 pairs has 12 independent values, not 24."""
    partly = drawer()
    partly.sample = lambda config, v, key, n, *, text: DRAWER.sample(
        config, shown(text)[:, :1] < 2, key, n, text=text
    )
    alike = dataset(caption_check=CaptionCheck(matches, 1 / 16, None, canonical))
    each, scenes = (measure(partly, data=d, samples=768).tables["test"] for d in (None, alike))
    for row in ("model", "any"):
        right = "right_1" if row == "model" else "right_32"
        (mean, error), (same, larger) = each[row][right], scenes[row][right]
        assert mean == pytest.approx(same)
        assert larger / error == pytest.approx(math.sqrt(23 / 11))


def test_guidance_scales_are_options_of_the_sampler():
    guided = drawer({"guidance": 1.0, "temperature": 1.0})
    got = measure(guided, skill=1 / 3, guidance=(1.0, 1.5, 3.0))
    right = rows(got, "test", "right_1")
    assert right["guidance_1"] == right["model"]
    assert right["guidance_3"] == 1.0
    assert abs(right["guidance_1.5"] - 0.5) < 4 * math.sqrt(0.25 / (got.captions["test"] * 8))
    assert not any(row.startswith("guidance") for row in measure().tables["test"])


def test_distance_is_that_of_the_images_of_one_caption():
    """A perfect drawer differs in two of four pixels, uniform in [0, 1]; so do real images."""
    table = measure(samples=64 * 100).tables["test"]
    rms = table["model"]["distance"][0]
    assert rms == pytest.approx(math.sqrt(1 / 6 / 2), abs=0.03)
    assert table["real"]["distance"][0] == pytest.approx(rms, abs=0.03)

    same = drawer()
    same.sample = lambda config, v, key, n, *, text: jnp.broadcast_to(
        shown(text)[:, None, :, None] * 0.2, (n, *config.shape)
    )
    assert measure(same).tables["test"]["model"]["distance"] == (0.0, 0.0)
    assert pair_distance(np.array([[0.0, 0.0], [3.0, 4.0]])) == pytest.approx(math.sqrt(12.5))


def test_best_of_groups():
    right = np.array([[True, False, False, True, True], [False] * 5])
    scores = np.array([[1.0, 0.0, 2.0, 3.0, 9.0], np.arange(5.0)])
    np.testing.assert_array_equal(best_of(right, scores, 2), [1.0, 0.0])
    np.testing.assert_array_equal(best_of(right, -scores, 2), [0.0, 0.0])
    np.testing.assert_array_equal(best_of(right, scores, 5), [1.0, 0.0])
    scores[0, 2:4] = math.nan, -100
    np.testing.assert_array_equal(best_of(right, scores, 2), [1.0, 0.0])


def test_images_that_are_not_finite_are_wrong():
    broken = drawer()
    broken.sample = lambda *args, **kw: DRAWER.sample(*args, **kw).at[:, 1].set(jnp.nan)
    got = measure(broken)
    assert got.right == 0
    assert "distance" not in got.tables["test"]["model"]


def test_a_check_with_parts_trains_a_classifier_of_them():
    levels = np.random.default_rng(1).integers(0, 4, 400)
    wrong = np.arange(400) % 4 == 0  # a quarter of the labels are shuffled
    labels = np.where(wrong, np.random.default_rng(2).integers(0, 4, 400), levels)
    parts = (levels * 60).astype(np.uint8).reshape(-1, 1, 1, 1), labels
    check = CaptionCheck(matches, 1 / 16, parts, test_parts=(parts[0], (levels + wrong) % 4))
    data = dataset(caption_check=check)
    got = measure(data=data, classifier_steps=200)
    assert got.right == 1
    assert got.real_right == 1
    assert got.classifier_error == 0.25  # of the test labels
    assert measure().classifier_error is None


def test_real_images_with_wrong_captions_lower_the_ceiling():
    data = dataset()
    captions = data.splits["unseen"]["caption"]
    captions[:30, 1] = "three three"  # one of two captions, of half of the images
    assert measure(data=data).real_right == pytest.approx(0.75)
    captions[:30, 1] = ""  # images of one caption
    assert measure(data=data).real_right == 1


def test_samples_of_other_metrics_are_of_captions_of_the_split_that_is_compared(monkeypatch):
    data = dataset()
    of_test = {(0, 3), (3, 0)}
    test = [pair in of_test for pair in map(parse, data.splits["test"]["caption"][:, 0])]
    data.splits["test"] = {k: v[test] for k, v in data.splits["test"].items()}
    c = EvalContext(DRAWER, Config(), jnp.float32(1), data, KEY, batch_size=50)

    def pairs(images):
        return {tuple(p) for p in np.rint(images[:, 0, :, 0] * 255 / STEP).astype(int).tolist()}

    assert pairs(c.samples(400)) == of_test
    assert pairs(c.samples(400, "unseen")) == HELD_OUT
    np.testing.assert_array_equal(c.samples(70), c.samples(400)[:70])
    compared = []

    def distance(*sets, seed):
        compared.append([pairs(np.concatenate(list(image_batches(x, 99)))) for x in sets[:2]])
        return MetricResult(n_real=0, n_fake=0, extractor="", seed=seed)

    monkeypatch.setattr(registry, "fid", distance)
    monkeypatch.setattr(EvalContext, "inception", lambda c: None)
    for split in ({}, {"split": "unseen"}, {"split": "train"}):
        compute_metric("fid", DRAWER, CONFIG, jnp.float32(1), data, KEY, samples=400, **split)
    assert compared[:2] == [[of_test] * 2, [HELD_OUT] * 2]
    assert compared[2][0] == compared[2][1]
    assert len(compared[2][0]) == 12
    nearest = compute_metric("neighbours", DRAWER, CONFIG, jnp.float32(1), data, KEY, samples=60)
    assert nearest.n_fake == 60


def test_captions_of_chosen_rows_are_not_shared():
    captions = captions_of([(0, 1), (1, 1), (0, 1), (2, 1)])
    captions[1, 1] = captions[3, 0]
    chosen = rows_without_common_captions(captions, 4)
    assert len(chosen) == 2
    assert rows_without_common_captions(captions, 1).tolist() == chosen[:1].tolist()
    own = [set(captions[row]) for row in chosen]
    assert not own[0] & own[1]
    assert parse(captions[0, 1]) == (0, 1)


def test_requirements():
    config, data = Config(), dataset()
    check_metric_requirements("caption_accuracy", DRAWER, config, data)
    plain = dataset(caption_check=None)
    with pytest.raises(ValueError, match="numbers cannot tell; use data made by rule"):
        check_metric_requirements("caption_accuracy", DRAWER, config, plain)
    with pytest.raises(ValueError, match="cannot tell whether an image shows its caption"):
        measure(data=plain)
    for name in ("caption_accuracy", "swd"):  # samples need texts
        with pytest.raises(ValueError, match="not encoded; set --tokenizer words"):
            check_metric_requirements(name, DRAWER, Config((16, 16, 1)), dataset(tokenizer=None))
    with pytest.raises(ValueError, match="scorer scores captions and samples none; use caption_re"):
        check_metric_requirements("neighbours", SCORER, config, data)
    with pytest.raises(ValueError, match="implement TextToImage, and scorer does not"):
        check_metric_requirements("caption_accuracy", SCORER, config, data)
    with pytest.raises(ValueError, match="has 6 tokens, and drawer has 5; use the"):
        measure(config=Config(vocabulary=5))
    c = EvalContext(DRAWER, config, jnp.float32(1), data, KEY)
    smaller = dataclasses.replace(data, splits={**data.splits})
    smaller.splits["train"] = {**data.splits["train"], "x": np.zeros((60, 3, 3, 1), np.uint8)}
    c.dataset = smaller
    with pytest.raises(ValueError, match="leave out what resizes the images"):
        CaptionReader.of(c)


class Captions:
    """A tokenizer of whole captions: one token each."""

    def __init__(self, captions):
        self.numbers = {caption: i + 1 for i, caption in enumerate(captions)}
        self.size = len(self.numbers) + 1

    def encode(self, captions, length):
        return np.array([[self.numbers[c]] + [0] * (length - 1) for c in captions], np.int32)


@pytest.mark.parametrize(("shift", "seen"), [(0, 1.0), (1, None)])
def test_a_gallery_of_scenes(shift, seen):
    """Real images of the requested captions are right, and those of the next caption by chance."""
    data = load(Data(data="scenes", limit=300))
    every, images = [], []
    for split in ("test", "unseen", "bindings"):
        captions = data.splits[split]["caption"].ravel()
        distinct, first = np.unique(captions, return_index=True)
        every += distinct.tolist()
        images.append(np.roll(data.splits[split]["x"][first // 2], shift, axis=0))
    gallery = jnp.asarray(np.concatenate(images), jnp.float32) / 255 * 2 - 1
    family = drawer()
    family.sample = lambda config, v, key, n, *, text: v[text[:, 0] - 1]
    config = Config(shape=(32, 32, 3), vocabulary=len(every) + 1, sample_range=(-1.0, 1.0))
    data = dataclasses.replace(data, tokenizer=Captions(every))
    got = compute_metric(
        "caption_accuracy", family, config, gallery, data, KEY, samples=320, draws=4
    )
    assert got.captions == {"test": 80, "unseen": 80, "bindings": 80}
    for split in got.tables:
        right = rows(got, split, "right_1")
        assert right["real"] == 1
        assert right["model"] == seen if seen else right["model"] < 0.05
        assert right["chance"] == pytest.approx(2 / 2208)
    # Real images of a scene differ in the places of its objects, the gallery's do not.
    assert got.tables["unseen"]["real"]["distance"][0] > 0.1
    assert got.tables["unseen"]["model"]["distance"][0] == 0
