"""`python -m genjax.complete`: what is known stays, what is drawn comes from the density."""

import dataclasses
import json

import numpy as np
import pytest
from small import small_run, write_data
from train.test_latents import drawn, tiles

from genjax import complete
from genjax.data import Data, load
from genjax.train import fit


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("family", ["pixelcnn", "orderless_nade"])
def test_the_picture_holds_images_what_is_known_and_completions(family, data, tmp_path, capsys):
    fit(small_run(family, data), tmp_path, quiet=True)
    assert complete.main([str(tmp_path), "--images", "4", "--draws", "3", "--rows", "1"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["known_rows"] == 1
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


def test_a_density_told_a_label_is_told_it(data, tmp_path, capsys):
    run = small_run("pixelcnn", data)
    run = dataclasses.replace(run, model=dataclasses.replace(run.model, classes=3))
    fit(run, tmp_path, quiet=True)
    assert complete.main([str(tmp_path), "--images", "2", "--draws", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 2


def test_what_cannot_be_completed_is_a_sentence(data, tmp_path, capsys):
    fit(small_run("gan", data), tmp_path, quiet=True)
    assert complete.main([str(tmp_path)]) == 2
    assert "no conditionals to complete" in capsys.readouterr().err
    assert complete.main([str(tmp_path), "--rows", "3"]) == 2
    assert "rows must be from 0 to 2" in capsys.readouterr().err
    assert complete.main([str(tmp_path / "nowhere")]) == 2
