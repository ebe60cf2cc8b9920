"""Grids with every pixel in its place, and what is made of them over the steps."""

import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image
from support.small import small_run, write_data

from genjax.core import Optimizer
from genjax.data.image_grid import grid_with_layout, image_grid
from genjax.train import fit, sample_grids
from genjax.train.sample_grids import save_grid

GAP, GREY = 2, 128


def test_each_image_is_at_its_position():
    # Five 3x4 images make 3 columns and 2 rows, filled row by row; the sixth place is empty.
    images = np.arange(5 * 3 * 4 * 3).reshape(5, 3, 4, 3) / 255  # every value another
    page = image_grid(images, scale=1)
    assert page.dtype == np.uint8
    assert page.shape == (2 * (3 + GAP) + GAP, 3 * (4 + GAP) + GAP, 3)
    expected = np.full(page.shape, GREY, np.uint8)
    for i in range(5):
        top, left = GAP + (i // 3) * (3 + GAP), GAP + (i % 3) * (4 + GAP)
        expected[top : top + 3, left : left + 4] = np.round(images[i] * 255)
    np.testing.assert_array_equal(page, expected)


def test_range_is_mapped_and_clipped():
    image = np.array([-2.0, -1.0, 0.0, 1.0, 2.0]).reshape(1, 1, 5, 1)
    row = image_grid(image, low=-1, high=1, scale=1)[GAP, GAP : GAP + 5]
    # Without clipping, -2 and 2 wrap around in uint8. Grey: all three channels alike.
    np.testing.assert_array_equal(row, np.repeat([[0], [0], [128], [255], [255]], 3, axis=1))


def test_unbounded_values_are_scaled_by_their_percentiles():
    x = np.linspace(-3, 5, 10_001).reshape(-1, 1, 1, 1)
    x[0], x[-1] = -1e9, 1e9  # one outlier does not make the rest grey
    page = image_grid(x, -np.inf, np.inf, scale=1)
    inside = grid_with_layout(x, -3 + 0.08, 5 - 0.08, scale=1)[0]
    np.testing.assert_allclose(page.astype(int), inside.astype(int), atol=1)
    assert image_grid(np.zeros((4, 2, 2, 1)), -np.inf, np.inf).dtype == np.uint8


def test_scale_repeats_pixels_in_both_directions():
    image = np.array([[0.0, 1.0], [1.0, 0.0]]).reshape(1, 2, 2, 1)
    inner = image_grid(image, scale=3)[GAP:-GAP, GAP:-GAP, 0]
    np.testing.assert_array_equal(inner, np.kron([[0, 255], [255, 0]], np.ones((3, 3))))


@pytest.mark.parametrize(("height", "scale"), [(28, 2), (8, 7), (64, 1), (1, 28)])
def test_images_are_scaled_to_about_56_pixels(height, scale):
    page = image_grid(np.zeros((1, height, 4, 1)))
    assert page.shape[0] == height * scale + 2 * GAP


def test_flat_events_are_squares_or_rows():
    square = image_grid(np.array([[0.0, 1.0, 1.0, 0.0]]), scale=1)[GAP:-GAP, GAP:-GAP, 0]
    np.testing.assert_array_equal(square, [[0, 255], [255, 0]])
    row = image_grid(np.array([[0.0, 1.0, 1.0]]), scale=1)[GAP:-GAP, GAP:-GAP, 0]
    np.testing.assert_array_equal(row, [[0, 255, 255]])


def test_images_without_a_channel_axis():
    image = np.array([[[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]])
    np.testing.assert_array_equal(image_grid(image, scale=2), image_grid(image[..., None], scale=2))


def test_a_fourth_channel_is_left_out():
    image = np.zeros((1, 2, 2, 4))
    image[..., 1], image[..., 3] = 1.0, 0.5
    inner = image_grid(image, scale=1)[GAP:-GAP, GAP:-GAP]
    np.testing.assert_array_equal(inner, np.broadcast_to([0, 255, 0], (2, 2, 3)))


def test_decoded_grids_are_bounded_in_sum(tmp_path, monkeypatch):
    paths = write_grids(tmp_path, range(1, 41), n=2)
    one = sample_grids.read_grid(paths[1])[0].nbytes
    monkeypatch.setattr(sample_grids, "MAX_BYTES", 10 * one)
    with Image.open(io.BytesIO(sample_grids.write_gif(paths))) as image:
        assert 5 <= image.n_frames <= 10
    steps = sample_grids.strip(paths)[1]
    assert (steps[0], steps[-1]) == (1, 40)
    assert 5 <= len(steps) <= 10
    monkeypatch.setattr(sample_grids, "MAX_BYTES", 1)
    assert sample_grids.strip(paths)[1] == [1, 40]


def test_a_grid_of_large_images_has_fewer():
    assert sample_grids.fitting(64, (512, 512, 3)) == 64
    n = sample_grids.fitting(64, (1024, 512, 1))
    layouts = [grid_with_layout(np.zeros((k, 1, 1)))[1] for k in (n, n + 1)]
    sizes = [np.prod(dataclasses.replace(t, height=1024, width=512).size()) for t in layouts]
    assert sizes[0] <= sample_grids.MAX_PIXELS < sizes[1]


def test_save_grid_is_a_png_of_the_grid(tmp_path):
    images = np.random.default_rng(0).uniform(-1, 1, (7, 8, 8, 1))
    path = tmp_path / "samples" / "step_1.png"  # its folder is made
    save_grid(path, images, -1.0, 1.0)
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        # 3 columns and 3 rows of 8 x 7 = 56 pixels.
        assert image.size == (3 * 58 + 2, 3 * 58 + 2)
        np.testing.assert_array_equal(np.asarray(image), image_grid(images, -1.0, 1.0))


# Geometry.


@pytest.mark.parametrize("shape", [(1, 3, 4, 1), (5, 3, 4, 3), (7, 28, 28, 1), (10, 9), (3, 5)])
def test_samples_are_recovered_from_the_png(tmp_path, shape):
    images = np.random.default_rng(0).uniform(size=shape)
    path = tmp_path / "step_00000001.png"
    page = save_grid(path, images)
    read, tiles = sample_grids.read_grid(path)
    np.testing.assert_array_equal(read, page)
    found = sample_grids.cut(read, tiles)
    assert len(found) == len(images)
    for image, tile in zip(images, found, strict=True):
        alone = image_grid(image[None])[GAP:-GAP, GAP:-GAP]
        np.testing.assert_array_equal(tile, alone)
    assert tile.shape[0] % tiles.scale == 0
    np.testing.assert_array_equal(sample_grids.cut(read, tiles, 2), found[:2])
    assert tiles.label == ""


def test_other_png_files_have_no_geometry(tmp_path):
    path = tmp_path / "step_1.png"
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)
    assert sample_grids.read_grid(path)[1] is None
    assert sample_grids.strip({1: path}) is None
    # A geometry that is not that of the picture would cut beside it.
    save_grid(path, np.zeros((4, 8, 8)))
    with Image.open(path) as image:
        text = dict(image.text)
        half = image.crop((0, 0, 60, 60))
    info = pictures_info(text)
    half.save(path, pnginfo=info)
    assert sample_grids.read_grid(path)[1] is None


def pictures_info(text):
    from PIL import PngImagePlugin

    info = PngImagePlugin.PngInfo()
    for key, value in text.items():
        info.add_text(key, value)
    return info


def test_rejects_an_incomplete_png(tmp_path):
    path = tmp_path / "step_1.png"
    save_grid(path, np.random.default_rng(0).uniform(size=(4, 8, 8)))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"step_1\.png is not a whole PNG"):
        sample_grids.read_grid(path)


