"""Prepared folders give the same examples in TFDS and here."""

import gzip
import json
import struct
import sys

import numpy as np
import pytest
from PIL import Image
from support.reading import (
    assert_error_message,
    encode_image,
    interrupted_after,
    random_image,
    write_image,
)

from genjax.cli.prepare import main
from genjax.data import Data, Dataset, load, save_npz
from genjax.data.prepare import prepare
from genjax.data.readers import ReadOptions
from genjax.data.shards import WriteOptions


def idx(array):
    """Returns an array as the bytes of an IDX file."""
    code = {"uint8": 8, "int32": 12, "float32": 13}[array.dtype.name]
    head = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture
def idx_folder(tmp_path):
    """Writes ten training and three test images with labels as IDX; returns the arrays."""
    rng = np.random.default_rng(0)
    arrays = {}
    for prefix, n in (("train", 10), ("t10k", 3)):
        x, y = rng.integers(0, 256, (n, 5, 4), np.uint8), np.arange(n, dtype=np.uint8) % 4
        arrays["train" if prefix == "train" else "test"] = (x, y)
        with gzip.open(tmp_path / f"{prefix}-images-idx3-ubyte.gz", "wb") as file:
            file.write(idx(x))
        (tmp_path / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(y))
    return tmp_path, arrays


def prepared(source, out, name="data", reading=None, **writing):
    """Prepares a folder; returns its path."""
    return str(prepare(str(source), out, WriteOptions(name=name, **writing), reading).folder)


def test_prepared_idx_can_be_opened_by_tfds(idx_folder, tmp_path):
    import tensorflow_datasets as tfds

    source, arrays = idx_folder
    folder = prepared(source, tmp_path / "out", shard_examples=4)
    for builder in (
        tfds.builder_from_directory(folder),
        tfds.builder("data", data_dir=str(tmp_path / "out")),
    ):
        assert builder.info.splits["train"].num_examples == 10
        assert builder.info.splits["train"].num_shards == 3
        for split, (x, y) in arrays.items():
            rows = list(builder.as_data_source(split=split))
            np.testing.assert_array_equal([r["image"][..., 0] for r in rows], x)
            assert [r["label"] for r in rows] == y.tolist()
    # That TensorFlow is not needed is what makes it possible on any machine.
    assert "tensorflow" not in sys.modules
    ours = load(Data(data=folder))
    np.testing.assert_array_equal(ours.splits["test"]["x"][..., 0], arrays["test"][0])
    assert ours.levels == 256


def test_checksum_equals_that_in_memory(idx_folder, tmp_path):
    source, arrays = idx_folder
    done = prepare(str(source), tmp_path / "out", WriteOptions(name="data"))
    splits = {s: {"x": x[..., None], "label": y.astype(np.int32)} for s, (x, y) in arrays.items()}
    memory = Dataset("memory", splits, 256)
    save_npz(memory, tmp_path / "same.npz")
    npz = load(Data(data=str(tmp_path / "same.npz")))
    folder = Data(data=str(done.folder), stream="yes")
    assert done.summary["checksum"] == memory.checksum() == npz.checksum()
    assert load(folder).checksum() == memory.checksum()  # from what prepare left, unread
    (done.folder / "genjax.npz").unlink()
    assert load(Data(data=str(done.folder), stream="yes")).checksum() == memory.checksum()


def test_levels_are_kept(tmp_path):
    # Digits have 17 levels: with 256 they would be dark.
    folder = prepared("digits", tmp_path)
    for stream in ("no", "yes"):
        assert load(Data(data=folder, stream=stream)).levels == 17
    assert load(Data(data=folder)).checksum() == load(Data(data="digits")).checksum()


