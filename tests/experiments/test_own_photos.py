"""A model of a folder of photos: what it writes, what it suggests, and its error messages."""

import re
import shlex

import numpy as np
import pytest
from PIL import Image

from experiments.examples import own_photos
from genjax.cli.main import main as genjax
from genjax.data import Data, load


def test_trains_and_draws_pictures_made_by_rule_and_may_be_repeated(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(own_photos.make_landscapes, "__defaults__", (60,))
    assert own_photos.main(["--out", str(tmp_path), "--steps", "2"]) == 0
    printed = capsys.readouterr().out
    bits = float(re.search(r"^bits per value: ([\d.]+)$", printed, re.MULTILINE)[1])
    assert 6 < bits < 12  # 8 without a model; two steps have hardly trained one
    data = load(Data(data=str(tmp_path / "data" / "landscapes" / "1.0.0")))
    assert data.counts() == {"train": 54, "test": 6}
    assert data.shape == (32, 32, 3)
    for name in ("samples", "reconstructions"):
        pixels = np.asarray(Image.open(tmp_path / f"{name}.png"))
        assert len(np.unique(pixels)) > 20, name
    # The same pictures, prepared again, are the same data.
    own_photos.make_landscapes(tmp_path / "pictures")
    again = own_photos.prepare_photos(tmp_path / "pictures", tmp_path / "data", "landscapes")
    assert again == str(tmp_path / "data" / "landscapes" / "1.0.0")


@pytest.mark.parametrize(
    ("photos", "message"),
    [
        ("missing", r"missing is no folder; give the folder of your photos to --photos\."),
        ("empty", r"empty has 0 files, which are too few; give a folder of 10 photos or more\."),
        ("texts", r"texts holds no images \(.*\.png"),
    ],
)
def test_rejects_folders_without_photos(tmp_path, capsys, photos, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    for i in range(12):
        (tmp_path / "texts" / f"{i}.txt").write_text("no photo")
    arguments = ["--photos", str(tmp_path / photos), "--out", str(tmp_path / "out")]
    assert own_photos.main(arguments) == 2
    error = capsys.readouterr().err
    assert re.match(rf"error: \S*{message}", error)
    assert len(error.splitlines()) == 1


def test_rejects_no_steps(tmp_path, capsys):
    assert own_photos.main(["--out", str(tmp_path / "out"), "--steps", "0"]) == 2
    assert capsys.readouterr().err.startswith("error: `steps` must be positive, got 0")


@pytest.mark.parametrize("command", own_photos.further("DATA"))
def test_suggested_commands_have_their_options(command, capsys):
    program, *words = shlex.split(command)
    assert program == "genjax"
    name = words[:2] if words[0] == "train" else words[:1]
    with pytest.raises(SystemExit) as end:
        genjax([*name, "--help"])
    assert not end.value.code
    text = capsys.readouterr().out
    assert [word for word in words if word.startswith("--") and word not in text] == []
