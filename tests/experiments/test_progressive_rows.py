"""Rows of the progressive GAN: schedules in images and settings, against the authors' config."""

import dataclasses
import itertools
import math

import pytest

from experiments.progressive_celebahq1024 import steps_for
from experiments.table import rows
from genjax import families
from genjax.core import stages_of
from genjax.families import progressive
from genjax.train.run_config import differences

FAMILIES = ("progressive", "puzzle_gan")
ROWS = {name: run for name, run in rows().items() if run.family in FAMILIES}


def stages(run):
    return stages_of(families.get(run.family), run.model, run.train.batch_size, run.train.steps)


def images(run):
    """Returns the real images that the discriminator is shown in all."""
    last = stages(run)[-1]
    return last.examples_at(run.train.steps)


LATER = ("c", "d", "e", "e_star", "f", "g")  # rows of table 1 in batches of 16

# Side of the first stage, thousands of images per size and per fade, and in all; batch sizes of
# stages. From the authors' config.py (their version in Theano).
OFFICIAL = {
    "progressive_celebahq1024:swd": (4, 800, 19_000, [16] * 6 + [14, 6, 3]),
    "progressive_celebahq1024:fid": (4, 800, 19_000, [16] * 6 + [14, 6, 3]),
    "progressive_cifar10:paper": (4, 400, 20_000, [16] * 4),
    "progressive_ablation:a": (128, 800, 10_000, [64]),
    "progressive_ablation:b": (4, 800, 10_000, [64] * 6),
    **{f"progressive_ablation:{r}": (4, 800, 10_000, [16] * 6) for r in LATER},
    # Ours.
    "progressive_fashion:grown": (4, 20, 200, [16] * 4),
    "progressive_fashion:r1": (4, 20, 200, [16] * 4),
    "progressive_fashion:not_grown": (32, 20, 200, [16]),
    "progressive_fashion:skip_residual": (32, 20, 200, [16]),
    "progressive_celeba64:cpu": (4, 20, 200, [16] * 5),
    "puzzle_gan_digits:cpu": (16, 40, 320, [16] * 2),
    "puzzle_gan_digits:plain_cpu": (16, 40, 320, [16] * 2),
    "puzzle_gan_digits:paper": (16, 600, 10_000, [16] * 2),
    "progressive_ablation:a_cpu": (32, 15, 120, [64]),
    "progressive_ablation:b_cpu": (4, 15, 120, [64] * 4),
    **{f"progressive_ablation:{r}_cpu": (4, 15, 120, [16] * 4) for r in LATER},
}


@pytest.mark.parametrize("row", OFFICIAL)
def test_stages_begin_and_fade_at_the_images_of_the_schedule(row):
    """A stage of the side start * 2^k begins at (2k - 1) phases, and its fade ends at 2k phases.

    Steps are whole, so a boundary is late by less than the images of a step.
    """
    start, phase, total, batches = OFFICIAL[row]
    run = ROWS[row]
    found = stages(run)
    sides = [start * 2**k for k in range(len(batches))]
    assert sides[-1] == run.model.shape[0]
    assert [stage.name for stage in found] == ([f"{s}x{s}" for s in sides] if sides[1:] else [""])
    assert [stage.batch_size for stage in found] == batches
    assert (found[0].first, found[0].fade, found[0].examples) == (0, 0, 0)
    for k, (before, stage) in enumerate(itertools.pairwise(found), start=1):
        assert stage.first == before.end
        assert stage.examples == before.examples_at(before.end)
        late = stage.examples - 1000 * phase * (2 * k - 1)
        assert 0 <= late < before.examples_per_step
        late = stage.examples_at(stage.first + stage.fade) - 1000 * phase * 2 * k
        assert 0 <= late < stage.examples_per_step
    assert 0 <= images(run) - 1000 * total < found[-1].examples_per_step


def test_rows_of_equal_images_show_equally_many():
    for file, names in {
        "progressive_fashion": ("grown", "not_grown", "skip_residual", "r1"),
        "progressive_ablation": ["a", "b", "c", "d", "e", "e_star", "f", "g"],
    }.items():
        shown = [images(ROWS[f"{file}:{name}"]) for name in names]
        assert max(shown) - min(shown) < 64 * 5 + 16, (file, shown)


def test_steps_are_rounded_up():
    model = progressive.Config(
        shape=(8, 8, 1), fade_images=10, stable_images=10, batch_sizes=(4, 3)
    )
    # 4x4: 3 steps show 12 images; 8x8 in batches of 3.
    assert [steps_for(model, n) for n in (1, 4, 5, 12, 13, 15, 16)] == [1, 1, 2, 3, 4, 4, 5]
    several = dataclasses.replace(
        model, objective=dataclasses.replace(model.objective, critic_steps=5), batch_sizes=()
    )
    single = dataclasses.replace(several, start=8)
    assert [steps_for(single, n, 4) for n in (20, 21)] == [1, 2]


