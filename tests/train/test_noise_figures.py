"""`genjax latents` of generators: interpolations of noise, and codes moved alone."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from cli.test_latents import drawn, tiles
from support.small import small_run, write_data

from genjax.cli import latents
from genjax.core import named_key
from genjax.families import dcgan, gan, infogan, progressive, puzzle_gan
from genjax.train import Run, fit, noise_figures
from genjax.train.load_run import load


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("codes")
    fit(small_run("infogan", data), folder, quiet=True)
    return folder


def test_one_part_of_the_code_varies_at_a_time():
    config = infogan.tiny()  # three categories, two uniform codes, one Gaussian code
    z = np.asarray(infogan.noise(config, jax.random.key(0), 4))
    found = {
        name: grid for name, grid, _, _ in noise_figures.code_grids(infogan, config, z, 5, 2.0)
    }
    assert list(found) == ["codes_0_categorical", "codes_1_uniform", "codes_2_gaussian"]
    categorical = found["codes_0_categorical"]  # [draws, categories, Z + C]
    assert categorical.shape == (4, 3, z.shape[1])
    moved = slice(config.latent, config.latent + 3)
    np.testing.assert_array_equal(categorical[2, :, moved], np.eye(3))
    rest = np.delete(categorical, range(moved.start, moved.stop), axis=2)
    np.testing.assert_array_equal(rest, np.delete(z, range(3, 6), axis=1)[:, None].repeat(3, 1))
    uniform, gaussian = found["codes_1_uniform"], found["codes_2_gaussian"]
    for row, unit in ((uniform[0], 6), (uniform[1], 7), (gaussian[0], 8)):
        end = 2.0 if unit == 8 else 1.0
        np.testing.assert_allclose(row[:, unit], np.linspace(-end, end, 5))
        np.testing.assert_array_equal(
            np.delete(row, unit, 1), np.delete(z[:1], unit, 1).repeat(5, 0)
        )


def test_grids_show_generated_images(workdir, tmp_path, capsys):
    words = [str(workdir), "--images", "4", "--columns", "5", "--out", str(tmp_path)]
    assert latents.main(words) == 0
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["pictures"]) == 4
    assert json.loads((tmp_path / "latents.json").read_text())["rows"][0]["columns"] == [0, 1, 2]
    run, variables = load(workdir)
    z = np.array(infogan.noise(run.model, named_key(jax.random.key(0), 0, "noise"), 4))
    images, columns = tiles(tmp_path / "codes_0_categorical.png")
    assert (len(images), columns) == (12, 3)
    z[2, run.model.latent : run.model.latent + 3] = (0, 1, 0)
    want = np.asarray(infogan.generate(run.model, variables, z[2:3]))
    np.testing.assert_allclose(images[7], drawn(want[0]), atol=1)
    ends, columns = tiles(tmp_path / "interpolations.png")
    assert (len(ends), columns) == (10, 5)


def test_rejects_options_of_families_with_an_encoder(workdir, tmp_path, capsys):
    words = [str(workdir), "--out", str(tmp_path / "out")]
    for option, value in (("--split", "train"), ("--batch-size", "7"), ("--units", "3")):
        assert latents.main([*words, option, value]) == 2
        assert f"error: {option} applies to families with an encoder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_interpolations_cover_every_class(data, tmp_path, monkeypatch):
    """Conditioned on labels, row i of the interpolations has class i."""
    run = small_run("dcgan", data)
    run = dataclasses.replace(run, model=dataclasses.replace(run.model, classes=3))
    fit(run, tmp_path / "run", quiet=True)
    labels, plain = [], dcgan.generate

    def generate(config, variables, z, label):
        jax.debug.callback(lambda label: labels.append(np.asarray(label)), label)
        return plain(config, variables, z, label)

    monkeypatch.setattr(dcgan, "generate", generate)
    assert latents.main([str(tmp_path / "run"), "--images", "6", "--columns", "4"]) == 0
    jax.effects_barrier()
    np.testing.assert_array_equal(labels[0], np.repeat([0, 1, 2], 4))


def test_a_gan_has_interpolations_only(data, tmp_path, capsys):
    fit(small_run("gan", data), tmp_path, quiet=True)
    assert latents.main([str(tmp_path), "--images", "6"]) == 0
    assert [p.rsplit("/", 1)[1] for p in json.loads(capsys.readouterr().out)["pictures"]] == [
        "interpolations.png"
    ]


def test_a_generator_of_parts_has_pairs_with_each_part_exchanged(tmp_path, monkeypatch):
    config = puzzle_gan.tiny()
    variables = puzzle_gan.init(config, jax.random.key(1))
    monkeypatch.setattr(noise_figures, "load", lambda workdir: (None, variables))
    run = Run(experiment="parts", family="puzzle_gan", model=config)
    words = ["there", "--images", "5", "--out", str(tmp_path)]
    content = noise_figures.draw_noise_figures(latents.parse(words), run, puzzle_gan)
    assert content["rows"][0]["columns"] == ["first", "surround", "face", "second"]
    images, columns = tiles(tmp_path / "parts.png")
    assert (len(images), columns) == (8, 4)  # of two pairs
    z = np.asarray(puzzle_gan.noise(config, named_key(jax.random.key(0), 0, "noise"), 5))
    face = puzzle_gan.exchange(config, z[2:3], z[3:4], "face")
    mixed = np.concatenate([z[2:3], face, z[3:4]])
    want = puzzle_gan.generate(config, variables, mixed, np.ones(3, np.int32))  # of the second pair
    for image, expected in zip((images[4], images[6], images[7]), np.asarray(want), strict=True):
        np.testing.assert_allclose(image, drawn((expected + 1) / 2), atol=1)


@pytest.mark.parametrize(
    ("family", "config", "normal"),
    [
        (progressive, progressive.tiny(), True),
        (dcgan, dataclasses.replace(dcgan.tiny(), noise="normal"), True),
        (dcgan, dataclasses.replace(dcgan.tiny(), noise="uniform"), False),
        (gan, dataclasses.replace(gan.tiny(), noise="normal"), True),
        (infogan, infogan.tiny(), False),
    ],
    ids=["progressive", "dcgan", "dcgan_uniform", "gan", "infogan"],
)
def test_only_normal_noise_follows_great_circles(family, config, normal, tmp_path, monkeypatch):
    z = np.asarray(family.noise(config, jax.random.key(0), 20_000))
    kurtosis = np.mean(z**4, 0) / np.mean(z**2, 0) ** 2  # 3 for a normal distribution
    assert np.all(abs(kurtosis - 3) < 0.3) == normal

    monkeypatch.setattr(noise_figures, "load", lambda workdir: (None, {}))
    monkeypatch.setattr(noise_figures, "LatentCodes", type(None))  # no figures of the codes
    paths = {}

    def interpolations(self, z, columns, spherical):
        paths[path] = spherical

    monkeypatch.setattr(noise_figures.LatentFigures, "interpolations", interpolations)
    run = Run(experiment="noise", family="gan", model=config)
    for path in ("spherical", "linear"):
        words = ["there", "--path", path, "--out", str(tmp_path)]
        noise_figures.draw_noise_figures(latents.parse(words), run, family)
    assert paths == {"spherical": normal, "linear": False}
