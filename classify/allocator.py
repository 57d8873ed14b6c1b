"""Memory that a process keeps from step to step.

A step's activations are tens of megabytes each. Left alone, glibc gives blocks of that size back to the system as soon
as they are free, and the next step waits for every page to be handed out and cleared again: on a CPU, half of the time
of a training step, and of a prediction.
"""

import ctypes
import platform
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of mallopt(3)
NEVER = 2**31 - 1


@cache
def keep_freed_memory() -> bool:
    """Let this process use freed memory again instead of giving it back; False where the C library is not glibc."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, NEVER))
