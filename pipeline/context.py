"""What every stage gets besides its data: settings, cache, device, workers, console and ranks."""

import math
import os
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from cache.errors import UsageError
from classify.distributed import SINGLE_PROCESS, Ranks, ranks_from_environment
from pipeline.console import Console
from pipeline.settings import Settings

CPU_QUOTAS = ("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us")


def available_cpus() -> int:
    """Count the cores that this process may use: of a machine's, a container, a cluster's job or taskset gives some."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for files in CPU_QUOTAS:
        try:
            quota, period = map(int, " ".join(Path(file).read_text() for file in files.split()).split())
        except (OSError, ValueError):  # there is no such file, or it says "max"
            continue
        if quota > 0:
            cores = min(cores, math.ceil(quota / period))
    return cores


Made = TypeVar("Made")


@dataclass(frozen=True)
class RunContext:
    """The circumstances in which one command runs; of its fields, only the settings decide results."""

    settings: Settings
    cache: Path  # the crop cache's folder
    device: str = "auto"  # or "cpu", "cuda", "cuda:n"
    # Threads that read and write photos, and processes that make batches for a GPU
    workers: int = field(default_factory=available_cpus)
    console: Console = field(default_factory=Console)
    ranks: Ranks = SINGLE_PROCESS  # this process among those that train together
    # What stays open from call to call (stores, detectors, networks on the device); with None, each call opens its own
    kept: dict[Hashable, Any] | None = None

    def keep(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Return what `make` returns; of later calls with this key, the same object, if anything is kept."""
        if self.kept is None:
            return make()
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]

    def torch_device(self) -> str:
        """Resolve `device` to a torch device name; of several processes on a machine, each gets its own GPU.

        Raises:
            UsageError: this machine does not have the requested device.
        """
        import torch

        if self.ranks.world_size > 1 and self.device.startswith("cuda:"):
            raise UsageError(
                f"--device {self.device} is one GPU for {self.ranks.world_size} processes; use auto or cuda"
            )
        if self.ranks.world_size > 1 and self.device != "cpu" and torch.cuda.is_available():
            if self.ranks.local_world_size > torch.cuda.device_count():
                processes, gpus = self.ranks.local_world_size, torch.cuda.device_count()
                raise UsageError(f"{processes} processes and {gpus} GPUs on this machine: use --nproc-per-node {gpus}")
            return f"cuda:{self.ranks.local_rank}"
        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        try:
            torch.zeros(1, device=self.device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).strip().split("\n")[0]
            raise UsageError(f"--device {self.device}: {reason}. Use --device auto or cpu.") from None
        if ":" in self.device:
            torch.cuda.set_device(self.device)  # else pinned memory and compiled code would be made for the first GPU
        return self.device

    def loader_workers(self) -> int:
        """Number of processes that make batches; 0 on a CPU, where they would only take cores from the network."""
        return 0 if self.torch_device() == "cpu" else max(1, self.workers // self.ranks.local_world_size)


def with_ranks(context: RunContext) -> RunContext:
    """Add the ranks of a process that torchrun started, if this is one; only rank 0 prints anything."""
    ranks = ranks_from_environment()
    return replace(context, ranks=ranks, console=context.console if ranks.is_main else Console.silent())
