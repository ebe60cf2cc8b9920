"""Changes of attributes: enumeration by hand, and the metric on translators made for the tests."""

import dataclasses
import functools
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.core import Traits
from genjax.data import Dataset
from genjax.evals import (
    check_metric_requirements,
    compute_metric,
    train_attribute_classifier,
)
from genjax.evals.attribute_translation import (
    Factor,
    attribute_changes,
    attribute_factors,
    changed_attributes,
    factor_errors,
)
from genjax.evals.classifier import logits
from genjax.evals.context import random_rows

KEY = jax.random.key(3)
SHAPE = (8, 8, 3)


@dataclasses.dataclass(frozen=True)
class Config:
    shape: tuple[int, ...] = SHAPE
    attributes: tuple[str, ...] = ("red_ink", "green_ink", "blue_ink", "low", "wide")
    second_attributes: tuple[str, ...] = ()


JOINT = Config(attributes=Config.attributes[:3], second_attributes=("low", "wide"))


def draw(column, attributes, xp=np):
    """A bar at a column, by attributes `[N, 5]`: its colour, half of the rows, and its width."""
    low, wide = (attributes[:, k].reshape(-1, 1, 1) for k in (3, 4))
    rows = xp.arange(8)[None, :, None]
    columns = xp.arange(8)[None, None, :]
    left = column.reshape(-1, 1, 1)
    inside = (columns >= left) & (columns < left + 1 + wide)
    inside = inside & ((rows >= 4) == (low > 0)) & (rows % 4 > 0)
    return 255 * inside[..., None] * attributes[:, None, None, :3]


def render(rows, attributes):
    return draw(rows["caption"].astype(int), np.asarray(attributes)).astype(np.uint8)


def dataset(truth=True, label=False):
    splits = {}
    for seed, (name, n) in enumerate((("train", 300), ("validation", 20), ("test", 48))):
        rng = np.random.default_rng(seed)
        attributes = np.zeros((n, 5), np.uint8)
        attributes[np.arange(n), rng.integers(0, 3, n)] = 1
        attributes[:, 3:] = rng.integers(0, 2, (n, 2))
        caption = np.char.mod("%d", rng.integers(0, 6, n))
        entries = {"x": render({"caption": caption}, attributes), "caption": caption}
        if label:
            entries["label"] = np.arange(n, dtype=np.int32) % 2
            if name == "train":
                attributes[entries["label"] == 0, 3:] = 0
                attributes[entries["label"] == 1, :3] = 0
        splits[name] = {**entries, "attributes": attributes}
    names = {"attributes": Config.attributes}
    return Dataset("bars", splits, 256, names=names, render=render if truth else None)


def translator(translate):
    return types.SimpleNamespace(
        __name__="families.fake",
        Config=Config,
        traits=lambda config: Traits(data="images", density="none", sample_range=(-1.0, 1.0)),
        tiny=Config,
        batch_spec=lambda config, size: dict.fromkeys(("x", "attributes")),
        init=lambda config, key, batch=None: {},
        translate=translate,
        targets=lambda config: (),
        side_multiple=lambda config: 1,
        attribute_names=lambda config: config.attributes + config.second_attributes,
        exclusive_groups=lambda config: [np.arange(3)],
        target_attributes=lambda config, attributes, changes: attributes,
        predict_attributes=lambda config, variables, images: images,
    )


def perfect(config, variables, images, *, attributes, label=None):
    """Finds the column of the bar, and draws it with the attributes."""
    ink = (images > 0).any(axis=(1, 3))
    target = draw(jnp.argmax(ink, axis=1), attributes.astype(jnp.float32), jnp)
    return variables * (target / 127.5 - 1)


def identity(config, variables, images, *, attributes, label=None):
    return images


def measure(translate, data=None, config=None, **settings):
    return compute_metric(
        "attribute_translation", translator(translate), config or Config(), jnp.float32(1),
        data or dataset(), KEY, **{"classifier_steps": 200, **settings},
    )  # fmt: skip


