"""Quantities of translated images by hand, and the metric on translators made for the tests."""

import dataclasses
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.core import Traits
from genjax.data import Dataset
from genjax.evals import EvalContext, check_metric_requirements, compute_metric
from genjax.evals.translation_quantities import (
    compare,
    ink_iou,
    l1,
    retrieval_rank,
    ridge_patches,
    rmse,
    within,
)

KEY = jax.random.key(3)


@dataclasses.dataclass(frozen=True)
class Config:
    shape: tuple[int, ...] = (8, 8, 1)


def translator(translate, targets=("a", "b"), **exports):
    return types.SimpleNamespace(
        __name__="families.fake",
        Config=Config,
        traits=lambda config: Traits(data="images", density="none", sample_range=(-1.0, 1.0)),
        tiny=Config,
        batch_spec=lambda config, size: dict.fromkeys(("x", "y")),
        init=lambda config, key, batch=None: {},
        translate=translate,
        targets=lambda config: targets,
        side_multiple=lambda config: 1,
        **exports,
    )


def move(config, variables, images, to="b"):
    """Domain b is domain a with rows in reverse order and a third of the contrast."""
    flipped = images[:, ::-1]
    return variables * (flipped / 3 if to == "b" else flipped * 3)


TRUE = translator(move)
IDENTITY = translator(lambda config, variables, images, to="b": images)


def pairs(n, seed):
    """Pairs of domains a and b; a third of the contrast about 127.5 is again a whole level."""
    contrast = np.random.default_rng(seed).integers(-42, 42, (n, 8, 8, 1)) + 0.5
    levels = {"x": 127.5 + 3 * contrast, "y": 127.5 + contrast[:, ::-1]}
    return {k: v.astype(np.uint8) for k, v in levels.items()}


def dataset(paired=("validation", "test"), unpaired=True):
    splits = {"train": pairs(200, 0), "validation": pairs(40, 1), "test": pairs(30, 2)}
    if unpaired:
        splits["train"]["y"] = splits["train"]["y"][::-1][:150]
    return Dataset("made", splits, 256, unpaired=unpaired, paired=frozenset(paired))


def measure(family, data=None, name="translation", **settings):
    settings = {"classifier_steps": 150, **settings}
    return compute_metric(
        name, family, Config(), jnp.float32(1), data or dataset(), KEY, **settings
    )


def images(*rows):
    """Images `[N, 1, W, 1]` uint8."""
    return np.array(rows, np.uint8)[:, None, :, None]


