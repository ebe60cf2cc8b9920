"""1 and 8 devices agree; losses run inside a user's pmap and shard_map."""

import json

import numpy as np
import pytest
from support.helpers import (
    NAMES,
    PMAP_FAMILIES,
    REPLICATED_FAMILIES,
    SHARD_MAP_FAMILIES,
    adversarial_families,
    run_program,
)

from genjax import families
from genjax.core import network_names


@pytest.fixture(scope="module")
def found():
    return json.loads(run_program("devices.py", devices=8, timeout=900).stdout.splitlines()[-1])


@pytest.mark.parametrize("name", sorted({*NAMES} - {*SHARD_MAP_FAMILIES}))
def test_losses_are_traced_inside_shard_map(found, name):
    assert found[name]["losses"]
    assert all(loss == {"shape": []} for loss in found[name]["losses"].values())


@pytest.mark.parametrize(
    ("where", "name"),
    [
        *(("shard_map", name) for name in SHARD_MAP_FAMILIES),
        *(("pmap", name) for name in PMAP_FAMILIES),
    ],
)
def test_losses_run_inside_pmap_and_shard_map(found, name, where):
    for loss in found[name]["losses"].values():
        got, expected = loss[where]
        assert got == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", REPLICATED_FAMILIES)
def test_a_step_gives_the_same_metrics_on_8_devices(found, name):
    steps = found[name]["steps"]
    assert_same_metrics(steps["8"], steps["1"], rel=1e-5)
    assert steps["8"][1] == 0  # replicated unless rules say otherwise


@pytest.mark.parametrize("name", REPLICATED_FAMILIES)
def test_a_step_on_8_devices_changes_each_weight_as_on_1(found, name):
    """Including running statistics and counts of the whole batch."""
    one, eight = (found[name]["steps"][count][2] for count in ("1", "8"))
    assert_same_updates(eight, one)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_changes_all_networks(found, name):
    one = found[name]["steps"]["1"][2]
    several = name in adversarial_families()
    moving = {part for part, leaves in one.items() if any(np.any(leaf) for leaf in leaves)}
    assert moving >= set(network_names(families.get(name))) if several else moving


@pytest.mark.parametrize("name", NAMES)
def test_a_step_is_the_same_with_a_sharded_state(found, name):
    steps = found[name]["steps"]
    assert_same_metrics(steps["rules"], steps["1"])
    assert_same_updates(steps["rules"][2], steps["1"][2])


def assert_same_updates(got, expected):
    for part, leaves in expected.items():
        # Weights without effect, such as biases before instance normalisation, have gradients that
        # are rounding errors of the largest.
        atol = 1e-6 * max(1.0, *(np.abs(leaf).max() for leaf in leaves))
        for a, b in zip(got[part], leaves, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=atol, err_msg=part)


def assert_same_metrics(got, expected, rel=1e-3):
    for metric, value in expected[0].items():
        assert got[0][metric] == pytest.approx(value, rel=rel, abs=1e-5), metric


def test_evaluates_a_split_that_is_not_divisible_by_the_devices(found):
    one, eight = found["evaluated"]
    assert len(one) == 13
    np.testing.assert_allclose(eight, one, rtol=1e-5)


def test_rules_shard_the_state(found):
    assert found["nade"]["steps"]["rules"][1] > 0
    assert found["gan"]["steps"]["rules"][1] > 0
