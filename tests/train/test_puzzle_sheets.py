"""Runs of puzzle solvers: sheets, the share of wrong pieces, and what does not apply."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from support import fake_solvers
from support.fake_solvers import SOLVERS, Config, puzzle_images, solver_run

from genjax.cli import evaluate, measure, sample
from genjax.data import Dataset
from genjax.train import fit
from genjax.train.puzzle_sheets import FRAME
from genjax.train.sample_drawing import sample_drawer
from genjax.train.sample_grids import read_grid

CONFIG = Config(grid=(2, 4))
COLOUR = 255 * np.array(FRAME)


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    fake_solvers.register(monkeypatch)


def drawn(name, tmp_path, config, skill, x, samples=6):
    """Images of a sheet in [0, 255], by title, `[rows, H, W, 3]`."""
    run, family = solver_run(name, tmp_path, config, samples=samples), SOLVERS[name]
    dataset = Dataset("puzzles", {"validation": {"x": x}, "train": {"x": x[:1]}}, 256)
    drawer = sample_drawer(run, family, dataset)
    images = np.asarray(drawer.draw({"params": {"skill": np.float32(skill)}}, jax.random.key(1)))
    images = images.reshape(-1, len(drawer.titles), *images.shape[1:])
    found = dict(zip(drawer.titles, images.swapaxes(0, 1), strict=True))
    return {title: (column + 1) * 127.5 for title, column in found.items()}


def pieces_of(images, config):
    """Pieces `[B, N, h, w, 3]`."""
    (rows, columns), (b, height, width, c) = config.grid, images.shape
    split = images.reshape(b, rows, height // rows, columns, width // columns, c)
    return split.swapaxes(2, 3).reshape(b, rows * columns, height // rows, width // columns, c)


def test_columns_of_a_solver_that_is_right(tmp_path):
    x = puzzle_images(5, CONFIG)
    found = drawn("position_solver", tmp_path, CONFIG, 1.0, x)
    assert list(found) == ["shuffled", "restored", "original"]
    larger = x[[0, 4]].repeat(8, 1).repeat(8, 2).repeat(3, 3)  # pieces of 4x2 are 32x16
    np.testing.assert_allclose(found["original"], larger, atol=1e-3)
    np.testing.assert_allclose(found["restored"], larger, atol=1e-3)
    pieces, shuffled = (pieces_of(a, CONFIG).mean((2, 3, 4)) for a in (larger, found["shuffled"]))
    assert (abs(pieces - shuffled) > 1).any(1).all()
    np.testing.assert_allclose(np.sort(shuffled, 1), np.sort(pieces, 1), rtol=1e-4)


def test_wrong_pieces_are_framed(tmp_path):
    x = puzzle_images(5, CONFIG)
    found = drawn("position_solver", tmp_path, CONFIG, 0.0, x)  # puts piece k at position k
    restored, shuffled, original = (
        pieces_of(found[title], CONFIG) for title in ("restored", "shuffled", "original")
    )
    wrong = (abs(shuffled - original) > 1).any((2, 3, 4))
    assert 0 < wrong.sum() < wrong.size
    inside = restored[:, :, 1:-1, 1:-1]
    np.testing.assert_allclose(inside, shuffled[:, :, 1:-1, 1:-1], atol=1e-3)
    border = np.ones(restored.shape[2:4], bool)
    border[1:-1, 1:-1] = False
    edges = restored[:, :, border]
    np.testing.assert_allclose(edges[wrong], np.broadcast_to(COLOUR, edges[wrong].shape), atol=1e-3)
    np.testing.assert_allclose(edges[~wrong], shuffled[:, :, border][~wrong], atol=1e-3)


def test_the_generated_image_is_before_the_original(tmp_path):
    config = Config(shape=(48, 64, 3))
    x = puzzle_images(2, config)
    found = drawn("permutation_solver", tmp_path, config, 1.0, x)
    assert list(found) == ["shuffled", "restored", "generated", "original"]
    np.testing.assert_allclose(found["restored"], x[:1], atol=1e-3)
    np.testing.assert_allclose(found["generated"], (x[:1] + 127.5) / 2, atol=1e-3)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_run_trains_evaluates_and_records(name, tmp_path, capsys):
    run = solver_run(name, tmp_path, Config(skill=0.0), ema=0.5, patience=3)
    workdir = tmp_path / "run"
    record = fit(run, workdir, quiet=True).record
    assert record["metric"] == "test wrong pieces"
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    name = "validation_wrong_pieces"
    shares = [line[name] for line in lines if name in line]
    assert len(shares) == 2
    assert record["validation"] == min(shares)
    assert record["chosen_by"] == "validation"
    for step in (2, 4):
        _, tiles = read_grid(workdir / "samples" / f"step_{step:08d}.png")
        assert tiles.titles[:2] == ("shuffled", "restored")
    capsys.readouterr()
    assert evaluate.main([str(workdir)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["metric"], found["unit"]) == ("wrong pieces", "")
    assert found["obtained"] == pytest.approx(record["obtained"])
    assert sample.main([str(workdir)]) == 2
    assert f"use genjax solve {workdir} INPUT OUT." in capsys.readouterr().err
    assert measure.main([str(workdir), "parzen"]) == 2
    assert "parzen is computed of samples, and" in capsys.readouterr().err


def test_metrics_of_samples_are_rejected_before_training(tmp_path):
    run = solver_run("position_solver", tmp_path)
    run = dataclasses.replace(run, train=dataclasses.replace(run.train, metric="swd"))
    with pytest.raises(ValueError, match="solver solves puzzles and samples none; use puzzle"):
        fit(run, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "config.json").exists()
