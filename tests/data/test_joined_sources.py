"""Two data sets whose rows are pairs, and splits that keep groups together."""

import collections
import dataclasses

import numpy as np
import pytest
from support.reading import assert_error_message

from genjax.data import Data, Dataset, load, save_npz
from genjax.data.open_source import open_source
from genjax.data.prepare import prepare
from genjax.data.readers import ReadOptions
from genjax.data.shards import WriteOptions

N = 60
WRITING = WriteOptions(name="drawn", validation=6, test=9, group="caption", group_ignore="-[0-9]+")


def captions(n=N):
    """Returns one to seven variants of each word: w0-0, w1-0, w1-1, w2-0 and so on."""
    return [f"w{i % 17}-{i}" for i in range(n)]


def write(path, levels=256, texts=None, n=N, start=0):
    """Writes images whose pixels are their row, from `start`."""
    x = (np.arange(n) + start).repeat(9).reshape(n, 3, 3, 1).astype(np.uint8)
    rows = {"x": x, "caption": np.array(texts or captions(n))}
    save_npz(Dataset("drawn", {"train": rows}, levels), path)
    return str(path)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("joined")


@pytest.fixture(scope="module")
def folders(root):
    """Two prepared folders and their pairs."""
    parts = []
    for name, start in (("left", 0), ("right", 100)):
        writing = WriteOptions(name=name)
        parts.append(prepare(write(root / f"{name}.npz", start=start), root, writing).folder)
    return [str(p) for p in (*parts, prepare("+".join(map(str, parts)), root, WRITING).folder)]


def test_rows_are_pairs_and_groups_stay_in_one_split(folders):
    dataset = load(Data(data=folders[2], unpaired=True))
    assert dataset.paired == {"train", "validation", "test"}
    whole = load(Data(data=folders[2]))
    seen = collections.Counter()
    for split, rows in whole.splits.items():
        np.testing.assert_array_equal(rows["x"] + 100, rows["y"])
        np.testing.assert_array_equal(rows["caption"], np.array(captions())[rows["x"][:, 0, 0, 0]])
        seen.update({(split, text.split("-")[0]): 1 for text in rows["caption"].tolist()})
    assert len(seen) == 17
    counts = {split: len(rows["x"]) for split, rows in whole.splits.items()}
    assert sum(counts.values()) == N
    assert 9 <= counts["test"] <= 12
    assert 6 <= counts["validation"] <= 9


def test_held_out_groups_are_as_large_as_others(tmp_path):
    """Of 100 groups of 1 and 20 groups of 15, an even share of the large ones is held out."""
    texts = [f"s{i}-0" for i in range(100)] + [f"l{i}-{j}" for i in range(20) for j in range(15)]
    path = write(tmp_path / "many.npz", texts=texts, n=400)
    large = []
    for seed in range(5):
        writing = dataclasses.replace(WRITING, shuffle_seed=seed, test=200, validation=0)
        folder = prepare(path, tmp_path / str(seed), writing).folder
        test = load(Data(data=str(folder))).splits["test"]["caption"].tolist()
        large.append(len({t.split("-")[0] for t in test if t.startswith("l")}))
    assert 6 <= np.mean(large) <= 14  # of 20; the first of a group by place would give 1 or 2


def test_any_sources_can_be_joined(root, folders):
    source = open_source(f"{folders[0]}+{root / 'right.npz'}", ReadOptions(size=(2, 2), fit="crop"))
    row = source.splits["train"][3]
    assert set(row) == {"image_a", "image_b", "caption"}
    assert row["image_a"].shape == row["image_b"].shape == (2, 2, 1)
    assert row["caption"] == "w3-3"


def test_rejects_rows_that_are_no_pairs(root, folders, tmp_path):
    other = captions()
    other[7] = "another"
    second = write(tmp_path / "other.npz", texts=other)
    with pytest.raises(ValueError, match="row 7 has caption w7-7 in one data set and another in"):
        prepare(f"{folders[0]}+{second}", tmp_path, WriteOptions(name="bad"))
    with pytest.raises(ValueError, match=r"60 rows in train, and .* 59 rows in train") as error:
        open_source(f"{folders[0]}+{write(tmp_path / 'short.npz', n=N - 1)}", ReadOptions())
    assert_error_message(str(error.value))
    with pytest.raises(ValueError, match="has 2 images per example") as error:
        open_source(f"{folders[2]}+{folders[2]}", ReadOptions())
    assert_error_message(str(error.value))
    with pytest.raises(ValueError, match="of 256 and of 99 levels") as error:
        open_source(f"{folders[0]}+{write(tmp_path / 'l.npz', levels=99)}", ReadOptions())
    assert_error_message(str(error.value))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"group": "name"}, r"no text or label called 'name', it has \['caption'\]; correct"),
        ({"group_ignore": "("}, r"`group_ignore` must be a regular expression, got '\('"),
        ({"group_ignore": ".*"}, "the remaining examples are all of one group; hold out fewer"),
    ],
)
def test_rejects_groups_that_cannot_be_formed(root, tmp_path, options, match):
    with pytest.raises(ValueError, match=match) as error:
        prepare(str(root / "left.npz"), tmp_path, dataclasses.replace(WRITING, **options))
    assert_error_message(str(error.value))
