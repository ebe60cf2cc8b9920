"""`genjax translate`: images of any size, format and place, and what it refuses."""

import os

import jax
import numpy as np
import pytest
from PIL import Image
from support.fake_translators import (
    AttributeConfig,
    AttributeTranslators,
    DomainConfig,
    Translators,
)
from support.small import small_run

from genjax.cli import image_translator, translate
from genjax.train.sample_grids import cut, read_grid

RNG = np.random.default_rng(0)


@pytest.fixture
def use(monkeypatch):
    """Makes `load` return a run of a fake family."""

    def with_family(family, config):
        run = small_run("nade", "unused")
        object.__setattr__(run, "model", config)
        variables = family.init(config, jax.random.key(0))
        monkeypatch.setattr(translate, "load", lambda workdir: (run, variables))
        monkeypatch.setattr(translate.families, "get", lambda name: family)

    return with_family


@pytest.fixture
def colour(use):
    use(Translators(), DomainConfig(shape=(16, 16, 3)))


def run(tmp_path, *options):
    return translate.main(["run", str(tmp_path / "in"), str(tmp_path / "out"), *map(str, options)])


def save(path, pixels, mode=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def noise(height, width, channels=3):
    shape = (height, width) if channels == 1 else (height, width, channels)
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def opened(path, mode=None):
    with Image.open(path) as image:
        return np.asarray(image.convert(mode) if mode else image)


@pytest.mark.parametrize("size", [(1, 1), (17, 31), (2000, 3000), (1, 40)])
def test_keeps_every_size_and_every_pixel_in_its_place(colour, tmp_path, size):
    pixels = np.broadcast_to(np.arange(size[1], dtype=np.uint8)[None, :, None], (*size, 3)).copy()
    pixels[: size[0] // 2] //= 2
    save(tmp_path / "in" / "a.png", pixels)
    assert run(tmp_path) == 0
    np.testing.assert_array_equal(opened(tmp_path / "out" / "a.png"), 255 - pixels)


def test_domain_is_the_requested_one(colour, tmp_path):
    pixels = save(tmp_path / "in" / "a.png", noise(5, 7))
    pixels = opened(pixels)
    assert run(tmp_path, "--to", "a") == 0
    expected = np.round((pixels / 127.5 - 1) / 2 * 127.5 + 127.5)
    np.testing.assert_allclose(opened(tmp_path / "out" / "a.png"), expected, atol=1)


def test_images_of_one_padded_size_are_translated_together(colour, tmp_path, monkeypatch):
    batches = []
    original = image_translator.ImageTranslator._program

    def program(self, name, batch, conditions):
        batches.append(batch.shape)
        return original(self, name, batch, conditions)

    monkeypatch.setattr(image_translator.ImageTranslator, "_program", program)
    images = {f"{i}.png": noise(*size) for i, size in enumerate([(17, 20), (20, 18), (40, 40)] * 3)}
    for name, pixels in images.items():
        save(tmp_path / "in" / name, pixels)
    assert run(tmp_path, "--batch-size", 4) == 0
    # Six images are padded to 20x20, in two batches of one size; three need no padding.
    assert sorted(batches) == [(3, 40, 40, 3), (4, 20, 20, 3), (4, 20, 20, 3)]
    for name, pixels in images.items():
        np.testing.assert_array_equal(opened(tmp_path / "out" / name), 255 - pixels)


def test_small_images_are_padded_to_what_the_network_was_trained_on():
    def padded(trained, *size):
        config = DomainConfig(shape=(trained, trained, 3))
        return image_translator.ImageTranslator(Translators(), config, {}).padded_size(*size)

    assert padded(16, 1, 1) == (16, 16)
    assert padded(256, 1, 99) == (64, 100)
    assert padded(6, 1, 13) == (8, 16)


def test_large_images_are_translated_one_by_one():
    assert image_translator.images_at_once((2000, 3000), 8) == 1
    assert image_translator.images_at_once((512, 512), 8) == 4
    assert image_translator.images_at_once((16, 16), 8) == 8


def test_grey_file_of_a_colour_run_becomes_colour(colour, tmp_path):
    grey = noise(6, 9, 1)
    save(tmp_path / "in" / "a.png", grey)
    assert run(tmp_path) == 0
    np.testing.assert_array_equal(
        opened(tmp_path / "out" / "a.png"), np.repeat(255 - grey[..., None], 3, axis=2)
    )


def test_colours_become_grey_for_a_run_on_grey_images(use, tmp_path):
    use(Translators(), DomainConfig(shape=(16, 16, 1)))
    pixels = noise(6, 9)
    save(tmp_path / "in" / "a.png", pixels)
    assert run(tmp_path) == 0
    luma = np.asarray(Image.fromarray(pixels).convert("L"))
    np.testing.assert_array_equal(opened(tmp_path / "out" / "a.png"), 255 - luma)


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif"])
def test_opacity_is_kept_where_the_format_has_it(colour, tmp_path, name):
    pixels = noise(9, 6, 4)
    pixels[:4, :, 3] = 255
    options = {"lossless": True, "exact": True} if name == "a.webp" else {}
    save(tmp_path / "in" / name, pixels, **options)
    assert run(tmp_path) == 0
    found = opened(tmp_path / "out" / name)
    assert found.shape == (9, 6, 4)
    np.testing.assert_array_equal(found[..., 3], pixels[..., 3])
    np.testing.assert_array_equal(found[:4, :, :3], 255 - pixels[:4, :, :3])


def test_palette_with_a_transparent_colour(colour, tmp_path):
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[:, 3:] = (200, 10, 30)
    image = Image.fromarray(pixels).quantize(4)
    (tmp_path / "in").mkdir()
    image.save(tmp_path / "in" / "a.png", transparency=image.getpixel((0, 0)))
    assert run(tmp_path) == 0
    found = opened(tmp_path / "out" / "a.png", "RGBA")
    assert found[0, 5].tolist() == [55, 245, 225, 255]
    assert found[0, 0, 3] == 0


def test_16_bit_grey_becomes_8_bit(colour, tmp_path):
    wide = RNG.integers(0, 2**16, (5, 5), dtype=np.uint16)
    save(tmp_path / "in" / "a.png", wide)
    assert run(tmp_path) == 0
    found = opened(tmp_path / "out" / "a.png")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[..., 0], 255 - np.round(wide / 257).astype(np.uint8))


def test_cmyk_jpeg_becomes_rgb_of_the_same_name(colour, tmp_path):
    pixels = np.full((16, 16, 3), (200, 60, 20), np.uint8)
    save(tmp_path / "in" / "a.jpg", pixels, "CMYK", quality=99)
    assert run(tmp_path) == 0
    with Image.open(tmp_path / "out" / "a.jpg") as image:
        assert (image.format, image.mode) == ("JPEG", "RGB")
        np.testing.assert_allclose(np.asarray(image)[8, 8], (55, 195, 235), atol=3)


def test_orientation_of_exif_is_applied_and_not_repeated(colour, tmp_path):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, 8:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be rotated clockwise
    save(tmp_path / "in" / "a.jpg", pixels, exif=exif, quality=99)
    assert run(tmp_path) == 0
    with Image.open(tmp_path / "out" / "a.jpg") as image:
        found = np.asarray(image)
        assert image.getexif().get(0x0112, 1) == 1
    assert found.shape == (16, 8, 3)
    assert found[:6].min() > 250 and found[-6:].max() < 5  # noqa: PT018


def test_orientation_applies_to_opacity_too(colour, tmp_path):
    pixels = noise(8, 16, 4)
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "in" / "a.png", pixels, exif=exif)
    assert run(tmp_path) == 0
    found = opened(tmp_path / "out" / "a.png")
    np.testing.assert_array_equal(found[..., 3], np.rot90(pixels[..., 3], -1))


