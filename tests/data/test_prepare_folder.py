"""Preparation: errors, repeated calls, and hold-outs without overlap."""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import re
import shutil
import struct

import numpy as np
import pytest
from support.reading import assert_error_message, interrupted_after, random_image, write_image

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
    with interrupted_after(2) as interrupted:
        prepared(tmp_path / "in", tmp_path, shard_examples=2)
    written = [list(shard.rows) for shard in interrupted]
    changed, original = written[0][1], shards.Shard.write
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


def test_images_with_several_captions_are_one_example(tmp_path):
    rows = ["file_name,caption"]
    for i in range(12):
        write_image(tmp_path / "in" / f"{i}.png", np.full((4, 4, 3), 20 * i, np.uint8))
        rows += [f"{i}.png,{i} message {k}" for k in range(3 if i else 1)]
    (tmp_path / "in" / "captions.csv").write_text("\n".join(rows))
    data = load(Data(data=prepared(tmp_path / "in", tmp_path, test=3, validation=2)))
    assert data.counts() == {"train": 7, "validation": 2, "test": 3}
    found = {}
    for split in data.splits.values():
        found |= dict(zip(split["x"][:, 0, 0, 0].tolist(), split["caption"].tolist(), strict=True))
    expected = {20 * i: [f"{i} message {k}" for k in range(3)] for i in range(12)}
    expected[0] = ["0 message 0", "", ""]
    assert found == expected


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


def flip(path, where):
    """Flips one bit of a file, in the middle or at an offset."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if where == "middle" else where] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "records": lambda folder: flip(next(folder.glob("*record-00001*")), "middle"),
    "truncated records": lambda folder: os.truncate(next(folder.glob("*record-00001*")), 100),
    "no records": lambda folder: next(folder.glob("*record-00001*")).unlink(),
    "other records": lambda folder: shutil.copy(
        *sorted(folder.glob("*-train.array_record-0000[01]*"))
    ),
    "index": lambda folder: flip(folder / "genjax.npz", "middle"),
    "no index": lambda folder: (folder / "genjax.npz").unlink(),
    "metadata": lambda folder: os.truncate(folder / "dataset_info.json", 20),
    "no features": lambda folder: (folder / "features.json").unlink(),
    "a pipe": lambda folder: ((folder / "genjax.npz").unlink(), os.mkfifo(folder / "genjax.npz")),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A source, and the folder that was prepared from it."""
    root = tmp_path_factory.mktemp("whole")
    idx(root / "x.idx", random_image(0, (6, 4, 4)))
    prepared(root / "x.idx", root, shard_examples=2)
    return root


# Without CRCs of files or rows, these two are other whole data sets.
UNLISTED = [kind for kind in DAMAGE if kind not in ("other records", "no index")]


@pytest.mark.parametrize(
    ("kind", "listed"), [(k, True) for k in DAMAGE] + [(k, False) for k in UNLISTED]
)
def test_a_damaged_folder_is_prepared_again(tmp_path, whole, kind, listed):
    """With the files listed in genjax.json, and without, as by earlier versions."""
    folder = tmp_path / "data" / "1.0.0"
    shutil.copytree(whole / "data" / "1.0.0", folder)
    expected = load(Data(data=str(folder))).checksum()
    if not listed:
        summary = json.loads((folder / "genjax.json").read_text())
        del summary["files"]
        (folder / "genjax.json").write_text(json.dumps(summary))
    DAMAGE[kind](folder)
    lines = []
    options = WriteOptions(name="data", shard_examples=2)
    prepare(str(whole / "x.idx"), tmp_path, options, progress=lines.append)
    assert "is damaged (" in lines[0]
    assert lines[0].endswith("); it is prepared again")
    assert load(Data(data=str(folder))).checksum() == expected
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["1.0.0"]
    prepare(str(whole / "x.idx"), tmp_path, options, progress=lines.append)
    assert lines[-1] == f"{folder} exists already"


@pytest.mark.parametrize(
    "changes",
    [{"checksum": None}, {"levels": "17"}, {"splits": {"train": {"examples": 6}}}, {"ignored": 3}],
    ids=str,
)
def test_a_folder_with_a_damaged_summary_is_prepared_again(tmp_path, whole, changes):
    folder = tmp_path / "data" / "1.0.0"
    shutil.copytree(whole / "data" / "1.0.0", folder)
    summary = json.loads((folder / "genjax.json").read_text())
    (folder / "genjax.json").write_text(json.dumps(summary | changes))
    lines = []
    options = WriteOptions(name="data", shard_examples=2)
    done = prepare(str(whole / "x.idx"), tmp_path, options, progress=lines.append)
    assert re.match(r".* is damaged \(`\w+` (must be|is missing).*prepared again", lines[0])
    assert done.summary == summary
    assert done.describe()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"plan": 1}', "[" * 10**5])
def test_a_folder_without_a_summary_is_not_removed(tmp_path, whole, text):
    """It may be of another program, whose data cannot be made again."""
    folder = tmp_path / "data" / "1.0.0"
    shutil.copytree(whole / "data" / "1.0.0", folder)
    (folder / "genjax.json").write_text(text)
    files = sorted(folder.iterdir())
    with pytest.raises(ValueError, match=r"or its genjax\.json is damaged; use another --name, or"):
        prepared(whole / "x.idx", tmp_path, shard_examples=2)
    assert sorted(folder.iterdir()) == files


