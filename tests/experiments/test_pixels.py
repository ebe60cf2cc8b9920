"""The picture of the blind spot, and the clock of the three ways to draw."""

import json

import numpy as np
from PIL import Image

from experiments import blind_spot, pixel_sampling


def test_the_blind_spot_is_drawn(tmp_path, capsys):
    out = tmp_path / "spot.png"
    assert blind_spot.main(["--out", str(out), "--side", "9", "--layers", "8"]) == 0
    found = json.loads(capsys.readouterr().out)
    share = found["unseen_share_of_earlier_pixels"]
    assert share["gated"] == 0
    assert 0 < share["masked"] < 0.5
    with Image.open(out) as image:
        page = np.asarray(image)[:: blind_spot.SCALE, :: blind_spot.SCALE]
    red = (page == (200, 30, 30)).all(-1)
    assert red[:, :11].sum() == round(share["masked"] * (6 * 9 + 3))
    assert not red[:, 11:].any()


def test_ways_to_draw_are_timed_and_compared(capsys, monkeypatch):
    ticks = iter(range(1000))
    monkeypatch.setattr(pixel_sampling.time, "perf_counter", lambda: float(next(ticks) ** 2))
    words = ["--side", "5", "--layers", "1", "--features", "4", "--images", "6", "--repeats", "3"]
    assert pixel_sampling.main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["methods"]) == ["cached", "parallel", "naive"]
    # Ticks are squares: the first way compiles from 0 to 1, warms up at 4-9, and is timed at 16-25,
    # 36-49 and 64-81. After 60 seconds of a way no call begins: the last counts its first alone.
    first, last = found["methods"]["cached"], found["methods"]["naive"]
    assert (first["compile_seconds"], first["seconds"], first["spread"]) == (1, 13, 8)
    assert (last["seconds"], last["spread"]) == (45, 0)
    assert all(m["share_of_images_that_differ"] == 0 for m in found["methods"].values())
    assert (found["images"], found["config"]["layers"]) == (6, 1)


def test_plus_plus_too(capsys):
    words = ["--network", "plus_plus", "--side", "2", "--layers", "1", "--features", "4"]
    words += ["--images", "3", "--repeats", "1", "--methods", "cached", "parallel"]
    assert pixel_sampling.main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["config"]["shape"] == [2, 2, 3]
    assert found["methods"]["parallel"]["share_of_images_that_differ"] == 0
    assert found["different"] == 3  # one and the same would agree whatever the way


def test_bad_options_are_a_sentence(capsys):
    assert pixel_sampling.main(["--images", "0"]) == 2
    assert "images must be above 0" in capsys.readouterr().err
