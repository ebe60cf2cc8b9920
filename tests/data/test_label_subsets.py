"""Label subsets: number and choice of the kept labels."""

import numpy as np
import pytest

from genjax.data import Data, Dataset, Order, load, save_npz
from genjax.data.prepare import prepare
from genjax.data.shards import WriteOptions


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Saves classes 0, 1, 3 of 40, 60 and 20 examples; x is the row number."""
    label = np.repeat([0, 1, 3], [40, 60, 20])[np.arange(120) * 7 % 120]
    x = np.arange(120, dtype=np.int32)[:, None] + np.zeros((1, 2), np.int32)
    split = {"x": x, "label": label.astype(np.int32)}
    path = tmp_path_factory.mktemp("labels") / "three.npz"
    save_npz(Dataset("three", {"train": split, "test": split}, 120), path)
    return str(path)


def test_keeps_labels_per_class(source):
    whole, few = load(Data(data=source)), load(Data(data=source, labels_per_class=5))
    label, true = few.splits["train"]["label"], whole.splits["train"]["label"]
    known = label != -1
    # Balanced, and no label is another example's: one shifted by a row fails here.
    assert {c: int((label == c).sum()) for c in (-1, 0, 1, 3)} == {-1: 105, 0: 5, 1: 5, 3: 5}
    np.testing.assert_array_equal(label[known], true[known])
    assert label.dtype == np.int32
    # The images stay where they are, and the test split is lines in full.
    np.testing.assert_array_equal(few.splits["train"]["x"], whole.splits["train"]["x"])
    np.testing.assert_array_equal(few.splits["test"]["label"], whole.splits["test"]["label"])


def test_kept_labels_depend_on_the_seed(source):
    def kept(seed, count=5):
        found = load(Data(data=source, labels_per_class=count, labels_seed=seed))
        return set(np.flatnonzero(found.splits["train"]["label"] != -1))

    assert kept(0) == kept(0)
    assert kept(0) != kept(1)
    # More labels are those and others, so that a curve over their number has one start.
    assert kept(0) < kept(0, 10)
    # Golden values: other NumPy versions must give the same.
    assert sorted(kept(0, 2)) == [3, 25, 54, 67, 102, 109]


def test_kept_labels_are_independent_of_the_order(source):
    found = load(Data(data=source, labels_per_class=20, labels_seed=0))
    known = found.splits["train"]["label"][Order(120, 0).epoch(0)] != -1
    assert 15 < known[:60].sum() < 45  # of 60


@pytest.mark.parametrize("transform", ["", "binarize('static')"])
def test_checksum_is_that_of_the_original_data(source, transform):
    settings = dict(data=source, transform=transform)
    few = load(Data(**settings, labels_per_class=5))
    assert few.checksum() == load(Data(**settings)).checksum()
    assert (few.splits["train"]["label"] == -1).any()


def test_unknown_labels_stay_unknown(tmp_path):
    label = np.array([0, -1, 1, 0, 1, -1, 0, 1], np.int32)
    rows = {"x": np.zeros((8, 2), np.uint8), "label": label}
    save_npz(Dataset("partly", {"train": rows}, 2), tmp_path / "partly.npz")
    kept = load(Data(data=str(tmp_path / "partly.npz"), labels_per_class=2)).splits["train"][
        "label"
    ]
    assert [(kept == value).sum() for value in (-1, 0, 1)] == [4, 2, 2]
    assert ((kept == label) | (kept == -1)).all()


def test_keeps_all_labels_by_default(source):
    assert (load(Data(data=source)).splits["train"]["label"] >= 0).all()


def test_rejects_missing_labels_and_streams(source, tmp_path):
    with pytest.raises(ValueError, match=r"class 3 of .* has 20 training examples, fewer than"):
        load(Data(data=source, labels_per_class=21))
    bare = tmp_path / "bare.npz"
    save_npz(Dataset("bare", {"train": {"x": np.zeros((4, 2), np.uint8)}}, 2), bare)
    with pytest.raises(ValueError, match="has no labels; leave out"):
        load(Data(data=str(bare), labels_per_class=1))
    with pytest.raises(
        ValueError, match="`labels_per_class` must be a non-negative integer, got -1"
    ):
        Data(labels_per_class=-1)
    with pytest.raises(ValueError, match=r"`labels_seed` must be an integer in \[0, 4294967296\)"):
        Data(labels_seed=2**32)
    folder = prepare(source, tmp_path, WriteOptions(name="three")).folder
    with pytest.raises(ValueError, match="set --stream no"):
        load(Data(data=str(folder), labels_per_class=1, stream="yes"))
