"""The figure of the blind spot, and the timing of the sampling methods."""

import argparse
import functools
import json

import chex
import jax
import numpy as np
import pytest
from PIL import Image
from support.small import small_run, write_data

from experiments.benchmarks import pixel_sampling
from experiments.examples import blind_spot
from genjax.train import fit
from genjax.train.load_run import load

KEY = jax.eval_shape(lambda: jax.random.key(0))


def test_blind_spot_figure(tmp_path, capsys):
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


def test_sampling_methods_are_timed_and_compared(capsys, monkeypatch):
    ticks = iter(range(1000))
    monkeypatch.setattr(pixel_sampling.time, "perf_counter", lambda: float(next(ticks) ** 2))
    words = ["--side", "5", "--layers", "1", "--features", "4", "--images", "6", "--repeats", "3"]
    assert pixel_sampling.main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["methods"]) == ["cached", "parallel", "naive"]
    # Ticks are squares: the first method compiles from 0 to 1, warms up at 4-9, and is timed at
    # 16-25, 36-49 and 64-81. After 60 seconds no call starts: the last counts its first call.
    first, last = found["methods"]["cached"], found["methods"]["naive"]
    assert (first["compile_seconds"], first["seconds"], first["spread"]) == (1, 13, 8)
    assert (last["seconds"], last["spread"]) == (45, 0)
    assert all(m["share_of_images_that_differ"] == 0 for m in found["methods"].values())
    assert (found["images"], found["config"]["layers"]) == (6, 1)


def test_pixelcnn_pp_methods_agree(capsys):
    words = ["--network", "plus_plus", "--side", "2", "--layers", "1", "--features", "4"]
    words += ["--images", "3", "--repeats", "1", "--methods", "naive", "parallel"]
    assert pixel_sampling.main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["config"]["shape"] == [2, 2, 3]
    assert found["methods"]["parallel"]["share_of_images_that_differ"] == 0
    assert found["different"] == 3  # equal images would agree trivially


@pytest.mark.parametrize("network", ["masked", "row", "diagonal"])
def test_networks_are_those_of_the_experiments(network):
    words = argparse.Namespace(network=network, side=4, layers=1, features=4, dtype="bfloat16")
    family, config, variables = pixel_sampling.random_network(words)
    assert (config.network, config.layers, config.dtype) == (network, 1, "bfloat16")
    drawn = jax.eval_shape(functools.partial(family.sample, config, n=2), variables, KEY)
    assert drawn.shape == (2, 4, 4, 1)


@pytest.mark.parametrize("network", ["masked", "diagonal", "plus_plus"])
def test_checked_finds_images_that_differ_from_naive_sampling(network):
    words = argparse.Namespace(network=network, side=3, layers=1, features=4, dtype="float32")
    family, config, variables = pixel_sampling.random_network(words)
    draws = functools.partial(family.sample, config, variables, jax.random.key(1), 5)
    original = family.draw_images
    x = np.asarray(jax.jit(lambda: draws(method="naive"))())
    checked = jax.jit(functools.partial(pixel_sampling.naive_values, family, draws))
    np.testing.assert_array_equal(checked(x), x)
    wrong = x.copy()
    wrong[2, 1, 2, 0] = 1 - x[2, 1, 2, 0]
    differ = (checked(wrong) != wrong).any(axis=(1, 2, 3))
    assert differ.tolist() == [False, False, True, False, False]
    assert family.draw_images is original  # the patch is undone


def test_uses_the_weights_of_a_run(tmp_path, capsys):
    run = small_run("pixelcnn", write_data(tmp_path))
    fit(run, tmp_path / "run", quiet=True)
    words = ["--workdir", str(tmp_path / "run"), "--repeats", "1", "--methods", "cached"]
    assert pixel_sampling.main([*words, "--dtype", "bfloat16", "--images", "5"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["config"]["dtype"], found["images"]) == ("bfloat16", 5)
    assert found["config"]["layers"] == run.model.layers
    _, _, variables = pixel_sampling.network_of_run(
        argparse.Namespace(
            workdir=tmp_path / "run",
            dtype="float32",
            **dict.fromkeys(("network", "side", "layers", "features")),
        )
    )
    chex.assert_trees_all_equal(variables, load(tmp_path / "run")[1])
    assert pixel_sampling.main([*words, "--layers", "3"]) == 2
    assert "--layers is fixed by the run; leave out" in capsys.readouterr().err
    assert pixel_sampling.main(["--workdir", str(tmp_path / "none")]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_rejects_bad_options(capsys):
    assert pixel_sampling.main(["--methods", "checked", "cached"]) == 2
    assert "checked compares the images of another method" in capsys.readouterr().err
    assert pixel_sampling.main(["--images", "0"]) == 2
    assert "`images` must be positive" in capsys.readouterr().err
