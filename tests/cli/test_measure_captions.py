"""Metrics of text-to-image runs, re-ranked by the run of another family, at the end and later."""

import dataclasses
import json
import zlib

import numpy as np
import pytest
from support import fake_drawers
from support.fake_drawers import drawer_run, painted

import genjax.data
from genjax.cli import measure
from genjax.data.tokenizers import Tokenizer
from genjax.train import fit, load, load_ranker


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    fake_drawers.register(monkeypatch)
    data = painted(30, tokenizer=Tokenizer("words", (*fake_drawers.WORDS, "all")))
    for split in data.splits.values():
        split["caption"] = split["caption"][:, :1]
        split["text"] = split["text"][:, :1]
    monkeypatch.setattr(genjax.data, "load", lambda settings: data)


def results(capsys, *options):
    assert measure.main([str(word) for word in options]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_ranker_of_a_run(tmp_path, capsys):
    """A ranker that scores by colour finds the right one of 8; the wrong one prefers darkness."""
    for name in ("scoring_painter", "dark_ranker"):
        run = drawer_run(name, tmp_path)
        if name == "dark_ranker":
            data = dataclasses.replace(run.data, transform="scale(0, 1)")
            run = dataclasses.replace(run, data=data)
        fit(run, tmp_path / f"{name}-seed0", quiet=True)
    run = drawer_run(
        "painter",
        tmp_path,
        steps=1,
        metric="caption_accuracy,neighbours",
        metric_samples=192,
        ranker="scoring_painter",
    )
    run = dataclasses.replace(run, model=dataclasses.replace(run.model, skill=0.5))
    record = fit(run, tmp_path / "painter-seed0", quiet=True).record
    metrics = record["final_metrics"]
    values = metrics["caption_accuracy"]
    assert record["metric"] == "caption_accuracy right"
    assert record["obtained"] == pytest.approx(100 * values["right"])
    assert values["right"] == values["test_right_1"]
    assert values["ranker"] == "scoring_painter"
    _, variables = load(tmp_path / "scoring_painter-seed0")
    checksum = f"{zlib.crc32(np.asarray(variables['params']['skill']).tobytes()):08x}"
    assert record["ranker"] == {"run": "scoring_painter", "checksum": checksum}
    assert values["ranked_test_right_8"] == values["any_test_right_8"] > values["right"] + 0.2
    assert values["captions"] == {"test": 3}
    assert metrics["neighbours"]["n_fake"] == 192

    at_end = results(capsys, tmp_path / "painter-seed0", "caption_accuracy", "--samples", 192)
    again = at_end["results"]["caption_accuracy"]
    assert again["ranker"] == "scoring_painter"  # the run's own
    assert at_end["ranker"] == record["ranker"]
    assert again["ranked_test_right_8"] == again["any_test_right_8"]
    other = results(
        capsys, tmp_path / "painter-seed0", "caption_accuracy", "--samples", 192,
        "--ranker", tmp_path / "dark_ranker-seed0",
    )["results"]["caption_accuracy"]  # fmt: skip
    assert other["ranker"] == "dark_ranker"
    assert other["ranked_test_right_8"] < other["any_test_right_8"]
    without = results(
        capsys, tmp_path / "painter-seed0", "caption_accuracy", "--samples", 40, "--ranker", ""
    )
    none = without["results"]["caption_accuracy"]
    assert none["ranker"] == ""
    assert "ranker" not in without
    assert "ranked_test_right_8" not in none

    every = results(capsys, tmp_path / "painter-seed0", "--samples", 40)
    assert {"caption_accuracy", "neighbours"} <= set(every["results"])
    assert "implement" not in every["skipped"]["swd"]
    assert "score captions" in every["skipped"]["caption_retrieval"]
    assert "encode images as tokens" in every["skipped"]["token_usage"]
    assert measure.main([str(tmp_path / "painter-seed0"), "neighbours", "--ranker", "x"]) == 2
    assert "--ranker is for caption_accuracy" in capsys.readouterr().err
    assert measure.main([str(tmp_path / "painter-seed0"), "caption_accuracy", "--ranker", "x"]) == 2
    assert "holds no finished run to load the ranker from" in capsys.readouterr().err


def test_a_missing_ranker_is_an_error_before_training(tmp_path):
    run = drawer_run("painter", tmp_path, metric="caption_accuracy", ranker="nothing")
    with pytest.raises(ValueError, match="holds no finished run to load the ranker from"):
        fit(run, tmp_path / "painter-seed0", quiet=True)
    assert not (tmp_path / "painter-seed0" / "metrics.jsonl").exists()
    small = drawer_run("scoring_painter", tmp_path)
    fit(small, tmp_path / "scoring_painter-seed0", quiet=True)
    larger = dataclasses.replace(run.model, shape=(4, 4, 3))
    ranker = dataclasses.replace(run.train, ranker="scoring_painter")
    wrong = dataclasses.replace(run, model=larger, train=ranker)
    with pytest.raises(ValueError, match="scores images of shape"):
        load_ranker(wrong, tmp_path)
