"""The rate counts the images it trained on, and targets are for the task they are about."""

import argparse
import itertools
import json

import pytest

from experiments.benchmarks import vae_rate

SMALL = (
    "--steps 5 --per-call 2 --repeats 3 --hidden 4 --latent 2 --train-images 30 --images 12"
    " --bound-samples 3 --bound-batch 5 --bound-repeats 2"
)


def test_images_by_a_clock_that_ticks_once_a_reading(tmp_path, monkeypatch, capsys):
    ticks = itertools.count()
    monkeypatch.setattr(vae_rate.time, "perf_counter", lambda: float(next(ticks)))
    out = tmp_path / "figures" / "rate.json"
    asked = ["--runs", "1", "2", "--samples", "2", "--batch-size", "7"]
    assert vae_rate.main([*SMALL.split(), *asked, "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    # Two calls of two steps fit into five; every repeat takes one second.
    assert [(r["k"], r["runs"], r["repeats"]) for r in found["training"]] == [
        (2, 1, [2 * 2 * 7.0] * 3),
        (2, 2, [2 * 2 * 7 * 2.0] * 3),
    ]
    assert found["bound"]["repeats"] == [1.0, 1.0]
    assert found["bound"]["images"] == 12
    # First parameters know nothing: about 784 log 2 nats.
    assert all(300 < r["loss"] < 700 for r in found["training"])
    assert 400 < found["bound"]["nats"] < 700
    assert found["device"].endswith("x1")
    assert found["commit"]
    assert found["training"][0]["target"] is found["bound"]["target"] is None  # a smaller network
    assert (
        capsys.readouterr().out.splitlines()[-1] == f"{found['device']}, commit {found['commit']}"
    )


def test_targets_are_for_the_network_and_the_task_of_the_table():
    asked = dict(hidden=[200, 200], latent=50, batch_size=20, images=10_000, bound_samples=5000)
    about = vae_rate.network_of_the_table, vae_rate.bound_of_the_table
    for changed, expected in [
        ({}, [True, True]),
        ({"hidden": [200]}, [False, False]),
        ({"latent": 2}, [False, False]),
        ({"batch_size": 100}, [False, True]),
        ({"images": 100}, [True, False]),
        ({"bound_samples": 50}, [True, False]),
    ]:
        options = argparse.Namespace(**asked | changed)
        assert [fits(options) for fits in about] == expected
    row = vae_rate.shown({"k": 1, "runs": 8, **vae_rate.spread([1.0, 9.0, 5.0]), "target": 1e6})
    assert (row["lowest"], row["median"], row["highest"]) == (1.0, 5.0, 9.0)
    assert row["target on one H100"] == "1,000,000"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--per-call 9", "steps must be 9 or more, the steps of one call."),
        ("--runs 0", "runs must be above 0, got [0]."),
        ("--repeats 0", "repeats must be above 0, got 0."),
    ],
)
def test_a_mistake_is_a_sentence(options, sentence, capsys):
    assert vae_rate.main([*SMALL.split(), *options.split()]) == 2
    assert capsys.readouterr().err == f"error: {sentence}\n"
