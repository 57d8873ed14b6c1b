"""All kinds of photos that people have, and all kinds of broken ones."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image as Pillow

from detect.decode import Failure, decode_bytes, decode_file, why_unreadable

RNG = np.random.default_rng(0)
SMOOTH = np.asarray(
    Pillow.fromarray(RNG.integers(0, 255, (6, 4, 3), dtype=np.uint8)).resize((48, 64), Pillow.Resampling.BICUBIC)
)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decode(content, tmp_path):
    path = tmp_path / "photo"
    path.write_bytes(content)
    return decode_file(path)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "CMYK", "YCbCr", "RGB"])
def test_every_colour_mode_becomes_rgb(mode, tmp_path):
    photo = Pillow.fromarray(SMOOTH).convert(mode)
    kind = "JPEG" if mode in {"CMYK", "YCbCr"} else "PNG"
    image = decode(encoded(photo, kind), tmp_path)
    assert image.shape == (64, 48, 3)
    assert image.dtype == np.uint8
    expected = np.asarray(photo.convert("RGB"), dtype=float)
    assert np.abs(image - expected).mean() < 12


def test_a_16_bit_photo_keeps_its_tones(tmp_path):
    grey = np.linspace(0, 65535, 64 * 48).reshape(64, 48).astype(np.uint16)
    image = decode(encoded(Pillow.fromarray(grey)), tmp_path)
    assert np.abs(image[..., 0] - grey / 257).max() <= 1
    assert (image[..., 0] == image[..., 2]).all()


def test_transparent_pixels_are_white(tmp_path):
    clear = np.zeros((8, 8, 4), np.uint8)
    clear[:4] = (10, 20, 30, 255)
    image = decode(encoded(Pillow.fromarray(clear, "RGBA")), tmp_path)
    assert (image[:4] == (10, 20, 30)).all()
    assert (image[4:] == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_upright_by_its_exif_orientation(orientation, tmp_path):
    turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transposes that undo the upright turn
    undo = {6: Pillow.Transpose.ROTATE_90, 8: Pillow.Transpose.ROTATE_270}
    method = undo.get(orientation) or (Pillow.Transpose(turn[orientation]) if orientation > 1 else None)
    stored = Pillow.fromarray(SMOOTH) if method is None else Pillow.fromarray(SMOOTH).transpose(method)
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    image = decode(encoded(stored, "JPEG", quality=100, subsampling=0, exif=exif), tmp_path)
    assert image.shape == (64, 48, 3)
    assert np.abs(image.astype(int) - SMOOTH).mean() < 3


def test_broken_exif_does_not_break_the_photo(tmp_path):
    content = encoded(Pillow.fromarray(SMOOTH), "JPEG", exif=b"Exif\x00\x00garbage")
    assert decode(content, tmp_path).shape == (64, 48, 3)


def png_of_size(width, height):
    """The first bytes of a PNG that claims to be that large; kilobytes on disk, gigabytes when decoded."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


JPEG = encoded(Pillow.fromarray(SMOOTH), "JPEG")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty_file"),
        (b"<html>not found</html>", "not_an_image"),
        (b"just some text\n" * 50, "not_an_image"),
        (JPEG[: len(JPEG) // 2], "truncated"),
        (JPEG[: len(JPEG) // 10], "truncated"),
        (png_of_size(30_000, 30_000), "too_large"),
        (png_of_size(11_000, 10_000), "too_large"),
        (png_of_size(40, 30), "unreadable"),
    ],
)
def test_a_file_that_is_no_whole_photo_is_a_failure_with_its_reason(content, reason, tmp_path):
    failure = decode(content, tmp_path)
    assert isinstance(failure, Failure)
    # Pillow calls the same damage truncated or broken, as the cut falls.
    assert failure.reason == reason or {failure.reason, reason} <= {"truncated", "unreadable"}
    assert why_unreadable(tmp_path / "photo") == failure.message


def test_a_missing_file_is_a_failure(tmp_path):
    assert decode_file(tmp_path / "nowhere.jpg").reason == "missing"


def test_a_photo_with_the_wrong_ending_is_read_by_its_content(tmp_path):
    (tmp_path / "really.jpg").write_bytes(encoded(Pillow.fromarray(SMOOTH), "PNG"))
    assert (decode_file(tmp_path / "really.jpg") == SMOOTH).all()


def test_every_cut_of_a_photo_is_a_value_and_never_an_exception():
    for kind in ("JPEG", "PNG", "WEBP", "BMP"):
        content = encoded(Pillow.fromarray(SMOOTH), kind)
        for end in range(0, len(content), max(len(content) // 40, 1)):
            cut_off = decode_bytes(content[:end], "photo")
            assert isinstance(cut_off, Failure) or cut_off.shape == (64, 48, 3)
