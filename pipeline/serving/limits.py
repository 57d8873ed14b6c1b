"""How much a server takes on at once; beyond that it refuses, and stays up."""

from dataclasses import dataclass

UPLOADS_AT_ONCE = 8  # uploads of the largest size that memory is kept for, before and while they are predicted
MAX_CONNECTIONS = 500  # a process may often open 1,024 files
HEAD_S = 10.0  # for the head of a request, its first line and headers
HEAD_BYTES = 32 << 10


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one server."""

    batch: int = 16  # most photos that are predicted together
    wait_s: float = 0.003  # that a photo waits for others to be predicted with
    queue: int = 64  # photos that may wait to be predicted
    max_bytes: int = 20_000_000  # of one request
    max_megapixels: float = 50.0  # of one photo
    timeout_s: float = 30.0  # from the head of a request to its answer

    @property
    def upload_bytes(self) -> int:
        """The most bytes of uploads in memory."""
        return UPLOADS_AT_ONCE * self.max_bytes
