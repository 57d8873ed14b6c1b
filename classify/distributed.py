"""The processes that train one network together, as torchrun starts them.

In: torchrun's environment. Out: Ranks, which says which of how many processes this is and lets them exchange values.

Rank 0 reads the photos, makes the decisions and writes the files; the others receive its data and train along. In a
single process, nothing here touches torch.distributed.
"""

import json
import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from cache.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")

RENDEZVOUS_TIMEOUT = timedelta(minutes=5)
# Rank 0 may detect faces for hours while the others wait. A rank that dies needs no timeout: torchrun ends the rest.
COLLECTIVE_TIMEOUT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process and its place among those that train together."""

    rank: int = 0  # 0 ... world_size - 1, over all machines
    world_size: int = 1  # number of processes
    local_rank: int = 0  # number of this process on its machine, and of the GPU that it uses
    local_world_size: int = 1  # number of processes on this machine

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, the only process that writes files and prints."""
        return self.rank == 0

    @property
    def rank_slice(self) -> slice:
        """This process's part of rows that are divided among all; the parts differ in length by at most one."""
        return slice(self.rank, None, self.world_size)

    @contextmanager
    def process_group(self, device: str) -> Generator[None]:
        """Connect to the other processes; `device` is a torch device name.

        After an error, the group stays open until the process ends: closing it would make the others fail before the
        one with the error has reported it.
        """
        if self.world_size == 1:
            yield
            return
        import torch
        import torch.distributed as dist

        on_gpu = torch.device(device).type == "cuda"
        if on_gpu:
            torch.cuda.set_device(device)
        # torchrun keeps its store over a restart; a process that reads a dead one's address from it would hang.
        store, rank, world_size = next(dist.rendezvous("env://", timeout=RENDEZVOUS_TIMEOUT))
        store = dist.PrefixStore(f"faceline/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=RENDEZVOUS_TIMEOUT)
        # Older versions of torch have only the private function.
        set_timeout = getattr(dist, "set_timeout", None) or dist.distributed_c10d._set_pg_timeout  # pyright: ignore
        set_timeout(COLLECTIVE_TIMEOUT)
        yield
        dist.destroy_process_group()

    def broadcast(self, make: Callable[[], T]) -> T:
        """Call `make` in rank 0 only and return its result, a JSON value, in all processes; the others wait for it."""
        if self.world_size == 1:
            return make()
        import torch
        import torch.distributed as dist

        # JSON, because torch's broadcast of objects unpickles; CPU tensors, because NCCL keeps a core busy waiting.
        content = json.dumps(make()).encode() if self.is_main else b""
        size = torch.tensor([len(content)])
        dist.broadcast(size, 0)
        buffer = torch.frombuffer(bytearray(content or int(size)), dtype=torch.uint8)
        dist.broadcast(buffer, 0)
        return json.loads(buffer.numpy().tobytes())

    def barrier(self) -> None:
        """Wait until rank 0 has reached this line."""
        self.broadcast(lambda: None)

    def all_gather(self, local_rows: "Tensor", total: int) -> "Tensor":
        """Collect the rows of all processes, in the order in which `rank_slice` divided them.

        Args:
            local_rows: (N, ...), the rows of this process's `rank_slice`.
            total: number of rows of all processes.

        Returns:
            (total, ...), the same values in all processes. Gradients flow to `local_rows` only: summed over the
            processes, they equal those of a single process with all rows.
        """
        if self.world_size == 1:
            return local_rows
        import torch
        import torch.distributed as dist

        padded = local_rows.new_zeros((-(-total // self.world_size), *local_rows.shape[1:]))
        padded[: len(local_rows)] = local_rows.detach()
        parts = [torch.empty_like(padded) for _ in range(self.world_size)]
        dist.all_gather(parts, padded)
        rows = torch.stack(parts, dim=1).flatten(0, 1)[:total]
        rows[self.rank_slice] = local_rows
        return rows

    def data_parallel(self, module: "nn.Module") -> "nn.Module":
        """Wrap the module so that each backward pass averages its gradients over the processes."""
        if self.world_size == 1:
            return module
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(module)

    def with_sync_batch_norm(self, network: "nn.Module", device: str) -> "nn.Module":
        """Let batch norm see the rows of all processes. Only on a GPU: torch can't do it on a CPU."""
        if self.world_size == 1 or not device.startswith("cuda"):
            return network
        from timm.layers import convert_sync_batchnorm

        return convert_sync_batchnorm(network)

    def broadcast_buffers(self, *modules: "nn.Module") -> None:
        """Copy rank 0's buffers, such as batch norm's statistics, to all processes."""
        if self.world_size == 1:
            return
        import torch.distributed as dist

        for module in modules:
            for buffer in module.buffers():
                dist.broadcast(buffer, 0)


SINGLE_PROCESS = Ranks()


def ranks_from_environment(environment: Mapping[str, str] = os.environ) -> Ranks:
    """Read torchrun's variables; without them, this is the only process.

    Raises:
        UsageError: a variable is missing or no number.
    """
    if environment.get("WORLD_SIZE", "1") == "1":
        return SINGLE_PROCESS
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    try:
        return Ranks(*(int(environment[name]) for name in names))
    except (KeyError, ValueError):
        values = ", ".join(f"{name}={environment.get(name)}" for name in names)
        raise UsageError(f"{values}: start the processes with torchrun, which sets all four, or unset them") from None
