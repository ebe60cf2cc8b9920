"""One growth of a progressive GAN, interrupted and not."""

import json

import numpy as np
import pytest

from experiments.benchmarks import growing_run


def test_a_small_growth_resumes_to_the_bit(tmp_path, capsys):
    out = tmp_path / "figures.json"
    options = ["--side", "8", "--max-width", "2", "--batch-size", "2", "--out", str(out)]
    assert growing_run.main(options) == 0
    (found,) = json.loads(out.read_text())["rows"]
    assert found["alpha"] == pytest.approx([1, 0, 0.1, 0.2, 0.3])
    assert found["peak_bytes"] > 0
    assert 0 < found["seconds_per_step"] < found["seconds"]["whole"]
    assert json.loads(capsys.readouterr().out) == found


def test_states_that_differ_in_one_bit_or_leaf_are_not_the_same():
    def state(weight, **more):
        return {"step": np.int32(3), "params": {"w": np.float32(weight), **more}}

    assert growing_run.same(state(1), state(1))
    assert growing_run.same(state(np.nan), state(np.nan))
    assert not growing_run.same(state(1), state(np.nextafter(np.float32(1), np.float32(2))))
    assert not growing_run.same(state(0.0), state(-0.0))
    assert not growing_run.same(state(1), state(1, v=np.float32(0)))


def test_rejects_sides_that_are_no_power_of_two(capsys):
    assert growing_run.main(["--side", "48"]) == 2
    assert "power of two" in capsys.readouterr().err
