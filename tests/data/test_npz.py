"""IDX, CIFAR and text matrices: values, and error messages for damaged files."""

import gzip
import pathlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.reading import random_image, read_all, read_error

from genjax.data.readers import ReadOptions, read

KINDS = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}
FASHION = pathlib.Path("/usr/share/datasets/fashion-mnist")


def idx(x, kind=None, shape=None):
    """Returns an array as an IDX file with `kind` and `shape` in its header."""
    shape = x.shape if shape is None else shape
    head = struct.pack(f">BBBB{len(shape)}I", 0, 0, kind or KINDS[x.dtype.name], len(shape), *shape)
    return head + x.astype(x.dtype.newbyteorder(">")).tobytes()


X, Y = random_image(shape=(6, 3, 2)), np.array([0, 1, 2, 3, 2, 1], np.uint8)


def mnist(folder, packed=False, prefix="", dot="-"):
    """Writes six training and two test images of 3 x 2."""
    for split, part in (("train", slice(0, 6)), ("t10k", slice(0, 2))):
        for what, x in ((f"images{dot}idx3", X), (f"labels{dot}idx1", Y)):
            data, name = idx(x[part]), f"{prefix}{split}-{what}-ubyte"
            if packed:
                data, name = gzip.compress(data), name + ".gz"
            (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("prefix", "dot"), [("", "-"), ("emnist-letters-", "-"), ("", ".")])
def test_idx_folder(tmp_path, packed, prefix, dot):
    source = read(mnist(tmp_path, packed, prefix, dot))
    assert source.format == "idx"
    assert list(source.splits) == ["train", "test"]
    assert source.fields["image"].shape == (3, 2, 1)
    assert source.fields["label"].classes == 4
    assert source.levels == 256
    rows = read_all(source)
    np.testing.assert_array_equal([r["image"] for r in rows["train"]], X[..., None])
    assert [r["label"] for r in rows["train"]] == Y.tolist()
    assert [r["label"] for r in rows["test"]] == [0, 1]


def test_plain_files_take_precedence_over_gzip(tmp_path):
    mnist(tmp_path, packed=True)
    mnist(tmp_path)
    source = read(tmp_path)
    assert len(source.ignored) == 4
    assert all(name.endswith(".gz") for name in source.ignored)


def test_idx_images_are_resized_and_converted(tmp_path):
    source = read(mnist(tmp_path), ReadOptions(size=(5, 4), fit="pad", background=7, mode="rgb"))
    image = source.splits["train"][0]["image"]
    assert source.fields["image"].shape == image.shape == (5, 4, 3)
    assert (image[:, 3] == 7).all()  # 3 x 2 becomes 5 x 3, with a column of background
    assert "set fit to" in read_error(tmp_path, size=(5, 4))


@settings(max_examples=40, deadline=None)
@given(data=st.data(), kind=st.sampled_from(sorted(KINDS)), packed=st.booleans())
def test_idx_round_trip(tmp_path_factory, data, kind, packed):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=5, max_side=4))
    finite = {"allow_nan": False, "allow_infinity": False} if "float" in kind else {}
    x = data.draw(hnp.arrays(kind, shape, elements=hnp.from_dtype(np.dtype(kind), **finite)))
    path = tmp_path_factory.getbasetemp() / "any.idx"
    path.write_bytes(gzip.compress(idx(x)) if packed else idx(x))
    source = read(path)
    name = "image" if kind == "uint8" and x.ndim == 3 else "x"
    (rows,) = read_all(source).values()
    got = np.stack([r[name] for r in rows])
    np.testing.assert_array_equal(got, x[..., None] if name == "image" else x)
    assert got.dtype == kind
    assert source.fields[name].shape == got.shape[1:]
    assert source.fields[name].dtype == kind
    if name == "x":
        whole = x.dtype.kind in "iu" and x.min() >= 0
        assert source.levels == 0 if not whole else source.levels > x.max()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "begins with nothing"),
        (b"\0\0\x08", "not an IDX file"),
        (b"\0\0\x0a\x01" + bytes(5), "begins with 00000a01"),
        (b"PK\3\4" + bytes(9), "begins with 504b0304"),
        (b"\0\0\x08\0" + bytes(9), "not an IDX file"),
        (b"\0\0\x08\3" + bytes(9), "truncated in its header"),
        (idx(X)[:-1], ""),
        (idx(X) + b"\0", ""),
        (idx(X, shape=(6, 3, 3)), ""),
        (idx(X, kind=13), ""),
        (idx(X, shape=(0, 3, 2)), "is empty, of shape"),
        (idx(X, shape=(2**32 - 1,) * 3), "is smaller, truncated"),
        (idx(X, shape=(2**32 - 1,) * 255), "is smaller, truncated"),
        (idx(np.zeros(1, np.uint8), shape=(1,) * 60), "at most 32 are supported"),
        (idx(np.array([1, np.nan], np.float32)), "NaN or infinity"),
    ],
)
def test_rejects_invalid_idx(tmp_path, data, why, packed):
    path = tmp_path / "bad.idx"
    path.write_bytes(gzip.compress(data) if packed and data else data)
    message = read_error(path, format="idx")
    assert why in message
    if not why:
        assert "after its header" in message


