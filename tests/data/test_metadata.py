"""Metadata of prepared folders are validated; nothing is imported."""

import io
import json
import pathlib
import shutil
import sys
import zipfile

import numpy as np
import pytest
from support.reading import assert_error_message, encode_image, random_image, write_image

from genjax.data import Data, load
from genjax.data.open_source import open_source
from genjax.data.prepare import prepare
from genjax.data.readers import ReadOptions
from genjax.data.shards import WriteOptions

CLASSES = "tensorflow_datasets.core.features."


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder of two named classes, in two files per split."""
    root = tmp_path_factory.mktemp("prepared")
    for i in range(6):
        write_image(root / "in" / ("ant" if i % 2 else "bee") / f"{i}.png", random_image(i))
    return prepare(
        str(root / "in"), root, WriteOptions(name="tiny", test=2, shard_examples=2)
    ).folder


@pytest.fixture
def folder(whole, tmp_path):
    return pathlib.Path(shutil.copytree(whole, tmp_path / "copy"))


@pytest.fixture
def bare(folder):
    """The same folder without the index of `prepare`."""
    (folder / "genjax.npz").unlink()
    (folder / "genjax.json").unlink()
    return folder


def load_error(folder, **settings):
    message = []
    for read in (lambda: load(Data(data=str(folder), **settings)), lambda: examples(folder)):
        with pytest.raises(ValueError, match=r".") as error:
            read()
        message.append(assert_error_message(str(error.value), folder))
    return message[0]


def examples(folder):
    source = open_source(str(folder), ReadOptions())
    return {s: [rows[i] for i in range(len(rows))] for s, rows in source.splits.items()}


def edit(path, change):
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))


def test_prepared_again_is_read_again(whole, tmp_path):
    where = tmp_path / "out" / "tiny"
    sources = [tmp_path / "one", tmp_path / "two"]
    for seed, source in enumerate(sources):
        for i in range(3):
            write_image(source / f"{i}.png", random_image(10 * seed + i))
    found = []
    for source in sources:
        shutil.rmtree(where, ignore_errors=True)
        done = prepare(str(source), tmp_path / "out", WriteOptions(name="tiny"))
        rows = load(Data(data=str(done.folder), stream="yes")).streams["train"]
        dataset = load(Data(data=str(done.folder)))
        np.testing.assert_array_equal(rows.read(range(3))["x"], dataset.splits["train"]["x"])
        one = examples(done.folder)["train"][0]["image"]
        np.testing.assert_array_equal(one, dataset.splits["train"]["x"][0])
        assert dataset.checksum() == done.summary["checksum"]
        found.append(dataset.checksum())
    assert found[0] != found[1]


def test_detects_folder_changed_after_opening(folder):
    from genjax.data.array_records import open_records

    rows = load(Data(data=str(folder), stream="yes")).streams["train"]
    edit(folder / "genjax.json", lambda tree: tree.update(levels=1))
    open_records.cache_clear()  # as in a process that reads and has only just begun
    with pytest.raises(ValueError, match="has changed since it was opened") as error:
        rows.read([0])
    assert_error_message(str(error.value), folder)


@pytest.mark.parametrize("name", ["hostile.Feature", "os.system", 3, None, CLASSES + "a.b.C", ""])
@pytest.mark.parametrize("place", ["whole", "image", "extra", "deep"])
def test_feature_classes_are_not_imported(folder, tmp_path, monkeypatch, name, place):
    (tmp_path / "hostile.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)

    def change(tree):
        inner = tree["featuresDict"]["features"]
        if place == "whole":
            tree["pythonClassName"] = name
        elif place == "image":
            inner["image"]["pythonClassName"] = name
        else:
            inner["more"] = {"pythonClassName": name, "jsonFeature": {"json": "{}"}}
            if place == "deep":
                inner["more"] = {
                    "pythonClassName": CLASSES + "sequence_feature.Sequence",
                    "sequence": {"feature": inner["more"]},
                }

    edit(folder / "features.json", change)
    assert "not a feature class of TFDS" in load_error(folder)
    assert "hostile" not in sys.modules


def test_rejects_older_metadata(folder):
    (folder / "features.json").write_text('{"type": "hostile.Feature", "content": {}}')
    assert "TFDS before 4.5" in load_error(folder)


def test_a_module_name_is_not_imported(folder, tmp_path, monkeypatch):
    (tmp_path / "hostile.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    edit(folder / "dataset_info.json", lambda tree: tree.update(moduleName="hostile"))
    assert load(Data(data=str(folder))).counts() == {"train": 4, "test": 2}
    assert "hostile" not in sys.modules


def test_unsupported_features_are_ignored(folder):
    def change(tree):
        tree["featuresDict"]["features"]["film"] = {
            "pythonClassName": CLASSES + "video_feature.Video",
            "video": {},
        }

    edit(folder / "features.json", change)
    assert load(Data(data=str(folder))).names["label"] == ("ant", "bee")
    assert open_source(str(folder), ReadOptions()).ignored == ("feature film",)


@pytest.mark.parametrize("template", ["/etc/passwd", "../{DATASET}", "a/b", "{WHAT}", "", 3])
def test_shards_outside_the_folder_are_rejected(folder, template):
    def change(tree):
        tree["splits"][0]["filepathTemplate"] = template

    edit(folder / "dataset_info.json", change)
    if template == "":  # TFDS's own
        assert load(Data(data=str(folder))).counts()["train"] == 4
    else:
        assert "dataset_info.json is damaged" in load_error(folder)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda t: t.update(fileFormat="tfrecord"), "stored as tfrecord, which needs TensorFlow"),
        (lambda t: t["splits"][0].update(shardLengths=["2", "3"]), "records for 3 examples"),
        (lambda t: t["splits"][0].update(shardLengths=["2", "281474976710656"]), "records for"),
        (lambda t: t["splits"][0].update(shardLengths=["2", "9" * 20]), "is not a count"),
        (lambda t: t["splits"][0].update(shardLengths=["-2", "2"]), "is not a count"),
        (lambda t: t["splits"].append(t["splits"][0]), "is listed twice"),
        (lambda t: t["splits"][0].update(name="w" * 101), "is not a name"),
        (lambda t: t["splits"][0].update(name="a\x7fb", filepathTemplate="x"), "is not a name"),
        (lambda t: t.update(splits=[]), "has no split with examples"),
    ],
)
def test_rejects_invalid_metadata(bare, change, expected):
    edit(bare / "dataset_info.json", change)
    assert expected in load_error(bare)


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"a":' * 5000, "\xff"])
def test_rejects_damaged_metadata(folder, name, text):
    (folder / name).write_text(text, encoding="latin-1")
    assert f"{name} is damaged" in load_error(folder)


def test_rejects_images_of_other_shapes(bare):
    def shape(*sides):
        def change(tree):
            image = tree["featuresDict"]["features"]["image"]["image"]
            image["shape"] = {"dimensions": [str(n) for n in sides]}

        return change

    edit(bare / "features.json", shape(5, 5, 3))
    assert "has image of shape (5, 4, 3), and features.json says (5, 5, 3)" in load_error(bare)
    edit(bare / "features.json", shape(100_000, 100_000, 3))
    assert "features.json is damaged or not supported" in load_error(bare)
    edit(bare / "features.json", shape(-1, -1, 3))
    assert load(Data(data=str(bare))).shape == (5, 4, 3)


def records(folder, change):
    """Applies `change` to each training record; the hashes of the file are valid."""
    from array_record.python import array_record_module as module

    for path in folder.glob("*train*record*"):
        reader = module.ArrayRecordReader(str(path))
        found = [reader.read([i])[0] for i in range(reader.num_records())]
        reader.close()
        writer = module.ArrayRecordWriter(str(path), "group_size:1")
        for record in found:
            writer.write(change(record))
        writer.close()


def test_rejects_records_without_the_features(bare):
    records(bare, lambda record: b"nothing of the kind")
    assert "row 0 of split train" in load_error(bare)


def test_rejects_labels_out_of_range(bare):
    (bare / "label.labels.txt").unlink()

    def change(tree):
        tree["featuresDict"]["features"]["label"]["classLabel"]["numClasses"] = "1"

    edit(bare / "features.json", change)
    assert "label 1 of 1 classes" in load_error(bare)


def test_rejects_image_bombs_before_decoding(bare):
    import tensorflow_datasets as tfds

    f = tfds.features
    features = f.FeaturesDict({"image": f.Text(), "label": f.ClassLabel(num_classes=2)})
    bomb = encode_image(np.zeros((1, 1, 3), np.uint8))
    at = bomb.index(b"IHDR") + 4
    import struct
    import zlib

    head = struct.pack(">II", 60_000, 60_000) + bomb[at + 8 : at + 13]
    bomb = bomb[:at] + head + struct.pack(">I", zlib.crc32(b"IHDR" + head)) + bomb[at + 17 :]
    record = features.serialize_example({"image": bomb, "label": 1})
    records(bare, lambda _: record)
    assert "too many pixels" in load_error(bare)


def test_detects_replaced_rows(folder):
    """Files and sizes are valid; only the checksums of the index differ."""
    seen = []

    def change(record):
        seen.append(record)
        return seen[0]

    sizes = {p.name: p.stat().st_size for p in folder.glob("*record*")}
    records(folder, change)
    assert sizes == {p.name: p.stat().st_size for p in folder.glob("*record*")}
    rows = load(Data(data=str(folder), stream="yes")).streams["train"]
    rows.read([0])
    with pytest.raises(
        ValueError, match=r"row 3 of split train .* has changed since it was prepared"
    ):
        rows.read([0, 3])
    assert "has changed since it was prepared" in load_error(folder)


def test_rejects_files_of_another_size(folder, monkeypatch):
    from array_record.python import array_record_module as module

    path = next(folder.glob("*train*00001-of*"))
    path.write_bytes(path.read_bytes() + b"\0" * 65536)
    opened = []
    original = module.ArrayRecordReader

    def spy(name, *args, **options):
        opened.append(name)
        return original(name, *args, **options)

    monkeypatch.setattr(module, "ArrayRecordReader", spy)
    assert "-00001-of-00002 has" in load_error(folder)
    assert str(path) not in opened


def test_rejects_index_of_another_folder(folder, tmp_path):
    write_image(tmp_path / "in" / "0.png")
    other = prepare(str(tmp_path / "in"), tmp_path, WriteOptions(name="other")).folder
    shutil.copyfile(other / "genjax.npz", folder / "genjax.npz")
    assert "genjax.npz is damaged" in load_error(folder)


def test_a_name_is_found_with_and_without_its_version(whole, tmp_path):
    root = tmp_path / "root"
    for version in ("1.0.0", "1.9.0", "1.10.0"):
        shutil.copytree(whole, root / "tiny" / version)
    edit(root / "tiny/1.9.0/dataset_info.json", lambda t: t["splits"].pop())
    shutil.copytree(whole, root / "two" / "small" / "1.0.0")
    counts = {"train": 4, "test": 2}
    assert load(Data(data="tiny", data_dir=str(root))).counts() == counts
    assert load(Data(data="tiny:1.9.0", data_dir=str(root))).counts() != counts
    for name in ("two", "two/small", "two/small:1.0.0"):
        assert load(Data(data=name, data_dir=str(root))).counts() == counts
    with pytest.raises(ValueError, match=r"TFDS knows no data set 'tiny:2\.0\.0'"):
        load(Data(data="tiny:2.0.0", data_dir=str(root)))


@pytest.mark.parametrize("where", ["data.npz", "table.npz", "genjax.npz"])
@pytest.mark.parametrize("how", ["claim", "bomb", "pickle", "method"])
def test_rejects_npz_before_allocating(folder, tmp_path, where, how):
    import tracemalloc

    path = (folder if where == "genjax.npz" else tmp_path) / where
    member = "data" if where == "table.npz" else "train"
    x = np.ones((4, 3, 3, 1), np.uint8)
    np.savez(path, **{member: x})
    if how == "claim":
        with zipfile.ZipFile(path) as archive:
            data = archive.read(f"{member}.npy")
        head = data[:128].replace(b"(4, 3, 3, 1), }        ", b"(40000, 30000, 3, 1), }")
        assert len(head) == 128
        assert head != data[:128]
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"{member}.npy", head + data[128:])
    elif how == "bomb":
        file = io.BytesIO()
        np.save(file, np.zeros((1, 2**20), np.uint8))
        head = file.getvalue()[:128].replace(b"(1, 1048576), }  ", b"(257, 1048576), }")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr(f"{member}.npy", head + bytes(257 * 2**20))
    elif how == "pickle":
        np.savez(path, **{member: np.array([object()])}, allow_pickle=True)
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
            archive.writestr(f"{member}.npy", b"\x93NUMPY")
    tracemalloc.start()
    try:
        source = str(folder if where == "genjax.npz" else path)
        with pytest.raises(ValueError, match=r".") as error:
            load(Data(data=source))
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()
    message = assert_error_message(str(error.value), path)
    why = {"claim": "is uint8[40000", "bomb": "would decompress to", "pickle": "Python"}
    assert why.get(how, "unsupported compression") in message


@pytest.mark.parametrize("missing", ["tensorflow_datasets", "array_record"])
def test_error_without_tfds(whole, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    for source in (str(whole), "mnist"):
        with pytest.raises(ValueError, match="is not installed") as error:
            load(Data(data=source))
        assert_error_message(str(error.value), source)
