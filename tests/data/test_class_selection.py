"""Classes are selected by name or number: in files and prepared folders, streamed and in memory."""

import dataclasses

import numpy as np
import pytest
from support.feeding import batch_checksums, collect_batches, make_run
from support.reading import assert_error_message

from genjax.cli.experiment import parse_data
from genjax.data import Data, Dataset, load, save_npz
from genjax.data.prepare import prepare
from genjax.data.shards import WriteOptions

LABELS = {"train": np.arange(60) * 7 % 5 - 1, "test": np.arange(25) * 3 % 5 - 1}  # -1: unknown
IMAGES = ("x", "label")


def split(label, first):
    """Returns 4x4 images whose values are the number of their row."""
    x = (first + np.arange(len(label)))[:, None, None, None] + np.zeros((1, 4, 4, 1))
    return {"x": x.astype(np.uint8), "label": label.astype(np.int32)}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("classes") / "five.npz"
    splits = {"train": split(LABELS["train"], 0), "test": split(LABELS["test"], 100)}
    save_npz(Dataset("five", splits, 256), path)
    return str(path)


@pytest.fixture(scope="module")
def folder(file, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared")
    return str(prepare(file, out, WriteOptions(name="five", shard_examples=20)).folder)


@pytest.mark.parametrize("classes", [("2",), ("3", "0"), ("1", "3", "0", "2")])
@pytest.mark.parametrize("stream", ["file", "no", "yes"])
def test_keeps_the_rows_of_the_classes_with_new_labels(file, folder, classes, stream):
    source = dict(data=file) if stream == "file" else dict(data=folder, stream=stream)
    found = load(Data(**source, classes=classes))
    assert found.names["label"] == classes
    assert set(found.streams) == ({"train"} if stream == "yes" else set())
    for name, label in LABELS.items():
        kept = np.flatnonzero(np.isin(label, [int(c) for c in classes]))
        got = found.read(name, np.arange(len(kept)))
        np.testing.assert_array_equal(got["x"][:, 0, 0, 0], kept + 100 * (name == "test"))
        want = [classes.index(str(c)) for c in label[kept]]
        np.testing.assert_array_equal(got["label"], want)
        assert got["label"].dtype == np.int32
        assert found.counts()[name] == len(kept)


def test_classes_come_before_hold_out_and_limit(file, folder):
    """Of 24 rows of two classes, 5 are held out; then 10 of each split are kept."""
    label = LABELS["train"]
    kept = np.flatnonzero(np.isin(label, (0, 3)))
    for source in (dict(data=file), dict(data=folder), dict(data=folder, stream="yes")):
        found = load(Data(**source, classes=("0", "3"), validation=5, limit=10))
        assert found.counts() == {"train": 10, "validation": 5, "test": 10}
        for name, rows in (("train", kept[:10]), ("validation", kept[-5:])):
            got = found.read(name, np.arange(len(rows)))
            np.testing.assert_array_equal(got["x"][:, 0, 0, 0], rows)
            np.testing.assert_array_equal(got["label"], (label[rows] == 3).astype(int))


def test_labels_per_class_count_the_classes_kept(file):
    found = load(Data(data=file, classes=("3", "1"), validation=4, labels_per_class=2))
    assert [(found.splits["train"]["label"] == c).sum() for c in (-1, 0, 1)] == [16, 2, 2]


@pytest.mark.parametrize("settings", [{}, dict(validation=5, limit=3), dict(labels_per_class=2)])
@pytest.mark.parametrize("transform", ["", "binarize('static')"])
def test_checksum_is_that_of_the_original_data(file, folder, settings, transform):
    expected = load(Data(data=file)).checksum()
    some = dict(classes=("3", "0"), transform=transform, **settings)
    assert load(Data(data=file, **some)).checksum() == expected
    assert load(Data(data=folder, **some)).checksum() == load(Data(data=folder)).checksum()
    assert load(Data(data=folder, stream="yes", classes=("1",))).checksum() == expected


@pytest.mark.parametrize("transform", ["scale(-1, 1)", "binarize('static')"])
def test_streamed_batches_are_those_in_memory(folder, transform):
    options = dict(classes=("3", "0"), transform=transform, limit=17, workers=0)
    streamed, resident = (
        collect_batches(make_run(folder, stream=stream, **options), 0, None, IMAGES)
        for stream in ("yes", "no")
    )
    assert batch_checksums(streamed) == batch_checksums(resident)
    assert {0, 1} == {int(c) for batch in streamed for c in batch["label"]}


def test_names_come_before_numbers(tmp_path):
    """Directories of images have classes by name; `1` is the name of class 0 there."""
    from PIL import Image

    for name, level in (("1", 10), ("cat", 20), ("dog", 30)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(4):
            image = Image.fromarray(np.full((4, 4), level + i, np.uint8))
            image.save(tmp_path / "images" / name / f"{i}.png")
    write = WriteOptions(name="pets")
    folder = str(prepare(str(tmp_path / "images"), tmp_path, write).folder)
    for classes, level in ((("1",), 10), (("dog",), 30), (("2",), 30), (("cat", "1"), None)):
        found = load(Data(data=folder, classes=classes))
        names = {"2": "dog"}
        assert found.names["label"] == tuple(names.get(c, c) for c in classes)
        x, label = (found.splits["train"][k] for k in IMAGES)
        tens = x[:, 0, 0, 0] // 10 * 10
        np.testing.assert_array_equal(tens, level or np.where(label == 0, 20, 10))
    with pytest.raises(ValueError, match="has no class bird, it has 1, cat, dog; correct") as error:
        load(Data(data=folder, classes=("bird",)))
    assert_error_message(str(error.value))
    with pytest.raises(ValueError, match="has a class twice"):
        load(Data(data=folder, classes=("dog", "2")))


def test_rejects_classes_that_the_data_does_not_have(file, tmp_path):
    bare = tmp_path / "bare.npz"
    train = split(np.array([0, 1, 1]), 0)
    save_npz(Dataset("bare", {"train": train, "test": {"x": train["x"]}}, 256), bare)
    few = tmp_path / "few.npz"
    save_npz(Dataset("few", {"train": train, "test": split(np.array([1]), 9)}, 256), few)
    for settings, message in (
        (dict(data=file, classes=("a",)), r"no class a, it has 0, 1, 2, 3; .* have no names"),
        (dict(data=file, classes=("4",)), "has no class 4"),
        (dict(data=file, classes=("-1",)), "has no class -1"),
        (dict(data=str(bare), classes=("1",)), "split test has no labels; leave it out"),
        (dict(data=str(few), classes=("0",)), "test of .* has no example of the `classes` 0;"),
        (dict(data="glyphs", classes=("0",)), "two domains without pairs"),
        (dict(data=file, classes=("1",), validation=12), "leaves no training example"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            load(Data(**settings))
        assert_error_message(str(error.value))
    with pytest.raises(ValueError, match="`classes` must be a tuple, each entry a string"):
        Data(classes=(1,))


def test_stacked_images_are_of_the_classes_kept():
    label = load(Data(data="stacked_digits", classes=("3", "8"))).splits["train"]["label"]
    assert set(label.tolist()) == set(range(8))  # three labels in base 2


def test_the_option_differs_from_the_number_of_classes_of_a_model():
    given = ["--classes", "10", "--data-classes", "3", "cat", "--limit", "7"]
    default = Data(data="digits", validation=5)
    expected = dataclasses.replace(default, classes=("3", "cat"), limit=7)
    assert parse_data(given, default) == expected
    assert parse_data(["--classes", "10"], default) == default