def test_images_are_resized_shuffled_and_held_out(tmp_path):
    grey = {}
    for label in ("ant", "bee"):
        for i in range(12):
            value = 20 * i + (5 if label == "bee" else 0)
            x = np.full((6 + i % 3, 9, 3), value, np.uint8)
            write_image(tmp_path / "in" / label / f"{i:02d}.png", x)
            grey[value] = 0 if label == "ant" else 1
    reading = ReadOptions(size=(4, 4), fit="crop", mode="grey")
    done = prepare(
        str(tmp_path / "in"),
        tmp_path / "out",
        WriteOptions(name="insects", validation=5, test=6),
        reading,
    )
    data = load(Data(data=str(done.folder)))
    assert data.counts() == {"train": 13, "validation": 5, "test": 6}
    assert data.shape == (4, 4, 1)
    assert data.names["label"] == ("ant", "bee")
    seen = {}
    for split in data.splits.values():
        for x, y in zip(split["x"], split["label"], strict=True):
            assert (x == x[0, 0]).all()
            seen[int(x[0, 0, 0])] = int(y)
    assert seen == grey  # each example once, with its own label
    # Without shuffling, each hold-out would have one class.
    assert {len(set(s["label"])) for s in data.splits.values()} == {2}
    assert done.summary["splits"]["train"]["shape"] == [4, 4, 1]
    with Image.open(done.folder / "contact_sheet-train.png") as sheet:
        assert sheet.size == (4 * (4 * 14 + 2) + 2,) * 2  # 13 tiles, 4 in a row, 14 times as large


def test_pictures_of_different_sizes_need_a_size_and_a_fit(tmp_path, capsys):
    for i, shape in enumerate([(16, 12), (8, 20), (9, 9)]):
        x = np.full((*shape, 3), 50 * (i + 1), np.uint8)
        write_image(tmp_path / "in" / f"{i}.png", x)
    line = [str(tmp_path / "in"), str(tmp_path / "out"), "--mode", "grey", "--name", "any"]
    assert main(line) == 2
    message = capsys.readouterr().err
    assert "1.png is 8 x 20 and" in message
    assert "0.png is 16 x 12 (height x width); set size, such as 32 32, and fit to" in message
    kept = {}
    for fit in ("crop", "pad"):
        line[-1] = fit
        assert main([*line, "--size", "8", "8", "--fit", fit, "--background", "0"]) == 0
        x = load(Data(data=str(tmp_path / "out" / fit / "1.0.0"))).splits["train"]["x"]
        assert x.shape == (3, 8, 8, 1)
        kept[fit] = {int(image.max()): int((image > 0).sum()) for image in x}
    assert kept["crop"] == {50: 64, 100: 64, 150: 64}
    assert kept["pad"] == {50: 8 * 6, 100: 3 * 8, 150: 64}


def test_captions_attributes_and_pairs_round_trip(tmp_path):
    a, b = (
        write_image(tmp_path / "c" / "a.png", random_image(1)),
        write_image(tmp_path / "c" / "b.png", random_image(2)),
    )
    (tmp_path / "c" / "captions.csv").write_text("file_name,caption\nb.png,ein Bär\na.png,two\n")
    found = load(Data(data=prepared(tmp_path / "c", tmp_path, "captions"))).splits["train"]
    pairs = {text: x for text, x in zip(found["caption"].tolist(), found["x"], strict=True)}
    assert pairs.keys() == {"ein Bär", "two"}
    np.testing.assert_array_equal(pairs["ein Bär"], b)
    np.testing.assert_array_equal(pairs["two"], a)

    (tmp_path / "faces").mkdir()
    for name, x in (("1.png", a), ("2.png", b)):
        (tmp_path / "faces" / name).write_bytes(encode_image(x))
    table = "2\nYoung Smiling\n1.png -1 1\n2.png -1 -1\n"
    (tmp_path / "faces" / "list_attr_celeba.txt").write_text(table)
    data = load(Data(data=prepared(tmp_path / "faces", tmp_path, "faces")))
    assert data.names["attributes"] == ("Smiling", "Young")
    flags = [1, 0] if (data.splits["train"]["x"][0] == a).all() else [0, 0]
    assert data.splits["train"]["attributes"].tolist()[0] == flags
    assert sorted(data.splits["train"]["attributes"].sum(1).tolist()) == [0, 1]

    for split in ("trainA", "trainB"):
        write_image(tmp_path / "p" / split / "1.png", random_image(3 if split == "trainA" else 4))
    folder = prepared(tmp_path / "p", tmp_path, "pairs", ReadOptions(paired=True))
    found = load(Data(data=folder)).splits["train"]
    np.testing.assert_array_equal(found["x"][0], random_image(3))
    np.testing.assert_array_equal(found["y"][0], random_image(4))
    data = load(Data(data=prepared(tmp_path / "p", tmp_path, "unpaired")))
    assert data.unpaired
    np.testing.assert_array_equal(data.splits["train"]["y"][0], random_image(4))
    (tmp_path / "p" / "trainA").rename(tmp_path / "p" / "testA")
    (tmp_path / "p" / "trainB").rename(tmp_path / "p" / "testB")
    with pytest.raises(ValueError, match="no split called train, it has"):
        load(Data(data=prepared(tmp_path / "p", tmp_path, "tests", ReadOptions(format="pairs"))))


