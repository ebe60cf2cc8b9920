"""TFDS data sets read without TensorFlow; what is missing or cut is said in one sentence."""

import io
import os
import pathlib
import shutil

import numpy as np
import pytest

from genjax.data import Data, load


def refused(path, **settings):
    """The sentence that this file is refused with: one line, and it names the file."""
    with pytest.raises(ValueError, match=r".") as error:
        load(Data(data=str(path), **settings))
    said = str(error.value)
    assert "\n" not in said, said
    assert str(path) in said, said
    return said


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A prepared TFDS folder of array_record files, written without TensorFlow."""
    import tensorflow_datasets as tfds
    from PIL import Image

    def png(x):
        file = io.BytesIO()
        Image.fromarray(x[..., 0]).save(file, format="PNG")
        file.seek(0)
        return file

    class Tiny(tfds.core.GeneratorBasedBuilder):
        """Six images of one grey each, with their number as label."""

        VERSION = tfds.core.Version("1.0.0")
        code_path = None  # otherwise TFDS searches for checksum files beside this file
        url_infos = {}

        def _info(self):
            image = tfds.features.Image(shape=(4, 4, 1))
            label = tfds.features.ClassLabel(num_classes=6)
            features = tfds.features.FeaturesDict({"image": image, "label": label})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, manager):
            return {"train": self._generate_examples(6), "test": self._generate_examples(2)}

        def _generate_examples(self, count):
            for i in range(count):
                yield i, {"image": png(np.full((4, 4, 1), 40 * i, np.uint8)), "label": i}

    root = tmp_path_factory.mktemp("tfds")
    builder = Tiny(data_dir=str(root), file_format="array_record")
    builder.download_and_prepare()
    return pathlib.Path(builder.data_path)


def test_tfds_folder(folder):
    data = load(Data(data=str(folder)))
    assert (data.counts(), data.shape, data.levels) == ({"train": 6, "test": 2}, (4, 4, 1), 256)
    train = data.splits["train"]
    # TFDS shuffles as it writes; each image's grey says which label belongs to it.
    np.testing.assert_array_equal(train["x"][:, 0, 0, 0], 40 * train["label"])
    assert sorted(train["label"]) == list(range(6))


def test_tfds_limit_and_hold_out(folder):
    whole = load(Data(data=str(folder)))
    limited = load(Data(data=str(folder), limit=1, validation=2))
    x = whole.splits["train"]["x"]
    np.testing.assert_array_equal(limited.splits["train"]["x"], x[:1])
    np.testing.assert_array_equal(limited.splits["validation"]["x"], x[4:5])
    assert limited.counts() == {"train": 1, "validation": 1, "test": 1}


@pytest.mark.parametrize("cut", [0, 10, 0.5, -1])
def test_truncated_record_file(folder, tmp_path, cut):
    broken = tmp_path / "tiny" / "1.0.0"
    shutil.copytree(folder, broken)
    (record,) = broken.glob("*train.array_record*")
    whole = record.read_bytes()
    size = int(cut * len(whole)) if isinstance(cut, float) else cut
    record.write_bytes(whole[:size])
    said = refused(broken)
    assert "split train" in said
    assert "prepare it again" in said
    record.unlink()
    assert "split train" in refused(broken)


def test_folder_that_is_no_tfds_folder(tmp_path):
    assert f"genjax prepare {tmp_path}" in refused(tmp_path)
    assert "a folder with dataset_info.json" in refused(tmp_path / "missing")
    assert "a folder with dataset_info.json" in refused(tmp_path / "none" / "1.0.0")


def test_unknown_name_is_a_sentence(tmp_path):
    said = refused("no_such_data_set", data_dir=str(tmp_path))
    assert "TFDS knows no data set" in said


def test_name_that_is_not_prepared_says_how(tmp_path):
    said = refused("mnist", data_dir=str(tmp_path))
    assert "not prepared" in said
    assert "tfds build mnist" in said
    assert "TFDS_DATA_DIR" in said


def test_fixed_binarised_mnist():
    root = os.environ.get("TFDS_DATA_DIR")
    if not root:
        pytest.skip("TFDS_DATA_DIR is unset: no prepared TFDS data sets to read")
    if not pathlib.Path(root, "binarized_mnist").is_dir():
        pytest.skip("TFDS_DATA_DIR holds no binarized_mnist")
    data = load(Data(data="binarized_mnist"))
    assert data.counts() == {"train": 50_000, "validation": 10_000, "test": 10_000}
    assert (data.shape, data.levels) == ((28, 28, 1), 2)
    for split in data.splits.values():
        assert set(np.unique(split["x"])) == {0, 1}
    # The share of ink: a threshold in place of the published draws gives another.
    assert abs(data.splits["test"]["x"].mean(dtype=np.float64) - 0.1325) < 5e-4