INK, LOW, WIDE = Factor("ink", (0, 1, 2)), Factor("low", (3,)), Factor("wide", (4,))


def test_factors_are_groups_and_single_attributes():
    assert attribute_factors(translator(identity), Config()) == (INK, LOW, WIDE)
    joint = attribute_factors(translator(identity), JOINT)
    assert joint == (INK, Factor("low", (3,), 1), Factor("wide", (4,), 1))
    faces = translator(identity)
    faces.exclusive_groups = lambda config: [np.array([1, 2]), np.array([3, 4])]
    config = Config(
        attributes=("Male", "Black_Hair", "Blond_Hair"), second_attributes=("happy", "sad")
    )
    hair, expression = Factor("Hair", (1, 2)), Factor("exclusive", (3, 4), 1)
    assert attribute_factors(faces, config) == (hair, Factor("Male", (0,)), expression)


def test_factors_of_one_name_are_told_apart():
    """Otherwise the table of one would replace that of the other."""
    family = translator(identity)
    family.exclusive_groups = lambda config: [np.array([0, 1]), np.array([2, 3])]
    config = Config(attributes=("red", "green", "happy", "sad", "low"))
    names = [factor.name for factor in attribute_factors(family, config)]
    assert names == ["red_or_green", "happy_or_sad", "low"]


def test_changes_are_single_pairs_and_all():
    titles = attribute_changes((INK, LOW, WIDE))
    assert titles == {
        "single_ink": (INK,),
        "single_low": (LOW,),
        "single_wide": (WIDE,),
        "multiple_ink_low": (INK, LOW),
        "multiple_ink_wide": (INK, WIDE),
        "multiple_low_wide": (LOW, WIDE),
        "multiple_all": (INK, LOW, WIDE),
    }
    assert list(attribute_changes((LOW, WIDE))) == ["single_low", "single_wide", "multiple_all"]
    assert list(attribute_changes((LOW,))) == ["single_low"]


def test_changed_attributes_by_hand():
    own = np.array([[0, 1, 0, 0, 1], [1, 0, 0, 1, 1]], np.uint8)
    rows, targets = changed_attributes(own, (LOW, WIDE))
    assert rows.tolist() == [0, 1]
    assert targets.tolist() == [[0, 1, 0, 1, 0], [1, 0, 0, 0, 0]]
    rows, targets = changed_attributes(own, (INK, LOW))
    got = sorted(zip(rows.tolist(), targets.tolist(), strict=True))
    assert got == [
        (0, [0, 0, 1, 1, 1]),
        (0, [1, 0, 0, 1, 1]),
        (1, [0, 0, 1, 0, 1]),
        (1, [0, 1, 0, 0, 1]),
    ]
    assert own.tolist() == [[0, 1, 0, 0, 1], [1, 0, 0, 1, 1]]  # unchanged
    rows, targets = changed_attributes(np.zeros((1, 3)), (INK,))  # of an unknown group, all
    assert targets.tolist() == np.eye(3).tolist()


def test_a_group_is_predicted_by_its_largest_logit():
    scores = np.array([[-3.0, -1, -2, 5, -1], [2, 1, -2, -5, 1]])
    attributes = np.array([[0, 1, 0, 1, 1], [0, 1, 0, 0, 1]])
    wrong = factor_errors(scores, attributes, (INK, LOW, WIDE))
    assert wrong.tolist() == [[0, 0, 1], [1, 0, 0]]