def test_real_numbers_and_vectors(tmp_path):
    (tmp_path / "in.amat").write_text("0.5 -1 2\n1.5 0 1\n")
    folder = prepared(tmp_path / "in.amat", tmp_path, "vectors")
    for stream in ("no", "yes"):
        data = load(Data(data=folder, stream=stream))
        assert data.levels == 0
    np.testing.assert_array_equal(load(Data(data=folder)).splits["train"]["x"][1], [1.5, 0, 1])


def test_checksum_of_jpeg_is_of_decoded_images(tmp_path):
    for i in range(3):
        write_image(tmp_path / "in" / f"{i}.png", random_image(i, (16, 16, 3)))
    folder = prepared(tmp_path / "in", tmp_path / "out", encoding="jpeg", quality=80)
    lossy = load(Data(data=folder))  # checks the checksums of the decoded rows
    assert not any(
        (lossy.splits["train"]["x"][0] == random_image(i, (16, 16, 3))).all() for i in range(3)
    )


def test_resumed_preparation_gives_the_same_files(tmp_path):
    for i in range(9):
        write_image(tmp_path / "in" / f"{i}.png", random_image(i))
    want = prepared(tmp_path / "in", tmp_path / "whole", shard_examples=3)
    bad = tmp_path / "in" / "4.png"
    good = bad.read_bytes()
    bad.write_bytes(good[:60])
    lines = []
    writing = WriteOptions(name="data", shard_examples=3)
    with pytest.raises(ValueError, match=r"4\.png") as error:
        prepare(str(tmp_path / "in"), tmp_path / "cut", writing, progress=lines.append)
    assert_error_message(str(error.value), bad)
    assert not (tmp_path / "cut" / "data" / "1.0.0").exists()
    bad.write_bytes(good)
    done = lines[-1:] == ["2 of 3 files"]
    lines.clear()
    got = prepare(str(tmp_path / "in"), tmp_path / "cut", writing, progress=lines.append).folder
    written_before = int(lines[0].split()[1]) if lines[0].startswith("resuming") else 0
    assert written_before == (2 if done else written_before)
    assert len([t for t in lines if t.endswith("of 3 files")]) == 3 - written_before
    files = sorted(p.name for p in got.iterdir())
    assert files == sorted(p.name for p in (tmp_path / "whole/data/1.0.0").iterdir())
    for name in files:
        assert (got / name).read_bytes() == (tmp_path / "whole/data/1.0.0" / name).read_bytes()
    assert want.endswith("whole/data/1.0.0")


def test_complete_files_are_not_written_again(tmp_path, monkeypatch):
    from genjax.data import shards

    for i in range(6):
        write_image(tmp_path / "in" / f"{i}.png", random_image(i))
    with interrupted_after(2) as written:
        prepared(tmp_path / "in", tmp_path, shard_examples=2)
    again, original = [], shards.Shard.write
    monkeypatch.setattr(shards.Shard, "write", lambda s: (original(s), again.append(s.path)))
    folder = prepared(tmp_path / "in", tmp_path, shard_examples=2)
    assert len(again) == 1
    assert not set(again) & {shard.path for shard in written}
    assert load(Data(data=folder)).counts() == {"train": 6}


def test_other_settings_restart_the_preparation(tmp_path, monkeypatch):
    from genjax.data import shards

    for i in range(4):
        write_image(tmp_path / "in" / f"{i}.png", random_image(i))
    original = shards.Shard.write
    calls = []

    def once(shard):
        if calls:
            raise KeyboardInterrupt
        calls.append(1)
        original(shard)

    monkeypatch.setattr(shards.Shard, "write", once)
    with pytest.raises(KeyboardInterrupt):
        prepared(tmp_path / "in", tmp_path, shard_examples=2)
    monkeypatch.setattr(shards.Shard, "write", original)
    folder = prepared(tmp_path / "in", tmp_path, shard_examples=2, reading=ReadOptions(mode="grey"))
    assert load(Data(data=folder)).shape == (5, 4, 1)  # none of the coloured ones is left


