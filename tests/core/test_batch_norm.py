"""Batch-norm statistics of a generator with averaged weights: values, and where they are used."""

import dataclasses
import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from support.helpers import random_arrays
from support.small import small_run, write_data

from genjax.core import GanObjective, Traits, batch_norm_statistics, named_key
from genjax.families import dcgan, gan, infogan
from genjax.train import finish, fit, load
from genjax.train.load_run import load_state
from genjax.train.sample_grids import save_grid


def made(family, config):
    variables = random_arrays(lambda key: family.init(config, key), scale=0.5)
    if "batch_stats" in variables:
        variables["batch_stats"] = jax.tree.map(lambda s: abs(s) + 0.1, variables["batch_stats"])
    return variables


def with_statistics(family, config, variables, size=256, passes=64, seed=0):
    found = jax.jit(lambda v, k: batch_norm_statistics(family, config, v, k, size, passes))
    return found(variables, jax.random.key(seed))


def test_statistics_of_the_first_layer_are_moments_of_noise_and_labels():
    """h = W z + V e(c) with uniform noise of variance 1/3 and a uniform class of three."""
    config = dataclasses.replace(dcgan.tiny(), classes=3)
    variables = made(dcgan, config)
    g = with_statistics(dcgan, config, variables)["batch_stats"]["generator"]["UpStack_0"][
        "BatchNorm_0"
    ]
    params = variables["params"]["generator"]["UpStack_0"]["Dense_0"]
    kernel = np.asarray(params["kernel"], np.float64)
    w, v = kernel[: config.latent], kernel[config.latent :]
    bias = np.asarray(params.get("bias", 0.0), np.float64)
    per_place = (-1, len(g["mean"]))  # statistics are over pixels too, by channel
    mean = (v.mean(0) + bias).reshape(per_place)
    square = ((w**2).sum(0) / 3 + v.var(0)).reshape(per_place) + mean**2
    np.testing.assert_allclose(g["mean"], mean.mean(0), atol=0.02)
    np.testing.assert_allclose(g["var"], square.mean(0) - mean.mean(0) ** 2, rtol=0.04)


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        (dcgan, {}),
        (dcgan, {"objective": GanObjective(critic_steps=2)}),
        (infogan, {}),
    ],
)
def test_samples_are_normalised_as_in_training_for_any_old_statistics(family, settings):
    config = dataclasses.replace(family.tiny(), **settings)
    variables = made(family, config)
    found = with_statistics(family, config, variables)
    # Only the generator's statistics change, independent of the old ones.
    old, new = variables["batch_stats"], found["batch_stats"]
    chex.assert_trees_all_equal_shapes_and_dtypes(new, old)
    chex.assert_trees_all_equal(found["params"], variables["params"])
    chex.assert_trees_all_equal(new["discriminator"], old["discriminator"])
    moved = {**old, "generator": jax.tree.map(lambda s: 3 * s + 1, old["generator"])}
    again = with_statistics(family, config, {**variables, "batch_stats": moved})
    chex.assert_trees_all_equal(again["batch_stats"]["generator"], new["generator"])
    # With them a sample is close to that with batch statistics.
    z = family.noise(config, jax.random.key(9), 4000)
    mine = {c: variables[c]["generator"] for c in ("params", "batch_stats")}
    among, _ = family.Generator(config).apply(mine, z, train=True, mutable=["batch_stats"])
    alone = family.generate(config, found, z)
    np.testing.assert_allclose(alone, among, atol=0.05)
    assert np.abs(np.asarray(family.generate(config, variables, z) - among)).max() > 0.3


def test_variables_without_statistics_are_unchanged():
    config = gan.tiny()
    variables = made(gan, config)
    key = jax.random.key(0)
    assert batch_norm_statistics(gan, config, variables, key, 8) is variables


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_runs_with_ema_use_them(tmp_path, ema, monkeypatch):
    """For loaded runs, for sample grids during training, and for the final metrics."""
    given = []

    def final_metrics(run, family, dataset, variables, required, *ranker):
        given.append(variables)
        return {}

    monkeypatch.setattr(finish, "final_metrics", final_metrics)
    run = small_run("dcgan", write_data(tmp_path, n=64), ema=ema, metric="parzen")
    fit(run, tmp_path / "run", quiet=True)
    _, variables = load(tmp_path / "run")
    _, state = load_state(tmp_path / "run")
    used = state.eval_variables()
    chex.assert_trees_all_close(given[0], variables, rtol=1e-5, atol=1e-6)
    if ema:
        key = named_key(jax.random.key(run.seed), 0, "statistics")
        expected = jax.jit(
            lambda v: batch_norm_statistics(dcgan, run.model, v, key, run.train.batch_size)
        )(used)
        chex.assert_trees_all_close(variables, expected, rtol=1e-5, atol=1e-6)
        new, old = (
            v["batch_stats"]["generator"]["UpStack_0"]["BatchNorm_0"] for v in (variables, used)
        )
        assert np.abs(np.asarray(new["var"] / old["var"] - 1)).max() > 0.05
    else:
        chex.assert_trees_all_equal(variables, used)
    key = named_key(jax.random.key(run.seed), 0, "samples")
    x = jax.jit(lambda v: dcgan.sample(run.model, v, key, 4))(variables)
    save_grid(tmp_path / "page.png", np.asarray(x), -1.0, 1.0)
    with (
        Image.open(tmp_path / "page.png") as ours,
        Image.open(tmp_path / "run" / "samples" / "step_00000010.png") as theirs,
    ):
        np.testing.assert_allclose(*(np.asarray(i, np.float32) for i in (ours, theirs)), atol=1)


@pytest.mark.parametrize("momentum", [0.5, 0.9, 0.999])
def test_statistics_do_not_depend_on_the_momentum(momentum):
    def generator_loss(config, variables, batch, key):
        mean = (3 + 2 * jax.random.normal(key, batch["x"].shape)).mean(axis=0)
        old = variables["batch_stats"]["generator"]["mean"]
        new = {"mean": momentum * old + (1 - momentum) * mean}
        return jnp.zeros(len(batch["x"])), {"updates": {"batch_stats": {"generator": new}}}

    spec = lambda config, size: {"x": jax.ShapeDtypeStruct((size, 5), jnp.float32)}  # noqa: E731
    family = types.SimpleNamespace(
        LOSSES={"generator": generator_loss},
        batch_spec=spec,
        traits=lambda config: Traits(data="real", density="none", ema=("generator",)),
    )
    variables = {"batch_stats": {"generator": {"mean": jnp.full(5, 70.0)}}}
    found = with_statistics(family, None, variables, size=500)["batch_stats"]["generator"]["mean"]
    np.testing.assert_allclose(found, 3, atol=0.1)
    # Statistics of networks that are not averaged do not change.
    bare = types.SimpleNamespace(
        batch_spec=spec, traits=lambda config: Traits(data="real", density="none")
    )
    assert batch_norm_statistics(bare, None, variables, jax.random.key(0), 8) is variables