# By row of table 1: growing, critic steps, batch, latents, their norm, activation, norm of G, norm
# of D, output, drift, minibatch, equalised, rate, b2, decay of the average, and SWD on CelebA.
GULRAJANI = (128, False, "relu", "batch", "layer", "tanh", 0.0, "none", False, 1e-4, 0.9)
REVISED = (512, True, "leaky_relu")
TABLE_1 = {
    "a": (False, 5, 64, *GULRAJANI, 0.999**20, 9.28),
    "b": (True, 5, 64, *GULRAJANI, 0.999**20, 4.28),
    "c": (True, 5, 16, *GULRAJANI, 0.999**5, 46.23),
    "d": (True, 1, 16, *REVISED, "none", "none", "linear", 0.001, "none", False, 1e-4, 0.99, 0.999)
    + (8.07,),
    "e": (True, 1, 16, *REVISED, "none", "none", "linear", 0.001, "stddev", False, 1e-4, 0.99)
    + (0.999, 7.04),
    "e_star": (True, 1, 16, *REVISED, "none", "none", "linear", 0.001, "discrimination", False)
    + (1e-4, 0.99, 0.999, 9.84),
    "f": (True, 1, 16, *REVISED, "none", "none", "linear", 0.001, "stddev", True, 1e-3, 0.99)
    + (0.999, 4.39),
    "g": (True, 1, 16, *REVISED, "pixel", "none", "linear", 0.001, "stddev", True, 1e-3, 0.99)
    + (0.999, 3.56),
}


def settings(run):
    model, optimizer = run.model, run.optimizer["generator"]
    assert run.optimizer == dict(discriminator=optimizer, generator=optimizer)
    assert (optimizer.optimizer, optimizer.b1, optimizer.eps) == ("adam", 0.0, 1e-8)
    assert (model.objective.loss, model.objective.gradient_penalty) == ("wasserstein", 10.0)
    return (
        model.start < model.shape[0],
        model.objective.critic_steps,
        run.train.batch_size,
        model.latent,
        model.latent_norm,
        model.activation,
        model.generator_norm,
        model.discriminator_norm,
        model.output,
        model.objective.drift,
        model.minibatch,
        model.equalized,
        optimizer.learning_rate,
        optimizer.b2,
        run.train.ema,
        run.figure.paper,
    )


@pytest.mark.parametrize("row", TABLE_1)
def test_rows_of_table_1_have_the_settings_of_the_authors(row):
    run = ROWS[f"progressive_ablation:{row}"]
    assert settings(run) == TABLE_1[row]
    assert (run.model.shape, run.model.base, run.model.max_width) == ((128, 128, 3), 2048, 512)
    assert run.model.group >= run.train.batch_size or run.model.minibatch != "stddev"
    small = settings(ROWS[f"progressive_ablation:{row}_cpu"])
    rate = 12  # small networks and runs have another rate in rows (a) to (e), and no figure
    assert small[:rate] == TABLE_1[row][:rate]
    assert small[rate + 1 : -1] == TABLE_1[row][rate + 1 : -1]
    assert small[-1] is None


def test_large_faces_and_small_photographs_have_the_settings_of_the_authors():
    base = (True, 1, 16, 512, True, "leaky_relu", "pixel", "none", "linear", 0.001, "stddev", True)
    adam = (1e-3, 0.99, 0.999)
    faces, photographs = ROWS["progressive_celebahq1024:swd"], ROWS["progressive_cifar10:paper"]
    assert settings(faces) == (*base, *adam, 5.44)
    assert settings(photographs) == (*base[:3], 128, *base[4:], *adam, 8.80)
    assert faces.model.objective.penalty_target == 1
    assert photographs.model.objective.penalty_target == 750
    assert photographs.model.objective.update == "simultaneous"
    assert (photographs.model.base, photographs.model.max_width) == (4096, 128)
    assert (faces.model.base, faces.model.max_width) == (8192, 512)
    assert math.prod(faces.model.shape) == 3 * 1024**2


def test_options_change_one_part_of_the_grown_row():
    def model(name):
        return vars(ROWS[f"progressive_fashion:{name}"].model)

    names = ("not_grown", "not_grown_equal_time", "skip_residual", "r1")
    grown = model("grown")
    changed = {name: {f for f in grown if grown[f] != model(name)[f]} for name in names}
    assert changed == {
        "not_grown": {"start"},
        "not_grown_equal_time": {"start"},
        "skip_residual": {"start", "architecture"},
        "r1": {"objective"},
    }
    r1 = ROWS["progressive_fashion:r1"].model.objective
    assert (r1.loss, r1.gradient_penalty, r1.penalty_interval) == ("non_saturating", 0.0, 16)
    assert r1.r1 > 0


def test_digits_with_and_without_parts_differ_in_the_first_layer_alone():
    parts, plain = (ROWS[f"puzzle_gan_digits:{name}"] for name in ("cpu", "plain_cpu"))
    assert differences(parts, plain).keys() == {"experiment", "family"} | {
        f"model.{name}" for name in ("mode", "parts", "part_norm")
    }
    paper = ROWS["puzzle_gan_digits:paper"]
    assert [part.latent for part in paper.model.layout()] == [128] * 4
    assert "flip" not in paper.data.transform  # mirrored digits are other characters
    for run in (parts, plain, paper):
        adam = run.optimizer["generator"]
        assert (adam, adam.b1, adam.b2) == (run.optimizer["discriminator"], 0, 0.99)
        objective = run.model.objective
        assert (objective.loss, objective.gradient_penalty) == ("wasserstein", 10)
        assert (objective.drift, run.model.group) == (0.001, 4)
