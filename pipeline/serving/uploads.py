"""Read the photos of a request within the limits.

In: a request with photos as files of a form, or with the bytes of one photo. Out: Photos. Nothing is written to disk.
"""

from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from dataclasses import replace

from fastapi import HTTPException, Request
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from pipeline.intake.photo import Photo
from pipeline.prediction.photo_like import photo_of
from pipeline.serving.limits import Limits
from pipeline.serving.metrics import Metrics

HOW = 'send photos as files of a form (curl -F "photo=@a.jpg") or the bytes of one (curl --data-binary @a.jpg)'
MOST_FIELDS = 8  # beside the photos; any is refused, and the refusal names it


class Uploads:
    """The uploads that are in memory, until they are answered."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self._limits, self._metrics = limits, metrics
        self._bytes = 0
        metrics.upload_bytes.set_function(lambda: self._bytes)

    @contextmanager
    def upload(self, request: Request) -> Generator["Upload"]:
        """Yield the request's upload, and forget its bytes at the end."""
        upload = Upload(request, self)
        try:
            yield upload
        finally:
            self._bytes -= upload.received

    def take(self, received: int, more: int) -> None:
        """Count `more` bytes of a request of which `received` are in memory; HTTPException if that is too much."""
        if received + more > self._limits.max_bytes:
            self._metrics.refused.labels("bytes").inc()
            raise HTTPException(
                413, f"the upload is larger than {self._limits.max_bytes / 1e6:g} MB, the most that is read"
            )
        if self._bytes + more > self._limits.upload_bytes:
            self._metrics.refused.labels("memory").inc()
            raise HTTPException(503, "too many uploads are under way; try again", {"Retry-After": "1"})
        self._bytes += more

    @property
    def limits(self) -> Limits:
        """The server's limits."""
        return self._limits


class Upload:
    """The body of one request."""

    def __init__(self, request: Request, uploads: Uploads) -> None:
        self._request, self._uploads = request, uploads
        self.received = 0

    async def photos(self) -> list[Photo]:
        """Read the body and return the photos in it.

        Raises:
            HTTPException: it is too large, has no photo, or is not what its headers say.
        """
        length = self._request.headers.get("content-length", "")
        if length.isdecimal():  # else it comes in chunks, and is counted as it comes
            self._uploads.take(int(length), 0)
        if self._request.headers.get("content-type", "").startswith("multipart/"):
            files = await self._files()
        else:
            # Whatever the type says: curl's --data-binary calls a photo a form.
            files = [("", b"".join([chunk async for chunk in self._chunks()]))]
        if not files or not any(content for _, content in files):
            raise HTTPException(400, f"there is no photo in the request; {HOW}")
        # The name is the user's, and only for the answer: a path with "#" would be a part of a photo.
        photos = [(photo_of(content, f"photo {number}"), name) for number, (name, content) in enumerate(files, 1)]
        return [replace(photo, name=name or photo.name) for photo, name in photos]

    async def _files(self) -> list[tuple[str, bytes]]:
        """Name and content of each file of a form."""
        limits = self._uploads.limits
        parser = _Form(self._request.headers, self._chunks(), max_files=limits.queue, max_fields=MOST_FIELDS)
        parser.spool_max_size = limits.max_bytes + 1  # in memory
        try:
            form = await parser.parse()
        except MultiPartException as error:
            raise HTTPException(400, f"the form can't be read: {error.message}") from None
        files: list[tuple[str, bytes]] = []
        try:
            for field, value in form.multi_items():
                if not isinstance(value, UploadFile):
                    raise HTTPException(400, f"the field {field!r} is no file; {HOW}")
                await value.seek(0)
                files.append((value.filename or "", await value.read()))
        finally:
            await form.close()
        return files

    async def _chunks(self) -> AsyncGenerator[bytes]:
        async for chunk in self._request.stream():
            self._uploads.take(self.received, len(chunk))
            self.received += len(chunk)
            yield chunk


class _Form(MultiPartParser):
    """Starlette's parser, which would leave out a file that is cut off, without a word."""

    def __init__(self, headers: Headers, stream: AsyncGenerator[bytes], *, max_files: int, max_fields: int) -> None:
        super().__init__(headers, self._until_the_end(stream), max_files=max_files, max_fields=max_fields)
        self._is_complete = False

    def on_end(self) -> None:
        """Note that the last boundary came."""
        self._is_complete = True

    async def _until_the_end(self, stream: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        async for chunk in stream:
            yield chunk
        if not self._is_complete:
            raise MultiPartException("it has no end.")
