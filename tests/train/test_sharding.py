"""Sharded parameters: rules, memory per device, and steps on 8 devices equal to those on 1."""

import json

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from support.helpers import run_program
from support.small import small_run, write_data

from genjax import families
from genjax.cli import experiment
from genjax.core import Optimizer
from genjax.families import dalle, made
from genjax.train import Run, Train, fit
from genjax.train.layouts import Layouts
from genjax.train.sharding import (
    memory_before,
    parameter_rules,
    parse_mesh,
    state_memory,
)

BIG = Run(
    experiment="big",
    family="dalle",
    model=dalle.Config(),  # the paper's model of 12 billion parameters
    optimizer=Optimizer(),
    train=Train(batch_size=1024, ema=0.999),
)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded")
    done = run_program("sharded_training.py", str(folder), devices=8, timeout=600)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("mesh", ["fsdp", "both"])
def test_steps_of_dalle_on_8_devices_equal_those_on_1(found, mesh):
    """Loss and norms of two steps, and each gradient, which plain descent subtracts."""
    one, eight = found["1"], found[mesh]
    for got, expected in zip(eight["metrics"], one["metrics"], strict=True):
        assert got == pytest.approx(expected, rel=1e-4, abs=1e-6)
    scale = max(np.abs(update).max() for update in one["updates"])
    assert scale > 0.01
    for got, expected in zip(eight["updates"], one["updates"], strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5 * scale)


