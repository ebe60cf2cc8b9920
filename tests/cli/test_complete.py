"""`genjax complete`: known pixels are kept, completions are samples of the density."""

import dataclasses
import functools
import json

import numpy as np
import pytest
from cli.test_latents import drawn, tiles
from support.helpers import random_arrays
from support.small import small_run, write_data

from genjax.cli import complete
from genjax.data import Data, Dataset, load, save_npz
from genjax.families import pixelrnn
from genjax.train import fit
from genjax.train.run_config import to_json


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("family", ["pixelcnn", "orderless_nade"])
def test_the_figure_has_images_known_pixels_and_completions(family, data, tmp_path, capsys):
    fit(small_run(family, data), tmp_path, quiet=True)
    assert complete.main([str(tmp_path), "--images", "4", "--draws", "3", "--rows", "1"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert output["known_pixels"] == 3
    found, columns = tiles(tmp_path / "completions.png")
    assert columns == 4
    found = found.reshape(5, 4, 3, 3)
    x = load(Data(data=data)).splits["test"]["x"][:4]
    for i in range(4):
        np.testing.assert_array_equal(found[0, i], drawn(x[i].astype(np.float32)))
    assert (found[1, :, 1:] == 127).all() or (found[1, :, 1:] == 128).all()
    for row in found[1:]:
        np.testing.assert_array_equal(row[:, 0], found[0, :, 0])
    assert set(np.unique(found[2:])) <= {0, 255}
    assert (found[2:, :, 1:] != found[2:3, :, 1:]).any()  # three different draws


def test_passes_labels_to_conditional_densities(data, tmp_path, capsys):
    run = small_run("pixelcnn", data)
    run = dataclasses.replace(run, model=dataclasses.replace(run.model, classes=3))
    fit(run, tmp_path, quiet=True)
    assert complete.main([str(tmp_path), "--images", "2", "--draws", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 2


def test_known_pixels_may_end_within_a_row_and_the_small_image_is_passed(
    tmp_path, capsys, monkeypatch
):
    x = np.random.default_rng(0).integers(0, 2, (60, 4, 4, 1)).astype(np.uint8)
    splits = {"train": {"x": x[:40]}, "validation": {"x": x[40:50]}, "test": {"x": x[50:]}}
    save_npz(Dataset("dots", splits, 2), tmp_path / "dots.npz")
    once = dict(steps=1, sample_every=0, eval_every=0, save_every=0)
    run = small_run("pixelrnn", str(tmp_path / "dots.npz"), **once)
    model = dataclasses.replace(run.model, shape=(4, 4, 1), factor=2, network="row")
    fit(dataclasses.replace(run, model=model), tmp_path / "run", quiet=True)
    passed, own = [], pixelrnn.complete

    def recorded(*args, small, **more):
        passed.append(small)
        return own(*args, small=small, **more)

    monkeypatch.setattr(pixelrnn, "complete", functools.wraps(own)(recorded))
    assert complete.main([str(tmp_path / "run"), "--images", "3", "--pixels", "6"]) == 0
    np.testing.assert_array_equal(passed[0], x[50:53, ::2, ::2])
    assert json.loads(capsys.readouterr().out)["known_pixels"] == 6
    found, columns = tiles(tmp_path / "run" / "completions.png")
    found = found.reshape(7, 3, 16)
    assert columns == 3
    assert (found[2:, :, :6] == found[:1, :, :6]).all()
    small = [8, 10]  # of the last two rows
    assert (found[:, :, :3:2] == found[:1, :, :3:2]).all()
    np.testing.assert_array_equal(found[1][:, small], found[0][:, small])
    assert np.isin(found[1][:, [6, 7, 9, *range(11, 16)]], (127, 128)).all()
    assert (found[2:, :, 6:] != found[2:3, :, 6:]).any()  # different draws
    assert complete.main([str(tmp_path / "run"), "--pixels", "16"]) == 2
    assert "pixels must be from 0 to 15" in capsys.readouterr().err


def test_levels_range_from_black_to_white_and_unknown_pixels_are_grey(
    tmp_path, capsys, monkeypatch
):
    """An untrained Diagonal BiLSTM."""
    x = np.random.default_rng(1).integers(0, 4, (20, 4, 3, 1)).astype(np.uint8)
    splits = {name: {"x": x} for name in ("train", "validation", "test")}
    save_npz(Dataset("shades", splits, 4), tmp_path / "shades.npz")
    run = small_run("pixelrnn", str(tmp_path / "shades.npz"))
    config = dataclasses.replace(run.model, shape=(4, 3, 1), levels=4, network="diagonal")
    variables = random_arrays(lambda key: pixelrnn.init(config, key))
    settings = to_json(dataclasses.replace(run, model=config))
    (tmp_path / "config.json").write_text(json.dumps(settings))
    monkeypatch.setattr(complete, "load", lambda workdir: (None, variables))
    assert complete.main([str(tmp_path), "--images", "5", "--draws", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["known_pixels"] == 6
    found, columns = tiles(tmp_path / "completions.png")
    assert columns == 5
    found = found.reshape(4, 5, 4, 3)
    np.testing.assert_array_equal(found[0], 85 * x[:5, ..., 0])
    assert (found[1:, :, :2] == found[:1, :, :2]).all()
    assert np.isin(found[1, :, 2:], (127, 128)).all()
    assert set(np.unique(found[2:, :, 2:])) == {0, 85, 170, 255}
    assert (found[2, :, 2:] != found[3, :, 2:]).any()  # different draws


def test_rejects_runs_that_cannot_be_completed(data, tmp_path, capsys):
    fit(small_run("gan", data), tmp_path, quiet=True)
    assert complete.main([str(tmp_path)]) == 2
    assert "no conditionals to complete" in capsys.readouterr().err
    assert complete.main([str(tmp_path), "--rows", "3"]) == 2
    assert "rows must be from 0 to 2" in capsys.readouterr().err
    assert complete.main([str(tmp_path / "nowhere")]) == 2
