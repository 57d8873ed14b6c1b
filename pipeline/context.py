"""What every stage needs to know besides its data."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cache import cache_folder
from cache.errors import UsageError
from classify.distributed import SINGLE_PROCESS, Ranks, ranks_of
from pipeline.console import Console
from pipeline.settings import Settings, load_settings


@dataclass(frozen=True)
class RunContext:
    """The circumstances of one command.

    Attributes:
        settings: what is to be done; part of every result.
        cache: the crop cache's folder.
        device: "auto", "cpu", "cuda" or "cuda:n".
        workers: threads for reading and writing photos, and processes that make batches on a GPU.
        console: where progress and results go.
        ranks: this process among those that train together.
    """

    settings: Settings
    cache: Path
    device: str = "auto"
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    console: Console = field(default_factory=Console)
    ranks: Ranks = SINGLE_PROCESS

    def torch_device(self) -> str:
        """The device that "auto" stands for here; of several processes on a machine, each has a GPU of its own.

        Raises:
            UsageError: the device asked for is not there.
        """
        import torch

        if self.ranks.world > 1 and self.device.startswith("cuda:"):
            raise UsageError(f"--device {self.device} is one GPU for {self.ranks.world} processes; use auto or cuda")
        if self.ranks.world > 1 and self.device != "cpu" and torch.cuda.is_available():
            if self.ranks.local_world > torch.cuda.device_count():
                wanted, there = self.ranks.local_world, torch.cuda.device_count()
                raise UsageError(f"{wanted} processes and {there} GPUs on this machine: use --nproc-per-node {there}")
            return f"cuda:{self.ranks.local_rank}"
        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        try:
            torch.zeros(1, device=self.device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).strip().split("\n")[0]
            raise UsageError(f"--device {self.device}: {reason}. Use --device auto or cpu.") from None
        return self.device

    def loader_workers(self) -> int:
        """Processes that make batches: on a CPU they would only take cores from the network."""
        return 0 if self.torch_device() == "cpu" else max(1, self.workers // self.ranks.local_world)


def make_context(
    config: Path | None,
    overrides: Sequence[str] | None,
    cache: str | None,
    device: str,
    workers: int | None,
    *,
    as_json: bool,
    quiet: bool,
) -> RunContext:
    """The job that the common options of a command ask for.

    Raises:
        UsageError: a setting or the cache's folder makes no sense.
    """
    settings = load_settings(config, overrides or ())
    console = Console(as_json=as_json, quiet=quiet)
    return RunContext(settings, cache_folder(cache), device, workers or os.cpu_count() or 1, console)


def with_ranks(context: RunContext) -> RunContext:
    """The job as one of torchrun's processes does it, if this is one: only rank 0 says anything."""
    ranks = ranks_of()
    return replace(context, ranks=ranks, console=context.console if ranks.is_first else Console.nothing())
