"""Targets of the fuzzer: valid files of every reader of data, and what reads all examples.

To add one, write a function that puts valid files into a folder and one that reads the folder
(its second argument is the path of the damaged file), and add both to TARGETS.
"""

import gzip
import itertools
import pathlib
import shutil
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import array_record.python.array_record_data_source  # noqa: F401 (before unpickling is forbidden)
import numpy as np
from PIL import Image
from tensorflow_datasets import features  # noqa: F401 (as above)

from genjax.data import image_decoding
from genjax.data.data_config import Data
from genjax.data.open_source import open_source
from genjax.data.prepare import prepare
from genjax.data.readers import ReadOptions, read
from genjax.data.shards import WriteOptions
from genjax.data.sources import load


class Target(NamedTuple):
    """name; make(folder) writes valid files; open(folder, damaged file) reads every example."""

    name: str
    make: Callable[[pathlib.Path], None]
    open: Callable[[pathlib.Path, pathlib.Path], Any]
    weight: float = 1.0
    """Share of the inputs, relative to other targets; less for slow ones."""
    folders: bool = True
    """Whether files are also renamed, removed and replaced by links."""
    writes: bool = False
    """Whether `open` writes into the folder, which is then restored after every input."""


_FRAME = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)  # [H, W, C]
_MODES = {
    "png": ("1", "L", "P", "RGB", "RGBA", "LA", "I;16"),
    "jpg": ("L", "RGB", "CMYK"),
    "gif": ("L", "P"),
    "bmp": ("1", "L", "P", "RGB", "RGBA"),
    "webp": ("RGB", "RGBA"),
    "tif": ("1", "L", "P", "RGB", "RGBA", "LA", "I;16", "CMYK", "YCbCr", "LAB", "I", "F"),
    "ppm": ("1", "L", "RGB", "I;16"),
}


def frame(mode: str, seed: int = 0) -> Image.Image:
    """Returns a small random image in a mode of Pillow."""
    noise = np.roll(_FRAME, seed, 1)
    if mode in ("I;16", "I", "F"):
        dtype = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        return Image.fromarray((noise[..., 0].astype(dtype) * 257).astype(dtype))
    if mode == "LAB":
        return Image.frombytes("LAB", (7, 9), noise.tobytes())
    image = Image.fromarray(noise)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(noise[..., 1]))
    return image.convert(mode)


