"""Unpaired domains: two sets of images in one data set, each with its own order."""

import dataclasses
import types

import numpy as np
import pytest
from PIL import Image
from support.feeding import batch_checksums, collect_batches, make_run

from genjax.data import Data, Order, load, save_npz, sources
from genjax.data.prepare import prepare
from genjax.data.readers import ReadOptions
from genjax.data.shards import WriteOptions
from genjax.data.streaming import Batches, UnpairedBatches, batches

SIZES = {"trainA": 23, "trainB": 37, "testA": 3, "testB": 5}
STEPS, BATCH, SEED = 9, 8, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A prepared folder; the first pixel of an image holds its number, the second its domain."""
    root = tmp_path_factory.mktemp("unpaired")
    for name, n in SIZES.items():
        (root / "photos" / name).mkdir(parents=True)
        for i in range(n):
            x = np.full((3, 3), 255, np.uint8)
            x[0, 0], x[0, 1] = i, "AB".index(name[-1])
            Image.fromarray(x).save(root / "photos" / name / f"{i:03d}.png")
    writing = WriteOptions(name="photos", shard_examples=16)
    return str(prepare(str(root / "photos"), root, writing, ReadOptions()).folder)


def run(folder, **options):
    return make_run(folder, steps=STEPS, batch=BATCH, **options)


def numbers(batches, name):
    """Returns the image numbers of an entry in order, after checking its domain."""
    x = np.concatenate([b[name].reshape(-1, 9) for b in batches])
    assert (x[:, 1] == "xy".index(name)).all()
    return x[:, 0].astype(int)


def test_domains_have_their_own_sizes_and_entries(folder):
    for stream in ("yes", "no"):
        dataset = load(Data(data=folder, stream=stream))
        assert dataset.unpaired
        assert (dataset.length("train", "x"), dataset.length("train", "y")) == (23, 37)
        assert dataset.counts() == {"train": 37, "test": 5}
        assert dataset.entries("train") == {"x", "y"}
        assert {k: len(v) for k, v in dataset.splits["test"].items()} == {"x": 3, "y": 5}
    checksums = {load(Data(data=folder, stream=stream)).checksum() for stream in ("yes", "no")}
    assert len(checksums) == 1


@pytest.mark.parametrize("options", [{}, {"per_call": 3}, {"critics": 2}])
def test_streamed_and_resident_batches_are_equal(folder, options):
    streamed, resident = (
        collect_batches(run(folder, stream=stream, workers=0, **options), names={"x", "y"})
        for stream in ("yes", "no")
    )
    assert batch_checksums(streamed) == batch_checksums(resident)


@pytest.mark.parametrize("stream", ["yes", "no"])
def test_each_domain_has_its_own_epochs(folder, stream):
    out = collect_batches(run(folder, stream=stream, workers=0), names={"x", "y"})
    dataset = load(Data(data=folder, stream="no"))
    for domain, (name, n) in enumerate((("x", 23), ("y", 37))):
        rows = Order(n, SEED, domain).take(0, STEPS * BATCH)
        stored = numbers([dataset.splits["train"]], name)
        np.testing.assert_array_equal(numbers(out, name), stored[rows])
        for start in range(0, STEPS * BATCH - n + 1, n):  # each example once per epoch
            assert sorted(numbers(out, name)[start : start + n]) == list(range(n))


@pytest.mark.parametrize("stream", ["yes", "no"])
def test_resumes_at_any_step(folder, stream):
    settings = run(folder, stream=stream, workers=0, transform="binarize('dynamic')")
    whole = batch_checksums(collect_batches(settings, names={"x", "y"}))
    for first in (1, 5):
        assert batch_checksums(collect_batches(settings, first, names={"x", "y"})) == whole[first:]


def test_worker_processes_read_equal_batches(folder):
    dataset = load(Data(data=folder, stream="yes"))
    parts = [
        Batches(
            dataset.stream("train", name),
            seed=SEED,
            start=2,
            steps=3,
            size=BATCH,
            names=(name,),
            domain=domain,
        )
        for domain, name in enumerate("xy")
    ]
    here, there = (list(batches(UnpairedBatches(*parts), workers=n)) for n in (0, 1))
    assert batch_checksums(here) == batch_checksums(there)
    assert batch_checksums(here)[0] == batch_checksums([UnpairedBatches(*parts)[0]])[0]


def test_orders_of_domains_are_independent():
    a, b = (np.concatenate([Order(50, 7, d).epoch(e) for e in range(40)]) for d in (0, 1))
    assert (a != b).any()
    same = (a == b).mean()  # 1 / 50 if independent
    assert abs(same - 0.02) < 5 * np.sqrt(0.02 * 0.98 / 2000)
    np.testing.assert_array_equal(Order(8, 0, 0).epoch(0), [0, 2, 1, 5, 4, 3, 6, 7])


def saved(tmp_path, **arrays):
    np.savez(tmp_path / "two.npz", **arrays)
    return str(tmp_path / "two.npz")


def images(n, start=0):
    return np.arange(start, start + n).repeat(4).reshape(n, 2, 2, 1).astype(np.uint8)


def test_arrays_of_a_file_are_two_domains_on_request(tmp_path):
    path = saved(tmp_path, train=images(5), train_y=images(9, 100), train_label=np.arange(5))
    with pytest.raises(ValueError, match=r"train_y must have 4 axes and 5 rows \(or set --unp"):
        load(Data(data=path))
    dataset = load(Data(data=path, unpaired=True, validation=2, limit=6))
    train, validation = dataset.splits["train"], dataset.splits["validation"]
    np.testing.assert_array_equal(train["x"], images(3))
    np.testing.assert_array_equal(train["y"], images(6, 100))
    np.testing.assert_array_equal(train["label"], np.arange(3))
    np.testing.assert_array_equal(validation["x"], images(5)[3:])
    np.testing.assert_array_equal(validation["y"], images(9, 100)[7:])
    static = load(Data(data=path, unpaired=True, transform="binarize('static')"))
    x, y = (static.splits["train"][k] for k in "xy")
    assert set(np.unique(np.concatenate([x, y]))) == {0, 1}
    assert abs(y.mean() - 104 / 255) < 5 * 0.5 / np.sqrt(36)


def test_pairs_can_be_used_as_domains(tmp_path):
    path = saved(tmp_path, train=images(7), train_y=images(7))
    paired, unpaired = (
        collect_batches(run(path, unpaired=unpaired, stream="no"), names={"x", "y"})
        for unpaired in (False, True)
    )
    assert all((b["x"] == b["y"]).all() for b in paired)
    assert any((b["x"] != b["y"]).any() for b in unpaired)
    np.testing.assert_array_equal(paired[0]["x"], unpaired[0]["x"])


def test_rejects_unpaired_data_without_a_second_domain(tmp_path):
    path = saved(tmp_path, train=images(5))
    with pytest.raises(ValueError, match="has no second image y in train; add train_y"):
        load(Data(data=path, unpaired=True))
    path = saved(tmp_path, train=images(5), train_y=images(5).astype(np.float32))
    with pytest.raises(ValueError, match="must both hold integers or both real numbers"):
        load(Data(data=path))
    settings = Data(data=saved(tmp_path, train=images(5), train_y=images(2)), unpaired=True)
    with pytest.raises(ValueError, match="leaves no training example"):
        load(dataclasses.replace(settings, validation=2))


def test_levels_of_streamed_domains_cover_both():
    x, y = (
        types.SimpleNamespace(
            read=lambda rows: {"x": np.zeros((1, 3, 3, 1), np.uint8)},
            highest=lambda highest=highest: highest,
        )
        for highest in (255, 1)
    )
    for streams in ([x, y], [y, x]):
        assert sources._prepared_levels("photos", {}, streams) == 256


def test_a_file_states_which_splits_are_pairs(tmp_path):
    """Domains with as many rows each are not taken for pairs where the file says otherwise."""
    glyphs = load(Data(data="glyphs"))
    save_npz(glyphs, tmp_path / "glyphs.npz")
    again = load(Data(data=str(tmp_path / "glyphs.npz")))
    assert (again.unpaired, again.paired) == (True, {"validation", "test"})
    assert again.checksum() == glyphs.checksum()
    arrays = dict(train=images(5), train_y=images(5), test=images(3), test_y=images(3))
    assert load(Data(data=saved(tmp_path, **arrays))).paired == {"train", "test"}
    path = saved(tmp_path, **arrays, paired=np.array([], "U"))
    assert (load(Data(data=path)).unpaired, load(Data(data=path)).paired) == (True, frozenset())
    path = saved(tmp_path, **arrays | {"test_y": images(4)}, paired=np.array(["test"]))
    with pytest.raises(ValueError, match="test_y must have 4 axes and 3 rows"):
        load(Data(data=path))
    for wrong in (np.array(["valid"]), np.array([1])):
        with pytest.raises(ValueError, match="paired must hold the names of splits with a second"):
            load(Data(data=saved(tmp_path, **arrays, paired=wrong)))
