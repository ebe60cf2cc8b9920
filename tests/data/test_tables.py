"""Images with tables of captions or attributes."""

import numpy as np
import pytest
from support.reading import random_image, read_all, read_error, write_image

from genjax.data.readers import ReadOptions, read


def captioned(folder, table, name="captions.csv"):
    """Writes three images and a table; returns the images."""
    x = {
        n: write_image(folder / n, random_image(i))
        for i, n in enumerate(("a.png", "b.png", "sub/c.png"))
    }
    (folder / name).write_bytes(table if isinstance(table, bytes) else table.encode())
    return x


@pytest.mark.parametrize("name", ["captions.csv", "metadata.csv"])
@pytest.mark.parametrize(
    "columns", ["file_name,caption", "text,Filename", "image,text", "file,text"]
)
def test_captions(tmp_path, name, columns):
    rows = [
        ("b.png", "two, with a comma"),
        ("a.png", 'message "é"'),
        ("sub/c.png", "three"),
        ("b.png", "4"),
    ]
    first = columns.lower().split(",")[0] in ("text", "caption")
    lines = [columns]
    for file, message in rows:
        quoted = '"' + message.replace('"', '""') + '"'
        lines.append(f"{quoted},{file}" if first else f"{file},{quoted}")
    x = captioned(tmp_path, "\r\n".join(lines), name)
    write_image(tmp_path / "unnamed.png")
    source = read(tmp_path)
    assert source.format == "captions"
    assert (source.fields["caption"].kind, source.fields["caption"].shape) == ("text", (2,))
    assert source.ignored == ("unnamed.png",)
    got = read_all(source)["train"]
    expected = [["two, with a comma", "4"], ['message "é"', ""], ["three", ""]]
    assert [r["caption"] for r in got] == expected
    for row, (file, _) in zip(got, rows[:3], strict=True):
        np.testing.assert_array_equal(row["image"], x[file])


def test_captions_by_split(tmp_path):
    for split in ("train", "val"):
        captioned(tmp_path / split, f"file,caption\na.png,{split} one\n")
    source = read(tmp_path)
    assert read_all(source)["validation"][0]["caption"] == "val one"
    assert list(source.splits) == ["train", "validation"]
    (tmp_path / "val" / "captions.csv").unlink()
    assert "has no captions.csv" in read_error(tmp_path, tmp_path / "val")


def test_byte_order_mark_is_ignored(tmp_path):
    captioned(tmp_path, b"\xef\xbb\xbffile,caption\na.png,x\n")
    assert read_all(read(tmp_path))["train"][0]["caption"] == "x"


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ("", "no row"),
        ("file,caption\n", "no row"),
        ("name,caption\na.png,x\n", "no column file_name"),
        ("file,title\na.png,x\n", "no column caption"),
        ("file,caption,file\na.png,x,b.png\n", "two columns file"),
        ("file,caption\na.png,x,y\n", "line 2 has 3 columns"),
        ("file,caption\na.png\n", "line 2 has 1 columns"),
        ("file,caption\na.png,x\nnone.png,y\n", "line 3 names none.png"),
        ("file,caption\n,x\n", "is not an image in"),
        ("file,caption\ncaptions.csv,x\n", "is not an image in"),
        ("file,caption\nsub,x\n", "is not an image in"),
        (f"file,caption\n{'n' * 400}.png,x\n", "is not an image in"),
        ("file,caption\n../a.png,x\n", "is outside the folder"),
        ("file,caption\nsub/../../a.png,x\n", "is outside the folder"),
        ("file,caption\n/etc/passwd,x\n", "is outside the folder"),
        ("file,caption\nC:\\a.png,x\n", "is outside the folder"),
        ('file,caption\n"a\nb.png",x\n', "names a\\nb.png"),
        (b"file,caption\na.png,\xff\n", "not UTF-8"),
        ("file,caption\na.png,x\n".encode("utf-16"), "not UTF-8"),
        ("file,caption\na.png,x\0y\n", "NUL character in line 2"),
        ('file,caption\na.png,"open\n', "is not valid CSV"),
        ('file,caption\na.png,"x"y\n', "is not valid CSV"),
        (f"file,caption\na.png,{'w' * 70000}\n", "caption of 70000 characters"),
        (f"file,caption\na.png,{'w' * 200000}\n", "is not valid CSV"),
        ("file,caption\ra.png,x\r", ""),
    ],
)
def test_rejects_invalid_captions(tmp_path, table, why):
    captioned(tmp_path, table)
    if why:
        assert why in read_error(tmp_path, tmp_path / "captions.csv")
    else:  # lines as old systems end them are good
        assert read_all(read(tmp_path))["train"][0]["caption"] == "x"


def test_rejects_missing_captions(tmp_path):
    write_image(tmp_path / "a.png")
    assert "has no captions.csv" in read_error(tmp_path, format="captions")
    # Other tables do not matter with format=images.
    (tmp_path / "metadata.csv").write_text("file_name,label\na.png,3\n")
    read_error(tmp_path, tmp_path / "metadata.csv")
    assert read(tmp_path, ReadOptions(format="images")).ignored == ("metadata.csv",)


