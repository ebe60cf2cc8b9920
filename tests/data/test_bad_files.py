"""Invalid .npz files are rejected with one line that names the file; nothing is unpickled."""

import gc
import io
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genjax.data import Data, load

X = (np.arange(6 * 12, dtype=np.uint8) * 37 % 17).reshape(6, 2, 3, 2)  # [6, 2, 3, 2], 0 .. 16


def saved(folder, **arrays):
    """Saves arrays as .npz; returns the path."""
    path = folder / "data.npz"
    np.savez(path, **arrays)
    return str(path)


def load_error(path, **settings):
    """Returns the error message of loading a file; checks that it is one line with the path."""
    with pytest.raises(ValueError, match=r".") as error:
        load(Data(data=str(path), **settings))
    message = str(error.value)
    assert "\n" not in message, message
    assert str(path) in message, message
    return message


def test_rejects_missing_file(tmp_path):
    assert "there is no file" in load_error(tmp_path / "none.npz")
    (tmp_path / "folder.npz").mkdir()
    assert "is a folder; give a file" in load_error(tmp_path / "folder.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_rejects_truncated_file(tmp_path, save):
    path = tmp_path / "cut.npz"
    save(path, train=X, test=X)
    whole = path.read_bytes()
    for cut in (0, 1, 3, 4, 30, 60, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert "truncated" in load_error(path), cut


def test_rejected_file_is_closed(tmp_path):
    # An open handle keeps the file from being replaced on some systems, and warns at its end.
    path = tmp_path / "cut.npz"
    np.savez(path, train=X)
    path.write_bytes(path.read_bytes()[:-1])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_error(path)
        gc.collect()
    assert [str(w.message) for w in caught if w.category is ResourceWarning] == []


def test_rejects_text_named_npz(tmp_path):
    path = tmp_path / "notes.npz"
    path.write_text("train, validation and test are in the other folder\n")
    assert "not a .npz file" in load_error(path)


def test_rejects_npy_named_npz(tmp_path):
    # numpy reads it, as an array instead of an archive.
    np.save(tmp_path / "array.npy", X)
    path = (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    assert ".npz" in load_error(path)


def test_rejects_zip_without_arrays(tmp_path):
    path = tmp_path / "texts.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "no arrays here")
    assert "readme.txt" in load_error(path)
    # A member with the right name that is no array: numpy hands out its bytes.
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("train", "no array either")
    load_error(path)


class Unpickled:
    """Sets a flag when it is unpickled."""

    ran = False

    def __reduce__(self):
        return _mark, ()


def _mark():
    Unpickled.ran = True


def test_rejects_pickled_objects_unread(tmp_path):
    objects = np.array([Unpickled(), None], dtype=object)
    path = tmp_path / "objects.npz"
    np.savez(path, train=objects, allow_pickle=True)
    assert "Python objects" in load_error(path)
    # A bare pickle under this name, too.
    path.write_bytes(b"")
    objects.dump(path)
    load_error(path)
    assert not Unpickled.ran
    np.load(path, allow_pickle=True)
    assert Unpickled.ran  # the trap works


def test_rejects_file_without_train(tmp_path):
    assert "['test']" in load_error(saved(tmp_path, test=X))
    assert "holds arrays train" in load_error(saved(tmp_path, arr_0=X))


def test_rejects_splits_of_different_shape(tmp_path):
    message = load_error(saved(tmp_path, train=X, test=X[:, :1]))
    assert "(2, 3, 2)" in message
    assert "(1, 3, 2)" in message


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.array([[0.5, np.nan]]), "NaN or infinity"),
        (np.array([[0.5, np.inf]], np.float32), "NaN or infinity"),
        # A signalling NaN, which NumPy converts with a warning.
        (np.array([[0x7FF4000000000000]], np.uint64).view(np.float64), "NaN or infinity"),
        (np.full((2, 3), 1e300), "NaN or infinity"),  # finite only as float64
        (np.array([[0, -1]]), "negative integers"),
        (np.array([["a", "b"]]), "must hold numbers"),
        (np.array([[1 + 2j]]), "must hold numbers"),
        (np.zeros((2,), [("a", np.uint8)])[:, None], "must hold numbers"),
        (np.zeros((0, 4), np.uint8), "N above 0"),
        (np.zeros((3,), np.uint8), r"must be \[N"),
        (np.zeros((), np.uint8), r"must be \[N"),
        (np.zeros((3, 0), np.uint8), r"must be \[N"),  # three examples of nothing
        (np.zeros((3, 0), np.float32), r"must be \[N"),
    ],
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_rejects_invalid_values(tmp_path, values, why, split):
    path = saved(tmp_path, **{"train": np.ones((2, 2), np.uint8), split: values})
    with pytest.raises(ValueError, match=why) as error:
        load(Data(data=path))
    assert path in str(error.value)
    assert split in str(error.value)


@pytest.mark.parametrize(
    "label", [np.zeros(5, int), np.zeros((6, 1), int), np.zeros(6), np.zeros((), int)]
)
def test_rejects_invalid_labels(tmp_path, label):
    message = load_error(saved(tmp_path, train=X, train_label=label))
    assert "train_label must be one integer per example, [6]" in message


@pytest.mark.parametrize(
    "levels",
    [np.int64(16), np.int64(-3), np.float64("nan"), np.float64("inf"), np.array("many")],
)
def test_rejects_invalid_levels(tmp_path, levels):
    # X goes up to 16, so 16 levels are one too few.
    assert "levels" in load_error(saved(tmp_path, train=X, levels=levels))


def test_rejects_holding_out_everything(tmp_path):
    message = load_error(saved(tmp_path, train=X), validation=6)
    assert "hold out fewer" in message
    assert "which has 6" in message


@pytest.mark.parametrize(
    "transform", ["scale(0, 1)", "scale(-1, 1)", "binarize('threshold')", "binarize('dynamic')"]
)
def test_rejects_transforms_of_integers_on_real_numbers(tmp_path, transform):
    path = saved(tmp_path, train=X.astype(np.float32))
    assert "and the data holds real numbers; leave it out" in load_error(path, transform=transform)


def test_rejects_dequantization_of_real_numbers(tmp_path):
    path = saved(tmp_path, train=X.astype(np.float32))
    assert "dequantize() needs integers from 0" in load_error(path, transform="dequantize()")


def test_rejects_static_binarization_of_real_numbers(tmp_path):
    path = saved(tmp_path, train=X.astype(np.float32))
    with pytest.raises(ValueError, match=r"binarize\('static'\) needs integers"):
        load(Data(data=path, transform="binarize('static')"))


def good(dataset):
    """Checks what holds for every Dataset."""
    assert "train" in dataset.splits
    for split in dataset.splits.values():
        x = split["x"]
        assert x.ndim >= 2
        assert x.size
        assert x.shape[1:] == dataset.shape
        assert np.isfinite(x).all()
        assert not dataset.levels or (x.min() >= 0 and x.max() < dataset.levels)
        assert "label" not in split or split["label"].shape == (len(x),)


def _archive(save):
    file = io.BytesIO()
    save(file, train=X, test=X[:2], train_label=np.arange(6), levels=np.int64(17))
    return file.getvalue()


ARCHIVES = [_archive(np.savez), _archive(np.savez_compressed)]


@settings(max_examples=120, deadline=None)
@given(
    which=st.integers(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=4),
    cut=st.one_of(st.none(), st.floats(0, 1)),
)
def test_damaged_files_are_rejected_or_valid(tmp_path_factory, which, flips, cut):
    raw = bytearray(ARCHIVES[which])
    for where, mask in flips:
        raw[int(where * len(raw))] ^= mask
    path = tmp_path_factory.getbasetemp() / "fuzzed.npz"
    path.write_bytes(raw if cut is None else raw[: int(cut * len(raw))])
    message = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numpy's about headers of old versions
        try:
            dataset = load(Data(data=str(path)))
        except ValueError as error:
            message = str(error)
    if message:
        assert "\n" not in message
    else:
        good(dataset)


@pytest.mark.parametrize(
    ("offset", "mask"),
    [
        (6, 1),  # flags of the first member: encrypted
        (8, 99),  # its compression method: one that zipfile does not have
    ],
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damaged_zip_headers(tmp_path, save, offset, mask):
    # Rare in a fuzz, and not among the errors that zipfile calls BadZipFile.
    raw = bytearray(_archive(save))
    directory = raw.index(b"PK\x01\x02")
    raw[offset] ^= mask
    raw[directory + offset + 2] ^= mask  # the central directory has the flags two bytes later
    path = tmp_path / "header.npz"
    path.write_bytes(raw)
    assert "cannot be read" in load_error(path)