def _pictures(kind: str) -> Callable[[pathlib.Path], None]:
    def make(folder: pathlib.Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        for mode in _MODES[kind]:
            options: dict[str, Any] = {"exif": exif} if kind in ("jpg", "png", "webp") else {}
            if kind == "gif":
                options = {"save_all": True, "append_images": [frame("P", 2)], "transparency": 3}
            frame(mode).save(folder / f"{mode.replace(';', '')}.{kind}", **options)
        if kind == "tif":
            for how in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg", "group4"):
                image = frame("1" if how == "group4" else "RGB")
                image.save(folder / f"{how}.tif", compression=how)
        if kind == "ppm":
            (folder / "plain.ppm").write_text("P3\n# note\n2 2\n255\n" + "1 2 3\n" * 4)
            (folder / "plain.pbm").write_text("P1\n4 2\n0 1 0 1\n1 1 0 0\n")
        if kind == "jpg":
            frame("RGB").save(folder / "progressive.jpg", progressive=True)
        if kind == "webp":
            frame("RGB").save(folder / "lossless.webp", lossless=True)
            more = [frame("RGBA", 2)]
            frame("RGBA").save(folder / "moving.webp", save_all=True, append_images=more)

    return make


def _decode(folder: pathlib.Path, damaged: pathlib.Path) -> None:
    del folder
    data, where = damaged.read_bytes(), str(damaged)
    header = image_decoding.read_header(data, where)
    image = image_decoding.decode(data, where)
    assert image.dtype == np.uint8
    assert image.shape == (header.height, header.width, 1 if header.grey else 3)
    for mode, fit in (("rgb", "crop"), ("grey", "pad")):
        if image.size < 2**20:
            again = image_decoding.decode(data, where, mode=mode, background=9)
            small = image_decoding.resize(again, (5, 6), fit, 9, where)
            assert small.shape == (5, 6, 3 if mode == "rgb" else 1)


def _folder(*names: str) -> Callable[[pathlib.Path], None]:
    def make(folder: pathlib.Path) -> None:
        for seed, name in enumerate(names):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            frame("RGB", seed).save(folder / name)

    return make


def _captions(folder: pathlib.Path) -> None:
    _folder("0.png", "1.png", "sub/2.jpg")(folder)
    rows = [
        "file_name,caption",
        '0.png,"a red, round ball"',
        "1.png,two",
        "sub/2.jpg,é",
        "0.png,a ball",
    ]
    (folder / "captions.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _split_captions(folder: pathlib.Path) -> None:
    for split in ("train", "val"):
        _folder(f"{split}/0.png", f"{split}/1.png")(folder)
        (folder / split / "metadata.csv").write_text("image,text\r\n0.png,one\r\n1.png,two\r\n")


def _attributes(folder: pathlib.Path) -> None:
    _folder(*(f"img_align_celeba/{i}.jpg" for i in range(3)))(folder)
    table = "3\nBald Smiling Young\n0.jpg -1  1 1\n1.jpg 1 -1 1\n2.jpg -1 -1 -1\n"
    (folder / "list_attr_celeba.txt").write_text(table)
    (folder / "list_eval_partition.txt").write_text("0.jpg 0\n1.jpg 1\n2.jpg 2\n")


def _attributes_csv(folder: pathlib.Path) -> None:
    _folder("0.png", "1.png")(folder)
    (folder / "list_attr.csv").write_text("image_id,Bald,Young\n0.png,0,1\n1.png,1,0\n")
    (folder / "list_eval_partition.csv").write_text("image_id,partition\n0.png,0\n1.png,2\n")


def _faces(folder: pathlib.Path) -> None:
    _folder("0.png", "1.png", "2.png")(folder)
    table = "image_id,Bald,Young\n0.png,0,1\n1.png,1,0\n2.png,1,1\n"
    (folder / "list_attr.csv").write_text(table)


def idx_bytes(x: np.ndarray) -> bytes:
    """An array as an IDX file."""
    kinds = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}
    head = struct.pack(f">BBBB{x.ndim}I", 0, 0, kinds[x.dtype.name], x.ndim, *x.shape)
    return head + x.astype(x.dtype.newbyteorder(">")).tobytes()


def _idx(packed: bool) -> Callable[[pathlib.Path], None]:
    def make(folder: pathlib.Path) -> None:
        for split, n in (("train", 4), ("t10k", 2)):
            x, y = _FRAME[:n, :, :].copy(), np.arange(n, dtype=np.uint8)
            for name, values in (("images-idx3", x), ("labels-idx1", y)):
                data, path = idx_bytes(values), folder / f"{split}-{name}-ubyte"
                if packed:
                    path, data = path.with_name(path.name + ".gz"), gzip.compress(data)
                path.write_bytes(data)

    return make


def _idx_types(folder: pathlib.Path) -> None:
    for i, kind in enumerate(("int8", "int16", "int32", "float32", "float64")):
        x = _FRAME.astype(kind).reshape((9, 21) if i % 2 else (9, 7, 3))
        (folder / f"{kind}.idx").write_bytes(idx_bytes(x))


def _cifar(labels: int, names: tuple[str, ...], tables: dict[str, int]) -> Callable:
    def make(folder: pathlib.Path) -> None:
        for name in names:
            x = np.random.default_rng(1).integers(0, 256, (2, labels + 3072), np.uint8)
            x[:, :labels] %= 10
            (folder / name).write_bytes(x.tobytes())
        for name, count in tables.items():
            (folder / name).write_text("".join(f"class{i}\n" for i in range(count)))

    return make


def _amat(folder: pathlib.Path) -> None:
    for split in ("train", "valid", "test"):
        (folder / f"m_{split}.amat").write_text("0 1 1 0 3\n1 0 0 1 2\n")


def _amat_gz(folder: pathlib.Path) -> None:
    for split in ("train", "test"):
        data = b"0.5 1.25 -3e2 1\n 7  8.0\t9 2 \n"
        (folder / f"m_{split}.amat.gz").write_bytes(gzip.compress(data))


def _npz(folder: pathlib.Path) -> None:
    x = _FRAME % 17
    np.savez_compressed(
        folder / "data.npz", train=x, test=x[:2], train_label=np.arange(9), levels=17
    )


def _load(folder: pathlib.Path, damaged: pathlib.Path) -> None:
    del damaged
    load(Data(data=str(folder / "data.npz")))


def _prepared(make: Callable[[pathlib.Path], None], bare: bool = False) -> Callable:
    """A folder of TFDS; bare as TFDS itself leaves it."""

    def made(folder: pathlib.Path) -> None:
        with tempfile.TemporaryDirectory() as work:
            source = pathlib.Path(work, "in")
            source.mkdir()
            make(source)
            writing = WriteOptions(name="tiny", shard_examples=2, test=1)
            done = prepare(str(source), work, writing, ReadOptions(size=(4, 4), fit="crop"))
            for file in done.folder.iterdir():
                ours = file.name.startswith(("genjax.", "contact_sheet"))
                if not (ours and bare) and file.suffix != ".png":
                    shutil.copyfile(file, folder / file.name)

    return made


def _resident(folder: pathlib.Path, damaged: pathlib.Path) -> None:
    del damaged
    dataset = load(Data(data=str(folder), stream="no"))
    for split in dataset.splits.values():
        _entries(split, dataset)
    _check_no_import()


def _streamed(folder: pathlib.Path, damaged: pathlib.Path) -> None:
    del damaged
    dataset = load(Data(data=str(folder), stream="yes"))
    rows = dataset.streams["train"]
    _entries(rows.read(range(len(rows))), dataset)
    assert len(dataset.checksum()) == 8
    _check_no_import()


def _entries(split: Any, dataset: Any) -> None:
    x = split["x"]
    assert x.shape[1:] == dataset.shape
    assert len({len(v) for v in split.values()}) == 1
    assert np.isfinite(x).all()
    assert not dataset.levels or (x.min() >= 0 and x.max() < dataset.levels)
    assert "attributes" not in split or split["attributes"].max() <= 1


def _opened(folder: pathlib.Path, damaged: pathlib.Path) -> None:
    del damaged
    source = open_source(str(folder), ReadOptions())
    for split in source.splits.values():
        for row in itertools.islice(_rows(split), 20):
            assert row.keys() == source.fields.keys()
            for name, field in source.fields.items():
                _check_value(row[name], field, source.levels if name == "image" else 0)
    _check_no_import()


def _check_no_import() -> None:
    assert "this" not in sys.modules  # mutate.py names it as the module of a class


def _read_everything(
    reading: ReadOptions, one: bool = False
) -> Callable[[pathlib.Path, pathlib.Path], None]:
    """Reads the first examples of every split and checks them against the fields."""

    def everything(folder: pathlib.Path, damaged: pathlib.Path) -> None:
        source = read(damaged if one else folder, reading)
        for split in source.splits.values():
            assert len(split)
            for row in itertools.islice(_rows(split), 20):
                assert row.keys() == source.fields.keys()
                for name, field in source.fields.items():
                    _check_value(row[name], field, source.levels)

    return everything


def _rows(split: Any) -> Iterator[Any]:
    return (split[i] for i in range(len(split)))


def _check_value(value: Any, field: Any, levels: int) -> None:
    if field.kind == "label":
        assert 0 <= value < field.classes
    elif field.kind == "text":
        texts = value if field.shape else [value]
        assert field.shape in ((), (len(texts),))
        assert all(isinstance(text, str) for text in texts)
    else:
        assert np.shape(value) == field.shape
        assert value.dtype == field.dtype
        assert np.isfinite(value).all()
        assert field.kind == "image" or not levels or value.max() < levels


_SMALL = ReadOptions(size=(4, 5), fit="crop")
_TEN = _cifar(
    1, ("data_batch_1.bin", "data_batch_2.bin", "test_batch.bin"), {"batches.meta.txt": 10}
)
_HUNDRED = _cifar(
    2, ("train.bin", "test.bin"), {"fine_label_names.txt": 100, "coarse_label_names.txt": 20}
)
_AB = ("trainA/0.png", "trainA/1.png", "trainB/0.jpg", "trainB/1.jpg", "testA/2.png", "testB/2.png")

_classes = _folder("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png")

TARGETS = [
    *(Target(kind, _pictures(kind), _decode, folders=False) for kind in _MODES),
    Target(
        "images",
        _folder("cat/0.png", "cat/1.jpg", "dog/0.png", "dog/1.gif"),
        _read_everything(ReadOptions()),
    ),
    Target(
        "images_split",
        _folder("train/0.png", "train/1.webp", "val/0.bmp"),
        _read_everything(_SMALL),
    ),
    Target("pairs", _folder(*_AB), _read_everything(ReadOptions())),
    Target(
        "paired", _folder(*_AB), _read_everything(ReadOptions(paired=True, size=(4, 4), fit="pad"))
    ),
    Target("captions", _captions, _read_everything(ReadOptions())),
    Target("captions_split", _split_captions, _read_everything(ReadOptions())),
    Target("attributes", _attributes, _read_everything(ReadOptions())),
    Target("attributes_csv", _attributes_csv, _read_everything(ReadOptions())),
    Target("idx", _idx(False), _read_everything(ReadOptions())),
    Target("idx_gz", _idx(True), _read_everything(ReadOptions(size=(5, 5), fit="stretch"))),
    Target("idx_types", _idx_types, _read_everything(ReadOptions(format="idx"), one=True)),
    Target("cifar10", _TEN, _read_everything(ReadOptions())),
    Target("cifar100", _HUNDRED, _read_everything(ReadOptions())),
    Target(
        "cifar_one",
        _cifar(1, ("a.bin",), {}),
        _read_everything(ReadOptions(format="cifar"), one=True),
    ),
    Target("amat", _amat, _read_everything(ReadOptions(label="last", shape=(2, 2, 1)))),
    Target("amat_gz", _amat_gz, _read_everything(ReadOptions())),
    Target("npz", _npz, _load),
    Target("tfds", _prepared(_classes), _resident),
    Target("tfds_stream", _prepared(_classes), _streamed),
    Target("tfds_bare", _prepared(_faces, bare=True), _resident),
    Target("tfds_open", _prepared(_captions, bare=True), _opened),
]