def test_jpeg_keeps_single_pixels_of_colour(colour, tmp_path):
    pixels = np.full((16, 16, 3), 128, np.uint8)
    pixels[:, ::2] = (200, 60, 128)
    # The suffix decides; opacity, which JPEG has not, is dropped.
    pixels = np.concatenate([pixels, np.full((16, 16, 1), 255, np.uint8)], axis=2)
    save(tmp_path / "in" / "a.png", pixels).rename(tmp_path / "in" / "a.jpg")
    assert run(tmp_path) == 0
    with Image.open(tmp_path / "out" / "a.jpg") as image:
        assert image.format == "JPEG"
        found = np.asarray(image).astype(int)
    np.testing.assert_allclose(found, 255 - pixels[..., :3].astype(int), atol=12)


def test_colour_profile_is_kept(colour, tmp_path):
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    save(tmp_path / "in" / "a.png", noise(4, 4), icc_profile=profile)
    assert run(tmp_path) == 0
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert image.info["icc_profile"] == profile


def test_gif_becomes_png_and_other_names_stay(colour, tmp_path):
    for name in ("a.gif", "b.JPG", "c.bmp", "d.ppm"):
        save(tmp_path / "in" / name, noise(5, 5))
    assert run(tmp_path) == 0
    assert sorted(os.listdir(tmp_path / "out")) == ["a.png", "b.JPG", "c.bmp", "d.ppm"]


