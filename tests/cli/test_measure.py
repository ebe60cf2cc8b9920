"""`genjax measure` on finished runs: files, sentences, and the same numbers again."""

import json

import numpy as np
import pytest
from PIL import Image
from support.small import small_run, write_data

from genjax import evals
from genjax.cli import measure
from genjax.train import fit


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), labels=False)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("implicit")
    fit(small_run("gan", data), folder, quiet=True)
    return folder


def run(*words):
    return measure.main([str(w) for w in words])


def test_whatever_fits_is_measured_and_the_rest_is_explained(workdir, capsys):
    assert run(workdir, "--samples", 120) == 0
    found = json.loads(capsys.readouterr().out)
    path = workdir / "instruments"
    assert found == json.loads((path / "results.json").read_text())
    assert set(found["results"]) == {"parzen", "precision_recall", "neighbours"}
    assert set(found["results"]) | set(found["left_out"]) == set(evals.METRICS)
    assert "has no labels" in found["left_out"]["classifier_frechet"]
    assert "16 pixels or more" in found["left_out"]["swd"]
    assert all(r["n_fake"] == 120 for r in found["results"].values())
    assert found["results"]["precision_recall"]["extractor"] == "pixels"
    assert (found["family"], found["seed"], found["counts"]["test"]) == ("gan", 0, 80)
    assert found["pictures"] == ["neighbours.png"]
    with Image.open(path / "neighbours.png") as image:
        # 32 pairs in rows of 6: an image 3 x 6 pixels at a scale of 18, and the gaps.
        assert image.size == (6 * (6 * 18 + 2) + 2, 6 * (3 * 18 + 2) + 2)
        left = np.asarray(image)[2 + 9, 2 + 9 :: 18][3:6, 0]  # top row of the first neighbour
    assert set(left.tolist()) <= {0, 255}  # the real images are black and white


def test_the_seed_makes_the_numbers(workdir, tmp_path, capsys):
    found = []
    for seed in (0, 0, 1):
        assert (
            run(workdir, "--only", "parzen", "--samples", 50, "--seed", seed, "--out", tmp_path)
            == 0
        )
        found.append(json.loads(capsys.readouterr().out)["results"]["parzen"])
    assert found[0] == found[1]
    assert found[0]["nats"] != found[2]["nats"]
    assert not (tmp_path / "neighbours.png").exists()


def test_what_was_measured_is_not_lost(workdir, tmp_path, capsys, monkeypatch):
    def fails(subject, *, samples=10):
        raise MemoryError

    monkeypatch.setattr(evals, "METRICS", {"parzen": evals.METRICS["parzen"], "neighbours": fails})
    assert run(workdir, "--samples", 50, "--out", tmp_path) == 0
    found = json.loads((tmp_path / "results.json").read_text())
    assert set(found["results"]) == {"parzen"}
    assert found["left_out"] == {"neighbours": "MemoryError"}

    words = ("--only", "parzen", "neighbours", "--samples", 50, "--out", tmp_path / "short")
    assert run(workdir, *words) == 2  # asked for by name, and not there
    assert "memory ran out" in capsys.readouterr().err

    def refuses(subject, *, samples=10):
        raise ValueError("this one cannot")

    evals.METRICS["neighbours"] = refuses
    words = (*words[:-1], tmp_path / "only")
    assert run(workdir, *words) == 2
    assert "error: this one cannot" in capsys.readouterr().err
    found = json.loads((tmp_path / "only" / "results.json").read_text())
    assert set(found["results"]) == {"parzen"}


def test_a_classifier_is_kept_and_used_again(tmp_path, capsys):
    data = write_data(tmp_path)
    fit(small_run("gan", data), tmp_path / "run", quiet=True)
    kept = tmp_path / "kept.npz"
    only = ("--only", "classifier_frechet", "--samples", 60, "--out", tmp_path / "out")
    words = (*only, "--classifier-steps", 3, "--save-classifier", kept)
    assert run(tmp_path / "run", *words) == 0
    first = json.loads(capsys.readouterr().out)["results"]["classifier_frechet"]
    assert run(tmp_path / "run", *only, "--classifier", kept) == 0
    again = json.loads(capsys.readouterr().out)["results"]["classifier_frechet"]
    assert again == first


def test_a_family_with_a_density_samples_too(tmp_path, data, capsys):
    fit(small_run("joint", data), tmp_path / "run", quiet=True)
    words = ("--only", "precision_recall", "--samples", 40, "--out", tmp_path / "out")
    assert run(tmp_path / "run", *words) == 0
    assert "precision" in json.loads(capsys.readouterr().out)["results"]["precision_recall"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--only", "fid"), "the standard Inception network is not here"),
        (("--only", "swd"), "16 pixels or more"),
        (("--only", "fidd"), "only must be one of parzen, fid"),
        (("--only", "svm", "--samples", "9"), "svm draws no samples; leave out --samples."),
        (("--samples", "0"), "samples must be above 0"),
        (("--seed", "-1"), "seed must be 0 or above"),
        (("--fid-weights", "none.pth"), "there is no file none.pth"),
        (("--classifier", "none.npz"), "none.npz is no classifier"),
        (("--save-classifier", "none/kept.npz"), "there is no folder none to keep"),
        (("--save-classifier", "kept.npz"), "has no labels in train"),
        (("--real", "digits"), "digits holds examples of shape (8, 8, 1)"),
        (("--real", "none.npz"), "there is no file none.npz"),
    ],
)
def test_mistakes_are_one_sentence(workdir, tmp_path, words, said, capsys):
    assert run(workdir, *words, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_what_is_no_run_is_a_sentence(tmp_path, capsys):
    assert run(tmp_path) == 2
    assert "holds no run" in capsys.readouterr().err
