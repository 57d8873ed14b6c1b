"""Photos from the network, only where the user allows it.

In: a URL. Out: the bytes that are there, or why there are none. Nothing is kept.
"""

import http.client
import urllib.error
import urllib.request
from pathlib import Path

from detect.failures import Failure

SCHEMES = ("http://", "https://")
MOST_BYTES = 64 << 20  # of one photo
TIMEOUT_S = 30.0
AGENT = "faceline"


def is_url(text: str) -> bool:
    """Whether an argument is an address on the network."""
    return text.lower().startswith(SCHEMES)


def download(url: str, name: Path) -> bytes | Failure:
    """Fetch a photo; `name` is what the photo is called."""
    request = urllib.request.Request(url, headers={"User-Agent": AGENT})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # redirects to files are refused there
            content = answer.read(MOST_BYTES + 1)
    except urllib.error.HTTPError as error:
        return Failure(name, "missing", f"the server answers {error.code} {error.reason}")
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        return Failure(name, "missing", f"can't be fetched: {getattr(error, 'reason', None) or error}")
    if len(content) > MOST_BYTES:
        return Failure(name, "too_large", f"larger than {MOST_BYTES >> 20} MB")
    return content
