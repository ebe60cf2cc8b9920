"""MNIST, CIFAR and binarized MNIST from the files as they are published."""

import gzip
import pickle
import struct

import numpy as np
import pytest

from genjax.data import Data, load

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 5, 4), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2], np.uint8)


def write_idx(path, array):
    data = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def write_mnist(folder, ending):
    folder.mkdir(parents=True)
    for split, rows in (("train", slice(0, 4)), ("t10k", slice(4, 6))):
        write_idx(folder / f"{split}-images-idx3-ubyte{ending}", IMAGES[rows])
        write_idx(folder / f"{split}-labels-idx1-ubyte{ending}", LABELS[rows])


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_reads_mnist_from_a_folder_and_by_its_name(tmp_path, ending, monkeypatch):
    write_mnist(tmp_path / "fashion_mnist" / "raw", ending)
    dataset = load(Data(data=str(tmp_path / "fashion_mnist" / "raw")))
    assert dataset.counts() == {"train": 4, "test": 2}
    np.testing.assert_array_equal(dataset.splits["train"]["x"], IMAGES[:4, ..., None])
    np.testing.assert_array_equal(dataset.splits["test"]["label"], LABELS[4:])
    assert (dataset.levels, dataset.splits["train"]["x"].dtype) == (256, np.uint8)
    named = load(Data(data="fashion_mnist", data_dir=str(tmp_path)))
    assert named.checksum() == dataset.checksum()
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    held_out = load(Data(data="fashion_mnist", validation=1))
    assert held_out.counts() == {"train": 3, "validation": 1, "test": 2}


def test_reads_the_binary_version_of_cifar(tmp_path):
    folder = tmp_path / "cifar10" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    pixels = RNG.integers(0, 256, (2, 3, 32, 32), np.uint8)
    rows = b"".join(bytes([i + 7]) + pixels[i].tobytes() for i in range(2))
    (folder / "data_batch_1.bin").write_bytes(rows)
    (folder / "test_batch.bin").write_bytes(rows[:3073])
    (folder / "batches.meta.txt").write_text("\n".join("abcdefghij"))
    for dataset in (
        load(Data(data="cifar10", data_dir=str(tmp_path))),
        load(Data(data=str(folder))),
    ):
        np.testing.assert_array_equal(dataset.splits["train"]["x"], pixels.transpose(0, 2, 3, 1))
        assert dataset.splits["train"]["label"].tolist() == [7, 8]
        assert dataset.names["label"] == tuple("abcdefghij")


def test_the_python_version_of_cifar_is_not_unpickled(tmp_path):
    folder = tmp_path / "cifar10" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    (folder / "data_batch_1").write_bytes(pickle.dumps({"data": 1}))
    with pytest.raises(ValueError, match=r"is pickled, .* use the binary version"):
        load(Data(data="cifar10", data_dir=str(tmp_path)))


def test_reads_binarized_mnist(tmp_path):
    folder = tmp_path / "binarized_mnist"
    folder.mkdir()
    x = RNG.integers(0, 2, (3, 784))
    for split in ("train", "valid", "test"):
        np.savetxt(folder / f"binarized_mnist_{split}.amat", x, "%d")
    dataset = load(Data(data="binarized_mnist", data_dir=str(tmp_path)))
    np.testing.assert_array_equal(dataset.splits["validation"]["x"], x.reshape(3, 28, 28, 1))
    assert dataset.levels == 2


@pytest.mark.parametrize(
    ("name", "file", "page"),
    [
        ("mnist", "train-images-idx3-ubyte", "yann.lecun.com/exdb/mnist"),
        ("fashion_mnist", "t10k-labels-idx1-ubyte", "github.com/zalandoresearch/fashion-mnist"),
        ("cifar10", "data_batch_1.bin", "www.cs.toronto.edu/~kriz/cifar.html"),
    ],
)
def test_missing_data_names_the_files_and_their_page(tmp_path, name, file, page):
    with pytest.raises(ValueError, match="is not prepared") as error:
        load(Data(data=name, data_dir=str(tmp_path)))
    message = str(error.value)
    for part in (file, page, str(tmp_path / name), f"tfds build {name}"):
        assert part in message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnits", "did you mean mnist"),
        ("photos", "there is no folder or file 'photos'.* give a path that exists"),
        ("a.npy", r"one array, and the data are several splits; .* np.savez\('a.npz'"),
    ],
)
def test_what_is_no_data_set_is_one_message(tmp_path, name, message):
    with pytest.raises(ValueError, match=message):
        load(Data(data=name, data_dir=str(tmp_path)))


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Data(data="~/images").data == str(tmp_path / "images")
