"""The processes that train one network together, as torchrun starts them.

torchrun's environment -> Ranks: which process this is of how many, and what they tell each other.

Rank 0 looks at the photos, decides and writes; the others take what it tells them and train along. Alone, nothing here
touches torch.distributed.
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

MEETING = timedelta(minutes=5)
# Rank 0 may look for faces for hours while the others wait. A rank that dies needs no timeout: torchrun ends the rest.
PATIENCE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Ranks:
    """One process among those of a training.

    Attributes:
        rank: 0 ... world - 1, over all machines.
        world: processes in all.
        local_rank: number on this machine; its GPU has the same.
        local_world: processes on this machine.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    @property
    def own(self) -> slice:
        """This process's part of rows that all share; the parts differ in length by at most one."""
        return slice(self.rank, None, self.world)

    @contextmanager
    def group(self, device: str) -> Generator[None]:
        """Meet the other processes.

        After an error the group stays open until the process ends: closing it would make the others stumble before
        the one that failed has said why.
        """
        if self.world == 1:
            yield
            return
        import torch
        import torch.distributed as dist

        on_gpu = torch.device(device).type == "cuda"
        if on_gpu:
            torch.cuda.set_device(device)
        # torchrun keeps its store over a restart, and a process that reads a dead one's address from it waits for ever.
        store, rank, world = next(dist.rendezvous("env://", timeout=MEETING))
        store = dist.PrefixStore(f"faceline/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=MEETING)
        # Its name in older torch, where set_timeout is not public.
        set_timeout = getattr(dist, "set_timeout", None) or dist.distributed_c10d._set_pg_timeout  # pyright: ignore
        set_timeout(PATIENCE)
        yield
        dist.destroy_process_group()

    def broadcast(self, make: Callable[[], T]) -> T:
        """What `make` returns in rank 0, a JSON value, for everyone; the others wait for it."""
        if self.world == 1:
            return make()
        import torch
        import torch.distributed as dist

        # JSON, because torch's own way of sending objects unpickles; CPU tensors, because NCCL spins while it waits.
        content = json.dumps(make()).encode() if self.is_first else b""
        size = torch.tensor([len(content)])
        dist.broadcast(size, 0)
        letters = torch.frombuffer(bytearray(content or int(size)), dtype=torch.uint8)
        dist.broadcast(letters, 0)
        return json.loads(letters.numpy().tobytes())

    def barrier(self) -> None:
        """Go on when rank 0 has come here."""
        self.broadcast(lambda: None)

    def join(self, own: "Tensor", total: int) -> "Tensor":
        """The rows of all processes, in the order that `own` was cut from.

        Args:
            own: (N, ...) this process's rows, the part `self.own` of the whole.
            total: rows of all.

        Returns:
            (total, ...), the same values everywhere. The gradient flows to the own rows only: added up over the
            processes, the gradients are those of one process with all rows.
        """
        if self.world == 1:
            return own
        import torch
        import torch.distributed as dist

        padded = own.new_zeros((-(-total // self.world), *own.shape[1:]))
        padded[: len(own)] = own.detach()
        parts = [torch.empty_like(padded) for _ in range(self.world)]
        dist.all_gather(parts, padded)
        rows = torch.stack(parts, dim=1).flatten(0, 1)[:total]
        rows[self.own] = own
        return rows

    def data_parallel(self, module: "nn.Module") -> "nn.Module":
        """The module, whose gradients become the mean over the processes in every backward."""
        if self.world == 1:
            return module
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(module)

    def with_sync_batch_norm(self, network: "nn.Module", device: str) -> "nn.Module":
        """The network with batch norm over the whole step, where torch can: it can't on a CPU."""
        if self.world == 1 or not device.startswith("cuda"):
            return network
        from timm.layers import convert_sync_batchnorm

        return convert_sync_batchnorm(network)

    def broadcast_buffers(self, *modules: "nn.Module") -> None:
        """Give everyone rank 0's statistics of batch norm."""
        if self.world == 1:
            return
        import torch.distributed as dist

        for module in modules:
            for buffer in module.buffers():
                dist.broadcast(buffer, 0)


SINGLE_PROCESS = Ranks()


def ranks_of(environment: Mapping[str, str] = os.environ) -> Ranks:
    """The process that torchrun's variables say this is; without them, the only one.

    Raises:
        UsageError: a variable is missing or no number.
    """
    if environment.get("WORLD_SIZE", "1") == "1":
        return SINGLE_PROCESS
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    try:
        return Ranks(*(int(environment[name]) for name in names))
    except (KeyError, ValueError):
        told = ", ".join(f"{name}={environment.get(name)}" for name in names)
        raise UsageError(f"{told}: start several processes with torchrun, which sets all four, or unset them") from None
