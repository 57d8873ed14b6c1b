"""Freed memory is reused where the C library can do so."""

import platform
import resource
import subprocess
import sys

import pytest

STEPS = """
import resource, sys
from classify.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
size = 64_000_000  # a variable, because Python would create a constant only once
for _ in range(20):
    b"x" * size
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def faults(how):
    done = subprocess.run([sys.executable, "-c", STEPS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc only")
def test_pages_are_allocated_once_and_not_in_each_step():
    step = 64_000_000 // resource.getpagesize()
    assert faults("give back") - faults("keep") > 15 * step
