"""Image decoding: every mode against pixels computed by hand, and error messages."""

import io
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.reading import assert_error_message, encode_image, random_image

from genjax.data import image_decoding
from genjax.data.image_decoding import decode, decode_picture, read_header, resize


def png(rows, depth, colour, width, *chunks, size=None):
    """Returns a PNG of packed rows (bytes each), written without Pillow."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    width, height = size or (width, len(rows))
    out = b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    )
    for kind, body in chunks:
        out += chunk(kind, body)
    return (
        out + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + r for r in rows))) + chunk(b"IEND", b"")
    )


def load_error(data, **options):
    with pytest.raises(ValueError, match=r".") as error:
        decode(data, "here/a.png", **options)
    assert type(error.value) is ValueError
    return assert_error_message(str(error.value), "here/a.png")


def test_grey_and_colour():
    grey = decode(png([b"\x00\x7f\xff", b"\x01\x02\x03"], 8, 0, 3), "a")
    np.testing.assert_array_equal(grey[..., 0], [[0, 127, 255], [1, 2, 3]])
    assert grey.dtype == np.uint8
    colour = decode(png([bytes(range(6)), bytes(range(250, 256))], 8, 2, 2), "a")
    np.testing.assert_array_equal(
        colour, [[[0, 1, 2], [3, 4, 5]], [[250, 251, 252], [253, 254, 255]]]
    )


def test_requested_modes():
    grey, colour = png([b"\x05\x09"], 8, 0, 2), png([bytes([255, 0, 0, 0, 255, 0])], 8, 2, 2)
    np.testing.assert_array_equal(decode(grey, "a", mode="rgb"), [[[5] * 3, [9] * 3]])
    # Luma of full red and green: 0.299 and 0.587.
    np.testing.assert_array_equal(decode(colour, "a", mode="grey"), [[[76], [150]]])


def test_one_bit_per_pixel():
    x = decode(png([b"\xa0"], 1, 0, 3), "a")
    np.testing.assert_array_equal(x[..., 0], [[255, 0, 255]])


def test_palette_with_transparency():
    # Indices 0, 1, 2: red, half transparent blue, fully transparent green.
    data = png(
        [b"\0\1\2"],
        8,
        3,
        3,
        (b"PLTE", bytes([255, 0, 0, 0, 0, 255, 0, 255, 0])),
        (b"tRNS", b"\xff\x80\x00"),
    )
    white = decode(data, "a").astype(int)
    np.testing.assert_allclose(white, [[[255, 0, 0], [127, 127, 255], [255, 255, 255]]], atol=1)
    np.testing.assert_array_equal(decode(data, "a", background=10)[0, 2], [10, 10, 10])


def test_a_palette_of_greys_is_grey():
    greys = (b"PLTE", bytes([7, 7, 7, 90, 90, 90]))
    np.testing.assert_array_equal(decode(png([b"\1\0"], 8, 3, 2, greys), "a"), [[[90], [7]]])
    colours = (b"PLTE", bytes([7, 7, 7, 90, 90, 91]))
    assert decode(png([b"\1\0"], 8, 3, 2, colours), "a").shape == (1, 2, 3)


@pytest.mark.parametrize("background", [0, 77, 255])
def test_alpha_is_blended_with_the_background(background):
    x = random_image(shape=(6, 5, 4))
    expected = x[..., :3] * (x[..., 3:] / 255) + background * (1 - x[..., 3:] / 255)
    got = decode(png([r.tobytes() for r in x], 8, 6, 5), "a", background=background)
    np.testing.assert_allclose(got.astype(float), expected, atol=1.01)
    # Grey with alpha stays grey.
    x = random_image(shape=(6, 5, 2))
    expected = x[..., :1] * (x[..., 1:] / 255) + background * (1 - x[..., 1:] / 255)
    got = decode(png([r.tobytes() for r in x], 8, 4, 5), "a", background=background)
    assert got.shape == (6, 5, 1)
    np.testing.assert_allclose(got.astype(float), expected, atol=1.01)


def test_transparent_pixels_keep_their_colours_without_a_background():
    x = random_image(shape=(6, 5, 4))
    x[0, :, 3] = 0
    found = decode_picture(png([r.tobytes() for r in x], 8, 6, 5), "a", background=None)
    np.testing.assert_array_equal(found.pixels, x[..., :3])
    np.testing.assert_array_equal(found.alpha, x[..., 3])
    x = random_image(shape=(6, 5, 2))
    found = decode_picture(png([r.tobytes() for r in x], 8, 4, 5), "a", background=None)
    np.testing.assert_array_equal(found.pixels, x[..., :1])
    np.testing.assert_array_equal(found.alpha, x[..., 1])
    wide = png([struct.pack(">HH", 257, 514)], 16, 0, 2, (b"tRNS", struct.pack(">H", 514)))
    found = decode_picture(wide, "a", background=None)
    np.testing.assert_array_equal(found.pixels[..., 0], [[1, 2]])
    np.testing.assert_array_equal(found.alpha, [[255, 0]])


def test_transparent_colour():
    grey = png([b"\x05\x09"], 8, 0, 2, (b"tRNS", struct.pack(">H", 5)))
    np.testing.assert_array_equal(decode(grey, "a", background=200)[..., 0], [[200, 9]])
    colour = png([bytes([1, 2, 3, 4, 5, 6])], 8, 2, 2, (b"tRNS", struct.pack(">HHH", 4, 5, 6)))
    np.testing.assert_array_equal(decode(colour, "a", background=0), [[[1, 2, 3], [0, 0, 0]]])
    wide = png([struct.pack(">HH", 257, 514)], 16, 0, 2, (b"tRNS", struct.pack(">H", 514)))
    np.testing.assert_array_equal(decode(wide, "a", background=0)[..., 0], [[1, 0]])


@pytest.mark.parametrize("kind", ["png", "pgm", "tif"])
def test_sixteen_bits_are_rounded_to_eight(kind):
    v = np.arange(65536, dtype=">u2").reshape(256, 256)
    if kind == "png":
        data = png([r.tobytes() for r in v], 16, 0, 256)
    elif kind == "pgm":
        data = b"P5 256 256 65535\n" + v.tobytes()
    else:
        file = io.BytesIO()
        Image.fromarray(v.astype(np.uint16)).save(file, "TIFF")
        data = file.getvalue()
    expected = np.round(v.astype(np.float64) / 257).astype(np.uint8)
    np.testing.assert_array_equal(decode(data, "a")[..., 0], expected)
    np.testing.assert_array_equal(
        decode(data, "a", mode="rgb"), np.repeat(expected[..., None], 3, 2)
    )


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_rejects_32_bit_images(kind):
    file = io.BytesIO()
    Image.fromarray(np.ones((2, 2), kind)).save(file, "TIFF")
    assert "8 or 16 bits" in load_error(file.getvalue())


def test_bitmap_rows_run_upwards():
    x = random_image(shape=(3, 2, 3))
    rows = b"".join(r[:, ::-1].tobytes() + b"\0\0" for r in x[::-1])  # BGR, padded to four bytes
    info = struct.pack("<IiiHHIIiiII", 40, 2, 3, 1, 24, 0, len(rows), 0, 0, 0, 0)
    data = b"BM" + struct.pack("<IHHI", 54 + len(rows), 0, 0, 54) + info + rows
    np.testing.assert_array_equal(decode(data, "a"), x)


def test_ppm():
    x = random_image(shape=(3, 2, 3))
    np.testing.assert_array_equal(decode(b"P6\n# note\n2 3\n255\n" + x.tobytes(), "a"), x)
    np.testing.assert_array_equal(decode(b"P1\n2 1\n0 1\n", "a")[..., 0], [[255, 0]])


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF"])
def test_colour_survives_lossy_formats(kind):
    x = np.zeros((16, 16, 3), np.uint8)
    x[:8], x[8:] = (200, 40, 90), (20, 220, 130)
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    got = decode(encode_image(x, kind, **options), "a")
    # WebP halves the resolution of colours: rows 7 and 8 are mixed.
    rows = [*range(6), *range(10, 16)]
    atol = 0 if kind == "TIFF" else 6
    np.testing.assert_allclose(got[rows].astype(int), x[rows].astype(int), atol=atol)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_subtractive(kind):
    ink = np.zeros((8, 8, 4), np.uint8)
    ink[...] = (10, 120, 200, 50)
    file = io.BytesIO()
    options = {"quality": 100} if kind == "JPEG" else {}
    Image.fromarray(ink, "CMYK").save(file, kind, **options)
    got = decode(file.getvalue(), "a")[4, 4].astype(int)
    np.testing.assert_allclose(got, [(255 - c) * 205 // 255 for c in (10, 120, 200)], atol=4)


def test_lab():
    # L* of 100, 0 and 50, without colour: white, black, and the grey of 18.4 % light.
    file = io.BytesIO()
    lab = np.array([[[255, 0, 0], [0, 0, 0], [128, 0, 0], [128, 60, 0]]], np.uint8)
    Image.frombytes("LAB", (4, 1), lab.tobytes()).save(file, "TIFF")
    got = decode(file.getvalue(), "a").astype(int)
    np.testing.assert_allclose(got[0, :3], [[255] * 3, [0] * 3, [119] * 3], atol=3)
    assert got[0, 3, 0] > got[0, 3, 1] + 60  # a* above 0 is red


def shown(x, orientation):
    """The sides of the scene that row 0 and column 0 show, from the EXIF standard."""
    h, w = x.shape[:2]
    out = np.zeros((h, w, 3) if orientation < 5 else (w, h, 3), np.uint8)
    for r in range(h):
        for c in range(w):
            at = {
                1: (r, c),
                2: (r, w - 1 - c),
                3: (h - 1 - r, w - 1 - c),
                4: (h - 1 - r, c),
                5: (c, r),
                6: (c, h - 1 - r),
                7: (w - 1 - c, h - 1 - r),
                8: (w - 1 - c, r),
            }[orientation]
            out[at] = x[r, c]
    return out


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    x = random_image(shape=(3, 5, 3))
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    data = encode_image(x, kind, exif=exif, **options)
    np.testing.assert_array_equal(decode(data, "a"), shown(x, orientation))
    header = read_header(data, "a")
    assert (header.height, header.width) == shown(x, orientation).shape[:2]


@pytest.mark.parametrize("value", [0, 9, 60000])
def test_an_orientation_that_does_not_exist_is_upright(value):
    exif = Image.Exif()
    exif[0x0112] = value
    x = random_image()
    np.testing.assert_array_equal(decode(encode_image(x, exif=exif), "a"), x)


def test_damaged_exif_is_ignored():
    x = random_image(shape=(8, 8, 3))
    data = encode_image(x, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert decode(data, "a").shape == (8, 8, 3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_an_animation(kind):
    first, second = (np.full((4, 4, 3), v, np.uint8) for v in (30, 200))
    more = [Image.fromarray(second)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode_image(first, kind, save_all=True, append_images=more, **options)
    got = decode(data, "a", mode="rgb")
    np.testing.assert_array_equal(got, first)


@pytest.mark.parametrize(
    ("x", "grey"), [(random_image(shape=(2, 3, 1)), True), (random_image(shape=(2, 3, 3)), False)]
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "PPM"])
def test_header_matches_decoded_image(kind, x, grey):
    data = encode_image(x, kind)
    assert read_header(data, "a") == image_decoding.Header(2, 3, grey)
    assert decode(data, "a").shape == (2, 3, 1 if grey else 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_rejects_truncated_images(kind):
    data = encode_image(random_image(shape=(40, 40, 3)), kind)
    for cut in (1, 2, 9, 20, 30, len(data) // 2, len(data) * 3 // 4):
        load_error(data[:cut])


def test_rejects_empty_files_and_other_formats():
    assert "is empty" in load_error(b"")
    assert "not an image" in load_error(b"<html>not found</html>")
    assert "not an image" in load_error(bytes(1000))


@pytest.mark.parametrize("kind", ["ICO", "PCX", "TGA", "EPS", "PDF", "ICNS", "SGI", "DDS"])
def test_rejects_other_formats_of_pillow(kind):
    # Some of their readers start other programs, and none was written for strangers' files.
    assert "not an image" in load_error(encode_image(random_image(shape=(16, 16, 3)), kind))


@pytest.mark.parametrize("side", [20_000, 100_000, 2**31 - 1])
def test_rejects_decompression_bombs(side):
    data = png([b"\0\0\0"], 8, 2, 1, size=(side, side))
    message = load_error(data)
    assert "pixels" in message
    with pytest.raises(ValueError, match="pixels"):
        read_header(data, "a")


@pytest.mark.parametrize("kind", ["VP8X", "VP8L", "VP8 "])
def test_rejects_webp_bombs_before_opening(kind, monkeypatch):
    monkeypatch.setattr(Image, "open", lambda *a, **k: pytest.fail("opened"))
    body = {
        "VP8X": bytes(4) + (16382).to_bytes(3, "little") * 2,
        "VP8L": b"\x2f" + (16382 | 16382 << 14).to_bytes(4, "little") + bytes(5),
        "VP8 ": b"\0\0\0\x9d\x01\x2a" + (16383).to_bytes(2, "little") * 2,
    }[kind]
    data = b"RIFF\0\0\0\0WEBP" + kind.encode() + struct.pack("<I", len(body)) + body + bytes(9)
    assert "16383 x 16383" in load_error(data)


def test_max_pixels_bounds_the_product():
    data = encode_image(random_image(shape=(5, 4, 3)))
    assert "more than 19 pixels (max_pixels)" in load_error(data, max_pixels=19)
    assert decode(data, "a", max_pixels=20).shape == (5, 4, 3)


def test_raises_no_warnings(monkeypatch):
    # Pillow warns of images above its own limit, which max_pixels may well allow.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 15)
    data = encode_image(random_image(shape=(5, 4, 3)))
    before = list(warnings.filters)
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(data))
    assert decode(data, "a").shape == (5, 4, 3)
    assert list(warnings.filters) == before


def test_threads_restore_the_warning_filters():
    data, before = encode_image(random_image(shape=(64, 64, 3))), list(warnings.filters)
    errors = []

    def some():
        try:
            for _ in range(30):
                decode(data, "a")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=some) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert list(warnings.filters) == before


def test_error_messages_escape_file_names():
    with pytest.raises(ValueError, match="empty") as error:
        decode(b"", "a\nb\x1b[31m\udcff.png")
    assert_error_message(str(error.value), "a\\nb\\x1b[31m\\udcff.png")


def test_exact_rejects_other_sizes():
    with pytest.raises(ValueError, match="set fit to") as error:
        resize(random_image(shape=(5, 4, 3)), (4, 5), where="b.png")
    assert_error_message(str(error.value), "b.png", "5 x 4", "4 x 5")


def test_crop_cuts_the_middle():
    x = random_image(shape=(4, 10, 3))
    np.testing.assert_array_equal(resize(x, (4, 4), "crop"), x[:, 3:7])
    # An odd rest goes to the right and to the bottom; pixels are not mixed.
    np.testing.assert_array_equal(resize(x[:, :9], (4, 4), "crop"), x[:, 2:6])
    x = random_image(shape=(9, 4, 1))
    np.testing.assert_array_equal(resize(x, (4, 4), "crop"), x[2:6])


def test_crop_scales_until_covered():
    # Left and right thirds are cut, whatever the scale.
    x = np.zeros((60, 180, 1), np.uint8)
    x[:, 60:120] = 200
    middle = resize(x, (20, 20), "crop")
    assert middle[:, 2:-2].min() >= 198
    assert resize(x, (120, 120), "crop")[:, 8:-8].min() >= 198


def test_pad_keeps_the_whole_image():
    x = random_image(shape=(4, 6, 3))
    got = resize(x, (8, 6), "pad", background=9)
    np.testing.assert_array_equal(got[2:6], x)
    assert (got[:2] == 9).all()
    assert (got[6:] == 9).all()


def test_downscaling_is_antialiased():
    # A chessboard becomes grey; every eighth pixel of it would be black.
    x = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[..., None]
    for fit in ("crop", "pad", "stretch"):
        small = resize(x, (8, 8), fit).astype(int)
        np.testing.assert_allclose(small, 127, atol=12)


@given(
    image=st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from((1, 3))),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    fit=st.sampled_from(("crop", "pad", "stretch")),
    value=st.integers(0, 255),
)
def test_resize_gives_the_size_and_keeps_constant_colours(image, size, fit, value):
    x = np.full(image, value, np.uint8)
    got = resize(x, size, fit, background=(value + 100) % 256)
    assert got.shape == (*size, image[2])
    assert got.dtype == np.uint8
    allowed = {value, (value + 100) % 256} if fit == "pad" else {value}
    assert set(np.unique(got)) <= allowed
    assert value in got


@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from((1, 3)), st.integers(0, 99))
def test_lossless_formats_keep_the_pixels(h, w, c, seed):
    x = random_image(seed, (h, w, c))
    for kind in ("PNG", "TIFF", "BMP", "PPM"):
        np.testing.assert_array_equal(decode(encode_image(x, kind), "a"), x)
