"""Preparation: errors, repeated calls, and hold-outs without overlap."""

import fcntl
import os
import shutil
import struct

import numpy as np
import pytest
from support.reading import assert_error_message, random_image, write_image

from genjax.data import Data, Dataset, load, save_npz, shards
from genjax.data.prepare import prepare
from genjax.data.readers import ReadOptions
from genjax.data.shards import WriteOptions


def idx(path, array, code=8):
    """Writes an IDX file."""
    head = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    path.write_bytes(head + array.astype(array.dtype.newbyteorder(">")).tobytes())
    return path


def prepared(source, out, reading=None, **writing):
    """Prepares a folder; returns its path."""
    return str(prepare(str(source), out, WriteOptions(name="data", **writing), reading).folder)


def prepare_error(source, out, reading=None, **writing):
    """Returns the error message of preparing; checks that no folder is left."""
    with pytest.raises(ValueError, match=r".") as error:
        prepared(source, out, reading, **writing)
    assert not (out / "data" / "1.0.0").exists()
    return assert_error_message(str(error.value))


def test_rejects_folder_prepared_from_other_data(tmp_path):
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        idx(tmp_path / str(seed) / "train-images-idx3-ubyte", random_image(seed, (6, 4, 4)))
        save_npz(
            Dataset("", {"train": {"x": random_image(seed, (6, 4, 4, 1))}}, 256),
            f"{tmp_path}/{seed}",
        )
        write_image(tmp_path / f"p{seed}" / "a.png", random_image(seed))
    for first, second in (("0", "1"), ("0.npz", "1.npz"), ("p0", "p1")):
        out = tmp_path / f"out-{first}"
        folder = prepared(tmp_path / first, out)
        with pytest.raises(ValueError, match="holds another data set") as error:
            prepared(tmp_path / second, out)
        assert_error_message(str(error.value), folder)
        assert prepared(tmp_path / first, out) == folder
    again = tmp_path / "again"
    prepared(prepared(tmp_path / "p0", tmp_path / "x"), again)
    with pytest.raises(ValueError, match="holds another data set"):
        prepared(prepared(tmp_path / "p1", tmp_path / "y"), again)


def test_files_changed_after_an_interruption_are_written_again(tmp_path, monkeypatch):
    for i in range(6):
        write_image(tmp_path / "in" / f"{i}.png", random_image(i))
    original, written = shards.Shard.write, []

    def counting(shard):
        if len(written) == 2:
            raise KeyboardInterrupt
        original(shard)
        written.append(list(shard.rows))

    monkeypatch.setattr(shards.Shard, "write", counting)
    with pytest.raises(KeyboardInterrupt):
        prepared(tmp_path / "in", tmp_path, shard_examples=2)
    changed = written[0][1]
    write_image(tmp_path / "in" / f"{changed}.png", random_image(90))
    again = []
    monkeypatch.setattr(shards.Shard, "write", lambda s: (original(s), again.append(list(s.rows))))
    data = load(Data(data=prepared(tmp_path / "in", tmp_path, shard_examples=2)))
    assert written[0] in again
    assert written[1] not in again
    found = {x.tobytes() for x in data.splits["train"]["x"]}
    assert found == {random_image(90 if i == changed else i).tobytes() for i in range(6)}


