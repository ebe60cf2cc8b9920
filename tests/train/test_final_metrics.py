"""The final metric of a run: its value in the record, and checks before training."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from support.small import small_run, write_data

from genjax import evals, families
from genjax.data import Data, Dataset, load
from genjax.evals.requirements import REQUIREMENTS
from genjax.families import gan
from genjax.train import Run, Train, fit
from genjax.train.final_metrics import final_metrics


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


def test_implicit_families_report_their_metric(tmp_path, data):
    run = small_run("gan", data, metric="parzen", metric_samples=50)
    record = fit(run, tmp_path, quiet=True).record
    measured = record["final_metrics"]["parzen"]
    assert record["metric"] == "parzen nats"
    assert record["unit"] == "nats"
    assert record["obtained"] == measured["nats"]
    assert record["std_error"] == measured["std_error"]
    assert (measured["n_fake"], measured["n_real"], measured["extractor"]) == (50, 80, "pixels")
    json.dumps(record)


def test_metric_is_reproducible_and_can_be_changed(tmp_path, data):
    settings = {"metric_samples": 60, "classifier_steps": 20}
    run = small_run("gan", data, metric="precision_recall", **settings)
    first = fit(run, tmp_path / "a", quiet=True).record
    again = fit(run, tmp_path / "b", quiet=True).record
    assert first["final_metrics"] == again["final_metrics"]
    # Another metric of a finished run needs no training step.
    train = dataclasses.replace(run.train, metric="neighbours")
    other = fit(dataclasses.replace(run, train=train), tmp_path / "a", quiet=True).record
    assert other["metric"] == "neighbours median"
    assert other["steps"] == first["steps"]


def test_levels_are_images(tmp_path):
    """Data and samples of a density over 256 levels are scaled to [0, 1]."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (40, 3, 3, 1)).astype(np.uint8)
    splits = {name: {"x": x} for name in ("train", "test")}
    dataset = Dataset("bytes", splits, 256)
    family = families.get("pixelcnn")
    config = dataclasses.replace(family.tiny(), levels=256)
    variables = family.init(config, jax.random.key(0))
    context = evals.EvalContext(
        family, config, variables, dataset, jax.random.key(1), batch_size=20
    )
    np.testing.assert_allclose(context.real("test"), x / 255, atol=1e-6)
    fake = context.fake(20)
    assert 0.2 < fake.mean() < 0.8
    assert len(np.unique(fake)) > 50
    evals.check_metric_requirements("precision_recall", family, config, dataset)


def test_latent_codes_of_infogan(tmp_path, data):
    run = small_run("infogan", data, metric="codes", metric_samples=64)
    record = fit(run, tmp_path, quiet=True).record
    assert (record["metric"], record["unit"]) == ("codes error", "%")
    measured = record["final_metrics"]["codes"]
    assert record["obtained"] == pytest.approx(100 * measured["error"])
    assert 0 <= record["obtained"] <= 100
    assert len(measured["names"]) == 3


def test_density_remains_the_reported_value(tmp_path, data):
    run = small_run("nade", data, metric="neighbours", metric_samples=20)
    record = fit(run, tmp_path, quiet=True).record
    assert record["metric"].startswith("test")
    assert record["unit"] == "nats"
    assert list(record["final_metrics"]) == ["neighbours"]


def test_an_experiment_whose_figure_is_a_metric_reports_it_beside_the_density(tmp_path, data):
    run = small_run("nade", data, metric="neighbours,parzen", metric_samples=20)
    run = dataclasses.replace(run, figure=dataclasses.replace(run.figure, metric="parzen"))
    record = fit(run, tmp_path, quiet=True).record
    assert record["density"]["metric"] == "test NLL"
    assert record["density"]["value"] > 0
    assert record["metric"].startswith("parzen")
    assert record["obtained"] == record["final_metrics"]["parzen"]["nats"]


def test_several_metrics_of_the_same_samples(tmp_path, data, monkeypatch, capsys):
    """The first is the figure; a later one that fails loses neither it nor the run."""
    drawn = []

    def second(context, *, samples=10):
        drawn.append(context.samples(samples))
        return evals.METRICS["parzen"](context, samples=samples)

    def third(context):
        raise ValueError("a number is not finite.")

    monkeypatch.setitem(evals.METRICS, "svm", second)
    monkeypatch.setitem(evals.METRICS, "codes", third)
    monkeypatch.setattr(evals, "check_metric_requirements", lambda *args: None)
    run = small_run("gan", data, metric="neighbours, svm,codes", metric_samples=50)
    record = fit(run, tmp_path).record
    measured = record["final_metrics"]
    assert set(measured) == {"neighbours", "svm", "codes"}
    assert (record["metric"], record["obtained"]) == (
        "neighbours median",
        measured["neighbours"]["median"],
    )
    assert measured["svm"]["n_fake"] == measured["neighbours"]["n_fake"] == len(drawn[0]) == 50
    assert measured["codes"] == {"error": "a number is not finite."}
    assert "codes: a number is not finite." in capsys.readouterr().err


def test_rejects_a_metric_named_twice():
    with pytest.raises(ValueError, match="names a metric twice; name each once"):
        Train(metric="swd,ms_ssim,swd")


@pytest.mark.parametrize("kind", [ValueError, MemoryError, jax.errors.JaxRuntimeError])
def test_failing_metric_keeps_the_density(tmp_path, data, monkeypatch, capsys, kind):
    def failing(context, *, samples=10):
        raise kind("a number is not finite.")

    monkeypatch.setitem(evals.METRICS, "neighbours", failing)
    record = fit(small_run("nade", data, metric="neighbours"), tmp_path).record
    assert record["final_metrics"] == {"neighbours": {"error": "a number is not finite."}}
    assert record["obtained"] > 0
    assert "neighbours: a number is not finite." in capsys.readouterr().err
    with pytest.raises(kind, match="a number is not finite"):
        fit(small_run("gan", data, metric="neighbours"), tmp_path / "gan", quiet=True)