def test_damaged_files_are_named_and_the_others_are_translated(colour, tmp_path, capsys):
    good = save(tmp_path / "in" / "good.png", noise(40, 40))
    data = good.read_bytes()
    (tmp_path / "in" / "cut.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "in" / "empty.jpg").write_bytes(b"")
    (tmp_path / "in" / "text.jpg").write_text("no image")
    assert run(tmp_path) == 2
    out, lines = capsys.readouterr()
    for name in ("cut.png", "empty.jpg", "text.jpg"):
        assert [line.startswith("error: ") for line in lines.splitlines() if name in line] == [True]
    assert "3 of 4 images could not be translated" in lines.splitlines()[-1]
    assert out.startswith("1 of 4 images in ")
    assert os.listdir(tmp_path / "out") == ["good.png"]
    np.testing.assert_array_equal(opened(tmp_path / "out" / "good.png"), 255 - opened(good))


def test_subfolders_are_kept_and_other_files_skipped(colour, tmp_path, capsys):
    for name in ("a.png", "x/a.png", "x/y/b.png", ".hidden.png", ".git/c.png"):
        save(tmp_path / "in" / name, noise(5, 5))
    (tmp_path / "in" / "x" / "notes.txt").write_text("text")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    os.mkfifo(tmp_path / "in" / "pipe.png")
    assert run(tmp_path) == 0
    found = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.glob("out/**/*.png"))
    assert found == ["out/a.png", "out/x/a.png", "out/x/y/b.png"]
    assert "1 other files skipped" in capsys.readouterr().out


def test_one_file_to_a_folder_or_a_name(colour, tmp_path):
    source = save(tmp_path / "a.png", noise(5, 5))
    assert translate.main(["run", str(source), str(tmp_path / "folder")]) == 0
    assert translate.main(["run", str(source), str(tmp_path / "new" / "b.bmp")]) == 0
    expected = 255 - opened(source)
    np.testing.assert_array_equal(opened(tmp_path / "folder" / "a.png"), expected)
    np.testing.assert_array_equal(opened(tmp_path / "new" / "b.bmp"), expected)


def test_second_run_inside_the_input_does_not_translate_the_first(colour, tmp_path):
    save(tmp_path / "a.png", noise(5, 5))
    for _ in range(2):
        arguments = ["run", str(tmp_path), str(tmp_path / "out"), "--overwrite"]
        assert translate.main(arguments) == 0
    assert [p.name for p in tmp_path.glob("out/**/*")] == ["a.png"]


def test_existing_files_are_replaced_only_on_request(colour, tmp_path, capsys):
    save(tmp_path / "in" / "a.png", noise(5, 5))
    save(tmp_path / "in" / "b.png", noise(5, 5))
    kept = save(tmp_path / "out" / "b.png", noise(2, 2)).read_bytes()
    assert run(tmp_path) == 2
    assert "b.png exist already" in capsys.readouterr().err
    assert (tmp_path / "out" / "b.png").read_bytes() == kept
    assert not (tmp_path / "out" / "a.png").exists()
    assert run(tmp_path, "--overwrite") == 0
    assert opened(tmp_path / "out" / "b.png").shape == (5, 5, 3)


