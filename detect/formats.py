"""The image formats that can be read, and how the names of such files end.

Nothing heavy is imported, so that listing a folder needs no image library.
"""

# Pillow reads dozens of formats, most of them rare and little tested; these are what cameras, phones, scanners and
# browsers write. Of a file with several pages or frames, the first one is read.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "AVIF", "GIF", "HEIF")
HEIC_SUFFIXES = frozenset({".heic", ".heif", ".hif"})  # iPhones, and cameras of Canon, Fujifilm and Sony
PHOTO_SUFFIXES = HEIC_SUFFIXES | {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".gif",
}  # fmt: skip
HEIC_EXTRA = 'pip install "faceline[heic]"'  # installs what reads HEIF
