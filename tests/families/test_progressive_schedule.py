"""The stages of the progressive GAN against the schedule of the authors' code."""

import dataclasses

import pytest
from support import official_schedule

from genjax.core import GanObjective
from genjax.families import progressive

CONFIG = progressive.Config(shape=(64, 64, 3), fade_images=5_000, stable_images=7_000, refresh=1)
TABLES = {
    "one batch size": {},
    "batch sizes that divide nothing": {"batch_sizes": (14, 6, 3)},
    "the authors' batch sizes": {"batch_sizes": (128, 128, 128, 64, 32)},
    "critic steps": {"stage_critic_steps": (5, 1, 2), "batch_sizes": (64, 16)},
    "unequal parts": {"fade_images": 1_000, "stable_images": 12_345},
    "without fades": {"fade_images": 0},
    "from 16x16": {"start": 16},
}


def stage_of(stages, step):
    return next(stage for stage in reversed(stages) if stage.first <= step)


@pytest.mark.parametrize("table", TABLES)
def test_the_level_of_detail_is_the_official_one_to_within_a_step(table):
    config = dataclasses.replace(CONFIG, **TABLES[table])
    steps = 12_000
    stages = progressive.stages(config, 16, steps)
    assert stages[-1].name == "64x64"
    assert stages[-1].end == steps
    parts = (64, config.start, config.stable_images, config.fade_images)
    images = 0  # shown to the discriminator
    for step in range(steps):
        stage = stage_of(stages, step)
        if step % 7 == 0 or step in (stage.first, stage.first + stage.fade):
            assert stage.examples_at(step) == images
            # Ours is that of some number of images from a step before to a step after, where the
            # step may be the last one of the stage before.
            each = max(s.examples_per_step for s in stages if s.end in (stage.first, stage.end))
            before, after = (
                official_schedule.level_of_detail(images + shift, *parts) for shift in (-each, each)
            )
            level = 6 - int(stage.name.split("x")[0]).bit_length() + 1
            ours = level + (1 - done(stage, step))
            assert after - 1e-9 <= ours <= before + 1e-9, (step, stage)
            sides = {official_schedule.resolution(at, 64) for at in (before, after)}
            assert int(stage.name.split("x")[0]) in sides
        images += stage.examples_per_step


def done(stage, step):
    """Returns alpha by the official rule, in Python's numbers."""
    return min((step - stage.first) / stage.fade, 1) if stage.fade else 1


def test_alpha_rises_in_the_fade_and_is_1_after_it():
    config = dataclasses.replace(CONFIG, refresh=4, fade_images=320, stable_images=160)
    first, second, *_ = progressive.stages(config, 16, 300)
    assert (first.first, first.steps, first.fade) == (0, 10, 0)
    assert (second.first, second.steps, second.fade) == (10, 30, 20)
    assert float(first.alpha(3)) == 1
    found = [float(second.alpha(10 + i)) for i in (0, 3, 4, 7, 8, 19, 20, 29)]
    assert found == pytest.approx([0, 0, 0.2, 0.2, 0.4, 0.8, 1, 1])
    assert [s for s in range(41) if second.resets(s)] == [30]  # growth resets at step 10


def test_stages_of_the_paper():
    paper = progressive.Config(batch_sizes=(16, 16, 16, 16, 16, 16, 14, 6, 3))
    stages = progressive.stages(paper, 64, 900_000)
    assert [s.name for s in stages] == [f"{s}x{s}" for s in (4, 8, 16, 32, 64, 128, 256, 512, 1024)]
    assert [s.batch_size for s in stages] == [16] * 6 + [14, 6, 3]
    assert [s.first for s in stages[:4]] == [0, 37_500, 112_500, 187_500]
    assert [s.fade for s in stages[:4]] == [0, 37_500, 37_500, 37_500]
    for k, stage in enumerate(stages[1:]):
        begins = 600_000 + k * 1_200_000
        assert begins <= stage.examples < begins + stages[k].batch_size