# Over the steps.


def write_grids(folder, steps, n=12, side=4, colours=1):
    """Grids whose samples at step s are of brightness s / 100, but for i's corner: i / 20; of
    colours each is half as bright as the one before."""
    for step in steps:
        x = np.full((n, side, side, colours), step / 100) / 2 ** np.arange(colours)
        x[:, 0, 0, :] = np.arange(n)[:, None] / 20
        save_grid(folder / f"step_{step:08d}.png", x)
    return sample_grids.grids(folder)


def test_grids_are_found_by_step(tmp_path):
    assert sample_grids.grids(tmp_path / "none") == {}
    write_grids(tmp_path, [20, 3, 100])
    (tmp_path / "seed_0.png").touch()
    (tmp_path / "step_x.png").touch()
    assert list(sample_grids.grids(tmp_path)) == [3, 20, 100]


def test_the_strip_has_one_row_per_step_and_one_column_per_sample(tmp_path):
    data, steps, _ = sample_grids.strip(write_grids(tmp_path, [5, 50, 95]))
    assert steps == [5, 50, 95]
    with Image.open(io.BytesIO(data)) as image:
        tiles = json.loads(image.text["genjax"])
        page = np.asarray(image)
    assert (tiles["columns"], tiles["count"], tiles["steps"]) == (10, 30, [5, 50, 95])
    size = 4 * 14  # four pixels, each drawn with fourteen
    assert page.shape == (3 * (size + GAP) + GAP, 10 * (size + GAP) + GAP, 3)
    for row, step in enumerate(steps):
        for column in range(10):
            top, left = GAP + row * (size + GAP), GAP + column * (size + GAP)
            assert page[top, left, 0] == int(255 * column / 20 + 0.5)
            assert page[top + size - 1, left + size - 1, 0] == int(255 * step / 100 + 0.5)


