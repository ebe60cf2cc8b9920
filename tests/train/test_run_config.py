"""Settings: JSON round trip, validation, resolution and resumption."""

import dataclasses
import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import families
from genjax.core import GanObjective, Optimizer, init_state, make_step
from genjax.data import Data
from genjax.train import Figure, Run, Train
from genjax.train.run_config import (
    MAY_CHANGE,
    build_optimizer,
    continue_from,
    differences,
    resolve,
    run_from_json,
    to_json,
)

LINEAR = Optimizer(optimizer="sgd", learning_rate=0.02, schedule="linear", momentum=0.9)
COSINE = Optimizer(learning_rate=2e-4, b1=0.5, schedule="cosine", decay_steps=77)


def make(family="nade", optimizer=LINEAR, **train):
    """A run with a non-default setting in every group."""
    return Run(
        experiment=f"{family}_test:recipe",
        family=family,
        model=families.get(family).tiny(),
        data=Data(data="digits", transform="binarize('static')", limit=9),
        optimizer=optimizer,
        train=Train(**{"steps": 1000, "ema": 0.9, **train}),
        seed=2**32 - 1,
        figure=Figure(paper=88.33, tag="seen", source="table 2"),
    )


RUNS = {
    "single": make(),
    "two": make("gan", dict(generator=COSINE, discriminator=LINEAR)),
    "none": make("joint", None),
    "vae": make("vae", COSINE),
    "objective": make(
        "infogan", dict(generator=Optimizer(), discriminator=Optimizer())
    ),  # a dataclass in its Config
    "no figure": dataclasses.replace(make(), figure=Figure()),
}


def through_json(run):
    return json.loads(json.dumps(to_json(run)))


@pytest.mark.parametrize("name", RUNS)
def test_json_round_trip(name):
    run = RUNS[name]
    back = run_from_json(through_json(run))
    assert back == run
    # JSON knows no tuples; a list left in a Config could not be hashed, and jit hashes it.
    assert hash(back) == hash(run)
    assert type(back.optimizer) is type(run.optimizer)
    assert differences(run, back) == {}


def test_missing_settings_have_their_defaults():
    back = run_from_json({"experiment": "a", "family": "nade"})
    assert back == Run(experiment="a", family="nade", model=families.get("nade").Config())


PLACES = [(), ("model",), ("data",), ("train",), ("optimizer",), ("figure",)]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(place) or "run")
def test_rejects_an_unknown_setting(place):
    values = through_json(RUNS["single"])
    inner = values
    for step in place:
        inner = inner[step]
    inner["from_the_future"] = 1
    with pytest.raises(ValueError, match="from_the_future"):
        run_from_json(values)


def test_rejects_an_unknown_setting_of_one_network():
    values = through_json(RUNS["two"])
    values["optimizer"]["generator"]["from_the_future"] = 1
    with pytest.raises(ValueError, match="from_the_future"):
        run_from_json(values)


@pytest.mark.parametrize(
    "change",
    [
        {"family": "unheard_of"},
        {"family": None},
        {"train": {"steps": 0}},
        {"train": {"steps": "many"}},
        {"model": {"hidden": None}},
        {"train": 3},
        {"experiment": ...},
    ],
    ids=str,
)
def test_rejects_entries_of_a_wrong_type(change):
    values = {**through_json(RUNS["single"]), **change}
    values = {name: value for name, value in values.items() if value is not ...}  # left out
    with pytest.raises(ValueError, match=r"."):
        run_from_json(values)


def test_each_network_has_its_own_learning_rate():
    """Two time scales: of plain descent, an update is the gradient times the rate."""
    rates = {"generator": 1e-1, "discriminator": 1e-3}
    sgd = {name: Optimizer(optimizer="sgd", learning_rate=rate) for name, rate in rates.items()}
    run = make("gan", sgd)
    run = dataclasses.replace(run, model=dataclasses.replace(run.model, objective=GanObjective()))
    run = run_from_json(through_json(run))  # as a run that is resumed has them
    family, optimizers = families.get("gan"), build_optimizer(run)

    @jax.jit
    def stepped(key):
        state = init_state(family, run.model, optimizers, key)
        spec = family.batch_spec(run.model, 4)["x"]
        return make_step(family, run.model, optimizers)(state, {"x": jnp.full(spec.shape, 0.3)})[1]

    metrics = stepped(jax.random.key(0))
    for name, rate in rates.items():
        ratio = metrics[f"{name}_update_norm"] / metrics[f"{name}_grad_norm"]
        assert float(ratio) == pytest.approx(rate, rel=1e-4)


# Differences.


def test_differences_name_the_setting():
    other = dataclasses.replace(
        RUNS["single"],
        seed=1,
        optimizer=dataclasses.replace(LINEAR, momentum=0.5),
        model=dataclasses.replace(RUNS["single"].model, shape=(4, 4, 1)),
    )
    assert differences(RUNS["single"], other) == {
        "seed": (2**32 - 1, 1),
        "optimizer.momentum": (0.9, 0.5),
        "model.shape": ([3, 3, 1], [4, 4, 1]),
    }