def test_rejects_concurrent_preparation(tmp_path):
    write_image(tmp_path / "in" / "0.png")
    (tmp_path / "data").mkdir()
    handle = os.open(tmp_path / "data", os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert "another process is preparing" in prepare_error(tmp_path / "in", tmp_path)
    finally:
        os.close(handle)
    assert load(Data(data=prepared(tmp_path / "in", tmp_path))).counts() == {"train": 1}


def test_captions_of_one_image_are_held_out_together(tmp_path):
    rows = ["file_name,caption"]
    for i in range(12):
        write_image(tmp_path / "in" / f"{i}.png", np.full((4, 4, 3), 20 * i, np.uint8))
        rows += [f"{i}.png,{i} message {k}" for k in range(3)]
    (tmp_path / "in" / "captions.csv").write_text("\n".join(rows))
    data = load(Data(data=prepared(tmp_path / "in", tmp_path, test=7, validation=4)))
    assert data.counts() == {"train": 21, "validation": 6, "test": 9}
    images = [set(s["x"][:, 0, 0, 0].tolist()) for s in data.splits.values()]
    assert [len(p) for p in images] == [7, 2, 3]
    assert len(set.union(*images)) == 12
    message = [c for s in data.splits.values() for c in s["caption"].tolist()]
    assert sorted(message) == sorted(r.split(",")[1] for r in rows[1:])
    for row in rows[4:]:  # all other rows are of one image
        rows.remove(row)
    (tmp_path / "in" / "captions.csv").write_text("\n".join(rows))
    assert "captions are all of one image" in prepare_error(tmp_path / "in", tmp_path / "o", test=1)


def test_levels_of_the_source_are_kept(tmp_path):
    # Without stored levels, binary images must not become 256 levels.
    x = np.random.default_rng(0).integers(0, 2, (5, 4, 4, 1), np.uint8)
    save_npz(Dataset("", {"train": {"x": x}}, 2), tmp_path / "two.npz")
    folder = prepared(tmp_path / "two.npz", tmp_path / "others")
    os.unlink(f"{folder}/genjax.npz")
    assert load(Data(data=folder)).levels == 2
    assert load(Data(data=prepared(folder, tmp_path / "ours"))).levels == 2
    # Scaling swings over the highest level, and JPEG too.
    large = load(Data(data=prepared("digits", tmp_path, ReadOptions(size=(13, 13), fit="stretch"))))
    assert (large.splits["train"]["x"].max(), large.levels) == (16, 17)
    assert "does not fit levels=17" in prepare_error(
        "digits", tmp_path / "j", encoding="jpeg", quality=50
    )


def test_numbers_are_rejected_or_round_trip(tmp_path):
    x = np.random.default_rng(0).normal(size=(7, 5))
    folder = prepared(idx(tmp_path / "x.idx", x, 14), tmp_path / "f8")
    for stream in ("no", "yes"):
        data = load(Data(data=folder, stream=stream))
        assert data.levels == 0
    np.testing.assert_array_equal(load(Data(data=folder)).splits["train"]["x"], x.astype("f4"))
    below = idx(tmp_path / "b.idx", np.array([[1, -1]], np.int8), 9)
    assert "holds negative integers" in prepare_error(below, tmp_path / "i1")
    pair = x.reshape(7, 5, 1, 1).astype(np.float32)
    np.savez(tmp_path / "pairs.npz", train=pair, train_y=pair)
    assert "use uint8 images" in prepare_error(tmp_path / "pairs.npz", tmp_path / "pairs")


def test_rejects_unsupported_sources_before_writing(tmp_path):
    for i, name in enumerate(("a\nb", " a", os.fsdecode(b"\xff"))):
        write_image(tmp_path / str(i) / name / "0.png")
        assert "cannot be stored as one line of text; rename it" in prepare_error(
            tmp_path / str(i), tmp_path / f"o{i}"
        )


def test_single_images_may_have_any_name(tmp_path, monkeypatch):
    """Two images by any name are a pair, as aerial and map in TFDS; three are not supported."""
    from genjax.data import prepare
    from genjax.data.readers import Field, Source

    class Rows(list):
        def fingerprint(self, rows):
            return 0

    def opened(names):
        x = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
        fields = {name: Field(kind="image", shape=x.shape) for name in names}
        rows = Rows([{name: x + i for i, name in enumerate(names)}])
        return lambda *_: Source(name="it", format="tfds", fields=fields, splits={"train": rows})

    monkeypatch.setattr(prepare, "open_source", opened(["map", "aerial"]))
    found = load(Data(data=prepared("it", tmp_path / "two"))).splits["train"]
    assert found["x"].min() == 1  # aerial: the first of the two by name
    assert found["y"].min() == 0
    monkeypatch.setattr(prepare, "open_source", opened(["photo"]))
    assert load(Data(data=prepared("it", tmp_path / "one"))).splits["train"].keys() == {"x"}
    monkeypatch.setattr(prepare, "open_source", opened(["a", "b", "c"]))
    assert "has the entries a, b, c and none is called image" in prepare_error(
        "it", tmp_path / "three"
    )
    assert not (tmp_path / "three").exists()


def test_folder_written_again_is_read_again(tmp_path):
    folders = []
    for value in (3, 103):
        for i in range(4):
            write_image(tmp_path / "in" / f"{i}.png", np.full((4, 4, 3), value, np.uint8))
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        folders.append(prepared(tmp_path / "in", tmp_path))
        data = load(Data(data=folders[-1], stream="yes"))
        assert data.streams["train"].read([0])["x"].max() == value
        assert data.checksum() == load(Data(data=folders[-1], stream="no")).checksum()
    assert folders[0] == folders[1]


def test_long_lists_of_ignored_files_are_counted(tmp_path):
    write_image(tmp_path / "in" / "0.png")
    for i in range(150):
        (tmp_path / "in" / f"note{i:03d}.txt").touch()
    done = prepare(str(tmp_path / "in"), tmp_path, WriteOptions(name="data"))
    assert done.describe()[1] == "ignored: note000.txt, note001.txt, note002.txt and 147 more"
