"""A bundle's record of its crops, and whether this version still makes such crops.

DetectConfig + CropConfig <-> what bundle.json keeps under `crop`.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from cache.config import fingerprint
from cache.errors import BundleError
from detect.config import CropConfig, DetectConfig
from detect.fingerprints import crop_spec


def crop_settings(detect: DetectConfig, crop: CropConfig) -> dict[str, Any]:
    """Make a bundle's record of its crops: the settings, and all that decides the pixels, with its fingerprint."""
    spec = crop_spec(detect, crop)
    return {
        "detect": detect.model_dump(mode="json"),
        "crop": crop.model_dump(mode="json"),
        "fingerprint": fingerprint(spec),
        "spec": spec,
    }


def read_crop_settings(record: Mapping[str, Any]) -> tuple[DetectConfig, CropConfig]:
    """Read a bundle's crop settings, and make sure that they still give the crops that it was trained on.

    Raises:
        BundleError: they don't, or are not understood; the message says what differs.
    """
    try:
        detect, crop = DetectConfig(**record["detect"]), CropConfig(**record["crop"])
    except (KeyError, TypeError, ValidationError) as error:
        raise BundleError(f"the bundle's crop settings are not understood ({error}); train again") from error
    current = crop_settings(detect, crop)
    if current["fingerprint"] != record.get("fingerprint"):
        different = differences(record.get("spec"), current["spec"])
        what = f" (what differs: {', '.join(different)})" if different else ""
        raise BundleError(
            "this version of faceline, or of its detector's weights, would not make the crops that the bundle was "
            f"trained on{what}, so predictions would be worse than its scores.\n"
            "Train again, or predict with the version that trained it."
        )
    return detect, crop


def differences(before: Any, now: Any, key: str = "crop") -> list[str]:
    """The dotted keys at which two trees differ, each with both values; none where the earlier tree is not known."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        keys = [*before, *(name for name in now if name not in before)]
        return [found for name in keys for found in differences(before.get(name), now.get(name), f"{key}.{name}")]
    if before is None and key == "crop":  # bundles of older versions have the fingerprint only
        return []
    return [] if _plain(before) == _plain(now) else [f"{key} was {_short(before)} and is {_short(now)}"]


def _plain(value: Any) -> Any:
    """Tuples as lists, as JSON has them."""
    return list(value) if isinstance(value, tuple) else value


def _short(value: Any) -> str:
    """A value in an error: of a digest, its start."""
    text = repr(value)
    return f"{text[:13]}...'" if isinstance(value, str) and len(value) == 64 else text
