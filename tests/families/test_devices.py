"""1 and 8 devices agree; losses run inside a user's pmap and shard_map."""

import json

import numpy as np
import pytest
from helpers import SPREAD, run_program


@pytest.fixture(scope="module")
def found():
    return json.loads(run_program("devices.py", devices=8, timeout=900).stdout.splitlines()[-1])


@pytest.mark.parametrize("name", SPREAD)
def test_losses_and_gradients_agree(found, name):
    for loss in found[name]["losses"].values():
        (value_1, grads_1), (value_8, grads_8) = loss["1"], loss["8"]
        assert value_1 == pytest.approx(value_8, rel=1e-5)
        for a, b in zip(grads_1, grads_8, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", SPREAD)
@pytest.mark.parametrize("where", ["pmap", "shard_map"])
def test_losses_run_inside_the_users_own_mapping(found, name, where):
    for loss in found[name]["losses"].values():
        got, expected = loss[where]
        assert got == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", SPREAD)
def test_a_step_gives_the_same_metrics_however_it_is_spread(found, name):
    steps = found[name]["steps"]
    for label in ("8", "rules"):
        for metric, value in steps["1"][0].items():
            assert steps[label][0][metric] == pytest.approx(value, rel=1e-3, abs=1e-5), metric
    assert steps["8"][1] == 0  # replicated unless rules say otherwise


def test_rules_do_spread_the_state(found):
    assert found["nade"]["steps"]["rules"][1] > 0
    assert found["gan"]["steps"]["rules"][1] > 0
