"""Runs with text: the tokenizer in the folder of a run, and texts of batches."""

import dataclasses

import jax
import numpy as np
import pytest
from support.small import small_run, write_data

from genjax import families
from genjax.core import stages_of
from genjax.data import Data, Dataset, load
from genjax.data.caption_text import add_text
from genjax.train import fit, load_tokenizer, make_mesh
from genjax.train.compatibility import check_compatibility
from genjax.train.input_pipeline import InputPipeline
from genjax.train.run_config import resolve
from genjax.train.splits import batch_transform, evaluation_conditions
from genjax.train.workdir import check_same_data, write_run_files


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(data):
    return resolve(small_run("joint_embedding", data), "cpu")


@pytest.fixture(scope="module")
def dataset(run):
    return load(run.data)


def test_length_and_vocabulary_of_the_data_are_those_of_the_model(run):
    spec = families.get("joint_embedding").text_spec(run.model)
    assert (run.data.text_length, run.data.vocabulary) == spec[:2]
    other = dataclasses.replace(run, data=dataclasses.replace(run.data, text_length=99))
    assert resolve(other, "cpu") == run


def test_the_tokenizer_is_in_the_folder_of_the_run(run, dataset, tmp_path):
    write_run_files(tmp_path, run, dataset)
    assert load_tokenizer(tmp_path) == dataset.tokenizer
    check_same_data(dataset, tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json is damaged .* remove it and resume"):
        check_same_data(dataset, tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    check_same_data(dataset, tmp_path)


def test_resuming_with_another_tokenizer_is_an_error(run, dataset, tmp_path):
    write_run_files(tmp_path, run, dataset)
    other = dataclasses.replace(run.data, tokenizer="bpe", vocabulary=300)
    with pytest.raises(ValueError, match=r"not the tokenizer that the captions of .* give"):
        check_same_data(load(other), tmp_path)


def test_a_run_keeps_its_tokenizer_and_reports_captions_that_are_cut(run, tmp_path, capsys):
    short = dataclasses.replace(
        run,
        data=dataclasses.replace(run.data, tokenizer="characters"),
        train=dataclasses.replace(run.train, steps=2, sample_every=0, ema=0.0),
    )
    result = fit(short, tmp_path)
    words = [warning["words"] for warning in result.record["warnings"]]
    assert any("captions of train are cut to 8 tokens" in text for text in words)
    assert "cut to 8 tokens; raise --text-length" in capsys.readouterr().err
    assert load_tokenizer(tmp_path).kind == "characters"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (dict(tokenizer=""), "without a tokenizer; set --tokenizer words, bpe or characters"),
        (dict(text_length=5), "have 5 tokens, and those of the model 8; set text_length"),
        (dict(tokenizer="bpe", vocabulary=300), r"and the vocabulary of the model 71; set --voc"),
        (
            dict(tokenizer="bpe", vocabulary=300, bpe_dropout=0.1),
            "joint_embedding compares captions by .* equal captions have different tokens",
        ),
    ],
)
def test_rejects_texts_that_the_family_does_not_take(run, change, match):
    settings = dataclasses.replace(run.data, **change)
    changed = dataclasses.replace(run, data=settings)
    with pytest.raises(ValueError, match=match):
        check_compatibility(changed, families.get(run.family), load(settings))


def test_batches_have_the_texts_of_the_family(run, dataset):
    check_compatibility(run, families.get(run.family), dataset)
    rows = dataset.read("train", range(40), ("x", "text"))
    key = jax.random.key(0)
    drawn = batch_transform(run, dataset)(rows, key)["text"]
    assert drawn.shape == (40, 8)
    is_first = (drawn == rows["text"][:, 0]).all(1)
    assert 5 < is_first.sum() < 35
    first = evaluation_conditions(run, families.get(run.family), dataset, "test")["text"]
    np.testing.assert_array_equal(first, dataset.splits["test"]["text"][:, 0])


def test_a_family_of_several_texts_takes_different_ones(data):
    run = resolve(small_run("gan_cls", data), "cpu")
    dataset = load(run.data)
    check_compatibility(run, families.get("gan_cls"), dataset)
    rows = dataset.read("train", range(8), ("x", "text"))
    drawn = np.asarray(batch_transform(run, dataset)(rows, jax.random.key(0))["text"])
    assert drawn.shape == (8, 2, 8)
    assert (drawn[:, 0] != drawn[:, 1]).any(1).all()


def test_families_whose_losses_compare_captions():
    names = ("joint_embedding", "gan_cls", "dalle")
    compared = {n: families.get(n).text_spec(families.get(n).tiny()).compared for n in names}
    assert compared == {"joint_embedding": True, "gan_cls": True, "dalle": False}
    gan_cls = families.get("gan_cls")
    plain = dataclasses.replace(gan_cls.tiny(), matching_aware=False)
    assert not gan_cls.text_spec(plain).compared


class Rows:
    """Rows in memory in place of rows on disk."""

    def __init__(self, arrays):
        self.arrays = arrays

    def __len__(self):
        return len(self.arrays["x"])

    def read(self, indices, names=None):
        names = self.arrays if names is None else names
        return {k: self.arrays[k][np.asarray(indices)] for k in names}

    def crcs(self):
        return {}


def test_streamed_batches_have_the_texts_of_memory(run, dataset):
    splits = {s: {k: v for k, v in a.items() if k != "text"} for s, a in dataset.splits.items()}
    train = Rows(splits.pop("train"))
    settings = dataclasses.replace(run, data=dataclasses.replace(run.data, workers=0))
    streamed = add_text(Dataset("s", splits, 2, streams={"train": train}), settings.data)
    (stage,) = stages_of(families.get(run.family), run.model, 16, 10)
    mesh = make_mesh(jax.devices()[:1])
    from_memory, from_disk = (
        InputPipeline(settings, found, {"x", "text"}, mesh, stage) for found in (dataset, streamed)
    )
    (indices, first), arrays = from_memory.take(3, 1)
    (batch,) = from_disk.take(3, 1)
    from_disk.close()
    own = np.asarray(indices)[3 - int(first)]
    np.testing.assert_array_equal(batch["text"], np.asarray(arrays["text"])[own])
    np.testing.assert_array_equal(batch["x"], np.asarray(arrays["x"])[own])


def test_text_of_data_without_a_run_needs_a_length(data):
    settings = Data(data=data.replace("bars", "captioned_3"), tokenizer="words")
    with pytest.raises(ValueError, match=r"longest training caption of .* has 2 tokens"):
        load(settings)