def test_images_without_one_of_a_group_have_no_error_of_it():
    """As faces whose hair is neither black, blond nor brown, which no prediction would equal."""
    unknown = np.array([[0, 0, 0, 0, 1], [1, 1, 0, 0, 1]])
    wrong = factor_errors(np.array([[2.0, 1, -2, -5, 1]] * 2), unknown, (INK, LOW, WIDE))
    assert np.isnan(wrong[:, 0]).all()
    assert not wrong[:, 1:].any()
    data = dataset(truth=False)
    for entries in data.splits.values():
        entries["attributes"][::3, :3] = 0
    got = measure(identity, data, classifier_steps=400).as_dict()
    assert got["real_single_ink_attribute_error"] < 0.1
    assert got["real_multiple_all_attribute_error"] < 0.2  # a third, if they were counted
    assert got["single_low_kept_error"] < 0.2
    assert got["single_ink_attribute_error"] > 0.8  # any image can be given an ink


@functools.cache
def measured(truth=True):
    return measure(perfect, dataset(truth))


def test_a_perfect_translator_reaches_the_ceiling():
    result = measured()
    got = result.as_dict()
    json.dumps(got)
    titles = attribute_changes((INK, LOW, WIDE))
    for title in (*titles, "single", "multiple"):
        truth = {k: v for k, v in got.items() if k.startswith(f"truth_{title}_")}
        assert {k: got[k.removeprefix("truth_")] for k in truth} == pytest.approx(truth, abs=1e-6)
        assert (got[f"{title}_l1"], got[f"{title}_top1"]) == (pytest.approx(0, abs=1e-6), 1)
        assert got[f"{title}_reconstruction"] == pytest.approx(0, abs=1e-6)
        assert got[f"{title}_attribute_error"] < 0.1
        # The classifier's own error on real images is beside it.
        assert 0 <= got[f"real_{title}_attribute_error"] < 0.1
        assert got[f"{title}_l1_to_input"] == pytest.approx(got[f"identity_{title}_l1"], abs=1e-6)
        assert got[f"{title}_l1_to_input"] > 0.02
    assert "multiple_all_kept_error" not in got
    assert got["single_low_kept_error"] < 0.1
    singles = [got[f"single_{name}_attribute_error"] for name in ("ink", "low", "wide")]
    assert got["single_attribute_error"] == pytest.approx(np.mean(singles))
    assert got["attribute_error"] == got["single_attribute_error"]
    assert result.figure()[2] == "%"
    assert result.extractor.startswith("classifier:")


def test_the_true_images_are_cropped_as_the_inputs():
    data = dataset()

    def framed(rows, attributes):  # two pixels of another level around the bars
        return np.pad(render(rows, attributes), ((0, 0), (2, 2), (2, 2), (0, 0)), constant_values=9)

    for entries in data.splits.values():
        entries["x"] = framed(entries, entries["attributes"])
    data = dataclasses.replace(data, render=framed)
    got = measure(perfect, data, transform="center_crop(8)|scale(-1, 1)").as_dict()
    assert max(got["single_l1"], got["multiple_all_l1"]) < 1e-6
    assert got["single_top1"] == 1


def test_an_identity_translator_equals_the_identity_floor():
    got = measure(identity).as_dict()
    floor = {k: v for k, v in got.items() if k.startswith("identity_")}
    assert {k: got[k.removeprefix("identity_")] for k in floor} == floor
    assert got["single_attribute_error"] > 0.9
    assert got["multiple_all_attribute_error"] > 0.9
    assert got["single_kept_error"] < 0.1
    assert got["multiple_all_top1"] < 0.5
    assert (got["multiple_l1_to_input"], got["multiple_reconstruction"]) == (0, 0)