def test_l1_is_in_the_range_minus_one_to_one():
    x, y = images([0, 255, 100], [7, 7, 7]), images([255, 255, 49], [7, 7, 7])
    np.testing.assert_allclose(l1(x, y), [2 * (1 + 0 + 0.2) / 3, 0], rtol=1e-6)
    signed = 2 * (x / 255 - y / 255)  # the same images in -1 .. 1
    np.testing.assert_allclose(l1(x, y), np.abs(signed).mean(axis=(1, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(l1(x / 255, y / 255), l1(x, y), rtol=1e-6)


def test_rmse_is_in_levels():
    x, y = images([0, 10, 3, 0]), images([0, 4, 11, 0])
    np.testing.assert_allclose(rmse(x, y), np.sqrt((36 + 64) / 4), rtol=1e-5)


@pytest.mark.parametrize("scaled", [False, True])
def test_within_compares_the_largest_channel_strictly(scaled):
    x = np.zeros((1, 1, 4, 3), np.uint8)
    y = np.array([[4, 4, 4], [0, 5, 0], [0, 0, 9], [10, 0, 0]], np.uint8)[None, None]
    x, y = (a / 255 if scaled else a for a in (x, y))
    assert within(x, y, 5).tolist() == [0.25]
    assert within(x, y, 10).tolist() == [0.75]
    for level in range(1, 256):  # also where float32 rounds the difference down
        grey = np.full((1, 1, 1, 1), level, np.uint8)
        assert within(0 * grey, grey, level).item() == 0
        assert within(0 * grey, grey, level + 1).item() == 1


def test_ink_iou_counts_pixels_above_the_middle():
    x, y = images([200, 200, 0, 0], [0, 0, 0, 127]), images([0, 200, 128, 0], [0, 0, 0, 0])
    np.testing.assert_allclose(ink_iou(x, y), [1 / 3, 1])
    coloured = np.zeros((1, 1, 2, 3), np.uint8)
    coloured[0, 0, 0] = 0, 0, 255  # ink in any channel
    assert ink_iou(coloured, coloured[..., ::-1]).item() == 1


def test_retrieval_counts_nearer_candidates():
    gallery = images([0, 0], [10, 0], [20, 0], [0, 90])
    x = images([1, 0], [16, 0], [20, 0], [0, 0])
    assert retrieval_rank(x, gallery).tolist() == [0, 1, 0, 3]
    assert retrieval_rank(x, gallery, [1, 2, 2, 0]).tolist() == [1, 0, 0, 0]
    values = compare(x, gallery)
    assert values["top1"].tolist() == [1, 0, 1, 0]
    assert values["top5"].tolist() == [1, 1, 1, 1]


def test_ties_are_wrong_unless_the_candidates_are_equal():
    gallery = images([0, 10], [10, 0], [0, 10], [200, 0])
    between = images([5, 5], [5, 5], [5, 5], [5, 5])
    assert retrieval_rank(between, gallery).tolist() == [1, 2, 1, 3]
    assert retrieval_rank(gallery, gallery).tolist() == [0, 0, 0, 0]
    noise = np.random.default_rng(0).uniform(0, 1, (40, 8, 8, 3))
    assert retrieval_rank(noise, noise).max() == 0
    middle = np.full((2, 9, 9, 3), 0.37)
    sides = np.stack([middle[0] + 0.1, middle[0] - 0.1])  # float32 distances differ slightly
    sides[0, 0, 0] += 1e-9
    assert retrieval_rank(middle, sides).tolist() == [1, 1]


def test_ridge_fits_a_local_map_and_no_distant_one():
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (30, 8, 8, 2))
    near = 0.5 * x[:, :, [0, 0, 0, 1, 2, 3, 4, 5], ::-1] + 0.2  # within the patch
    far = np.roll(x, 4, axis=1)
    got = ridge_patches(x[:20], near[:20], x[20:], strength=1e-3)
    np.testing.assert_allclose(got, near[20:], atol=0.02)
    blind = ridge_patches(x[:20], far[:20], x[20:])
    assert np.abs(blind - far[20:]).mean() > 0.2
    few = ridge_patches(x[:20], near[:20], x[20:], pixels=900, strength=1e-3)
    assert not np.array_equal(few, got)
    np.testing.assert_allclose(few, near[20:], atol=0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: l1(x, x[:1]), r"of one shape, got images \[2, 1, 3, 1\], truths \[1, 1, 3"),
        (lambda x: l1(x[0], x[0]), r"images must be \[N, H, W, C\] of one shape"),
        (lambda x: rmse(x - 2, x), r"images must be in \[0, 1\] or uint8, got -1 to -1; scale it"),
        (lambda x: within(x * np.nan, x, 5), "images has values that are not finite"),
        (lambda x: retrieval_rank(x, x[:1]), "each of 2 images .* needs a partner among 1"),
        (lambda x: ridge_patches(x, x, x, pixels=0), "`pixels` must be positive"),
    ],
)
def test_rejects_other_images(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.ones((2, 1, 3, 1)))


def test_a_perfect_translator_reaches_the_ceiling():
    got = measure(TRUE).as_dict()
    json.dumps(got)
    assert (got["top1"], got["b_top1"], got["a_top1"]) == (1, 1, 1)
    for to in ("a", "b"):
        assert got[f"{to}_l1"] == pytest.approx(0, abs=1e-6)
        assert got[f"{to}_rmse"] == pytest.approx(0, abs=1e-3)
        assert got[f"{to}_cycle"] == pytest.approx(0, abs=1e-6)
        assert got[f"{to}_within_5"] == got[f"{to}_ink_iou"] == 1
        assert got[f"{to}_face_error"] == got[f"truth_{to}_face_error"]
        assert got[f"identity_{to}_l1"] > 0.1
        assert got[f"identity_{to}_top1"] < 0.5
        assert got[f"ridge_{to}_l1"] < got[f"identity_{to}_l1"]
    # The classifier separates the contrasts, and assigns inputs to their own domain.
    assert got["classifier_error"] < 0.1
    assert got["identity_b_face_error"] > 0.9
    assert (got["split"], got["ridge_pairs"], got["n_fake"]) == ("test", "validation", 30)
    assert measure(TRUE).figure() == (100, 0, "%")


