"""Steps of full size: what is exported, counted and run, on small networks."""

import dataclasses
import json
import math

from experiments.benchmarks import flops, full_size
from experiments.table import rows
from genjax.families import gan
from genjax.train.run_config import resolve


def test_full_size_rows_are_those_of_the_papers():
    known = rows()
    assert {known[name].model.shape for name in full_size.ROWS} == {(256, 256, 3), (128, 128, 3)}
    assert known["cyclegan_maps:paper"].model.blocks == 9


def test_a_step_of_nine_blocks_has_the_operations_of_its_layers():
    """1,290e9 per pair of images by a sum over the layers, within a twentieth."""
    run = resolve(rows()["cyclegan_maps:paper"], "cpu")
    step, state, batch = full_size.step_of_shapes(run)
    operations = flops.work(step, state, batch, platform="cuda")[0]
    assert abs(operations / 1290e9 - 1) < 0.05


def test_exports_counts_and_runs_a_step(monkeypatch, tmp_path, capsys):
    name = "gan_mnist:paper"
    run = rows()[name]
    train = dataclasses.replace(run.train, batch_size=2)
    small = dataclasses.replace(run, model=gan.tiny(), train=train)
    monkeypatch.setattr(full_size, "all_rows", lambda: {name: small})
    out = tmp_path / "figures.json"
    options = ["--rows", name, "--run", "--out", str(out)]
    assert full_size.main(options) == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert row["platforms"] == ["cpu", "cuda", "tpu"]
    assert row["memory_bytes"] > row["state_bytes"] > 0
    assert len(row["seconds"]) == 2
    assert row["peak_bytes"] > row["memory_bytes"]
    assert all(map(math.isfinite, row["metrics"].values()))
    assert name in capsys.readouterr().err


def test_rejects_unknown_rows(capsys):
    assert full_size.main(["--rows", "cyclegan_maps:large"]) == 2
    assert "cyclegan_maps:large" in capsys.readouterr().err
