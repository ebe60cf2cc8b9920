"""`genjax solve`: pieces of any names, formats and numbers, and what it rejects."""

import dataclasses
import json
import os
import pathlib
import re
import sys

import jax
import numpy as np
import pytest
from PIL import Image
from support.fake_solvers import LEVELS, Config, PermutationSolver, PositionSolver, solver_run
from support.helpers import ROOT
from support.small import small_run

from genjax.cli import main as program
from genjax.cli import piece_files, solve
from genjax.core import Optimizer
from genjax.families import jigsaw_assignment
from genjax.train import fit, progress
from genjax.train.run_files import RunFolder

GRID = (2, 3)
NAMES = ["p10.png", "p9.png", "x.png", "b.png", "a2.png", "c.png"]  # of positions 0 .. 5
FILES = ["a2.png", "b.png", "c.png", "p9.png", "p10.png", "x.png"]  # in natural order


@pytest.fixture
def use(monkeypatch):
    """Makes `load` return a run of a fake family."""

    def with_family(family, grid=GRID, channels=3, side=4, skill=1.0):
        run = small_run("nade", "unused")
        shape = grid[0] * side, grid[1] * side, channels
        config = Config(shape=shape, grid=grid, skill=skill)
        object.__setattr__(run, "model", config)
        variables = family.init(config, jax.random.key(0))
        monkeypatch.setattr(solve, "load", lambda workdir: (run, variables))
        monkeypatch.setattr(solve, "run_files", lambda path: RunFolder(pathlib.Path(path)))
        monkeypatch.setattr(solve.families, "get", lambda name: family)

    return with_family


@pytest.fixture
def solver(use):
    use(PositionSolver())


def run(tmp_path, *options, source="in", out="out.png"):
    return solve.main(["run", str(tmp_path / source), str(tmp_path / out), *map(str, options)])


def picture(channels=3, side=(5, 7), grid=GRID, seed=0):
    """An image whose pieces have different pixels, and levels that rise with their positions."""
    rng = np.random.default_rng(seed)
    levels = np.linspace(*LEVELS, grid[0] * grid[1]).reshape(grid)
    means = levels.repeat(side[0], 0).repeat(side[1], 1)[..., None]
    noise = rng.integers(-10, 11, (*means.shape[:2], channels))
    return (means + noise).astype(np.uint8)


def cut(image, grid=GRID):
    rows = np.split(image, grid[0])
    return [piece for row in rows for piece in np.split(row, grid[1], axis=1)]