@pytest.mark.parametrize(
    ("family", "settings", "words"),
    [
        ("gan", {"metric": "parson"}, "`metric` must be one of"),
        ("gan", {"metric": "neighbours,"}, "`metric` must be one of"),
        ("gan", {"metric": "neighbours,swd"}, r"swd: images must be .* got \[3, 3, 1\]"),
        ("gan", {"metric": "fid"}, "needs the standard Inception network"),
        ("gan", {"metric": "fid", "fid_weights": "no.pth"}, "there is no file no.pth"),
        ("gan", {"metric": "codes"}, "codes applies to families that implement LatentCodes"),
        ("gan", {"metric": "accuracy_score"}, "gan does not sample by label"),
        ("dcgan", {"metric": "accuracy_score"}, "dcgan does not .* and a Config with classes"),
        ("gan", {"metric": "swd"}, r"swd: images must be .* got \[3, 3, 1\]"),
        ("gan", {"metric": "ms_ssim"}, "images of 3 pixels are smaller than its window"),
        ("gan", {"metric": "gaussian_modes"}, "gan generates images; gaussian_modes"),
        ("gan", {"metric": "stacked_modes"}, "gan does not generate stacked images"),
        ("joint", {"metric": "svm"}, "svm applies to families that implement Features"),
        (
            "gan",
            {"metric": "precision_recall", "metric_samples": 4},
            "precision_recall needs 6 samples or more, got 4",
        ),
    ],
)
def test_rejects_unmet_requirements_before_training(tmp_path, data, family, settings, words):
    train = {"batch_size": 240, "steps": 1} if family == "joint" else {}
    with pytest.raises(ValueError, match=words):
        fit(small_run(family, data, **settings, **train), tmp_path, quiet=True)
    assert not (tmp_path / "config.json").exists()


@pytest.mark.parametrize("name", ["swd", "ms_ssim"])
def test_rejects_vectors_as_images(name):
    rows = np.zeros((9, 784), np.uint8)
    flat = Dataset("flat", {s: {"x": rows} for s in ("train", "test")}, 256)
    config = dataclasses.replace(gan.tiny(), shape=(784,))
    with pytest.raises(ValueError, match=rf"{name}: images must be .* got \[784\]"):
        evals.check_metric_requirements(name, gan, config, flat)


def test_codes_need_a_categorical_code():
    folder = load(Data(data="digits"))
    config = dataclasses.replace(families.get("infogan").tiny(), categorical=(), weights=())
    with pytest.raises(ValueError, match="no code is categorical"):
        evals.check_metric_requirements("codes", families.get("infogan"), config, folder)


def test_requires_splits_and_labels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bare")
    bare = load(Data(data=write_data(folder, labels=False)))
    with pytest.raises(ValueError, match="classifier_kernel needs labels"):
        evals.check_metric_requirements("classifier_kernel", gan, gan.tiny(), bare)
    del bare.splits["validation"]
    with pytest.raises(ValueError, match=r"parzen needs a validation split.* \(--validation N\)"):
        evals.check_metric_requirements("parzen", gan, gan.tiny(), bare)
    del bare.splits["test"]
    with pytest.raises(
        ValueError, match=r"neighbours needs a test .* prepare the data with --test"
    ):
        evals.check_metric_requirements("neighbours", gan, gan.tiny(), bare)


def test_requires_labels_of_all_splits_that_are_used(data):
    dataset = load(Data(data=data))
    infogan, dcgan = (families.get(name) for name in ("infogan", "dcgan"))
    for name, family in (("codes", infogan), ("svm", gan)):
        evals.check_metric_requirements(name, family, family.tiny(), dataset)
    conditional = dataclasses.replace(dcgan.tiny(), classes=3)
    with pytest.raises(ValueError, match="svm would classify features computed from the label"):
        evals.check_metric_requirements("svm", dcgan, conditional, dataset)
    few = dataclasses.replace(
        dataset, splits={**dataset.splits, "test": {"x": dataset.splits["test"]["x"][:5]}}
    )
    for name, family in (("codes", infogan), ("svm", gan)):
        with pytest.raises(ValueError, match=f"{name} needs labels of test"):
            evals.check_metric_requirements(name, family, family.tiny(), few)
    with pytest.raises(ValueError, match="precision_recall needs 6 test examples or more, got 5"):
        evals.check_metric_requirements("precision_recall", gan, gan.tiny(), few)


def test_every_metric_states_its_requirements():
    assert set(REQUIREMENTS) == set(evals.METRICS)


@pytest.mark.parametrize(
    ("name", "split"), [("cyclegan", "test"), ("gan_cls", "test"), ("gan", "train")]
)
def test_translations_and_images_of_captions_are_compared_with_test(name, split, monkeypatch):
    """FID of the papers is that of translated test images to those of the other domain."""
    seen = []

    def compute(context, *, samples=10, split="train"):
        seen.append(split)
        return evals.MetricResult(n_real=1, n_fake=1, extractor="", seed=0)

    monkeypatch.setitem(evals.METRICS, "fid", compute)
    family = families.get(name)
    images = np.zeros((2, *family.tiny().shape), np.uint8)
    dataset = Dataset("bytes", {"train": {"x": images}, "test": {"x": images}}, 256)
    run = Run(experiment="x", family=name, model=family.tiny(), train=Train(metric="fid"))
    final_metrics(run, family, dataset, {})
    assert seen == [split]
