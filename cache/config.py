"""Strict settings and their fingerprints.

values from a file or the command line -> frozen, checked objects -> canonical JSON -> a sha256 that names
a cache folder.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """The parent of every settings class: unknown keys are refused and values never change after the check."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def canonical_json(value: Mapping[str, Any]) -> str:
    """The one spelling of a JSON object: sorted keys, no spaces, no NaN, so that equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def fingerprint(value: Mapping[str, Any]) -> str:
    """The sha256 of the canonical JSON of `value`, 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
