"""Metrics that survive a cut, and grids with every pixel in its place."""

import json

import numpy as np
import pytest
from PIL import Image

from genjax.train.writers import Metrics, Progress, grid, save_grid

GAP, GREY = 2, 128


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_metrics_are_one_json_object_a_line(tmp_path):
    metrics = Metrics(tmp_path, after=0)
    metrics.write(1, {"loss": 0.5})
    metrics.write(2, {"loss": 0.25, "rate": 7})
    assert lines(tmp_path) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25, "rate": 7}]


def test_numbers_that_are_not_finite_become_null(tmp_path):
    # Python would write NaN, which no other JSON reader takes.
    values = {"a": float("nan"), "b": float("inf"), "c": -float("inf"), "d": 0.0}
    Metrics(tmp_path, after=0).write(3, values)
    text = (tmp_path / "metrics.jsonl").read_text()
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found == {"step": 3, "a": None, "b": None, "c": None, "d": 0.0}


def test_lines_after_the_step_are_dropped_and_come_again(tmp_path):
    metrics = Metrics(tmp_path, after=0)
    for step in (10, 20, 30):
        metrics.write(step, {"loss": step})
    # The checkpoint is of step 20: the line of 20 itself stays.
    resumed = Metrics(tmp_path, after=20)
    assert [line["step"] for line in lines(tmp_path)] == [10, 20]
    resumed.write(30, {"loss": 31})
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [
        (10, 10),
        (20, 20),
        (30, 31),
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_half_written_last_line_is_dropped_wherever_it_was_cut(tmp_path):
    Metrics(tmp_path, after=0).write(10, {"loss": 1.0})
    path = tmp_path / "metrics.jsonl"
    first = path.read_text()
    second = '{"step": 20, "loss": 2.0}'
    for cut in range(len(second) + 1):
        path.write_text(first + second[:cut])
        Metrics(tmp_path, after=20).write(30, {"loss": 3.0})
        # A line that lacks only its newline is whole; the next must not be glued to it.
        steps = [10, 20, 30] if cut == len(second) else [10, 30]
        assert [line["step"] for line in lines(tmp_path)] == steps, cut


def test_lines_of_something_else_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('5\n[1]\n{"loss": 1}\n\n\x00\x00\n{"step": 1}\n')
    Metrics(tmp_path, after=5)
    assert lines(tmp_path) == [{"step": 1}]


# Grids.


def test_every_image_in_its_place():
    # Five 3x4 images make 3 columns and 2 rows, filled row by row; the sixth place is empty.
    images = np.arange(5 * 3 * 4 * 3).reshape(5, 3, 4, 3) / 255  # every value another
    page = grid(images, scale=1)
    assert page.dtype == np.uint8
    assert page.shape == (2 * (3 + GAP) + GAP, 3 * (4 + GAP) + GAP, 3)
    expected = np.full(page.shape, GREY, np.uint8)
    for i in range(5):
        top, left = GAP + (i // 3) * (3 + GAP), GAP + (i % 3) * (4 + GAP)
        expected[top : top + 3, left : left + 4] = np.round(images[i] * 255)
    np.testing.assert_array_equal(page, expected)


def test_range_is_mapped_and_clipped():
    image = np.array([-2.0, -1.0, 0.0, 1.0, 2.0]).reshape(1, 1, 5, 1)
    row = grid(image, low=-1, high=1, scale=1)[GAP, GAP : GAP + 5]
    # Without clipping, -2 and 2 wrap around in uint8. Grey: all three channels alike.
    np.testing.assert_array_equal(row, np.repeat([[0], [0], [128], [255], [255]], 3, axis=1))


def test_scale_repeats_pixels_in_both_directions():
    image = np.array([[0.0, 1.0], [1.0, 0.0]]).reshape(1, 2, 2, 1)
    inner = grid(image, scale=3)[GAP:-GAP, GAP:-GAP, 0]
    np.testing.assert_array_equal(inner, np.kron([[0, 255], [255, 0]], np.ones((3, 3))))


@pytest.mark.parametrize(("height", "scale"), [(28, 2), (8, 7), (64, 1), (1, 28)])
def test_images_come_out_about_56_pixels_high(height, scale):
    page = grid(np.zeros((1, height, 4, 1)))
    assert page.shape[0] == height * scale + 2 * GAP


def test_flat_events_are_squares_or_rows():
    square = grid(np.array([[0.0, 1.0, 1.0, 0.0]]), scale=1)[GAP:-GAP, GAP:-GAP, 0]
    np.testing.assert_array_equal(square, [[0, 255], [255, 0]])
    row = grid(np.array([[0.0, 1.0, 1.0]]), scale=1)[GAP:-GAP, GAP:-GAP, 0]
    np.testing.assert_array_equal(row, [[0, 255, 255]])


def test_images_without_a_channel_axis():
    image = np.array([[[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]])
    np.testing.assert_array_equal(grid(image, scale=2), grid(image[..., None], scale=2))


def test_a_fourth_channel_is_left_out():
    image = np.zeros((1, 2, 2, 4))
    image[..., 1], image[..., 3] = 1.0, 0.5
    inner = grid(image, scale=1)[GAP:-GAP, GAP:-GAP]
    np.testing.assert_array_equal(inner, np.broadcast_to([0, 255, 0], (2, 2, 3)))


def test_save_grid_is_a_png_of_the_grid(tmp_path):
    images = np.random.default_rng(0).uniform(-1, 1, (7, 8, 8, 1))
    path = tmp_path / "samples" / "step_1.png"  # its folder is made
    save_grid(path, images, -1.0, 1.0)
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        # 3 columns and 3 rows of 8 x 7 = 56 pixels.
        assert image.size == (3 * 58 + 2, 3 * 58 + 2)
        np.testing.assert_array_equal(np.asarray(image), grid(images, -1.0, 1.0))


# Progress.


def test_progress_says_step_metrics_rate_and_time_left(capsys):
    progress = Progress("nade", 2000)
    progress.begin(500)
    progress.began -= 60.0  # a minute for 500 steps: two minutes for the 1,000 that are left
    progress.log(1000, {"loss": 123.456}, 2500.0)
    progress.close()
    assert capsys.readouterr().err == (
        "nade  step 1,000/2,000  loss 123.5  2,500 examples/s  2:00 left\n"
    )


def test_quiet_progress_is_silent(capsys):
    progress = Progress("nade", 10, quiet=True)
    progress.log(5, {"loss": 1.0}, 1.0)
    progress.say("a line")
    progress.close()
    assert capsys.readouterr() == ("", "")
