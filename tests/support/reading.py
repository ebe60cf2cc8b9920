"""For tests of readers: small pictures written, and the sentence that a folder is refused with."""

import io

import numpy as np
import pytest
from PIL import Image

from genjax.data.readers import ReadOptions, read


def assert_error_message(said, *names):
    """Hold a message to what every refusal promises: one line, a full stop, the file's name."""
    assert said.isprintable(), said
    assert said.endswith("."), said
    for name in names:
        assert str(name) in said, said
    return said


def read_error(path, *names, **reading):
    """The sentence that reading every example is refused with; it names `names`, or the path."""
    with pytest.raises(ValueError, match=r".") as error:
        read_all(read(path, ReadOptions(**reading)))
    assert type(error.value) is ValueError
    return assert_error_message(str(error.value), *(names or (path,)))


def read_all(source):
    """Every example of every split, as lists of dicts."""
    return {name: [split[i] for i in range(len(split))] for name, split in source.splits.items()}


def random_image(seed=0, shape=(5, 4, 3)):
    """uint8 pixels that differ from seed to seed."""
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def encode_image(x, kind="PNG", **options):
    """The bytes of a picture file of uint8 `[H, W, C]`."""
    file = io.BytesIO()
    Image.fromarray(x[..., 0] if x.shape[2] == 1 else x).save(file, kind, **options)
    return file.getvalue()


def write_image(path, x=None):
    """Write a PNG, whatever its name says; returns the pixels."""
    x = random_image() if x is None else x
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_image(x))
    return x
