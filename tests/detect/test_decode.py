"""All kinds of photos that people have, and all kinds of broken ones."""

import hashlib
import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from cache.config import fingerprint
from cache.sources import part_path
from detect.config import CropConfig, DetectConfig
from detect.decode import decode_bytes, decode_file, why_unreadable
from detect.failures import Failure, is_passing
from detect.fingerprints import crop_spec

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
            cut_off = decode_bytes(content[:end], Path("photo"))
            assert isinstance(cut_off, Failure) or cut_off.shape == (64, 48, 3)


@pytest.mark.parametrize(
    ("kind", "tolerance", "options"),
    [
        ("TIFF", 0, {"save_all": True, "append_images": [Pillow.new("RGB", (48, 64), "red")]}),
        ("TIFF", 0, {"compression": "tiff_lzw"}),
        ("GIF", 20, {"save_all": True, "append_images": [Pillow.new("RGB", (48, 64), "red")]}),
        ("AVIF", 6, {"quality": 95}),
        ("MPO", 6, {"save_all": True, "append_images": [Pillow.new("RGB", (48, 64), "red")]}),
    ],
)
def test_of_every_format_the_first_page_or_frame_is_read(kind, tolerance, options, tmp_path):
    image = decode(encoded(Pillow.fromarray(SMOOTH), kind, **options), tmp_path)
    assert not isinstance(image, Failure), image.message
    assert image.shape == (64, 48, 3)
    assert np.abs(image.astype(int) - SMOOTH).mean() <= tolerance


def heic(**options):
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Pillow.fromarray(SMOOTH)).save(buffer, quality=95, **options)
    return buffer.getvalue()


def test_heic_is_read_and_turned_upright_with_the_extra(tmp_path):
    assert np.abs(decode(heic(), tmp_path).astype(int) - SMOOTH).mean() < 6
    exif = Pillow.Exif()
    exif[0x0112] = 6
    assert decode(heic(exif=exif.tobytes()), tmp_path).shape == (48, 64, 3)
    assert decode(heic()[:400], tmp_path).reason in {"truncated", "unreadable", "not_an_image"}


def test_heic_without_the_extra_is_a_passing_fault_that_names_it(tmp_path, monkeypatch):
    content = b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf" + bytes(100)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    failure = decode(content, tmp_path)
    assert failure.reason == "no_decoder"
    assert 'pip install "faceline[heic]"' in failure.message
    assert is_passing(failure.entry("ab" * 32))


@pytest.mark.parametrize("name", ["avif", "webp"])
def test_a_format_that_this_pillow_was_built_without_is_a_passing_fault(name, tmp_path, monkeypatch):
    content = encoded(Pillow.fromarray(SMOOTH), name.upper())

    def unidentified(*_, **__):
        raise Pillow.UnidentifiedImageError

    monkeypatch.setattr("detect.decode.Pillow.open", unidentified)
    assert decode(content, tmp_path).reason == "not_an_image"
    monkeypatch.setattr("detect.decode.features.check", lambda feature: feature != name)
    assert decode(content, tmp_path).reason == "no_decoder"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "no_memory"),
        (OSError("out of memory error when reading image file"), "no_memory"),
        (OSError("decoder libtiff not available"), "no_decoder"),
        (OSError("image file is truncated (3 bytes not processed)"), "truncated"),
        (SyntaxError("broken PNG file"), "unreadable"),
    ],
)
def test_what_the_bytes_do_not_decide_is_not_called_damage(error, reason, tmp_path, monkeypatch):
    def fail(_):
        raise error

    monkeypatch.setattr("detect.decode.upright", fail)
    failure = decode(JPEG, tmp_path)
    assert failure.reason == reason
    assert is_passing(failure.entry("ab" * 32)) == (reason in {"no_memory", "no_decoder"})


def test_a_disk_error_and_a_full_memory_while_reading_are_passing_faults(tmp_path, monkeypatch):
    (tmp_path / "photo.jpg").write_bytes(JPEG)
    for error, reason in ((OSError(5, "Input/output error"), "missing"), (MemoryError(), "no_memory")):

        def fail(_, error=error):
            raise error

        monkeypatch.setattr(Path, "read_bytes", fail)
        failure = decode_file(tmp_path / "photo.jpg")
        assert failure.reason == reason
        assert is_passing(failure.entry("ab" * 32))


def test_bytes_that_are_not_those_of_the_source_are_not_decoded(tmp_path):
    (tmp_path / "photo").write_bytes(JPEG)
    source = hashlib.sha256(JPEG).hexdigest()
    assert decode_file(tmp_path / "photo", source=source).shape == (64, 48, 3)
    (tmp_path / "photo").write_bytes(encoded(Pillow.fromarray(SMOOTH[::-1]), "JPEG"))
    assert decode_file(tmp_path / "photo", source=source).reason == "changed"


def test_the_limit_of_megapixels_moves_and_is_named_with_the_value_that_suffices(monkeypatch):
    content, path = png_of_size(20_000, 10_000), Path("phone.png")
    failure = decode_bytes(content, path)
    assert (failure.reason, failure.facts) == ("too_large", {"pixels": 200_000_000})
    assert "--set data.max_megapixels=200" in failure.message
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", Pillow.MAX_IMAGE_PIXELS)
    failure = decode_bytes(content, path, max_megapixels=199.9)
    assert (failure.reason, "199.9 megapixels" in failure.message) == ("too_large", True)
    assert decode_bytes(content, path, max_megapixels=200).reason != "too_large", "Pillow's own limit moves as well"
    beyond = decode_bytes(png_of_size(60_000, 10_000), path)
    assert (beyond.reason, beyond.facts) == ("too_large", {"pixels": 600_000_000})


def test_a_lower_limit_of_the_user_in_pillow_holds(monkeypatch):
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 1000)
    assert decode_bytes(JPEG, Path("photo.jpg")).reason == "too_large"
    assert Pillow.MAX_IMAGE_PIXELS == 1000


def test_more_formats_change_no_key_of_the_cache():
    # Of crops that were made before GIF and HEIC could be read. Raise DECODE_VERSION to change it on purpose.
    spec = crop_spec(DetectConfig(), CropConfig())
    assert fingerprint(spec) == "01d2739fd13e8c9f249743ab4e984e5cb7dd82d5aa63bda926fd8dae060512c8"


def test_a_part_of_a_photo_is_cut_out_of_the_upright_photo_and_goes_on_with_its_border(tmp_path):
    pixels = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    file = tmp_path / "a.png"
    file.write_bytes(encoded(Pillow.fromarray(pixels)))
    assert (decode_file(part_path(file, (2, 1, 3, 4))) == pixels[1:5, 2:5]).all()
    beyond = decode_file(part_path(file, (-2, -1, 8, 8)))
    assert beyond.shape == (8, 8, 3)
    assert (beyond[:2, :3] == pixels[0, 0]).all()
    assert (beyond[1:7, 2:] == pixels[:, :6]).all()


@pytest.mark.parametrize(
    ("part", "reason"), [((9, 0, 3, 4), "unreadable"), ((-10_000, -10_000, 20_000, 20_000), "too_large")]
)
def test_a_part_outside_the_photo_or_too_large_is_a_failure(tmp_path, part, reason):
    (tmp_path / "a.png").write_bytes(encoded(Pillow.new("RGB", (8, 6))))
    assert decode_file(part_path(tmp_path / "a.png", part)).reason == reason
