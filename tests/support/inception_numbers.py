"""Random weights and images that are reproducible in any program: Philox streams keyed by name."""

import math
import zlib

import numpy as np

IMAGE_SHAPE = (2, 83, 331, 3)  # resized up in height and down in width
STAGES = [
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1", "Conv2d_3b_1x1"),
    *("Conv2d_4a_3x3", "maxpool2", "Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b"),
    *("Mixed_6c", "Mixed_6d", "Mixed_6e", "Mixed_7a", "Mixed_7b", "Mixed_7c"),
]


def uniform(name, shape):
    """Returns numbers in [0, 1), float64."""
    words = np.random.Philox(key=[7, zlib.crc32(name.encode())]).random_raw(math.prod(shape))
    return ((words >> np.uint64(11)) * 2.0**-53).reshape(shape)


def random_tensors(shapes):
    """Returns `{name: float32}` for `{name: shape}`, scaled so that activations keep their size."""
    tensors = {}
    for name, shape in shapes.items():
        u, kind = uniform(name, shape), name.rsplit(".", 1)[-1]
        if kind == "running_var" or (kind == "weight" and len(shape) == 1):
            x = 0.5 + u
        elif kind == "weight":
            x = (2 * u - 1) * math.sqrt(6 / math.prod(shape[1:]))
        else:
            x = (2 * u - 1) * 0.5
        tensors[name] = x.astype(np.float32)
    return tensors


def images():
    """Returns images in [0, 1), `[2, H, W, 3]` float32."""
    return uniform("pictures", IMAGE_SHAPE).astype(np.float32)


def summary(x):
    """Returns channel means, deviations and some entries of a stage `[B, H, W, C]`."""
    b, h, w, c = x.shape
    u = uniform(f"entries {h} {w} {c}", (4, 60))
    places = [(v * n).astype(int) for v, n in zip(u, (b, h, w, c), strict=True)]
    places[1][:10], places[1][10:20] = 0, h - 1
    places[2][5:15], places[2][15:25] = 0, w - 1
    return {
        "means": x.mean(axis=(0, 1, 2)),
        "deviations": x.std(axis=(1, 2, 3)),
        "entries": x[tuple(places)],
    }
