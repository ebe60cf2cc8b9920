"""Second images and conditions are checked and transformed like `x`."""

import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from support.reading import assert_error_message
from support.small import small_run

from genjax.core import Optimizer
from genjax.data import Data, Dataset
from genjax.families import gan, nade, stargan
from genjax.train.compatibility import check_compatibility, data_warnings, label_range
from genjax.train.splits import evaluation_conditions, evaluation_data, init_batch

LEVELS = 5


def family(**shapes):
    """Returns a family that trains on `x` and on float32 entries of these shapes."""
    shapes = {"x": (3, 3, 1), **shapes}

    def batch_spec(config, n):
        return {k: jax.ShapeDtypeStruct((n, *v), np.float32) for k, v in shapes.items()}

    def traits(config):
        return dataclasses.replace(gan.traits(config), init_examples=4)

    return SimpleNamespace(batch_spec=batch_spec, traits=traits)


def run_of(transform):
    run = small_run("gan", "small")
    return dataclasses.replace(run, data=Data(data="small", transform=transform))


def dataset(shape=(3, 3, 1), **options):
    rng = np.random.default_rng(0)
    splits = {}
    for split, n in (("train", 20), ("test", 6)):
        splits[split] = {
            "x": rng.integers(0, LEVELS, (n, 3, 3, 1), np.uint8),
            "y": rng.integers(0, LEVELS, (n + 2 * bool(options), *shape), np.uint8),
            "attributes": rng.integers(0, 2, (n, 2), np.uint8),
        }
    return Dataset("small", splits, LEVELS, **options)


def test_accepts_second_images_in_the_range_of_x():
    check_compatibility(run_of("scale(0, 1)"), family(y=(3, 3, 1)), dataset())
    transform = "scale(0, 1)|resize(3, keys=('y',))"
    data = dataset((6, 6, 1))
    x_is_discrete = "gives x from 0 to 1 and y from 0 to 1; apply each operation to both"
    with pytest.raises(ValueError, match=x_is_discrete):
        check_compatibility(run_of(transform), family(y=(3, 3, 1)), data)
    cropped = run_of("scale(0, 1)|center_crop(3, keys=('y',))")
    check_compatibility(cropped, family(y=(3, 3, 1)), data)


@pytest.mark.parametrize(
    ("transform", "shapes", "match"),
    [
        ("scale(0, 1)", {"y": (6, 6, 1)}, r"needs y of float32\[1, 6, 6, 1\], and small with"),
        ("scale(0, 1, keys=('x',))", {"y": (3, 3, 1)}, "x from 0 to 1 and y from 0 to 4; apply"),
        ("scale(0, 1)", {"attributes": (2,)}, r"needs attributes of float32\[1, 2\], and .* uint8"),
        ("scale(0, 1)", {"label": ()}, "also trains on label, but small has only attributes, x, y"),
    ],
)
def test_rejects_entries_of_another_shape_dtype_or_range(transform, shapes, match):
    with pytest.raises(ValueError, match=match):
        check_compatibility(run_of(transform), family(**shapes), dataset())


def test_attributes_can_be_scaled_for_a_family():
    run = run_of("scale(0, 1)|scale(-1, 1, keys=('attributes',))")
    check_compatibility(run, family(attributes=(2,)), dataset())
    condition = evaluation_conditions(run, family(attributes=(2,)), dataset(), "test")
    stored = dataset().splits["test"]["attributes"].astype(np.float32)
    np.testing.assert_array_equal(condition["attributes"], 2 * stored - 1)


def test_evaluation_transforms_second_images_without_augmentation():
    run = run_of("scale(0, 1)|random_flip()")
    data = dataset()
    x = evaluation_data(run, data, "test")
    y = evaluation_conditions(run, family(y=(3, 3, 1)), data, "test")["y"]
    np.testing.assert_array_equal(x, data.splits["test"]["x"].astype(np.float32) / 4)
    np.testing.assert_array_equal(y, data.splits["test"]["y"].astype(np.float32) / 4)


def test_initial_examples_of_unpaired_domains_have_their_own_orders():
    batch = init_batch(run_of("scale(0, 1)"), family(y=(3, 3, 1)), dataset(unpaired=True))
    train = dataset(unpaired=True).splits["train"]
    assert (batch["x"].shape, batch["y"].shape) == ((4, 3, 3, 1), (4, 3, 3, 1))
    rows = {
        k: [np.flatnonzero((train[k] / 4 == v).all((1, 2, 3)))[0] for v in batch[k]] for k in "xy"
    }
    assert rows["x"] != rows["y"]


def stargan_run(**config):
    config = {"attributes": ("a", "b"), "exclusive": (), "second_attributes": (), **config}
    model = dataclasses.replace(stargan.tiny(), **config)
    run = small_run("gan", "small")
    data = Data(data="small", transform="scale(-1, 1)")
    optimizer = {name: Optimizer() for name in stargan.LOSSES}
    return dataclasses.replace(run, family="stargan", model=model, data=data, optimizer=optimizer)


def with_label(highest):
    data = dataset(names={"attributes": ("a", "b")})
    for entries in data.splits.values():
        entries["label"] = np.arange(len(entries["x"]), dtype=np.int32) % (highest + 1)
        entries["y"] = entries["x"]
    return data


def test_attributes_of_the_data_must_be_those_of_the_model():
    check_compatibility(stargan_run(), stargan, dataset())  # without names
    check_compatibility(stargan_run(), stargan, with_label(1))
    for names in (("b", "a"), ("a", "c")):
        data = dataclasses.replace(dataset(), names={"attributes": names})
        want = f"of the model are a, b, and those of small {', '.join(names)}; set --attributes"
        with pytest.raises(ValueError, match=want) as error:
            check_compatibility(stargan_run(), stargan, data)
        assert_error_message(str(error.value))


def test_labels_of_joint_training_are_sets_of_attributes():
    run = stargan_run(second_attributes=("c",), second_classification="binary")
    data = with_label(1)
    for entries in data.splits.values():
        entries["attributes"] = entries["attributes"][:, [0, 1, 1]]
    data = dataclasses.replace(data, names={"attributes": ("a", "b", "c")})
    check_compatibility(run, stargan, data)
    data.splits["test"]["label"][0] = 2
    with pytest.raises(ValueError, match="labels up to 2, but they are 0 and 1, the set") as error:
        check_compatibility(run, stargan, data)
    assert_error_message(str(error.value))
    assert label_range(run, stargan) == range(2)


def test_missing_splits_and_large_batches_are_reported():
    x = np.zeros((40, 3, 3, 1), np.uint8)

    def found(batch_size, *splits):
        run = small_run("nade", "small", batch_size=batch_size)
        data = Dataset("small", {split: {"x": x} for split in splits}, 2)
        check_compatibility(run, nade, data)
        return " ".join(data_warnings(run, nade, data))

    assert not found(40, "train", "validation", "test")
    assert "above the 40 training examples" in found(41, "train", "validation", "test")
    missing = found(4, "train")
    assert "hold out training examples with --validation 4" in missing
    assert "prepare files with --test N" in missing
    with pytest.raises(ValueError, match=r"`batch_size` 100,000 is above the 40 .* at most 40"):
        found(100_000, "train", "validation", "test")
