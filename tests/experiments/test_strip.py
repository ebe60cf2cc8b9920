"""The strip of README: made of the package's weights, small, and drawn by its command."""

import json

import numpy as np
from PIL import Image
from support.helpers import ROOT

from experiments.strip import page
from experiments.strip.__main__ import LIMIT, PANELS, described, main
from experiments.strip.panels import Picture, Source, completed, sampled
from experiments.weights import WANTED
from genjax import from_pretrained
from genjax.train import weights_names

STRIP = ROOT / "docs" / "strip.png"


def text_of(path):
    with Image.open(path) as image:
        return json.loads(image.info["genjax"])


def test_the_strip_is_that_of_the_weights():
    """After a change, `python -m experiments.strip --out docs/strip.png` draws it."""
    assert PANELS.keys() <= WANTED.keys()
    assert text_of(STRIP) == described([name for name in PANELS if name in weights_names()])
    assert STRIP.stat().st_size <= LIMIT == 500_000
    with Image.open(STRIP) as image:
        assert image.width <= 1888
    assert "](docs/strip.png)" in (ROOT / "README.md").read_text().split("##")[0]


def test_a_strip_is_drawn_of_the_weights_that_are_there(tmp_path, monkeypatch, capsys):
    out = tmp_path / "new" / "strip.png"
    monkeypatch.setattr(
        "experiments.strip.__main__.weights_names", lambda: ["nade_digits", "made_digits"]
    )
    assert main(["--out", str(out), "nade_digits", "dalle_scenes"]) == 0
    printed = capsys.readouterr().out
    assert "dalle_scenes  left out: its weights are not in the package" in printed
    assert text_of(out) == described(["nade_digits"])
    with Image.open(out) as image:
        drawn = np.asarray(image)
    # The samples of the weights are in it, eight pixels for one.
    samples = sampled(Source("nade_digits", from_pretrained("nade_digits")), 6, 5).images
    assert samples.shape == (30, 8, 8, 3)
    assert set(np.unique(samples)) == {0, 255}
    first = samples[0].repeat(8, 0).repeat(8, 1)
    windows = np.lib.stride_tricks.sliding_window_view(drawn, first.shape)[:, :, 0]
    assert (windows[:160, :80] == first).all((-3, -2, -1)).sum() == 1
    assert main(["--out", str(out), "dalle_scenes"]) == 2
    assert "there is no panel to draw" in capsys.readouterr().err


def test_completions_keep_what_is_given():
    source = Source("made_digits", from_pretrained("made_digits"))
    picture = completed(source, 6, 5)
    assert picture.titles == ("given", "", "drawn", "", "", "truth")
    images = picture.images.reshape(5, 6, 8, 8, 3)
    given, drawn, truth = images[:, 0], images[:, 1:5], images[:, 5]
    assert (given[:, :4] == truth[:, :4]).all()
    assert (given[:, 4:] == 96).all()
    assert (drawn[:, :, :4] == truth[:, None, :4]).all()
    lower = drawn[:, :, 4:]
    assert (lower[..., 2] < 255).all()  # no drawn pixel is white
    assert (lower[:, 0] != lower[:, 1]).any()
    again = completed(source, 6, 5).images
    assert (again == picture.images).all()


def test_a_page_has_four_panels_in_a_row_and_captions_below_images():
    rng = np.random.default_rng(0)
    picture = Picture(rng.integers(0, 255, (4, 32, 32, 3), np.uint8), 2, captions=("a b",) * 4)
    long = Picture(picture.images, 2, captions=("a small red circle left of a blue square",) * 4)
    one = page.panel("Captions drawn", "model", picture)
    two = page.panel("Captions drawn", "model", long)
    assert two.height > one.height  # more lines
    assert two.width == one.width
    assert page.wrapped("a small red circle", 10_000) == ["a small red circle"]
    widths = [page.page([("t", "m", picture)] * n).shape[1] for n in (1, 2, 4, 5, 8)]
    assert widths[0] < widths[1] < widths[2] == widths[4] <= 1888
    assert widths[3] < widths[4]  # five are three and two
    heights = [page.page([("t", "m", picture)] * n).shape[0] for n in (4, 5)]
    assert heights[1] > 1.9 * heights[0]
    # Ten are four, three and three; shorter rows are centred.
    ten = page.page([("t", "m", picture)] * 10)
    assert ten.shape[1] == widths[2]
    blank = (ten == page.PAGE).all(-1)
    middles = [blank[len(ten) * (2 * row + 1) // 6] for row in range(3)]
    assert [int(row.argmin()) == page.SPACE for row in middles] == [True, False, False]
    for row in middles:
        assert abs(int(row.argmin()) - int(row[::-1].argmin())) <= 1