def test_only_stages_that_begin_before_the_end():
    def found(steps):
        return [(s.name, s.first, s.steps) for s in progressive.stages(CONFIG, 100, steps)]

    assert found(1) == [("4x4", 0, 1)]
    assert found(70) == [("4x4", 0, 70)]
    assert found(71) == [("4x4", 0, 70), ("8x8", 70, 1)]
    assert found(10_000)[-1] == ("64x64", 70 + 4 * 120 - 120, 10_000 - 430)
    # The fade of a stage that is cut is as long as in the longer run, so alpha is the same.
    assert progressive.stages(CONFIG, 100, 71)[-1].fade == 50


def test_tables_of_the_stages():
    config = dataclasses.replace(
        CONFIG,
        batch_sizes=(64, 32),
        rates=(1.0, 1.5, 2.0),
        stage_critic_steps=(5, 1),
        reset_optimizer=False,
    )
    stages = progressive.stages(config, 16, 10**6)
    assert [s.batch_size for s in stages] == [64, 32, 32, 32, 32]
    assert [s.rate for s in stages] == [1, 1.5, 2, 2, 2]
    assert [s.config.objective.critic_steps for s in stages] == [5, 1, 1, 1, 1]
    assert [s.examples_per_step for s in stages[:2]] == [5 * 64, 32]
    assert not any(s.reset for s in stages)
    for stage in stages:  # nothing else changes
        objective = dataclasses.replace(stage.config.objective, critic_steps=1)
        assert dataclasses.replace(stage.config, objective=objective) == config


@pytest.mark.parametrize("settings", [{"start": 64}, {"architecture": "skip_residual"}])
def test_networks_that_do_not_grow_have_one_stage(settings):
    (stage,) = progressive.stages(dataclasses.replace(CONFIG, **settings), 16, 99)
    assert (stage.name, stage.first, stage.steps, stage.fade) == ("", 0, 99, 0)
    assert float(stage.alpha(50)) == 1


def test_a_fade_shorter_than_a_step_takes_one_step():
    config = dataclasses.replace(CONFIG, fade_images=3, stable_images=2)
    stages = progressive.stages(config, 16, 100)
    assert [(s.first, s.steps, s.fade) for s in stages[:3]] == [(0, 1, 0), (1, 1, 1), (2, 1, 1)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shape": (64, 64)}, r"`shape` must be \(H, W, C\)"),
        ({"shape": (28, 28, 1)}, "got 28x28; crop or pad .* to 32x32"),
        ({"shape": (64, 32, 3)}, "must be square .* got 64x32; .* to 64x64"),
        ({"shape": (2, 2, 3)}, "got 2x2; .* to 4x4"),
        ({"start": 128}, "`start` must be a power of two from 4 to 64, got 128"),
        ({"start": 12}, "`start` must be a power of two"),
        ({"start": 2}, "`start` must be a power of two"),
        ({"batch_sizes": (16,) * 6}, "`batch_sizes` has 6 entries for 5 stages; use at most 5"),
        ({"rates": (1.0, 0.0)}, "`rates` must be a tuple, each entry a positive number"),
        ({"architecture": "skip_residual", "rates": (1.0, 2.0)}, "2 entries for 1 stages"),
        ({"stable_images": 0}, "`stable_images` must be a positive integer"),
        (
            {"objective": GanObjective(update="simultaneous"), "stage_critic_steps": (1, 2)},
            "simultaneous updates have one critic step; set stage_critic_steps",
        ),
    ],
)
def test_rejects_invalid_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **settings)


def test_rejects_batches_without_groups():
    with pytest.raises(ValueError, match="a batch of 7 at 8x8 cannot be divided into groups"):
        progressive.stages(dataclasses.replace(CONFIG, batch_sizes=(8, 7)), 16, 10**6)
    for other in ({"minibatch": "none"}, {"group": 7}, {"group": 1}):
        config = dataclasses.replace(CONFIG, batch_sizes=(8, 7), **other)
        assert progressive.stages(config, 16, 10**6)[1].batch_size == 7
    assert progressive.stages(CONFIG, 1, 10)[0].batch_size == 1  # one image is a group