def test_differences_see_through_json():
    # A tuple and the list that JSON makes of it are the same setting.
    run = RUNS["two"]
    assert differences(through_json(run), run) == {}
    assert differences(run, through_json(run)) == {}


def test_differences_between_kinds_of_optimizer():
    assert "optimizer.generator" in differences(RUNS["single"], RUNS["two"])
    assert list(differences(make(), make(optimizer=None))) == ["optimizer"]


def test_settings_that_may_change_on_resuming():
    # Each of these would give a resumed run other numbers than a whole one.
    assert not MAY_CHANGE & {"train.batch_size", "train.steps_per_call", "train.ema", "seed"}
    assert {"train.steps", "train.save_every", "data.data"} <= MAY_CHANGE
    names = {f"train.{f.name}" for f in dataclasses.fields(Train)}
    assert {m for m in MAY_CHANGE if m.startswith("train.")} <= names


# What depends on other settings.


@pytest.mark.parametrize(("backend", "per_call"), [("cpu", 1), ("gpu", 100), ("tpu", 100)])
def test_resolve_fills_steps_per_call(backend, per_call):
    assert resolve(make(), backend).train.steps_per_call == per_call
    assert resolve(make(steps_per_call=7), backend).train.steps_per_call == 7
    # Evaluations decide when to end: a call is not longer than eval_every.
    assert resolve(make(eval_every=5), backend).train.steps_per_call == min(5, per_call)


def test_resolve_fills_decay_steps():
    assert resolve(make(), "cpu").optimizer.decay_steps == 1000
    # Updates, not batches; and never 0.
    four = dataclasses.replace(LINEAR, accumulate=4)
    assert resolve(make(optimizer=four), "cpu").optimizer.decay_steps == 250
    assert resolve(make(optimizer=four, steps=3), "cpu").optimizer.decay_steps == 1
    # A schedule that does not fall, and a length given by name, stay as they are.
    assert resolve(make(optimizer=Optimizer()), "cpu").optimizer.decay_steps is None
    assert resolve(make(optimizer=COSINE), "cpu").optimizer.decay_steps == 77
    assert resolve(make(optimizer=None), "cpu").optimizer is None


def test_the_constant_part_of_a_schedule_may_be_longer_than_the_run():
    held = Optimizer(schedule="constant_linear", constant_steps=400)
    assert resolve(make(optimizer=held), "cpu").optimizer.decay_steps == 1000
    assert resolve(make(optimizer=held, steps=10), "cpu").optimizer.decay_steps == 401


def test_restarts_beyond_the_run_are_left_out():
    again = dataclasses.replace(LINEAR, restarts=(400, 900))
    assert resolve(make(optimizer=again), "cpu").optimizer.restarts == (400, 900)
    shorter = resolve(make(optimizer=again, steps=900), "cpu")
    assert shorter.optimizer.restarts == (400,)
    # It resumes as it is; with more restarts it is another run.
    requested = make(optimizer=again, steps=900)
    assert resolve(continue_from(requested, shorter), "cpu") == shorter
    longer = resolve(continue_from(make(optimizer=again), shorter), "cpu")
    assert set(differences(shorter, longer)) == {
        "train.steps",
        "optimizer.restarts",
        "optimizer.decay_steps",
    }
    assert run_from_json(json.loads(json.dumps(to_json(longer)))) == longer


def test_resolve_fills_the_optimizer_of_each_network():
    two = dict(generator=COSINE, discriminator=LINEAR)
    optimizer = resolve(make("gan", two), "cpu").optimizer
    assert optimizer["generator"].decay_steps == 77
    # The tiny GAN makes two discriminator updates a step.
    assert optimizer["discriminator"].decay_steps == 2000


def test_a_longer_run_keeps_its_schedule():
    saved = resolve(make(steps_per_call=0), "gpu")
    longer = resolve(continue_from(make(steps=5000), saved), "cpu")
    # Without it the learning rate would jump up at the resume.
    assert longer.optimizer.decay_steps == 1000
    assert longer.train.steps == 5000
    # The calls as well: on the CPU it would be 1.
    assert longer.train.steps_per_call == 100
    assert set(differences(saved, longer)) == {"train.steps"}


def test_a_longer_run_of_two_networks_keeps_both_schedules():
    two = dict(generator=LINEAR, discriminator=dataclasses.replace(LINEAR, accumulate=2))
    saved = resolve(make("gan", two), "cpu")
    longer = resolve(continue_from(make("gan", two, steps=5000), saved), "cpu").optimizer
    assert {name: o.decay_steps for name, o in longer.items()} == dict.fromkeys(two, 1000)


