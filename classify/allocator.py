"""Memory that a process keeps from step to step.

A step's activations are blocks of tens of megabytes. By default, glibc returns blocks of that size to the system when
they are freed, and the next step waits while every page is allocated and zeroed again: on a CPU, that is half the time
of a training or prediction step.
"""

import ctypes
import platform
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of mallopt(3)
NEVER = 2**31 - 1


@cache
def keep_freed_memory() -> bool:
    """Let this process reuse freed memory instead of returning it; False where the C library is not glibc."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, NEVER))
