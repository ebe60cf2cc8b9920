"""Decoding of image files to uint8 arrays, with sizes checked before memory is allocated."""

import contextlib
import dataclasses
import io
import threading
import warnings
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from genjax.data.file_io import error_reason, safe

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
SUFFIXES = tuple(
    ".png .jpg .jpeg .jfif .gif .bmp .webp .tif .tiff .ppm .pgm .pbm .pnm".split()  # noqa: SIM905
)
Mode = Literal["rgb", "grey"]


@dataclasses.dataclass(frozen=True)
class Header:
    """The header of an image file.

    Attributes:
      height, width: size after EXIF orientation.
      grey: whether mode and palette allow only grey pixels.
    """

    height: int
    width: int
    grey: bool


@dataclasses.dataclass(frozen=True)
class Picture:
    """A decoded image with what belongs to its file.

    Attributes:
      pixels: uint8 `[H, W, 1 or 3]`.
      alpha: opacity, uint8 `[H, W]`; None if all pixels are opaque by the header.
      profile: ICC colour profile of RGB pixels, or None.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    profile: bytes | None = None


def has_image_suffix(name: str) -> bool:
    """Returns whether a file name has the suffix of an image."""
    return name.lower().endswith(SUFFIXES)


def read_header(file: Any, where: str, max_pixels: int = 2**26) -> Header:
    """Reads the header of an open binary file, or of bytes.

    Raises:
      ValueError: as `decode`, for errors in the header.
    """
    file = io.BytesIO(file) if isinstance(file, bytes) else file
    with _open_image(file, where, max_pixels) as image:
        turned = _orientation(image) >= 5
        height, width = image.size if turned else image.size[::-1]
        return Header(height, width, _is_grey(image))


def decode(
    data: bytes,
    where: str,
    *,
    mode: Mode | None = None,
    background: int = 255,
    max_pixels: int = 2**26,
) -> np.ndarray:
    """Decodes one image, or the first frame of an animation, to uint8 `[H, W, 3]`, or 1 if grey.

    Transparent pixels are blended with `background`; 16-bit greys are rounded to 8 bits; EXIF
    orientation is applied, colour profiles are not.

    Args:
      data: contents of the file.
      where: name of the file, for errors.
      mode: rgb or grey; None is grey if the header allows only grey pixels.
      background: grey level, 0 to 255.
      max_pixels: larger images are rejected before decoding.

    Raises:
      ValueError: the data is empty, of unknown format, truncated, damaged, too large, or holds
        32-bit numbers; the message names `where`.
    """
    found = decode_picture(data, where, mode=mode, background=background, max_pixels=max_pixels)
    return found.pixels


def decode_picture(
    data: bytes,
    where: str,
    *,
    mode: Mode | None = None,
    background: int | None = 255,
    max_pixels: int = 2**26,
) -> Picture:
    """Decodes one image as `decode`, with its opacity and its colour profile.

    `background` None leaves transparent pixels as they are in the file.
    """
    with _open_image(io.BytesIO(data), where, max_pixels) as image:
        grey = _is_grey(image) if mode is None else mode == "grey"
        # Loading TIFF applies the orientation and resets it in the header.
        image.load()
        orientation = _orientation(image)
        pixels = _apply_orientation(_pixels(image, grey, background, where), orientation)
        alpha = _opacity(image)
        if alpha is not None:
            alpha = np.ascontiguousarray(_apply_orientation(alpha, orientation))
        rgb = image.mode in ("RGB", "RGBA") and not grey
        profile = image.info.get("icc_profile") if rgb else None
        return Picture(np.ascontiguousarray(pixels), alpha, profile)


def decode_stored(data: bytes, where: str, channels: int, max_pixels: int = 2**26) -> np.ndarray:
    """Decodes an image as TFDS does: uint8 `[H, W, channels]`, 1, 3 or 4, without orientation.

    Raises:
      ValueError: as `decode`.
    """
    with _open_image(io.BytesIO(data), where, max_pixels) as image:
        mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
        if image.mode != mode:
            if image.mode.startswith("I") or image.mode == "F":
                raise _DecodeError(
                    f"{safe(where)} has more than 8 bits per channel; prepare it again."
                )
            image = image.convert(mode)
        x = np.asarray(image)
        return x[..., None] if channels == 1 else x


def resize(
    image: np.ndarray,
    size: tuple[int, int],
    fit: Literal["exact", "crop", "pad", "stretch"] = "exact",
    background: int = 255,
    where: str = "the image",
) -> np.ndarray:
    """Resizes uint8 `[H, W, C]`, C 1 or 3, to height and width `size`, antialiased (Lanczos).

    exact: reject other sizes; crop: scale to cover the size and cut the middle; pad: scale to fit
    inside, in the middle of `background`; stretch: scale each side separately.

    Raises:
      ValueError: the size differs and `fit` is exact.
    """
    h, w = size
    height, width = image.shape[:2]
    if (height, width) == (h, w):
        return image
    if fit == "exact":
        raise ValueError(
            f"{safe(where)} is {height} x {width} and size is {h} x {w} (height x width);"
            f" set fit to crop, pad or stretch, or resize it."
        )
    if fit == "stretch":
        return _resample(image, (h, w), (0, 0, width, height))
    if fit == "crop":
        scale = max(h / height, w / width)
        top, bottom = _center_span(height, h / scale)
        left, right = _center_span(width, w / scale)
        return _resample(image, (h, w), (left, top, right, bottom))
    scale = min(h / height, w / width)
    inner = (min(h, max(1, round(height * scale))), min(w, max(1, round(width * scale))))
    padded = np.full((h, w, image.shape[2]), background, np.uint8)
    top, left = (h - inner[0]) // 2, (w - inner[1]) // 2
    scaled = _resample(image, inner, (0, 0, width, height))
    padded[top : top + inner[0], left : left + inner[1]] = scaled
    return padded


def convert_channels(image: np.ndarray, mode: Mode) -> np.ndarray:
    """Converts uint8 `[H, W, 1 or 3]` to the channels of `mode`; grey is luma (ITU-R 601-2)."""
    from PIL import Image

    if image.shape[2] == (1 if mode == "grey" else 3):
        return image
    if mode == "rgb":
        return np.repeat(image, 3, axis=2)
    return np.asarray(Image.fromarray(image).convert("L"))[..., None]


def _center_span(length: int, part: float) -> tuple[float, float]:
    """Returns start and end of the middle part of a side; whole pixels if not scaled."""
    part = min(part, length)
    start = (length - part) / 2
    if part == round(part):
        start = float(int(start))
    return max(0.0, start), min(float(length), start + part)


def _resample(
    image: np.ndarray, size: tuple[int, int], box: tuple[float, float, float, float]
) -> np.ndarray:
    from PIL import Image

    plain = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    scaled = np.asarray(plain.resize(size[::-1], Image.Resampling.LANCZOS, box=box))
    return scaled[..., None] if image.shape[2] == 1 else scaled


_LOCK = threading.Lock()
_DEPTH = 0
_FILTERS: Any = None


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Suppresses Pillow's warnings in all threads that are inside.

    `warnings.catch_warnings` is not thread-safe, so the first thread to enter changes the filters,
    and the last to leave restores them.
    """
    global _DEPTH, _FILTERS
    with _LOCK:
        _DEPTH += 1
        if _DEPTH == 1:
            _FILTERS = warnings.catch_warnings()
            _FILTERS.__enter__()
            warnings.simplefilter("ignore")
    try:
        yield
    finally:
        with _LOCK:
            _DEPTH -= 1
            if not _DEPTH:
                _FILTERS.__exit__(None, None, None)


