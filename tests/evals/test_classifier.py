"""The classifier: accuracy on digits, files, its distances, and the accuracy score."""

import json
import math

import numpy as np
import pytest

from genjax.data import Data, load
from genjax.data.toy_mixtures import stacked
from genjax.evals import (
    accuracy,
    accuracy_score,
    frechet,
    load_classifier,
    save_classifier,
    stacked_modes,
    train_classifier,
)
from genjax.evals.classifier import logits
from genjax.evals.feature_extractor import features


@pytest.fixture(scope="module")
def digits():
    dataset = load(Data(data="digits"))
    return {
        name: ((split["x"] / 16).astype(np.float32), split["label"])
        for name, split in dataset.splits.items()
    }


@pytest.fixture(scope="module")
def classifier(digits):
    return train_classifier(*digits["train"], steps=90, batch_size=64, learning_rate=4e-3)


def test_learns_digits(classifier, digits):
    assert accuracy(classifier, *digits["test"]) > 0.95
    assert (classifier.shape, classifier.classes) == ((8, 8, 1), 10)
    assert classifier.about == {"steps": 90, "batch_size": 64, "seed": 0, "images": 1437}


def test_logits_are_linear_in_the_features(classifier, digits):
    x = digits["test"][0][:30]
    hidden = features(classifier.extractor, x, batch_size=7)
    assert hidden.shape == (30, 128)
    last = classifier.params["logits"]
    want = hidden @ last["kernel"] + last["bias"]
    np.testing.assert_allclose(logits(classifier, x, batch_size=11), want, rtol=1e-4, atol=1e-4)


def test_a_saved_classifier_is_restored_and_damaged_files_are_rejected(
    classifier, digits, tmp_path
):
    path = tmp_path / "c.npz"
    save_classifier(classifier, path)
    again = load_classifier(path)
    x = digits["test"][0]
    np.testing.assert_array_equal(logits(again, x), logits(classifier, x))
    assert again.extractor.label == classifier.extractor.label
    assert again.about == classifier.about
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)

    def rejects(match, **changed):
        kept = {k: v for k, v in {**arrays, **changed}.items() if v is not None}
        np.savez(path, allow_pickle=True, **kept)
        with pytest.raises(ValueError, match=match) as error:
            load_classifier(path)
        assert "is not a classifier file" in str(error.value)

    rejects("it has the parameters", **{"logits/bias": None})
    rejects(r"logits/bias is float32\[3\]", **{"logits/bias": np.zeros(3, np.float32)})
    rejects("Python objects", **{"logits/bias": np.array([{}] * 10)})
    rejects("about", about=None)
    about = json.loads(str(arrays["about"]))
    rejects("`shape` must be positive", about=np.array(json.dumps(about | {"shape": [8, -8, 1]})))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="is not a classifier file"):
        load_classifier(path)
    # Other weights are another extractor.
    arrays["logits/bias"] = arrays["logits/bias"] + 1
    np.savez(path, allow_pickle=False, **arrays)
    assert load_classifier(path).extractor.identity != classifier.extractor.identity


def test_classifier_frechet_is_named_after_it_and_grows_with_noise(classifier, digits):
    x, rng = digits["train"][0], np.random.default_rng(0)
    noise = rng.normal(size=x[700:].shape).astype(np.float32)
    result = [
        frechet(x[:700], np.clip(x[700:] + s * noise, 0, 1), classifier.extractor)
        for s in (0.0, 0.2, 0.5)
    ]
    assert [f.name for f in result] == ["classifier_frechet"] * 3
    assert result[0].distance < 0.5 * result[1].distance < 0.25 * result[2].distance
    assert result[0].extractor == f"classifier:{classifier.extractor.identity}"


def test_stacked_modes_of_digits(classifier, digits):
    x, labels = digits["test"]
    # Digits of the training set, which are classified without error.
    sure = logits(classifier, x).argmax(axis=1) == labels
    rows = {"x": np.tile(x[sure], (12, 1, 1, 1)), "label": np.tile(labels[sure], 12)}
    images, names = stacked("digits", {"test": rows})["test"].values()
    result = stacked_modes(images, classifier)
    np.testing.assert_array_equal(result.counts, np.bincount(names, minlength=1000))
    assert (result.found, result.modes) == (len(np.unique(names)), 1000)
    assert result.reverse_kl < 0.4  # (modes - 1) / 2n by chance is 0.25
    one = stacked_modes(np.repeat(images[:1], 50, axis=0), classifier)
    assert one.found == 1
    assert one.reverse_kl == pytest.approx(math.log(1000))
    with pytest.raises(ValueError, match=r"stacked_modes takes samples \[N, 8, 8, 3\]"):
        stacked_modes(images[..., :1], classifier)


def test_accuracy_score_drops_with_wrong_labels(digits):
    x, labels = digits["train"]
    shuffled = np.where(np.arange(len(labels)) % 4 < 3, (labels + 3) % 10, labels)
    options = {"steps": 40, "seed": 1}
    result = accuracy_score((x, shuffled), digits["train"], digits["test"], **options)
    assert result.real_accuracy > 0.85
    # Three quarters of the samples have a wrong label.
    assert result.accuracy < 0.2
    assert result.std_error == pytest.approx(
        math.sqrt(result.accuracy * (1 - result.accuracy) / 180)
    )
    assert (result.n_fake, result.n_real, result.n_test) == (1437, 1437, 180)


def test_rejects_invalid_images_and_labels(digits):
    x, labels = digits["train"]
    with pytest.raises(ValueError, match=r"takes images \[N, H, W, C\] and integer labels"):
        train_classifier(x, labels[:5])
    with pytest.raises(ValueError, match=r"labels must be in 0 \.\. 4 .*"):
        train_classifier(x, labels, classes=5)
    with pytest.raises(ValueError, match="two classes or more"):
        train_classifier(x, np.zeros_like(labels))
    sets = {"fake": (x, labels), "real": (x, labels), "test": (x, labels)}
    for name in sets:
        with pytest.raises(ValueError, match=f"accuracy_score: {name} must be images in"):
            accuracy_score(**{**sets, name: (x + 1, labels)}, steps=1)
