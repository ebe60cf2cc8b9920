"""Sheets of text-to-image runs: fixed captions, and which samples are marked as wrong."""

import dataclasses
import math

import jax
import numpy as np
import pytest
from support import fake_drawers
from support.fake_drawers import DRAWERS, drawer_run, painted

from genjax.cli import sample
from genjax.data import save_npz
from genjax.data.dataset import CaptionCheck
from genjax.train import fit
from genjax.train.caption_sheets import caption_sheet
from genjax.train.sample_drawing import sample_drawer
from genjax.train.sample_grids import cut, read_grid


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    fake_drawers.register(monkeypatch)


def drawn(tmp_path, dataset, skill, samples=16, seed=1):
    """Images of a sheet, uint8, and its layout."""
    run = drawer_run("painter", tmp_path, samples=samples)
    drawer = sample_drawer(run, DRAWERS["painter"], dataset)
    variables = {"params": {"skill": np.float32(skill)}}
    x = np.asarray(drawer.draw(variables, jax.random.key(seed)))
    page = drawer.save(tmp_path / "sheet.png", x, stage="", alpha=1.0)
    read, layout = read_grid(tmp_path / "sheet.png")
    np.testing.assert_array_equal(page, read)
    return cut(page, layout), layout


def strongest(images):
    return [list(fake_drawers.COLOURS)[c] for c in images.mean((1, 2)).argmax(-1)]


def test_samples_are_below_the_captions_that_they_are_drawn_from(tmp_path):
    images, layout = drawn(tmp_path, painted(9), skill=1.0)
    # Evenly spaced captions of rows 0, 3, 5, 8, the first of two captions each.
    assert layout.captions == ("red", "red", "blue", "blue")
    assert (layout.per_group, layout.columns) == (4, 4)
    assert strongest(images) == np.repeat(layout.captions, 4).tolist()
    assert layout.wrong == ()
    assert len(np.unique(images.reshape(16, -1), axis=0)) == 16


def test_wrong_samples_are_marked(tmp_path):
    images, layout = drawn(tmp_path, painted(9), skill=0.5)
    wanted = np.repeat(layout.captions, 4)
    wrong = [i for i, (a, b) in enumerate(zip(strongest(images), wanted, strict=True)) if a != b]
    assert layout.wrong == tuple(wrong)
    assert 0 < len(wrong) < 16


def test_the_check_takes_images_in_the_levels_of_the_data(tmp_path):
    taken = []
    check = CaptionCheck(lambda x, captions: taken.append((x, captions)) or x[:, 0, 0, 0] < 0, 0.1)
    dataset = dataclasses.replace(painted(9, caption_check=check), levels=101)
    images, layout = drawn(tmp_path, dataset, skill=1.0)
    (x, captions) = taken[0]
    np.testing.assert_allclose(x / 100 * 255, images[:, ::8, ::8], atol=0.51)
    assert captions.tolist() == np.repeat(layout.captions, 4).tolist()
    assert layout.wrong == tuple(range(16))


@pytest.mark.parametrize(
    "check", [None, CaptionCheck(fake_drawers.matches, 0.1, (np.zeros((1, 2)), np.zeros(1)))]
)
def test_nothing_is_marked_where_no_rule_reads_images(tmp_path, check):
    _, layout = drawn(tmp_path, painted(9, caption_check=check), skill=0.0)
    assert layout.wrong is None


@pytest.mark.parametrize(
    ("samples", "captions", "drawn"),
    [(1, 1, 1), (4, 2, 4), (5, 3, 5), (9, 3, 9), (13, 5, 13), (17, 5, 17), (99, 9, 36)],
)
def test_sizes_of_sheets(tmp_path, samples, captions, drawn):
    run, dataset = drawer_run("painter", tmp_path), painted(9)
    sheet = caption_sheet(run, DRAWERS["painter"], dataset, samples)
    assert (len(sheet.captions), len(sheet.text)) == (captions, drawn)
    each = math.ceil(drawn / captions)
    words = dataset.splits["validation"]["caption"][:, 0]
    tokens = np.repeat([1 + list(words).index(c) for c in sheet.captions], each)[:drawn]
    assert sheet.text[:, 0].tolist() == tokens.tolist()
    sheet.save(tmp_path / "sheet.png", np.zeros((drawn, 8, 8, 3), np.float32))
    assert read_grid(tmp_path / "sheet.png")[1].per_group == each


def test_a_run_writes_sheets_and_samples_of_its_captions(tmp_path, capsys):
    dataset = painted(9)
    splits = {s: {k: v[k] for k in ("x", "caption")} for s, v in dataset.splits.items()}
    save_npz(dataclasses.replace(dataset, splits=splits), tmp_path / "painted.npz")
    run, workdir = drawer_run("painter", tmp_path, sample_every=1), tmp_path / "run"
    fit(run, workdir, quiet=True)
    for step in (1, 2):
        _, layout = read_grid(workdir / "samples" / f"step_{step:08d}.png")
        assert layout.captions == ("red", "red", "blue", "blue")
    out = tmp_path / "sample.png"
    assert sample.main([str(workdir), "--n", "5", "--out", str(out)]) == 0
    assert "5 samples of 3 captions in" in capsys.readouterr().out
    assert read_grid(out)[1].captions == ("red", "green", "blue")
    (tmp_path / "painted.npz").rename(tmp_path / "moved.npz")
    assert sample.main([str(workdir)]) == 2
    assert "use genjax draw" in capsys.readouterr().err


def test_one_caption_per_image_of_the_first_split_there_is(tmp_path):
    dataset = painted(6)
    entries = dict(dataset.splits["train"])
    entries["caption"] = np.char.add(entries["caption"][:, 1], "!")
    dataset = dataclasses.replace(dataset, splits={"train": entries})
    sheet = caption_sheet(drawer_run("painter", tmp_path), DRAWERS["painter"], dataset, 16)
    assert sheet.captions[:2] == ("all red!", "all blue!")
    assert sheet.text[:, 0].tolist() == np.repeat([1, 3, 1, 3], 4).tolist()