def test_links_in_the_output_are_not_followed(colour, tmp_path, capsys):
    save(tmp_path / "in" / "x" / "a.png", noise(5, 5))
    save(tmp_path / "in" / "b.png", noise(5, 5))
    precious = save(tmp_path / "precious.png", noise(2, 2))
    before = precious.read_bytes()
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "x").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out" / "b.png").symlink_to(precious)
    assert run(tmp_path) == 2  # b.png exists
    assert run(tmp_path, "--overwrite") == 2
    assert "is a link, which may lead out of OUT" in capsys.readouterr().err
    assert precious.read_bytes() == before
    assert not (tmp_path / "out" / "b.png").is_symlink()
    assert os.listdir(tmp_path / "elsewhere") == []


def test_rejects_outputs_that_collide_or_are_inputs(colour, tmp_path, capsys):
    save(tmp_path / "in" / "a.png", noise(5, 5))
    same = ["run", str(tmp_path / "in"), str(tmp_path / "in"), "--overwrite"]
    assert translate.main(same) == 2
    assert "write to another folder" in capsys.readouterr().err
    file = str(tmp_path / "in" / "a.png")
    assert translate.main(["run", file, file, "--overwrite"]) == 2
    save(tmp_path / "in" / "a.gif", noise(5, 5))
    assert run(tmp_path) == 2
    assert "rename one of them" in capsys.readouterr().err


def test_rejects_what_is_not_there(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    assert run(tmp_path) == 2
    assert "holds no images" in capsys.readouterr().err
    missing = ["run", str(tmp_path / "missing"), str(tmp_path / "out")]
    assert translate.main(missing) == 2
    assert "there is no file or folder" in capsys.readouterr().err
    save(tmp_path / "in" / "a.png", noise(5, 5))
    arguments = [str(tmp_path / "norun"), str(tmp_path / "in"), str(tmp_path / "out")]
    assert translate.main(arguments) == 2
    assert "norun" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_attributes_are_changed_and_the_others_stay_as_classified(use, tmp_path):
    use(AttributeTranslators(), AttributeConfig(shape=(16, 16, 3)))
    save(tmp_path / "in" / "dark.png", np.full((5, 5, 3), 10, np.uint8))
    save(tmp_path / "in" / "light.png", np.full((5, 5, 3), 240, np.uint8))
    assert run(tmp_path, "--set", "red=1") == 0
    # The fake classifier sees green, and bold where it is light; red excludes green.
    assert opened(tmp_path / "out" / "dark.png")[0, 0].tolist() == [255, 0, 0]
    assert opened(tmp_path / "out" / "light.png")[0, 0].tolist() == [255, 0, 255]


def test_changes_of_one_label_set_leave_the_other_as_it_is(use, tmp_path):
    two_sets = AttributeConfig(
        shape=(16, 16, 3), attributes=("red", "green"), second_attributes=("bold",)
    )
    use(AttributeTranslators(), two_sets)
    for name in ("a.png", "b.png", "c.png"):
        save(tmp_path / "in" / name, np.full((5, 5, 3), 240, np.uint8))
    for changes, expected in (
        (("bold=0",), [128, 128, 0]),  # colours are passed as unknown
        (("red=1",), [255, 0, 128]),
        (("red=1", "bold=1"), [255, 0, 255]),
    ):
        assert run(tmp_path, "--set", *changes, "--overwrite", "--batch-size", 2) == 0
        for name in ("a.png", "c.png"):
            assert opened(tmp_path / "out" / name)[0, 0].tolist() == expected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "give the attributes to change by --set NAME=VALUE, of red, green, bold"),
        (("--set", "blue=1"), "there is no attribute 'blue'"),
        (("--set", "red"), "NAME=0 or NAME=1"),
        (("--set", "red=2"), "NAME=0 or NAME=1"),
        (("--set", "red=1", "red=0"), "once"),
        (("--set", "red=1", "green=1"), "exactly one of red, green"),
        (("--set", "red=0"), "exactly one of red, green"),  # an image may be red
        (("--set", "green=0"), "set one of them to 1"),
        (("--set", "red=1", "--to", "b"), "omit --to"),
    ],
)
def test_rejects_attributes_before_all_work(use, tmp_path, capsys, options, words):
    use(AttributeTranslators(), AttributeConfig())
    save(tmp_path / "in" / "a.png", noise(5, 5))
    assert run(tmp_path, *options) == 2
    errors = capsys.readouterr().err
    assert words in errors
    assert "could not be translated" not in errors
    assert not (tmp_path / "out").exists()


