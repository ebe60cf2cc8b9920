"""`genjax sample`: decoder means by default, draws and labels on request."""

import dataclasses

import jax
import numpy as np
import pytest
from support.small import small_run, write_data

from genjax.cli import sample
from genjax.core import sample_images, sample_mean
from genjax.data.image_grid import image_grid
from genjax.families import hierarchical_vae, m2, nade, vae
from genjax.train import fit, load
from genjax.train.sample_grids import read_grid

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def workdir(data, tmp_path_factory):
    """A finished run of a VAE with three classes."""
    run = small_run("vae", data, steps=20)
    run = dataclasses.replace(run, model=dataclasses.replace(run.model, classes=3))
    folder = tmp_path_factory.mktemp("run")
    fit(run, folder, quiet=True)
    return folder


def samples(workdir, tmp_path, *options):
    path = tmp_path / "samples.npy"
    assert sample.main([str(workdir), "--n", "6", "--npy", str(path), *options]) == 0
    return np.load(path)


def test_shows_means_and_draws_on_request(workdir, tmp_path):
    run, variables = load(workdir)
    means, draws = samples(workdir, tmp_path), samples(workdir, tmp_path, "--draw")
    expected = jax.jit(lambda v: sample_mean(vae, run.model, v, KEY, 6))(variables)
    np.testing.assert_array_equal(means, expected)
    assert ((means > 0) & (means < 1)).all()
    assert set(np.unique(draws)) <= {0.0, 1.0}
    drawn = jax.jit(lambda v: vae.sample(run.model, v, KEY, 6))(variables)
    np.testing.assert_array_equal(draws, drawn)
    # Draws share the latents of the means.
    many = jax.jit(lambda v: sample_images(vae, run.model, v, KEY, 20_000, draw=True))(variables)
    mean = jax.jit(lambda v: sample_mean(vae, run.model, v, KEY, 20_000))(variables)
    residual = np.asarray(many - mean, np.float64)
    expected = np.asarray(mean * (1 - mean), np.float64).mean(axis=0)
    np.testing.assert_allclose((residual**2).mean(axis=0), expected, rtol=0.1)


def test_labels_are_repeated_in_their_order(workdir, tmp_path):
    run, variables = load(workdir)
    found = samples(workdir, tmp_path, "--label", "2", "0")
    label = np.array([2, 0, 2, 0, 2, 0], np.int32)
    expected = jax.jit(lambda v, y: sample_mean(vae, run.model, v, KEY, 6, label=y))
    np.testing.assert_array_equal(found, expected(variables, label))
    cycled = expected(variables, np.array([0, 1, 2, 0, 1, 2], np.int32))
    np.testing.assert_array_equal(samples(workdir, tmp_path), cycled)
    drawn = samples(workdir, tmp_path, "--label", "1", "--draw")
    one = jax.jit(lambda v, y: vae.sample(run.model, v, KEY, 6, label=y))
    np.testing.assert_array_equal(drawn, one(variables, np.full(6, 1, np.int32)))


def test_rejects_options_that_do_not_fit(workdir, data, tmp_path, capsys):
    assert sample.main([str(workdir), "--label", "3"]) == 2
    assert "`--label` must be in 0 .. 2." in capsys.readouterr().err
    assert sample.main([str(workdir), "--label", "0", "1", "2", "--n", "2"]) == 2
    message = "`--n` 2 is less than the number of labels; use at least 3."
    assert message in capsys.readouterr().err
    fit(small_run("nade", data), tmp_path / "run", quiet=True)
    assert sample.main([str(tmp_path / "run"), "--label", "1"]) == 2
    assert "nade is not conditioned on a label; omit --label." in capsys.readouterr().err
    assert sample.main([str(tmp_path / "run"), "--draw"]) == 2
    assert "nade has no latents, so its samples are draws; omit --draw." in capsys.readouterr().err


@pytest.mark.parametrize("family", [vae, m2, hierarchical_vae])
def test_sample_mean_decodes_draws_of_the_prior(family):
    config = family.tiny()
    variables = family.init(config, KEY)
    condition = {"label": np.arange(5) % 3} if family is m2 else {}
    z = family.prior(config, variables).sample(jax.random.split(KEY)[0], 5)
    expected = family.likelihood(config, variables, z, **condition).mean()
    found = jax.jit(lambda v: sample_mean(family, config, v, KEY, 5))(variables)
    assert found.shape == (5, *config.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    if condition:  # one label for all
        found = jax.jit(lambda v: sample_mean(family, config, v, KEY, 5, label=2))(variables)
        all_twos = family.likelihood(config, variables, z, label=np.full(5, 2)).mean()
        np.testing.assert_allclose(found, all_twos, rtol=1e-5)


def test_families_without_latents_are_sampled():
    config = nade.tiny()
    variables = nade.init(config, KEY)
    found = jax.jit(lambda v: sample_images(nade, config, v, KEY, 5))(variables)
    np.testing.assert_array_equal(
        found, jax.jit(lambda v: nade.sample(config, v, KEY, 5))(variables)
    )


def test_grids_of_a_run_show_means(data, tmp_path):
    run = small_run("vae", data, steps=10)
    fit(run, tmp_path / "run", quiet=True)
    page, _ = read_grid(sorted((tmp_path / "run" / "samples").glob("step_*.png"))[-1])
    binary = np.unique(image_grid(np.array([0.0, 1.0]).reshape(2, 1, 1, 1)))
    assert len(set(np.unique(page)) - set(binary.tolist())) > 3