class _DecodeError(ValueError):
    """An error whose message is complete."""


@contextlib.contextmanager
def _open_image(file: Any, where: str, max_pixels: int) -> Iterator[Any]:
    """Opens an image, checks its size, and converts Pillow's errors to `ValueError`."""
    from PIL import Image, UnidentifiedImageError

    try:
        with _without_warnings():
            _check_head(file.read(32), where, max_pixels)
            file.seek(0)
            with Image.open(file, formats=FORMATS) as image:
                _check_pixels(*image.size, where, max_pixels)
                yield image
    except _DecodeError as error:
        raise ValueError(str(error)) from None
    except UnidentifiedImageError:
        raise ValueError(
            f"{safe(where)} is not an image in a known format ({', '.join(FORMATS)}), or is"
            f" damaged; remove it."
        ) from None
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{safe(where)} has too many pixels ({error_reason(error)}); scale it down."
        ) from None
    except Exception as error:  # Pillow raises many types on damaged files
        raise ValueError(
            f"{safe(where)} is truncated or damaged ({error_reason(error)}); replace or remove it."
        ) from None


def _check_head(head: bytes, where: str, max_pixels: int) -> None:
    if not head:
        raise _DecodeError(f"{safe(where)} is empty; replace or remove it.")
    webp = _webp_size(head)
    if webp:
        # Opening it allocates the whole image, twice.
        _check_pixels(*webp, where, max_pixels // 2, " halved, as WebP needs twice the memory")


def _check_pixels(width: int, height: int, where: str, max_pixels: int, why: str = "") -> None:
    if width * height > max_pixels:
        raise _DecodeError(
            f"{safe(where)} is {height} x {width} by its header, more than {max_pixels} pixels"
            f" (max_pixels{why}); scale it down, or raise max_pixels."
        )
    if width < 1 or height < 1:
        raise _DecodeError(f"{safe(where)} is {height} x {width} by its header; remove it.")


def _webp_size(head: bytes) -> tuple[int, int] | None:
    """Returns width and height in the first 30 bytes of a WebP file."""
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP" or len(head) < 30:
        return None
    if head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = head[26:28], head[28:30]
    return int.from_bytes(width, "little") & 0x3FFF, int.from_bytes(height, "little") & 0x3FFF


def _orientation(image: Any) -> int:
    """Returns the EXIF orientation, 1 to 8; 1 if the EXIF block is damaged."""
    if image.format == "TIFF":
        return 1
    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # as in `_open_image`
        return 1
    valid = isinstance(orientation, int) and 1 <= orientation <= 8
    return orientation if valid else 1


def _apply_orientation(x: np.ndarray, orientation: int) -> np.ndarray:
    if orientation in (5, 7):
        return np.rot90(x, 2 if orientation == 7 else 0).swapaxes(0, 1)
    if orientation in (2, 4):
        return x[:, ::-1] if orientation == 2 else x[::-1]
    return np.rot90(x, {1: 0, 3: 2, 6: -1, 8: 1}[orientation])


def _wide(image: Any) -> bool:
    """Returns whether pixels have 16 bits; Pillow reads such PPM as 32-bit integers."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")


def _is_grey(image: Any) -> bool:
    if image.mode in ("1", "L", "LA", "La") or _wide(image):
        return True
    palette = image.palette if image.mode == "P" else None
    if palette is None:
        return False
    order = palette.rawmode or palette.mode
    if order not in ("RGB", "BGR", "BGRX", "RGBX", "RGBA", "BGRA"):
        return False
    data = np.frombuffer(bytes(palette.palette), np.uint8)
    colours = data[: len(data) // len(order) * len(order)].reshape(-1, len(order))[:, :3]
    return bool((colours == colours[:, :1]).all())


def _opacity(image: Any) -> np.ndarray | None:
    """Returns uint8 `[H, W]`, None if all pixels are opaque by the header."""
    if _wide(image):
        clear = image.info.get("transparency")
        if not isinstance(clear, int):
            return None
        return np.where(np.asarray(image) == clear, 0, 255).astype(np.uint8)
    if not image.has_transparency_data:
        return None
    return np.asarray(image.convert("RGBA").getchannel("A"))


def _pixels(image: Any, grey: bool, background: int | None, where: str) -> np.ndarray:
    """Returns uint8 `[H, W, 1]` if grey, else `[H, W, 3]`."""
    from PIL import Image

    if _wide(image):
        wide = np.asarray(image).astype(np.uint32)
        x = ((wide * 255 + 32767) // 65535).astype(np.uint8)
        clear = image.info.get("transparency")
        if isinstance(clear, int) and background is not None:
            x[wide == clear] = background
        return x[..., None] if grey else np.repeat(x[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise _DecodeError(
            f"{safe(where)} holds 32-bit numbers of unknown range; save it with 8 or 16 bits per"
            f" channel."
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if background is not None:
            behind = Image.new("RGBA", image.size, (background,) * 3 + (255,))
            image = Image.alpha_composite(behind, image)
    if not grey:
        return np.asarray(image.convert("RGB"))
    if image.mode not in ("1", "L"):
        image = image.convert("RGB")
    return np.asarray(image.convert("L"))[..., None]
