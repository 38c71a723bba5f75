import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datafree_nas.data import pixels
from datafree_nas.runtime.errors import UserError

ROOT = Path(__file__).parents[2]
SIZE = (4, 6, 3)
GREY = (4, 6, 1)
STEPS = np.arange(24, dtype=np.uint8).reshape(4, 6) * 11  # 0 to 253, all of them different


def _read(tmp_path, image, name="a.png", size=GREY, **options):
    image.save(tmp_path / name, **options)
    return pixels.read(str(tmp_path / name), size)


def _deep(array):
    return Image.fromarray(array)


@pytest.mark.parametrize(
    ("array", "name"),
    [
        (STEPS.astype(np.uint16) * 257, "a.png"),
        (STEPS.astype(np.uint16) * 257, "a.tif"),
        ((STEPS.astype(np.uint16) * 257).astype(">u2"), "a.tif"),
        (STEPS.astype(np.uint16) * 257, "a.pgm"),
        (STEPS.astype(np.uint16) // 11, "dark.pgm"),
        (STEPS.astype(np.int32) * 257, "a.tif"),
        (STEPS.astype(np.int32), "a.tif"),
        (STEPS.astype(np.float32), "a.tif"),
        (STEPS.astype(np.float32) / 255, "a.tif"),
    ],
)
def test_more_than_8_bits_are_scaled(array, name, tmp_path):
    expected = STEPS if name != "dark.pgm" else np.zeros((4, 6))  # 23 of 65535 is black
    np.testing.assert_array_equal(_read(tmp_path, _deep(array), name)[..., 0], expected)


@pytest.mark.parametrize("value", [-1, 256, np.nan])
def test_floats_out_of_range_are_refused(value, tmp_path):
    array = np.full((4, 6), 7, np.float32)
    array[0, 0] = value
    with pytest.raises(UserError, match=r"a\.tif is no readable image \(its pixels go from"):
        _read(tmp_path, _deep(array), "a.tif")


def test_exif_orientation_is_applied(tmp_path):
    """A camera held upright stores the picture on its side, with a tag."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    sideways = Image.fromarray(np.rot90(STEPS, 1))
    assert sideways.size == (4, 6)
    np.testing.assert_array_equal(_read(tmp_path, sideways, exif=exif)[..., 0], STEPS)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA", "1"])
def test_modes(mode, tmp_path):
    black_and_white = np.where(STEPS > 100, 255, 0).astype(np.uint8)
    image = Image.fromarray(black_and_white).convert(mode)
    found = _read(tmp_path, image, size=SIZE)
    np.testing.assert_array_equal(found, np.repeat(black_and_white[..., None], 3, -1))
    np.testing.assert_array_equal(_read(tmp_path, image)[..., 0], black_and_white)


def test_arrays_of_16_bits_are_scaled_too():
    deep = STEPS.astype(np.uint16)[..., None] * 257
    np.testing.assert_array_equal(pixels.fitted_array(deep, GREY)[..., 0], STEPS)


def test_cmyk(tmp_path):
    colour = Image.new("RGB", (6, 4), (200, 40, 90))
    found = _read(tmp_path, colour.convert("CMYK"), "a.jpg", SIZE, quality=100)
    assert np.abs(found.astype(int) - [200, 40, 90]).max() <= 3


def test_only_the_middle_is_seen_of_another_size(tmp_path):
    colour = Image.new("RGB", (5, 9), (10, 20, 30))
    found = _read(tmp_path, colour, size=SIZE)
    assert found.shape == SIZE
    assert (found == [10, 20, 30]).all()
    assert (_read(tmp_path, colour, size=(2, 2, 1)) == 18).all()  # luma


def test_remarks(tmp_path):
    def remarks(image, name="a.png", **options):
        image.save(tmp_path / name, **options)
        return " ".join(pixels.remarks(str(tmp_path / name)))

    exif = Image.Exif()
    exif[0x0112] = 3
    assert remarks(Image.fromarray(STEPS)) == ""
    assert "EXIF orientation" in remarks(Image.fromarray(STEPS), exif=exif)
    twelve_bits = np.full((4, 6), 4095, np.uint16)
    assert "brightest pixel is 4095: 65535 is taken for white" in remarks(
        Image.fromarray(twelve_bits)
    )


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n torn", b"GIF89a", b"BM"])
def test_files_that_are_no_images(content, tmp_path):
    (tmp_path / "a.png").write_bytes(content)
    for look in (lambda file: pixels.read(file, SIZE), pixels.remarks):
        with pytest.raises(UserError, match=r"a\.png is no readable image"):
            look(str(tmp_path / "a.png"))


@pytest.mark.parametrize(
    ("array", "factor"),
    [
        (STEPS, 1),
        (STEPS.astype(np.int64), 1),
        (STEPS.astype(np.uint16), 1),
        (STEPS.astype(np.float32), 1),
        (STEPS.astype(np.float16), 1),
        (STEPS / 255, 1),
        (STEPS.astype(np.float32) / np.float32(255), 1),
        (STEPS > 100, 0),
        (np.where(STEPS > 100, 1.0, 0.0), 0),
        (np.zeros((4, 6), np.uint8), None),
    ],
)
def test_arrays_that_are_pixels(array, factor):
    found = pixels.to_bytes(array, "a")
    assert found.dtype == np.uint8
    expected = {1: STEPS, 0: np.where(STEPS > 100, 255, 0), None: np.zeros((4, 6))}[factor]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (STEPS / 127.5 - 1, "a has float64 pixels from -1 to 0.98"),
        (STEPS + 0.5, r"pixels from 0\.5 to 253\.5"),
        (STEPS.astype(int) - 1, "int64 pixels from -1 to 252"),
        (STEPS.astype(np.uint16) * 257, "uint16 pixels from 0 to 65021"),
        (np.array([0.5, np.nan]), "pixels from nan to nan"),
        (np.array([0, 1, 1], np.uint8), "pixels of 0 and 1; multiply them by 255"),
        (np.zeros((0, 4)), r"a is float64 \(0, 4\); pixels must be numbers"),
        (np.array(["a"]), "a is <U1"),
        (np.array([1j]), "a is complex128"),
    ],
)
def test_arrays_that_are_no_pixels(array, message):
    with pytest.raises(UserError, match=message):
        pixels.to_bytes(array, "a")


def _claims(width, height):
    """A PNG of a hundred bytes."""

    def chunk(kind, content):
        sum_ = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + sum_

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((20_000, 10_000), "has more than 178 megapixels; resize or remove it"),
        ((1 << 30, 1 << 30), "has more than 178 megapixels; resize or remove it"),
        ((30, 30), r"is no readable image \(image file is truncated"),
    ],
)
def test_images_that_claim_to_be_large(size, message, tmp_path):
    (tmp_path / "a.png").write_bytes(_claims(*size))
    for look in (lambda file: pixels.read(file, GREY), pixels.remarks):
        if look is not pixels.remarks or "mega" in message:
            with pytest.raises(UserError, match=rf"a\.png {message}"):
                look(str(tmp_path / "a.png"))


def test_a_large_image_is_read_without_a_word(tmp_path):
    """Pillow warns of a bomb from 89 megapixels on; photographs of that size there are."""
    Image.new("1", (10_000, 10_000)).save(tmp_path / "a.png")
    code = (
        "import sys; from datafree_nas.data import pixels; "
        "print(pixels.read(sys.argv[1], (2, 2, 1)).sum(), *pixels.remarks(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, tmp_path / "a.png"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("0\n", "")
