"""The pictures of a review, one by one: the crop of a held-out photo, or the photo.

In: a row of a Review. Out: a JPEG of a size for a screen; where the crop is not in the cache, the photo, and where the
photo is not there any more, the crop.
"""

from typing import Literal

from cache.errors import CacheError
from cache.store import CropStore
from classify.preprocessing import decode_crop
from detect.decode import decode_file
from detect.failures import Failure
from detect.fingerprints import crop_spec
from pipeline.context import RunContext
from pipeline.labels.review_cases import Review
from pipeline.reports.contact_sheets import Image, encode_image
from pipeline.reports.pictures import fit

View = Literal["crop", "photo"]
LARGEST = (900, 1200)  # pixels: width and height of a picture of the page


class ReviewPictures:
    """The crops and photos of a review."""

    def __init__(self, review: Review, context: RunContext) -> None:
        self._review = review
        self._store = CropStore(context.cache, crop_spec(context.settings.detect, context.settings.crop))
        self._max_megapixels = context.settings.data.max_megapixels

    def jpeg(self, row: int, view: View) -> bytes | None:
        """The picture of a row as the page shows it; None if there is neither crop nor photo."""
        if view == "crop" and (crop := self._crop(row)) is not None:
            return crop  # as it is in the cache: at most some hundred pixels high
        image = self._photo(row)
        if image is None:
            return self._crop(row)
        return encode_image(_within(image, LARGEST))

    def thumbnail(self, row: int, size: tuple[int, int], quality: int) -> bytes | None:
        """A picture of a row within a width and height in pixels, for a page that holds its pictures."""
        crop = self._crop(row)
        image = self._photo(row) if crop is None else decode_crop(crop)
        return None if image is None else encode_image(_within(image, size), quality=quality)

    def _crop(self, row: int) -> bytes | None:
        try:
            return self._store.read(self._review.held_out.sources[row])
        except (CacheError, ValueError):  # ValueError: a damaged table has no source id there
            return None

    def _photo(self, row: int) -> Image | None:
        image = decode_file(self._review.held_out.photos[row].path, max_megapixels=self._max_megapixels)
        return None if isinstance(image, Failure) else image


def _within(image: Image, size: tuple[int, int]) -> Image:
    """Make a picture smaller where it is larger than a width and height."""
    return fit(image, *size) if image.shape[1] > size[0] or image.shape[0] > size[1] else image