def test_l1_and_retrieval_by_hand():
    """A translator that sets everything but draws each bar one column further to the right."""
    data = dataset()

    def moved(config, variables, images, *, attributes, label=None):
        right = perfect(config, variables, images, attributes=attributes)
        return jnp.roll(right, 1, axis=2)

    got = measure(moved, data, samples=20).as_dict()
    assert got["n_real"] == 20
    # Six different bars per target: the one of the next column is nearest, except for the last.
    test = data.splits["test"]
    column = test["caption"].astype(int)
    chosen = random_rows(48, 20)
    low = test["attributes"][chosen].copy()
    low[:, 3] = 1 - low[:, 3]
    truth = render({"caption": test["caption"][chosen]}, low) / 127.5 - 1
    out = np.roll(truth, 1, axis=2)
    want = np.abs(out - truth).mean(axis=(1, 2, 3)).mean()
    assert got["single_low_l1"] == pytest.approx(want, rel=1e-5)
    # The next column's bar is in the gallery unless no image of the subset has it.
    absent = ~np.isin(column[chosen] + 1, column[chosen])
    assert got["single_low_top1"] <= absent.mean()
    assert got["single_low_top5"] > got["single_low_top1"]


def test_without_known_truth_the_classifier_remains():
    got = measured(False).as_dict()
    known = measured().as_dict()
    assert not [k for k in got if "top1" in k or k.startswith("truth_") or k.endswith("_l1")]
    for name in ("single_ink_attribute_error", "multiple_all_l1_to_input", "single_reconstruction"):
        assert got[name] == known[name]


def test_joint_training_reports_the_labels_never_given():
    calls = []

    def second_only(config, variables, images, *, attributes, label=None):
        """Changes nothing where the first set is requested."""
        calls.append(label is None)
        out = perfect(config, variables, images, attributes=attributes)
        if label is None:
            return out
        return jnp.where((label == 0)[:, None, None, None], images, out)

    data = dataset(label=True)
    got = measure(second_only, data, JOINT).as_dict()
    assert True in calls  # changes in both sets
    assert False in calls
    assert got["single_ink_attribute_error"] > 0.9
    assert got["single_low_attribute_error"] < 0.1
    # Images of label 1 lack the ink, those of label 0 the other two.
    half = (data.splits["test"]["label"] == 1).mean()
    assert got["unlabelled_attribute_error"] == pytest.approx(half, abs=0.1)
    assert got["real_single_ink_attribute_error"] < 0.1  # unknown training labels are not fitted


def test_attribute_classifier_ignores_unknown_attributes():
    train, test = (dataset().splits[s] for s in ("train", "test"))
    wrong, known = train["attributes"].copy(), np.ones((300, 5), bool)
    known[100:, 3] = False
    wrong[100:, 3] = 1 - wrong[100:, 3]
    x, y = train["x"] / 255, test["x"] / 255
    right = train_attribute_classifier(x, wrong, known, steps=200)
    error = (logits(right, y) > 0) != test["attributes"]
    assert error.mean(axis=0).max() < 0.1
    fooled = train_attribute_classifier(x, wrong, steps=200)
    assert ((logits(fooled, y) > 0) != test["attributes"])[:, 3].mean() > 0.4


def test_rejects_other_data_and_families():
    with pytest.raises(ValueError, match=r"attributes \[N, A\], got \[2, 8, 8, 3\] and \[3, 1\]"):
        train_attribute_classifier(np.ones((2, *SHAPE)), np.ones((3, 1)))
    with pytest.raises(ValueError, match=r"attributes must be 0 or 1, .* got 2 to 2"):
        train_attribute_classifier(np.ones((2, *SHAPE)), np.full((2, 1), 2))
    data, family, name = dataset(), translator(identity), "attribute_translation"
    check_metric_requirements(name, family, Config(), data)
    without = types.SimpleNamespace(**vars(family))
    del without.attribute_names
    with pytest.raises(ValueError, match="fake does not translate by attributes"):
        check_metric_requirements(name, without, Config(), data)
    del data.splits["train"]["attributes"]
    with pytest.raises(ValueError, match="needs attributes of train, and bars has none"):
        check_metric_requirements(name, family, Config(), data)
    with pytest.raises(ValueError, match="translates by 3 attributes, and test of bars has 5"):
        measure(identity, config=Config(attributes=Config.attributes[:3]))
