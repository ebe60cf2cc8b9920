"""A killed and resumed run equals an uninterrupted one to the bit."""

import json

import chex
import numpy as np
import pytest
from support.helpers import run_program
from support.small import small_run, write_data

from genjax.train import fit
from genjax.train.checkpoint import leaves
from genjax.train.load_run import load_state


def assert_same_run(a, b):
    """Checks that states are bitwise equal, and metrics equal except for times."""
    clock = ("examples_per_second", "input_wait", "seconds")
    chex.assert_trees_all_equal(leaves(load_state(a)[1]), leaves(load_state(b)[1]))

    def lines(workdir):
        found = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        return [{k: v for k, v in f.items() if k not in clock} for f in found]

    assert lines(a) == lines(b)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    root = tmp_path_factory.mktemp("kill")
    data = write_data(root)
    fit(small_run("nade", data, steps=40), root / "whole", quiet=True)
    return root, data


@pytest.mark.parametrize("moment", ["step-3", "step-21", "save"])
def test_resumes_after_sigkill(uninterrupted, moment):
    root, data = uninterrupted
    workdir = root / moment
    arguments = (data, str(workdir), moment, "nade", "40")
    killed = run_program("killed.py", *arguments, check=False)
    assert killed.returncode == -9, killed.stderr
    assert not (workdir / "record.json").exists()
    if moment == "save":
        names = [p.name for p in (workdir / "checkpoints" / "latest").iterdir()]
        assert any("tmp" in name for name in names), names  # killed within a save
    fit(small_run("nade", data, steps=40), workdir, quiet=True)
    assert (workdir / "record.json").exists()
    assert_same_run(workdir, root / "whole")


def test_runs_of_several_steps_per_call_resume_aligned(tmp_path):
    """15 + 5 steps in calls of 5 equal 20 steps to the bit."""
    data = write_data(tmp_path)
    options = dict(steps_per_call=5, eval_every=0, save_every=5, log_every=5, sample_every=0)
    whole = small_run("nade", data, steps=20, **options)
    fit(whole, tmp_path / "whole", quiet=True)
    fit(small_run("nade", data, steps=15, **options), tmp_path / "cut", quiet=True)
    fit(whole, tmp_path / "cut", quiet=True)
    a, b = (load_state(tmp_path / w)[1] for w in ("whole", "cut"))
    chex.assert_trees_all_equal(a.variables, b.variables)
    chex.assert_trees_all_equal(a.opt_state, b.opt_state)
    assert np.asarray(a.step) == 20