def test_partners_are_cropped_alike_and_not_flipped():
    data = dataset()
    for seed, entries in enumerate(data.splits.values()):
        for name, x in entries.items():
            frame = np.random.default_rng(seed).integers(0, 256, (len(x), 12, 12, 1), np.uint8)
            frame[:, 2:10, 2:10] = x
            entries[name] = frame
    augmented = "random_crop(8, separate=True)|random_flip(separate=True)|scale(-1, 1)"
    got = measure(TRUE, data, transform=augmented).as_dict()
    assert (got["a_top1"], got["b_top1"]) == (1, 1)
    assert max(got["a_l1"], got["b_l1"]) < 1e-6


def test_an_identity_translator_equals_the_identity_floor():
    got = measure(IDENTITY).as_dict()
    for to in ("a", "b"):
        floor = {k: v for k, v in got.items() if k.startswith(f"identity_{to}_")}
        assert len(floor) == 16
        assert {k: got[k.removeprefix("identity_")] for k in floor} == floor
        assert got[f"{to}_cycle"] == 0


def test_quantities_of_the_metric_equal_their_functions():
    data = dataset()
    off = translator(lambda c, v, x, to="b": 0.9 * move(c, v, x, to))
    got = measure(off, data).as_dict()
    x, y = (data.splits["test"][k] / 127.5 - 1 for k in ("x", "y"))
    out = 0.9 * x[:, ::-1] / 3
    values = np.abs(out - y).mean(axis=(1, 2, 3))
    assert got["b_l1"] == pytest.approx(values.mean(), rel=1e-4)
    assert got["b_l1_std_error"] == pytest.approx(values.std(ddof=1) / np.sqrt(30), rel=1e-3)
    cycled = 0.9 * out[:, ::-1] * 3
    assert got["b_cycle"] == pytest.approx(np.abs(cycled - x).mean(), rel=1e-4)
    mean = data.splits["train"]["y"].mean(axis=0) / 127.5 - 1
    assert got["mean_image_b_l1"] == pytest.approx(np.abs(mean - y).mean(), rel=1e-4)
    assert got["mean_image_b_top1"] <= 1 / 30


def test_one_direction_and_other_splits():
    one = translator(move, targets=("b",))
    got = measure(one, split="validation").as_dict()
    assert not [k for k in got if k.startswith("a_") or "cycle" in k]
    assert (got["n_real"], got["ridge_pairs"]) == (40, "none")  # no pairs of another split
    assert not [k for k in got if k.startswith("ridge_b")]
    got = measure(one, dataset(("train", "validation", "test"), unpaired=False)).as_dict()
    assert got["ridge_pairs"] == "train"


def test_a_translator_that_diverged_is_no_perfect_one():
    nan = translator(lambda config, variables, images, to="b": jnp.nan * images)
    with pytest.raises(ValueError, match="values that are not finite"):
        measure(nan)


def test_rejects_families_and_data_without_pairs():
    none = dataset(())
    with pytest.raises(ValueError, match="test of made is not paired; use paired data"):
        measure(TRUE, none)
    with pytest.raises(ValueError, match="test of made is not paired; evaluate on validation"):
        check_metric_requirements("translation", TRUE, Config(), dataset(("validation",)))
    check_metric_requirements("translation", TRUE, Config(), dataset())
    by_attributes = translator(move, targets=())
    with pytest.raises(ValueError, match="fake does not translate between two domains"):
        check_metric_requirements("translation", by_attributes, Config(), dataset())
    with pytest.raises(ValueError, match="made has no other split"):
        EvalContext(TRUE, Config(), 1.0, none, KEY).real("other")
