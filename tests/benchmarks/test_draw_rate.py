"""Drawing rates of DALL-E: every installed method is timed, and ratios are to genjax."""

import dataclasses
import importlib.util
import json

import pytest

from experiments.benchmarks import draw_rate
from experiments.table import rows
from genjax.families import dalle, dvae


@pytest.fixture
def small(monkeypatch):
    """The row with a tiny network of 4x4 tokens."""
    run = rows()[draw_rate.ROW]
    tokenizer = dataclasses.replace(dvae.tiny(), quantizer="vq", likelihood="normal")
    model = dataclasses.replace(dalle.tiny(), image_tokenizer=tokenizer, qk_norm=False, layers=1)
    small = dataclasses.replace(run, model=model)
    monkeypatch.setattr(draw_rate, "all_rows", lambda: {draw_rate.ROW: small})


def test_times_every_installed_method(small, tmp_path, capsys):
    out = tmp_path / "rates.json"
    words = ["--batch-size", "2", "--guidance", "3", "--repeats", "1", "--seconds", "0.1"]
    assert draw_rate.main([*words, "--out", str(out)]) == 0
    found = {row["row"]: row for row in json.loads(out.read_text())["rows"]}
    assert {"genjax", "genjax_naive"} <= found.keys() <= set(draw_rate.METHODS)
    errors = capsys.readouterr().err.splitlines()
    for package in ("torch", "dalle_pytorch"):
        there = all(importlib.util.find_spec(name) for name in {"torch", package})
        assert (package in found) == there
        assert any(line.startswith(f"{package} is left out") for line in errors) != there
    for name, row in found.items():
        assert row["samples"].keys() == {"3"}
        assert all(part["seconds"] > 0 for part in row["samples"].values())
        assert ("step" in row) == (name in draw_rate.STEPS)


def test_ratios_are_to_the_cached_samples_and_the_step_of_genjax():
    def part(seconds):
        return {"seconds": seconds}

    first = {"row": "genjax", "step": part(0.2), "samples": {"1": part(0.01), "3": part(0.02)}}
    other = {"row": "torch", "step": part(0.3), "samples": {"1": part(0.04), "3": part(0.05)}}
    row = draw_rate.table_row(other, first)
    assert (row["step"], row["step: ratio"]) == ("300", "1.50")
    assert (row["tokens, guidance 1"], row["tokens, guidance 1: ratio"]) == ("40", "4.00")
    assert row["tokens, guidance 3: ratio"] == "2.50"
    alone = draw_rate.table_row({"row": "genjax_naive", "samples": {"1": part(0.1)}}, None)
    assert (alone["step"], alone["tokens, guidance 1: ratio"]) == ("-", "-")


def test_rejects_a_batch_without_images(capsys):
    assert draw_rate.main(["--batch-size", "0"]) == 2
    assert "batch_size" in capsys.readouterr().err
