"""Helpers for tests of readers: small images, and error messages."""

import contextlib
import io
import signal

import numpy as np
import pytest
from PIL import Image

from genjax.data import shards
from genjax.data.readers import ReadOptions, read


@contextlib.contextmanager
def time_limit(seconds):
    """Raises an error in a block that has not ended in time, also while it waits for a file."""

    def fail(*_):
        raise AssertionError(f"not ended in {seconds} seconds")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def assert_error_message(message, *names):
    """Checks that a message is one line with a full stop and the names; returns it."""
    assert message.isprintable(), message
    assert message.endswith("."), message
    for name in names:
        assert str(name) in message, message
    return message


def read_error(path, *names, **reading):
    """Returns the error message of reading every example, which has `names` or the path."""
    with pytest.raises(ValueError, match=r".") as error:
        read_all(read(path, ReadOptions(**reading)))
    assert type(error.value) is ValueError
    return assert_error_message(str(error.value), *(names or (path,)))


def read_all(source):
    """Returns every example of every split, as lists of dicts."""
    return {name: [split[i] for i in range(len(split))] for name, split in source.splits.items()}


def random_image(seed=0, shape=(5, 4, 3)):
    """Returns random uint8 pixels."""
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def encode_image(x, kind="PNG", **options):
    """Encodes uint8 `[H, W, C]` as an image file."""
    file = io.BytesIO()
    Image.fromarray(x[..., 0] if x.shape[2] == 1 else x).save(file, kind, **options)
    return file.getvalue()


def write_image(path, x=None):
    """Writes a PNG by any name; returns the pixels."""
    x = random_image() if x is None else x
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_image(x))
    return x


@contextlib.contextmanager
def interrupted_after(count):
    """Raises KeyboardInterrupt in the block once `count` shards of a folder have been written.

    Yields them; the interrupt ends the block.
    """
    original, written = shards.Shard.write, []

    def counting(shard):
        if len(written) == count:
            raise KeyboardInterrupt
        original(shard)
        written.append(shard)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(shards.Shard, "write", counting)
        with pytest.raises(KeyboardInterrupt):
            yield written