TABLE = "3\nBald  Young\na.png -1  1\nb.png  1 -1\nc.png -1 -1\n"
PARTS = "a.png 0\nb.png 2\nc.png 1\n"


def attributed(folder, table=TABLE, parts=PARTS, sub="", name="list_attr_celeba.txt"):
    """Writes three images, the table and the partition; returns the images."""
    x = [write_image(folder / sub / f"{c}.png", random_image(i)) for i, c in enumerate("abc")]
    (folder / name).write_text(table)
    if parts:
        (folder / f"list_eval_partition{name[-4:]}").write_text(parts)
    return x


@pytest.mark.parametrize("sub", ["", "img_align_celeba"])
def test_attributes(tmp_path, sub):
    x = attributed(tmp_path, sub=sub)
    (tmp_path / "list_bbox.txt").write_text("other")
    source = read(tmp_path)
    assert source.format == "attributes"
    assert list(source.splits) == ["train", "validation", "test"]
    assert source.fields["attributes"].names == ("Bald", "Young")
    assert source.fields["attributes"].shape == (2,)
    assert source.ignored == ("list_bbox.txt",)
    expected = {"train": (0, [0, 1]), "test": (1, [1, 0]), "validation": (2, [0, 0])}
    for split, (i, values) in expected.items():
        (row,) = read_all(source)[split]
        np.testing.assert_array_equal(row["image"], x[i])
        np.testing.assert_array_equal(row["attributes"], values)
        assert row["attributes"].dtype == np.uint8


def test_attributes_without_partition_of_0_and_1(tmp_path):
    attributed(tmp_path, TABLE.replace("-1", "0"), parts="")
    (rows,) = read_all(read(tmp_path)).values()
    assert [list(r["attributes"]) for r in rows] == [[0, 1], [1, 0], [0, 0]]


@pytest.mark.parametrize("header", ["image_id,Bald,Young", "3\nBald,Young"])
def test_attributes_as_csv(tmp_path, header):
    table = header + "\na.png,-1,1\nb.png,1,-1\nc.png,-1,-1\n"
    parts = "image_id,partition\n" + PARTS.replace(" ", ",")
    attributed(tmp_path, table, parts, name="list_attr_celeba.csv")
    source = read(tmp_path)
    assert source.fields["attributes"].names == ("Bald", "Young")
    assert list(read_all(source)["test"][0]["attributes"]) == [1, 0]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("3\n", "4\n", "states 4 rows and has 3"),
        ("3\n", "", "no count"),
        ("a.png -1  1", "a.png -1", "line 3 has 2 columns"),
        ("a.png -1  1", "a.png -1 1 1", "line 3 has 4 columns"),
        ("a.png -1  1", "a.png -1 2", "line 3 has 2 for Young"),
        ("a.png -1  1", "a.png -1 nan", "line 3 has nan for Young"),
        ("a.png -1  1", "a.png 0 1", "line 3 has the value 0 and other rows have -1"),
        ("Bald  Young", "Bald Bald", "duplicate"),
        ("a.png", "z.png", "a row for z.png, which does not exist"),
        ("a.png", "b.png", "two rows for b.png"),
        (TABLE, "3\n", "no names"),
        (TABLE, "", "no names"),
        ("a.png", "../a.png", "which does not exist"),
    ],
)
def test_rejects_invalid_attributes(tmp_path, old, new, why):
    attributed(tmp_path, TABLE.replace(old, new, 1), parts="")
    assert why in read_error(tmp_path, tmp_path / "list_attr_celeba.txt")


def test_rejects_images_without_rows(tmp_path):
    attributed(tmp_path)
    write_image(tmp_path / "d.png")
    assert "has no row in list_attr_celeba.txt" in read_error(tmp_path, tmp_path / "d.png")


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ("a.png 0\nb.png 2\n", "c.png is missing in it"),
        (PARTS + "d.png 0\n", "d.png is not among the attributes"),
        (PARTS.replace("c.png 1", "c.png 3"), "line 3 must be a file and 0"),
        (PARTS.replace("c.png 1", "c.png"), "line 3 must be a file and 0"),
        (PARTS + "a.png 1\n", "line 4 names a.png again"),
    ],
)
def test_rejects_invalid_partitions(tmp_path, parts, why):
    attributed(tmp_path, parts=parts)
    assert why in read_error(tmp_path, tmp_path / "list_eval_partition.txt")


def test_folder_of_images_with_attributes(tmp_path):
    (tmp_path / "list_attr.txt").write_text(TABLE)
    assert "has no images" in read_error(tmp_path)
    for sub in ("one", "two"):
        write_image(tmp_path / sub / "a.png")
    assert "images in one, two" in read_error(tmp_path)
    (tmp_path / "list_attr_2.txt").write_text(TABLE)
    assert "list_attr.txt and list_attr_2.txt" in read_error(tmp_path).replace(
        "_2.txt and list_attr", ""
    )
    (tmp_path / "none").mkdir()
    assert "has no list_attr" in read_error(tmp_path / "none", format="attributes")