def test_gzip_bombs_are_read_up_to_the_stated_size(tmp_path):
    # 64 MiB of zeros after a header of four bytes: reading all would take time and memory.
    import tracemalloc

    path = tmp_path / "bomb.idx.gz"
    path.write_bytes(gzip.compress(idx(np.zeros(4, np.uint8)) + bytes(2**26)))
    tracemalloc.start()
    assert "has more" in read_error(path)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_rejects_damaged_gzip(tmp_path):
    whole = gzip.compress(idx(X))
    path = tmp_path / "a.idx.gz"
    for cut in (3, 12, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert "cannot be decompressed" in read_error(path)
    path.write_bytes(whole[:-6] + b"\0" + whole[-5:])  # its checksum
    assert "cannot be decompressed" in read_error(path)


def test_rejects_inconsistent_idx_folders(tmp_path):
    mnist(tmp_path)
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes(idx(Y[:5]))
    assert "has 5 labels for 6 examples" in read_error(tmp_path, labels)
    labels.write_bytes(idx(np.array([0, 1, 2, 3, 4, -1], np.int32)))
    assert "has the label -1" in read_error(tmp_path, labels)
    labels.write_bytes(idx(X))
    assert "one integer per label" in read_error(tmp_path, labels)
    labels.unlink()
    assert "no labels for split train" in read_error(tmp_path)
    mnist(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(X[:2, :2]))
    assert "make them agree" in read_error(
        tmp_path, "t10k-images-idx3-ubyte", "train-images-idx3-ubyte"
    )
    (tmp_path / "t10k-images-idx3-ubyte").unlink()
    assert "no images for split test" in read_error(tmp_path)
    mnist(tmp_path, prefix="other-")
    assert "several data sets" in read_error(tmp_path)
    (tmp_path / "none").mkdir()
    assert "no IDX files" in read_error(tmp_path / "none", format="idx")


@pytest.mark.skipif(not FASHION.is_dir(), reason=f"Fashion-MNIST is not in {FASHION}")
def test_reads_published_fashion_mnist():
    source = read(FASHION)
    assert {name: len(split) for name, split in source.splits.items()} == {
        "train": 60000,
        "test": 10000,
    }
    for name, file in (("train", "train"), ("test", "t10k")):
        images = gzip.decompress((FASHION / f"{file}-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((FASHION / f"{file}-labels-idx1-ubyte.gz").read_bytes())
        for i in (0, 1, 777, 9999):
            row = source.splits[name][i]
            assert row["image"].tobytes() == images[16 + 784 * i : 16 + 784 * (i + 1)]
            assert row["label"] == labels[8 + i]
        columns = source.splits[name].columns
        assert np.bincount(columns["label"]).tolist() == [len(source.splits[name]) // 10] * 10


def cifar(folder, names, heads, classes, tables=()):
    """Writes two records per file, with labels from 0; returns pixels `[files, 2, 32, 32, 3]`."""
    planes = random_image(3, (len(names), 2, 3, 32, 32))
    for k, name in enumerate(names):
        labels = np.array([[(5 * k + i + h) % c for h, c in enumerate(classes)] for i in (0, 1)])
        records = [labels[i].astype(np.uint8).tobytes() + planes[k, i].tobytes() for i in (0, 1)]
        assert len(records[0]) == heads + 3072
        (folder / name).write_bytes(b"".join(records))
    for name, count in tables:
        (folder / name).write_text("".join(f"{name[:4]}{i}\n" for i in range(count)) + "\n")
    return planes.transpose(0, 1, 3, 4, 2)


TEN = ("data_batch_1.bin", "data_batch_2.bin", "test_batch.bin")
HUNDRED = ("train.bin", "test.bin")


def test_cifar10(tmp_path):
    x = cifar(tmp_path, TEN, 1, (10,), [("batches.meta.txt", 10)])
    (tmp_path / "readme.html").write_text("hello")
    source = read(tmp_path)
    assert source.format == "cifar"
    assert source.ignored == ("readme.html",)
    assert source.fields["image"].shape == (32, 32, 3)
    assert source.fields["label"].names == tuple(f"batc{i}" for i in range(10))
    rows = read_all(source)
    np.testing.assert_array_equal([r["image"] for r in rows["train"]], x[:2].reshape(4, 32, 32, 3))
    np.testing.assert_array_equal([r["image"] for r in rows["test"]], x[2])
    assert [r["label"] for r in rows["train"]] == [0, 1, 5, 6]


def test_cifar100(tmp_path):
    tables = [("fine_label_names.txt", 100), ("coarse_label_names.txt", 20)]
    x = cifar(tmp_path, HUNDRED, 2, (20, 100), tables)
    source = read(tmp_path)
    assert source.fields["label"].classes == 100
    assert source.fields["coarse_label"].names[19] == "coar19"
    rows = read_all(source)
    np.testing.assert_array_equal([r["image"] for r in rows["test"]], x[1])
    assert [(r["coarse_label"], r["label"]) for r in rows["test"]] == [(5, 6), (6, 7)]


@pytest.mark.parametrize(("heads", "classes"), [(1, (10,)), (2, (20, 100))])
def test_one_file_of_cifar(tmp_path, heads, classes):
    x = cifar(tmp_path, ("some.bin",), heads, classes)
    source = read(tmp_path / "some.bin", ReadOptions(size=(16, 16), fit="stretch", mode="grey"))
    assert source.fields["label"].classes == classes[-1]
    image = source.splits["train"][1]["image"]
    assert image.shape == (16, 16, 1)
    assert abs(float(image.mean()) - float((x[0, 1] @ [0.299, 0.587, 0.114]).mean())) < 3


def test_rejects_invalid_cifar(tmp_path):
    cifar(tmp_path, TEN, 1, (10,))
    path = tmp_path / "data_batch_2.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert "not a multiple of 3073" in read_error(tmp_path, path)
    path.write_bytes(whole[:3073] + b"\x0a" + whole[3074:])
    assert "label 10 in record 1" in read_error(tmp_path, path)
    path.write_bytes(b"")
    assert "0 bytes" in read_error(tmp_path, path)
    path.write_bytes(whole)
    meta = tmp_path / "batches.meta.txt"
    meta.write_text("a\nb\n")
    assert "2 names for 10 classes" in read_error(tmp_path, meta)
    meta.unlink()
    cifar(tmp_path, HUNDRED, 2, (20, 100))
    assert "both CIFAR-10 and CIFAR-100" in read_error(tmp_path)


@pytest.mark.parametrize("names", [("data_batch_1",), ("train", "test", "meta"), ("c.pkl",)])
def test_rejects_pickled_cifar_unread(tmp_path, names):
    for name in names:
        (tmp_path / name).write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    for options in ({}, {"format": "cifar"}):
        assert "binary version" in read_error(tmp_path, **options)
    if len(names) == 1:
        assert "binary version" in read_error(tmp_path / names[0])


def matrix(path, text):
    """Writes a text matrix, as gzip if the name ends in .gz."""
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("ending", ["amat", "amat.gz"])
def test_amat_folder(tmp_path, ending):
    for split, text in (
        ("train", "0 1 1 0\n1 0 0 1\n"),
        ("valid", "0 0 0 0\n"),
        ("test", "1 1 1 1"),
    ):
        matrix(tmp_path / f"binarized_mnist_{split}.{ending}", text)
    source = read(tmp_path, ReadOptions(shape=(2, 2, 1)))
    assert source.format == "amat"
    assert source.levels == 2
    assert list(source.splits) == ["train", "validation", "test"]
    assert source.fields["x"].shape == (2, 2, 1)
    rows = read_all(source)
    assert [r["x"].ravel().tolist() for r in rows["train"]] == [[0, 1, 1, 0], [1, 0, 0, 1]]
    assert rows["test"][0]["x"].dtype == np.uint8


@pytest.mark.parametrize(
    ("text", "dtype", "levels"),
    [
        ("0 1\n1 1\n", "uint8", 2),
        ("0.000 1.0e0\n", "uint8", 2),
        ("0 255\n3 4\n", "uint8", 256),
        ("0 256\n", "float32", 0),
        ("0 -1\n", "float32", 0),
        (" 0.5\t1 \r\n.25 3e-3\n\n \n", "float32", 0),
    ],
)
def test_numbers_of_amat(tmp_path, text, dtype, levels):
    source = read(matrix(tmp_path / "one.amat", text))
    assert (source.fields["x"].dtype, source.levels) == (dtype, levels)
    expected = [[float(w) for w in line.split()] for line in text.splitlines() if line.strip()]
    got = [r["x"] for r in read_all(source)["train"]]
    np.testing.assert_allclose(got, expected, rtol=1e-7)
    assert got[0].dtype == dtype


def test_real_numbers_in_one_split_make_all_of_them_real(tmp_path):
    matrix(tmp_path / "train.amat", "0 1\n")
    matrix(tmp_path / "test.amat", "0.5 1\n")
    source = read(tmp_path)
    assert source.levels == 0
    assert {r["x"].dtype.name for rows in read_all(source).values() for r in rows} == {"float32"}


@pytest.mark.parametrize(("label", "x"), [("last", [[7, 1], [5, 1]]), ("first", [[1, 2], [1, 0]])])
def test_labels_of_amat(tmp_path, label, x):
    path = matrix(tmp_path / "a.amat", "7 1 2\n5 1 0\n")
    source = read(path, ReadOptions(label=label))
    rows = read_all(source)["train"]
    assert [r["x"].tolist() for r in rows] == x
    assert [r["label"] for r in rows] == ([2, 0] if label == "last" else [7, 5])
    assert source.fields["label"].classes == (3 if label == "last" else 8)
    bad = matrix(tmp_path / "b.amat", "1 1\n0.5 0.5\n")
    assert "line 2 has 0.5" in read_error(bad, label=label)
    assert "set label" in read_error(matrix(tmp_path / "c.amat", "1\n2\n"), label=label)


def test_lines_beyond_one_block(tmp_path, monkeypatch):
    from genjax.data.readers import amat

    monkeypatch.setattr(amat, "_BLOCK_BYTES", 7)
    x = random_image(shape=(50, 6))
    text = "\n".join(" ".join(map(str, row)) for row in x)
    path = matrix(tmp_path / "a.amat", text)
    np.testing.assert_array_equal([r["x"] for r in read_all(read(path))["train"]], x)
    matrix(path, text + "\n1 2 3\n")
    assert "line 51 has 3 numbers and the lines above it 6" in read_error(path)
    matrix(path, text.replace("\n", "\n\n", 1))
    assert "line 2 is empty" in read_error(path)
    monkeypatch.setattr(amat, "_MAX_LINE_BYTES", 20)
    assert "line 1 has more than 20 bytes" in read_error(matrix(path, "1 " * 20))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "holds no numbers"),
        ("\n\n", "holds no numbers"),
        ("1 2\n3\n", "line 2 has 1 numbers and the lines above it 2"),
        ("1 2\n3 nan\n", "line 2 holds nan"),
        ("1 2\n-inf 3\n", "line 2 holds -inf"),
        ("1 2\n3 1e39\n", "line 2 holds 1e39, too large"),
        ("1 2\n3 1e999\n", "line 2 holds 1e999, too large"),
        ("1 word\n", "line 1 holds word"),
        ("1 0x10\n", "line 1 holds 0x10"),
        ("1 1_0\n", "line 1 holds 1_0"),
        ("1 2,3\n", "line 1 holds 2,3"),
        ("1\x1f2\n", "line 1 holds"),
        ("\x1c\n", "line 1 holds"),
        ("# 1 2\n1 2\n", "line 1 holds #"),
        ("1 2\n\n3 4\n", "line 2 is empty"),
        ("1 é\n", "line 1 holds"),
        ("1 \0\n", "line 1 holds \\x00"),
    ],
)
@pytest.mark.parametrize("ending", ["amat", "amat.gz"])
def test_rejects_invalid_amat(tmp_path, text, why, ending):
    assert why in read_error(matrix(tmp_path / f"a.{ending}", text))


def test_rejects_inconsistent_amat_folders(tmp_path):
    train = matrix(tmp_path / "m_train.amat", "1 2\n")
    test = matrix(tmp_path / "m_test.amat", "1 2 3\n")
    assert "make them agree" in read_error(tmp_path, train, test)
    assert "do not fit the shape 3 3" in read_error(train, shape=(3, 3))
    matrix(tmp_path / "n_test.amat", "1 2\n")
    assert "m_test.amat and n_test.amat" in read_error(tmp_path)
    (tmp_path / "n_test.amat").unlink()
    matrix(tmp_path / "extra.amat", "1 2\n")
    assert "whose splits are ambiguous" in read_error(tmp_path)
    (tmp_path / "none").mkdir()
    assert "no .amat file" in read_error(tmp_path / "none", format="amat")
    cut = tmp_path / "cut.amat.gz"
    cut.write_bytes(gzip.compress(b"1 2\n" * 99)[:-9])
    assert "truncated" in read_error(cut)
