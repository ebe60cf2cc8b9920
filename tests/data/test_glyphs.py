"""Glyphs: images known to the pixel, splits by character, domains without shared characters."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from support.reading import assert_error_message

from genjax.data import Data, glyphs, load
from genjax.data.glyphs import ATTRIBUTES, FACES, STYLES, characters, load_glyphs, render
from genjax.data.open_source import open_source
from genjax.data.readers import ReadOptions


def test_characters_have_distinct_images_inside_the_frame():
    known = characters()
    assert 1600 < len(known) < 1850
    assert {*"AaBb09"} <= set(known)
    assert not {"\u0391", "\u0410"} & set(known)  # Greek and Cyrillic A are drawn like Latin A
    for face, bold, slanted in (("sans", 0, 0), ("serif", 1, 1)):
        x = render(known, face=face, bold=bold, slanted=slanted)
        assert len({row.tobytes() for row in x}) == len(known)
        assert x.reshape(len(x), -1).max(axis=1).min() > 0


@pytest.mark.parametrize("face", FACES)
def test_no_pixel_of_a_character_is_cut_off(face):
    """On a larger image, no character has a pixel outside of the 32 by 32 pixels."""
    font = ImageFont.truetype(glyphs._path(FACES[face]), 22, layout_engine=0)
    shown = characters()[::20]
    x = render(shown, face=face[0], bold=face[1], slanted=face[2])[..., 0]
    for character, own in zip(shown, x, strict=True):
        image = Image.new("L", (96, 96))
        ImageDraw.Draw(image).text((48, 58), character, fill=255, font=font, anchor="ms")
        np.testing.assert_array_equal(np.pad(own, 32), np.asarray(image))


def test_ink_is_a_factor_of_the_coverage():
    grey = render("Q", bold=True)
    x = render("QQQ", bold=True, ink=["red", "blue", "white"])
    for i, channels in enumerate(((0,), (2,), (0, 1, 2))):
        for c in range(3):
            np.testing.assert_array_equal(x[i, ..., c], grey[0, ..., 0] * (c in channels))
    assert (render("aa", face=["sans", "serif"])[0] != render("a")[0]).sum() == 0
    assert (render("aa", face=["sans", "serif"])[1] != render("a")[0]).any()
    assert (render([ord("a")]) == render("a")).all()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"characters": "\u4e00"}, "DejaVuSans has no character '\u4e00'; leave it out"),
        ({"characters": "\u01c4", "face": "serif", "bold": True}, "does not fit 32 by 32 pixels"),
        ({"characters": ["ab"]}, "has no character 'ab'"),
        ({"characters": "a", "face": "mono"}, "`face` must be 'sans' or 'serif', got 'mono'"),
        ({"characters": "a", "ink": "pink"}, "`ink` must be one of red, green, blue, white, got"),
    ],
)
def test_rejects_what_cannot_be_drawn(arguments, match):
    with pytest.raises(ValueError, match=match) as error:
        render(**arguments)
    assert_error_message(str(error.value))


def test_splits_share_no_character():
    for name in ("glyphs_paired", "glyphs_attributes"):
        splits = load(Data(data=name)).splits
        sets = {s: set(v["caption"].tolist()) for s, v in splits.items()}
        n = len(characters())
        assert set.union(*sets.values()) == set(characters())
        assert sum(map(len, sets.values())) == n
        assert [round(100 * len(sets[s]) / n) for s in ("test", "validation")] == [10, 5]


def test_unpaired_domains_are_disjoint_halves():
    dataset, pairs = load(Data(data="glyphs")), load(Data(data="glyphs_paired"))
    assert dataset.unpaired
    assert dataset.paired == {"validation", "test"}
    assert not pairs.unpaired
    assert pairs.paired == {"train", "validation", "test"}
    train, whole = dataset.splits["train"], pairs.splits["train"]
    half = len(train["x"])
    assert abs(half - len(train["y"])) <= 1
    np.testing.assert_array_equal(train["x"], whole["x"][:half])
    np.testing.assert_array_equal(train["y"], whole["y"][half:])
    for split in ("validation", "test"):
        for name in "xy":
            np.testing.assert_array_equal(dataset.splits[split][name], pairs.splits[split][name])
    rows = pairs.splits["test"]
    np.testing.assert_array_equal(rows["x"], render(rows["caption"]))
    y = render(rows["caption"], face="serif", bold=True, slanted=True)
    np.testing.assert_array_equal(rows["y"], y)


def test_render_is_the_truth_of_every_attribute_vector():
    dataset = load(Data(data="glyphs_attributes"))
    assert dataset.names["attributes"] == ATTRIBUTES
    rows = dataset.read("test", np.arange(24))
    np.testing.assert_array_equal(dataset.render(rows, rows["attributes"]), rows["x"])
    everything = dataset.splits["train"]
    a = everything["attributes"]
    assert (a[:, :3].sum(axis=1) == 1).all()
    np.testing.assert_array_equal(a[:, 3:], np.tile(STYLES, (len(a) // 4, 1)))
    shares = a[:, :3].mean(axis=0)
    assert np.abs(shares - 1 / 3).max() < 5 * np.sqrt(2 / 9 / len(a))
    target = np.tile(np.array([0, 0, 1, 1, 0], np.uint8), (24, 1))
    opacity = render(rows["caption"], bold=True) / 255
    want = opacity * [0, 0, 255] + (1 - opacity) * 128  # blue on grey
    np.testing.assert_array_equal(dataset.render(rows, target), np.round(want))
    with pytest.raises(ValueError, match="1 for exactly one of red, green, blue, got") as error:
        dataset.render(rows, 1 - target)
    assert_error_message(str(error.value))


def test_masked_data_hides_the_attributes_of_the_other_set():
    full, masked = (load_glyphs(f"glyphs_{kind}").splits for kind in ("attributes", "masked"))
    for split, entries in masked.items():
        np.testing.assert_array_equal(entries["x"], full[split]["x"])
        assert abs(entries["label"].mean() - 0.5) < 0.01
        known = np.stack([entries["label"] == 0] * 3 + [entries["label"] == 1] * 2, axis=1)
        truth = full[split]["attributes"]
        want = truth * known if split == "train" else truth
        np.testing.assert_array_equal(entries["attributes"], want)
        groups = [set(entries["caption"][entries["label"] == v]) for v in (0, 1)]
        assert not groups[0] & groups[1]


def test_data_is_the_same_each_time():
    checksums = {n: load_glyphs(n).checksum() for n in ("glyphs", "glyphs_attributes")}
    assert len(set(checksums.values())) == 2
    for name, checksum in checksums.items():
        assert load(Data(data=name)).checksum() == checksum
    assert load(Data(data="glyphs", limit=10)).counts() == dict.fromkeys(
        ("train", "validation", "test"), 10
    )


def test_prepares_pairs_and_attributes():
    source = open_source("glyphs_paired", ReadOptions())
    assert {k: f.kind for k, f in source.fields.items()} == {
        "image_a": "image",
        "image_b": "image",
        "caption": "text",
    }
    source = open_source("glyphs_attributes", ReadOptions())
    assert source.fields["attributes"].names == ATTRIBUTES
    with pytest.raises(ValueError, match=r"prepare pairs \(glyphs_paired\), and train on them"):
        open_source("glyphs", ReadOptions())
