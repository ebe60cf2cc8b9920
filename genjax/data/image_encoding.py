"""Encoding of images in the format of a file name."""

import io
from typing import Any

import numpy as np

from genjax.data.image_decoding import Picture

# Pillow's format and options by suffix. JPEG keeps the resolution of the colours.
_JPEG: tuple[str, dict[str, Any]] = ("JPEG", {"quality": 95, "subsampling": 0})
ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".jfif": _JPEG,
    ".webp": ("WEBP", {"lossless": True, "exact": True}),
    ".tif": ("TIFF", {"compression": "tiff_lzw"}),
    ".tiff": ("TIFF", {"compression": "tiff_lzw"}),
    ".bmp": ("BMP", {}),
    ".ppm": ("PPM", {}),
    ".pnm": ("PPM", {}),
}
"""Formats that hold every RGB image, by the suffix of a name in lower case."""
OPAQUE = ("JPEG", "BMP", "PPM")
"""Formats without opacity."""


def output_name(name: str) -> str:
    """Returns the name under which an image is written: the same, or with .png.

    Formats that cannot hold its colours (GIF, PGM, PBM), and unknown ones, become PNG.

    >>> output_name("photo.JPG"), output_name("film.gif"), output_name("scan")
    ('photo.JPG', 'film.png', 'scan.png')
    """
    stem, dot, suffix = name.rpartition(".")
    if f".{suffix.lower()}" in ENCODERS and stem:
        return name
    return f"{stem if dot and stem else name}.png"


def encode(picture: Picture, name: str) -> bytes:
    """Returns the contents of an image file.

    Lossless except for JPEG, of quality 95. Opacity is dropped by `OPAQUE` formats.

    Args:
      picture: pixels, opacity and profile.
      name: of the file; its suffix is one of `ENCODERS`.
    """
    from PIL import Image

    kind, options = ENCODERS["." + name.lower().rpartition(".")[2]]
    pixels = picture.pixels
    if pixels.shape[2] == 1 and (picture.alpha is not None or kind == "PPM"):
        pixels = np.repeat(pixels, 3, axis=2)
    if picture.alpha is not None and kind not in OPAQUE:
        pixels = np.concatenate([pixels, picture.alpha[..., None]], axis=2)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if picture.profile and pixels.shape[2] > 1 and kind not in ("BMP", "PPM"):
        options = {**options, "icc_profile": picture.profile}
    out = io.BytesIO()
    image.save(out, format=kind, **options)
    return out.getvalue()
