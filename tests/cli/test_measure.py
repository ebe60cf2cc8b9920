"""`genjax measure` on finished runs: output files, error messages, reproducible values."""

import json

import numpy as np
import pytest
from PIL import Image
from support.small import TRANSLATIONS, small_run, write_data

from genjax import evals
from genjax.cli import measure
from genjax.data import Dataset, save_npz
from genjax.evals.requirements import check_conditional
from genjax.families import pix2pix
from genjax.train import fit


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), labels=False)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("implicit")
    fit(small_run("gan", data), folder, quiet=True)
    return folder


def run(*options):
    return measure.main([str(w) for w in options])


def test_computes_all_metrics_that_apply_and_explains_the_others(workdir, capsys):
    assert run(workdir, "--samples", 120) == 0
    report = json.loads(capsys.readouterr().out)
    path = workdir / "sample_metrics"
    assert report == json.loads((path / "results.json").read_text())
    applies = {"parzen", "precision_recall", "neighbours", "part_changes"}
    assert set(report["results"]) == applies
    assert set(report["results"]) | set(report["skipped"]) == set(evals.METRICS)
    assert "has no labels" in report["skipped"]["classifier_frechet"]
    assert "16 pixels or more" in report["skipped"]["swd"]
    assert all(r["n_fake"] == 120 for r in report["results"].values())
    assert report["results"]["precision_recall"]["extractor"] == "pixels"
    assert (report["family"], report["seed"], report["counts"]["test"]) == ("gan", 0, 80)
    assert report["pictures"] == ["neighbours.png"]
    with Image.open(path / "neighbours.png") as image:
        # 32 pairs in rows of 6: an image 3 x 6 pixels at a scale of 18, and the gaps.
        assert image.size == (6 * (6 * 18 + 2) + 2, 6 * (3 * 18 + 2) + 2)
        left = np.asarray(image)[2 + 9, 2 + 9 :: 18][3:6, 0]  # top row of the first neighbour
    assert set(left.tolist()) <= {0, 255}  # the real images are black and white


def test_the_seed_determines_the_values(workdir, tmp_path, capsys):
    values = []
    for seed in (0, 0, 1):
        assert run(workdir, "parzen", "--samples", 50, "--seed", seed, "--out", tmp_path) == 0
        values.append(json.loads(capsys.readouterr().out)["results"]["parzen"])
    assert values[0] == values[1]
    assert values[0]["nats"] != values[2]["nats"]
    assert not (tmp_path / "neighbours.png").exists()


def test_a_failing_metric_keeps_the_results_before_it(workdir, tmp_path, capsys, monkeypatch):
    def fails(context, *, samples=10):
        raise MemoryError

    monkeypatch.setattr(evals, "METRICS", {"parzen": evals.METRICS["parzen"], "neighbours": fails})
    assert run(workdir, "--samples", 50, "--out", tmp_path) == 0
    report = json.loads((tmp_path / "results.json").read_text())
    assert set(report["results"]) == {"parzen"}
    assert report["skipped"] == {"neighbours": "MemoryError"}

    options = ("parzen", "neighbours", "--samples", 50, "--out", tmp_path / "short")
    assert run(workdir, *options) == 2  # requested by name, so it must not fail silently
    assert "memory ran out" in capsys.readouterr().err

    def fails_on_data(context, *, samples=10):
        raise ValueError("no such data")

    evals.METRICS["neighbours"] = fails_on_data
    options = (*options[:-1], tmp_path / "only")
    assert run(workdir, *options) == 2
    assert "error: no such data" in capsys.readouterr().err
    report = json.loads((tmp_path / "only" / "results.json").read_text())
    assert set(report["results"]) == {"parzen"}


def test_a_saved_classifier_gives_the_same_result(tmp_path, capsys):
    data = write_data(tmp_path)
    fit(small_run("gan", data), tmp_path / "run", quiet=True)
    path = tmp_path / "kept.npz"
    options = ("classifier_frechet", "--samples", 60, "--out", tmp_path / "out")
    options = (*options, "--classifier-steps", 3, "--save-classifier", path)
    assert run(tmp_path / "run", *options) == 0
    first = json.loads(capsys.readouterr().out)["results"]["classifier_frechet"]
    assert run(tmp_path / "run", *options, "--classifier", path) == 0
    again = json.loads(capsys.readouterr().out)["results"]["classifier_frechet"]
    assert again == first


