"""TFDS data sets without TensorFlow, and error messages for missing or truncated files."""

import io
import os
import pathlib
import shutil

import numpy as np
import pytest

from genjax.data import Data, load
from genjax.data.open_source import open_source
from genjax.data.readers import ReadOptions


def load_error(path, **settings):
    """Returns the error message of loading a file; checks that it is one line with the path."""
    with pytest.raises(ValueError, match=r".") as error:
        load(Data(data=str(path), **settings))
    message = str(error.value)
    assert "\n" not in message, message
    assert str(path) in message, message
    return message


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Writes a TFDS folder of array_record files without TensorFlow."""
    import tensorflow_datasets as tfds
    from PIL import Image

    def png(x):
        file = io.BytesIO()
        Image.fromarray(x[..., 0]).save(file, format="PNG")
        file.seek(0)
        return file

    class SmallGenerated(tfds.core.GeneratorBasedBuilder):
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
    builder = SmallGenerated(data_dir=str(root), file_format="array_record")
    builder.download_and_prepare()
    return pathlib.Path(builder.data_path)


def test_tfds_folder(folder):
    data = load(Data(data=str(folder)))
    assert (data.counts(), data.shape, data.levels) == ({"train": 6, "test": 2}, (4, 4, 1), 256)
    train = data.splits["train"]
    # TFDS shuffles when writing; the grey level of each image is its label.
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
def test_rejects_truncated_record_files(folder, tmp_path, cut):
    broken = tmp_path / "small_generated" / "1.0.0"
    shutil.copytree(folder, broken)
    (record,) = broken.glob("*train.array_record*")
    whole = record.read_bytes()
    size = int(cut * len(whole)) if isinstance(cut, float) else cut
    record.write_bytes(whole[:size])
    message = load_error(broken)
    assert "split train" in message
    assert "prepare it again" in message
    record.unlink()
    assert "split train" in load_error(broken)


def test_rejects_other_folders(tmp_path):
    assert f"genjax prepare {tmp_path}" in load_error(tmp_path)
    assert "a folder with dataset_info.json" in load_error(tmp_path / "missing")
    assert "a folder with dataset_info.json" in load_error(tmp_path / "none" / "1.0.0")


def test_rejects_unknown_names(tmp_path):
    message = load_error("no_such_data_set", data_dir=str(tmp_path))
    assert "TFDS knows no data set" in message


def test_unprepared_name_gives_the_command(tmp_path):
    message = load_error("mnist", data_dir=str(tmp_path))
    assert "not prepared" in message
    assert "tfds build mnist" in message
    assert "TFDS_DATA_DIR" in message


def test_fixed_binarized_mnist():
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


def prepared_set(name):
    root = os.environ.get("TFDS_DATA_DIR")
    if not root:
        pytest.skip("TFDS_DATA_DIR is unset: no prepared TFDS data sets to read")
    if not (path := pathlib.Path(root, name, "1.0.0")).is_dir():
        pytest.skip(f"TFDS_DATA_DIR holds no {name}")
    return str(path)


def test_aerial_photos_and_maps_are_pairs():
    path = prepared_set("maps_256")
    for unpaired in (False, True):
        data = load(Data(data=path, unpaired=unpaired, stream="yes"))
        assert (data.counts(), data.unpaired) == ({"train": 400, "test": 200}, unpaired)
        assert data.paired == {"train", "test"}
        assert data.shape == data.entry_shape("y") == (256, 256, 3)
    # x is aerial, y the map: maps are light, and photos are not
    x, y = (data.splits["test"][name][:50].mean() for name in "xy")
    assert y > 200 > 130 > x


def test_two_designs_of_emoji_are_joined_by_row():
    folders = "+".join(prepared_set(f"emoji_{name}_64") for name in ("noto", "twemoji"))
    rows = open_source(folders, ReadOptions()).splits["train"]
    assert len(rows) == 3786
    for i in range(0, 3786, 500):
        pair = rows[i]  # raises if a name differs
        assert (pair["image_a"] != pair["image_b"]).any()
        assert pair["name"]
