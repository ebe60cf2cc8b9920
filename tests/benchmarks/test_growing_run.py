"""One growth of a progressive GAN, interrupted and not."""

import json

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


def test_another_seed_or_step_is_not_the_same_state(tmp_path):
    """The comparison of states can fail."""
    config = growing_run.config_of(
        growing_run.argparse.Namespace(side=8, base=8, max_width=2, batch_size=2)
    )
    data = growing_run.write_images(tmp_path, config.shape, 4)
    states = []
    for steps in (1, 2):
        growing_run.train(config, 2, data, tmp_path / str(steps), steps)
        states.append(growing_run.load_state(tmp_path / str(steps))[1])
    assert growing_run.same(states[0], states[0])
    assert not growing_run.same(*states)


def test_rejects_sides_that_are_no_power_of_two(capsys):
    assert growing_run.main(["--side", "48"]) == 2
    assert "power of two" in capsys.readouterr().err
