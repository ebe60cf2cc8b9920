"""Diagnoses of GAN training: a constructed collapse is reported, a healthy run is not."""

import dataclasses
import json

import pytest

from genjax.core import GanObjective, Optimizer
from genjax.data import Data
from genjax.families import gan
from genjax.train import Run, Train, fit, gan_diagnostics

COLLAPSED = {"generator_diversity": 0.05}
DIVERSE = {"generator_diversity": 0.9}
CONFIDENT = {"discriminator_real_probability": 0.999, "discriminator_fake_probability": 0.001}


def diagnoses(means, steps=None, counts=None):
    """Warnings at each log, and the counts after them."""
    counts = {"step": 300} if counts is None else counts
    steps = steps or range(400, 400 + 100 * len(means), 100)
    warnings = []
    for step, of_step in zip(steps, means, strict=True):
        words, counts = gan_diagnostics.diagnose(step, of_step, counts)
        warnings.append(words)
    return warnings, counts


def test_reports_repeated_samples_apart_from_a_single_one():
    few = {"generator_diversity": 1.0, "generator_nearest": 0.03}
    found, _ = diagnoses([few] * 3)
    assert "collapsed to a few samples" in found[2][0]
    assert "0.03 times the data's (nearest)" in found[2][0]
    assert not any(diagnoses([{**few, "generator_nearest": 0.5}] * 5)[0])
    collapsed, _ = diagnoses([few | COLLAPSED] * 3)  # a single image: one warning, not both
    assert len(collapsed[2]) == 1
    assert "the spread of its samples is 0.05 times" in collapsed[2][0]


def test_reports_after_three_logs_and_once():
    found, counts = diagnoses([COLLAPSED] * 5)
    assert [len(f) for f in found] == [0, 0, 1, 0, 0]
    assert "has collapsed" in found[2][0]
    assert "0.05 times" in found[2][0]
    json.dumps(counts)  # kept in checkpoints


def test_a_recovery_resets_the_count():
    means = [COLLAPSED] * 2 + [DIVERSE] + [COLLAPSED] * 3 + [DIVERSE] + [COLLAPSED] * 3
    found, _ = diagnoses(means)
    assert [i for i, f in enumerate(found) if f] == [5, 9]


def test_a_resumed_run_keeps_the_count():
    _, counts = diagnoses([COLLAPSED, COLLAPSED])
    kept = json.loads(json.dumps(counts))
    assert diagnoses([COLLAPSED], [600], kept)[0][0]


@pytest.mark.parametrize("every", [100, 200, 500])
def test_the_first_steps_are_not_diagnosed(every):
    """Means since the last log must not include any of the first steps."""
    steps = range(every, 9 * every, every)
    found, _ = diagnoses([COLLAPSED] * 8, steps, {})
    first = -(-gan_diagnostics.FIRST_STEPS // every) * every  # where the first valid means begin
    reported = [step for step, warnings in zip(steps, found, strict=True) if warnings]
    assert reported == [first + gan_diagnostics.CONSECUTIVE * every]
    assert sum(map(len, found)) == 1


def test_reports_a_discriminator_that_is_never_wrong():
    found, _ = diagnoses([CONFIDENT] * 3)
    assert "never wrong" in found[2][0]
    unsure = {**CONFIDENT, "discriminator_fake_probability": 0.2}
    assert not any(diagnoses([unsure] * 5)[0])
    assert not any(diagnoses([{"loss": 1.0}] * 5)[0])  # one network, or no probabilities


def ring_run(objective, learning_rate):
    """Settings of a small GAN on a ring of eight Gaussians."""
    each = Optimizer(learning_rate=learning_rate, b1=0.5)
    return Run(
        experiment="ring",
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
            objective=objective,
        ),
        data=Data(data="ring"),
        optimizer=dict(generator=each, discriminator=each),
        train=Train(steps=1200, batch_size=64, log_every=100, samples=4),
    )


def test_a_constructed_collapse_is_reported(tmp_path, capsys):
    # Weights near 0 that hardly change: all samples are 0.
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


def test_missing_modes_are_in_the_record(tmp_path, capsys):
    """Points of an untrained generator are near 0, far from the ring's centres."""
    run = ring_run(GanObjective(), 1e-3)
    short = {"steps": 2, "metric": "gaussian_modes", "metric_samples": 50}
    run = dataclasses.replace(run, train=dataclasses.replace(run.train, **short))
    record = fit(run, tmp_path).record
    found = record["final_metrics"]["gaussian_modes"]["found"]
    assert found < 8
    words = f"the generator has samples of only {found} of 8 modes"
    assert record["warnings"][-1]["step"] == 2
    assert record["warnings"][-1]["words"].startswith(words)
    assert f"ring  step 2: {words}" in capsys.readouterr().err
    assert (
        gan_diagnostics.missing_modes({"found": 8, "modes": 8})
        == gan_diagnostics.missing_modes({"nats": 3.0})
        == ""
    )
    # 64 samples cannot be of more than 64 modes.
    few = {"found": 60, "modes": 1000}
    assert gan_diagnostics.missing_modes({**few, "n_fake": 64}) == ""
    assert "60 of 1,000 modes" in gan_diagnostics.missing_modes({**few, "n_fake": 26_000})


def test_label_smoothing_lowers_the_threshold_of_confidence():
    """With smoothing s the optimal D(x) is 1 - s."""
    means = {"discriminator_real_probability": 0.9, "discriminator_fake_probability": 1e-6}
    for smoothing, reported in ((0.0, [0, 0, 0, 0]), (0.1, [0, 0, 0, 1])):
        counts, found = {}, []
        for step in (300, 400, 500, 600):
            words, counts = gan_diagnostics.diagnose(step, means, counts, smoothing)
            found.append(words)
        assert [len(f) for f in found] == reported
    assert "is never wrong (D(x) 0.900" in found[3][0]


def test_only_regular_logs_are_diagnosed(tmp_path, monkeypatch):
    calls = []

    def diagnose(step, means, counts, smoothing):
        calls.append((step, smoothing))
        return [], {}

    monkeypatch.setattr(gan_diagnostics, "diagnose", diagnose)
    run = ring_run(GanObjective(label_smoothing=0.1), 1e-3)
    train = dataclasses.replace(run.train, steps=40, log_every=20, save_every=5)
    fit(dataclasses.replace(run, train=train), tmp_path, quiet=True)
    assert calls == [(20, 0.1), (40, 0.1)]


def test_a_healthy_run_has_no_warning(tmp_path, capsys):
    objective = GanObjective(loss="relativistic", r1=0.1, r2=0.1)
    result = fit(ring_run(objective, 1e-3), tmp_path)
    assert "warnings" not in result.record
    assert "collapsed" not in capsys.readouterr().err
