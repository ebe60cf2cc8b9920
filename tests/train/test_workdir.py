"""Checks of `fit` before training: settings, data and family must fit."""

import dataclasses

import pytest
from support.small import small_run, write_data

from genjax.train import fit


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


def test_rejected_settings_create_no_workdir(tmp_path, data):
    run = small_run("nade", data)
    wrong_shape = dataclasses.replace(run, model=dataclasses.replace(run.model, shape=(4, 4, 1)))
    grey = dataclasses.replace(run, data=dataclasses.replace(run.data, data="digits"))
    grey = dataclasses.replace(grey, model=dataclasses.replace(run.model, shape=(8, 8, 1)))
    counted = small_run("joint", data, steps=100)
    for bad, words in (
        (wrong_shape, r"set --shape 3 3 1"),
        (grey, "set --transform \"binarize.'threshold'.\", or 'static' or 'dynamic'"),
        (counted, "counts each of the 240 training examples once"),
    ):
        with pytest.raises(ValueError, match=words):
            fit(bad, tmp_path / "run", quiet=True)
        assert not (tmp_path / "run").exists()


def test_rejects_patience_without_validation(tmp_path, data):
    gan = small_run("gan", data, patience=2)
    with pytest.raises(ValueError, match="patience needs validation, but gan on"):
        fit(gan, tmp_path, quiet=True)


@pytest.mark.parametrize("name", ["vae", "dcgan"])
def test_rejects_unknown_labels_for_supervised_families(tmp_path, data, name):
    run = small_run(name, data)
    model = dataclasses.replace(run.model, classes=3)
    few = dataclasses.replace(run.data, labels_per_class=5)
    with pytest.raises(ValueError, match=r"has unknown labels \(-1\) in train, but .* such as m2"):
        fit(dataclasses.replace(run, model=model, data=few), tmp_path, quiet=True)


@pytest.mark.parametrize("transform", ["scale(-1, 1)", "dequantize()", "scale(0, 1)"])
def test_rejects_values_outside_the_range_of_a_family(tmp_path, data, transform):
    nade = small_run("nade", data)
    grey = dataclasses.replace(nade.data, data="digits", transform=transform)
    model = dataclasses.replace(nade.model, shape=(8, 8, 1))
    with pytest.raises(ValueError, match=r"needs values in \{0, 1\}, and digits with transform"):
        fit(dataclasses.replace(nade, data=grey, model=model), tmp_path, quiet=True)
    gan = small_run("gan", data)
    wrong = dataclasses.replace(gan.data, data="digits", transform="")
    model = dataclasses.replace(gan.model, shape=(8, 8, 1))
    with pytest.raises(ValueError, match="generates images from 0 to 1"):
        fit(dataclasses.replace(gan, data=wrong, model=model), tmp_path, quiet=True)