def test_rejects_conditions_of_other_families(colour, tmp_path, capsys):
    save(tmp_path / "in" / "a.png", noise(5, 5))
    assert run(tmp_path, "--to", "c") == 2
    assert "`to` must be one of a, b" in capsys.readouterr().err
    assert run(tmp_path, "--set", "red=1") == 2
    assert "omit --set" in capsys.readouterr().err


def test_grid_has_inputs_beside_translations(colour, tmp_path):
    small, large = noise(60, 30), np.full((600, 300, 3), 9, np.uint8)
    save(tmp_path / "in" / "1.png", small)
    save(tmp_path / "in" / "2.png", large)
    assert run(tmp_path, "--grid", tmp_path / "grid.png") == 0
    page, tiles = read_grid(tmp_path / "grid.png")
    assert tiles.titles == ("input", "to b")
    images = cut(page, tiles)
    assert images.shape == (4, 256, 128, 3)
    np.testing.assert_array_equal(images[0][98:158, 49:79], small)
    np.testing.assert_array_equal(images[1][98:158, 49:79], 255 - small)
    assert (images[0][0] == 128).all()
    assert (images[2] == 9).all()
    assert (images[3] == 246).all()
    assert run(tmp_path, "--grid", tmp_path / "grid.png") == 2


def test_grid_is_a_png_beside_the_outputs(colour, tmp_path, capsys):
    save(tmp_path / "in" / "a.png", noise(5, 5))
    (tmp_path / "folder.png").mkdir()
    for grid, words in (
        ("folder.png", "is a folder"),
        ("out", "to out.png"),
        ("out.png", "is a folder"),
        ("grid.jpg", "to grid.jpg.png"),
        ("in/a.png/grid.png", "a.png is not a folder"),
    ):
        out = tmp_path / ("out.png" if grid == "out.png" else "out")
        options = ["--grid", str(tmp_path / grid), "--overwrite"]
        assert translate.main(["run", str(tmp_path / "in"), str(out), *options]) == 2
        assert words in capsys.readouterr().err
        assert not out.exists()


def test_rejects_a_folder_below_a_file_and_a_longer_side_of_0(colour, tmp_path, capsys):
    path = save(tmp_path / "in" / "a.png", noise(5, 5))
    assert translate.main(["run", str(path), str(path / "x")]) == 2
    errors = capsys.readouterr().err
    assert "a.png is not a folder" in errors
    assert "could not be translated" not in errors
    assert run(tmp_path, "--max-side", 0) == 2
    assert "`max_side` must be positive" in capsys.readouterr().err


def test_links_to_themselves_are_skipped(colour, tmp_path):
    save(tmp_path / "in" / "a.png", noise(5, 5))
    (tmp_path / "in" / "loop.png").symlink_to("loop.png")
    (tmp_path / "in" / "nowhere.png").symlink_to("missing.png")
    assert run(tmp_path) == 0
    assert os.listdir(tmp_path / "out") == ["a.png"]


def test_large_images_are_scaled_down_on_request(colour, tmp_path):
    save(tmp_path / "in" / "a.png", np.full((100, 50, 4), 7, np.uint8))
    save(tmp_path / "in" / "b.png", noise(10, 20))
    assert run(tmp_path, "--max-side", 40) == 0
    assert opened(tmp_path / "out" / "a.png").shape == (40, 20, 4)
    assert opened(tmp_path / "out" / "b.png").shape == (10, 20, 3)


def test_says_what_to_do_where_memory_does_not_suffice(colour, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(image_translator, "free_memory", lambda: 20_000)
    save(tmp_path / "in" / "big.png", noise(200, 200))
    save(tmp_path / "in" / "small.png", noise(16, 16))
    assert run(tmp_path) == 2
    errors = capsys.readouterr().err
    assert "big.png: memory ran out" in errors
    assert "--max-side" in errors
    assert os.listdir(tmp_path / "out") == ["small.png"]


def test_free_memory_is_plausible():
    free = image_translator.free_memory()
    assert free is None or 2**20 < free < 2**50
