"""`genjax latents`: layout of the pictures, and the statistics."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from support.small import small_run

from genjax.cli import evaluate, latents
from genjax.core import kl_units
from genjax.data import Dataset, save_npz
from genjax.data.image_grid import image_grid
from genjax.families import hierarchical_vae, vae
from genjax.train import fit
from genjax.train.latent_figures import LatentFigures
from genjax.train.run_config import to_json
from genjax.train.sample_grids import cut, read_grid

GAP = 2


def tiles(path):
    """Reads the images of a picture as integers, and the number per row."""
    page, geometry = read_grid(path)
    results = cut(page, geometry)[:, :: geometry.scale, :: geometry.scale, 0]
    return results.astype(int), geometry.columns


def drawn(x):
    """Returns the gray levels that `image_grid` draws for one image in [0, 1]."""
    return image_grid(np.asarray(x)[None], scale=1)[GAP:-GAP, GAP:-GAP, 0].astype(int)


def drawing(tmp_path, decode, low=0.0, high=1.0):
    return LatentFigures(tmp_path, decode, low, high)


# Figures of arbitrary decoders.


@pytest.mark.parametrize(("n", "columns"), [(4, 4), (13, 10)])
def test_reconstructions_are_below_their_images(tmp_path, n, columns):
    x = np.linspace(0, 1, n * 4).reshape(n, 2, 2, 1)
    z = np.arange(n)[:, None]
    calls = []

    def decode(z, rows):
        calls.append((z, rows))
        return 1 - x[rows]

    results, across = tiles(drawing(tmp_path, decode).reconstructions(x, z))
    assert across == columns
    rows = results.reshape(-1, 2, columns, 2, 2)
    for i in range(n):
        np.testing.assert_array_equal(rows[i // columns, 0, i % columns], drawn(x[i]))
        np.testing.assert_array_equal(rows[i // columns, 1, i % columns], drawn(1 - x[i]))
    np.testing.assert_array_equal(calls[0][0], z)
    np.testing.assert_array_equal(calls[0][1], np.arange(n))


def test_traversals_vary_one_unit_per_row(tmp_path):
    """With a decoder in which unit i is pixel i, for image 2."""

    def decode(z, rows):
        assert (rows == 2).all()
        return (1 / (1 + np.exp(-z))).reshape(-1, 2, 2, 1)

    z = np.random.default_rng(0).normal(size=(3, 4))
    values, units = np.linspace(-3, 3, 5), np.array([3, 1])
    results, columns = tiles(drawing(tmp_path, decode).traversals(z, 2, units, values))
    assert columns == 5
    rows = results.reshape(2, 5, 4)
    still = drawn(decode(z[2:], np.array([2]))[0]).reshape(4)
    for row, unit in zip(rows, units, strict=True):
        others = np.arange(4) != unit
        np.testing.assert_array_equal(row[:, others], np.tile(still[others], (5, 1)))
        np.testing.assert_array_equal(row[:, unit], np.round(255 / (1 + np.exp(-values))))


def test_interpolations_connect_pairs_of_images(tmp_path):
    z = np.array(
        [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.0, 0.0], [0.9, 0.9]]
    )  # the last has no partner
    requested = []

    def decode(z, rows):
        requested.append(rows)
        return z.reshape(-1, 1, 2, 1)

    results, columns = tiles(drawing(tmp_path, decode).interpolations(z, 3, True))
    assert columns == 3
    rows = results.reshape(2, 3, 2)
    np.testing.assert_array_equal(rows[0], [[255, 0], [180, 180], [0, 255]])  # sqrt(1/2), a circle
    np.testing.assert_array_equal(rows[1], [[128, 128], [64, 64], [0, 0]])  # to zero, a line
    np.testing.assert_array_equal(
        requested[0], [0, 0, 0, 2, 2, 2]
    )  # each under the first's condition
    straight, _ = tiles(drawing(tmp_path, decode).interpolations(z, 3, False))
    np.testing.assert_array_equal(straight[1], [[128, 128]])


def test_manifold_increases_to_the_right_and_upwards(tmp_path):
    def decode(z, rows):
        return z.reshape(-1, 1, 2, 1)

    far = 1.2815515655446004  # the 0.9 quantile
    results, columns = tiles(drawing(tmp_path, decode, -far, far).manifold(5, 0))
    assert columns == 5
    corners = results.reshape(5, 5, 2)[[0, 0, -1, -1], [0, -1, 0, -1]]
    np.testing.assert_array_equal(corners, [[0, 255], [255, 255], [0, 0], [255, 0]])


# Figures of runs.


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """3x3 images of a bar in the row given by the label, with noise."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 400).astype(np.int32)
    x = np.zeros((400, 3, 3, 1), np.uint8)
    x[np.arange(400), label] = 1
    x ^= (rng.random(x.shape) < 0.1).astype(np.uint8)
    cuts = {"train": slice(240), "validation": slice(240, 320), "test": slice(320, None)}
    path = tmp_path_factory.mktemp("data") / "bars.npz"
    save_npz(Dataset("bars", {k: {"x": x[s], "label": label[s]} for k, s in cuts.items()}, 2), path)
    return str(path)


