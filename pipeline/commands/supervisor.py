"""Run a command in a process of its own, and once more if a library crashes in it.

A photo can be broken so that the C code of a decoder crashes, which no Python code can catch. Then the command runs
again, with each photo decoded in a further process: the photo that kills it is named, and all others get their rows.
"""

import contextlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Generator
from functools import partial
from types import FrameType

from detect.isolated import ISOLATED

SUPERVISED = frozenset({"predict", "detect", "check", "serve"})  # the commands that do little else than read photos
CRASHES = frozenset({"SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT"})
FORWARDED = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def run_supervised(command: Callable[[], object], words: list[str]) -> None:
    """Run the command; `words` are those of the command line. Where processes can't be forked, nothing is watched."""
    name = next((word for word in words if not word.startswith("-")), "")
    if name not in SUPERVISED or not hasattr(os, "fork") or ISOLATED in os.environ:
        command()
        return
    with _repeatable_stdin(words) as rewind:
        status = _run_in_child(command)
        if _crash(status):
            sys.stderr.write(
                f"faceline: a library crashed ({_crash(status)}), perhaps on a broken photo; "
                "running again, with each photo decoded in a process of its own\n"
            )
            os.environ[ISOLATED] = "1"
            rewind()
            status = _run_in_child(command)
    if crash := _crash(status):
        sys.stderr.write(
            f"faceline: a library crashed again ({crash}), and not while it decoded a photo; "
            "`faceline doctor` shows the versions\n"
        )
        raise SystemExit(1)
    if os.WIFSIGNALED(status):  # so that whoever started this process sees the same
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    raise SystemExit(os.waitstatus_to_exitcode(status))


def _crash(status: int) -> str | None:
    """The signal's name if the process died of a crash."""
    name = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else None
    return name if name in CRASHES else None


def _run_in_child(command: Callable[[], object]) -> int:
    """Fork, run the command in the child, and return its wait status; signals to this process reach the child."""
    alive, held = os.pipe()
    child = 0

    def forward(number: int, _: FrameType | None) -> None:
        if child:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)

    before = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        child = os.fork()
        if child:
            os.close(alive)
            return os.waitpid(child, 0)[1]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if child:
            os.close(held)
    os.close(held)
    threading.Thread(target=_die_with_parent, args=(alive,), daemon=True).start()
    command()  # it ends with SystemExit
    raise SystemExit(0)


def _die_with_parent(alive: int) -> None:
    """Wait for the end of the pipe that only the parent holds open, then end this process as the parent was ended."""
    os.read(alive, 1)
    os.kill(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def _repeatable_stdin(words: list[str]) -> Generator[Callable[[], object]]:
    """Keep what comes on stdin if the command reads paths there; yields what makes it come again."""
    if "-" not in words or sys.stdin is None or sys.stdin.isatty():
        yield lambda: None
        return
    with tempfile.TemporaryFile() as kept:
        while chunk := os.read(0, 1 << 20):
            kept.write(chunk)
        kept.seek(0)
        os.dup2(kept.fileno(), 0)
        yield partial(os.lseek, 0, 0, os.SEEK_SET)
