"""Steps of full size: what is exported, counted and run, on small networks."""

import dataclasses
import json
import math

import jax
import pytest

from experiments.benchmarks import flops, full_size, speed
from experiments.benchmarks.growth import at_last_stage, last_layout, stage_state_at
from experiments.table import rows
from genjax.core import Optimizer
from genjax.families import gan, progressive, puzzle_gan
from genjax.train import Run, Train
from genjax.train.run_config import resolve


def test_full_size_rows_are_those_of_the_papers():
    known = rows()
    sides = {known[name].model.shape[0] for name in full_size.ROWS}
    assert sides == {32, 64, 72, 128, 256, 1024}
    paper = known["jigsaw_pacs:gan_1000"].model
    assert (paper.width, paper.blocks, paper.num_permutations) == (64, 8, 1000)
    assert last_layout(known["progressive_celebahq1024:swd"]).stage.batch_size == 3
    assert known["cyclegan_maps:paper"].model.blocks == 9


def test_modes_of_puzzle_gan_have_the_sizes_of_the_paper():
    known = full_size.known_runs()
    found = {}
    for mode, parts in {"bedrooms": 2, "faces": 2, "face_parts": 5}.items():
        run = known[f"puzzle_gan:{mode}"]
        assert len(puzzle_gan.image_parts(run.model)) == parts
        state = full_size.step_of_shapes(run, last_layout(run))[1]
        assert puzzle_gan.side(state.variables) == run.model.shape[0]
        found[mode] = sum(a.size for a in jax.tree.leaves(state.variables["params"]["generator"]))
    # A dense layer from 512 numbers, but for parts: each cell of 8x8 has the noise of its part.
    cells = {"bedrooms": 64 * 256, "faces": 16 * 384 + 48 * 128}
    cells["face_parts"] = 36 * 288 + 8 * 64 + 8 * 64 + 4 * 32 + 8 * 64
    assert found["faces"] - found["face_parts"] == 512 * (cells["faces"] - cells["face_parts"])
    block = 9 * 128 * 64 + 64 + 9 * 64 * 64 + 64  # of 256x256
    heads = 3 * 64 + 3  # its layer to RGB
    expected = 512 * (cells["faces"] - cells["bedrooms"]) + block + heads
    assert found["faces"] - found["bedrooms"] == expected


def test_a_step_of_nine_blocks_has_the_operations_of_its_layers():
    """1,290e9 per pair of images by a sum over the layers, within a twentieth."""
    run = resolve(rows()["cyclegan_maps:paper"], "cpu")
    step, state, batch = full_size.step_of_shapes(run, last_layout(run))
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


def growing_row():
    adam = Optimizer(learning_rate=1e-3, b1=0.0, b2=0.99)
    model = progressive.Config(
        shape=(8, 8, 3), latent=2, base=8, max_width=2, group=2, batch_sizes=(4, 2), refresh=1
    )
    return Run(
        experiment="growing",
        family="progressive",
        model=model,
        optimizer=dict(discriminator=adam, generator=adam),
        train=Train(batch_size=8, ema=0.9),
    )


def test_every_stage_of_growing_networks_is_exported_at_its_batch_size(monkeypatch, tmp_path):
    monkeypatch.setattr(full_size, "all_rows", lambda: {"growing": growing_row()})
    out = tmp_path / "figures.json"
    options = ["--rows", "growing", "--stages", "all", "--run", "--out", str(out)]
    assert full_size.main(options) == 0
    first, last = json.loads(out.read_text())["rows"]
    assert [row["row"] for row in (first, last)] == ["growing 4x4", "growing 8x8"]
    assert [row["batch_size"] for row in (first, last)] == [4, 2]
    assert last["parameters"] > first["parameters"]
    assert (first["metrics"]["alpha"], last["metrics"]["alpha"]) == (1, pytest.approx(0.5, 1e-4))
    assert full_size.main(["--rows", "growing", "--stages", "16x16"]) == 2


def test_speed_measures_the_last_stage():
    run = at_last_stage(resolve(growing_row(), "cpu"))
    assert run.train.batch_size == 2
    state = jax.eval_shape(stage_state_at(run, last_layout(run)), jax.random.key(0))
    assert progressive.side(state.variables) == 8
    larger = speed.with_side(run, 16).model
    assert (larger.start, larger.shape[0]) == (4, 16)
    whole = dataclasses.replace(run, model=dataclasses.replace(run.model, start=8))
    assert speed.with_side(whole, 16).model.start == 16


def test_modes_replace_the_default_rows(monkeypatch):
    selected = []
    monkeypatch.setattr(full_size, "layouts_by_name", lambda names, _: selected.append(names) or {})
    assert full_size.main(["--modes", "faces"]) == full_size.main([]) == 0
    assert full_size.main(["--rows", "a", "--modes", "bedrooms"]) == 0
    assert selected == [["puzzle_gan:faces"], [*full_size.ROWS], ["a", "puzzle_gan:bedrooms"]]


def test_rejects_unknown_rows(capsys):
    assert full_size.main(["--rows", "cyclegan_maps:large"]) == 2
    assert "cyclegan_maps:large" in capsys.readouterr().err