@pytest.fixture(scope="module")
def workdir(data, tmp_path_factory):
    """A finished run with two latents."""
    run = small_run("vae", data, steps=60)
    run = dataclasses.replace(run, model=dataclasses.replace(run.model, latent=2))
    folder = tmp_path_factory.mktemp("run")
    fit(run, folder, quiet=True)
    return folder


def test_pictures_and_statistics_of_a_run(workdir, data, capsys):
    assert latents.main([str(workdir), "--images", "6", "--side", "4", "--columns", "5"]) == 0
    output = json.loads(capsys.readouterr().out)
    results = json.loads((workdir / "latents" / "latents.json").read_text())
    assert {k: results[k] for k in output} == output
    names = ["reconstructions", "traversals", "interpolations", "manifold"]
    assert output["pictures"] == [str(workdir / "latents" / f"{n}.png") for n in names]
    for name, shape in zip(names, [(2, 6), (2, 5), (3, 5), (4, 4)], strict=True):
        _, geometry = read_grid(workdir / "latents" / f"{name}.png")
        assert (geometry.rows, geometry.columns) == shape

    run, variables = latents.load(workdir)
    with np.load(data) as arrays:
        x = arrays["test"].astype(np.float32)
    z = np.asarray(vae.encode(run.model, variables, x))
    kl = np.asarray(kl_units(vae, run.model, variables, x)).mean(0)
    np.testing.assert_allclose(results["variance"], [z.var(0)], rtol=1e-4)
    np.testing.assert_allclose(results["kl_by_unit"], kl, rtol=1e-4)
    assert results["kl"] == pytest.approx(kl.sum(), rel=1e-4)
    assert results["active_units"] == [int((z.var(0) > 1e-2).sum())]
    assert results["rows"]["units"] == np.argsort(-kl).tolist()
    assert results["rows"]["values"] == [-3, -1.5, 0, 1.5, 3]
    assert results["examples"] == len(x) == 80
    assert results["probe"]["evaluated"] == 80
    assert results["probe"]["accuracy"] > 0.5  # a third is chance
    assert 0.3 < results["aggregate"]["std"][0] < 3
    # Below each image is the decoded posterior mean.
    pairs, _ = tiles(workdir / "latents" / "reconstructions.png")
    means = np.asarray(vae.likelihood(run.model, variables, z[:6]).mean())
    np.testing.assert_array_equal(pairs[:6], [drawn(i) for i in x[:6]])
    np.testing.assert_allclose(pairs[6:], [drawn(i) for i in means], atol=1)