def test_applies_to_a_family_with_a_density(tmp_path, data, capsys):
    fit(small_run("joint", data), tmp_path / "run", quiet=True)
    options = ("precision_recall", "--samples", 40, "--out", tmp_path / "out")
    assert run(tmp_path / "run", *options) == 0
    assert "precision" in json.loads(capsys.readouterr().out)["results"]["precision_recall"]


@pytest.fixture(scope="module")
def translations(tmp_path_factory):
    """A run on pairs of an image and its negative, and its record."""
    folder, rng, splits = tmp_path_factory.mktemp("translations"), np.random.default_rng(0), {}
    for split, n in (("train", 64), ("validation", 24), ("test", 32)):
        x = rng.integers(0, 256, (n, 3, 3, 1)).astype(np.uint8)
        splits[split] = {"x": x, "y": 255 - x}
    save_npz(Dataset("pairs", splits, 256), folder / TRANSLATIONS)
    settings = {"metric": "translation", "classifier_steps": 20}
    fitted = fit(small_run("pix2pix", str(folder / TRANSLATIONS), **settings), folder / "run")
    return folder / "run", fitted.record


def test_a_run_of_a_translator_records_floors_and_ceilings(translations):
    record = translations[1]
    measured = record["final_metrics"]["translation"]
    assert (record["metric"], record["unit"]) == ("translation top1", "%")
    assert record["obtained"] == pytest.approx(100 * measured["b_top1"])
    assert record["std_error"] == pytest.approx(100 * measured["b_top1_std_error"])
    assert (measured["n_real"], measured["split"], measured["ridge_pairs"]) == (32, "test", "train")
    assert measured["ridge_b_top1"] == measured["truth_b_top1"] == 1  # a linear map
    assert measured["ridge_b_l1"] < 0.05 < measured["identity_b_l1"]
    assert 0 < measured["classifier_error"] <= 1


def test_measures_a_translator_and_prints_its_table(translations, tmp_path, capsys):
    workdir, record = translations
    options = ("--classifier-steps", 20, "--out", tmp_path)
    assert run(workdir, "translation", *options) == 0
    out, err = capsys.readouterr()
    got = json.loads(out)["results"]["translation"]
    assert got["b_top1"] == record["final_metrics"]["translation"]["b_top1"]
    rows = [line.split()[1:3] for line in err.splitlines() if "│" in line]
    assert [row[-1] if row[0] == "│" else row[0] for row in rows] == [
        *("b", "identity", "mean_image", "ridge", "truth")
    ]
    assert run(workdir, "translation", "--split", "validation", *options) == 0
    assert json.loads(capsys.readouterr().out)["results"]["translation"]["n_real"] == 24


def test_samples_of_a_translator_are_translations_of_test_images(translations, tmp_path, capsys):
    workdir = translations[0]
    assert run(workdir, "precision_recall", "neighbours", "--out", tmp_path) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert results["precision_recall"]["n_fake"] == results["precision_recall"]["n_real"] == 32
    assert results["neighbours"]["n_real"] == 64
    assert run(workdir, "attribute_translation", "--out", tmp_path) == 2
    assert "pix2pix does not translate by attributes" in capsys.readouterr().err
    with pytest.raises(ValueError, match="pix2pix does not sample by label"):
        check_conditional(pix2pix, pix2pix.tiny())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("svm", "--split", "test"), "svm has no setting `split`; leave out --split."),
        (("precision_recall", "--split", "other"), "has no other split, it has train"),
        (("fid",), "weights of the standard Inception network are not set"),
        (("swd",), "16 pixels or more"),
        (("fidd",), "`metric` must be one of parzen, fid"),
        (("svm", "--samples", "9"), "svm draws no samples; leave out --samples."),
        (("--samples", "0"), "`samples` must be positive"),
        (("--seed", "-1"), "`seed` must be non-negative"),
        (("--fid-weights", "none.pth"), "there is no file none.pth"),
        (("--classifier", "none.npz"), "none.npz is not a classifier file"),
        (("--save-classifier", "none/kept.npz"), "there is no folder none; create it"),
        (("--save-classifier", "kept.npz"), "has no labels in train"),
        (("--real", "digits"), "digits has examples of shape (8, 8, 1)"),
        (("--real", "none.npz"), "there is no file none.npz"),
    ],
)
def test_user_errors_are_one_line(workdir, tmp_path, options, message, capsys):
    assert run(workdir, *options, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_rejects_a_folder_without_a_run(tmp_path, capsys):
    assert run(tmp_path) == 2
    assert "holds no run" in capsys.readouterr().err
