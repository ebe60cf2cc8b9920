"""Rows of image translation: ablations, augmentations and schedules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.table import rows
from genjax.core import Optimizer
from genjax.data import make_transform
from genjax.train.run_config import resolve

ROWS = {name: run for name, run in rows().items() if name.startswith(("cyclegan_", "stargan_"))}


@pytest.mark.parametrize("file", ["cyclegan_glyphs", "cyclegan_cityscapes"])
def test_ablations_leave_out_the_losses_of_their_names(file):
    """Forward is the cycle that starts in domain a (Zhu et al. 2017, section 5.1.4)."""
    own = [r for name, r in ROWS.items() if name.startswith(file) and r.family == "cyclegan"]
    weights = {
        run.experiment.partition(":")[2]: (
            run.model.adversarial,
            run.model.cycle_a,
            run.model.cycle_b,
        )
        for run in own
    }
    assert weights == {
        "cyclegan": (1, 10, 10),
        "cycle_alone": (0, 10, 10),
        "gan_alone": (1, 0, 0),
        "gan_forward": (1, 10, 0),
        "gan_backward": (1, 0, 10),
    }
    assert not any(run.model.identity for run in own)


@pytest.mark.parametrize("row", [n for n in ROWS if "random" in ROWS[n].data.transform])
def test_crops_and_flips_are_joint_in_pairs_alone(row):
    run = ROWS[row]
    side = {"maps_256/1.0.0": 256, "celeb_a": 218, "celeb_a_64/1.0.0": 64}.get(run.data.data, 256)
    image = np.random.default_rng(0).integers(0, 256, (2, side, side, 3)).astype(np.uint8)
    transform = make_transform(run.data.transform, 256)
    apply = jax.jit(lambda x, key: transform({"x": x, "y": x}, key))
    out = [apply(image, jax.random.key(seed)) for seed in range(3)]
    assert all(batch["x"].shape[1:] == run.model.shape for batch in out)
    assert -1 <= min(float(b["x"].min()) for b in out) < 0
    same = [bool((batch["x"] == batch["y"]).all()) for batch in out]
    assert all(same) if run.family != "cyclegan" else not all(same)
    assert not bool((out[0]["x"] == out[1]["x"]).all() and (out[1]["x"] == out[2]["x"]).all())


@pytest.mark.parametrize("row", ROWS)
def test_rates_are_constant_for_half_of_the_updates_and_then_fall_to_zero(row):
    run = resolve(ROWS[row], "cpu")
    updates = dict.fromkeys(run.optimizer, run.train.steps)
    if run.family == "stargan":
        updates["discriminator"] *= run.model.objective.critic_steps
    for name, optimizer in run.optimizer.items():
        assert isinstance(optimizer, Optimizer)
        at = jnp.asarray([0, updates[name] // 2, updates[name] * 3 // 4, updates[name]])
        rate = optimizer.learning_rate
        np.testing.assert_allclose(
            optimizer.learning_rate_at()(at), [rate, rate, rate / 2, 0], rtol=1e-3, atol=1e-9
        )


@pytest.mark.parametrize("row", [name for name in ROWS if name.startswith("stargan_")])
def test_data_and_model_have_the_same_attributes(row):
    model, data = ROWS[row].model, ROWS[row].data
    names = model.attributes + model.second_attributes
    assert not data.attributes or data.attributes == names
    assert set(model.exclusive) <= set(names)


def test_attributes_of_the_joint_training_are_those_of_the_full_network():
    full, masked = ROWS["stargan_glyphs:full"].model, ROWS["stargan_glyphs:masked"].model
    assert masked.attributes + masked.second_attributes == full.attributes