def test_repeated_preparation_does_nothing(tmp_path):
    write_image(tmp_path / "in" / "0.png")
    write_image(tmp_path / "in" / "1.png")
    first = prepare(str(tmp_path / "in"), tmp_path, WriteOptions(name="data"))
    lines = []
    again = prepare(
        str(tmp_path / "in"), tmp_path, WriteOptions(name="data", workers=2), progress=lines.append
    )
    assert again == first
    assert lines == [f"{first.folder} exists already"]
    with pytest.raises(ValueError, match="holds another data set") as error:
        prepare(str(tmp_path / "in"), tmp_path, WriteOptions(name="data", test=1))
    assert_error_message(str(error.value), first.folder)


def test_two_processes_write_the_same(tmp_path):
    for i in range(5):
        write_image(tmp_path / "in" / f"{i}.png", random_image(i))
    files = []
    for workers in (1, 2):
        out = tmp_path / str(workers)
        prepared(tmp_path / "in", out, shard_examples=2, workers=workers)
        found = sorted((out / "data/1.0.0").glob("*record*"))
        files.append([(path.name, path.read_bytes()) for path in found])
    assert len(files[0]) == 3
    assert files[0] == files[1]


def test_a_prepared_folder_can_be_prepared_again_at_another_size(tmp_path):
    folder = prepared("digits", tmp_path, "digits")
    smaller = prepared(folder, tmp_path, "small", ReadOptions(size=(4, 4), fit="stretch"))
    data = load(Data(data=smaller))
    assert data.shape == (4, 4, 1)
    assert data.levels == 17
    np.testing.assert_array_equal(
        data.splits["test"]["label"], load(Data(data="digits")).splits["test"]["label"]
    )


def test_rejects_damaged_folders(tmp_path):
    folder = prepared("digits_4x4", tmp_path)
    shard = next((tmp_path / "data/1.0.0").glob("*train*record*"))
    whole = shard.read_bytes()
    middle = bytearray(whole)
    middle[len(whole) // 2] ^= 1
    for damaged in (bytes(middle), whole[: len(whole) // 2], b""):
        shard.write_bytes(damaged)
        with pytest.raises(ValueError, match="prepare it again") as error:
            load(Data(data=folder))
        assert_error_message(str(error.value), folder)
    shard.write_bytes(whole)
    index = tmp_path / "data/1.0.0/genjax.npz"
    with np.load(index) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["train/x"][7] ^= 1
    np.savez(index, **arrays)
    with pytest.raises(ValueError, match=r"row 7 of split train of .* has changed since it was"):
        load(Data(data=folder))
    index.write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match=r"genjax\.npz is damaged"):
        load(Data(data=folder))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--name", "Bad-Name"], "`name` must be a-z"),
        (["--name", "x", "--validation", "1437"], "validation=1437 leaves no training example"),
        (["--name", "x", "--test", "3"], "has a split test of 180 examples already"),
        (["--name", "x", "--quality", "0"], "`quality` must be an integer in [1, 95]"),
        (["--name", "x", "--fit", "squeeze"], "squeeze"),
        (["--name", "x", "--fit", "crop"], "`size` is not set; set size, such as 64 64"),
        (["--nmae", "x"], "did you mean --name?"),
        ([], "--name"),
    ],
)
def test_errors_are_one_line(tmp_path, capsys, arguments, expected):
    if "--validation" in arguments:  # digits have a validation split: take a source without
        splits = {"train": load(Data(data="digits")).splits["train"]}
        save_npz(Dataset("train only", splits, 17), tmp_path / "digits.npz")
        source = str(tmp_path / "digits.npz")
    else:
        source = "digits"
    assert main([source, str(tmp_path / "out"), *arguments]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert expected in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_prints_what_it_wrote(tmp_path, capsys):
    assert main(["digits", str(tmp_path), "--name", "mine"]) == 0
    message = capsys.readouterr().out.splitlines()
    assert message[0] == "train: 1,437 examples, shape (8, 8, 1), values 0 to 16, 0.2 MiB"
    assert f"{tmp_path}/mine/1.0.0: levels 17, checksum 9fb55244" in message[-1]
    summary = json.loads((tmp_path / "mine/1.0.0/genjax.json").read_text())
    assert summary["splits"]["test"]["range"] == [0.0, 16.0]
