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
        inside = gzip.decompress(data)
        change = _tar if name.endswith(".tar.gz") and rng.random() < 0.8 else _mutate_several
        return gzip.compress(change(inside, other, rng, name[:-3]), 1)
    if name.endswith((".npz", ".pth")) and data[:2] == b"PK" and rng.random() < 0.7:
        return _zip(data, rng)
    if name.endswith(".jsonl") and data and rng.random() < 0.8:
        lines = data.splitlines()
        lines[rng.randrange(len(lines))] = _json(rng.choice(lines), rng)
        return b"\n".join(lines) + rng.choice((b"\n", b"\n", b""))
    is_json = name.endswith(".json") or (data[:1] == b"{" and not name.endswith(".jsonl"))
    if is_json and rng.random() < 0.8:
        return _json(data, rng)
    if name.endswith(".png") and b"tEXtgenjax" in data and rng.random() < 0.6:
        return _png_text(data, rng)
    if name.endswith(".safetensors") and rng.random() < 0.7:
        length = int.from_bytes(data[:8], "little")
        head = _json(data[8 : 8 + length], rng)
        return struct.pack("<Q", len(head)) + head + data[8 + length :]
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


def _png_text(data: bytes, rng: random.Random) -> bytes:
    """Mutates the JSON in the text of a grid, or replaces it by a compressed text."""
    at = data.index(b"tEXtgenjax") - 4
    (length,) = struct.unpack(">I", data[at : at + 4])
    text = _json(data[at + 15 : at + 8 + length], rng)
    kind, body = b"tEXt", b"genjax\0" + text
    if rng.random() < 0.2:
        text = b"[" * 10**7 if rng.random() < 0.2 else text
        kind, body = b"zTXt", b"genjax\0\0" + zlib.compress(text)
    elif rng.random() < 0.2:
        kind, body = b"iTXt", b"genjax\0\0\0\0\0" + text
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return data[:at] + chunk + data[at + 12 + length :]


_LINKS = ("../x", "/etc/passwd", "run", ".", "a/b", "x" * 100)


def _tar(data: bytes, other: bytes, rng: random.Random, name: str) -> bytes:
    """Mutates members of an archive, or their headers with checksums repaired."""
    blocks = [data[i : i + 512] for i in range(0, len(data), 512)]
    heads = [i for i, block in enumerate(blocks) if block[257:262] == b"ustar"]
    for _ in range(rng.choice((1, 1, 2))):
        i, kind = rng.choice(heads), rng.randrange(7)
        block = bytearray(blocks[i].ljust(512, b"\0"))
        if kind == 0:  # another name
            block[:100] = rng.choice(_LINKS).encode()[:100].ljust(100, b"\0")
        elif kind == 1:  # a link, a device, a pipe, an extended header
            block[156:157] = rng.choice((b"1", b"2", b"3", b"6", b"5", b"x", b"g", b"L", b"S"))
            block[157:257] = rng.choice(_LINKS).encode()[:100].ljust(100, b"\0")
        elif kind == 2:  # another size
            size = rng.choice((0, 1, 511, 513, 2**20, 2**32, 2**33 - 1))
            block[124:136] = b"%011o\0" % size
        elif kind == 3:
            block[100:108] = rng.choice((b"0000000\0", b"0007777\0", b"9999999\0"))
        elif kind == 4:
            blocks[i:i] = blocks[rng.choice(heads) :][: rng.randrange(1, 4)]
            continue
        else:
            place = rng.randrange(500)
            block[place] = rng.randrange(256)
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        blocks[i] = bytes(block)
    return b"".join(blocks)


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
    *(float("nan"), float("inf"), 1e-320, 2**53, 10**400, "\ud800", "a\udcff", "w" * 5000),
    *("\0", "a/b", "nade", "float32", "bars.npz", [1, "a"], [None], {"": 0}, "[/x]", "<b>", "$x"),
)
# Put in place of a value, as text: what `json.dumps` does not write.
_TEXTS = (
    *("[" * 100_000, '{"a":' * 100_000, "1" + "0" * 400, "1" * 5000, "1e999", "-Infinity", "NaN"),
    *(
        '{"a": 1, "a": 2}',
        '"\\ud800"',
        '"\\ude00\\ud83d"',
        "[" * 70 + "]" * 70,
        "01",
        "+1",
        "1.",
        "'a'",
    ),
    *(
        '"\n"',
        '"\0"',
        "nul",
        "[1,]",
        "",
        "/*x*/1",
        "[" + "1," * 10_000 + "1]",
        "0" * 400,
        "0.0e-999",
    ),
)
_WHOLE = ("null", "[]", "3", "true", '"a"', "{}", "[{}]", "", "NaN", "[" * 100_000, "\ufeff{}")


def _json(data: bytes, rng: random.Random) -> bytes:
    """Replaces, removes, moves or nests a value, a name or a branch of a tree."""
    if rng.random() < 0.03:
        return rng.choice(_WHOLE).encode(rng.choice(("utf-8", "utf-8", "utf-16-le")))
    try:
        tree = json.loads(data)
    except ValueError:  # mutated before
        return _mutate_once(data, data, rng)
    if not isinstance(tree, (dict, list)):
        return _mutate_once(data, data, rng)
    if isinstance(tree, dict) and tree.keys() == {"body", "crc32"} and rng.random() < 0.8:
        body = _json(tree["body"].encode(), rng).decode("utf-8", "replace")
        return json.dumps({"body": body, "crc32": zlib.crc32(body.encode())}).encode()
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
    places = list(_json_places(tree))
    if places and rng.random() < 0.15:
        box, key = rng.choice(places)
        box[key] = "<place>"
        return json.dumps(tree).replace('"<place>"', rng.choice(_TEXTS), 1).encode()
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