def test_a_strip_of_many_steps_is_thinned_and_keeps_both_ends(tmp_path):
    _, steps, _ = sample_grids.strip(write_grids(tmp_path, range(1, 41), n=2))
    assert len(steps) == 12
    assert (steps[0], steps[-1]) == (1, 40)
    assert set(np.diff(steps)) <= {3, 4}


def test_grids_of_another_size_or_damaged_are_left_out(tmp_path):
    write_grids(tmp_path, [1, 2], n=5)
    write_grids(tmp_path, [3, 4, 6])
    (tmp_path / "step_00000005.png").write_bytes(b"\x89PNG\r\n")
    paths = sample_grids.grids(tmp_path)
    assert sample_grids.strip(paths)[1] == [3, 4, 6]
    with Image.open(io.BytesIO(sample_grids.write_gif(paths))) as image:
        assert image.n_frames == 3


@pytest.mark.parametrize("colours", [1, 3])
def test_the_animation_shows_each_grid_and_holds_the_last(tmp_path, colours):
    paths = write_grids(tmp_path, [10, 40, 90], colours=colours)
    with Image.open(io.BytesIO(sample_grids.write_gif(paths))) as image:
        assert (image.format, image.n_frames, image.info["loop"]) == ("GIF", 3, 0)
        durations = []
        for i, path in enumerate(paths.values()):
            image.seek(i)
            durations.append(image.info["duration"])
            frame = np.asarray(image.convert("RGB"))
            grid = sample_grids.read_grid(path)[0].astype(int)
            assert (grid[..., 0] != grid[..., 2]).any() == (colours == 3)
            # A GIF has 256 colours: grey levels are kept, others are quantised.
            assert np.abs(frame - grid).max() <= (0 if colours == 1 else 8)
    assert durations == [500, 500, 1800]


def test_a_long_animation_is_thinned(tmp_path):
    paths = write_grids(tmp_path, range(1, 81), n=1, side=2)
    with Image.open(io.BytesIO(sample_grids.write_gif(paths))) as image:
        assert image.n_frames == 60
        assert image.info["duration"] == 100


def test_one_grid_makes_no_animation(tmp_path):
    paths = write_grids(tmp_path, [7])
    assert sample_grids.write_gif(paths) is None
    assert sample_grids.write_gif({}) is None
    assert sample_grids.strip({}) is None
    (tmp_path / "film.gif").touch()  # of a run that was here before
    assert [p.name for p in sample_grids.write_overview(tmp_path)] == ["strip.png"]
    assert not (tmp_path / "film.gif").exists()


def test_later_grids_are_removed_with_strip_and_animation(tmp_path):
    write_grids(tmp_path, [10, 20, 30])
    sample_grids.write_overview(tmp_path)
    sample_grids.remove_after(tmp_path, 30)
    assert (tmp_path / "film.gif").exists()
    sample_grids.remove_after(tmp_path, 20)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["step_00000010.png", "step_00000020.png"]


def test_large_samples_are_reduced_in_strip_and_animation(tmp_path, monkeypatch):
    """By averages of blocks, so that the grids of many steps fit into memory."""
    paths = write_grids(tmp_path, range(1, 9), n=2, side=64)  # drawn as they are
    page, tiles = sample_grids.read_grid(paths[8])
    monkeypatch.setattr(sample_grids, "SIDE", 32)
    monkeypatch.setattr(sample_grids, "MAX_BYTES", 2 * page.nbytes + 1)
    made = sample_grids.strip(paths)
    assert made.steps == list(range(1, 9))
    strip = np.asarray(Image.open(io.BytesIO(made.png))).astype(int)
    assert strip.shape == (8 * (32 + GAP) + GAP, 2 * (32 + GAP) + GAP, 3)
    block = sample_grids.cut(page, tiles)[1, :2, :2].mean(axis=(0, 1))
    np.testing.assert_allclose(strip[7 * (32 + GAP) + GAP, 32 + 2 * GAP], block, atol=0.5)
    with Image.open(io.BytesIO(sample_grids.write_gif(paths))) as image:
        assert (image.n_frames, image.size) == (8, (2 * (32 + GAP) + GAP, 32 + 2 * GAP))


