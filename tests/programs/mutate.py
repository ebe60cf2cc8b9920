"""Mutations of files and folders, with checksums repaired so that readers get past them."""

import gzip
import io
import json
import os
import pathlib
import random
import re
import struct
import tempfile
import zipfile
import zlib

_NUMBERS = (0, 1, 2, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**32 - 1)
_WORDS = (
    *("", "-1", "0", "1", "2", "256", "nan", "-inf", "1e999", "-0.0", "0x10", "1_0", "٣", "+1"),
    *("99999999999999999999", "../x.png", "/etc/passwd", "C:\\x.png", "a/../../b.png", "./0.png"),
    *("\0", '"', ",", "\n", "\r", "\r\n", "\t", "\v", "\x85", "\u2028", "é", "\ufeff", "'", "\\"),
    *("file_name", "caption", "file_name,caption", "0.png", "partition", "word", " ", "w" * 140000),
)


def mutate_file(data: bytes, other: bytes, rng: random.Random, name: str) -> bytes:
    """Applies one to four mutations to `data`, some with parts of `other` or inside an archive."""
    if name.endswith(".gz") and rng.random() < 0.7:
        return gzip.compress(_mutate_several(gzip.decompress(data), other, rng, name[:-3]), 1)
    if name.endswith(".npz") and rng.random() < 0.7:
        return _zip(data, rng)
    if name.endswith(".json") and rng.random() < 0.8:
        return _json(data, rng)
    if "array_record" in name and rng.random() < 0.7:
        return _records(data, rng)
    out = _mutate_several(data, other, rng, name)
    return _png(out) if name.endswith(".png") and rng.random() < 0.6 else out


def mutate_folder(folder: pathlib.Path, rng: random.Random) -> None:
    """Removes, renames, copies or replaces one file of a folder, or adds an unexpected one."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    file = rng.choice(files)
    kind = rng.randrange(6)
    odd = rng.choice(["a\nb.png", "é.jpg", ".hidden", "x.zip", "data_batch_1", "captions.csv", "y"])
    if kind == 0:
        file.unlink()
    elif kind == 1:
        file.rename(file.with_name(odd))
    elif kind == 2:
        (rng.choice(files).parent / rng.choice([odd, "train.bin", "2.png"])).write_bytes(
            file.read_bytes()
        )
    elif kind == 3:
        file.unlink()
        file.mkdir()
    elif kind == 4:
        file.unlink()
        file.symlink_to(rng.choice([file.name, "/dev/zero", "/", "nowhere"]))
    else:
        sub = folder / rng.choice(["train", "val", "test", "trainA", "cat", "deep/deeper"])
        sub.mkdir(parents=True, exist_ok=True)
        if rng.random() < 0.5:
            (sub / file.name).write_bytes(file.read_bytes())


def _mutate_several(data: bytes, other: bytes, rng: random.Random, name: str) -> bytes:
    words = name.endswith((".csv", ".txt", ".amat"))
    for _ in range(rng.choice((1, 1, 1, 1, 2, 4))):
        data = _text(data, rng) if words and rng.random() < 0.7 else _mutate_once(data, other, rng)
    return data


def _mutate_once(data: bytes, other: bytes, rng: random.Random) -> bytes:
    if not data:
        return rng.randbytes(rng.randrange(64))
    # Headers come first, and many mutations should hit them.
    reach = len(data) if rng.random() < 0.6 else min(len(data), 64)
    at = rng.randrange(reach)
    to = min(len(data), at + rng.choice((1, 1, 2, 4, 8, 64, 1024)))
    kind = rng.choice((0, 0, 0, 0, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 8))
    if kind == 0:
        return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    if kind == 1:
        return data[:at] + bytes([rng.choice((0, 1, 127, 128, 255))]) + data[at + 1 :]
    if kind == 2:
        return data[: rng.randrange(len(data))]
    if kind == 3:
        return data[:at] + rng.randbytes(to - at) + data[at:]
    if kind == 4:
        return data[:at] + data[to:]
    if kind == 5:
        return data[:to] + data[at:]
    if kind == 6:
        return data[:at] + other[rng.randrange(len(other) + 1) :]
    code = rng.choice(("<", ">")) + rng.choice("HI")
    number = struct.pack(code, rng.choice(_NUMBERS) & (0xFFFF if code[1] == "H" else 0xFFFFFFFF))
    return data[:at] + number + data[at + len(number) :]


def _text(data: bytes, rng: random.Random) -> bytes:
    tokens = re.split(rb"([,\s])", data)
    i, j = rng.randrange(len(tokens)), rng.randrange(len(tokens))
    kind = rng.randrange(4)
    if kind == 0:
        tokens[i] = rng.choice(_WORDS).encode(rng.choice(("utf-8", "utf-16-le", "utf-8")))
    elif kind == 1:
        tokens[i], tokens[j] = tokens[j], tokens[i]
    elif kind == 2:
        del tokens[min(i, j) : min(i, j) + rng.randrange(1, 6)]
    else:
        tokens[i:i] = tokens[j : j + rng.randrange(1, 6)]
    return b"".join(tokens)


def _png(data: bytes) -> bytes:
    """Returns the same chunks with valid checksums."""
    out, at = data[:8], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        body = data[at + 4 : at + 8 + length]
        if at + 12 + length > len(data):
            break
        out += data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return out + data[at:]


def _zip(data: bytes, rng: random.Random) -> bytes:
    """Returns an archive with a mutated member and valid checksums."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w") as new:
        names = old.namelist()
        chosen = rng.choice(names)
        for name in names:
            member = old.read(name)
            if name == chosen and rng.random() < 0.3:
                new.writestr(name, _change_header(member, rng))
                continue
            other = old.read(rng.choice(names))
            new.writestr(
                name, _mutate_several(member, other, rng, name) if name == chosen else member
            )
    return file.getvalue()


