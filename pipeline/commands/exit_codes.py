"""How a command ends: with a message and an exit code, whatever happened.

0 done; 1 something in the data failed; 2 wrong use; 130 Ctrl-C.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from cache.errors import FacelineError

STOPPED = 130  # the shell's exit code for Ctrl-C
SAME_KEY_S = 1.0  # the terminal and the process that started this one may both pass on the same Ctrl-C
RANKS_WAIT_S = 5.0  # torchrun looks for dead processes every 0.1 s


def run_command(command: Callable[[], object]) -> None:
    """Run the command line and exit: an error of ours is one message and an exit code, never a traceback."""
    # Arguments are bytes; a file name that is no UTF-8 must not break the message that names it.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue]
    stopping = False
    stopped_at = 0.0

    def stop(*_: object) -> None:
        nonlocal stopping, stopped_at
        if stopping and time.monotonic() - stopped_at < SAME_KEY_S:
            return
        stopping, stopped_at = True, time.monotonic()
        # Not KeyboardInterrupt: Typer would make "Aborted." and exit code 1 of it.
        raise SystemExit(STOPPED)

    signal.signal(signal.SIGINT, stop)
    try:
        command()
    except RuntimeError:
        # Beside a rank that failed or was killed, torch's collectives fail too, and torchrun needs a moment to end us.
        if "TORCHELASTIC_RUN_ID" in os.environ:
            time.sleep(RANKS_WAIT_S)
        raise
    except (FacelineError, SystemExit) as error:
        # safetensors calls Python from Rust and reports whatever is raised there, a stop too, as a damaged file.
        if stopping:
            _fail("stopped; the same command goes on from what is kept on disk", STOPPED)
        if isinstance(error, FacelineError):
            _fail(str(error), error.exit_code)
        raise
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads: print no more
        raise SystemExit(1) from None
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}. Check the space and the permissions there.", 1)


def _fail(message: str, code: int) -> NoReturn:
    """Print one line and exit; with --debug a traceback before it."""
    if os.environ.get("FACELINE_DEBUG"):
        import traceback

        traceback.print_exc()
    from pipeline.console import printable

    if os.environ.get("RANK", "0") != "0" and "TORCHELASTIC_RUN_ID" in os.environ:
        time.sleep(RANKS_WAIT_S)  # rank 0 has most likely met the same error: it says so, and torchrun ends us
    sys.stderr.write(f"faceline: {printable(message)}\n")
    raise SystemExit(code)
