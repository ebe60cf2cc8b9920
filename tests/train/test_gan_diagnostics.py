"""A planted collapse is said in words and written down; a healthy run says nothing."""

import dataclasses
import json

import pytest

from genjax.core import GanObjective, Optimizer
from genjax.data import Data
from genjax.families import gan
from genjax.train import Run, Train, fit, gan_diagnostics

ALIKE = {"generator_diversity": 0.05}
VARIED = {"generator_diversity": 0.9}
SURE = {"discriminator_real_probability": 0.999, "discriminator_fake_probability": 0.001}


def said(means, steps=None, meta=None):
    meta = {"watch": {"step": 300}} if meta is None else meta
    steps = steps or range(400, 400 + 100 * len(means), 100)
    return [gan_diagnostics.look(s, m, meta) for s, m in zip(steps, means, strict=True)], meta


def test_a_few_samples_again_and_again_are_a_collapse_of_their_own():
    few = {"generator_diversity": 1.0, "generator_nearest": 0.03}
    found, _ = said([few] * 3)
    assert "collapsed to a few samples: each lies 0.03 times" in found[2][0]
    assert not any(said([{**few, "generator_nearest": 0.5}] * 5)[0])
    alike, _ = said([few | ALIKE] * 3)  # one image: said as that, and once
    assert len(alike[2]) == 1
    assert "its samples lie 0.05 times" in alike[2][0]


def test_it_takes_three_looks_and_is_said_once():
    found, meta = said([ALIKE] * 5)
    assert [len(f) for f in found] == [0, 0, 1, 0, 0]
    assert "has collapsed" in found[2][0]
    assert "0.05 times" in found[2][0]
    assert meta["warnings"] == [{"step": 600, "words": found[2][0]}]
    json.dumps(meta)  # lies in checkpoints


def test_a_recovery_begins_the_count_anew():
    found, meta = said([ALIKE, ALIKE, VARIED, ALIKE, ALIKE, ALIKE, VARIED, *[ALIKE] * 3])
    assert [i for i, f in enumerate(found) if f] == [5, 9]
    assert len(meta["warnings"]) == 2


def test_a_run_that_goes_on_counts_on():
    _, meta = said([ALIKE, ALIKE])
    kept = json.loads(json.dumps(meta))
    assert said([ALIKE], [600], kept)[0][0]


@pytest.mark.parametrize("every", [100, 200, 500])
def test_the_first_steps_are_not_looked_at(every):
    """A look is at the means since the one before: none of its steps may be among the first."""
    found, meta = said([ALIKE] * 8, range(every, 9 * every, every), {})
    first = -(-gan_diagnostics.EARLY // every) * every  # where means begin that hold none of them
    assert [w["step"] for w in meta["warnings"]] == [first + gan_diagnostics.LOOKS * every]
    assert sum(map(len, found)) == 1


def test_a_discriminator_that_is_never_wrong():
    found, _ = said([SURE] * 3)
    assert "never wrong" in found[2][0]
    unsure = {**SURE, "discriminator_fake_probability": 0.2}
    assert not any(said([unsure] * 5)[0])
    assert not any(said([{"loss": 1.0}] * 5)[0])  # one network, or no probabilities


def ring_run(method, learning_rate):
    """Points of a ring of eight, by a small GAN."""
    each = Optimizer(learning_rate=learning_rate, b1=0.5)
    return Run(
        experiment="watched",
        family="gan",
        model=gan.Config(
            shape=(2,),
            latent=8,
            noise="normal",
            output="linear",
            generator_hidden=(64, 64),
            discriminator_hidden=(64, 64),
            activation="relu",
            input_dropout=0.0,
            hidden_dropout=0.0,
            generator_range=0.0,
            discriminator_range=0.0,
            marginals=False,
            objective=method,
        ),
        data=Data(data="ring"),
        optimizer=dict(generator=each, discriminator=each),
        train=Train(steps=1200, batch_size=64, log_every=100, samples=4),
    )


def test_a_planted_collapse_is_reported(tmp_path, capsys):
    # A generator whose weights are next to nothing and hardly move: all of its samples are 0.
    run = ring_run(GanObjective(), 1e-4)
    still = dataclasses.replace(run.optimizer["generator"], learning_rate=1e-9)
    run = dataclasses.replace(
        run,
        model=dataclasses.replace(run.model, generator_range=1e-4),
        optimizer={**run.optimizer, "generator": still},
        train=dataclasses.replace(run.train, steps=600, log_every=50),
    )
    result = fit(run, tmp_path)
    words = [w["words"] for w in result.record["warnings"]]
    assert sum("has collapsed" in w for w in words) == 1
    assert "has collapsed" in capsys.readouterr().err


def test_modes_that_were_dropped_are_said_with_the_record(tmp_path, capsys):
    """A generator of points that has hardly moved from 0 is near none of the ring's centres."""
    run = ring_run(GanObjective(), 1e-3)
    short = {"steps": 2, "metric": "gaussian_modes", "metric_samples": 50}
    run = dataclasses.replace(run, train=dataclasses.replace(run.train, **short))
    record = fit(run, tmp_path).record
    found = record["final_metrics"]["found"]
    assert found < 8
    words = f"the generator makes {found} of 8 modes: it has dropped the others"
    assert record["warnings"][-1]["step"] == 2
    assert record["warnings"][-1]["words"].startswith(words)
    assert f"watched  step 2: {words}" in capsys.readouterr().err
    assert (
        gan_diagnostics.missing_modes({"found": 8, "modes": 8})
        == gan_diagnostics.missing_modes({"nats": 3.0})
        == ""
    )
    # 64 samples are of no more than 64 modes, whatever the generator.
    few = {"found": 60, "modes": 1000}
    assert gan_diagnostics.missing_modes({**few, "n_fake": 64}) == ""
    assert "60 of 1,000 modes" in gan_diagnostics.missing_modes({**few, "n_fake": 26_000})


def test_smoothed_labels_do_not_hide_a_discriminator_that_is_never_wrong():
    """With smoothing s the best it says of data is 1 - s."""
    means = {"discriminator_real_probability": 0.9, "discriminator_fake_probability": 1e-6}
    steps = (300, 400, 500, 600)
    meta = {}
    assert not any(gan_diagnostics.look(step, means, meta) for step in steps)
    meta = {}
    found = [gan_diagnostics.look(step, means, meta, 0.1) for step in steps]
    assert [len(f) for f in found] == [0, 0, 0, 1]
    assert "is never wrong (D(x) 0.900" in found[3][0]


def test_only_regular_logs_are_counted(tmp_path, monkeypatch):
    looked = []
    monkeypatch.setattr(
        gan_diagnostics, "look", lambda step, *rest: looked.append((step, rest[-1])) or []
    )
    run = ring_run(GanObjective(label_smoothing=0.1), 1e-3)
    train = dataclasses.replace(run.train, steps=40, log_every=20, save_every=5)
    fit(dataclasses.replace(run, train=train), tmp_path, quiet=True)
    assert looked == [(20, 0.1), (40, 0.1)]


def test_a_healthy_run_says_nothing(tmp_path, capsys):
    method = GanObjective(loss="relativistic", r1=0.1, r2=0.1)
    result = fit(ring_run(method, 1e-3), tmp_path)
    assert "warnings" not in result.record
    assert "collapsed" not in capsys.readouterr().err