def write_growth(folder, stages, n=3):
    """Grids whose samples at step s are of brightness s / 100, by step `(stage, alpha)`."""
    for step, (stage, alpha) in stages.items():
        path = folder / f"step_{step:08d}.png"
        save_grid(path, np.full((n, 4, 4, 1), step / 100), stage=stage, alpha=alpha)
    return sample_grids.grids(folder)


GROWN = {10: ("4x4", 1.0), 20: ("4x4", 1.0), 30: ("8x8", 0.25), 40: ("8x8", 0.5)}
GROWN |= {50: ("8x8", 1.0), 60: ("8x8", 1.0)}


def test_the_strip_of_growing_networks_has_the_last_grid_of_every_stage(tmp_path):
    paths = write_growth(tmp_path, GROWN)
    made = sample_grids.strip(paths)
    assert made.steps == [20, 30, 40, 60]
    assert made.labels == ["4x4", "8x8, alpha 0.25", "8x8, alpha 0.50", "8x8"]
    plain = np.asarray(Image.open(io.BytesIO(made.png)))
    size = 2 * 56  # enlarged again, to 96 pixels or more
    assert plain.shape == (4 * (size + GAP) + GAP, 3 * (size + GAP) + GAP, 3)
    assert [plain[i * (size + GAP) + GAP, GAP, 0] for i in range(4)] == [51, 77, 102, 153]
    # With captions the same picture is on the right; each row's text is black on white.
    wide = np.asarray(Image.open(io.BytesIO(sample_grids.strip(paths, captions=True).png)))
    assert wide.shape[0] == plain.shape[0]
    np.testing.assert_array_equal(wide[:, -plain.shape[1] :], plain)
    tops = [i * (size + GAP) + GAP for i in range(4)]
    boxes = [wide[top : top + size, GAP : -plain.shape[1] - GAP] for top in tops]
    assert [(box[0, 0, 0], (box == 255).all()) for box in boxes] == [(255, False)] * 4
    assert (boxes[0] != boxes[3]).any()


def test_the_strip_keeps_every_stage_where_fades_have_many_grids(tmp_path):
    stages, step = {}, 0
    for side in (4, 8, 16, 32):
        for alpha in np.linspace(0.1, 1, 10):
            step += 1
            stages[step] = (f"{side}x{side}", float(alpha))
    made = sample_grids.strip(write_growth(tmp_path, stages, n=1))
    assert len(made.steps) == 12
    assert {10, 20, 30, 40} <= set(made.steps)
    assert made.steps == sorted(made.steps)


def test_the_animation_of_growing_networks_names_the_stage(tmp_path):
    paths = write_growth(tmp_path, GROWN)
    page = sample_grids.read_grid(paths[60])[0]
    with Image.open(io.BytesIO(sample_grids.write_gif(paths))) as image:
        assert image.n_frames == 6
        frames = []
        for i in range(6):
            image.seek(i)
            frames.append(np.asarray(image.convert("L")))
    page = page[..., 0].repeat(2, axis=0).repeat(2, axis=1)  # a sample has 96 pixels or more
    assert frames[0].shape == (page.shape[0] + 20, page.shape[1])
    np.testing.assert_array_equal(frames[5][:-20], page)
    captions = [frame[-20:] for frame in frames]
    np.testing.assert_array_equal(captions[0], captions[1])  # 4x4
    assert len(np.unique(np.stack(captions), axis=0)) == 4


@pytest.mark.parametrize("family", ["gan", "nade"])
def test_grids_use_the_same_noise_at_every_step(family, tmp_path):
    """With a rate that moves no weight, every picture of the run is the first."""
    still = Optimizer(learning_rate=1e-30)
    run = small_run(family, write_data(tmp_path), steps=15)
    one = still if family == "nade" else dict(generator=still, discriminator=still)
    fit(dataclasses.replace(run, optimizer=one), tmp_path / "run", quiet=True)
    found = [p.read_bytes() for p in sorted((tmp_path / "run" / "samples").glob("step_*.png"))]
    assert len(found) == 3
    assert found[1:] == found[:1] * 2
