"""The table of stages before step 1, and the error for stages that do not fit the device."""

import dataclasses
import itertools
import json
import time
from types import SimpleNamespace

import jax
import pytest
from support.growing_linear import Config, growing_run
from support.reading import assert_error_message
from support.small import SQUARES, write_data

from genjax import families
from genjax.train import device_memory, fit, make_mesh, stage_table
from genjax.train.device_memory import device_limit, largest_batch, program_memory
from genjax.train.stage_table import StageRow, Timer, render

ROW = StageRow(
    stage="8x8", images=9600, fade=10, stable=20, batch_size=320, critic_steps=1, live=7,
    parameters=9, memory=5_000_000, seconds=3725.0, measured=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_data(folder, n=160)
    return str(folder / SQUARES)


@pytest.fixture(autouse=True)
def family(monkeypatch):
    monkeypatch.setitem(families.FAMILIES, "growing_linear", "support.growing_linear")


def written(folder):
    return json.loads((folder / "stages.json").read_text())


def columns(rows, *names):
    return [tuple(row[name] for name in names) for row in rows]


def words(text):
    return " ".join(text.split())


def limited(monkeypatch, limit):
    monkeypatch.setattr(stage_table, "device_limit", lambda mesh: limit)
    monkeypatch.setattr("genjax.train.trainer.device_limit", lambda mesh: limit)


def test_the_table_has_every_stage_and_then_those_that_are_left(tmp_path, data, capsys):
    run = growing_run(data, Config(batch_sizes=(16, 8)), steps=6)
    fit(run, tmp_path / "run")
    assert "all │ 80 │ 6 │" in words(capsys.readouterr().err)
    table = written(tmp_path / "run")
    assert table["from_step"] == 0
    names = ("stage", "images", "fade", "stable", "batch_size", "live", "parameters")
    block, head, first = 16 * 16, 16 * 64, 64 * 16
    stages = [
        ("s0", 64, 0, 4, 16, first + head, first + head),
        ("s1", 16, 2, 0, 8, first + block + 2 * head, first + block + 2 * head),
    ]
    assert columns(table["stages"], *names) == stages
    run = dataclasses.replace(run, train=dataclasses.replace(run.train, steps=24))
    fit(run, tmp_path / "run", quiet=True)  # resumed in the fade to s1
    assert capsys.readouterr().err == ""
    table = written(tmp_path / "run")
    assert table["from_step"] == 6
    stages = [
        ("s1", 48, 2, 4, 8, first + block + 2 * head, first + block + 2 * head),
        ("s2", 96, 4, 8, 8, first + 2 * block + 2 * head, first + 2 * block + 3 * head),
    ]
    assert columns(table["stages"], *names) == stages
    assert all(row["measured"] and 0 < row["seconds"] < 5 for row in table["stages"])
    parameters = [4 * row["parameters"] for row in table["stages"]]
    # Arguments are Adam's two moments too, and results have their memory.
    assert all(row["memory"] > 3 * p for row, p in zip(table["stages"], parameters, strict=True))


@pytest.mark.parametrize(("when", "compiled"), [("next", 1), ("none", 0)])
def test_stages_that_are_not_compiled_have_no_memory(tmp_path, data, capsys, when, compiled):
    fit(growing_run(data, compile_stages=when), tmp_path / "run")
    rows = written(tmp_path / "run")["stages"]
    assert [row["memory"] is not None for row in rows] == [k < compiled for k in range(3)]
    assert [row["seconds"] is not None for row in rows] == [k < compiled for k in range(3)]
    assert capsys.readouterr().err.count("not compiled") == 3 - compiled


def test_times_of_long_steps_are_marked_as_estimates():
    table = render([ROW, dataclasses.replace(ROW, measured=False, seconds=59.0, memory=12 * 10**9)])
    first, second, total = [words(line) for line in table.splitlines() if "│" in line]
    assert "10 + 20" in first
    assert "5.00 MB │ 1:02:05" in first
    assert "12.00 GB │ ~0:59" in second
    assert "~1:03:04" in total
    assert render([ROW, dataclasses.replace(ROW, seconds=None)]).count("unknown") == 2


class Sleeper:
    """A step of some operations, which takes some seconds."""

    def __init__(self, operations, seconds):
        costs = {"flops": operations}
        self.program = SimpleNamespace(cost_analysis=lambda: costs, input_shardings=((None,), {}))
        self.pause, self.calls = seconds, 0

    def __call__(self, x):
        self.calls += 1
        time.sleep(self.pause)
        return x


def test_short_steps_are_measured_and_long_ones_follow_from_their_operations():
    timer, shapes = Timer(), (jax.ShapeDtypeStruct((2,), "float32"),)

    def of(step, length=1, fits=True):
        return timer.seconds_per_step(step, shapes, length, None, fits)

    assert of(Sleeper(1e12 * timer.rate, 0)) == (pytest.approx(1e12), False)
    seconds, measured = of(Sleeper(1e6, 0.05))
    assert measured
    assert 0.05 <= seconds < 0.5
    long = Sleeper(1e8, 0)
    assert of(long) == (pytest.approx(100 * seconds), False)
    assert not long.calls
    assert of(Sleeper(1e6, 0), fits=False) == (pytest.approx(seconds), False)
    joined = of(Sleeper(1e6, 0.1), length=2)  # a loop's operations count once
    assert joined[1]
    assert 0.05 <= joined[0] < 0.25


def memories(folder, data, size):
    model = Config(batch_sizes=(16, 16, size))
    fit(growing_run(data, model), folder, quiet=True)
    return [row["memory"] for row in written(folder)["stages"]]


def test_a_stage_that_does_not_fit_is_an_error_with_the_batch_size_that_does(
    tmp_path, data, monkeypatch
):
    """Stage s2 can have 38 images; this family does not train with 35 or 39 of them."""
    small, large = (memories(tmp_path / str(size), data, size)[2] for size in (34, 64))
    limit = small + (large - small) * (38 - 34) // (64 - 34)
    limited(monkeypatch, limit)

    def run(size):
        return growing_run(data, Config(batch_sizes=(16, 16, size)))

    with pytest.raises(ValueError, match="stage s2 needs") as caught:
        fit(run(64), tmp_path / "run", quiet=True)
    message = str(caught.value)
    assert_error_message(message)
    assert f"with a batch of 64, and the device has {limit / 1e6:,.2f} MB; set" in message
    assert not list((tmp_path / "run").glob("checkpoints/*/[0-9]*"))
    (found,) = [size for size in range(1, 64) if f"--batch-sizes 16 16 {size}," in message]
    assert 34 <= found <= 40
    assert fit(run(found), tmp_path / "run", quiet=True).finished
    with pytest.raises(ValueError, match="stage s2 needs"):
        fit(run(found + 1 + (found % 4 == 2)), tmp_path / "next", quiet=True)


def test_without_compiling_ahead_it_is_an_error_where_the_stage_begins(tmp_path, data, monkeypatch):
    needed = memories(tmp_path / "whole", data, 64)
    limited(monkeypatch, needed[2] - 1)
    run = growing_run(data, Config(batch_sizes=(16, 16, 64)), compile_stages="next")
    with pytest.raises(ValueError, match="stage s2 needs"):
        fit(run, tmp_path / "run", quiet=True)
    assert [path.name for path in (tmp_path / "run/checkpoints/latest").iterdir()] == ["12"]


def test_where_no_batch_fits_the_message_says_so(tmp_path, data, monkeypatch):
    limited(monkeypatch, 1000)
    with pytest.raises(ValueError, match="no batch size fits") as caught:
        fit(growing_run(data, batch_size=2), tmp_path / "run", quiet=True)
    assert_error_message(str(caught.value))


@pytest.mark.parametrize("power", [0.5, 0.8, 1.0, 1.2, 1.5])
def test_the_largest_batch_that_fits_is_compiled(power):
    tried = []

    def memory(size):
        tried.append(size)
        return 1000 + 10 * size**power

    for batch, limit, step in itertools.product((512, 96, 8), (2000, 1100, 1001, 999), (1, 8)):
        tried.clear()
        sizes, needed = range(step, batch, step), 1000 + 10 * batch**power
        if needed > limit:
            found = largest_batch(memory, sizes, batch, needed, limit)
            fitting = [size for size in sizes if 1000 + 10 * size**power <= limit]
            assert found == max(fitting, default=0)
            assert found in (0, *tried)
            assert len(tried) <= device_memory.TRIALS


def test_memory_of_a_program_and_of_devices(monkeypatch):
    sizes = dict(argument=10, output=8, alias=5, temp=3)
    analysis = SimpleNamespace(**{f"{k}_size_in_bytes": v for k, v in sizes.items()})
    assert program_memory(SimpleNamespace(memory_analysis=lambda: analysis)) == 16
    assert program_memory(SimpleNamespace(memory_analysis=lambda: None)) is None
    gpu = SimpleNamespace(platform="gpu", memory_stats=lambda: {"bytes_limit": 7})
    unknown = SimpleNamespace(platform="gpu", memory_stats=lambda: None)
    assert device_memory._limit(gpu, 1) == 7
    assert device_memory._limit(unknown, 1) is None
    monkeypatch.setattr(device_memory, "free_memory", lambda: 10**12)
    kept = jax.numpy.zeros(1000)
    assert 10**12 + kept.nbytes <= device_limit(make_mesh(jax.devices()[:1])) < 2 * 10**12
    monkeypatch.setattr(device_memory, "free_memory", lambda: None)
    assert device_limit(make_mesh(jax.devices()[:1])) is None
