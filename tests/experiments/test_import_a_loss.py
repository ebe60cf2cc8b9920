"""The example of a genjax loss in other frameworks."""

import importlib.util
import re

import pytest

from experiments.examples import import_a_loss

UNIFORM = 44.361  # 64 ln 2: the model before training


def printed(capsys, *arguments):
    assert import_a_loss.main(list(arguments)) == 0
    return dict(line.split(": ") for line in capsys.readouterr().out.splitlines())


def test_all_frameworks_reach_the_same_nats(capsys):
    lines = printed(capsys, "--steps", "30")
    assert list(lines) == ["jax", "flax", "equinox"]
    nats = {
        name: float(re.fullmatch(r"([\d.]+) nats on test", line)[1])
        for name, line in lines.items()
        if "skipped" not in line
    }
    assert {"jax", "flax"} <= set(nats)
    assert len(set(nats.values())) == 1
    assert nats["jax"] < UNIFORM - 10


def test_before_training_pixels_are_uniform(capsys):
    assert printed(capsys, "--steps", "0")["jax"] == f"{UNIFORM} nats on test"


@pytest.mark.skipif(importlib.util.find_spec("equinox") is not None, reason="it is installed")
def test_says_what_is_not_installed(capsys):
    lines = printed(capsys, "--steps", "0")
    assert lines["equinox"] == "skipped, not installed (pip install equinox)"
