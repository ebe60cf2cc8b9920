"""Folders of images and of pairs: examples and error messages."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.reading import (
    assert_error_message,
    encode_image,
    random_image,
    read_all,
    read_error,
    write_image,
)

from genjax.data.readers import ReadOptions, detect, read


def test_flat_folder(tmp_path):
    b, a = (
        write_image(tmp_path / "b.png", random_image(1)),
        write_image(tmp_path / "a.PNG", random_image(2)),
    )
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".DS_Store").write_bytes(b"")
    source = read(tmp_path)
    assert source.format == "images"
    assert source.name == str(tmp_path)
    assert source.levels == 256
    assert source.fields.keys() == {"image"}
    assert source.fields["image"].shape == (5, 4, 3)
    assert source.ignored == (".DS_Store", "notes.txt")
    rows = read_all(source)["train"]
    np.testing.assert_array_equal([r["image"] for r in rows], [a, b])


def test_folders_are_classes(tmp_path):
    expected = {}
    for i, name in enumerate(("dog/1.png", "cat/2.png", "dog/0.png", "ant/0.png")):
        expected[name] = write_image(tmp_path / name, random_image(i))
    (tmp_path / "empty").mkdir()
    (tmp_path / "cat" / "deep").mkdir()
    source = read(str(tmp_path))
    assert source.fields["label"].names == ("ant", "cat", "dog")
    assert source.fields["label"].classes == 3
    assert source.ignored == ("cat/deep/", "empty/")
    rows = read_all(source)["train"]
    assert [r["label"] for r in rows] == [0, 1, 2, 2]
    assert all(type(r["label"]) is int for r in rows)
    for row, name in zip(rows, sorted(expected), strict=True):
        np.testing.assert_array_equal(row["image"], expected[name])


@pytest.mark.parametrize("validation", ["validation", "valid", "val", "Val"])
def test_folders_are_splits(tmp_path, validation):
    a = write_image(tmp_path / "train" / "a.png", random_image(1))
    b = write_image(tmp_path / validation / "b.png", random_image(2))
    c = write_image(tmp_path / "test" / "c.png", random_image(3))
    (tmp_path / "other").mkdir()
    source = read(tmp_path)
    assert list(source.splits) == ["train", "validation", "test"]
    assert source.ignored == ("other/",)
    for split, x in (("train", a), ("validation", b), ("test", c)):
        (row,) = read_all(source)[split]
        np.testing.assert_array_equal(row["image"], x)


def test_splits_with_classes(tmp_path):
    for split in ("train", "test"):
        for name in ("x/0.png", "y/0.png"):
            write_image(tmp_path / split / name)
    source = read(tmp_path)
    assert [r["label"] for r in read_all(source)["test"]] == [0, 1]
    write_image(tmp_path / "test" / "z" / "0.png")
    message = read_error(tmp_path)
    assert "split test has class folder z and split train has not" in message


def test_rejects_mixed_layouts(tmp_path):
    write_image(tmp_path / "train" / "cat" / "0.png")
    write_image(tmp_path / "test" / "0.png")
    assert "without a class folder" in read_error(tmp_path)
    write_image(tmp_path / "0.png")
    assert "beside its split folders" in read_error(tmp_path)
    write_image(tmp_path / "mixed" / "0.png")
    write_image(tmp_path / "mixed" / "cat" / "0.png")
    assert "both images (0.png) and folders" in read_error(tmp_path / "mixed")
    for name in ("twice/val", "twice/valid"):
        write_image(tmp_path / name / "0.png")
    assert "val and valid for one split" in read_error(tmp_path / "twice")


def test_rejects_unknown_formats(tmp_path):
    assert "0 files" in read_error(tmp_path)
    (tmp_path / "a.txt").write_text("text")
    assert "1 files, such as a.txt" in read_error(tmp_path)
    assert "holds no images" in read_error(tmp_path, format="images")
    assert "has no known format" in read_error(tmp_path / "a.txt")
    assert "is a folder; give the folder" in read_error(tmp_path / "a.txt", format="images")
    assert "there is no folder or file" in read_error(tmp_path / "none")
    assert "there is no folder or file" in read_error(tmp_path / ("n" * 300), format="images")
    write_image(tmp_path / "one.png")
    assert "give its folder" in read_error(tmp_path / "one.png")


@pytest.mark.parametrize("ending", ["zip", "tar", "tgz", "tar.gz", "7z"])
def test_rejects_archives(tmp_path, ending):
    path = tmp_path / f"data.{ending}"
    path.write_bytes(b"PK")
    assert "unpack it first" in read_error(path)
    assert "unpack it first" in read_error(tmp_path, path)


def test_rejects_images_of_different_sizes(tmp_path):
    write_image(tmp_path / "a.png", random_image(1, (5, 4, 3)))
    write_image(tmp_path / "b.png", random_image(1, (4, 5, 3)))
    message = read_error(tmp_path, tmp_path / "a.png", tmp_path / "b.png")
    assert "is 4 x 5 and" in message
    assert "5 x 4 (height x width)" in message
    for fit in ("crop", "pad", "stretch"):
        rows = read_all(read(tmp_path, ReadOptions(size=(6, 7), fit=fit)))["train"]
        assert [r["image"].shape for r in rows] == [(6, 7, 3)] * 2
    read_error(tmp_path, tmp_path / "b.png", size=(5, 4))


@pytest.mark.parametrize(("mode", "channels"), [("rgb", 3), ("grey", 1), (None, 3)])
def test_channels(tmp_path, mode, channels):
    write_image(tmp_path / "a.png", random_image(1, (5, 4, 1)))
    source = read(tmp_path, ReadOptions(mode=mode))
    assert source.fields["image"].shape[2] == (channels if mode else 1)
    # One colour image makes all of them RGB.
    write_image(tmp_path / "b.png", random_image(1, (5, 4, 3)))
    source = read(tmp_path, ReadOptions(mode=mode))
    assert source.fields["image"].shape == (5, 4, channels)
    assert [r["image"].shape[2] for r in read_all(source)["train"]] == [channels] * 2


def test_errors_name_the_damaged_image(tmp_path):
    write_image(tmp_path / "a.png")
    bad = tmp_path / "b.png"
    whole = encode_image(random_image())
    bad.write_bytes(whole[: len(whole) // 2])
    assert "truncated" in read_error(tmp_path, bad)
    # With size and mode given, files are opened on access only.
    source = read(tmp_path, ReadOptions(size=(5, 4), mode="rgb"))
    assert source.splits["train"][0]["image"].shape == (5, 4, 3)
    with pytest.raises(ValueError, match="truncated") as error:
        source.splits["train"][1]
    assert_error_message(str(error.value), bad)
    bad.unlink()
    with pytest.raises(ValueError, match="there is no file") as error:
        source.splits["train"][1]
    assert_error_message(str(error.value), bad)
    bad.write_bytes(b"")
    assert "is empty" in read_error(tmp_path, bad)


def test_max_pixels_applies_to_every_image(tmp_path):
    write_image(tmp_path / "a.png")
    assert "more than 19 pixels" in read_error(tmp_path, tmp_path / "a.png", max_pixels=19)
    read_error(tmp_path, tmp_path / "a.png", max_pixels=19, size=(5, 4), mode="rgb")


def test_rejects_links_to_devices(tmp_path):
    write_image(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("/dev/zero")
    source = read(tmp_path)
    assert len(source.splits["train"]) == 1
    assert source.ignored == ("b.png",)


def test_splits_can_be_pickled(tmp_path):
    expected = [
        write_image(tmp_path / c / f"{i}.png", random_image(i)) for c in "ab" for i in range(2)
    ]
    split = read(tmp_path).splits["train"]
    raw = pickle.dumps(split)
    assert expected[0].tobytes() not in raw
    again = pickle.loads(raw)
    assert len(again) == 4
    np.testing.assert_array_equal(again[-1]["image"], expected[-1])
    np.testing.assert_array_equal(again[np.int64(1)]["image"], expected[1])
    assert [r["label"] for r in again] == [0, 0, 1, 1]
    with pytest.raises(IndexError):
        again[4]
    with pytest.raises(TypeError, match="one example at a time"):
        again[:2]


def test_file_names_with_line_breaks(tmp_path):
    (tmp_path / "a\nb.png").write_bytes(b"not an image")
    read_error(tmp_path, f"{tmp_path}/a\\nb.png")


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30)), min_size=1, unique=True))
def test_order_is_by_path(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("order")
    for c, i in files:
        write_image(folder / c / f"{i}.png", np.full((1, 1, 1), i + 100 * (c > "a"), np.uint8))
    source = read(folder)
    names = [f"{c}/{i}.png" for c, i in files]
    assert list(source.splits["train"].columns["image"].names) == sorted(names)
    of = dict(zip(names, files, strict=True))
    classes = sorted({c for c, _ in files})
    for row, name in zip(source.splits["train"], sorted(names), strict=True):
        c, i = of[name]
        assert classes[row["label"]] == c
        assert row["image"].item() == i + 100 * (c > "a")


def pairs(folder, *names):
    """Writes random images to these paths."""
    return {name: write_image(folder / name, random_image(i)) for i, name in enumerate(names)}


def test_unpaired(tmp_path):
    x = pairs(
        tmp_path, "trainA/b.png", "trainA/a.png", "trainB/c.png", "testA/0.png", "testB/1.png"
    )
    (tmp_path / "readme.md").write_text("pairs")
    source = read(tmp_path)
    assert source.format == "pairs"
    assert list(source.splits) == ["trainA", "trainB", "testA", "testB"]
    assert source.fields["label"].names == ("A", "B")
    assert source.fields["label"].classes == 2
    assert source.ignored == ("readme.md",)
    rows = read_all(source)
    np.testing.assert_array_equal(rows["trainA"][1]["image"], x["trainA/b.png"])
    np.testing.assert_array_equal(rows["testB"][0]["image"], x["testB/1.png"])
    assert [r["label"] for r in rows["trainA"]] == [0, 0]
    assert [r["label"] for r in rows["trainB"]] == [1]


def test_paired(tmp_path):
    x = pairs(tmp_path, "trainA/a.png", "trainA/b.png", "trainB/b.jpg", "trainB/a.png")
    # The sides may differ in channels.
    x["valA/c.png"] = write_image(tmp_path / "valA/c.png", random_image(7))
    x["valB/c.png"] = write_image(tmp_path / "valB/c.png", random_image(8))
    source = read(tmp_path, ReadOptions(paired=True))
    assert list(source.splits) == ["train", "validation"]
    assert source.fields.keys() == {"image_a", "image_b"}
    rows = read_all(source)
    np.testing.assert_array_equal(rows["train"][1]["image_a"], x["trainA/b.png"])
    np.testing.assert_array_equal(rows["train"][1]["image_b"], x["trainB/b.jpg"])
    np.testing.assert_array_equal(rows["validation"][0]["image_b"], x["valB/c.png"])


def test_sides_of_pairs_have_their_own_channels(tmp_path):
    write_image(tmp_path / "trainA" / "a.png", random_image(1, (5, 4, 1)))
    write_image(tmp_path / "trainB" / "a.png", random_image(1, (6, 4, 3)))
    fields = read(tmp_path, ReadOptions(paired=True)).fields
    assert fields["image_a"].shape == (5, 4, 1)
    assert fields["image_b"].shape == (6, 4, 3)


def test_rejects_images_without_partners(tmp_path):
    pairs(tmp_path, "trainA/a.png", "trainA/b.png", "trainB/a.png")
    message = read_error(tmp_path, tmp_path / "trainA" / "b.png", paired=True)
    assert "no partner of the same name in trainB" in message
    assert len(read(tmp_path).splits["trainA"]) == 2
    pairs(tmp_path, "trainB/b.png", "trainB/b.jpg")
    assert "differ only in their suffix" in read_error(tmp_path, "b.jpg", "b.png", paired=True)


def test_rejects_missing_domains(tmp_path):
    write_image(tmp_path / "trainA" / "a.png")
    assert detect(tmp_path) == "pairs"
    assert "folder trainA and no trainB" in read_error(tmp_path)
    (tmp_path / "trainB").mkdir()
    assert "holds no images" in read_error(tmp_path, tmp_path / "trainB")
    (tmp_path / "other").mkdir()
    assert "neither trainA nor trainB" in read_error(tmp_path / "other", format="pairs")


@pytest.mark.parametrize("background", [-1, 256])
def test_rejects_options_out_of_range(background):
    with pytest.raises(ValueError, match=r"in \[0, 255\]"):
        ReadOptions(background=background)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"format": "zip"}, "`format` must be one of auto, images"),
        ({"mode": "gray"}, "`mode` must be one of rgb, grey"),
        ({"label": "middle"}, "`label` must be one of none"),
        ({"fit": "zoom"}, "`fit` must be one of exact"),
        ({"size": (3,)}, "`size` must be a tuple of 2 entries"),
        ({"size": (3, 0)}, "`size` must be a tuple of 2 entries: a positive integer"),
        ({"shape": (3, -1)}, "`shape` must be a non-empty tuple, each entry a positive integer"),
        ({"max_pixels": 0}, "`max_pixels` must be a positive integer"),
    ],
)
def test_rejects_invalid_options(settings, why):
    with pytest.raises(ValueError, match=why):
        ReadOptions(**settings)
