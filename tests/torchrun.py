"""Start two processes of a module with torchrun, as a user does, without a network."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
LOCAL = ("--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1")


def start_two(module, *arguments, restarts=0):
    """Start torchrun with two processes of `module`; its stdout and stderr are pipes."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", *LOCAL]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.Popen(
        [*torchrun, f"--max-restarts={restarts}", "-m", module, *map(str, arguments)],
        cwd=REPOSITORY, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def process_of_rank(rank, torchrun):
    """The process id of `rank`, or None while it is not running."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == torchrun.pid and f"\0RANK={rank}\0" in (folder / "environ").read_text():
                return int(folder.name)
        except OSError:
            continue  # the process has ended meanwhile
    return None
