"""Decode photos in processes of their own, so that a photo on which a decoder crashes takes nothing else along.

In: the bytes of a photo. Out: its pixels, or a Failure, also where the process has died of it.

This takes longer and more memory than decoding in this process, so the command line turns it on only after a crash.
"""

import os
from collections.abc import Callable
from pathlib import Path
from threading import local
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line reads the variable's name, and must start at once
    from detect.faces import Image
    from detect.failures import Failure

ISOLATED = "FACELINE_ISOLATED"  # the environment variable that turns it on
_workers = local()  # one for each thread that decodes: when it dies, there is no doubt which photo it was of


def is_isolated() -> bool:
    """Whether photos are to be decoded in processes of their own."""
    return ISOLATED in os.environ


def decode_isolated(
    decode: "Callable[[bytes, Path, float], Image | Failure]", content: bytes, path: Path, max_megapixels: float
) -> "Image | Failure":
    """Run `decode`, a function of a module, in the process of this thread.

    Args:
        decode: gets the other arguments.
        content: the bytes of a photo.
        path: its name.
        max_megapixels: the largest to read.
    """
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    from detect.failures import Failure

    pool: ProcessPoolExecutor | None = getattr(_workers, "pool", None)
    if pool is None:
        # Not forked: this process has threads, and a lock that one of them holds would stay locked.
        pool = _workers.pool = ProcessPoolExecutor(1, get_context("spawn"))
    try:
        return pool.submit(decode, content, path, max_megapixels).result()
    except BrokenProcessPool:
        _workers.pool = None
        return Failure(path, "crashed", "reading it makes the decoder crash, so it is left out")