def save(path, pixels, mode=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def write(folder, image, names=NAMES, **options):
    for name, piece in zip(names, cut(image), strict=True):
        save(folder / name, piece, **options)
    return image


def opened(path):
    with Image.open(path) as image:
        return np.asarray(image)


def order(path):
    return json.loads(path.read_text())


def test_pieces_of_any_names_become_the_image_to_the_pixel(solver, tmp_path, capsys):
    image = write(tmp_path / "in", picture())
    assert run(tmp_path) == 0
    np.testing.assert_array_equal(opened(tmp_path / "out.png"), image)
    found = order(tmp_path / "out.json")
    for position, name in enumerate(NAMES):
        entry = found["pieces"].pop(name)
        assert (entry["row"], entry["column"]) == divmod(position, 3)
        assert set(entry) == {"row", "column", "probability"}
        assert 0.5 < entry["probability"] <= 1
    assert not found.pop("pieces")
    assert 0.5 < found.pop("confidence") <= 1
    assert found == {
        "border_weight": 0.0,
        "experiment": "small_nade",
        "family": "nade",
        "grid": [2, 3],
        "image": "out.png",
        "input": str(tmp_path / "in"),
        "missing": [],
        "piece_size": [5, 7],
        "skipped": 0,
    }
    printed = capsys.readouterr()
    assert re.fullmatch(r"\S+out.png: 6 pieces in 2 x 3, confidence 0.\d\d\d\n", printed.out)
    assert printed.err == ""


def test_bars_of_a_terminal_leave_the_output_alone(solver, tmp_path, capsys, monkeypatch):
    """A live bar redirects stdout; a bar that stays live hides the cursor of the terminal."""
    bars = []
    original = progress._bar
    monkeypatch.setattr(progress, "_bar", lambda *a: bars.append(original(*a)) or bars[-1])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name in "ab":
        write(tmp_path / "in" / name, picture())
    for source, out, options, words in (
        ("in/a", "a.png", [], "a.png: 6 pieces in 2 x 3, confidence "),
        ("in", "out", [], "2 of 2 puzzles in "),
        ("in/a", "b.png", ["--grid", 5], ""),
    ):
        bars.clear()
        assert run(tmp_path, *options, source=source, out=out) == (0 if words else 2)
        assert words in capsys.readouterr().out
        assert len(bars) == bool(words)
        assert not any(bar.live.is_started for bar, _ in bars)


@pytest.mark.parametrize("skill", [1.0, 0.0])
def test_names_of_the_files_have_no_effect(use, tmp_path, skill):
    """Nor in a tie: without skill all orders score alike, and the result is still the same."""
    use(PositionSolver(), skill=skill)
    image, restored = picture(), []
    for seed in range(4):
        names = np.random.default_rng(seed).permutation(FILES) if seed else sorted(FILES)
        write(tmp_path / str(seed), image, names)
        assert run(tmp_path, source=str(seed), out=f"{seed}.png") == 0
        restored.append(opened(tmp_path / f"{seed}.png"))
        np.testing.assert_array_equal(restored[seed], restored[0])
    assert np.array_equal(restored[0], image) == (skill == 1)


def test_missing_pieces_are_found_by_count_and_painted_grey(solver, tmp_path, capsys):
    image = write(tmp_path / "in", picture())
    for name in (NAMES[1], NAMES[5]):
        (tmp_path / "in" / name).unlink()
    image[:5, 7:14] = image[5:, 14:] = 128
    for options in ([], ["--missing", 2, "--overwrite"]):
        assert run(tmp_path, *options) == 0
        np.testing.assert_array_equal(opened(tmp_path / "out.png"), image)
        assert order(tmp_path / "out.json")["missing"] == [
            {"row": 0, "column": 1},
            {"row": 1, "column": 2},
        ]
        assert "; missing at row 0 column 1, row 1 column 2\n" in capsys.readouterr().out


def test_a_single_piece_is_a_puzzle_with_all_others_missing(solver, tmp_path):
    piece = cut(picture())[4]
    save(tmp_path / "in" / "a.png", piece)
    assert run(tmp_path) == 0
    np.testing.assert_array_equal(opened(tmp_path / "out.png")[5:, 7:14], piece)


def test_opacity_is_kept_and_missing_pieces_are_transparent(solver, tmp_path):
    image = picture(4)
    image[..., 3] = 255
    image[0, :, 3] = (0, 9, 128, 254, 255, 1, 2) * 3
    write(tmp_path / "in", image)
    assert run(tmp_path) == 0
    np.testing.assert_array_equal(opened(tmp_path / "out.png"), image)
    (tmp_path / "in" / NAMES[5]).unlink()
    assert run(tmp_path, "--overwrite") == 0
    restored = opened(tmp_path / "out.png")
    np.testing.assert_array_equal(restored[:, :14], image[:, :14])
    assert (restored[5:, 14:] == (128, 128, 128, 0)).all()


def test_pieces_with_and_without_opacity_and_colour_are_joined_without_loss(solver, tmp_path):
    image = picture()
    image[5:, :7] = image[5:, :7, :1]
    write(tmp_path / "in", image)
    save(tmp_path / "in" / NAMES[3], cut(image)[3][..., 0])
    half = np.dstack([cut(image)[5], np.full((5, 7), 250, np.uint8)])
    save(tmp_path / "in" / NAMES[5], half)
    assert run(tmp_path) == 0
    restored = opened(tmp_path / "out.png")
    np.testing.assert_array_equal(restored[..., :3], image)
    expected = np.full((10, 21), 255)
    expected[5:, 14:] = 250
    np.testing.assert_array_equal(restored[..., 3], expected)


def test_16_bit_pieces_become_8_bit_ones(solver, tmp_path):
    image = picture(1)[..., 0]
    jitter = np.random.default_rng(1).integers(-128, 129, image.shape)
    wide = (image.astype(int) * 257 + jitter).clip(0, 65535)
    write(tmp_path / "in", wide.astype(np.uint16))
    assert opened(tmp_path / "in" / NAMES[0]).dtype == np.uint16
    assert run(tmp_path) == 0
    restored = opened(tmp_path / "out.png")
    assert restored.dtype == np.uint8
    np.testing.assert_array_equal(restored, image)


def test_transparent_level_of_16_bits_is_kept(solver, tmp_path):
    image = picture(1)[..., 0]
    image[2, 3] = 77
    write(tmp_path / "in", image.astype(np.uint16) * 257, transparency=77 * 257)
    assert run(tmp_path) == 0
    restored = opened(tmp_path / "out.png")
    np.testing.assert_array_equal(restored[..., 0], image)
    np.testing.assert_array_equal(restored[..., 3], np.where(image == 77, 0, 255))


def test_a_run_on_grey_images_restores_colours(use, tmp_path):
    use(PositionSolver(), channels=1)
    image = write(tmp_path / "in", picture())
    assert run(tmp_path) == 0
    np.testing.assert_array_equal(opened(tmp_path / "out.png"), image)


def test_grey_pieces_are_solved_by_a_run_on_colours_and_stay_grey(solver, tmp_path):
    image = write(tmp_path / "in", picture(1))
    assert run(tmp_path) == 0
    np.testing.assert_array_equal(opened(tmp_path / "out.png"), image[..., 0])


def test_orientation_of_exif_cmyk_and_colour_profiles(solver, tmp_path):
    from PIL import ImageCms

    image = picture()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be rotated clockwise
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, piece in zip(NAMES, cut(image), strict=True):
        turned = np.ascontiguousarray(np.rot90(piece))
        save(tmp_path / "in" / name, turned, exif=exif, icc_profile=srgb)
    assert run(tmp_path) == 0
    np.testing.assert_array_equal(opened(tmp_path / "out.png"), image)
    with Image.open(tmp_path / "out.png") as restored:
        assert restored.info["icc_profile"] == srgb
        assert restored.getexif().get(0x0112, 1) == 1
    write(tmp_path / "cmyk", image, [f"{name}.tif" for name in NAMES], mode="CMYK")
    assert run(tmp_path, source="cmyk", out="cmyk.png") == 0
    np.testing.assert_array_equal(opened(tmp_path / "cmyk.png"), image)


def test_pieces_larger_than_those_of_training(solver, tmp_path):
    image = write(tmp_path / "in", picture(side=(30, 22)))
    assert run(tmp_path) == 0
    np.testing.assert_array_equal(opened(tmp_path / "out.png"), image)


def test_networks_see_resized_pieces_and_border_costs_whole_ones(solver, tmp_path, monkeypatch):
    calls = []
    original = solve.solve

    def spy(family, config, variables, pieces, present=None, **options):
        calls.append((pieces, present, options))
        return original(family, config, variables, pieces, present, **options)

    monkeypatch.setattr(solve, "solve", spy)
    image = write(tmp_path / "in", picture(side=(8, 8)))
    (tmp_path / "in" / NAMES[2]).unlink()
    assert run(tmp_path, "--border-weight", 0.5) == 0
    [(pieces, present, options)] = calls
    assert (pieces.shape, pieces.dtype) == ((1, 6, 4, 4, 3), np.float32)
    np.testing.assert_array_equal(present, [[True] * 5 + [False]])
    assert not pieces[0, 5].any()
    whole = [piece for name, piece in zip(NAMES, cut(image), strict=True) if name != NAMES[2]]
    small = [Image.fromarray(p).resize((4, 4), Image.Resampling.LANCZOS) for p in whole]
    difference = pieces[0, :5, None] - np.array(small) / 127.5 + 1  # [5, 5, 4, 4, 3]
    index = np.abs(difference).max((2, 3, 4)).argmin(1)
    assert sorted(index) == [0, 1, 2, 3, 4]
    assert np.abs(difference[np.arange(5), index]).max() < 1e-6
    assert options["border_weight"] == 0.5
    costs = options["costs"]
    assert costs.shape == (1, 2, 6, 6)
    x = np.array(whole)[index] / 127.5 - 1
    for i in range(5):
        for j in range(5):
            right, below = x[i][:, -1] - x[j][:, 0], x[i][-1] - x[j][0]
            np.testing.assert_allclose(costs[0, 0, i, j], (right**2).mean(), rtol=1e-5)
            np.testing.assert_allclose(costs[0, 1, i, j], (below**2).mean(), rtol=1e-5)
    assert order(tmp_path / "out.json")["border_weight"] == 0.5


RECORDED = {"fused_gap_0_border_weight": 0.25, "fused_missing_1_border_weight": 4}


@pytest.mark.parametrize(
    ("record", "missing", "weight"),
    [
        (None, 0, 0),
        ({}, 0, 0),
        ({"final_metrics": {"puzzle": "failed"}}, 0, 0),
        ({"final_metrics": {"puzzle": {"solved": 0.5}}}, 0, 0),
        ({"final_metrics": {"puzzle": {"fused_gap_0_border_weight": None}}}, 0, 0),
        ({"final_metrics": {"puzzle": RECORDED}}, 0, 0.25),
        ({"final_metrics": {"puzzle": RECORDED}}, 1, 4),
        ({"final_metrics": {"puzzle": RECORDED}}, 2, 4),  # not measured
    ],
)
def test_border_weight_is_by_default_that_of_the_record(
    solver, tmp_path, record, missing, weight, capsys
):
    write(tmp_path / "in", picture())
    for name in NAMES[:missing]:
        (tmp_path / "in" / name).unlink()
    if record is not None:
        (tmp_path / "record.json").write_text(json.dumps(record))
    arguments = [str(tmp_path), str(tmp_path / "in"), str(tmp_path / "out.png")]
    assert solve.main(arguments) == 0
    assert order(tmp_path / "out.json")["border_weight"] == weight
    assert (f" with border weight {weight:g}" in capsys.readouterr().out) == bool(weight)
    assert solve.main([*arguments, "--border-weight", "2", "--overwrite"]) == 0
    assert order(tmp_path / "out.json")["border_weight"] == 2


def test_one_image_is_cut_shuffled_solved_and_compared(solver, tmp_path, capsys):
    image = picture()
    save(tmp_path / "photo.png", np.pad(image, ((0, 1), (0, 2), (0, 0))))
    orders = []
    for seed in (0, 1):
        options = ["--grid", 2, 3, "--seed", seed, "--overwrite"]
        assert run(tmp_path, *options, source="photo.png", out="new/photo") == 0
        np.testing.assert_array_equal(opened(tmp_path / "new" / "photo.png"), image)
        found = order(tmp_path / "new" / "photo.json")
        assert (found["right"], found["pieces_right"]) == (True, 6)
        assert found["image_size"] == [11, 23]
        pieces = [found["pieces"][str(k)] for k in range(6)]
        assert all((p["row"], p["column"]) == tuple(p["true"].values())[::-1] for p in pieces)
        orders.append([(p["row"], p["column"]) for p in pieces])
        printed = capsys.readouterr().out
        assert "; 6 of 6 right; cropped from 11 x 23 to 10 x 21\n" in printed
    assert orders[0] != orders[1] != sorted(orders[1]) != orders[0]


def test_wrong_orders_of_one_image_are_counted(solver, tmp_path, capsys):
    image = picture()[::-1, ::-1]  # levels fall, so that the solver rotates the image
    save(tmp_path / "photo.png", np.ascontiguousarray(image))
    assert run(tmp_path, source="photo.png") == 0
    assert "; 0 of 6 right" in capsys.readouterr().out
    found = order(tmp_path / "out.json")
    assert (found["right"], found["pieces_right"]) == (False, 0)


def test_equal_pieces_are_right_at_each_others_positions(use, tmp_path):
    use(PositionSolver())
    image = picture()
    image[:] = 100
    save(tmp_path / "photo.png", image)
    assert run(tmp_path, source="photo.png") == 0
    found = order(tmp_path / "out.json")
    assert found["right"]
    assert any(p["true"] != {k: p[k] for k in ("row", "column")} for p in found["pieces"].values())


def test_pieces_are_removed_from_one_image_on_request(solver, tmp_path):
    image = picture()
    save(tmp_path / "photo.png", image)
    assert run(tmp_path, "--missing", 2, source="photo.png") == 0
    found = order(tmp_path / "out.json")
    assert len(found["pieces"]) == 4
    restored = cut(opened(tmp_path / "out.png"))
    gone = [3 * p["row"] + p["column"] for p in found["missing"]]
    assert len(gone) == 2
    for position, piece in enumerate(cut(image)):
        expected = np.full_like(piece, 128) if position in gone else piece
        np.testing.assert_array_equal(restored[position], expected)


def test_a_folder_of_folders_is_solved_one_by_one(solver, tmp_path, capsys):
    images = {name: write(tmp_path / "in" / name, picture(seed=i)) for i, name in enumerate("abc")}
    (tmp_path / "in" / "b" / NAMES[0]).write_text("no image")
    (tmp_path / "in" / "empty").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("text")
    assert run(tmp_path, out="in/out") == 2
    printed = capsys.readouterr()
    assert "2 of 3 puzzles in" in printed.out
    assert ", mean confidence 0." in printed.out
    assert printed.out.endswith("; 2 other entries skipped\n")
    lines = printed.err.splitlines()
    assert [line.startswith("error: ") for line in lines] == [True] * 3
    assert NAMES[0] in lines[0]
    assert "1 of 6 pieces in" in lines[1]
    assert lines[2] == "error: 1 of 3 puzzles could not be solved; see the lines above."
    files = ["a.json", "a.png", "c.json", "c.png"]
    assert sorted(os.listdir(tmp_path / "in" / "out")) == files
    for name in "ac":
        np.testing.assert_array_equal(opened(tmp_path / "in" / "out" / f"{name}.png"), images[name])
    # The folder of the results is not taken for a puzzle.
    assert run(tmp_path, "--overwrite", out="in/out") == 2
    assert sorted(os.listdir(tmp_path / "in" / "out")) == files


def test_other_files_and_folders_are_skipped_and_counted(solver, tmp_path, capsys):
    image = write(tmp_path / "in", picture())
    (tmp_path / "in" / "notes.txt").write_text("text")
    (tmp_path / "in" / ".hidden.png").write_text("text")
    (tmp_path / "in" / "folder").mkdir()
    assert run(tmp_path) == 0
    assert "; 2 other entries skipped\n" in capsys.readouterr().out
    np.testing.assert_array_equal(opened(tmp_path / "out.png"), image)
    assert order(tmp_path / "out.json")["skipped"] == 2


def test_out_is_a_name_with_or_without_suffix_or_a_folder(solver, tmp_path):
    image = write(tmp_path / "in", picture())
    (tmp_path / "folder").mkdir()
    for out, name in (
        ("new/a.v2", "new/a.v2.png"),
        ("b.bmp", "b.bmp"),
        ("c.webp", "c.webp"),
        ("folder", "folder/in.png"),
    ):
        assert run(tmp_path, out=out) == 0
        np.testing.assert_array_equal(opened(tmp_path / name), image)
        assert (tmp_path / name).with_suffix(".json").is_file()


def test_unreadable_pieces_are_named_and_left_out_only_on_request(solver, tmp_path, capsys):
    image = write(tmp_path / "in", picture())
    (tmp_path / "in" / NAMES[0]).write_text("no image")
    (tmp_path / "in" / NAMES[5]).write_bytes(b"")
    image[:5, :7] = image[5:, 14:] = 128
    for options in ([], ["--missing", 1]):
        assert run(tmp_path, *options) == 2
        lines = capsys.readouterr().err.splitlines()
        assert [line.startswith("error: ") for line in lines] == [True] * 3
        assert NAMES[5] in lines[0]
        assert NAMES[0] in lines[1]
        assert lines[2].startswith("error: 2 of 6 pieces in ")
        assert lines[2].endswith("or solve the puzzle without them by --missing 2.")
        assert not list(tmp_path.glob("out*"))
    assert run(tmp_path, "--missing", 2) == 0
    assert capsys.readouterr().err.count("left out: ") == 2
    np.testing.assert_array_equal(opened(tmp_path / "out.png"), image)


def test_rejects_pieces_of_different_sizes(solver, tmp_path, capsys):
    write(tmp_path / "in", picture())
    save(tmp_path / "in" / NAMES[2], np.zeros((7, 5, 3), np.uint8))
    assert run(tmp_path) == 2
    message = capsys.readouterr().err
    assert (
        f"different sizes: {NAMES[2]} is 7 x 5, where 5 of 6 are 5 x 7 (height x width)" in message
    )
    assert "crop or resize" in message
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(
    ("files", "options", "words"),
    [
        (7, [], "has 7 images, and the run's puzzles have 6 pieces (2 x 3); remove 1"),
        (5, ["--missing", 2], "has 5 of 6 pieces (2 x 3); set --missing 1, or leave it out"),
        (6, ["--missing", 1], "has 6 of 6 pieces (2 x 3); set --missing 0"),
        (6, ["--missing", 6], "--missing must be below 6, the pieces of the run's 2 x 3 grid"),
        (6, ["--missing", -1], "`missing` must be non-negative"),
        (6, ["--grid", 3], "--grid is 3 x 3, and the run in run solves 2 x 3 pieces"),
        (6, ["--grid", 3, 2], "--grid is 3 x 2, and the run in run solves 2 x 3 pieces"),
        (6, ["--grid", 0], "`grid` must be positive"),
        (6, ["--grid", 2, 3, 4], "`grid` must be N, or rows and columns"),
        (6, ["--border-weight", -1], "`border_weight` must be non-negative"),
        (6, ["--border-weight", "nan"], "`border_weight` must be non-negative"),
        (6, ["--border-weight", "inf"], "`border_weight` must be finite"),
        (6, ["--seed", -1], "`seed` must be non-negative"),
        (6, ["--fit", "crop"], "there is no option --fit"),
    ],
)
def test_rejects_numbers_that_do_not_fit_the_run(solver, tmp_path, capsys, files, options, words):
    names = [*NAMES, "z.png"][:files]
    for name, piece in zip(names, [*cut(picture()), cut(picture())[0]], strict=False):
        save(tmp_path / "in" / name, piece)
    assert run(tmp_path, *options) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert printed.err.startswith("error: ")
    assert words in printed.err
    assert not list(tmp_path.glob("out*"))


def test_rejects_images_that_cannot_be_cut(solver, tmp_path, capsys):
    save(tmp_path / "in.png", np.zeros((1, 9, 3), np.uint8))
    assert run(tmp_path, source="in.png") == 2
    assert "in.png is 1 x 9 (height x width), too small for 2 x 3 pieces" in capsys.readouterr().err
    (tmp_path / "in.png").write_text("no image")
    assert run(tmp_path, source="in.png") == 2
    assert "in.png is not an image" in capsys.readouterr().err


def test_whole_images_have_at_most_so_many_pixels(solver, tmp_path, capsys, monkeypatch):
    write(tmp_path / "in", picture())
    monkeypatch.setattr(piece_files, "MAX_PIXELS", 6 * 35)
    assert run(tmp_path) == 0
    monkeypatch.setattr(piece_files, "MAX_PIXELS", 6 * 35 - 1)
    assert run(tmp_path, "--overwrite") == 2
    assert "more than 34 pixels" in capsys.readouterr().err


def test_rejects_paths_that_hold_no_pieces_or_do_not_fit(solver, tmp_path, capsys):
    image = picture()
    write(tmp_path / "in", image)
    write(tmp_path / "many" / "a", image)
    save(tmp_path / "photo.png", image)
    (tmp_path / "empty" / "folder").mkdir(parents=True)
    before = (tmp_path / "photo.png").read_bytes()
    for source, out, words in (
        ("nowhere", "out", "there is no file or folder"),
        ("empty", "out", "holds no images of pieces"),
        ("in", "in/out.png", "would be in the folder of the pieces"),
        ("in", "in", "would be in the folder of the pieces"),
        ("in", "out.gif", "is of a format without all colours; write"),
        ("in", "photo.png/out.png", "is not a folder"),
        ("in", "photo.png", "exist already; write to another folder, or add --overwrite"),
        ("many", "many", "is the folder of the inputs"),
        ("many", "out.png", "is the name of an image; give a folder"),
        ("many", "photo.png", "is a file; give a folder"),
        ("photo.png", "photo.png", "is an input"),
        ("photo.png", ".", "is an input"),
    ):
        options = [] if "overwrite" in words else ["--overwrite"]
        assert run(tmp_path, *options, source=source, out=out) == 2, (source, out)
        assert words in capsys.readouterr().err
        assert not list(tmp_path.glob("out*"))
    assert (tmp_path / "photo.png").read_bytes() == before
    assert sorted(os.listdir(tmp_path / "in")) == sorted(NAMES)


def test_neither_the_image_nor_the_order_is_overwritten(solver, tmp_path, capsys):
    write(tmp_path / "in", picture())
    (tmp_path / "out.json").write_text("precious")
    assert run(tmp_path) == 2
    assert "out.json exist already" in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()
    (tmp_path / "out.json").unlink()
    (tmp_path / "elsewhere").write_text("precious")
    (tmp_path / "out.json").symlink_to(tmp_path / "elsewhere")
    assert run(tmp_path) == 2
    assert run(tmp_path, "--overwrite") == 0
    assert (tmp_path / "elsewhere").read_text() == "precious"
    assert not (tmp_path / "out.json").is_symlink()


def test_rejects_runs_that_solve_no_puzzles(tmp_path, capsys, monkeypatch):
    save(tmp_path / "in" / "a.png", picture())
    assert run(tmp_path) == 2
    assert "run holds no run: there is no" in capsys.readouterr().err
    monkeypatch.setattr(solve, "load", lambda workdir: (small_run("nade", "unused"), {}))
    assert run(tmp_path) == 2
    message = capsys.readouterr().err
    assert "nade in run solves no puzzles; give the folder of a run of " in message
    assert "jigsaw_assignment" in message
    assert not list(tmp_path.glob("out*"))


def test_a_trained_run_solves_folders_and_photographs(tmp_path):
    """The whole program on a real family, whose training images tell positions by brightness."""
    config = jigsaw_assignment.Config(
        shape=(8, 12, 1), grid=GRID, channels=(8,), width=16, layers=1, heads=2, missing=1
    )
    run = solver_run(
        "jigsaw_assignment", tmp_path, config, steps=60, batch_size=24, eval_every=0, sample_every=0
    )
    run = dataclasses.replace(run, optimizer=Optimizer(learning_rate=1e-2))
    fit(run, tmp_path / "run", quiet=True)
    image = write(tmp_path / "in", picture(1, side=(4, 4)))[..., 0]
    assert program.main(["solve", *(str(tmp_path / p) for p in ("run", "in", "out.png"))]) == 0
    np.testing.assert_array_equal(opened(tmp_path / "out.png"), image)
    (tmp_path / "in" / NAMES[3]).unlink()
    image[4:, :4] = 128
    assert program.main(["solve", *(str(tmp_path / p) for p in ("run", "in", "new.png"))]) == 0
    np.testing.assert_array_equal(opened(tmp_path / "new.png"), image)


def test_rejects_runs_of_channels_that_files_do_not_have(use, tmp_path, capsys):
    use(PositionSolver(), channels=2)
    write(tmp_path / "in", picture())
    assert run(tmp_path) == 2
    assert "puzzles of 2 channels, and files have 1 or 3" in capsys.readouterr().err


@pytest.mark.parametrize("several", [False, True])
def test_memory_that_runs_out_is_reported(solver, tmp_path, capsys, monkeypatch, several):
    def no_room(*_, **__):
        raise MemoryError

    write(tmp_path / "in" / ("a" if several else ""), picture())
    monkeypatch.setattr(solve, "solve", no_room)
    assert run(tmp_path, out="out") == 2
    message = "memory ran out; take fewer at a time (or smaller pieces).\n"
    assert message in capsys.readouterr().err


def test_a_list_of_orders_is_searched_and_its_length_printed(use, tmp_path, capsys):
    use(PermutationSolver())
    image = picture()
    shift = [f"{(k + 4) % 6}.png" for k in range(6)]
    write(tmp_path / "in", image, shift)
    assert run(tmp_path) == 0
    np.testing.assert_array_equal(opened(tmp_path / "out.png"), image)
    assert order(tmp_path / "out.json")["orders"] == 6
    assert capsys.readouterr().out.endswith("finds only the 6 of 720 orders in its list\n")
    # An image is shuffled to one of them.
    save(tmp_path / "photo.png", image)
    for seed in range(4):
        arguments = ["--seed", seed, "--overwrite"]
        assert run(tmp_path, *arguments, source="photo.png") == 0
        assert order(tmp_path / "out.json")["right"]


def test_a_list_of_orders_needs_all_pieces(use, tmp_path, capsys):
    use(PermutationSolver())
    write(tmp_path / "in", picture())
    (tmp_path / "in" / NAMES[0]).unlink()
    save(tmp_path / "photo.png", picture())
    assert run(tmp_path) == 2
    assert "1 of 6 pieces missing, and nade takes whole puzzles" in capsys.readouterr().err
    assert run(tmp_path, "--missing", 1, source="photo.png") == 2
    assert "1 of 6 pieces missing" in capsys.readouterr().err


def test_examples_of_the_help_and_the_documentation_are_valid(capsys):
    with pytest.raises(SystemExit) as end:
        solve.main(["--help"])
    assert end.value.code == 0
    pages = [(ROOT / path).read_text() for path in ("README.md", "docs/puzzles.md")]
    for text in (capsys.readouterr().out, *pages):
        examples = re.findall(r"^ *genjax solve (.*?) *(?:#.*)?$", text, re.MULTILINE)
        assert examples
        for example in examples:
            assert solve.parse(example.split()).out.name