def test_given_settings_override_the_saved_run():
    # So that the difference is rejected instead of hidden.
    saved = resolve(make(), "cpu")
    given = make(optimizer=dataclasses.replace(LINEAR, decay_steps=42), steps_per_call=9)
    found = continue_from(given, saved)
    assert found.optimizer.decay_steps == 42
    assert found.train.steps_per_call == 9
    assert continue_from(make(optimizer=None), saved).optimizer is None


# Out of range.


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        *[
            (Train, name, 0)
            for name in (
                *("steps", "batch_size", "log_every", "eval_batch", "eval_samples"),
                *("samples", "keep"),
            )
        ],
        *[
            (Train, name, -1)
            for name in ("steps_per_call", "eval_every", "patience", "sample_every", "save_every")
        ],
        (Train, "ema", 1.0),
        (Train, "ema", -0.1),
        (Train, "ema", float("nan")),
        (Data, "transform", "gray"),
        (Data, "binarize_seed", -1),
        (Data, "validation", -1),
        (Data, "limit", -1),
        (Optimizer, "learning_rate", 0.0),
        (Optimizer, "learning_rate", float("nan")),
        (Optimizer, "eps", 0.0),
        (Optimizer, "accumulate", 0),
        (Optimizer, "decrease", -1.0),
        (Optimizer, "warmup", -1),
        (Optimizer, "weight_decay", -1.0),
        (Optimizer, "clip", -1.0),
        (Optimizer, "momentum", 1.0),
        (Optimizer, "b1", 1.0),
        (Optimizer, "b2", 1.0),
        (Optimizer, "decay_steps", 0),
        (Optimizer, "optimizer", "adamm"),
        (Optimizer, "schedule", "liner"),
    ],
)
def test_rejects_values_out_of_range(kind, name, value):
    with pytest.raises(ValueError, match=rf"^`?{name}`? must be .*{value}.*\.$"):
        kind(**{name: value})


def test_rejects_invalid_seeds():
    with pytest.raises(ValueError, match="`seed` must be non-negative, got -1"):
        dataclasses.replace(make(), seed=-1)
    with pytest.raises(ValueError, match=r"`seed` must be below 2\^32"):
        dataclasses.replace(make(), seed=2**32)


@pytest.mark.parametrize(
    ("kind", "setting", "message"),
    [
        # Each of these trained, and left a workdir that nothing could read.
        (Train, {"steps": 1e4}, "`steps` must be a positive integer, got 10000.0."),
        (
            Train,
            {"writers": ("tsv",)},
            "`writers` must be a tuple, each entry one of csv, tensorboard, wandb, got ('tsv',)",
        ),
        (
            Train,
            {"writers": "csv"},
            "`writers` must be a tuple, each entry one of csv, tensorboard, wandb, got 'csv'",
        ),
        (Train, {"ema": "0.9"}, "`ema` must be a number in [0, 1), got '0.9'"),
        (Train, {"metric": None}, "`metric` must be a string, got None."),
        (Data, {"limit": 2.5}, "`limit` must be a non-negative integer, got 2.5."),
        (
            Data,
            {"labels_seed": 2.0},
            "`labels_seed` must be an integer in [0, 4294967296) or None, got 2.0.",
        ),
        (
            Data,
            {"data": pathlib.PurePosixPath("a.npz")},
            "`data` must be a string, got PurePosixPath(",
        ),
        (Optimizer, {"decay_steps": 1e4}, "`decay_steps` must be an integer or None, got 10000.0."),
        (Data, {"standardize": "yes"}, "`standardize` must be True or False, got 'yes'"),
        (Data, {"stream": "maybe"}, "`stream` must be one of auto, yes, no, got 'maybe'"),
    ],
    ids=lambda value: str(value),
)
def test_rejects_values_of_a_wrong_type(kind, setting, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        kind(**setting)


def test_numpy_scalars_become_numbers():
    run = dataclasses.replace(make(steps=np.int64(7), ema=np.float32(0.5)), seed=np.int64(3))
    assert run_from_json(through_json(run)) == run
    assert through_json(run)["seed"] == 3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model": families.get("made").tiny()}, "nade needs a genjax.families.nade.Config, got"),
        (
            {"optimizer": dict(generator=Optimizer(), discriminator=Optimizer())},
            "nade has one network; pass an optimizer such as Optimizer(...), got a dict of",
        ),
        (
            {"family": "gan", "model": families.get("gan").tiny()},
            'gan has networks discriminator, generator; pass an optimizer such as {"discri',
        ),
    ],
    ids=["model", "two", "one"],
)
def test_rejects_parts_of_different_families(changed, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        resolve(dataclasses.replace(make(), **changed), "cpu")


def test_patience_needs_evaluations_and_data_a_name():
    with pytest.raises(ValueError, match="set `eval_every` too"):
        Train(patience=3)
    assert Train(patience=3, eval_every=10).patience == 3
    with pytest.raises(ValueError, match="`data` is empty"):
        Data(data="")