def test_hierarchy_draws_its_bottom_layer(data, tmp_path, capsys):
    run = small_run("hierarchical_vae", data, steps=40)
    record = fit(run, tmp_path / "run", quiet=True).record
    assert latents.main([str(tmp_path / "run"), "--images", "4", "--columns", "3"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert [p.rsplit("/", 1)[1] for p in results["pictures"]] == [
        *("reconstructions.png", "traversals.png", "interpolations.png"),
    ]
    whole = json.loads((tmp_path / "run" / "latents" / "latents.json").read_text())
    below, above = run.model.latent
    assert (len(whole["variance"][0]), len(whole["variance"][1])) == (below, above)
    assert len(whole["kl_by_layer"]) == 2
    assert len(record["active_units"]) == 2
    loaded, variables = latents.load(tmp_path / "run")
    with np.load(data) as arrays:
        x = arrays["test"][:4].astype(np.float32)
    z = hierarchical_vae.encode(loaded.model, variables, x)
    means = np.asarray(hierarchical_vae.likelihood(loaded.model, variables, z).mean())
    pairs, _ = tiles(tmp_path / "run" / "latents" / "reconstructions.png")
    np.testing.assert_allclose(pairs[4:], [drawn(i) for i in means], atol=1)


def test_quantiles_are_per_unit(workdir, tmp_path, capsys):
    options = ["--values", "quantiles", "--columns", "3", "--out", str(tmp_path), "--images", "2"]
    assert latents.main([str(workdir), *options]) == 0
    rows = json.loads((tmp_path / "latents.json").read_text())["rows"]
    run, variables = latents.load(workdir)
    _, dataset = latents.open_split(run, "test")
    z = vae.encode(run.model, variables, dataset.splits["test"]["x"].astype(np.float32))
    expected = np.quantile(np.asarray(z), [0.01, 0.5, 0.99], axis=0)[:, rows["units"]].T
    np.testing.assert_allclose(rows["values"], expected, atol=1e-4)


def test_rejects_a_span_of_quantiles():
    with pytest.raises(ValueError, match="--span applies to --values prior; omit --span"):
        latents.parse(["run", "--values", "quantiles", "--span", "2"])
    assert latents.parse(["run", "--values", "quantiles"]).span == 3


def test_model_conditioned_on_a_label(data, tmp_path, monkeypatch, capsys):
    """Without a probe, since the encoder is given the label; z of each image under every label."""
    run = small_run("vae", data)
    run = dataclasses.replace(run, model=dataclasses.replace(run.model, classes=3))
    variables = vae.init(run.model, jax.random.key(0))
    variables = jax.tree.map(lambda p: 5 * p, variables)
    (tmp_path / "config.json").write_text(json.dumps(to_json(run)))
    monkeypatch.setattr(latents, "load", lambda workdir: (run, variables))
    assert latents.main([str(tmp_path), "--images", "4", "--columns", "3"]) == 0
    results = json.loads((tmp_path / "latents" / "latents.json").read_text())
    assert results["probe"] is None
    images, columns = tiles(tmp_path / "latents" / "classes.png")
    assert (len(images), columns) == (12, 3)
    with np.load(data) as arrays:
        x, label = arrays["test"].astype(np.float32)[:4], arrays["test_label"][:4]
    encode = jax.jit(lambda x, label: vae.encode(run.model, variables, x, label))
    decode = jax.jit(lambda z, label: vae.likelihood(run.model, variables, z, label).mean())
    z = encode(x, label)
    for c in range(3):
        made = decode(z, np.full(4, c, np.int32))
        np.testing.assert_allclose(images[c::3], [drawn(i) for i in np.asarray(made)], atol=1)
    # Under its own label z decodes to the reconstruction.
    made, _ = tiles(tmp_path / "latents" / "reconstructions.png")
    for i in range(4):
        np.testing.assert_array_equal(made[4 + i], images[3 * i + label[i]])


def test_m2_draws_z_in_every_class(data, tmp_path, capsys):
    """Analogies of M2."""
    run = small_run("m2", data, steps=1)
    fit(run, tmp_path, quiet=True)
    assert latents.main([str(tmp_path), "--images", "4", "--columns", "3"]) == 0
    results = json.loads((tmp_path / "latents" / "latents.json").read_text())
    assert results["kl"] > 0
    assert results["probe"] is None  # z is given the label
    images, columns = tiles(tmp_path / "latents" / "classes.png")
    assert (len(images), columns) == (12, 3)
    made, _ = tiles(tmp_path / "latents" / "reconstructions.png")
    with np.load(data) as arrays:
        label = arrays["test_label"][:4]
    for i in range(4):
        np.testing.assert_array_equal(made[4 + i], images[3 * i + label[i]])
        assert (images[3 * i] != images[3 * i + 1]).any()


def test_evaluate_by_annealed_importance_sampling(workdir, data, monkeypatch, capsys):
    options = ["--temperatures", "30", "--chains", "20", "--examples", "50", "--leapfrog", "3"]
    assert evaluate.main([str(workdir), *options]) == 0
    results = json.loads(capsys.readouterr().out)
    assert (results["examples"], results["chains"], results["temperatures"]) == (50, 20, 30)
    assert results["metric"] == "NLL by annealed importance sampling"
    assert 1 < results["effective_chains"] <= 20
    assert evaluate.main([str(workdir), "--samples", "2000", "--examples", "50"]) == 0
    bound = json.loads(capsys.readouterr().out)["obtained"]
    # With two latents the bound of 2,000 samples is tight: both are log p(x).
    assert results["obtained"] == pytest.approx(
        bound, abs=5 * results["std_error_of_chains"] + 0.02
    )
    monkeypatch.setattr(evaluate, "load", lambda workdir: (small_run("nade", data), {}))
    assert evaluate.main([str(workdir), *options]) == 2
    assert "nade has no latents and likelihood, which annealed" in capsys.readouterr().err
    assert evaluate.main([str(workdir), "--temperatures", "0"]) == 2
    assert "`temperatures` must be positive, got 0" in capsys.readouterr().err
    assert evaluate.main([str(workdir), "--chains", "20"]) == 2
    output = "--chains is for annealed sampling; add --temperatures, such as 1000."
    assert output in capsys.readouterr().err
    assert evaluate.main([str(workdir), *options, "--samples", "9"]) == 2
    output = "--samples is for a bound and --temperatures for annealing; leave out one of them."
    assert output in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--image 80", "image must be below 80, the number of examples."),
        ("--split holdout", "has no split holdout; it has train, validation, test."),
        ("--columns 1", "columns must be 2 or more, got 1."),
        ("--units 0", "`units` must be positive, got 0."),
        ("--data nowhere.npz", "nowhere.npz"),
    ],
)
def test_rejects_invalid_options(workdir, options, message, capsys):
    assert latents.main([str(workdir), *options.split()]) == 2
    output = capsys.readouterr().err
    assert output.startswith("error: ")
    assert message in output


def test_rejects_folders_without_a_run_and_runs_without_latents(tmp_path, data, capsys):
    assert latents.main([str(tmp_path / "nothing")]) == 2
    assert "holds no run: there is no" in capsys.readouterr().err
    (tmp_path / "config.json").write_text(json.dumps(to_json(small_run("nade", data))))
    assert latents.main([str(tmp_path)]) == 2
    assert "is a run of nade, which has no latents" in capsys.readouterr().err