def _change_header(member: bytes, rng: random.Random) -> bytes:
    """Changes shape or dtype in the header of an array."""
    head, rest = member[:128], member[128:]
    odd = rng.choice((b"999999999", b"1" * 18, b"-5", b"0", b"5, 4294967296", b"True", b"[1]"))
    if rng.random() < 0.7:
        head = re.sub(rb"(?<=[(, ])[0-9]+", odd, head, count=rng.choice((1, 2)))
    else:
        kind = rng.choice((b"|O", b"<U99999999", b"|V9", b"<f8", b"<c8", b"<M8[s]", b"|S8", b"<i4"))
        head = re.sub(rb"[|<][a-zA-Z][0-9]+", kind, head)
    if rng.random() < 0.8:  # keep the length, so that the data stays in place
        head = head.replace(b" " * max(0, len(head) - 128) + b"\n", b"\n").replace(b"\n", b"")
        head = head.rstrip(b" ").ljust(127)[:127] + b"\n"
    return head + rest


_VALUES = (
    *("os.system", "this.Feature", "tensorflow_datasets.core.features.video_feature.Video", ".."),
    *("tensorflow_datasets.core.features.image_feature.Image", "../x", "/etc/passwd", "{SPLIT}"),
    *("tensorflow_datasets.core.features.text_feature.Text", "zlib", "float32", "object", "string"),
    *(
        "-1",
        "0",
        "1",
        "2",
        "3",
        "99999",
        "281474976710656",
        "9" * 30,
        "",
        "train",
        "é\n",
        "tfrecord",
    ),
    *("tfrecord", "{DATASET}", "${SPLIT}-{SHARD_INDEX}", "nan", "bool", "uint16", "int64", "image"),
    "label",
    *(-1, 0, 1, 2, 3, 100, 2**31, 2**63, 10**40, 1.5, 1e308, True, None, [], {}, [[]], {"a": {}}),
)


def _json(data: bytes, rng: random.Random) -> bytes:
    """Replaces, removes, moves or nests a value, a name or a branch of a tree."""
    tree = json.loads(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_json_places(tree))
        if not places:
            break
        (box, key), (other, its) = rng.choice(places), rng.choice(places)
        kind = rng.randrange(8)
        if kind == 0:
            del box[key]
        elif kind == 1:
            box[key] = json.loads(json.dumps(other[its]))
        elif kind == 2 and isinstance(box, dict):
            box[str(rng.choice(_VALUES))] = box.pop(key)
        elif kind == 3:
            for _ in range(rng.choice((1, 5, 60))):
                box[key] = [box[key]] if rng.random() < 0.5 else {"featuresDict": box[key]}
        elif kind == 4 and isinstance(box, list):
            box.extend(box[: rng.randrange(1, 4)])
        else:
            box[key] = rng.choice(_VALUES)
    return json.dumps(tree).encode()


def _json_places(tree):
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in list(items):
        yield tree, key
        if isinstance(value, (dict, list)):
            yield from _json_places(value)


def _records(data: bytes, rng: random.Random) -> bytes:
    """Mutates, removes or duplicates records; the hashes of the file stay valid."""
    from array_record.python import array_record_module as module

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "records")
        pathlib.Path(path).write_bytes(data)
        reader = module.ArrayRecordReader(path)
        records = [reader.read([i])[0] for i in range(reader.num_records())]
        reader.close()
        i, kind = rng.randrange(len(records)), rng.randrange(12)
        if kind == 0:
            del records[i]
        elif kind == 1:
            records.insert(i, records[0])
        elif kind == 2:
            records[i] = rng.randbytes(rng.randrange(200))
        elif kind == 3:
            records[i] = records[0]
        else:
            records[i] = _mutate_several(records[i], rng.choice(records), rng, "record")
        group = rng.choice((1, 1, 1, 1, 2, 100))
        writer = module.ArrayRecordWriter(path, f"group_size:{group}")
        for record in records:
            writer.write(record)
        writer.close()
        return pathlib.Path(path).read_bytes()