@pytest.mark.parametrize(
    ("mesh", "parts"),
    [("fsdp", [1, 8, 1, 1, 1]), ("both", [1, 4, 1, 2, 1])],
)
def test_each_device_has_its_part_of_parameters_average_and_momentum(found, mesh, parts):
    """Of the projections to queries, keys and values: width over `data`, heads over `model`."""
    shards = found[mesh]["shards"]
    name = "blocks.attention.query_key_value.kernel"
    same = {k: v for k, v in shards.items() if k.endswith(name)}
    assert {k.split(".")[0] for k in same} == {"variables", "ema", "opt_state"}
    for whole, part in same.values():
        assert [w // p for w, p in zip(whole, part, strict=True)] == parts
    assert not any("image_tokenizer" in name for name in shards)  # it is fixed
    assert not found["1"]["shards"]


def test_a_checkpoint_of_8_devices_continues_on_1(found):
    assert found["continued"] == pytest.approx(found["1"]["metrics"][1], rel=1e-4, abs=1e-6)


def shardings_of(run, mesh, **settings):
    mesh = parse_mesh(mesh)
    rules = parameter_rules(run.family, run.model, mesh, **settings)
    return Layouts(run, mesh, rules).of(0)


def test_arrays_without_rules_are_divided_along_their_largest_axis():
    """Only large ones, only along an axis that is divisible; and what follows them alike."""
    model = made.Config(shape=(100,), hidden=(64,))
    run = Run(
        experiment="m",
        family="made",
        model=model,
        optimizer=Optimizer(),
        train=Train(batch_size=8, ema=0.9),
    )
    layout = shardings_of(run, "data=8", fsdp=True)
    shapes = jax.tree.leaves(layout.shapes)
    seen = {}
    for leaf, place in zip(shapes, jax.tree.leaves(layout.shardings), strict=True):
        seen.setdefault(leaf.shape, set()).add(place.spec)
    assert seen[100, 64] == {PartitionSpec(None, "data")}  # 100 is not divisible by 8
    assert seen[64,] == {PartitionSpec()}  # a bias is small
    count = sum(leaf.shape == (100, 64) for leaf in shapes)
    assert count >= 4  # parameters, average, both moments
    assert shardings_of(run, "data=8").shardings.ema == jax.tree.map(
        lambda leaf: jax.sharding.NamedSharding(parse_mesh("data=8"), PartitionSpec()),
        layout.shapes.ema,
    )


def test_memory_of_12_billion_parameters_without_devices():
    """Adam holds two numbers per parameter, and everything large is divided."""
    layout = shardings_of(BIG, "data=64,model=2", fsdp=True)
    whole = state_memory(dalle, layout.shapes)
    assert whole.parameters == pytest.approx(4 * 12e9, rel=0.05)
    assert whole.average == whole.gradients == whole.parameters
    assert whole.optimizer == pytest.approx(2 * whole.parameters, rel=1e-3)
    device = state_memory(dalle, layout.shapes, layout.shardings)
    assert device.parameters == pytest.approx(whole.parameters / 128, rel=0.1)
    assert device.optimizer == pytest.approx(2 * device.parameters, rel=1e-3)
    assert device.fixed == whole.fixed  # the discrete VAE is on every device
    replicated = shardings_of(BIG, "data=64,model=2")
    device = state_memory(dalle, replicated.shapes, replicated.shardings)
    assert device.parameters == pytest.approx(whole.parameters / 2, rel=0.02)


def test_the_memory_of_a_mesh_is_printed_without_training(capsys, monkeypatch):
    monkeypatch.setattr(experiment, "fit", lambda *args, **kwargs: pytest.fail("training began"))
    monkeypatch.setattr(experiment.cli_options, "set_up_process", lambda: None)
    line = "--fsdp --mesh-memory data=64,model=2 --batch-size 512"
    assert experiment.main({"big": BIG}, "Doc.", line.split()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("memory on 128 devices (data=64, model=2), without activations")
    words = [line.replace(",", "").split() for line in lines[2:]]
    rows = {name: [float(number) for number in numbers] for name, *numbers in words}
    assert set(rows) == {"parameters", "gradients", "optimizer", "average", "fixed", "total"}
    for i in range(2):
        assert sum(row[i] for row in rows.values()) == pytest.approx(2 * rows["total"][i], abs=0.05)


@pytest.mark.parametrize(
    ("mesh", "options", "message"),
    [
        (
            "data=64,model=8",
            {},
            r"query_key_value\.\w+, .* is not divisible by 8 devices; set --te",
        ),
        ("8x8", {}, "'8x8' is not a mesh; give the devices of each axis, as in data=64,model=8"),
        ("data=0", {}, "`data` must be positive"),
        ("data=3", {}, "`batch_size` 1024 is not divisible by 3 devices; use a multiple of 3"),
    ],
)
def test_rejects_meshes_that_do_not_fit(mesh, options, message):
    with pytest.raises(ValueError, match=message):
        experiment.memory_on_mesh(BIG, mesh, fsdp=True)


def test_rejects_tensor_parallelism_without_rules(tmp_path):
    run, count = small_run("nade", write_data(tmp_path)), jax.device_count()
    with pytest.raises(ValueError, match=r"nade has no rules to split .* among 2 devices; set --t"):
        experiment.memory_on_mesh(run, "data=4,model=2", fsdp=False)
    with pytest.raises(ValueError, match=f"{count} devices are not divisible by {count + 1}"):
        fit(run, tmp_path / "run", tensor_parallel=count + 1)


def test_rejects_a_state_that_does_not_fit_a_device():
    mesh = parse_mesh("data=64")
    layouts = Layouts(BIG, mesh, parameter_rules("dalle", BIG.model, mesh, fsdp=False))
    with pytest.raises(ValueError, match=r"needs 197\.\d+ GB on each of 64 devices, and a device"):
        memory_before(layouts, 80 * 10**9)
    assert "gradients" in memory_before(layouts, 200 * 10**9)


def test_own_rules_of_a_family_are_used_before_the_general_one(monkeypatch):
    """An axis that is not divisible by the devices of `data` is not divided."""
    rules = [(r"\.W$", PartitionSpec("data", "model")), (r"\.V$", PartitionSpec("model"))]
    nade = families.get("nade")
    monkeypatch.setattr(nade, "sharding_rules", lambda config: rules, raising=False)
    model = nade.Config(shape=(90,), hidden=64)
    mesh = parse_mesh("data=4,model=2")
    rule = parameter_rules("nade", model, mesh, fsdp=True)
    assert rule("variables.params.W", (90, 64)) == PartitionSpec(None, "model")
    assert rule("opt_state.0.mu.W", (96, 64)) == PartitionSpec("data", "model")
    assert rule("ema.V", (90, 64)) == PartitionSpec("model")
    assert rule("ema.W", (90, 64, 8)) == PartitionSpec(None, "model", "data")
    assert rule("ema.b", (90, 64)) == PartitionSpec(None, "data")
    assert rule("variables.buffers.V", (90, 64)) == PartitionSpec()
    unsharded = parameter_rules("nade", model, mesh, fsdp=False)
    assert unsharded("opt_state.0.mu.W", (96, 64)) == PartitionSpec(None, "model")


def test_a_fully_sharded_run_continues_on_1_device(found):
    """With evaluation and samples; the memory is printed first, of several devices."""
    shards = found["run"]["shards"]
    assert [[9, 512], [9, 64]] in shards.values()
    assert any(name.startswith("variables.params") for name in shards)
    steps = [session["from_step"] for session in found["run"]["sessions"]]
    assert steps == [0, 2]
    assert [found["run"][name] for name in ("finished", "whole")] == [4, 4]
    assert found["run"]["obtained"] == pytest.approx(found["run"]["expected"], rel=1e-4)


def test_the_memory_is_printed_before_a_run_of_several_devices(found):
    assert found["run"]["printed"] == "memory on 8 devices (data=8, model=1), without activations"