def test_an_interrupted_repair_is_done_again(tmp_path, whole):
    folder = tmp_path / "data" / "1.0.0"
    shutil.copytree(whole / "data" / "1.0.0", folder.with_name("1.0.0.damaged"))
    shutil.copytree(whole / "data" / "1.0.0", folder.with_name("1.0.0.incomplete"))
    prepared(whole / "x.idx", tmp_path, shard_examples=2)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["1.0.0"]


RECORDS = "data-train.array_record-00001-of-00003"


@pytest.mark.parametrize("name", ["dataset_info.json", "genjax.json", RECORDS])
@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
def test_a_system_error_is_no_damage(tmp_path, whole, monkeypatch, name, listed, code):
    folder = tmp_path / "data" / "1.0.0"
    shutil.copytree(whole / "data" / "1.0.0", folder)
    if not listed:
        summary = json.loads((folder / "genjax.json").read_text())
        del summary["files"]
        (folder / "genjax.json").write_text(json.dumps(summary))
    before = {path: path.read_bytes() for path in folder.iterdir()}
    system_open = os.open

    def fail(path, *args, **kwargs):
        if os.path.basename(path) == name:
            raise OSError(code, os.strerror(code), path)
        return system_open(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        with pytest.raises(ValueError, match=f"{name} cannot be read .*{os.strerror(code)}") as got:
            prepared(whole / "x.idx", tmp_path, shard_examples=2)
    assert_error_message(str(got.value), folder / name)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["1.0.0"]


@pytest.mark.parametrize("renames", [9, 0, 1, 2, 3])
def test_files_of_the_user_are_kept(tmp_path, whole, monkeypatch, renames):
    """Also if the call is killed at a rename of folders or files, and given again."""
    folder = tmp_path / "data" / "1.0.0"
    shutil.copytree(whole / "data" / "1.0.0", folder)
    expected = load(Data(data=str(folder))).checksum()
    (folder / "own" / "deep").mkdir(parents=True)
    for name in ("notes.txt", "own/deep/notes.txt"):
        (folder / name).write_text("kept")
    DAMAGE["records"](folder)
    rename, count = pathlib.Path.rename, iter(range(100))
    counted = (folder.parent, folder.with_name("1.0.0.damaged"))

    def interrupt(path, target):
        if path.parent in counted and next(count) == renames:
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "rename", interrupt)
        with contextlib.suppress(KeyboardInterrupt):
            prepared(whole / "x.idx", tmp_path, shard_examples=2)
    assert next(count) == (4 if renames == 9 else renames + 1)
    prepared(whole / "x.idx", tmp_path, shard_examples=2)
    assert load(Data(data=str(folder))).checksum() == expected
    assert (folder / "notes.txt").read_text() == "kept"
    assert (folder / "own" / "deep" / "notes.txt").read_text() == "kept"
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["1.0.0"]


@pytest.mark.parametrize("end", ["", ".incomplete", ".damaged"])
def test_rejects_folders_that_are_links(tmp_path, whole, end):
    (tmp_path / "other").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / f"1.0.0{end}").symlink_to(tmp_path / "other")
    with pytest.raises(ValueError, match=f"1.0.0{end} is a link; remove it, or use another --name"):
        prepared(whole / "x.idx", tmp_path, shard_examples=2)
    assert list((tmp_path / "other").iterdir()) == []


def test_links_in_an_interrupted_folder_are_not_followed(tmp_path, monkeypatch):
    idx(tmp_path / "x.idx", random_image(0, (6, 4, 4)))
    (tmp_path / "other").write_bytes(b"kept")
    original = shards.Shard.write

    def interrupt(shard):
        raise KeyboardInterrupt

    monkeypatch.setattr(shards.Shard, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepared(tmp_path / "x.idx", tmp_path, shard_examples=2)
    part = tmp_path / "data" / "1.0.0.incomplete"
    records = [f"data-train.array_record-0000{i}-of-00003" for i in range(3)]
    for name in (records[0] + ".part", records[1], records[2] + ".npz.part", "features.json"):
        (part / name).symlink_to(tmp_path / "other")
    monkeypatch.setattr(shards.Shard, "write", original)
    folder = prepared(tmp_path / "x.idx", tmp_path, shard_examples=2)
    assert (tmp_path / "other").read_bytes() == b"kept"
    assert not any(path.is_symlink() for path in (tmp_path / "data" / "1.0.0").iterdir())
    assert load(Data(data=folder)).counts() == {"train": 6}


def test_a_damaged_index_of_a_file_is_written_again(tmp_path):
    idx(tmp_path / "x.idx", random_image(0, (6, 4, 4)))
    with interrupted_after(2) as written:
        prepared(tmp_path / "x.idx", tmp_path, shard_examples=2)
    os.truncate(written[0].path + ".npz", 50)
    assert load(Data(data=prepared(tmp_path / "x.idx", tmp_path, shard_examples=2))).counts() == {
        "train": 6
    }
